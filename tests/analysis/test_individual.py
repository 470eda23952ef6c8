"""Individual fairness against loops, and in cases whose answer is known."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fairkd.analysis import counterfactual_flips, prediction_sensitivity
from fairkd.errors import DataError, ParameterError
from fairkd.predictions import Predictions


def shown_twice(seed: int = 0, scans: int = 45, **changes: Any) -> Predictions:
    """Scans in both groups, three classes."""
    rng = np.random.default_rng(seed)
    unit = np.tile(np.arange(scans), 2)
    arguments = {
        "labels": unit % 3,
        "groups": np.repeat([0, 1], scans),
        "probabilities": rng.dirichlet(np.ones(3), 2 * scans),
        "class_names": ["a", "b", "c"],
        "group_names": ["red", "green"],
        "unit": unit * 5,
    }
    return Predictions.from_arrays(**{**arguments, **changes})


def test_sensitivity_equals_a_loop_over_pairs() -> None:
    one = shown_twice()
    inputs = np.random.default_rng(1).integers(0, 255, size=(90, 4, 4, 3)).astype(np.uint8)
    inputs[3] = inputs[70]
    ratios: dict[str, list[float]] = {"all": [], "same group": [], "other group": []}
    probabilities, groups = one.probabilities, one.groups
    for i, j in combinations(range(90), 2):
        distance = np.linalg.norm(inputs[i].astype(float) - inputs[j].astype(float))
        if distance > 0:
            ratio = np.linalg.norm(probabilities[i] - probabilities[j]) / distance
            ratios["all"].append(ratio)
            ratios["same group" if groups[i] == groups[j] else "other group"].append(ratio)
    table = prediction_sensitivity(one, inputs).set_index("pairs")
    for name, values in ratios.items():
        assert table.loc[name, "value"] == pytest.approx(np.mean(values))
        assert table.loc[name, "n"] == len(values)
        assert table.loc[name, "low"] < table.loc[name, "value"] < table.loc[name, "high"]


def test_the_jackknife_equals_leaving_out_each_unit() -> None:
    one, inputs = shown_twice(scans=12), np.random.default_rng(2).normal(size=(24, 5))
    table = prediction_sensitivity(one, inputs).set_index("pairs")
    left = []
    for unit in np.unique(one.units):
        rows = one.units != unit
        rest = Predictions(one.frame[rows])
        left.append(prediction_sensitivity(rest, inputs[rows]).set_index("pairs")["value"])
    left = np.array(left)
    errors = np.sqrt(11 / 12 * ((left - left.mean(axis=0)) ** 2).sum(axis=0))
    reach = 1.959964 * errors
    np.testing.assert_allclose(table["high"] - table["value"], reach, rtol=1e-6)


def test_a_linear_model_has_its_slope_and_a_constant_one_none() -> None:
    inputs = np.linspace(0, 1, 50)[:, None]
    probabilities = np.hstack([inputs, 1 - inputs])
    labels, groups = np.arange(50) % 2, np.arange(50) // 2 % 2
    names = {"class_names": ["a", "b"], "group_names": ["x", "y"]}
    linear, constant = (
        Predictions.from_arrays(labels=labels, groups=groups, probabilities=p, **names)
        for p in (probabilities, np.full((50, 2), 0.5))
    )
    np.testing.assert_allclose(prediction_sensitivity(linear, inputs)["value"], np.sqrt(2))
    np.testing.assert_allclose(prediction_sensitivity(constant, inputs)[["value", "high"]], 0)
    assert prediction_sensitivity(linear, inputs, max_rows=20)["n"][0] == 190


def test_the_interval_covers_the_value_of_the_population() -> None:
    rng, found = np.random.default_rng(3), []
    labels, groups = np.arange(60) % 2, np.arange(60) // 2 % 2
    names = {"class_names": ["a", "b"], "group_names": ["x", "y"]}

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        inputs = rng.normal(size=(n, 4))
        odds = 1 / (1 + np.exp(-2 * inputs[:, 0] - rng.normal(size=n)))
        return inputs, np.stack([odds, 1 - odds], axis=1)

    inputs, many = draw(2000)
    big = Predictions.from_arrays(
        labels=np.arange(2000) % 2, groups=np.arange(2000) % 2, probabilities=many, **names
    )
    truth = prediction_sensitivity(big, inputs)["value"][0]
    for _ in range(300):
        inputs, probabilities = draw(60)
        one = Predictions.from_arrays(labels=labels, groups=groups, probabilities=probabilities, **names)
        row = prediction_sensitivity(one, inputs).iloc[0]
        found.append(row["low"] <= truth <= row["high"])
    assert 0.91 <= np.mean(found) <= 0.98


def test_flips_equal_a_loop_over_units() -> None:
    one = shown_twice()
    shuffled = Predictions(one.frame.sample(frac=1, random_state=0))
    table = counterfactual_flips(shuffled).set_index(["class", "metric"])
    assert set(table["group"]) == {"red"} and set(table["other_group"]) == {"green"}
    for name, code in (("all", None), ("b", 1)):
        rows = [i for i in range(45) if code is None or one.labels[i] == code]
        first, second = one.predicted[rows], one.predicted[np.array(rows) + 45]
        truth = one.labels[rows]
        p, q = one.probabilities[rows], one.probabilities[np.array(rows) + 45]
        expected = {
            "flip_rate": np.mean(first != second),
            "lost_rate": np.mean((first == truth) & (second != truth)),
            "gained_rate": np.mean((first != truth) & (second == truth)),
            "total_variation": np.mean(np.abs(p - q).sum(axis=1) / 2),
        }
        assert table.loc[name]["value"].to_dict() == pytest.approx(expected)
        assert set(table.loc[name]["n"]) == {len(rows)}


def test_units_that_are_no_pairs_play_no_part() -> None:
    one = shown_twice()
    again = one.frame.iloc[[0]].assign(index=999)
    three = Predictions(pd.concat([one.frame, again], ignore_index=True))
    assert counterfactual_flips(three)["n"].max() == 44
    bare = Predictions(one.frame.drop(columns=[f"probability_{c}" for c in range(3)]))
    table = counterfactual_flips(bare).set_index(["class", "metric"])
    assert table.loc[("all", "flip_rate"), "value"] > 0
    assert table.loc[("all", "total_variation"), ["value", "low", "high"]].isna().all()


def test_what_is_not_defined_has_no_limits() -> None:
    # No scan of the third class is shown in both groups, and two scans cannot be left out one after the other.
    one = shown_twice()
    pairs = Predictions(one.frame[(one.labels < 2) | (one.groups == 0)])
    table = counterfactual_flips(pairs).set_index(["class", "metric"])
    assert table.loc["c", ["value", "low", "high"]].isna().all().all() and (table.loc["c", "n"] == 0).all()
    two = Predictions(one.frame.iloc[[0, 1, 45, 46]])
    rows = prediction_sensitivity(two, np.random.default_rng(0).random((4, 6)))
    same = rows.set_index("pairs").loc["same group"]
    assert same["value"] > 0 and same["n"] == 2 and np.isnan(same["low"]) and np.isnan(same["high"])


def test_three_groups_give_three_pairs_and_a_model_blind_to_groups_never_flips() -> None:
    probabilities = np.tile(np.random.default_rng(4).dirichlet(np.ones(3), 30), (3, 1))
    unit = np.tile(np.arange(30), 3)
    names = {"class_names": ["a", "b", "c"], "group_names": ["x", "y", "z"]}
    one = Predictions.from_arrays(
        labels=unit % 3, groups=np.repeat([0, 1, 2], 30), probabilities=probabilities, unit=unit, **names
    )
    table = counterfactual_flips(one)
    pairs = table[["group", "other_group"]].drop_duplicates()
    assert pairs.to_numpy().tolist() == [["x", "y"], ["x", "z"], ["y", "z"]]
    np.testing.assert_array_equal(table[["value", "low"]], 0)
    # Thirty units without a flip do not prove that there is none.
    assert (table.loc[table["metric"] == "flip_rate", "high"] > 0.1).all()


def test_what_does_not_fit_is_named() -> None:
    one = shown_twice()
    with pytest.raises(DataError, match="10 inputs and 90 predictions"):
        prediction_sensitivity(one, np.zeros((10, 2)))
    with pytest.raises(DataError, match="not finite"):
        prediction_sensitivity(one, np.full((90, 2), np.inf))
    with pytest.raises(ParameterError, match="max_rows=1"):
        prediction_sensitivity(one, np.zeros((90, 2)), max_rows=1)
    with pytest.raises(DataError, match="no unit is shown once in each of two groups"):
        counterfactual_flips(shown_twice(unit=np.arange(90)))
