"""The audit of a data set: counts, association, predictability of the group, duplicates, label noise, odd images."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import pandas as pd

from fairkd.data.audit.counts import (
    association,
    attribute_association,
    attribute_counts,
    class_by_group,
)
from fairkd.data.audit.duplicates import find_duplicates, hash_splits
from fairkd.data.audit.images import image_statistics, odd_images
from fairkd.data.audit.label_noise import confident_learning, find_label_noise
from fairkd.data.audit.probe import Features, group_predictability, predictabilities
from fairkd.data.splits import Splits
from fairkd.errors import FairkdWarning, check_type
from fairkd.shown import Shown

__all__ = [
    "Audit",
    "association",
    "audit",
    "confident_learning",
    "find_duplicates",
    "find_label_noise",
    "group_predictability",
    "image_statistics",
]

_SHOWN = 10


@dataclass(frozen=True, repr=False)
class Audit(Shown):
    """What :func:`audit` found, as tidy tables.

    Attributes:
        counts: ``split, class, group, n, share, low, high``; ``share`` is the group's share of the class.
        association: ``split, statistic, value, n``; see :func:`association`.
        predictability: a row for each attribute and source; the first is the group from pixels; see
            :func:`group_predictability`.
        empty_cells: ``split, class, group`` of the cells without a sample.
        attributes: ``attribute, split, value, n, share, low, high`` of the group and every further attribute;
            the value of the samples without one is missing (NaN).
        attribute_association: ``attribute, split, statistic, value, n``.
        image_statistics: ``split, group, statistic, value, low, high, n``; see :func:`image_statistics`.
        duplicates: counts by kind and pair of splits; see :func:`find_duplicates`.
        duplicate_pairs: the pairs themselves; see there.
        odd_images: ``split, row, index, label, group, finding, spread`` of images that show nothing.
        label_noise: suspects counted by class and group; see :func:`find_label_noise`.
        label_suspects: the suspects themselves; see there.
    """

    counts: pd.DataFrame
    association: pd.DataFrame
    predictability: pd.DataFrame
    empty_cells: pd.DataFrame
    attributes: pd.DataFrame
    attribute_association: pd.DataFrame
    image_statistics: pd.DataFrame
    duplicates: pd.DataFrame
    duplicate_pairs: pd.DataFrame
    odd_images: pd.DataFrame
    label_noise: pd.DataFrame
    label_suspects: pd.DataFrame

    def summary(self) -> dict[str, str]:
        """Return Cramér's V in training and how much of each kind was found."""
        train = self.association[self.association["split"] == "train"].set_index("statistic")["value"]
        return {
            "samples": f"{int(self.counts['n'].sum()):,}",
            "Cramér's V of class and group, training": f"{train['cramers_v']:.2f}",
            "empty cells": f"{len(self.empty_cells):,}",
            "pairs of duplicates": f"{len(self.duplicate_pairs):,}",
            "images that show nothing": f"{len(self.odd_images):,}",
            "suspected labels": f"{len(self.label_suspects):,}",
        }


def audit(
    splits: Splits, *, confidence: float = 0.95, features: Features | None = None, seed: int = 0
) -> Audit:
    """Audit a data set.

    What looks at pixels looks at bounded samples, drawn by ``seed``; every table says how many in ``n``.

    Args:
        splits: the data.
        confidence: coverage of the intervals, (0, 1).
        features: a network's features of each split ``(n, dim)`` by the split's name, or a function from images
            ``(k, height, width, 3)`` to features: the group is then predicted from them too, and label noise
            from them instead of from pixels.
        seed: seed of the samples.

    Returns:
        The tables. Empty class x group cells are named in one :class:`~fairkd.errors.FairkdWarning`.

    Raises:
        DataError: features that do not fit the splits.
        ParameterError: no splits.

    Example:
        >>> audit(fairkd.load_dataset("colored-digits")).association
    """
    check_type(splits, Splits, "splits", "pass what fairkd.load_splits or fairkd.load_dataset returns")
    counts = class_by_group(splits, confidence)
    empty = counts.loc[counts["n"] == 0, ["split", "class", "group"]].reset_index(drop=True)
    if len(empty):
        _warn_of_empty_cells(empty)
    hashes = hash_splits(splits, seed)
    duplicates = find_duplicates(splits, hashes)
    noise = find_label_noise(splits, features=features, confidence=confidence, seed=seed)
    return Audit(
        counts=counts,
        association=association(splits),
        predictability=predictabilities(splits, confidence, seed, features),
        empty_cells=empty,
        attributes=attribute_counts(splits, confidence),
        attribute_association=attribute_association(splits),
        image_statistics=image_statistics(splits, confidence=confidence, seed=seed),
        duplicates=duplicates.summary,
        duplicate_pairs=duplicates.pairs,
        odd_images=odd_images(splits, hashes),
        label_noise=noise.summary,
        label_suspects=noise.suspects,
    )


def _warn_of_empty_cells(empty: pd.DataFrame) -> None:
    names = [f"{row['split']}: {row['class']} × {row['group']}" for row in empty.to_dict("records")]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    warnings.warn(
        f"no samples in {'; '.join(names[:_SHOWN])}{more}; measures of these cells are NaN",
        FairkdWarning,
        stacklevel=3,
    )
