"""The explorers of bias, of disagreements and of runs: their filters, pages, files, clicks and commands."""

from __future__ import annotations

import html
import json
import os
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ipywidgets import HTML, Button, Dropdown, FloatSlider, Widget
from panel_parts import click, command_of, drawn, parts_of
from run_folders import write_run

from fairkd.analysis.disagreement import OUTCOMES
from fairkd.config import Experiment
from fairkd.errors import FairkdError, ParameterError
from fairkd.results import save_exemplars
from fairkd.widgets import BiasExplorer, DisagreementBrowser, ParetoExplorer
from fairkd.widgets.figure import LiveFigure


@pytest.fixture(autouse=True)
def close_widgets():
    yield
    Widget.close_all()


def dropdown(box, name: str) -> Dropdown:
    return next(part for part in parts_of(box, Dropdown) if part.description == name)


def said(box) -> str:
    return " ".join(part.value for part in parts_of(box, HTML))


# Bias


def test_moving_the_skew_loads_the_data_with_that_skew():
    panel = BiasExplorer(Experiment())
    box = panel.widget()
    counts, images = parts_of(box, LiveFigure)
    before = drawn(counts), drawn(images)
    assert "Cramér&#x27;s V" in said(box) and "0.90" in said(box)
    (slider,) = parts_of(box, FloatSlider)
    slider.value = 0.5
    assert drawn(counts) != before[0] and drawn(images) != before[1]
    train = panel.splits.train
    table = pd.crosstab(train.labels, train.groups)
    assert (table[0] - table[1]).abs().max() <= 1, "half of each class in each group"
    assert shlex.split(command_of(box)) == ["fairkd", "run", "-p", "skew", "0.5"]
    dropdown(box, "bias").value = "grey"
    assert panel.splits.group_names == ("colour", "grey")
    assert "-p bias grey" in command_of(box)
    assert "changes none of the first 64 training images" in said(box)
    dropdown(box, "bias").value = "noise"
    assert "changes none" not in said(box)


def test_a_bias_that_the_data_cannot_have_is_said_and_nothing_changes():
    panel = BiasExplorer(Experiment())
    box = panel.widget()
    before = drawn(parts_of(box, LiveFigure)[0]), command_of(box)
    dropdown(box, "bias").value = "subsample"
    assert "colored-digits has no groups of its own" in said(box)
    assert (drawn(parts_of(box, LiveFigure)[0]), command_of(box)) == before
    assert panel.bias == "auto"


# Disagreement


@pytest.fixture
def exemplars() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {
            "model": model,
            "row": row,
            "index": row,
            "label": "abc"[row % 3],
            "group": ("red", "green", None)[row // 10 % 3],
            "teacher_prediction": "a",
            "student_prediction": "b",
            "outcome": (OUTCOMES[0], OUTCOMES[0], OUTCOMES[1])[row % 3],
            "margin_change": -row / 10,
        }
        for model in ("student_kd", "student_fair")
        for row in rng.permutation(60)
    ]
    table = pd.DataFrame(rows)
    return table.astype(dict.fromkeys(("label", "group", "outcome"), "category")).sort_values(
        ["model", "margin_change"]
    )


@pytest.fixture
def browser(exemplars, tmp_path) -> DisagreementBrowser:
    images = np.random.default_rng(1).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    experiment = Experiment(output_dir=str(tmp_path), run_name="mine")
    return DisagreementBrowser(experiment, exemplars, images, model="student_kd")


