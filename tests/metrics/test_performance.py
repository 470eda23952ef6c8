"""Performance metrics against scikit-learn and fairlearn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score

from fairkd import metrics
from fairkd.errors import DataError, FairkdWarning

CLASSES, GROUPS, N = ["cat", "dog", "ox"], ["blue", "red"], 400


@pytest.fixture
def samples() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y_true = rng.choice(CLASSES, N)
    y_pred = np.where(rng.random(N) < 0.7, y_true, rng.choice(CLASSES, N))
    return y_true, y_pred, rng.choice(GROUPS, N, p=[0.3, 0.7])


def test_overall_metrics_equal_scikit_learn(samples: tuple[np.ndarray, ...]) -> None:
    y_true, y_pred, _ = samples
    recalls = recall_score(y_true, y_pred, average=None)
    assert metrics.accuracy(y_true, y_pred) == pytest.approx(accuracy_score(y_true, y_pred), abs=1e-12)
    expected = balanced_accuracy_score(y_true, y_pred)
    assert metrics.balanced_accuracy(y_true, y_pred) == pytest.approx(expected, abs=1e-12)
    expected = recalls.mean() / recalls.max()
    assert metrics.class_recall_ratio(y_true, y_pred) == pytest.approx(expected, abs=1e-12)


def test_a_class_that_is_only_predicted_is_left_out() -> None:
    assert metrics.balanced_accuracy([0, 0, 1], [0, 2, 1]) == pytest.approx(0.75)


def test_nothing_correct_has_no_class_recall_ratio() -> None:
    assert np.isnan(metrics.class_recall_ratio([0, 1], [1, 0]))


def test_group_metrics_equal_fairlearn(samples: tuple[np.ndarray, ...]) -> None:
    y_true, y_pred, groups = samples
    functions = {"accuracy": accuracy_score, "balanced_accuracy": balanced_accuracy_score}
    frame = MetricFrame(metrics=functions, y_true=y_true, y_pred=y_pred, sensitive_features=groups)
    table = metrics.by_group(y_true, y_pred, sensitive_features=groups)
    for name in functions:
        np.testing.assert_allclose(table[name], frame.by_group[name], atol=1e-12)
    assert table["n"].to_dict() == {group: (groups == group).sum() for group in GROUPS}
    worst = metrics.worst_group_accuracy(y_true, y_pred, sensitive_features=groups)
    assert worst == pytest.approx(frame.group_min()["accuracy"], abs=1e-12)
    gap = metrics.accuracy_gap(y_true, y_pred, sensitive_features=groups)
    assert gap == pytest.approx(frame.difference()["accuracy"], abs=1e-12)


def test_cells_equal_masks(samples: tuple[np.ndarray, ...]) -> None:
    y_true, y_pred, groups = samples
    table = metrics.by_class_and_group(y_true, y_pred, sensitive_features=groups)
    assert list(zip(table["class"], table["group"], strict=True)) == [(c, g) for c in CLASSES for g in GROUPS]
    for row in table.to_dict("records"):
        in_group, in_class = groups == row["group"], y_true == row["class"]
        assert row["n"] == (in_group & in_class).sum()
        assert row["recall"] == pytest.approx(np.mean(y_pred[in_group & in_class] == row["class"]))
        assert row["selection_rate"] == pytest.approx(np.mean(y_pred[in_group] == row["class"]))
        assert row["false_positive_rate"] == pytest.approx(
            np.mean(y_pred[in_group & ~in_class] == row["class"])
        )
    worst = metrics.worst_cell_accuracy(y_true, y_pred, sensitive_features=groups)
    assert worst == pytest.approx(table["recall"].min())


def test_a_category_without_samples_keeps_its_row() -> None:
    groups = pd.Categorical(["red", "red"], categories=["red", "green"])
    with pytest.warns(FairkdWarning, match=r"class 0 x group green, class 1 x group green:"):
        table = metrics.by_group([0, 1], [0, 1], sensitive_features=groups)
    assert table.loc["green", "n"] == 0
    assert table.loc["green", ["accuracy", "balanced_accuracy"]].isna().all()
    assert table.loc["red", "accuracy"] == 1


def test_an_empty_cell_is_nan_and_named_once() -> None:
    with pytest.warns(FairkdWarning) as warned:
        table = metrics.by_class_and_group([0, 0, 1], [0, 0, 1], sensitive_features=["a", "b", "b"])
    assert len(warned) == 1
    assert "no samples in class 1 x group a:" in str(warned[0].message)
    assert warned[0].filename == __file__
    cell = table[(table["class"] == 1) & (table["group"] == "a")].iloc[0]
    assert cell["n"] == 0
    assert np.isnan(cell["recall"])
    assert cell["selection_rate"] == 0
    # Group a has no sample outside class 0 but class 0 is outside class 1.
    assert cell["false_positive_rate"] == 0


def test_many_empty_cells_are_counted() -> None:
    labels = np.arange(40)
    with pytest.warns(FairkdWarning, match="and 28 more"):
        metrics.worst_group_accuracy(labels, labels, sensitive_features=labels % 2)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "groups", "message"),
    [
        ([], [], [], "at least one sample"),
        ([0, 1], [0], ["a", "b"], "one length"),
        ([0, 1], [0, 1], ["a"], "one length"),
        ([0, 1], ["0", "1"], ["a", "b"], "y_true holds numbers, y_pred holds text"),
        ([0.0, np.nan], [0, 1], ["a", "b"], "1 values are missing"),
        ([0, 1], [0, None], ["a", "b"], "y_true holds numbers, y_pred holds text"),
        ([0, 1], [0, 1], [None, None], "no sample has a group"),
        ([0, 1], [0, 1], [-1, -1], "no sample has a group"),
        ([[0], [1]], [0, 1], ["a", "b"], "one dimension"),
        (pd.Categorical([0, 1]), [0, 2], ["a", "b"], "1 values are missing or not a category"),
    ],
)
def test_bad_input_is_named(y_true: object, y_pred: object, groups: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        metrics.accuracy_gap(y_true, y_pred, sensitive_features=groups)
