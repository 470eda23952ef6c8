"""What a sweep shows: a table where someone watches, plain lines in a log."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from sweep_cases import InlineEngine, result, tiny

from fairkd.sweeps.display import BestSoFar, show_results, show_sweep
from fairkd.sweeps.plan import Planner
from fairkd.sweeps.records import RecordFolder
from fairkd.sweeps.results import make_results
from fairkd.sweeps.scheduler import Scheduler

#: Accuracy, recall gap and whether the student collapsed, by temperature.
SCORES = {
    1.0: (0.90, 0.20, False),
    2.0: (0.895, 0.10, False),
    3.0: (0.80, 0.05, False),
    4.0: (0.99, 0.0, True),
}


def respond(job) -> dict:
    heat = job["experiment"]["temperature"]
    if heat == 5:
        return {"error": "no [b]luck[/b]"}
    if job["kind"] != "student":
        return {"result": result(0.5, 0.4)}
    accuracy, gap, collapsed = SCORES[heat]
    return {"result": result(accuracy, gap, collapsed=collapsed)}


def shown(folder: Path, *, terminal: bool) -> tuple[str, Scheduler, Console]:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)
    trials = Planner(tiny(folder)).plan([{"temperature": heat} for heat in (*SCORES, 5.0)])
    with show_sweep(console, 0.01) as on_event:
        scheduler = Scheduler(InlineEngine(respond), RecordFolder(folder / "sweep"), on_event)
        scheduler.add(trials)
        while scheduler.busy:
            scheduler.step()
    return console.file.getvalue(), scheduler, console


def test_a_log_has_a_line_an_event(tmp_path):
    text, _, _ = shown(tmp_path, terminal=False)
    lines = text.splitlines()
    assert lines[0] == "[0/7] teacher, seed 0: started"
    assert lines[1].startswith(
        "[1/7] teacher, seed 0: done in 0 s, validation accuracy 0.500, recall gap 0.400"
    )
    assert lines[-3:] == [
        "[6/7] temperature=5, seed 0: failed, tried once more: no [b]luck[/b]",
        "[6/7] temperature=5, seed 0: started",
        "[7/7] temperature=5, seed 0: failed: no [b]luck[/b]",
    ]
    assert "\x1b" not in text


def test_a_terminal_has_a_table_and_keeps_the_failures(tmp_path):
    text, _, _ = shown(tmp_path, terminal=True)
    for part in ("7/7 trainings", "✕ 1 failed", "failed: no [b]luck[/b]", "best so far: none yet"):
        assert part in text, part
    assert "best so far (validation): temperature=2, seed 0: accuracy 0.895, recall gap 0.100" in text


@pytest.mark.parametrize(
    ("tolerance", "best"),
    [
        (0.01, ("temperature=2, seed 0", 0.895, 0.1)),
        (0.0, ("temperature=1, seed 0", 0.9, 0.2)),
        (0.1, ("temperature=3, seed 0", 0.8, 0.05)),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_the_best_so_far_is_near_the_best_accuracy_and_not_collapsed(tmp_path, tolerance, best, order):
    _, scheduler, _ = shown(tmp_path, terminal=False)
    found = BestSoFar(tolerance)
    assert found.get() is None
    for record in list(scheduler.records.values())[::order]:
        found.note(record)
    assert found.get() == best


def test_the_results_are_marked(tmp_path):
    _, scheduler, console = shown(tmp_path, terminal=False)
    console.file = io.StringIO()
    trials = list(scheduler.trials.values())
    show_results(console, make_results(trials, scheduler.records, tolerance=0.01, confidence=0.95))
    rows = {line.split()[0]: " ".join(line.split()[4:]) for line in console.file.getvalue().splitlines()[1:]}
    assert rows["temperature=2"] == "chosen, front" and rows["temperature=4"] == "collapsed"
    assert rows["temperature=3"] == "front" and rows["kd"] == rows["teacher"] == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_without_a_gap_the_text_says_so(tmp_path, monkeypatch, terminal):
    monkeypatch.setitem(SCORES, 1.0, (0.9, float("nan"), False))
    text, scheduler, _ = shown(tmp_path, terminal=terminal)
    assert terminal or "temperature=1, seed 0: done in 0 s, validation accuracy 0.900, recall gap n/a" in text
    found = BestSoFar(0.0)
    for record in scheduler.records.values():
        found.note(record)
    assert found.get()[0] == "temperature=2, seed 0"
