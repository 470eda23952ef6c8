"""Bias made on purpose: a chosen share of every class lies in that class's majority group.

Class ``c`` of ``C`` has the majority group ``c * G // C`` of ``G``: the first classes have the first group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fairkd.errors import DataError, ParameterError

#: Channel multipliers (red, green, blue). The green holds some blue and is about twice as luminous as the
#: red, so that the two differ by more than the red-green contrast that many eyes lack.
TINTS: Mapping[str, tuple[float, float, float]] = {"red": (1.0, 0.25, 0.15), "green": (0.1, 0.8, 0.55)}


def majority_group(num_classes: int, num_groups: int) -> np.ndarray:
    """Return the majority group of each class, shape ``(num_classes,)``, int64."""
    return np.arange(num_classes, dtype=np.int64) * num_groups // num_classes


def majority_of_classes(num_classes: int, variant: str | None = None) -> np.ndarray:
    """Return which of two groups each class prefers, ``(num_classes,)`` int64.

    Args:
        num_classes: number of classes.
        variant: ``"wang"``: odd classes group 0, even ones group 1 (CIFAR-10S of Wang et al. 2020); ``"mfd"``: the
            first half of the classes group 1 (Jung et al. 2021); ``None``: the first half group 0.

    Raises:
        ParameterError: another ``variant``.
    """
    first_half = majority_group(num_classes, 2)
    choices = {None: first_half, "wang": 1 - np.arange(num_classes) % 2, "mfd": 1 - first_half}
    if variant not in choices:
        raise ParameterError(f"variant={variant!r} is unknown: allowed: wang, mfd, None")
    return choices[variant]


def assign_groups(
    labels: np.ndarray,
    skew: float,
    num_classes: int,
    num_groups: int,
    rng: np.random.Generator,
    *,
    majority: np.ndarray | None = None,
) -> np.ndarray:
    """Draw groups so that ``round(skew * n)`` of a class's ``n`` samples get its majority group.

    The remaining samples are spread over the other groups as evenly as their number allows.

    Args:
        labels: class of each sample, ``(n,)`` integers.
        skew: share of the majority group in each class, [1 / num_groups, 1].
        num_classes: number of classes.
        num_groups: number of groups, at least 2.
        rng: source of the draw.
        majority: majority group of each class, ``(num_classes,)``; ``None``: :func:`majority_group`.

    Returns:
        Group of each sample, ``(n,)`` int64.

    Raises:
        ParameterError: ``skew`` lies outside its range.
    """
    _check_skew(skew, num_groups)
    groups = np.empty(len(labels), dtype=np.int64)
    preferred = majority_group(num_classes, num_groups) if majority is None else majority
    for label, group in enumerate(preferred):
        rows = rng.permutation(np.flatnonzero(labels == label))
        others = np.delete(np.arange(num_groups), group)
        kept = round(skew * len(rows))
        groups[rows[:kept]] = group
        # resize repeats the shuffled groups, so that none gets two more than another.
        groups[rows[kept:]] = np.resize(rng.permutation(others), len(rows) - kept)
    return groups


def subsample_to_skew(
    labels: np.ndarray,
    groups: np.ndarray,
    skew: float,
    *,
    class_names: Sequence[str],
    group_names: Sequence[str],
    rng: np.random.Generator,
) -> np.ndarray:
    """Choose as many rows as possible so that the majority group holds the share ``skew`` of every class.

    Whichever side of a class (its majority group, all its other groups together) is too large is thinned at
    random; the share is met up to half a sample.

    Args:
        labels: class of each sample, ``(n,)`` integers.
        groups: group of each sample, ``(n,)`` integers.
        skew: share of the majority group in each class, [1 / number of groups, 1].
        class_names: names of the classes, in the order of the labels.
        group_names: names of the groups, in the order of ``groups``.
        rng: source of the draw.

    Returns:
        Rows to keep, ascending, int64.

    Raises:
        DataError: a class lacks samples of its majority group, or (``skew`` < 1) of every other group.
        ParameterError: ``skew`` lies outside its range.
    """
    _check_skew(skew, len(group_names))
    kept = []
    for label, majority in enumerate(majority_group(len(class_names), len(group_names))):
        major = rng.permutation(np.flatnonzero((labels == label) & (groups == majority)))
        minor = rng.permutation(np.flatnonzero((labels == label) & (groups != majority)))
        if len(major) == 0 or (len(minor) == 0 and skew < 1):
            wanted = group_names[majority] if len(major) == 0 else f"any group but {group_names[majority]}"
            raise DataError(
                f"skew={skew} cannot be made: class {class_names[label]!r} has no training sample of "
                f"{wanted}; add some, leave skew unset to keep the data as they are, or set bias='tint'"
            )
        num_major, num_minor = _kept_counts(len(major), len(minor), skew)
        kept += [major[:num_major], minor[:num_minor]]
    return np.sort(np.concatenate(kept))


def tint(
    images: np.ndarray,
    groups: np.ndarray,
    colours: Sequence[tuple[float, float, float]] = tuple(TINTS.values()),
    strength: float = 1.0,
) -> np.ndarray:
    """Multiply each image's channels by its group's colour.

    Args:
        images: ``(n, height, width)`` grey or ``(n, height, width, 3)`` colour, uint8.
        groups: group of each image, ``(n,)`` integers.
        colours: one (red, green, blue) multiplier a group, each in [0, 1].
        strength: 0 leaves the images as they are, 1 applies the full colour.

    Returns:
        Images of shape ``(n, height, width, 3)``, uint8; black stays black.
    """
    multipliers = 1 - strength * (1 - np.asarray(colours, dtype=np.float64))
    # A look-up table a group and channel: exact, and no float copy of the images.
    tables = np.rint(np.arange(256)[None, :, None] * multipliers[:, None, :]).astype(np.uint8)
    source = images[..., None] if images.ndim == 3 else images
    tinted = np.empty((*source.shape[:3], 3), dtype=np.uint8)
    for group, table in enumerate(tables):
        rows = groups == group
        for channel in range(3):
            tinted[rows, ..., channel] = table[:, channel][
                source[rows, ..., min(channel, source.shape[3] - 1)]
            ]
    return tinted


def _kept_counts(num_major: int, num_minor: int, skew: float) -> tuple[int, int]:
    if num_major > skew * (num_major + num_minor):
        return (num_major if skew == 1 else _round_up(num_minor * skew / (1 - skew))), num_minor
    return num_major, _round_up(num_major * (1 - skew) / skew)


def _round_up(value: float) -> int:
    """Round to the nearest integer, halves up; 7.499999999 is what 7.5 becomes after a division."""
    return int(value + 0.5 + 1e-9)


def _check_skew(skew: float, num_groups: int) -> None:
    if not 1 / num_groups <= skew <= 1:
        raise ParameterError(
            f"skew={skew} is not allowed: with {num_groups} groups it lies in [{1 / num_groups:.3g}, 1]"
        )
