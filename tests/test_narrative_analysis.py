"""Sentences of the analysis follow from their tables, and say nothing where there is nothing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fairkd import narrative_analysis, tables, tables_analysis
from fairkd.inference import ArrayOutputs
from fairkd.predictions import Predictions
from fairkd.shown import signed
from fairkd.tables_analysis import inflations, nothing, student_disagreement


def predictions(
    right: list[bool], groups: list[int], names: tuple[str, ...] = ("red", "green")
) -> Predictions:
    labels = np.arange(len(right)) % 2
    predicted = np.where(right, labels, 1 - labels)
    probabilities = 0.1 + 0.8 * np.eye(2)[predicted]
    return Predictions.from_arrays(
        labels=labels,
        groups=np.array(groups),
        probabilities=probabilities,
        class_names=("no", "yes"),
        group_names=names,
    )


@pytest.fixture(scope="module")
def models() -> dict[str, Predictions]:
    groups = [0] * 40 + [1] * 40
    teacher = predictions([True] * 80, groups)
    # The student loses every sample of the second group, and none of the first.
    student = predictions([True] * 40 + [False] * 40, groups)
    return {"teacher": teacher, "student_kd": student, "student_fair": teacher}


@pytest.fixture(scope="module")
def changes(models: dict[str, Predictions]) -> pd.DataFrame:
    pairs = [("student_kd", "teacher"), ("student_fair", "teacher")]
    return inflations(models, pairs, replicates=600)


def test_a_number_that_rounds_to_zero_has_no_sign() -> None:
    assert [signed(value) for value in (-0.0004, 0.0, -0.0123, 0.5)] == ["0.000", "0.000", "−0.012", "+0.500"]


def test_what_is_settled_is_named_with_its_difference(changes: pd.DataFrame) -> None:
    lost, same = narrative_analysis.describe_inflation(changes, "group")
    assert lost == (
        "student_kd against teacher, 2 rows by group: 0 larger; 1 smaller: green (−1.000); 1 not settled."
    )
    assert same == "student_fair against teacher, 2 rows by group: 0 larger; 0 smaller; 2 not settled."


def test_the_table_puts_a_symbol_before_every_difference(
    models: dict[str, Predictions], changes: pd.DataFrame
) -> None:
    table = tables.overview(tables.evaluate_models(models, replicates=200), changes)
    row = table.loc["accuracy ↑"]
    assert row["n"] == "80"
    assert row["student_kd"].startswith("0.500 (")
    assert row["student_kd − teacher"] == "▼ −0.500"
    assert row["student_fair − teacher"] == "= 0"
    assert table.index[0] == "accuracy ↑" and "mean recall gap ↓" in table.index


def test_the_disagreement_names_the_group_that_pays(models: dict[str, Predictions]) -> None:
    lost, same = narrative_analysis.describe_disagreement(student_disagreement(models))
    assert "another class than its teacher for 50.0% of the samples: 50.0% lost" in lost
    assert "largest for green (1.000) and smallest for red (0.000); their intervals do not overlap." in lost
    assert same.endswith("The share lost is the same everywhere.")


def test_the_conclusion_separates_supported_from_the_same(
    models: dict[str, Predictions], changes: pd.DataFrame
) -> None:
    supported, same, limits = narrative_analysis.conclude_analysis(
        changes, nothing("no groups"), student_disagreement(models)
    )
    assert supported.startswith("**Supported** after Holm's adjustment: ")
    assert "accuracy smaller in student_kd than in teacher (−0.500, adjusted p" in supported
    assert same.startswith("**The same in both models**") and "student_fair against teacher" in same
    assert limits.startswith("**Limits**: 80 test samples, one training seed")


@pytest.mark.parametrize(("share", "conditional"), [(0.5, False), (0.85, True)])
def test_a_right_answer_alone_is_no_leakage(share: float, conditional: bool) -> None:
    # What the network computes depends on the label alone; in skewed samples the label tells the group.
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 150)
    groups = np.where(np.tile(np.arange(150), 2) < 150 * share, labels, 1 - labels)
    logits = np.eye(2)[labels] + rng.normal(0, 0.1, (300, 2))
    images = SimpleNamespace(labels=labels, groups=groups, unit=np.arange(300))
    options = {"probes": ["linear"], "replicates": 200}
    table = tables_analysis.leakage({"student": ArrayOutputs(logits, logits)}, images, **options)
    assert (table["conditional"] == conditional).all() and not table["above_chance"].any()
    sentences = narrative_analysis.describe_leakage(table)
    assert sentences[-1].startswith(
        "student: the group is read not above chance by any of these probes; at best "
    )
    assert ["fitted within each class" in sentence for sentence in sentences] == [True] * conditional + [
        False
    ]


def test_no_rows_give_no_sentence() -> None:
    empty = nothing("there is one group")
    for describe in (
        narrative_analysis.describe_inflation,
        narrative_analysis.describe_leakage,
        narrative_analysis.describe_distances,
        narrative_analysis.describe_sensitivity,
        narrative_analysis.describe_flips,
    ):
        assert describe(empty) == []


def test_a_figure_of_nothing_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(narrative_analysis, "say", said.append)
    narrative_analysis.show(lambda table: pytest.fail("drawn"), nothing("there is one group"))
    assert said == ["No figure: there is one group."]
