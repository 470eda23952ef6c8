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
        groups: integer groups ``(n,)``, from 0 to ``num_groups - 1``; -1 where missing.
        predicted: integer predictions ``(n,)``, from 0 to ``num_classes - 1``.
        num_classes: number of classes, those without samples included.
        num_groups: number of groups, those without samples included.

    Returns:
        The tensor ``N (classes, groups, predicted classes)``; its sum is the number of samples that have a
        group.

    Raises:
        ValueError: a code out of range.
    """
    slots, num_slots = group_slots(groups, num_groups)
    return _tensor(labels, slots, predicted, num_classes, num_slots)[:, :num_groups]


def group_slots(groups: np.ndarray, num_groups: int) -> tuple[npt.NDArray[np.int64], int]:
    """Give the samples whose group is missing (code -1) one more slot after the groups, if there are any.

    Returns:
        The slot of each sample ``(n,)``, and the number of slots: ``num_groups`` or one more.
    """
    slots = np.asarray(groups, dtype=np.int64)
    missing = slots == -1
    return (np.where(missing, num_groups, slots), num_groups + 1) if missing.any() else (slots, num_groups)


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

    Samples whose group is missing stand in counts of their own: what is of all samples (accuracy, a class's
    recall) includes them, what compares groups does not see them.

    Attributes:
        samples: samples of class c in group g.
        correct: those of them that are predicted as c.
        predicted: samples of group g, of any class, that are predicted as c.
        ungrouped: the same of the samples without a group, ``(..., classes, 1)``; ``None``: there are none.
    """

    samples: np.ndarray
    correct: np.ndarray
    predicted: np.ndarray
    ungrouped: CellCounts | None = None

    @classmethod
    def of_samples(
        cls, labels: np.ndarray, groups: np.ndarray, predicted: np.ndarray, num_classes: int, num_groups: int
    ) -> CellCounts:
        """Count samples, with the arguments of :func:`confusion`; none is left out."""
        slots, num_slots = group_slots(groups, num_groups)
        tensor = _tensor(labels, slots, predicted, num_classes, num_slots)
        return cls.from_confusion(tensor).set_apart(num_groups)

    @classmethod
    def from_confusion(cls, tensor: np.ndarray) -> CellCounts:
        """Reduce a confusion tensor ``(..., classes, groups, predicted classes)`` to its margins."""
        correct = np.diagonal(tensor, axis1=-3, axis2=-1)
        return cls(
            tensor.sum(axis=-1), np.swapaxes(correct, -1, -2), np.swapaxes(tensor.sum(axis=-3), -1, -2)
        )

    def set_apart(self, num_groups: int) -> CellCounts:
        """Return counts in which a slot after the first ``num_groups`` (see :func:`group_slots`) is no group."""
        if self.samples.shape[-1] == num_groups:
            return self
        first, rest = np.s_[..., :num_groups], np.s_[..., num_groups:]
        return CellCounts(
            self.samples[first],
            self.correct[first],
            self.predicted[first],
            CellCounts(self.samples[rest], self.correct[rest], self.predicted[rest]),
        )

    @property
    def num_classes(self) -> int:
        """Number of classes, those without samples included."""
        return int(self.samples.shape[-2])

    @cached_property
    def class_sizes(self) -> np.ndarray:
        """Samples of each class, those without a group included ``(..., classes)``."""
        grouped = np.asarray(self.samples.sum(axis=-1))
        return grouped if self.ungrouped is None else grouped + self.ungrouped.class_sizes

    @cached_property
    def class_correct(self) -> np.ndarray:
        """Those of them that are predicted correctly ``(..., classes)``."""
        grouped = np.asarray(self.correct.sum(axis=-1))
        return grouped if self.ungrouped is None else grouped + self.ungrouped.class_correct

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
        """Share of class c that is predicted as c, all samples together ``(..., classes)``."""
        return divide(self.class_correct, self.class_sizes)


def _tensor(
    labels: np.ndarray, slots: np.ndarray, predicted: np.ndarray, num_classes: int, num_slots: int
) -> npt.NDArray[np.int64]:
    shape = (num_classes, num_slots, num_classes)
    flat = np.ravel_multi_index((labels, slots, predicted), shape)
    return np.bincount(flat, minlength=num_classes * num_slots * num_classes).reshape(shape)


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
    return of_several(max_defined(rates) - min_defined(rates), ~np.isnan(rates))


def of_several(values: Floats, defined: np.ndarray) -> Floats:
    """Return the values of comparisons; NaN where fewer than two groups, the last axis, are defined."""
    return np.where(defined.sum(axis=-1) >= 2, values, np.nan)
