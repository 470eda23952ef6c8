"""``Predictions``: checked when made, unchanged by a round trip, aligned by index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fairkd.errors import ArtifactError, DataError
from fairkd.predictions import Predictions, align


def make(seed: int = 0, n: int = 30, **changes: Any) -> Predictions:
    rng = np.random.default_rng(seed)
    arguments = {
        "labels": np.arange(n) % 3,
        "groups": np.arange(n) % 2,
        "probabilities": rng.dirichlet(np.ones(3), n),
        # Out of alphabetical order, and a group without samples.
        "class_names": ["ox", "cat", "dog"],
        "group_names": ["red", "green", "blue"],
        "index": np.arange(n) + 100,
        "unit": np.arange(n) // 2,
    }
    return Predictions.from_arrays(**{**arguments, **changes})


def test_columns_come_back_as_codes() -> None:
    one = make()
    np.testing.assert_array_equal(one.labels, np.arange(30) % 3)
    np.testing.assert_array_equal(one.groups, np.arange(30) % 2)
    np.testing.assert_array_equal(one.units, np.arange(30) // 2)
    np.testing.assert_array_equal(one.predicted, one.probabilities.argmax(axis=1))
    assert one.class_names == ["ox", "cat", "dog"]
    assert one.group_names == ["red", "green", "blue"]
    # Codes are multiplied into cells: eight bits would overflow.
    assert one.labels.dtype == one.groups.dtype == one.predicted.dtype == np.int64


def test_unit_and_index_default_to_the_row() -> None:
    one = make(index=None, unit=None)
    np.testing.assert_array_equal(one.frame["index"], np.arange(30))
    np.testing.assert_array_equal(one.units, np.arange(30))


def test_parquet_keeps_order_and_empty_categories(tmp_path: Path) -> None:
    one = make()
    one.to_parquet(tmp_path / "new folder" / "p.parquet")
    other = Predictions.from_parquet(str(tmp_path / "new folder" / "p.parquet"))
    pd.testing.assert_frame_equal(other.frame, one.frame)
    assert other.class_names == one.class_names
    assert other.group_names == one.group_names
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["p.parquet"]


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"gone\.parquet"):
        Predictions.from_parquet(tmp_path / "gone.parquet")
    (tmp_path / "bad.parquet").write_text("not parquet")
    with pytest.raises(ArtifactError, match=r"bad\.parquet"):
        Predictions.from_parquet(tmp_path / "bad.parquet")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probabilities": np.ones((30, 2)) / 2}, r"allow \(30, 3\)"),
        ({"groups": np.zeros(29, dtype=int)}, "predictions:"),
        ({"labels": np.full(30, 3)}, "predictions:"),
        ({"labels": np.full(30, -1)}, "the column label lacks 30 values"),
        ({"class_names": ["ox", "ox", "dog"]}, "unique"),
        ({"unit": np.array([np.nan] * 30)}, "the column unit lacks 30 values"),
        ({"probabilities": np.full((30, 3), np.nan)}, "30 of 30 samples .* first with index 100"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(**changes)


def test_frames_are_checked() -> None:
    frame = make().frame
    with pytest.raises(DataError, match="lack the columns unit;"):
        Predictions(frame.drop(columns="unit"))
    with pytest.raises(DataError, match="lack the columns probability_2;"):
        Predictions(frame.drop(columns="probability_2"))
    with pytest.raises(DataError, match="column group has type"):
        Predictions(frame.assign(group=frame["group"].astype(str)))
    with pytest.raises(DataError, match="same categories"):
        Predictions(frame.assign(prediction=frame["prediction"].cat.rename_categories(["a", "b", "c"])))


def test_align_sorts_by_index() -> None:
    one, other = make(seed=0), make(seed=1)
    shuffled = Predictions(other.frame.sample(frac=1, random_state=0))
    aligned = align({"one": one, "other": shuffled})
    pd.testing.assert_frame_equal(aligned["other"].frame, other.frame)


def changed(column: str, row: int, value: Any) -> Predictions:
    frame = make().frame.copy()
    frame.loc[row, column] = value
    return Predictions(frame)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make(n=29), r"1 samples are only in 'one', the first with index 129"),
        (make(index=np.arange(30)), r"30 samples are only in 'one', the first with index 100"),
        (
            changed("label", 4, "dog"),
            r"label of the sample with index 104 is cat in 'one' and dog in 'other'",
        ),
        (changed("group", 4, "blue"), r"group of the sample with index 104 is red in 'one' and blue in"),
        (changed("unit", 4, 7), r"unit of the sample with index 104 is 2 in 'one' and 7 in 'other'"),
        (changed("index", 4, 103), r"index 103 occurs more than once in 'other'"),
        (
            make(class_names=["ox", "cat", "emu"]),
            r"classes are \['ox', 'cat', 'dog'\] and \['ox', 'cat', 'emu'\]",
        ),
        (make(group_names=["red", "green", "grey"]), r"groups are"),
    ],
)
def test_align_names_what_differs(other: Predictions, message: str) -> None:
    with pytest.raises(DataError, match=message):
        align({"one": make(), "other": other})


def test_no_samples_are_an_error() -> None:
    with pytest.raises(DataError, match="'one' hold no samples"):
        align({"one": Predictions(make().frame.iloc[:0])})
