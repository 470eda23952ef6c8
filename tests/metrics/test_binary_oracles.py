"""Every metric of two classes against fairlearn or scikit-learn, on generated data."""

from __future__ import annotations

import itertools
import warnings

import fairlearn.metrics as fairlearn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, recall_score

from fairkd import metrics
from fairkd.metrics import METRICS
from fairkd.metrics.confusion import CellCounts

Samples = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def samples(draw: st.DrawFn) -> Samples:
    """Labels, predictions and groups, with every class x group cell occupied."""
    groups = draw(st.integers(2, 4))
    cells = list(itertools.product(range(2), range(groups)))
    rows = cells + draw(st.lists(st.sampled_from(cells), max_size=25))
    predicted = draw(st.lists(st.integers(0, 1), min_size=len(rows), max_size=len(rows)))
    labels, group = np.array(rows).T
    return labels, np.array(predicted), group


def expected(y_true: np.ndarray, y_pred: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    options = {"y_true": y_true, "y_pred": y_pred, "sensitive_features": groups}

    def frame(metric, **further):
        return fairlearn.MetricFrame(metrics=metric, **options, **further)

    by_group, by_cell = frame(accuracy_score), frame(accuracy_score, control_features=y_true)
    gaps, recalls = (
        by_cell.difference(),
        recall_score(y_true, y_pred, average=None, labels=[0, 1], zero_division=0),
    )
    # Shares of each group among the samples predicted as a class: rows of a matrix of predictions by group.
    table = confusion_matrix(y_pred, groups, labels=range(max(2, groups.max() + 1)))[:2, : groups.max() + 1]
    shares = [row.max() / row.sum() for row in table if row.sum()]
    return {
        "accuracy": accuracy_score(y_true, y_pred),
        "balanced_accuracy": balanced_accuracy_score(y_true, y_pred),
        "worst_group_accuracy": by_group.group_min(),
        "worst_cell_accuracy": by_cell.by_group.min(),
        "accuracy_gap": by_group.difference(),
        "recall_gap": gaps.mean(),
        "recall_gap_max": gaps.max(),
        "class_recall_ratio": recalls.mean() / recalls.max() if recalls.max() else np.nan,
        "bias_amplification": np.mean(shares) - 1 / len(np.unique(groups)),
        "equalized_odds_difference": fairlearn.equalized_odds_difference(**options),
        "equal_opportunity_difference": fairlearn.equal_opportunity_difference(**options),
        "demographic_parity_difference": fairlearn.demographic_parity_difference(**options),
        "demographic_parity_ratio": fairlearn.demographic_parity_ratio(**options),
    }


@settings(max_examples=25, deadline=None, derandomize=True)
@given(samples())
def test_every_metric_equals_its_oracle(data: Samples) -> None:
    y_true, y_pred, groups = data
    counts = CellCounts.of_samples(y_true, groups, y_pred, 2, int(groups.max()) + 1)
    with warnings.catch_warnings():
        # A rate of 0 / 0 is NaN in both; fairlearn warns of it.
        warnings.simplefilter("ignore", RuntimeWarning)
        oracles = expected(*data)
    assert set(oracles) == {name for name, metric in METRICS.items() if metric.reduce is not None}
    for name, value in oracles.items():
        ours = float(METRICS[name].reduce(counts))
        assert ours == pytest.approx(value, abs=1e-12, nan_ok=True), name


@settings(max_examples=25, deadline=None, derandomize=True)
@given(samples())
def test_every_row_of_the_table_of_cells_equals_scikit_learns_rates(data: Samples) -> None:
    y_true, y_pred, groups = data
    table = metrics.by_class_and_group(y_true, y_pred, sensitive_features=groups)
    for row in table.to_dict("records"):
        inside = groups == row["group"]
        truth, found = y_true[inside] == row["class"], y_pred[inside] == row["class"]
        assert row["recall"] == pytest.approx(recall_score(truth, found), abs=1e-12)
        assert row["selection_rate"] == pytest.approx(fairlearn.selection_rate(truth, found), abs=1e-12)
        rate = fairlearn.false_positive_rate(truth, found)
        assert row["false_positive_rate"] == pytest.approx(rate, abs=1e-12)
