"""Which trainings a sweep is made of, what they share, and the command that repeats each."""

from __future__ import annotations

import shlex

import pytest
from sweep_cases import tiny

from fairkd.arguments import join_pairs, read_experiment
from fairkd.sweeps import plan
from fairkd.sweeps.plan import Planner, Trial


def planned(folder, settings, **changes) -> list[Trial]:
    return Planner(tiny(folder, **changes)).plan(settings)


def titles(trials: list[Trial], kind: str) -> list[str]:
    return [trial.title for trial in trials if trial.kind == kind]


def test_all_settings_of_a_seed_share_a_teacher_and_plain_kd(tmp_path):
    trials = planned(tmp_path, [{"adversary_weight": 1.0}, {"adversary_weight": 3.0}], seeds=2, seed=5)
    assert [(trial.number, trial.title) for trial in trials] == [
        (1, "teacher, seed 5"),
        (2, "teacher, seed 6"),
        (3, "kd, seed 5"),
        (4, "kd, seed 6"),
        (5, "adversary_weight=1, seed 5"),
        (6, "adversary_weight=3, seed 5"),
        (7, "adversary_weight=1, seed 6"),
        (8, "adversary_weight=3, seed 6"),
    ]
    keys = {trial.title: trial.key for trial in trials}
    assert len(set(keys.values())) == 8
    assert trials[4].after == (keys["teacher, seed 5"], keys["kd, seed 5"])
    assert trials[2].after == (keys["teacher, seed 5"],) and trials[0].after == ()
    baseline = trials[4].baseline
    assert (baseline.distiller, baseline.mitigation, baseline.seed) == ("kd", "none", 5)


def test_only_what_reaches_a_teacher_or_plain_kd_makes_another(tmp_path):
    settings = [
        {"teacher_epochs": epochs, "student": student, "temperature": heat}
        for epochs in (1, 2)
        for student in ("test_resnet", "resnet8_cifar")
        for heat in (1.0, 4.0)
    ]
    trials = planned(tmp_path, settings)
    assert titles(trials, "teacher") == [
        "teacher (teacher_epochs=1), seed 0",
        "teacher (teacher_epochs=2), seed 0",
    ]
    assert titles(trials, "kd")[0] == "kd (teacher_epochs=1, student=test_resnet), seed 0"
    assert len(titles(trials, "kd")) == 4 and len(titles(trials, "student")) == 8


def test_settings_that_are_the_same_model_are_trained_once(tmp_path):
    settings = [
        {"mitigation": mitigation, "adversary_weight": weight}
        for mitigation in ("none", "gradient_reversal")
        for weight in (1.0, 3.0)
    ]
    trials = planned(tmp_path, settings)
    plain = [trial.key for trial in trials if trial.kind == "kd"]
    students = [trial.key for trial in trials if trial.kind == "student"]
    assert students[:2] == plain * 2, "without mitigation the weight is not read: that is plain KD"
    assert len(set(students)) == 3


def test_a_teacher_s_mitigation_that_is_off_makes_no_difference(tmp_path):
    settings = [{"teacher_adversary_weight": weight} for weight in (1.0, 3.0)]
    assert len({t.key for t in planned(tmp_path, settings) if t.kind == "teacher"}) == 1
    mitigated = planned(tmp_path, settings, teacher_mitigation="gradient_reversal")
    assert len({t.key for t in mitigated if t.kind == "teacher"}) == 2


@pytest.mark.parametrize("change", [{"skew": 0.8}, {"seed": 1}, {"confidence": 0.9}, {"optimizer": "sgd"}])
def test_other_data_seeds_scores_and_trainings_are_other_keys(tmp_path, change):
    settings = [{"temperature": 1.0}]
    before, after = planned(tmp_path, settings), planned(tmp_path, settings, **change)
    assert not {trial.key for trial in before} & {trial.key for trial in after}


def test_another_version_is_another_key(tmp_path, monkeypatch):
    before = planned(tmp_path, [{"temperature": 1.0}])
    monkeypatch.setattr(plan, "version_of", lambda package: "0")
    assert not {t.key for t in before} & {t.key for t in planned(tmp_path, [{"temperature": 1.0}])}


def test_where_and_on_what_it_runs_is_no_part_of_the_key(tmp_path):
    before = planned(tmp_path, [{"temperature": 1.0}])
    after = planned(tmp_path / "b", [{"temperature": 1.0}], run_name="x", device="cpu", teacher_cache_gb=0)
    assert [trial.key for trial in before] == [trial.key for trial in after]


def test_the_command_of_each_trial_is_its_experiment(tmp_path):
    for trial in planned(tmp_path, [{"adversary_weight": 0.3, "co_teachers": ("test_vit", "a b")}], seeds=2):
        words = shlex.split(trial.experiment.command)
        assert words[:2] == ["fairkd", "run"]
        pairs = [word for word in join_pairs(words[2:]) if word != "-p"]
        assert read_experiment(pairs, None) == trial.experiment


def test_what_has_been_planned_is_not_planned_again(tmp_path):
    planner = Planner(tiny(tmp_path))
    first = planner.plan([{"temperature": 1.0}])
    more = planner.plan([{"temperature": 1.0}, {"temperature": 2.0}])
    assert [trial.number for trial in first + more] == [1, 2, 3, 4]
    assert planner.students({"temperature": 2.0}) == more


def test_data_are_looked_at_once_a_plan_and_again_by_the_next(tmp_path, monkeypatch):
    looked: list[float | None] = []

    def check(name: str, **options):
        looked.append(options["skew"])
        return check_dataset(name, **options)

    check_dataset = plan.check_dataset
    monkeypatch.setattr(plan, "check_dataset", check)
    for _ in range(2):
        planned(tmp_path, [{"skew": skew, "temperature": heat} for skew in (0.8, 0.9) for heat in (1.0, 4.0)])
    assert looked == [0.8, 0.9] * 2, "data that changed between two sweeps of one process are noticed"


def test_a_job_is_plain_and_its_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (trial, *_) = planned("here", [{"temperature": 1.0}])
    assert trial.job["experiment"]["output_dir"] == str(tmp_path / "here")
    assert trial.job["kind"] == "teacher" and trial.job["baseline"] is None
