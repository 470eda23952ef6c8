"""The choice is made on validation data; what failed, collapsed or is undefined takes no part in it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pandas as pd
import pytest
from sweep_cases import result, tiny

from fairkd.sweeps.plan import Planner, Trial
from fairkd.sweeps.records import Record
from fairkd.sweeps.report import find, write_sweep_report
from fairkd.sweeps.results import Results, make_results, save_results

HEATS = (1.0, 2.0, 3.0)
#: (accuracy, recall gap) on validation and on test data, by temperature. Test data would choose otherwise.
VALIDATION = {1.0: (0.90, 0.20), 2.0: (0.895, 0.10), 3.0: (0.80, 0.15)}
TEST = {1.0: (0.70, 0.50), 2.0: (0.60, 0.40), 3.0: (0.95, 0.05)}


def scored(validation: tuple[float, float], test: tuple[float, float], **options) -> dict:
    answer = result(*test, **options)
    for row in answer["scores"]:
        row["validation"] = validation[1] if row["metric"] == "recall_gap" else validation[0]
    return answer


def finished(trial: Trial, answer: dict) -> Record:
    return Record(trial.key, trial.title, "finished", 1, 2.0, trial.experiment.command, result=answer)


def failed(trial: Trial, error: str = "no luck") -> Record:
    return Record(trial.key, trial.title, "failed", 2, 2.0, trial.experiment.command, error=error)


@pytest.fixture
def trials(tmp_path) -> list[Trial]:
    return Planner(tiny(tmp_path, seeds=2)).plan([{"temperature": heat} for heat in HEATS])


@pytest.fixture
def records(trials) -> dict[str, Record]:
    found = {}
    for trial in trials:
        if trial.kind == "student":
            heat = trial.values["temperature"]
            found[trial.key] = finished(trial, scored(VALIDATION[heat], TEST[heat]))
        else:
            # A teacher that beats everything, and plain KD that is beaten by every setting.
            both = (0.99, 0.01) if trial.kind == "teacher" else (0.5, 0.6)
            found[trial.key] = finished(trial, scored(both, both))
    return found


def made(trials, records, tolerance=0.01) -> Results:
    return make_results(trials, records, tolerance=tolerance, confidence=0.95)


def student(trials, heat: float, seed: int = 0) -> Trial:
    (one,) = [t for t in trials if t.values.get("temperature") == heat and t.experiment.seed == seed]
    return one


def test_front_and_choice_come_from_validation_data(trials, records):
    results = made(trials, records)
    # On test data temperature 3 beats the others in both, so that alone would be the front.
    assert results.front == {"temperature=1", "temperature=2"}
    assert results.chosen == "temperature=2"
    assert made(trials, records, tolerance=0.0).chosen == "temperature=1"


def test_a_collapsed_student_is_never_chosen(trials, records):
    one = student(trials, 2.0, seed=1)
    records[one.key] = finished(one, scored(VALIDATION[2.0], TEST[2.0], collapsed=True))
    results = made(trials, records)
    assert results.chosen == "temperature=1"
    assert results.front == {"temperature=1", "temperature=3"}


def test_a_setting_that_failed_with_a_seed_is_never_chosen(trials, records):
    one = student(trials, 2.0)
    records[one.key] = failed(one)
    results = made(trials, records)
    assert results.chosen == "temperature=1"
    row = results.table[results.table["trial"] == one.number].iloc[0]
    assert (row["state"], row["error"], row["attempts"]) == ("failed", "no luck", 2)
    assert np.isnan(row["accuracy"]) and row["command"] == one.experiment.command


def test_an_undefined_gap_is_not_the_smallest(trials, records):
    for seed in (0, 1):
        one = student(trials, 2.0, seed)
        answer = scored((0.9, 0.0), (0.6, 0.0))
        # NaN is null in a record.
        answer["scores"][2] |= {"value": None, "validation": None}
        records[one.key] = finished(one, answer)
    assert made(trials, records).chosen == "temperature=1"


def test_plain_kd_can_be_the_best_there_is(trials, records):
    for trial in trials:
        if trial.kind == "kd":
            records[trial.key] = finished(trial, scored((0.95, 0.0), (0.95, 0.0)))
    results = made(trials, records)
    assert results.chosen == "kd" and "plain KD itself" in " ".join(find(results))


def test_without_any_student_there_is_nothing_to_choose(trials, tmp_path):
    results = made(trials, {trial.key: failed(trial) for trial in trials})
    assert results.chosen == "" and results.front == frozenset()
    assert "nothing to choose from" in find(results)[0]
    assert set(results.table["state"]) == {"failed"}
    assert set(made(trials, {}).table["state"]) == {"not run"}
    save_results(tmp_path / "x", results)
    assert json.loads((tmp_path / "x" / "summary.json").read_text())["chosen"] is None


def test_the_table_has_a_row_a_trial(trials, records):
    table = made(trials, records).table.set_index("trial")
    assert len(table) == len(trials)
    row = table.loc[student(trials, 2.0, seed=1).number]
    values = ["kind", "setting", "temperature", "seed", "state", "accuracy", "recall_gap_validation"]
    assert row[values].tolist() == ["student", "temperature=2", 2.0, 1, "finished", 0.6, 0.1]
    assert table.loc[table["kind"] == "teacher", "temperature"].isna().all()


def test_means_are_over_the_seeds(trials, records):
    one = student(trials, 1.0)
    records[one.key] = finished(one, scored((0.90, 0.20), (0.80, 0.30)))
    summary = made(trials, records).summary
    rows = summary[summary["method"] == "temperature=1"].set_index("metric")
    assert rows.loc["accuracy", ["mean", "std"]].tolist() == pytest.approx([0.75, 0.1 / np.sqrt(2)])
    assert rows.loc["recall_gap", "mean"] == pytest.approx(0.4)


def test_what_is_saved_is_what_was_found_and_no_cell_is_a_formula(trials, records, tmp_path):
    one = student(trials, 3.0)
    records[one.key] = failed(one, error="=HYPERLINK(1)")
    results = made(trials, records)
    save_results(tmp_path, results)
    with (tmp_path / "trials.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert "'=HYPERLINK(1)" in cells and not any(cell.startswith(("=", "@", "+")) for cell in cells)
    saved = pd.read_csv(tmp_path / "trials.csv")
    assert saved["recall_gap"].tolist() == pytest.approx(results.table["recall_gap"].tolist(), nan_ok=True)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["chosen"] == "temperature=2" and summary["front"] == sorted(results.front)
    assert summary["trials"] == {"finished": 9, "failed": 1}
    (setting,) = [one for one in summary["settings"] if one["setting"] == "temperature=2"]
    assert setting["on_front"] and setting["metrics"]["accuracy"]["mean"] == pytest.approx(0.6)


def test_the_page_escapes_what_it_is_told_and_loads_nothing(trials, records, tmp_path):
    one = student(trials, 3.0)
    records[one.key] = failed(one, error="</script><img src=x onerror=alert(1)>")
    results = made(trials, records)
    question = {
        "command": "fairkd sweep <b>",
        "asked": {"space": ["temperature=1,2,3"], "search": None},
        "parameters": tiny(tmp_path, dataset="colored-digits").model_dump(mode="json"),
        "environment": {"python": "3", "platform": "here", "packages": {"torch": None}},
    }
    html = write_sweep_report(tmp_path, results, question).read_text()
    assert "&lt;img src=x" in html and "<img src=x" not in html and "<b>" not in html.split("<script")[0]
    assert "default-src &#39;none&#39;" in html and "1 of 10 trials failed" in html
    assert "★" in html and results.chosen in html and html.count("<figure") == 2
