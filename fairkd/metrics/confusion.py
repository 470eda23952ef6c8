"""The counts that every count-based metric is a reduction of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def confusion(
    labels: np.ndarray, groups: np.ndarray, predicted: np.ndarray, num_classes: int, num_groups: int
) -> npt.NDArray[np.int64]:
    """Count samples by class, group and prediction.

    Args:
        labels: integer classes ``(n,)``, from 0 to ``num_classes - 1``.
        groups: integer groups ``(n,)``, from 0 to ``num_groups - 1``.
        predicted: integer predictions ``(n,)``, from 0 to ``num_classes - 1``.
        num_classes: number of classes, those without samples included.
        num_groups: number of groups, those without samples included.

    Returns:
        The tensor ``N (classes, groups, predicted classes)``; its sum is ``n``.
    """
    shape = (num_classes, num_groups, num_classes)
    flat = np.ravel_multi_index((labels, groups, predicted), shape)
    return np.bincount(flat, minlength=num_classes * num_groups * num_classes).reshape(shape)


def group_blind(tensor: np.ndarray) -> Floats:
    """Return the confusion tensor expected of a model that treats the groups alike.

    Each class keeps its predictions, spread over the groups in proportion to their samples of the class.

    Args:
        tensor: counts ``(classes, groups, predicted classes)``.
    """
    samples = tensor.sum(axis=-1, keepdims=True)
    shares = divide(tensor.sum(axis=-2, keepdims=True), samples.sum(axis=-2, keepdims=True))
    return np.asarray(samples * np.nan_to_num(shares))


@dataclass(frozen=True)
class CellCounts:
    """The three margins of the confusion tensor that the metrics need, with the rates made of them.

    Each is ``(..., classes, groups)``; leading axes (bootstrap replicates) are kept by every rate and
    reduction. Three margins instead of the whole tensor keep a thousand classes times thousands of
    replicates in memory. A rate without samples is NaN.

    Attributes:
        samples: samples of class c in group g.
        correct: those of them that are predicted as c.
        predicted: samples of group g, of any class, that are predicted as c.
    """

    samples: np.ndarray
    correct: np.ndarray
    predicted: np.ndarray

    @classmethod
    def from_confusion(cls, tensor: np.ndarray) -> CellCounts:
        """Reduce a confusion tensor ``(..., classes, groups, predicted classes)`` to its margins."""
        correct = np.diagonal(tensor, axis1=-3, axis2=-1)
        return cls(
            tensor.sum(axis=-1), np.swapaxes(correct, -1, -2), np.swapaxes(tensor.sum(axis=-3), -1, -2)
        )

    @property
    def num_classes(self) -> int:
        """Number of classes, those without samples included."""
        return int(self.samples.shape[-2])

    @cached_property
    def group_sizes(self) -> np.ndarray:
        """Samples of each group ``(..., groups)``."""
        return np.asarray(self.samples.sum(axis=-2))

    @cached_property
    def recall(self) -> Floats:
        """Share of class c in group g predicted as c, the true positive rate ``(..., classes, groups)``."""
        return divide(self.correct, self.samples)

    @cached_property
    def false_positive_rate(self) -> Floats:
        """Share of group g outside class c that is predicted as c ``(..., classes, groups)``."""
        return divide(self.predicted - self.correct, self.group_sizes[..., None, :] - self.samples)

    @cached_property
    def selection_rate(self) -> Floats:
        """Share of group g that is predicted as c ``(..., classes, groups)``."""
        return divide(self.predicted, self.group_sizes[..., None, :])

    @cached_property
    def group_accuracy(self) -> Floats:
        """Share of group g that is predicted correctly ``(..., groups)``."""
        return divide(self.correct.sum(axis=-2), self.group_sizes)

    @cached_property
    def class_recall(self) -> Floats:
        """Share of class c that is predicted as c, all groups together ``(..., classes)``."""
        return divide(self.correct.sum(axis=-1), self.samples.sum(axis=-1))


def divide(part: np.ndarray, whole: np.ndarray) -> Floats:
    """Return ``part / whole``, NaN where ``whole`` is 0."""
    quotient: Floats = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=quotient, where=whole != 0)
    return quotient


def mean_defined(values: Floats, axis: int = -1) -> Floats:
    """Return the mean over the values that are not NaN; NaN where there are none."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0).sum(axis=axis), defined.sum(axis=axis))


def max_defined(values: Floats, axis: int = -1) -> Floats:
    """Return the maximum of the values that are not NaN; NaN where there are none."""
    return np.asarray(np.fmax.reduce(values, axis=axis))


def min_defined(values: Floats, axis: int = -1) -> Floats:
    """Return the minimum of the values that are not NaN; NaN where there are none."""
    return np.asarray(np.fmin.reduce(values, axis=axis))


def spread(rates: Floats) -> Floats:
    """Return maximum minus minimum over the last axis, the groups; NaN for fewer than two defined groups."""
    gap = max_defined(rates) - min_defined(rates)
    return np.where((~np.isnan(rates)).sum(axis=-1) >= 2, gap, np.nan)
