"""``ImageSet`` and ``Splits``: what every data set loader returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from fairkd.data.lazy import LazyImages
from fairkd.errors import DataError
from fairkd.shown import Shown, first_of

_ROWS = 4096


@dataclass(frozen=True, repr=False)
class ImageSet(Shown):
    """Images with their labels and groups, row by row.

    Shapes: ``images (n, height, width, 3)`` uint8, the others ``(n,)`` int64. ``images`` is an array, or, for data
    that may not fit into memory, :class:`~fairkd.data.lazy.LazyImages`, which is indexed like one. ``index`` is
    the stable id of a sample in its source; samples that show the same source item share ``unit``. A sample whose
    group is not known has the group code -1: it serves the task and is left out of group metrics. ``attributes``
    holds further protected attributes by name, codes ``(n,)`` int64 of ``Splits.attributes``, -1 where missing.
    """

    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    index: np.ndarray
    unit: np.ndarray
    attributes: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in ("images", "labels", "groups", "index", "unit")}
        lengths |= {name: len(codes) for name, codes in self.attributes.items()}
        if len(set(lengths.values())) != 1:
            raise DataError(f"an image set needs columns of one length, got {lengths}")

    def __len__(self) -> int:
        return len(self.labels)

    def summary(self) -> dict[str, str]:
        """Return number and size of the images, and the number of those without a group."""
        height, width = self.images.shape[1:3]
        return {
            "images": f"{len(self):,}",
            "size": f"{height} x {width} pixels",
            "without a group": f"{int((self.groups < 0).sum()):,}",
        }

    def subset(self, rows: np.ndarray) -> ImageSet:
        """Return the given rows (integer positions or a boolean mask)."""
        images: Any = self.images
        chosen: Any = images.subset(rows) if isinstance(images, LazyImages) else images[rows]
        return ImageSet(
            chosen,
            self.labels[rows],
            self.groups[rows],
            self.index[rows],
            self.unit[rows],
            {name: codes[rows] for name, codes in self.attributes.items()},
        )


@dataclass(frozen=True, repr=False)
class Splits(Shown):
    """A data set: three image sets that share classes and groups.

    ``fingerprint`` identifies the content: equal fingerprints mean equal data. ``augmentation`` is what suits
    the data (``"crop"`` or ``"crop+flip"``), and so is ``stem`` (see :func:`fairkd.create_model`). ``facts``
    holds what the reader of a report should know (source, licence, how the skew was made). ``attributes``
    names the values of each further protected attribute, which is audited but not trained on.
    """

    name: str
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    group_names: tuple[str, ...]
    label_name: str
    group_name: str
    fingerprint: str
    augmentation: str = "crop+flip"
    stem: str = "auto"
    facts: dict[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def num_groups(self) -> int:
        """Number of groups."""
        return len(self.group_names)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.train.images.shape[1:3]
        return int(height), int(width)

    def summary(self) -> dict[str, str]:
        """Return name, sizes, classes, groups and further attributes."""
        height, width = self.image_size
        return {
            "name": self.name,
            "images": ", ".join(f"{len(images):,} {split}" for split, images in self.items()),
            "size": f"{height} x {width} pixels",
            self.label_name: first_of(self.class_names),
            self.group_name: first_of(self.group_names),
            **{name: first_of(values) for name, values in self.attributes.items()},
        }

    def items(self) -> Iterator[tuple[str, ImageSet]]:
        """Iterate over ``("train", ...)``, ``("validation", ...)``, ``("test", ...)``."""
        yield from (("train", self.train), ("validation", self.validation), ("test", self.test))

    def counts(self) -> pd.DataFrame:
        """Return tidy counts: ``split, class, group, n``, one row a cell, empty cells included.

        Samples without a group are left out; :meth:`missing_groups` counts them.
        """
        rows = [
            {"split": split, "class": class_name, "group": group_name, "n": int(table[c, g])}
            for split, images in self.items()
            for table in [self._contingency(images)]
            for c, class_name in enumerate(self.class_names)
            for g, group_name in enumerate(self.group_names)
        ]
        return pd.DataFrame(rows)

    def missing_groups(self) -> dict[str, int]:
        """Return the number of samples without a group in each split."""
        return {split: int((images.groups < 0).sum()) for split, images in self.items()}

    def channel_statistics(self) -> tuple[list[float], list[float]]:
        """Return the training images' mean and standard deviation a channel, on the scale 0 to 1."""
        # One histogram a channel: exact, and no float copy of the images.
        values = np.arange(256) / 255
        means, deviations = [], []
        for counts in self._histograms():
            mean = float((counts * values).sum() / counts.sum())
            means.append(mean)
            deviations.append(max(float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum())), 1e-3))
        return means, deviations

    def _histograms(self) -> np.ndarray:
        """Return how often each value occurs in the training images, ``(3, 256)``."""
        histograms = np.zeros((3, 256), dtype=np.int64)
        for start in range(0, len(self.train), _ROWS):
            images = self.train.images[start : start + _ROWS]
            for channel in range(3):
                histograms[channel] += np.bincount(images[..., channel].ravel(), minlength=256)
        return histograms

    def _contingency(self, images: ImageSet) -> np.ndarray:
        table = np.zeros((self.num_classes, self.num_groups), dtype=np.int64)
        known = images.groups >= 0
        np.add.at(table, (images.labels[known], images.groups[known]), 1)
        return table
