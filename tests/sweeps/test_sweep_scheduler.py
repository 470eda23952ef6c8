"""The order of trainings, second attempts, and what is found from an earlier invocation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sweep_cases import InlineEngine, result, tiny

from fairkd.sweeps.plan import Planner, Trial
from fairkd.sweeps.records import RecordFolder
from fairkd.sweeps.scheduler import Event, Scheduler
from fairkd.sweeps.worker import answer


@pytest.fixture
def trials(tmp_path) -> list[Trial]:
    """A teacher, plain KD and two settings."""
    return Planner(tiny(tmp_path)).plan([{"temperature": 1.0}, {"temperature": 2.0}])


@pytest.fixture
def folder(tmp_path) -> Path:
    """A sweep's folder, beside the artefact that :func:`result` names."""
    artifact = tmp_path / "artifacts" / "student-0"
    artifact.mkdir(parents=True)
    (artifact / "config.json").touch()
    return tmp_path / "sweep"


def run(trials: list[Trial], folder: Path, engine: InlineEngine) -> tuple[Scheduler, list[str]]:
    said: list[str] = []

    def note(event: Event, scheduler: Scheduler) -> None:
        assert set(scheduler.trials) == {trial.key for trial in trials}, "the total is known from the start"
        said.append(f"{event.kind} {event.trial.label if event.trial else ''}".strip())

    scheduler = Scheduler(engine, RecordFolder(folder), note)
    scheduler.add(trials)
    while scheduler.busy:
        scheduler.step()
    return scheduler, said


def failing(*bad: float, times: int = 99) -> tuple[list[float], InlineEngine]:
    """An engine whose first ``times`` trainings at the temperatures ``bad`` fail."""
    seen: list[float] = []

    def function(job):
        heat = job["experiment"]["temperature"]
        if job["kind"] == "student" and heat in bad:
            seen.append(heat)
            if len(seen) <= times:
                return {"error": f"no luck at {heat:g}"}
        return {"result": result()}

    return seen, InlineEngine(function, slots=2)


def test_what_others_need_comes_first_and_each_starts_once(trials, folder):
    _, engine = failing()
    scheduler, said = run(trials[::-1], folder, engine)
    assert engine.started == [trials[0].key, trials[1].key, trials[3].key, trials[2].key]
    assert all(record.finished for record in scheduler.records.values())
    assert said[:2] == ["start teacher", "finish teacher"]


def test_a_second_invocation_repeats_nothing(trials, folder):
    run(trials, folder, failing()[1])
    _, engine = failing()
    scheduler, said = run(trials, folder, engine)
    assert engine.started == [] and len(scheduler.records) == 4
    assert said == ["skip teacher", "skip kd", "skip temperature=1", "skip temperature=2"]


def test_a_failure_is_tried_once_more(trials, folder):
    seen, engine = failing(1.0, times=1)
    scheduler, said = run(trials, folder, engine)
    record = scheduler.records[trials[2].key]
    assert seen == [1.0, 1.0] and record.finished and record.attempts == 2
    assert said.count("retry temperature=1") == 1 and "fail temperature=1" not in said


def test_what_fails_twice_is_reported_and_the_rest_finishes(trials, folder):
    seen, engine = failing(1.0)
    scheduler, said = run(trials, folder, engine)
    record = scheduler.records[trials[2].key]
    assert seen == [1.0, 1.0] and (record.state, record.error) == ("failed", "no luck at 1")
    assert scheduler.records[trials[3].key].finished and "fail temperature=1" in said
    # The next invocation tries again what failed, and nothing else.
    _, healed = failing()
    assert run(trials, folder, healed)[0].records[trials[2].key].finished
    assert healed.started == [trials[2].key]


def test_what_needs_something_that_failed_is_not_started(trials, folder):
    engine = InlineEngine(lambda job: {"error": "no data"})
    scheduler, _ = run(trials, folder, engine)
    assert engine.started == [trials[0].key] * 2
    errors = [scheduler.records[trial.key].error for trial in trials]
    assert errors[0] == "no data"
    assert errors[1:] == ["not started, as teacher, seed 0 failed"] * 3


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"key": 1}'])
def test_a_damaged_record_is_made_again(trials, folder, damage):
    run(trials, folder, failing()[1])
    (folder / "trials" / f"{trials[3].key}.json").write_text(damage)
    _, engine = failing()
    run(trials, folder, engine)
    assert engine.started == [trials[3].key]


def test_a_record_whose_model_is_gone_is_made_again(trials, folder, tmp_path):
    run(trials, folder, failing()[1])
    (tmp_path / "artifacts" / "student-0" / "config.json").unlink()
    _, engine = failing()
    run(trials, folder, engine)
    assert len(engine.started) == 4


def test_a_record_says_how_to_repeat_the_training(trials, folder):
    run(trials, folder, failing()[1])
    record = json.loads((folder / "trials" / f"{trials[2].key}.json").read_text())
    assert record["command"] == trials[2].experiment.command and "-p temperature 1.0" in record["command"]


def test_a_worker_answers_with_one_line_whatever_goes_wrong(trials, capsys):
    job = trials[0].job
    bad = {**job, "experiment": {**job["experiment"], "temperature": -1}}
    assert answer(bad)["error"].startswith("temperature=-1 is not allowed")
    assert capsys.readouterr().err == "", "what fairkd raises on purpose needs no traceback"
    error = answer({"kind": "teacher"})["error"]
    assert error.startswith("TypeError: ") and "\n" not in error
    assert "Traceback" in capsys.readouterr().err
