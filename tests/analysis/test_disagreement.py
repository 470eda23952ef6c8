"""Disagreement of teacher and student: counts and margins against a loop, votes against ``Counter``."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fairkd.analysis import disagreement, exemplars, modal
from fairkd.analysis.disagreement import DISAGREE, OUTCOMES
from fairkd.errors import DataError
from fairkd.metrics.proportions import wilson_interval
from fairkd.predictions import Predictions

NAMES = ["ant", "bee", "cow"]


def model(seed: int, n: int = 60, **changes: Any) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    probabilities = rng.dirichlet(np.ones(3), n) + np.eye(3)[labels] * 0.2
    arguments = {
        "labels": labels,
        "groups": np.arange(n) // 3 % 2,
        "probabilities": probabilities / probabilities.sum(axis=1, keepdims=True),
        "class_names": NAMES,
        "group_names": ["x", "y"],
        "index": np.arange(n) + 500,
    }
    return Predictions.from_arrays(**{**arguments, **changes})


def outcome(label: str, teacher: str, student: str) -> str:
    if teacher == label:
        return OUTCOMES[2] if student == label else OUTCOMES[0]
    if student == label:
        return OUTCOMES[1]
    return OUTCOMES[3] if teacher == student else OUTCOMES[4]


def test_counts_equal_a_loop() -> None:
    teacher, student = model(0), model(1)
    columns = [teacher.frame["group"], teacher.frame["prediction"], student.frame["prediction"]]
    rows = zip(*columns, teacher.frame["label"], strict=True)
    expected: Counter[tuple[str, str]] = Counter()
    for group, old, new, label in rows:
        for name in ("all", group):
            expected[name, outcome(label, old, new)] += 1
            expected[name, DISAGREE] += old != new
    table = disagreement(teacher, student)
    assert len(table) == 3 * 6
    for row in table.to_dict("records"):
        assert row["n"] == expected[row["group"], row["outcome"]]
        assert row["total"] == {"all": 60, "x": 30, "y": 30}[row["group"]]
        assert row["share"] == row["n"] / row["total"]
        low, high = wilson_interval(np.array([row["n"]]), np.array([row["total"]]))
        assert (row["low"], row["high"]) == pytest.approx((low[0], high[0]))
    assert {expected["all", one] > 0 for one in OUTCOMES} == {True}


def test_units_widen_the_intervals_and_a_model_agrees_with_itself() -> None:
    units = np.arange(60) // 3
    single, grouped = (disagreement(model(0, unit=u), model(1, unit=u)) for u in (None, units))
    np.testing.assert_array_equal(single["share"], grouped["share"])
    assert ((grouped["high"] - grouped["low"]) > (single["high"] - single["low"])).all()
    same = disagreement(model(0), model(0)).set_index(["group", "outcome"])
    assert same.loc[("all", DISAGREE), "n"] == 0 and same.loc[("all", DISAGREE), "high"] > 0


def test_exemplars_have_written_out_margins_and_the_greatest_loss_first() -> None:
    teacher, student = model(0), model(1)
    table = exemplars(teacher, Predictions(student.frame.sample(frac=1, random_state=0)))
    assert list(table["margin_change"]) == sorted(table["margin_change"])
    assert set(table["index"]) == set(teacher.frame["index"][teacher.predicted != student.predicted])
    for row in table.to_dict("records"):
        i = row["index"] - 500
        for who, one in (("teacher", teacher), ("student", student)):
            logs = np.log(one.probabilities[i])
            others = np.delete(logs, one.labels[i])
            assert row[f"{who}_margin"] == pytest.approx(logs[one.labels[i]] - max(others))
            assert (row[f"{who}_margin"] > 0) == (row[f"{who}_prediction"] == row["label"])
        assert row["outcome"] == outcome(row["label"], row["teacher_prediction"], row["student_prediction"])
    assert len(exemplars(teacher, student, every_sample=True)) == 60


def test_the_table_survives_csv() -> None:
    table = exemplars(model(0), model(1))
    again = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    pd.testing.assert_frame_equal(again, table, check_dtype=False, check_categorical=False)


def test_modal_is_the_majority_and_ties_go_to_the_larger_probability() -> None:
    seeds = [model(seed) for seed in range(4)]
    reduced = modal(seeds)
    mean = np.mean([one.probabilities for one in seeds], axis=0)
    np.testing.assert_allclose(reduced.probabilities, mean)
    ties = 0
    for i in range(60):
        votes = Counter(int(one.predicted[i]) for one in seeds)
        best = [c for c, n in votes.items() if n == max(votes.values())]
        ties += len(best) > 1
        assert reduced.predicted[i] == max(best, key=lambda c: mean[i, c])
    assert ties > 3
    pd.testing.assert_frame_equal(modal(seeds[:1]).frame, seeds[0].frame)


def test_modal_of_seeds_that_only_decide() -> None:
    bare = [
        Predictions(model(s).frame.drop(columns=[f"probability_{c}" for c in range(3)])) for s in range(3)
    ]
    reduced = modal(bare)
    assert not reduced.has_probabilities
    table = exemplars(reduced, model(4))
    assert table["teacher_margin"].isna().all() and table["student_margin"].notna().all()
    assert disagreement(reduced, model(4))["n"].sum() > 0


def test_other_samples_and_no_seeds_are_named() -> None:
    with pytest.raises(DataError, match="10 samples are only in 'teacher'"):
        disagreement(model(0), Predictions(model(1).frame.iloc[:50]))
    with pytest.raises(DataError, match="at least one seed"):
        modal([])