def test_the_filters_leave_the_rows_that_pass_all_of_them(browser, exemplars):
    box = browser.widget()
    lost = (exemplars["model"] == "student_kd") & (exemplars["outcome"] == OUTCOMES[0])
    assert len(browser.selected()) == (lost & exemplars["group"].notna()).sum() == 28
    assert browser.selected()["margin_change"].is_monotonic_increasing
    dropdown(box, "group").value = "green"
    dropdown(box, "class").value = "b"
    dropdown(box, "student").value = "student_fair"
    chosen = browser.selected()
    assert set(zip(chosen["model"], chosen["group"], chosen["label"], strict=True)) == {
        ("student_fair", "green", "b")
    }
    assert f"{len(chosen)} of 60 samples" in said(box)
    dropdown(box, "what became of it").value = OUTCOMES[1]
    assert browser.selected().empty and "0 of 60 samples" in said(box)
    (figure,) = parts_of(box, LiveFigure)
    assert figure.layout.display == "none"
    with pytest.raises(
        FairkdError, match="no sample is left: teacher wrong, student right, class b, group green"
    ):
        browser.static()


def test_pages_show_every_sample_once(browser):
    box = browser.widget()
    before, after, _ = parts_of(box, Button)
    (figure,) = parts_of(box, LiveFigure)
    assert before.disabled and not after.disabled and browser.pages == 3
    headings = [note.text for note in figure.shown.layout.annotations]
    assert "green: 6 of 14" in headings and "red: 6 of 14" in headings
    first = drawn(figure)
    after.click()
    assert figure.layout.display is None
    assert drawn(figure) != first and "page 2 of 3" in figure.shown.layout.title.text.replace("<br>", " ")
    after.click()
    assert after.disabled and "green: 2 of 14" in [note.text for note in figure.shown.layout.annotations]
    before.click()
    before.click()
    assert drawn(figure) == first


def test_saving_writes_the_selection_and_no_formula(browser, exemplars):
    browser.exemplars = exemplars.assign(label="=1+1")
    box = browser.widget()
    dropdown(box, "group").value = "red"
    parts_of(box, Button)[-1].click()
    path = Path(browser.experiment.run_folder / "exemplars-selected.csv")
    assert os.path.relpath(path) in said(box)
    table = pd.read_csv(path)
    assert table["index"].tolist() == browser.selected()["index"].tolist()
    assert set(table["label"]) == {"'=1+1"} and set(table["group"]) == {"red"}


