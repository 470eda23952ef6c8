"""Post-processing: against fairlearn's own use, and in cases whose solution is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fairlearn.postprocessing import ThresholdOptimizer
from sklearn.linear_model import LogisticRegression

from fairkd.analysis import calibrate_groups, calibration_by_group, optimize_thresholds
from fairkd.errors import DataError, ParameterError
from fairkd.evaluation import compare, evaluate
from fairkd.predictions import Predictions


def scored(seed: int, n: int = 4000, **changes: Any) -> Predictions:
    """A score whose threshold ought to differ: group y's is shifted down."""
    rng = np.random.default_rng(seed)
    labels, groups = np.arange(n) % 2, np.arange(n) // 2 % 2
    logits = rng.normal(size=n) + 2 * labels - 1 - 1.2 * groups
    positive = 1 / (1 + np.exp(-2 * logits))
    arguments = {
        "labels": labels,
        "groups": groups,
        "probabilities": np.stack([1 - positive, positive], axis=1),
        "class_names": ["no", "yes"],
        "group_names": ["x", "y"],
    }
    return Predictions.from_arrays(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("constraint", "metric"),
    [
        ("equalized_odds", "equalized_odds_difference"),
        ("demographic_parity", "demographic_parity_difference"),
    ],
)
def test_thresholds_meet_their_constraint_on_test_data(constraint: Any, metric: str) -> None:
    validation, test = scored(0), scored(1)
    chosen = optimize_thresholds(validation, test, constraint=constraint)
    table = compare({"plain": test, "chosen": chosen}, replicates=200).set_index(["metric", "class"])
    assert table.loc[(metric, "all"), "baseline_value"] > 0.25
    assert table.loc[(metric, "all"), "model_value"] < 0.06
    assert np.isnan(table.loc[("expected_calibration_error", "all"), "value"])


def test_decisions_equal_fairlearns_own() -> None:
    validation, test = scored(2), scored(3)
    # The same score from a fitted estimator: its probabilities are monotone in ours.
    model = LogisticRegression().fit(validation.probabilities[:, 1:], validation.labels)
    theirs = ThresholdOptimizer(
        estimator=model, constraints="demographic_parity", prefit=True, predict_method="predict_proba"
    )
    theirs.fit(validation.probabilities[:, 1:], validation.labels, sensitive_features=validation.groups)
    expected = theirs.predict(test.probabilities[:, 1:], sensitive_features=test.groups, random_state=5)
    ours = optimize_thresholds(validation, test, constraint="demographic_parity", seed=5)
    assert np.mean(ours.predicted == expected) > 0.995


def test_missing_groups_keep_their_prediction_and_the_seed_decides() -> None:
    groups = np.arange(4000) // 2 % 2
    groups[::5] = -1
    validation, test = scored(4, groups=groups), scored(5, groups=groups)
    first, again = (optimize_thresholds(validation, test, seed=1) for _ in range(2))
    np.testing.assert_array_equal(first.predicted, again.predicted)
    np.testing.assert_array_equal(first.predicted[::5], test.predicted[::5])
    assert (first.predicted != test.predicted).any()
    assert list(first.frame["index"]) == list(test.frame["index"])


def test_a_temperature_a_group_calibrates_each() -> None:
    # Group x is right as often as it says, group y far less sure than it should be.
    rng = np.random.default_rng(6)

    def three(seed: int) -> Predictions:
        draw = np.random.default_rng(seed)
        logits = draw.normal(size=(6000, 3)) * 1.5
        truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        labels = (truth.cumsum(axis=1) > draw.random((6000, 1))).argmax(axis=1)
        groups = np.arange(6000) % 2
        told = np.exp(logits * np.where(groups, 3.0, 1.0)[:, None])
        names = {"class_names": ["a", "b", "c"], "group_names": ["x", "y"]}
        return Predictions.from_arrays(
            labels=labels, groups=groups, probabilities=told / told.sum(axis=1, keepdims=True), **names
        )

    validation, test = three(1), three(2)
    fixed = calibrate_groups(validation, test)
    np.testing.assert_array_equal(fixed.predicted, test.predicted)
    np.testing.assert_allclose(fixed.probabilities.sum(axis=1), 1)
    before, after = (
        calibration_by_group(one, replicates=50).set_index(["group", "metric"])["value"]
        for one in (test, fixed)
    )
    assert before["y", "calibration_error_debiased"] > 0.15
    for group in ("x", "y"):
        assert after[group, "calibration_error_debiased"] < 0.03
    accuracy = [evaluate(one, replicates=5)["value"][0] for one in (test, fixed)]
    assert accuracy[0] == accuracy[1]
    # A group too small for a temperature of its own takes that of all.
    few = Predictions(validation.frame[(validation.groups == 0) | (rng.random(6000) < 0.005)])
    rows = test.groups == 1
    assert not np.allclose(calibrate_groups(few, test).probabilities[rows], fixed.probabilities[rows])


def test_what_cannot_be_done_is_named() -> None:
    two = scored(0, n=40)
    with pytest.raises(
        ParameterError, match="constraint='fair' is not allowed: choose one of equalized_odds"
    ):
        optimize_thresholds(two, two, constraint="fair")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"other groups: \['x', 'y'\] and \['x', 'z'\]"):
        calibrate_groups(two, scored(0, n=40, group_names=["x", "z"]))
    three = scored(0, n=40, probabilities=np.full((40, 3), 1 / 3), class_names=["a", "b", "c"])
    with pytest.raises(
        DataError, match="needs 2 classes, these predictions have 3; for more, calibrate_groups"
    ):
        optimize_thresholds(three, three)
    lone = Predictions(two.frame[(two.frame["group"] == "x") | (two.frame["label"] == "no")])
    with pytest.raises(DataError, match="the group 'y': its validation samples hold 1 of the 2 classes"):
        optimize_thresholds(lone, two)
    bare = Predictions(two.frame.drop(columns=["probability_0", "probability_1"]))
    with pytest.raises(DataError, match="hold no probabilities"):
        optimize_thresholds(bare, two)
