"""``Plan``: a data set before its pixels. Made and checked in seconds, without decoding an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import numpy as np

from fairkd.data.effects import EFFECTS, LOOKED_AT, warn_if_unchanged
from fairkd.data.lazy import IN_MEMORY_BYTES, LazyImages, on_disk
from fairkd.data.splits import ImageSet, Splits
from fairkd.shown import Shown, first_of

SPLIT_NAMES = ("train", "validation", "test")

Bias = Literal["auto", "subsample", "tint", "grey", "noise", "blur", "contrast", "brightness"]


@dataclass(frozen=True)
class DataOptions:
    """The parameters of scope ``data``, validated; :class:`fairkd.config.Experiment` documents each."""

    data_root: str | None
    download: bool
    csv: str | None
    path_column: str
    label_column: str
    group_column: str
    split_column: str
    unit_column: str | None
    target: str | None
    group: str | None
    audit_groups: tuple[str, ...]
    bias: Bias
    variant: Literal["wang", "mfd"] | None
    skew: float | None
    samples: int | None
    image_size: int | None
    cache_dir: str | None
    seed: int

    def generators(self) -> tuple[np.random.Generator, ...]:
        """Return independent generators for split, bias and samples: another skew keeps the same split."""
        return tuple(np.random.default_rng(seed) for seed in np.random.SeedSequence(self.seed).spawn(3))


@dataclass(frozen=True)
class Rows:
    """One split without its pixels: columns of shape ``(n,)``, int64.

    ``items`` are positions in the source, ``index`` is unique within the data set, ``unit`` is what
    :class:`~fairkd.data.splits.ImageSet` says, ``attributes`` are further protected attributes by name.
    """

    items: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    index: np.ndarray
    unit: np.ndarray
    attributes: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, repr=False)
class Plan(Shown):
    """What a data set will hold: names, rows and fingerprint; :meth:`load` adds the pixels.

    ``read_items`` takes ascending source positions ``(n,)`` and returns images ``(n, height, width)`` or
    ``(n, height, width, 3)``, uint8. ``effect`` names the injected attribute that is still to be applied.
    """

    name: str
    fingerprint: str
    class_names: tuple[str, ...]
    group_names: tuple[str, ...]
    label_name: str
    group_name: str
    image_size: int
    rows: Mapping[str, Rows]
    effect: str | None
    augmentation: str
    read_items: Callable[[np.ndarray], np.ndarray]
    stem: str = "auto"
    facts: dict[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def summary(self) -> dict[str, str]:
        """Return name, sizes, classes, groups and further attributes."""
        return {
            "name": self.name,
            "images": ", ".join(f"{n:,} {split}" for split, n in self.sizes.items()),
            "size": f"{self.image_size} x {self.image_size} pixels",
            self.label_name: first_of(self.class_names),
            self.group_name: first_of(self.group_names),
            **{name: first_of(values) for name, values in self.attributes.items()},
        }

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images in each split."""
        return {split: len(rows) for split, rows in self.rows.items()}

    def load(self) -> Splits:
        """Decode what is not yet decoded.

        Images in a cache file stay there until the first is asked for (``LazyImages``).

        Raises:
            DataError: an image cannot be read.
        """
        # Ascending, each once: numpy.unique would sort.
        items = np.flatnonzero(np.bincount(np.concatenate([rows.items for rows in self.rows.values()])))
        pixels = self.read_items(items)
        if self.effect:
            first = self.rows["train"].items[:LOOKED_AT]
            plain = LazyImages(pixels, np.searchsorted(items, first), groups=first, keys=first)
            warn_if_unchanged(self.effect, plain[:], first)
        fits = sum(self.sizes.values()) * 3 * self.image_size**2 <= IN_MEMORY_BYTES
        sets = {split: self._image_set(rows, items, pixels, fits) for split, rows in self.rows.items()}
        return Splits(
            name=self.name,
            **sets,
            class_names=self.class_names,
            group_names=self.group_names,
            label_name=self.label_name,
            group_name=self.group_name,
            fingerprint=self.fingerprint,
            augmentation=self.augmentation,
            stem=self.stem,
            facts={**self.facts, "sizes": self.sizes},
            attributes=self.attributes,
        )

    def _image_set(self, rows: Rows, items: np.ndarray, pixels: np.ndarray, fits: bool) -> ImageSet:
        change = EFFECTS[self.effect].change if self.effect else None
        positions = np.searchsorted(items, rows.items)
        lazy = LazyImages(pixels, positions, groups=rows.groups, keys=rows.items, change=change, keep=fits)
        # Lazy images are read as arrays are: whoever only indexes them need not know the difference.
        images = lazy[:] if fits and not on_disk(pixels) else cast(np.ndarray, lazy)
        return ImageSet(images, rows.labels, rows.groups, rows.index, rows.unit, rows.attributes)


def plain_rows(
    items: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    units: np.ndarray,
    attributes: Mapping[str, np.ndarray],
) -> Rows:
    """Return source positions ``items``, each once; the other columns cover the whole source."""
    chosen = {name: codes[items] for name, codes in attributes.items()}
    return Rows(items, labels[items], groups[items], items, units[items], chosen)


def injected_rows(
    parts: Mapping[str, np.ndarray],
    labels: np.ndarray,
    groups: np.ndarray,
    units: np.ndarray,
    attributes: Mapping[str, np.ndarray],
    num_groups: int,
) -> dict[str, Rows]:
    """Return rows with an injected group: assigned in training; elsewhere each item appears in every group.

    Args:
        parts: source positions of each split.
        labels: class of every item of the source, ``(n,)``.
        groups: assigned group of every item, ``(n,)``; read in training only.
        units: unit of every item, ``(n,)``.
        attributes: the source's own attributes, ``(n,)`` each.
        num_groups: number of injected groups.
    """
    rows = {}
    for split, items in parts.items():
        if split == "train":
            repeated, chosen = items, groups[items]
        else:
            repeated, chosen = np.repeat(items, num_groups), np.tile(np.arange(num_groups), len(items))
        plain = plain_rows(repeated, labels, groups, units, attributes)
        rows[split] = replace(plain, groups=chosen, index=repeated * num_groups + chosen)
    return rows
