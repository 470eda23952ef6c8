"""Whole sweeps of real trainings: shared teachers, killed workers, failures, and the command line."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sweep_cases import InlineEngine, result, tiny

import fairkd
from fairkd.cli import main
from fairkd.comparison import compare_methods
from fairkd.errors import ArtifactError, FairkdError, ParameterError
from fairkd.recipes import distill_student, train_teacher
from fairkd.run_state import locked
from fairkd.store import read_json
from fairkd.sweeps import Event, Scheduler, execute, local_engine
from fairkd.sweeps.local_engine import LocalEngine, worker_environment

# Students this small collapse; that is not what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")

WEIGHTS = {"adversary_weight": [1, 30]}


def weights_of(folder: Path, artifact: str) -> bytes:
    return (folder / "artifacts" / artifact / "model.safetensors").read_bytes()


def files_of(folder: Path, pattern: str) -> list[Path]:
    return sorted((folder / "artifacts").glob(pattern))


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def test_scores_are_those_of_the_same_models_compared_one_after_the_other(tmp_path):
    experiment = tiny(tmp_path, run_name="sweep")
    table = fairkd.sweep(experiment, {"mitigation": ["reweighting", "laftr"]}, engine=InlineEngine())
    compared = compare_methods(experiment.replace(distillers=(), mitigations=("reweighting", "laftr")))
    names = {"teacher": "teacher", "kd": "kd"} | {
        f"mitigation={name}": f"kd + {name}" for name in ("reweighting", "laftr")
    }
    assert len(table) == 4
    for row in table.to_dict("records"):
        there = compared[
            (compared["method"] == names[row["setting"]]) & (compared["seed"] == row["seed"])
        ].set_index("metric")
        for metric in ("accuracy", "recall_gap", "worst_group_accuracy"):
            columns = ["value", "low", "high", "validation", "difference", "difference_low"]
            expected = there.loc[metric, columns].to_list()
            if row["kind"] == "teacher":  # It is scored before there is a plain KD to compare it with.
                expected[4:] = [np.nan, np.nan]
            suffixes = ("", "_low", "_high", "_validation", "_difference", "_difference_low")
            found = [row[metric + suffix] for suffix in suffixes]
            assert found == pytest.approx(expected, nan_ok=True)


def test_a_model_whose_trial_was_not_noted_is_scored_and_warned_of_as_before(tmp_path):
    # So fast that every model predicts one class for all images.
    experiment, space = tiny(tmp_path, run_name="sweep", learning_rate=10), {"adversary_weight": [1]}
    first = fairkd.sweep(experiment, space, engine=InlineEngine())
    assert first["collapsed"].all()
    assert first["warnings"].str.contains("teacher: every epoch predicts").all()
    assert first["warnings"][2].count("; kept epoch 1") == 3, "of the teacher, plain KD and the student"
    shutil.rmtree(tmp_path / "sweep")
    again = fairkd.sweep(experiment, space, engine=InlineEngine())
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), first.drop(columns="seconds"))


def test_a_training_that_fails_when_it_runs_is_reported_and_the_rest_finishes(tmp_path, monkeypatch, capsys):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no weights")
    experiment = tiny(tmp_path / "out", run_name="sweep")
    made: list[InlineEngine] = []

    def engine(*_: object) -> InlineEngine:
        made.append(InlineEngine())
        return made[-1]

    monkeypatch.setattr(execute, "LocalEngine", engine)
    changed = [f"-p {name} {value}" for name, value in experiment.changed().items() if name != "seeds"]
    words = [*" ".join(changed).split(), "-p", "run_name", "sweep", "-p", "output_dir", str(tmp_path / "out")]
    command = ["sweep", "--param", f"student_weights=none,{bad}", "--seeds", "1", *words]
    assert main(command) == 1
    shown = capsys.readouterr().out
    # Plain KD starts from the same file, so it is what fails; the setting is not even started.
    assert shown.count("failed, tried once more") == 1 and "failed: student_weights=None" not in shown
    assert "report: " in shown and "bad.safetensors" in shown
    table = pd.read_csv(tmp_path / "out" / "sweep" / "trials.csv").set_index("setting")
    assert table.loc["student_weights=None", "state"] == "finished"
    assert table.loc[f"student_weights={bad}", "state"] == "failed"
    assert "bad.safetensors" in table.loc[f"student_weights={bad}", "error"]
    assert made[0].closed
    # Once more: only what failed is tried again, and once it can be left out, the command succeeds.
    assert main(command) == 1
    assert len(set(made[1].started)) == 1
    assert main(["sweep", "--param", "student_weights=none,", *command[3:]]) == 0
    assert made[2].started == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--param", "temperature=1,-4"], "temperature=-4 is not allowed"),
        (["--param", "student=test_resnet,resnet_of_mine"], "resnet_of_mine"),
        (["--param", "distiller=kd,dkdd"], "dkdd"),
        (["--param", "skew=0.9,0.2"], "skew=0.2 is not allowed"),
        (["--param", "temperature=1", "--search", "optuna"], "--search and --trials belong together"),
        (["--param", "temperature=1", "--trials", "3"], "--search and --trials belong together"),
        (["--param", "temperature=1", "--search", "grid", "--trials", "3"], "allowed: optuna"),
        (["--param", "temperature=1..200", "--search", "optuna", "--trials", "3"], "temperature=200"),
        (["--param", "temperature=1", "--sampler", "random"], "allowed: tpe, nsga2"),
        (["--param", "temperature=1", "--engine", "slurm"], "--engine slurm is not known"),
        (["--param", "temperature=1", "--address", "auto"], "add --engine ray"),
        (["--param", "temperature=1", "--workers", "0"], "at least 1"),
        (["--param", "temperature"], "has no values"),
        (
            ["--param", "dkd_beta=1,8"],
            "--param dkd_beta would vary nothing: distiller=kd does not read it, but dkd",
        ),
        (
            ["--param", "adversary_weight=1,3", "-p", "mitigation", "resampling"],
            "would vary nothing: mitigation=resampling does not read it, but gradient_reversal, projection, ",
        ),
        (
            ["--param", "temperature=1,4", "-p", "mitigations", "laftr"],
            "mitigations does nothing in `fairkd sweep`",
        ),
    ],
)
def test_what_is_not_allowed_is_refused_before_any_training(tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("package", "words"), [("ray", ["--engine", "ray"]), ("optuna", ["--search", "optuna"])]
)
def test_a_missing_package_is_named_with_what_installs_it(tmp_path, capsys, monkeypatch, package, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    trials = ["--trials", "2"] if "--search" in words else []
    assert main(["sweep", "--param", "temperature=1", *words, *trials]) == 2
    assert "pip install 'fairkd[sweep]'" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*"))


def test_a_dry_run_lists_the_trainings_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "--param", "adversary_weight=0,1", "--seeds", "2", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "5: adversary_weight=0, seed 0" in shown and "8 models to train or find" in shown
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--engine", "slurm"), "--engine slurm is not known; allowed: local, ray"),
        (("--address", "auto"), "--address is of a Ray cluster"),
        (("--workers", "0"), "--workers 0 is not allowed"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "--param", "temperature=1", *words, "--dry-run"]) == 2
    assert message in capsys.readouterr().err


def test_two_sweeps_in_one_folder_do_not_mix(tmp_path):
    experiment = tiny(tmp_path, run_name="sweep")
    with locked(tmp_path / "sweep"), pytest.raises(FairkdError, match="is in use by process"):
        fairkd.sweep(experiment, WEIGHTS, engine=InlineEngine())


def test_without_a_name_the_folder_is_named_after_the_question(tmp_path):
    names = {
        execute.ask(tiny(tmp_path, **changes), space).folder.name
        for changes in ({}, {"temperature": 2})
        for space in (WEIGHTS, {"adversary_weight": [2], "temperature": [1]})
    }
    assert len(names) == 4
    assert any(name.startswith("sweep-adversary_weight-temperature-") for name in names)


def test_ctrl_c_ends_the_workers_and_the_next_invocation_goes_on(tmp_path):
    experiment = tiny(tmp_path, run_name="sweep")

    def interrupt(event: Event, scheduler: Scheduler) -> None:
        if event.kind == "finish" and event.trial.kind == "kd":
            raise KeyboardInterrupt

    engine = InlineEngine()
    with pytest.raises(KeyboardInterrupt):
        fairkd.sweep(experiment, WEIGHTS, engine=engine, on_event=interrupt)
    assert engine.closed and len(engine.started) == 2
    states = pd.read_csv(tmp_path / "sweep" / "trials.csv")["state"].tolist()
    assert states == ["finished", "finished", "not run", "not run"]
    assert "2 of 4 trials not run" in (tmp_path / "sweep" / "report.html").read_text()
    engine = InlineEngine()
    table = fairkd.sweep(experiment, WEIGHTS, engine=engine)
    assert len(engine.started) == 2 and (table["state"] == "finished").all()


def test_threads_and_gpus_are_divided(monkeypatch):
    monkeypatch.setattr(local_engine, "core_count", lambda: 12)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [worker_environment(0, workers, [])["OMP_NUM_THREADS"] for workers in (1, 3, 40)] == [
        *("12", "4", "1")
    ]
    dealt = [worker_environment(number, 3, ["0", "5"])["CUDA_VISIBLE_DEVICES"] for number in range(3)]
    assert dealt == ["0", "5", "0"] and "CUDA_VISIBLE_DEVICES" not in worker_environment(0, 3, [])
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert worker_environment(0, 3, [])["OMP_NUM_THREADS"] == "2"


@pytest.mark.distributed
def test_two_workers_one_of_which_is_killed_in_mid_trial(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in this process: sums depend on it
    experiment = tiny(tmp_path / "killed", student_epochs=8, run_name="sweep")
    killed: list[int] = []
    shared: list[int] = []

    said: list[str] = []

    def kill(event: Event, scheduler: Scheduler) -> None:
        said.append(f"{event.kind}: {event.text}")
        shared.append(len(scheduler.running()))
        if event.kind == "start" and event.trial.kind == "student" and not killed:
            (one,) = (one for one in scheduler.running() if one.key == event.trial.key)
            wait_for(lambda: files_of(tmp_path / "killed", "student-*.partial/checkpoint*"))
            killed.append(one.pid)
            os.kill(one.pid, signal.SIGKILL)

    table = fairkd.sweep(experiment, WEIGHTS, workers=2, on_event=kill)
    assert len(killed) == 1 and max(shared) == 2
    assert [text for text in said if text.startswith("retry")] == [
        "retry: the worker process was killed (SIGKILL); out of memory?"
    ]
    assert (table["state"] == "finished").all() and sorted(table["attempts"]) == [1, 1, 1, 2]
    assert len(files_of(tmp_path / "killed", "teacher-*")) == 1, "one teacher for all"
    assert files_of(tmp_path / "killed", "*.partial") == []

    undisturbed = fairkd.sweep(
        experiment.replace(output_dir=str(tmp_path / "calm")), WEIGHTS, engine=InlineEngine()
    )
    columns = [name for name in table if name not in ("attempts", "seconds", "command")]
    pd.testing.assert_frame_equal(table[columns], undisturbed[columns])
    for artifact in table["artifact"]:
        assert weights_of(tmp_path / "killed", artifact) == weights_of(tmp_path / "calm", artifact)

    started: list[str] = []
    again = fairkd.sweep(experiment, WEIGHTS, workers=2, on_event=lambda event, _: started.append(event.kind))
    assert set(started) == {"skip"}
    pd.testing.assert_frame_equal(again, table)


@pytest.mark.distributed
def test_a_worker_that_cannot_start_is_an_outcome_and_none_outlives_the_engine(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    engine = LocalEngine(1, [], tmp_path)
    try:
        engine.start("a", {"kind": "teacher"})
        (outcome,) = engine.wait(30)
        assert (outcome.key, outcome.error) == ("a", "the worker process ended with exit code 1")
        assert engine.running() == []
        # It ends before the job is on its way, which then has nowhere to go.
        launch = local_engine._Worker._launch
        monkeypatch.setattr(
            local_engine._Worker, "_launch", lambda worker: (launch(worker), worker._process.wait())
        )
        engine.start("a", {"kind": "teacher" * 99})
        assert [outcome.key for outcome in engine.wait(30)] == ["a"]
        monkeypatch.setattr(local_engine._Worker, "_launch", launch)
        monkeypatch.setattr(sys, "executable", "/bin/cat")
        monkeypatch.setattr(local_engine, "_COMMAND", ["-"])
        engine.start("b", result())
        (running,) = engine.running()
    finally:
        engine.close()
    with pytest.raises(ProcessLookupError):
        os.kill(running.pid, 0)


def test_the_models_are_ordinary_artefacts(tmp_path):
    experiment = tiny(tmp_path, run_name="sweep")
    table = fairkd.sweep(experiment, WEIGHTS, engine=InlineEngine())
    teacher = train_teacher(experiment)
    student = distill_student(experiment.replace(adversary_weight=30), teacher)
    assert teacher.folder.name == table["artifact"][0] and student.folder.name == table["artifact"][3]
    question = read_json(tmp_path / "sweep" / "sweep.json")
    assert question["command"].startswith("fairkd sweep --param adversary_weight=1,30 -p ")


def test_a_search_is_not_continued_with_another_space(tmp_path):
    pytest.importorskip("optuna")
    experiment = tiny(tmp_path, run_name="sweep")
    options = {"search": "optuna", "trials": 1, "engine": InlineEngine(lambda job: {"result": result()})}
    fairkd.sweep(experiment, {"temperature": "1..4"}, **options)
    with pytest.raises(ParameterError, match="holds a search with other parameters"):
        fairkd.sweep(experiment, {"temperature": "1..5"}, **options)


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "sweep").write_text("a file, not a folder")
    with pytest.raises(ArtifactError, match="cannot"):
        fairkd.sweep(tiny(tmp_path, run_name="sweep"), WEIGHTS, engine=InlineEngine())
