"""A report on predictions made elsewhere: what it holds, what it escapes, and its command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fairkd.cli import main
from fairkd.errors import ArtifactError, DataError
from fairkd.evaluation import evaluate
from fairkd.frames import from_frames
from fairkd.report.predictions_report import predictions_report, read_models, write_predictions_report

QUICK: dict[str, Any] = {"replicates": 600}


def table(seed: int = 0, *, probabilities: bool = True, n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    labels, groups = np.arange(n) % 2, np.arange(n) // 2 % 2
    right = rng.random(n) < np.array([0.9, 0.7])[groups]
    predicted = np.where(right, labels, 1 - labels)
    frame = pd.DataFrame(
        {"label": labels, "group": np.array(["<b>x</b>", "y"])[groups], "prediction": predicted}
    )
    if probabilities:
        frame["prob_1"] = np.where(predicted == 1, 0.8, 0.1)
        frame["prob_0"] = 1 - frame["prob_1"]
    return frame


def test_the_numbers_are_those_of_evaluate_and_inflation() -> None:
    content = predictions_report({"a": table(), "b": table(1)}, **QUICK).content
    expected = evaluate(table(1), replicates=600)
    accuracy = next(row for row in content["metrics"] if row["title"] == "accuracy")
    assert accuracy["models"]["b"]["value"] == pytest.approx(expected["value"][0])
    assert [row["group"] for row in content["by_group"]] == ["<b>x</b>", "y"]
    assert len(content["cells"]) == 4
    assert {row["model"] for row in content["differences"]} == {"b"}
    assert {row["model"] for row in content["calibration"]} == {"a", "b"}
    assert content["limits"] == [
        "Every sample counts as independent of the others; a column 'unit' would say which are not."
    ]
    json.dumps(content, allow_nan=False)


def test_one_model_that_only_decides_has_neither_differences_nor_calibration() -> None:
    frame = table(probabilities=False).assign(unit=np.arange(120) // 2)
    frame.loc[:3, "group"] = None
    report = predictions_report({"mine": frame}, **QUICK)
    assert report.content["differences"] == report.content["calibration"] == []
    assert report.content["limits"] == [
        "4 of 120 samples have no group: what compares groups leaves them out.",
        "mine gives no probabilities: its calibration is not known.",
    ]
    html = report.to_html()
    assert "Differences</h2>" not in html and "Calibration by group" not in html and "n/a" in html


def test_the_page_loads_nothing() -> None:
    html = predictions_report({"a": table(), "b": table(1)}, **QUICK).to_html()
    assert "default-src 'none'" in html and "http" not in html.replace("http-equiv", "")


def test_spaces_around_cells_and_names_are_no_part_of_them(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    frame = table(probabilities=False).assign(
        prediction=lambda rows: rows["prediction"].map("class {} ".format)
    )
    frame["label"] = frame["label"].map(" class {}".format)
    frame.loc[::3, "group"] += " "
    frame.rename(columns={"group": " group", "prediction": "prediction "}).to_csv(path, index=False)
    (read,) = read_models(path).values()
    assert set(read["group"]) == {"<b>x</b>", "y"} and set(read["label"]) == set(read["prediction"])
    clean = predictions_report({"a": table(probabilities=False)}, **QUICK).content["metrics"]
    spaced = predictions_report({"a": read}, **QUICK).content["metrics"]
    assert [one["models"]["a"]["value"] for one in spaced] == [one["models"]["a"]["value"] for one in clean]


def test_a_group_named_all_is_one_of_the_groups() -> None:
    content = predictions_report({"a": table().replace({"group": {"y": "all"}})}, **QUICK).content
    assert {row["group"] for row in content["by_group"]} == {"<b>x</b>", "all (value)"}
    assert len(content["cells"]) == 4


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_tells_its_models_apart(tmp_path: Path, suffix: str) -> None:
    both = pd.concat([table().assign(model="z"), table(1).assign(model="a")])
    path = tmp_path / f"p{suffix}"
    both.to_csv(path, index=False) if suffix == ".csv" else both.to_parquet(path)
    assert list(read_models(path)) == ["z", "a"]
    output = write_predictions_report(path, **QUICK)
    assert output == tmp_path / "p_report.html"
    assert "a − z" in output.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "form",
    [
        {"sep": ";"},
        {"sep": ";", "decimal": ","},
        {"sep": "\t", "decimal": ","},
        {"encoding": "utf-16"},
        {"encoding": "utf-8-sig"},
    ],
    ids=str,
)
def test_a_csv_of_a_spreadsheet_is_read_as_any_other(tmp_path: Path, form: dict[str, str]) -> None:
    table().assign(group=np.resize(["NA", "ä"], 120)).to_csv(tmp_path / "plain.csv", index=False)
    plain = read_models(tmp_path / "plain.csv")["model"]
    plain.to_csv(tmp_path / "form.csv", index=False, **form)
    pd.testing.assert_frame_equal(read_models(tmp_path / "form.csv")["model"], plain)


def test_na_is_the_name_of_a_group_and_an_empty_cell_is_none(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    groups = np.resize(["NA", "None", "", " Nan", "n/a"], 120)
    table().assign(group=groups).to_csv(path, index=False)
    (read,) = from_frames(read_models(path)).values()
    assert read.group_names == ["NA", "None"]
    assert [int((read.groups == code).sum()) for code in (-1, 0, 1)] == [72, 24, 24]
    # Numbers stay numbers beside it, and -1 among whole ones is missing.
    for texts, names in (("0 1 NA", ["0", "1", "NA"]), ("0 1 -1", ["0", "1"]), ("0 1.0 nan", ["0", "1"])):
        table().assign(group=np.resize(texts.split(), 120)).to_csv(path, index=False)
        (read,) = from_frames(read_models(path)).values()
        assert read.group_names == names
    table(probabilities=False).replace({"prediction": {0: "NA"}}).to_csv(path, index=False)
    with pytest.raises(DataError, match="values in prediction"):
        from_frames(read_models(path))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_text("no")
    table().assign(model=None).to_csv(tmp_path / "none.csv", index=False)
    (tmp_path / "empty.csv").write_text("")
    for name, error, message in (
        ("bad.parquet", ArtifactError, "cannot read predictions from"),
        ("gone.csv", ArtifactError, "cannot read predictions from"),
        ("empty.csv", ArtifactError, "No columns"),
        ("x.xlsx", ArtifactError, r"allowed are \.parquet and \.csv files"),
        ("none.csv", DataError, "120 rows have no model"),
    ):
        with pytest.raises(error, match=message):
            read_models(tmp_path / name)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.csv"
    table(probabilities=False).to_csv(path, index=False)
    assert main(["report", "--predictions", str(path)]) == 0
    assert capsys.readouterr().out == f"report: {tmp_path / 'mine_report.html'}\n"
    for arguments in ([], ["run", "--predictions", str(path)]):
        assert main(["report", *arguments]) == 2
        assert "a run's name or --predictions FILE, one of them" in capsys.readouterr().err
    table().drop(columns="group").to_csv(path, index=False)
    assert main(["report", "--predictions", str(path)]) == 1
    assert "lack the columns group" in capsys.readouterr().err
