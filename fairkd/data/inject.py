"""``inject_bias``: give any loaded data set an injected group that goes with the class."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np

from fairkd.data.bias import assign_groups, majority_of_classes
from fairkd.data.effects import EFFECTS, LOOKED_AT, warn_if_unchanged
from fairkd.data.lazy import IN_MEMORY_BYTES, LazyImages
from fairkd.data.splits import ImageSet, Splits
from fairkd.errors import ParameterError
from fairkd.store import digest

Kind = Literal["tint", "grey", "noise", "blur", "contrast", "brightness"]


def inject_bias(
    splits: Splits,
    *,
    kind: Kind,
    skew: float = 0.95,
    variant: Literal["wang", "mfd"] | None = None,
    seed: int = 0,
) -> Splits:
    """Return the data with an injected group: skewed in training; elsewhere every image appears in each group.

    The old group becomes one of the ``attributes``. :func:`~fairkd.data.load_dataset` does the same with
    ``bias=kind``; this is for data that were made in another way.

    Args:
        splits: any data set.
        kind: ``tint`` colours the images red or green; the others leave group 0 as it is and change group 1.
        skew: share of each class that is in its majority group, training split, [0.5, 1].
        variant: which group a class prefers, see :func:`~fairkd.data.bias.majority_of_classes`.
        seed: seed of the assignment.

    Raises:
        ParameterError: an unknown ``kind`` or ``variant``, or ``skew`` out of range.

    Example:
        >>> grey = inject_bias(load_dataset("colored-digits"), kind="noise", skew=0.9)
        >>> grey.group_names
        ('clean', 'noisy')
    """
    if kind not in EFFECTS:
        raise ParameterError(f"kind={kind!r} is unknown: allowed: {', '.join(EFFECTS)}")
    effect = EFFECTS[kind]
    rng, majority = np.random.default_rng(seed), majority_of_classes(splits.num_classes, variant)
    sets: dict[str, Any] = {}
    for name, images in splits.items():
        rows, groups = np.arange(len(images)), np.tile([0, 1], len(images))
        if name == "train":
            warn_if_unchanged(kind, images.images[:LOOKED_AT], images.index[:LOOKED_AT])
            groups = assign_groups(images.labels, skew, splits.num_classes, 2, rng, majority=majority)
        else:
            rows = np.repeat(rows, 2)
        sets[name] = _image_set(splits, images, rows, groups, kind)
    share = f"in training {100 * skew:g} % of each class has its majority {effect.attribute}"
    return replace(
        splits,
        **sets,
        name=f"{splits.name}+{kind}",
        group_names=effect.group_names,
        group_name=effect.attribute,
        attributes={**splits.attributes, splits.group_name: splits.group_names},
        fingerprint=digest([splits.fingerprint, kind, skew, variant, seed]),
        facts={
            **splits.facts,
            "skew": f"{share}; in validation and test every image appears in each",
            "sizes": {name: len(images) for name, images in sets.items()},
        },
    )


def _image_set(splits: Splits, images: ImageSet, rows: np.ndarray, groups: np.ndarray, kind: str) -> ImageSet:
    keys = images.index[rows]
    lazy = LazyImages(images.images, rows, groups=groups, keys=keys, change=EFFECTS[kind].change)
    in_memory = lazy.nbytes <= IN_MEMORY_BYTES
    attributes = {**images.attributes, splits.group_name: images.groups}
    return ImageSet(
        lazy[:] if in_memory else cast(np.ndarray, lazy),
        images.labels[rows],
        groups,
        images.index[rows] * 2 + groups,
        images.unit[rows],
        {name: codes[rows] for name, codes in attributes.items()},
    )
