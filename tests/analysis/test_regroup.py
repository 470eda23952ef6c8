"""The same predictions by another attribute: only the groups change, and wrong data are refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fairkd.analysis import regroup
from fairkd.data.splits import ImageSet, Splits
from fairkd.errors import DataError, ParameterError
from fairkd.evaluation import evaluate
from fairkd.narrative_analysis import show_changes
from fairkd.predictions import Predictions
from fairkd.tables_analysis import other_attributes

NAMES = ("young", "old", "older")


@pytest.fixture
def splits(tiny_splits: Splits) -> Splits:
    """The tiny data with the attribute ``age``: by position, missing for the first sample of each split."""

    def aged(images: ImageSet) -> ImageSet:
        codes = np.arange(len(images)) // 3 % len(NAMES)
        codes[0] = -1
        return dataclasses.replace(images, attributes={"age": codes})

    parts = {name: aged(images) for name, images in tiny_splits.items()}
    return dataclasses.replace(tiny_splits, **parts, attributes={"age": NAMES})


def guesses(splits: Splits, seed: int = 0) -> Predictions:
    test, rng = splits.test, np.random.default_rng(seed)
    return Predictions.from_arrays(
        labels=test.labels,
        groups=test.groups,
        probabilities=rng.dirichlet(np.ones(3), len(test)) * 0.7 + 0.3 * np.eye(3)[test.labels],
        class_names=splits.class_names,
        group_names=splits.group_names,
        index=test.index,
        unit=test.unit,
    )


def test_only_the_groups_change_whatever_the_order_of_the_rows(splits: Splits) -> None:
    first = guesses(splits)
    order = np.random.default_rng(0).permutation(len(first))
    other = regroup(Predictions(first.frame.iloc[order].reset_index(drop=True)), splits, "age")
    assert other.group_names == list(NAMES)
    assert np.array_equal(other.groups, splits.test.attributes["age"][order]) and -1 in other.groups
    same = [name for name in first.frame if name != "group"]
    pd.testing.assert_frame_equal(
        other.frame[same], first.frame[same].iloc[order].reset_index(drop=True), check_exact=True
    )
    accuracy = evaluate(other, replicates=50).query("metric == 'accuracy' and `class` == 'all'")
    by_hand = {
        name: np.mean((first.predicted == first.labels)[splits.test.attributes["age"] == code])
        for code, name in enumerate(NAMES)
    }
    assert accuracy.set_index("group")["value"][list(NAMES)].to_dict() == pytest.approx(by_hand)


def test_what_is_not_in_the_data_is_refused(splits: Splits, tiny_splits: Splits) -> None:
    with pytest.raises(
        ParameterError, match=r"attribute='ages' is not in the data: did you mean 'age'\? they have age"
    ):
        regroup(guesses(splits), splits, "ages")
    with pytest.raises(ParameterError, match=r"they have none; name further ones in audit_groups"):
        regroup(guesses(splits), tiny_splits, "age")
    test = splits.test.subset(np.arange(5, len(splits.test)))
    with pytest.raises(
        DataError, match=r"^5 of 24 predictions are not of tiny's test split: take the splits that"
    ):
        regroup(guesses(splits), dataclasses.replace(splits, test=test), "age")


def test_the_models_are_compared_by_every_further_attribute(splits: Splits) -> None:
    models = {"teacher": guesses(splits), "student_kd": guesses(splits, 1)}
    table = other_attributes(models, splits, [("student_kd", "teacher")], replicates=600)
    assert table.index.get_level_values(0).unique().tolist() == ["age"] and len(table) == 3
    assert table.columns.tolist() == ["n", "teacher", "student_kd", "student_kd − teacher"]
    gap = evaluate(regroup(models["teacher"], splits, "age"), replicates=600).query(
        "metric == 'recall_gap' and `class` == 'all' and group == 'all'"
    )["value"]
    assert table.loc[("age", "mean recall gap ↓"), "teacher"].startswith(f"{gap.iloc[0]:.3f} (")


def test_without_a_further_attribute_that_is_said(
    tiny_splits: Splits, capsys: pytest.CaptureFixture[str]
) -> None:
    table = other_attributes({"teacher": guesses(tiny_splits)}, tiny_splits, [])
    assert table.empty and table.attrs["reason"] == "audit_groups names no further attribute"
    show_changes(table)
    assert "Markdown" in capsys.readouterr().out