def test_the_code_reads_the_selection_from_the_table_of_the_run(browser, exemplars, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_exemplars(browser.experiment, exemplars)
    box = browser.widget()
    dropdown(box, "group").value = "red"
    dropdown(box, "class").value = "a"
    assert browser.selection_code in html.unescape(said(box))
    table = eval(browser.selection_code, {"pandas": pd})
    assert table["index"].astype(int).tolist() == browser.selected()["index"].tolist()
    assert len(table) and set(table["group"]) == {"red"}


def test_a_folder_that_cannot_be_written_is_said_beside_the_button(browser, tmp_path):
    (tmp_path / "mine").write_text("a file where the folder should be")
    box = browser.widget()
    parts_of(box, Button)[-1].click()
    assert "cannot write" in said(box)


def test_without_a_disagreement_there_is_a_sentence(browser, exemplars):
    nothing = DisagreementBrowser(browser.experiment, exemplars.iloc[:0], browser.images)
    assert "No student contradicts its teacher" in nothing.widget().value


# Runs


@pytest.fixture
def runs(tmp_path) -> Experiment:
    for weight, accuracy, gap in ((1.0, 0.90, 0.20), (3.0, 0.93, 0.10), (30.0, 0.80, 0.05)):
        for seed in (0, 1):
            experiment = Experiment(adversary_weight=weight, seed=seed, output_dir=str(tmp_path))
            write_run(experiment, student_fair=(accuracy + 0.01 * seed, gap))
    return Experiment(adversary_weight=3.0, output_dir=str(tmp_path))


def test_what_has_collapsed_is_not_on_the_front_and_is_called_so(runs):
    panel = ParetoExplorer(runs)
    assert panel.points["on_front"].any() and not panel.points["collapsed"].any()
    collapsed = panel.runs["role"] != "teacher" if "role" in panel.runs else panel.runs["model"] != "teacher"
    panel.runs = panel.runs.assign(collapsed=collapsed)
    panel._compute()
    assert not panel.points["on_front"].any()
    assert panel.describe()[-1] == "Every student has collapsed, so that none can be chosen."
    assert "its gap means nothing" in panel.details()


def test_a_click_on_a_point_shows_what_is_behind_it(runs):
    panel = ParetoExplorer(runs)
    box = panel.widget()
    (figure,) = parts_of(box, LiveFigure)
    point = dropdown(box, "point")
    assert point.value == "student_fair · adversary_weight=3.0", "what the rule names on validation data"
    wanted = "student_fair · adversary_weight=30.0"
    row = panel.points.index[panel.points["model"] == wanted][0]
    assert any(trace.customdata is not None and row in trace.customdata for trace in figure.shown.data)
    click(figure, None)
    assert point.value != wanted
    click(figure, int(row))
    assert point.value == wanted == panel.chosen
    assert "0.805" in said(box) and "adversary_weight=30.0" in said(box)
    assert shlex.split(command_of(box))[:5] == ["fairkd", "run", "-p", "adversary_weight", "30.0"]
    assert "red" in said(box) and "green" in said(box), "the table by group"
    (arrow,) = [note for note in figure.shown.layout.annotations if note.text == "chosen"]
    chosen = panel.points.loc[row]
    assert (arrow.x, arrow.y) == (chosen["disparity"], chosen["accuracy"])
    dropdown(box, "disparity").value = "accuracy_gap"
    assert point.value == wanted, "the choice stays"
    assert "student, mitigated · adversary_weight=30.0" in said(box)


def test_the_area_of_the_symbols_is_nothing_or_a_cost_with_its_unit(runs):
    panel = ParetoExplorer(runs)
    box = panel.widget()
    area = dropdown(box, "area of the symbols")
    assert area.label == "none"
    area.value = "macs"
    (figure,) = parts_of(box, LiveFigure)
    assert "Area of the symbols: multiply-" in figure.shown.layout.title.text.replace("<br>", " ")
    assert "multiply-accumulates" in said(box) and "per image" in said(box)


def test_the_rule_follows_its_tolerance(runs):
    panel = ParetoExplorer(runs)
    box = panel.widget()
    assert "adversary_weight=3.0 has the smallest" in said(box)
    (slider,) = parts_of(box, FloatSlider)
    slider.max = 0.5
    slider.value = 0.5
    assert "adversary_weight=30.0 has the smallest" in said(box)


def test_dominated_settings_are_faded_and_the_front_is_not(runs):
    panel = ParetoExplorer(runs)
    figure = panel.static()
    (faded,) = [trace for trace in figure.data if (trace.name or "").startswith("others")]
    rows = panel.points.reset_index().set_index("model")["index"]
    assert rows["student_fair · adversary_weight=1.0"] in faded.customdata
    assert rows["student_fair · adversary_weight=3.0"] not in faded.customdata
    assert faded.marker.opacity < 1


def test_without_runs_the_panel_says_what_to_do(tmp_path):
    panel = ParetoExplorer(Experiment(output_dir=str(tmp_path)))
    assert "fairkd run" in panel.widget().value
    with pytest.raises(FairkdError, match=r"holds no finished run: `fairkd run` makes one"):
        panel.static()
    assert panel.command.startswith("fairkd run")


def test_an_unknown_disparity_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="disparity='fairness' is unknown; allowed: accuracy_gap"):
        ParetoExplorer(Experiment(output_dir=str(tmp_path)), "fairness")


def test_a_run_of_which_predictions_are_missing_still_has_its_scores(runs):
    panel = ParetoExplorer(runs)
    for path in Path(runs.output_dir).glob("*/predictions.parquet"):
        path.unlink()
    assert "No table by group" in panel.details() and "accuracy" in panel.details()
    json.dumps(panel.details())
