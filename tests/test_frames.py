"""Predictions made elsewhere: every way to write the same table gives the same result, every fault is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fairkd import analysis
from fairkd.errors import DataError, FairkdWarning
from fairkd.evaluation import compare, evaluate
from fairkd.frames import from_frames
from fairkd.metrics import accuracy_gap
from fairkd.predictions import Predictions

NAMES = ["ant", "bee", "cow"]


def codes(n: int = 90) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    labels, groups = np.arange(n) % 3, np.arange(n) // 3 % 2
    right = rng.random(n) < np.array([0.9, 0.6])[groups]
    return {"label": labels, "group": groups, "prediction": np.where(right, labels, (labels + 1) % 3)}


def frame(**changes: Any) -> pd.DataFrame:
    plain = codes()
    columns = {
        "label": np.array(NAMES)[plain["label"]],
        "group": np.array(["x", "y"])[plain["group"]],
        "prediction": np.array(NAMES)[plain["prediction"]],
    }
    return pd.DataFrame({**columns, **changes})


def probabilities(seed: int = 1) -> np.ndarray:
    values = np.random.default_rng(seed).random((90, 3))
    values[np.arange(90), codes()["prediction"]] += 2
    return np.asarray(values / values.sum(axis=1, keepdims=True))


def with_probabilities() -> pd.DataFrame:
    columns = {f"prob_{name}": probabilities()[:, c] for c, name in enumerate(NAMES)}
    # In any order of the columns.
    return frame(**dict(reversed(columns.items())))


def predictions_of(table: pd.DataFrame) -> Predictions:
    return from_frames({"model": table})["model"]


def values(table: pd.DataFrame) -> np.ndarray:
    return evaluate(table, replicates=20)[["value", "low", "high"]].to_numpy()


def test_a_plain_table_gives_what_arrays_give() -> None:
    plain = codes()
    expected = Predictions.from_arrays(
        labels=plain["label"],
        groups=plain["group"],
        probabilities=probabilities(),
        class_names=NAMES,
        group_names=["x", "y"],
    )
    pd.testing.assert_frame_equal(
        evaluate(with_probabilities(), replicates=50), evaluate(expected, replicates=50)
    )
    one = predictions_of(with_probabilities())
    assert (one.class_names, one.group_names) == (NAMES, ["x", "y"])
    np.testing.assert_array_equal(one.probabilities, probabilities())


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop(columns="prediction"),
        lambda table: table.astype({"label": "category", "group": "category"}),
        lambda table: table.assign(index=np.arange(90), unit=np.arange(90), split="test"),
        lambda table: table.assign(further="ignored", prob=1),
        lambda table: table.set_index(pd.Index(np.arange(90) * 7)),
        lambda table: table.astype({"label": "string", "group": object}),
    ],
)
def test_ways_to_write_the_same_table(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    np.testing.assert_array_equal(values(change(with_probabilities())), values(with_probabilities()))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int64", "float32", "Int64", object, str, "category"])
def test_numbers_of_every_type_are_the_same_classes(kind: Any) -> None:
    columns = {name: pd.Series(column).astype(kind) for name, column in codes().items()}
    table = pd.DataFrame({**columns, "group": frame()["group"]})
    one = predictions_of(table)
    assert one.class_names == ["0", "1", "2"]
    np.testing.assert_array_equal(one.labels, codes()["label"])
    np.testing.assert_array_equal(one.predicted, codes()["prediction"])


def test_numbers_sort_by_value_and_the_later_of_two_classes_is_positive() -> None:
    table = pd.DataFrame({"label": [9, 10, 10, 9], "group": [2, 10, 2, 10], "prediction": [9, 10, 9, 9]})
    one = predictions_of(table)
    assert (one.class_names, one.group_names) == (["9", "10"], ["2", "10"])
    assert (
        evaluate(table, replicates=5).set_index("metric")["value"]["equal_opportunity_difference"].max() == 1
    )
    true = pd.DataFrame({"label": [True, False], "group": ["a", "b"], "prediction": [True, True]})
    assert predictions_of(true).class_names == ["False", "True"]


def test_a_categorical_keeps_its_order_and_its_empty_classes() -> None:
    order = pd.CategoricalDtype(["cow", "emu", "bee", "ant"])
    one = predictions_of(frame(label=pd.Series(frame()["label"]).astype(order)))
    assert one.class_names == ["cow", "emu", "bee", "ant"]
    assert list(one.frame["label"].astype(str)) == list(frame()["label"])


def test_without_probabilities_calibration_is_undefined_and_the_rest_is_not() -> None:
    table = evaluate(frame(), replicates=20).set_index("metric")
    assert table.loc["expected_calibration_error", ["value", "low", "high", "noise_floor"]].isna().all()
    others = table.drop(index="expected_calibration_error")
    assert others[["value", "low", "high"]].notna().all().all()
    sure = evaluate(with_probabilities(), replicates=5).set_index("metric")
    expected = sure.drop(index="expected_calibration_error")["value"]
    np.testing.assert_array_equal(others["value"], expected)
    with pytest.raises(DataError, match="hold no probabilities"):
        _ = predictions_of(frame()).probabilities


def test_one_model_without_probabilities_can_be_compared() -> None:
    table = compare({"sure": with_probabilities(), "bare": frame()}, replicates=20)
    rows = table[table["class"] == "all"].set_index("metric")
    assert rows.loc["accuracy", "value"] == 0
    assert np.isnan(rows.loc["expected_calibration_error", "value"])
    assert not rows.loc["expected_calibration_error", "supported"]


def test_groups_may_be_missing() -> None:
    groups = codes()["group"].copy()
    groups[::10] = -1
    text = pd.Series(np.array(["0", "1", None], dtype=object)[groups])
    for column in (groups, text, pd.Series(groups).astype("Int64").mask(groups == -1)):
        one = predictions_of(frame(group=column))
        np.testing.assert_array_equal(one.groups, groups)
        assert one.group_names == ["0", "1"]


def test_a_class_that_one_model_alone_predicts_is_a_class_of_both() -> None:
    other = frame()
    other.loc[4, "prediction"] = "emu"
    models = from_frames({"one": frame(), "other": other})
    assert models["one"].class_names == models["other"].class_names == [*NAMES, "emu"]
    with pytest.warns(UserWarning, match="class emu"):
        compare({"one": frame(), "other": other}, replicates=5)


def test_a_table_and_predictions_can_be_compared() -> None:
    one = predictions_of(frame().assign(prediction=frame()["label"]))
    table = compare({"a": one, "b": frame()}, replicates=20).set_index("metric")
    assert table.loc["accuracy", "baseline_value"] == 1


def test_a_table_that_fairkd_wrote_is_taken_as_it_is(tmp_path: Path) -> None:
    predictions_of(with_probabilities()).to_parquet(tmp_path / "p.parquet")
    read = pd.read_parquet(tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(predictions_of(read).frame, read)


def faulty(**cells: Any) -> pd.DataFrame:
    table = with_probabilities()
    for column, (row, value) in cells.items():
        if column not in table:
            table[column] = np.arange(len(table))
        if value is None:
            table[column] = table[column].astype(object)
        table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([1, 2], "are a list; allowed: fairkd.Predictions or a pandas DataFrame"),
        (frame().drop(columns="label"), "lack the columns label; found: group, prediction; rename yours"),
        (frame().drop(columns="group"), "lack the columns group;"),
        (
            frame().drop(columns="prediction"),
            r"lack the columns prediction \(or prob_<class> for every class\)",
        ),
        (frame().iloc[:0], "hold no samples"),
        (faulty(label=(3, None)), "lack 1 values in label: fill them or leave those rows out"),
        (faulty(prediction=(3, None)), "lack 1 values in prediction"),
        (faulty(unit=(3, None)), "lack 1 values in unit"),
        (frame(group=None), "hold no sample with a group"),
        (frame(group=-1), "hold no sample with a group"),
        (faulty(index=(3, 4)), "have the index 4 more than once: it names a sample"),
        (
            faulty(prob_ant=(3, 1.7)),
            r"1 of 90 samples lie outside 0 to 1 \(are they logits\?\), first in row 3",
        ),
        (faulty(prob_ant=(3, np.nan)), "1 of 90 samples are not finite, first in row 3"),
        (with_probabilities().assign(prob_ant=0.0), "do not have the sum 1"),
        (with_probabilities().assign(prob_ant="high"), "columns that are not numbers"),
        (
            with_probabilities().drop(columns="prob_bee"),
            "lack the columns prob_bee: every class that occurs needs one",
        ),
        (
            frame(prediction=codes()["prediction"]),
            r"never name a class of its labels: label has 3: ant, .*, prediction has 3: 0, 1, 2; give",
        ),
        (frame(prediction=0.73), r"hold fractions in prediction, such as 0.73; needed: a class"),
        (
            frame(split=["a", "b"] * 45),
            r"mix the splits a, b: keep one, for example frame\[frame\['split'\] == 'a'\]",
        ),
        (frame(model=["a", "b"] * 45), "mix the models a, b"),
        (pd.concat([frame(), frame()["label"]], axis=1), "have the column 'label' more than once"),
    ],
)
def test_every_fault_is_named_with_a_way_out(table: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"the predictions of 'mine'.* {message}"):
        evaluate(table, model="mine")


@pytest.mark.parametrize(
    "analyse",
    [
        analysis.calibration_by_group,
        analysis.reliability,
        lambda one: analysis.modal([one, one]).frame,
        lambda one: analysis.across_seeds([one, one], replicates=20),
        lambda one: analysis.disagreement(one, one),
        lambda one: analysis.exemplars(one, one, every_sample=True),
        lambda one: analysis.counterfactual_flips(one),
        lambda one: analysis.prediction_sensitivity(one, np.arange(90.0)),
        lambda one: analysis.calibrate_groups(one, one).frame,
        lambda one: (
            analysis.retrain_last_layer(one, one, *2 * [np.random.default_rng(0).random((90, 2))]).frame
        ),
    ],
)
def test_analyses_take_tables_as_well(analyse: Callable[[Any], pd.DataFrame]) -> None:
    columns = {f"prob_{name}": column for name, column in zip(NAMES, probabilities().T, strict=True)}
    table = frame(unit=np.repeat(np.arange(15), 6), **columns).drop(columns="prediction")
    # Each unit is shown once in each group, as far as classes repeat.
    table["unit"] = table["label"] + (table.groupby(["label", "group"]).cumcount()).astype(str)
    pd.testing.assert_frame_equal(analyse(table), analyse(from_frames({"model": table})["model"]))


def test_thresholds_take_tables_as_well() -> None:
    table = frame().assign(prob_yes=probabilities()[:, 0]).drop(columns="prediction")
    table = table.assign(label=np.where(table["label"] == "ant", "yes", "no"), prob_no=1 - table["prob_yes"])
    found = analysis.optimize_thresholds(table, table)
    assert found.class_names == ["no", "yes"] and len(found) == 90


def test_what_would_be_read_wrongly_is_refused() -> None:
    table = frame()
    two = pd.concat([table, table], ignore_index=True).assign(seed=np.repeat([0, 1], 90))
    with pytest.raises(DataError, match=r"mix the seeds 0, 1: keep one"):
        evaluate(two)
    with pytest.raises(DataError, match=r"the groups are -1 and 1, .*give them names, or 0 and 1"):
        evaluate(table.assign(group=2 * codes()["group"] - 1))
    with pytest.raises(DataError, match=r"the models are a list; needed: predictions by name"):
        compare([table, table])


@pytest.mark.parametrize("kind", ["int64", "float64", "object", "Int64"])
def test_minus_one_is_a_missing_group_in_whatever_numbers(kind: str) -> None:
    groups = pd.Series(np.arange(90) // 3 % 3 - 1).astype(kind)
    (one,) = from_frames({"model": frame(group=groups)}).values()
    assert one.group_names == ["0", "1"] and (one.groups < 0).sum() == 30
    values = codes()
    with pytest.warns(FairkdWarning, match="30 of 90 samples have no group"):
        gap = accuracy_gap(values["label"], values["prediction"], sensitive_features=groups)
    known = np.arange(90) // 3 % 3 > 0
    assert gap == accuracy_gap(
        values["label"][known], values["prediction"][known], sensitive_features=groups[known]
    )
