"""``Plan``: a data set before its pixels. Made and checked in seconds, without decoding an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from fairkd.data.bias import assign_groups, tint
from fairkd.data.splits import ImageSet, Splits

SPLIT_NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class DataOptions:
    """The parameters of scope ``data``, validated; :class:`fairkd.config.Experiment` documents each."""

    data_root: str | None
    csv: str | None
    path_column: str
    label_column: str
    group_column: str
    split_column: str
    bias: Literal["auto", "tint", "subsample"]
    skew: float | None
    image_size: int | None
    seed: int

    def generators(self) -> tuple[np.random.Generator, np.random.Generator]:
        """Return independent generators for the split and for the bias: another skew keeps the same split."""
        split, bias = np.random.SeedSequence(self.seed).spawn(2)
        return np.random.default_rng(split), np.random.default_rng(bias)


@dataclass(frozen=True)
class Rows:
    """One split without its pixels: four columns of shape ``(n,)``, int64.

    ``items`` are positions in the source, ``index`` is unique within the data set.
    """

    items: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Plan:
    """What a data set will hold: names, rows and fingerprint; :meth:`load` adds the pixels.

    ``read_items`` takes ascending source positions ``(n,)`` and returns images ``(n, height, width)`` or
    ``(n, height, width, 3)``, uint8. ``tinted`` says whether the groups are tints, still to be applied.
    """

    name: str
    fingerprint: str
    class_names: tuple[str, ...]
    group_names: tuple[str, ...]
    label_name: str
    group_name: str
    image_size: int
    rows: Mapping[str, Rows]
    tinted: bool
    augmentation: str
    read_items: Callable[[np.ndarray], np.ndarray]
    stem: str = "auto"
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images in each split."""
        return {split: len(rows) for split, rows in self.rows.items()}

    def load(self) -> Splits:
        """Read the pixels.

        Raises:
            DataError: an image cannot be read.
        """
        items = np.unique(np.concatenate([rows.items for rows in self.rows.values()]))
        pixels = self.read_items(items)
        sets = {split: self._image_set(rows, items, pixels) for split, rows in self.rows.items()}
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
        )

    def _image_set(self, rows: Rows, items: np.ndarray, pixels: np.ndarray) -> ImageSet:
        images = pixels[np.searchsorted(items, rows.items)]
        if self.tinted:
            images = tint(images, rows.groups)
        return ImageSet(images, rows.labels, rows.groups, rows.index, rows.items)


def plain_rows(items: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> Rows:
    """Return source positions ``items``, each once; ``labels`` and ``groups`` cover the whole source."""
    return Rows(items, labels[items], groups[items], items)


def tinted_rows(
    parts: Mapping[str, np.ndarray],
    labels: np.ndarray,
    skew: float,
    *,
    num_classes: int,
    num_groups: int,
    rng: np.random.Generator,
) -> dict[str, Rows]:
    """Give every item a tint: skewed in training; in validation and test each item appears in every tint.

    Args:
        parts: source positions of each split.
        labels: class of every item of the source, ``(n,)``.
        skew: share of each class's majority tint in training.
        num_classes: number of classes.
        num_groups: number of tints.
        rng: source of the draw.

    Returns:
        The rows of each split.
    """
    rows = {}
    for split, items in parts.items():
        if split == "train":
            groups = assign_groups(labels[items], skew, num_classes, num_groups, rng)
        else:
            groups = np.tile(np.arange(num_groups), len(items))
            items = np.repeat(items, num_groups)
        rows[split] = Rows(items, labels[items], groups, items * num_groups + groups)
    return rows
