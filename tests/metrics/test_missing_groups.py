"""Samples without a group: counted for the task, left out of what compares groups, and never in the last group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fairkd import metrics
from fairkd.errors import DataError, FairkdWarning
from fairkd.evaluation import compare, evaluate, findings, summarize
from fairkd.metrics import METRICS, confusion, measurement
from fairkd.metrics.bootstrap import bootstrap_counts
from fairkd.metrics.confusion import CellCounts
from fairkd.predictions import Predictions, align
from fairkd.training.scores import validation_scores

CLASSES, GROUPS = ["a", "b", "c"], ["x", "y"]
#: What is of all samples; the others compare groups.
OF_ALL = {"accuracy", "balanced_accuracy", "class_recall_ratio", "expected_calibration_error"}


def make(seed: int = 0, *, missing: float = 0.2, n: int = 240, keep: Any = slice(None)) -> Predictions:
    """Predictions with a share of missing groups; those samples are mostly wrong, so that they show."""
    rng = np.random.default_rng(7)
    labels, groups = np.arange(n) % 3, np.arange(n) // 3 % 2
    groups = np.where(rng.random(n) < missing, -1, groups)
    right = np.random.default_rng(seed).random(n) < np.array([0.9, 0.6, 0.2])[groups]
    target = np.where(right, labels, (labels + 1) % 3)
    probabilities = np.full((n, 3), 0.1)
    probabilities[np.arange(n), target] = 0.8
    return Predictions.from_arrays(
        labels=labels[keep],
        groups=groups[keep],
        probabilities=probabilities[keep],
        class_names=CLASSES,
        group_names=GROUPS,
        index=np.arange(n)[keep],
    )


def only_grouped(one: Predictions) -> Predictions:
    return Predictions(one.frame[one.frame["group"].notna()].reset_index(drop=True))


def test_the_metrics_that_are_of_all_samples_are_declared() -> None:
    assert {name for name, metric in METRICS.items() if not metric.compares_groups} == OF_ALL


def test_counts_of_a_small_case_are_written_out() -> None:
    labels, groups = np.array([0, 0, 0, 1, 1]), np.array([0, 1, -1, -1, 1])
    predicted = np.array([0, 1, 0, 0, 1])
    tensor = confusion(labels, groups, predicted, 2, 2)
    assert tensor.tolist() == [[[1, 0], [0, 1]], [[0, 0], [0, 1]]]
    counts = CellCounts.of_samples(labels, groups, predicted, 2, 2)
    assert counts.samples.tolist() == [[1, 1], [0, 1]]
    assert counts.group_sizes.tolist() == [1, 2]
    assert counts.class_sizes.tolist() == [3, 2]
    assert counts.class_recall.tolist() == [2 / 3, 1 / 2]
    assert counts.ungrouped is not None
    assert counts.ungrouped.samples.tolist() == [[1], [1]]


@pytest.mark.parametrize("group", [-2, 2])
def test_other_codes_out_of_range_are_refused(group: int) -> None:
    with pytest.raises(ValueError, match="invalid entry"):
        confusion(np.array([0]), np.array([group]), np.array([0]), 2, 2)


def test_values_are_those_of_all_samples_or_of_the_grouped_ones() -> None:
    one = make()
    values, grouped = measurement.values(one), measurement.values(only_grouped(one))
    named = dict(zip(METRICS, values, strict=False))
    assert named["accuracy"] == np.mean(one.labels == one.predicted)
    recalls = [np.mean(one.predicted[one.labels == c] == c) for c in range(3)]
    assert named["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert named["class_recall_ratio"] == pytest.approx(np.mean(recalls) / max(recalls))
    expected = metrics.expected_calibration_error(one.labels, one.probabilities)
    assert named["expected_calibration_error"] == expected
    for position in range(len(values)):
        if position >= len(METRICS) or list(METRICS)[position] not in OF_ALL:
            assert values[position] == grouped[position], position


def test_the_table_says_how_many_samples_each_value_counts() -> None:
    one = make()
    grouped = int((one.groups >= 0).sum())
    assert 0 < grouped < len(one)
    table = evaluate(one, replicates=100)
    overall = table[(table["class"] == "all") & (table["group"] == "all")].set_index("metric")
    for name in METRICS:
        assert overall.loc[name, "n"] == (len(one) if name in OF_ALL else grouped)
        assert ("whose group is missing" in overall.loc[name, "definition"]) == (name not in OF_ALL)
    groups = table[(table["metric"] == "accuracy") & (table["group"] != "all")]
    assert groups["group"].tolist() == GROUPS
    assert groups["n"].sum() == grouped
    assert len(table) == len(METRICS) + 2 + 3 + 6


def test_nothing_is_said_of_missing_groups_where_there_are_none() -> None:
    table = evaluate(make(missing=0.0), replicates=100)
    assert not table["definition"].str.contains("missing").any()
    assert (table.loc[: len(METRICS) - 1, "n"] == 240).all()


def test_limits_and_floors_of_group_metrics_do_not_depend_on_the_ungrouped_samples() -> None:
    one = make(n=1200)
    table, grouped = (evaluate(each, replicates=2000) for each in (one, only_grouped(one)))
    compared = ~table["metric"].isin(OF_ALL) | (table["group"] != "all")
    for column in ("low", "high", "noise_floor"):
        # Other draws of the same distribution.
        np.testing.assert_allclose(table[column][compared], grouped[column][compared], atol=0.02)
    accuracy = table.iloc[0]
    deviation = np.sqrt(accuracy["value"] * (1 - accuracy["value"]) / len(one))
    assert accuracy["high"] - accuracy["low"] < 2 * 1.96 * deviation
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert accuracy["noise_floor"] == 0


def test_resamples_keep_the_number_of_ungrouped_samples() -> None:
    one = make()
    statistics = {"sizes": lambda counts: counts.class_sizes, "groups": lambda counts: counts.samples}
    (found,) = bootstrap_counts(
        one.labels,
        one.groups,
        one.predicted[None],
        one.units,
        num_classes=3,
        num_groups=2,
        statistics=statistics,
        replicates=50,
    )
    np.testing.assert_array_equal(found["sizes"].values, np.tile([80, 80, 80], (50, 1)))
    np.testing.assert_array_equal(found["groups"].values, np.tile(measurement.count(one).samples, (50, 1, 1)))


def test_comparisons_pair_samples_without_a_group() -> None:
    models = {"teacher": make(0), "student": make(1)}
    table = compare(models, replicates=200).set_index(["metric", "class"])
    row = table.loc[("accuracy", "all")]
    expected = [np.mean(one.labels == one.predicted) for one in models.values()]
    assert row["value"] == pytest.approx(expected[1] - expected[0])
    assert row["n"] == 240
    assert table.loc[("recall_gap", "all"), "n"] == (models["teacher"].groups >= 0).sum()
    missing = int((models["teacher"].groups < 0).sum())
    sentence = f"{missing} of 240 samples have no group: what compares groups leaves them out."
    assert findings(table.reset_index())[-1] == sentence
    assert not any(
        "no group" in one for one in findings(compare({"a": make(missing=0.0), "b": make(1, missing=0.0)}))
    )
    assert summarize(models, [("student", "teacher")], replicates=100)["comparisons"]


def test_a_group_that_is_missing_in_one_model_only_is_a_difference() -> None:
    one = make()
    frame = one.frame.copy()
    row = int(np.flatnonzero(one.groups >= 0)[0])
    frame.loc[row, "group"] = None
    assert align({"one": one, "again": make()})
    with pytest.raises(DataError, match=f"group of the sample with index {row} is . in 'one' and nan in"):
        align({"one": one, "other": Predictions(frame)})


def test_all_groups_missing_leaves_only_the_task() -> None:
    one = make(missing=1.0)
    with pytest.warns(FairkdWarning, match="no samples in class a x group x"):
        table = evaluate(one, replicates=100)
    overall = table[table["group"] == "all"].iloc[: len(METRICS)].set_index("metric")
    assert set(overall.index[overall["value"].notna()]) == OF_ALL
    assert overall.loc["recall_gap", "n"] == 0


def test_predictions_keep_missing_groups_through_a_file(tmp_path: Path) -> None:
    one = make()
    assert (one.groups == -1).sum() == one.frame["group"].isna().sum() > 0
    one.to_parquet(tmp_path / "p.parquet")
    again = Predictions.from_parquet(tmp_path / "p.parquet")
    np.testing.assert_array_equal(again.groups, one.groups)
    assert again.group_names == GROUPS


VALUES = {
    "codes": np.array([0, 1, -1, 1, 0, -1]),
    "categorical": pd.Categorical.from_codes([0, 1, -1, 1, 0, -1], ["x", "y"]),
    "text": ["x", "y", None, "y", "x", None],
    "text and nan": ["x", "y", float("nan"), "y", "x", float("nan")],
    "numbers": [0.0, 1.0, np.nan, 1.0, 0.0, np.nan],
}


@pytest.mark.parametrize("groups", VALUES.values(), ids=VALUES.keys())
def test_public_functions_leave_missing_groups_out_and_say_so(groups: Any) -> None:
    y_true, y_pred = [0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 0]
    with pytest.warns(FairkdWarning, match="2 of 6 samples have no group") as warned:
        gap = metrics.recall_gap(y_true, y_pred, sensitive_features=groups)
    assert gap == 0.5
    assert warned[0].filename == __file__
    with pytest.warns(FairkdWarning, match="2 of 6"):
        table = metrics.by_group(y_true, y_pred, sensitive_features=groups)
    assert table["n"].tolist() == [2, 2]
    assert table["accuracy"].tolist() == [1.0, 0.5]
    assert metrics.accuracy(y_true, y_pred) == 0.5


def test_negative_integers_below_minus_one_are_groups_like_any_others() -> None:
    table = metrics.by_group([0, 0, 1, 1], [0, 1, 1, 1], sensitive_features=[-2, -1, -2, -1])
    assert table.index.tolist() == [-2, -1]


def test_a_category_named_minus_one_is_a_group() -> None:
    groups = pd.Categorical([-1, 1, -1, 1])
    table = metrics.by_group([0, 0, 1, 1], [0, 1, 1, 1], sensitive_features=groups)
    assert table["n"].tolist() == [2, 2]


def test_validation_scores_count_all_samples_for_the_accuracy_alone() -> None:
    labels, groups = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, -1, 0, 1, -1])
    predicted = np.array([0, 1, 1, 1, 1, 0])
    scores = validation_scores(labels, groups, predicted, 2, GROUPS)
    assert scores == {
        "accuracy": 0.5,
        "recall_gap": 0.5,
        "worst_group_accuracy": 0.5,
        "accuracy[x]": 1.0,
        "accuracy[y]": 0.5,
    }
