"""The counts: against loops, and with leading axes."""

from __future__ import annotations

import numpy as np
import pytest

from fairkd.metrics import confusion
from fairkd.metrics.confusion import CellCounts, divide, group_blind, spread

CLASSES, GROUPS = 4, 3


def random_samples(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(CLASSES, size=n), rng.integers(GROUPS, size=n), rng.integers(CLASSES, size=n)


def test_confusion_counts_each_sample_once() -> None:
    labels, groups, predicted = random_samples(0)
    expected = np.zeros((CLASSES, GROUPS, CLASSES), dtype=int)
    for c, g, p in zip(labels, groups, predicted, strict=True):
        expected[c, g, p] += 1
    np.testing.assert_array_equal(confusion(labels, groups, predicted, CLASSES, GROUPS), expected)


def test_rates_are_the_shares_they_are_named_after() -> None:
    labels, groups, predicted = random_samples(1)
    counts = CellCounts.from_confusion(confusion(labels, groups, predicted, CLASSES, GROUPS))
    for c in range(CLASSES):
        assert counts.class_recall[c] == pytest.approx(np.mean(predicted[labels == c] == c))
        for g in range(GROUPS):
            inside, outside = (groups == g) & (labels == c), (groups == g) & (labels != c)
            assert counts.samples[c, g] == inside.sum()
            assert counts.recall[c, g] == pytest.approx(np.mean(predicted[inside] == c))
            assert counts.false_positive_rate[c, g] == pytest.approx(np.mean(predicted[outside] == c))
            assert counts.selection_rate[c, g] == pytest.approx(np.mean(predicted[groups == g] == c))
    for g in range(GROUPS):
        assert counts.group_accuracy[g] == pytest.approx(np.mean((predicted == labels)[groups == g]))


def test_leading_axes_are_kept() -> None:
    tensors = np.stack([confusion(*random_samples(seed), CLASSES, GROUPS) for seed in range(5)])
    together = CellCounts.from_confusion(tensors)
    for position, tensor in enumerate(tensors):
        alone = CellCounts.from_confusion(tensor)
        for rate in ("recall", "false_positive_rate", "selection_rate", "group_accuracy", "class_recall"):
            np.testing.assert_array_equal(getattr(together, rate)[position], getattr(alone, rate))


def test_group_blind_tensor_keeps_samples_and_equalises_recall() -> None:
    tensor = confusion(*random_samples(2), CLASSES, GROUPS)
    blind = group_blind(tensor)
    np.testing.assert_allclose(blind.sum(axis=-1), tensor.sum(axis=-1))
    np.testing.assert_allclose(blind.sum(axis=1), tensor.sum(axis=1))
    recall = CellCounts.from_confusion(blind).recall
    np.testing.assert_allclose(recall, np.broadcast_to(recall[:, :1], recall.shape))


def test_divide_by_zero_is_nan() -> None:
    np.testing.assert_array_equal(divide(np.array([1, 0]), np.array([2, 0])), [0.5, np.nan])


def test_spread_needs_two_defined_groups() -> None:
    rates = np.array([[0.2, 0.9, np.nan], [0.2, np.nan, np.nan], [np.nan] * 3])
    np.testing.assert_allclose(spread(rates), [0.7, np.nan, np.nan])
