"""Calibration by group: metrics against second implementations, debiasing and intervals in known simulations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from fairkd.analysis import calibration_by_group, reliability
from fairkd.errors import DataError, ParameterError
from fairkd.metrics import (
    brier_score,
    debiased_calibration_error,
    expected_calibration_error,
    reliability_bins,
)
from fairkd.metrics.clusters import cluster_mean
from fairkd.predictions import Predictions


def binary(confidence: np.ndarray) -> np.ndarray:
    return np.stack([confidence, 1 - confidence], axis=1)


def simulated(rng: np.random.Generator, n: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """A model of two classes that is right ``shift`` less often than its confidence says."""
    confidence = rng.uniform(0.6, 0.95, size=n)
    return (rng.random(n) > confidence - shift).astype(int), binary(confidence)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=40))
def test_brier_score_of_two_classes_is_twice_scikit_learns(rows: list[tuple[bool, float]]) -> None:
    labels, positive = np.array([int(one) for one, _ in rows]), np.array([p for _, p in rows])
    expected = 2 * brier_score_loss(labels, positive, labels=[0, 1])
    assert brier_score(labels, binary(1 - positive)) == pytest.approx(expected, abs=1e-12)


def test_brier_score_of_many_classes_is_written_out() -> None:
    rng = np.random.default_rng(0)
    labels, values = rng.integers(4, size=50), rng.dirichlet(np.ones(4), 50)
    total = sum((values[i, c] - (labels[i] == c)) ** 2 for i in range(50) for c in range(4))
    assert brier_score(labels, values) == pytest.approx(total / 50, abs=1e-12)
    assert brier_score([0, 1], [[0.0, 1.0], [1.0, 0.0]]) == 2


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.2])
def test_debiased_errors_are_near_the_truth_where_the_plug_in_is_not(shift: float) -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(300):
        labels, values = simulated(rng, 300, shift)
        plug_in = expected_calibration_error(labels, values, strategy="quantile")
        debiased = [debiased_calibration_error(labels, values, norm=norm) for norm in ("l1", "l2")]
        found.append((plug_in, *debiased))
    plug_in, l1, l2 = np.mean(found, axis=0)
    if shift < 0.1:
        assert plug_in - shift > 0.01
        assert abs(l1 - shift) < 0.65 * (plug_in - shift)
    # Where every bin is off on one side, nothing is biased, and the estimated bias is nearly none.
    assert shift < 0.1 or l1 == pytest.approx(shift, abs=0.015)
    # The squared error is unbiased; its root, cut at 0, is biased upwards where the error is small.
    assert l2 == pytest.approx(shift, abs=0.005 if shift == 0.2 else 0.03)


def test_the_squared_debiased_error_is_unbiased() -> None:
    # One bin: the expectation can be written down.
    rng = np.random.default_rng(2)
    values = binary(np.full(20, 0.8))
    squares = []
    for labels in (rng.random((4000, 20)) > 0.4).astype(int):
        accuracy = np.mean(labels == 0)
        variance = accuracy * (1 - accuracy) / 19
        squares.append((0.8 - accuracy) ** 2 - variance)
        expected = np.sqrt(max(0, squares[-1]))
        if len(squares) > 200:
            continue
        assert debiased_calibration_error(labels, values, norm="l2") == pytest.approx(expected, abs=1e-12)
    assert np.mean(squares) == pytest.approx(0.4**2, abs=0.005)


def test_the_folded_normal_is_the_mean_of_drawn_ones() -> None:
    rng = np.random.default_rng(3)
    labels, values = simulated(rng, 200, 0.03)
    table_error = expected_calibration_error(labels, values, bins=10, strategy="quantile")
    bins = reliability_bins(labels, values, bins=10, strategy="quantile")
    gap, size, accuracy = bins["confidence"] - bins["accuracy"], bins["n"], bins["accuracy"]
    deviation = np.sqrt(accuracy * (1 - accuracy) / (size - 1)).to_numpy()
    drawn = np.abs(gap.to_numpy() + deviation * rng.normal(size=(200_000, len(bins))))
    bias = np.average(drawn.mean(axis=0), weights=size) - table_error
    ours = debiased_calibration_error(labels, values, bins=10)
    assert ours == pytest.approx(max(0, table_error - bias), abs=5e-4)


def test_edges_of_the_debiased_error() -> None:
    assert np.isnan(debiased_calibration_error([0], [[0.9, 0.1]]))
    assert debiased_calibration_error([0, 1], [[1.0, 0.0], [0.0, 1.0]]) == 0
    # Three samples of one confidence, one alone: the bin of one sample is kept.
    assert 0 <= debiased_calibration_error([0, 1, 0, 0], binary(np.array([0.7, 0.7, 0.7, 0.9]))) <= 1
    with pytest.raises(ParameterError, match="l1, l2"):
        debiased_calibration_error([0, 1], [[1.0, 0.0]] * 2, norm="max")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="at least 1"):
        debiased_calibration_error([0, 1], [[1.0, 0.0]] * 2, bins=0)


def make(rng: np.random.Generator, n: int = 400, shifts: tuple[float, float] = (0.0, 0.15)) -> Predictions:
    """Two groups, the second overconfident."""
    groups = np.repeat([0, 1], n // 2)
    confidence, labels = rng.uniform(0.65, 0.95, size=n), np.arange(n) % 2
    predicted = np.where(rng.random(n) < confidence - np.array(shifts)[groups], labels, 1 - labels)
    return Predictions.from_arrays(
        labels=labels,
        groups=groups,
        probabilities=binary(np.where(predicted == 0, confidence, 1 - confidence)),
        class_names=["a", "b"],
        group_names=["x", "y", "none"],
    )


def test_rows_of_a_group_are_those_of_its_samples_alone() -> None:
    one = make(np.random.default_rng(4))
    table = calibration_by_group(one, replicates=200).set_index(["group", "metric"])
    rows = one.groups == 1
    labels, values = one.labels[rows], one.probabilities[rows]
    group = table.loc["y"]
    wrong = values.argmax(axis=1) != labels
    expected = {
        "calibration_error": expected_calibration_error(labels, values, strategy="quantile"),
        "calibration_error_debiased": debiased_calibration_error(labels, values),
        "brier_score": brier_score(labels, values),
        "mean_confidence": values.max(axis=1).mean(),
        "accuracy": 1 - wrong.mean(),
        "overconfidence": values.max(axis=1).mean() - 1 + wrong.mean(),
        "confidence_of_errors": values.max(axis=1)[wrong].mean(),
    }
    assert group["value"].to_dict() == pytest.approx(expected, abs=1e-12)
    assert group.loc["confidence_of_errors", "n"] == wrong.sum()
    assert table.loc[("none", "brier_score"), "n"] == 0
    assert table.loc["none", ["value", "low", "high"]].isna().all().all()
    # The overconfident group is found; the calibrated one is compatible with 0.
    assert group.loc["overconfidence", "low"] > 0
    assert table.loc[("x", "calibration_error_debiased"), "low"] == 0


def test_a_group_of_one_sample_has_no_debiased_error_and_no_limits() -> None:
    one = make(np.random.default_rng(4))
    alone = one.frame[(one.groups == 0) | (np.arange(len(one)) == np.flatnonzero(one.groups == 1)[0])]
    table = calibration_by_group(Predictions(alone), replicates=100).set_index(["group", "metric"])
    assert table.loc[("y", "calibration_error"), "value"] >= 0
    assert np.isnan(table.loc[("y", "calibration_error_debiased"), "value"])
    limits = table.loc["y"].loc[["calibration_error", "calibration_error_debiased"], ["low", "high"]]
    assert limits.isna().all().all()


def test_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(5)
    truths = {"overconfidence": 0.15, "calibration_error_debiased": 0.15, "mean_confidence": 0.8}
    hits = dict.fromkeys(truths, 0)
    trials = 250
    for seed in range(trials):
        rows = calibration_by_group(make(rng, 600), bins=8, replicates=300, bootstrap_seed=seed)
        rows = rows[rows["group"] == "y"].set_index("metric")
        for name, truth in truths.items():
            hits[name] += bool(rows.loc[name, "low"] <= truth <= rows.loc[name, "high"])
    for name, count in hits.items():
        assert 0.93 - 0.01 <= count / trials <= 0.97 + 0.01, name


def test_means_of_units_that_share_their_fate_have_wider_intervals() -> None:
    rng = np.random.default_rng(6)
    hits = np.zeros(2)
    for _ in range(400):
        fate = rng.normal(0.4, 1, size=40).repeat(3)
        units = np.arange(40).repeat(3)
        for way, one in enumerate((units, np.arange(120))):
            _, low, high = cluster_mean(fate, one)
            hits[way] += low <= 0.4 <= high
    assert 0.93 <= hits[0] / 400 <= 0.97
    assert hits[1] / 400 < 0.85
    mean, low, high = cluster_mean(np.array([1.0, 2.0]), np.array(["a", "a"]))
    assert mean == 1.5 and np.isnan([low, high]).all()
    assert np.isnan(cluster_mean(np.empty(0), np.empty(0))).all()


def test_reliability_bins_hold_each_group_once() -> None:
    one = make(np.random.default_rng(7))
    table = reliability(one, bins=5)
    assert list(dict.fromkeys(table["group"])) == ["all", "x", "y"]
    assert table.groupby("group")["n"].sum().to_dict() == {"all": 400, "x": 200, "y": 200}
    assert set(table.loc[table["group"] == "x", "n"]) == {40}
    rows = one.groups == 0
    sure, right = one.probabilities[rows].max(axis=1), one.predicted[rows] == one.labels[rows]
    for row in table[table["group"] == "x"].to_dict("records"):
        inside = (sure > row["bin_low"]) & (sure <= row["bin_high"])
        assert row["confidence"] == pytest.approx(sure[inside].mean())
        assert row["accuracy"] == pytest.approx(right[inside].mean())
        assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    paired = Predictions(one.frame.assign(unit=np.arange(400) // 2))
    wide = reliability(paired, bins=1)
    assert (
        (wide["accuracy_high"] - wide["accuracy_low"])
        .gt((reliability(one, bins=1)["accuracy_high"] - reliability(one, bins=1)["accuracy_low"]) * 1.3)
        .all()
    )


def test_predictions_without_probabilities_are_refused() -> None:
    frame = make(np.random.default_rng(8)).frame.drop(columns=["probability_0", "probability_1"])
    for call in (calibration_by_group, reliability):
        with pytest.raises(DataError, match="hold no probabilities"):
            call(Predictions(frame))
