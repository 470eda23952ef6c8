"""Tables of metrics and comparisons: values against the public functions, intervals by their properties."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest

from fairkd import metrics
from fairkd.errors import DataError, FairkdWarning, ParameterError
from fairkd.evaluation import compare, evaluate, findings, summarize
from fairkd.metrics import METRICS
from fairkd.predictions import Predictions

CLASSES, GROUPS = ["0", "1", "2"], ["red", "green"]
EVALUATION = [
    "run",
    "seed",
    "model",
    "metric",
    "class",
    "group",
    "value",
    "low",
    "high",
    "noise_floor",
    "n",
    "definition",
]
COMPARISON = [
    "model",
    "baseline",
    "metric",
    "class",
    "group",
    "value",
    "low",
    "high",
    "model_value",
    "baseline_value",
    "n",
    "better",
    "supported",
    "definition",
    "confidence",
]


def make(
    recalls: tuple[float, float], seed: int = 0, scans: int = 90, keep: slice = slice(None)
) -> Predictions:
    """Scans that are shown in both groups, with the given recalls in red and green."""
    rng = np.random.default_rng(seed)
    unit = np.tile(np.arange(scans), 2)
    labels, groups = unit % 3, np.repeat([0, 1], scans)
    right = rng.random(2 * scans) < np.array(recalls)[groups]
    target = np.where(right, labels, (labels + 1) % 3)
    probabilities = np.eye(3)[target] * 0.8 + rng.dirichlet(np.ones(3), 2 * scans) * 0.2
    return Predictions.from_arrays(
        labels=labels[keep],
        groups=groups[keep],
        probabilities=probabilities[keep],
        class_names=CLASSES,
        group_names=GROUPS,
        unit=unit[keep],
    )


def shuffled(predictions: Predictions) -> Predictions:
    return Predictions(predictions.frame.sample(frac=1, random_state=1))


def test_evaluate_has_every_value() -> None:
    one = make((0.9, 0.6))
    table = evaluate(one, model="student", run="trial", seed=3, replicates=200)
    assert list(table.columns) == EVALUATION
    assert set(table["model"]) == {"student"}
    assert set(table["run"]) == {"trial"}
    assert set(table["seed"]) == {3}
    overall = table[(table["class"] == "all") & (table["group"] == "all")].set_index("metric")
    assert list(overall.index) == list(METRICS)
    assert set(overall["n"]) == {180}
    y_true, y_pred, groups = one.labels, one.predicted, one.groups
    expected = {
        "accuracy": metrics.accuracy(y_true, y_pred),
        "recall_gap": metrics.recall_gap(y_true, y_pred, sensitive_features=groups),
        "recall_gap_max": metrics.recall_gap(y_true, y_pred, sensitive_features=groups, reduce="max"),
        "bias_amplification": metrics.bias_amplification(y_true, y_pred, sensitive_features=groups),
        "expected_calibration_error": metrics.expected_calibration_error(y_true, one.probabilities),
    }
    for name, value in expected.items():
        assert overall.loc[name, "value"] == pytest.approx(value, abs=1e-12)
        assert overall.loc[name, "definition"] == METRICS[name].definition
    assert (overall["low"] <= overall["high"]).all()
    assert overall.loc["accuracy", "low"] < expected["accuracy"] < overall.loc["accuracy", "high"]


def test_evaluate_has_groups_classes_and_cells() -> None:
    one = make((0.9, 0.6))
    table = evaluate(one, replicates=50)
    groups = metrics.by_group(one.labels, one.predicted, sensitive_features=one.groups)
    rows = table[(table["metric"] == "accuracy") & (table["group"] != "all")]
    assert list(rows["group"]) == GROUPS
    np.testing.assert_allclose(rows["value"], groups["accuracy"])
    np.testing.assert_array_equal(rows["n"], groups["n"])
    cells = metrics.by_class_and_group(one.labels, one.predicted, sensitive_features=one.groups)
    rows = table[table["metric"] == "recall"]
    assert list(zip(rows["class"], rows["group"], strict=True)) == [(c, g) for c in CLASSES for g in GROUPS]
    np.testing.assert_allclose(rows["value"], cells["recall"])
    np.testing.assert_array_equal(rows["n"], cells["n"])
    gaps = table[(table["metric"] == "recall_gap") & (table["class"] != "all")]
    by_class = cells.groupby("class")["recall"].agg(lambda recall: recall.max() - recall.min())
    np.testing.assert_allclose(gaps["value"], by_class)
    assert set(gaps["n"]) == {30}


def test_the_order_of_rows_does_not_matter() -> None:
    one, other = make((0.9, 0.6)), make((0.9, 0.8), seed=1)
    pd.testing.assert_frame_equal(evaluate(one, replicates=100), evaluate(shuffled(one), replicates=100))
    expected = compare({"a": one, "b": other}, replicates=100)
    pd.testing.assert_frame_equal(compare({"a": one, "b": shuffled(other)}, replicates=100), expected)


def test_the_seed_decides_the_interval() -> None:
    one = make((0.9, 0.6))
    first, again, other = (evaluate(one, replicates=100, bootstrap_seed=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    pd.testing.assert_series_equal(first["value"], other["value"])
    assert (first["low"] != other["low"]).any()


def test_more_confidence_is_a_wider_interval() -> None:
    one = make((0.9, 0.6))
    narrow, wide = (evaluate(one, replicates=500, confidence=level).iloc[0] for level in (0.5, 0.99))
    assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]


def test_a_flawless_model_has_wilsons_limit() -> None:
    table = evaluate(make((1.0, 1.0)), replicates=50)
    z = 1.959963984540054
    cell = table[table["metric"] == "recall"].iloc[0]
    assert cell["high"] == 1
    assert cell["low"] == pytest.approx(30 / (30 + z**2))
    # Each scan is shown twice: 90 scans, not 180 images.
    assert table["low"][0] == pytest.approx(90 / (90 + z**2))


def test_a_model_without_a_success_has_wilsons_limit() -> None:
    cell = evaluate(make((0.0, 1.0)), replicates=50).query("metric == 'recall'").iloc[0]
    assert cell["low"] == 0
    assert cell["high"] == pytest.approx(1 - 30 / (30 + 1.959963984540054**2))


def test_an_empty_cell_is_nan_and_named_once() -> None:
    one = make((0.9, 0.6))
    frame = one.frame[~((one.frame["label"] == "2") & (one.frame["group"] == "green"))]
    with pytest.warns(FairkdWarning, match="no samples in class 2 x group green:") as warned:
        table = evaluate(Predictions(frame), replicates=50)
    assert len(warned) == 1
    assert warned[0].filename == __file__
    cell = table[(table["class"] == "2") & (table["group"] == "green")].iloc[0]
    assert cell["n"] == 0
    assert cell[["value", "low", "high"]].isna().all()
    gap = table[(table["class"] == "2") & (table["metric"] == "recall_gap")].iloc[0]
    assert gap["n"] == 0
    assert np.isnan(gap["value"])
    assert table.loc[table["metric"] == "recall_gap", "value"].notna().iloc[0]
    note = table.loc[table["metric"] == "bias_amplification", "definition"].item()
    assert note.endswith("The groups differ in size here, so part of the value is the data's.")
    with pytest.warns(FairkdWarning) as warned:
        compare({"a": Predictions(frame), "b": Predictions(frame)}, replicates=50)
    assert len(warned) == 1
    with pytest.warns(FairkdWarning) as warned:
        summarize({"a": Predictions(frame), "b": Predictions(frame)}, [("b", "a")], replicates=50)
    assert len(warned) == 1


def test_compare_is_the_difference_of_evaluations() -> None:
    models = {"teacher": make((0.9, 0.8)), "kd": make((0.9, 0.3), 1), "fair": make((0.8, 0.8), 2)}
    table = compare(models, replicates=300)
    assert list(table.columns) == COMPARISON
    assert list(dict.fromkeys(zip(table["model"], table["baseline"], strict=True))) == [
        ("kd", "teacher"),
        ("fair", "teacher"),
    ]
    np.testing.assert_allclose(table["value"], table["model_value"] - table["baseline_value"])
    for name in ("kd", "fair"):
        rows = table[table["model"] == name].reset_index()
        alone = evaluate(models[name], replicates=50)
        alone = alone[(alone["group"] == "all")].reset_index()
        pd.testing.assert_frame_equal(
            rows[["metric", "class", "group", "n"]], alone[["metric", "class", "group", "n"]]
        )
        np.testing.assert_allclose(rows["model_value"], alone["value"])
    np.testing.assert_array_equal(table["supported"], (table["low"] > 0) | (table["high"] < 0))
    assert (table["better"] == table["metric"].map(lambda name: METRICS[name].better)).all()
    gap = table[(table["model"] == "kd") & (table["metric"] == "recall_gap") & (table["class"] == "all")]
    assert gap["supported"].item()
    assert gap["value"].item() > 0.1


def test_other_models_do_not_change_a_comparison() -> None:
    models = {"a": make((0.9, 0.8)), "b": make((0.9, 0.5), 1), "c": make((0.8, 0.8), 2)}
    all_of_them = compare(models, baseline="b", replicates=100)
    pair = compare({"c": models["c"], "b": models["b"]}, baseline="b", replicates=100)
    rows = all_of_them[all_of_them["model"] == "c"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, pair)


def test_a_model_equals_itself() -> None:
    one = make((0.9, 0.6))
    table = compare({"a": one, "b": shuffled(one)}, replicates=100)
    for column in ("value", "low", "high"):
        np.testing.assert_allclose(table[column], 0, atol=1e-12)
    assert not table["supported"].any()


def test_models_on_other_samples_are_refused() -> None:
    one, other = make((0.9, 0.6)), make((0.9, 0.6), keep=slice(0, 170))
    for call in (compare, summarize):
        with pytest.raises(DataError, match="10 samples are only in 'a', the first with index 170"):
            call({"a": one, "b": other})


def test_bad_options_are_named() -> None:
    one = make((0.9, 0.6))
    with pytest.raises(ParameterError, match="baseline 'teacher' and the models a, b"):
        compare({"a": one, "b": one}, baseline="teacher")
    with pytest.raises(ParameterError, match="at least two models"):
        compare({"a": one})
    with pytest.raises(ParameterError, match="models none"):
        compare({})
    with pytest.raises(ParameterError, match="comparisons name 'c'; the models are a"):
        summarize({"a": one}, [("a", "c")])
    with pytest.raises(ParameterError, match="replicates=0"):
        evaluate(one, replicates=0)
    with pytest.raises(ParameterError, match="confidence=95"):
        evaluate(one, confidence=95)


def test_summarize_holds_the_numbers_of_the_tables() -> None:
    models = {"teacher": make((0.9, 0.8)), "kd": make((0.9, 0.5), 1)}
    summary = summarize(models, [("kd", "teacher")], replicates=100)
    json.dumps(summary, allow_nan=False)
    assert list(summary) == ["models", "comparisons"]
    for name, one in models.items():
        overall = evaluate(one, replicates=100).query("`class` == 'all' and group == 'all'")
        assert list(summary["models"][name]) == list(METRICS)
        for row in overall.to_dict("records"):
            expected = {key: row[key] for key in ("value", "low", "high", "definition")}
            assert summary["models"][name][row["metric"]] == expected
    table = compare(models, replicates=100).query("`class` == 'all'")
    assert [entry["metric"] for entry in summary["comparisons"]] == list(table["metric"])
    first = summary["comparisons"][0]
    assert first["model"] == "kd"
    assert first["baseline"] == "teacher"
    assert [first[key] for key in ("difference", "low", "high")] == list(
        table.iloc[0][["value", "low", "high"]]
    )
    assert type(first["supported"]) is bool


def row(**changes: object) -> dict[str, object]:
    base = {"model": "kd", "baseline": "teacher", "metric": "recall_gap", "class": "all", "group": "all"}
    numbers = {"value": 0.0901, "low": 0.05, "high": 0.13, "n": 300, "supported": True, "confidence": 0.95}
    return {**base, **numbers, **changes}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {},
            "The mean recall gap of kd is 0.090 above that of teacher (95 % interval 0.050 to 0.130): "
            "the interval excludes 0.",
        ),
        (
            {"value": -0.02, "low": -0.06, "supported": False, "confidence": 0.9},
            "The mean recall gap of kd is 0.020 below that of teacher (90 % interval −0.060 to 0.130): "
            "the data do not settle the sign.",
        ),
        (
            {"value": 0.0, "low": -0.01, "high": 0.01, "supported": False},
            "The mean recall gap of kd is that of teacher to three decimals (95 % interval −0.010 to 0.010): "
            "the data do not settle the sign.",
        ),
        (
            {"value": np.nan, "low": np.nan, "high": np.nan, "supported": False},
            "The mean recall gap of kd and teacher cannot be compared: it is undefined on these samples.",
        ),
    ],
)
def test_findings_say_what_the_numbers_say(changes: dict[str, object], sentence: str) -> None:
    assert findings(pd.DataFrame([row(**changes)]), ["recall_gap"]) == [sentence]


def test_findings_name_classes_with_too_few_samples() -> None:
    few = [row(**{"class": "ox", "n": 9, "model": name}) for name in ("kd", "fair")]
    table = pd.DataFrame([row(), row(model="fair"), *few, row(**{"class": "cat", "n": 10})])
    sentences = findings(table, ["recall_gap"])
    assert len(sentences) == 3
    assert sentences[-1].startswith("Too few samples")
    assert sentences[-1].endswith("within these classes: ox (9).")


def test_findings_of_a_real_comparison() -> None:
    table = compare({"teacher": make((0.9, 0.8)), "kd": make((0.9, 0.5), 1)}, replicates=100)
    assert len(findings(table)) == 3
    assert len(findings(table, list(METRICS))) == len(METRICS)
    with pytest.raises(ParameterError, match="no rows for the metric 'f1'; the table has accuracy"):
        findings(table, ["f1"])


def test_no_warning_where_every_cell_has_samples() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(make((0.9, 0.6)), replicates=20)


def test_resamples_that_cannot_differ_settle_nothing_by_themselves() -> None:
    labels = np.resize([0, 1], 41)
    one, other = (
        pd.DataFrame({"label": labels, "group": np.resize([0, 0, 1, 1], 41), "prediction": np.full(41, code)})
        for code in (0, 1)
    )
    # Two constant models: every resample has the same difference, of the odd sample.
    rows = compare({"other": other, "one": one}, replicates=200)
    row = rows[rows["metric"] == "accuracy"].iloc[0]
    assert row["value"] == row["low"] == row["high"] == pytest.approx(1 / 41) and not row["supported"]
    (said,) = findings(rows, "accuracy")
    assert said.endswith("no resample differs; by a randomisation test not settled.")
    # All right against all wrong is settled, though no resample differs there either.
    right = one.assign(prediction=labels)
    rows = compare({"wrong": one.assign(prediction=1 - labels), "right": right}, replicates=200)
    row = rows[rows["metric"] == "accuracy"].iloc[0]
    assert row["low"] == row["high"] == 1 and row["supported"]
    assert findings(rows, "accuracy")[0].endswith("no resample differs; by a randomisation test settled.")


@pytest.mark.parametrize(("name", "value"), [("replicates", "10"), ("replicates", 0), ("bootstrap_seed", -1)])
def test_an_option_of_the_bootstrap_out_of_range_is_named(name: str, value: object) -> None:
    table = pd.DataFrame({"label": [0, 1], "group": [0, 1], "prediction": [0, 1]})
    with pytest.raises(ParameterError, match=rf"{name.removeprefix('bootstrap_')}={value!r} is not allowed"):
        evaluate(table, **{name: value})
