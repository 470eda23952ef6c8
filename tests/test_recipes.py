"""The shared sequences: what is trained, what is found again, and what stops before any training."""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from full_disk import full_disk
from safetensors.torch import save_file

from fairkd.cli import main
from fairkd.config import Experiment
from fairkd.data.splits import ImageSet
from fairkd.distillers import list_distillers
from fairkd.errors import ArtifactError, DataError, FairkdWarning, ParameterError
from fairkd.inference import predict
from fairkd.models import create_model
from fairkd.pipeline import STEPS
from fairkd.recipes import (
    ROLES,
    TrainedModel,
    check_experiment,
    check_methods,
    check_setting,
    distill_student,
    is_trained,
    load_splits,
    setup,
    train_student_alone,
    train_students,
    train_teacher,
    warn_of_few_samples,
)
from fairkd.recipes.models import Recipe
from fairkd.store import read_json
from fairkd.training import Trainer
from fairkd.training.checkpoint import Checkpoint

# So few steps rarely suffice to predict more than one class.
pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")


@pytest.fixture
def fits(monkeypatch) -> list[str]:
    """The trainings that took place, by what their progress bar says."""
    descriptions: list[str] = []
    fit = Trainer.fit

    def recorded(self: Trainer) -> pd.DataFrame:
        descriptions.append(self.description)
        return fit(self)

    monkeypatch.setattr(Trainer, "fit", recorded)
    return descriptions


def train_all(experiment: Experiment, splits) -> dict[str, TrainedModel]:
    teacher = train_teacher(experiment, splits)
    return {"teacher": teacher, **train_students(experiment, teacher, splits)}


def files_of(model: TrainedModel) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in model.folder.iterdir()}


# What is found again


def test_another_adversary_weight_trains_one_student_and_touches_nothing_else(
    tiny_experiment, tiny_splits, fits
):
    first = train_all(tiny_experiment, tiny_splits)
    assert tuple(first) == ROLES
    assert fits == ["teacher", "student scratch", "student kd", "student fair"]
    before = {role: files_of(model) for role, model in first.items()}
    fits.clear()
    second = train_all(tiny_experiment.replace(adversary_weight=7), tiny_splits)
    assert fits == ["student fair"]
    assert {role: files_of(model) for role, model in first.items()} == before
    same = [role for role in ROLES if second[role].folder == first[role].folder]
    assert same == ["teacher", "student_scratch", "student_kd"]
    fits.clear()
    third = train_all(tiny_experiment, tiny_splits)
    assert fits == []
    for role in ROLES:
        pd.testing.assert_frame_equal(third[role].predictions.frame, first[role].predictions.frame)
        pd.testing.assert_frame_equal(third[role].history, first[role].history)


_KD = ["student_kd", "student_fair"]
#: Which artefacts another value of a parameter changes. Data count by their content, not by parameters.
CHANGES: list[tuple[list[str], dict[str, Any]]] = [
    (
        list(ROLES),
        {
            "seed": 1,
            "augmentation": "none",
            "batch_size": 17,
            "optimizer": "sgd",
            "learning_rate": 0.5,
            "weight_decay": 0.5,
            "warmup_epochs": 3,
            "label_smoothing": 0.5,
            "patience": 3,
            "selection": "last",
            "selection_tolerance": 0.5,
            "stem": "small",
            "precision": "bfloat16",
            "compile": True,
            "micro_batch": 5,
            "ema_decay": 0.5,
        },
    ),
    (
        ["teacher", *_KD],
        {
            "teacher": "resnet20_cifar",
            "teacher_epochs": 99,
            "teacher_pretrained": True,
            "teacher_weights": "{weights}",
            "teacher_mitigation": "reweighting",
        },
    ),
    (
        ["student_scratch", *_KD],
        {
            "student": "resnet20_cifar",
            "student_epochs": 99,
            "student_pretrained": True,
            "student_weights": "{weights}",
        },
    ),
    (
        _KD,
        {
            "distiller": "dkd",
            "temperature": 9,
            "logit_standardization": True,
            "teacher_calibration": "group",
            "distill_weight": 9,
            "task_weight": 9,
            "teacher_outputs": "float16",
        },
    ),
    (
        ["student_fair"],
        {
            "mitigation": "projection",
            "adversary_weight": 9,
            "adversary_input": "logits",
            "adversary_sees_label": False,
            "adversary_balanced": False,
            "adversary_penalty": 9,
            "adversary_learning_rate": 0.5,
            "adversary_hidden": 9,
        },
    ),
    # What the experiment's methods do not read.
    (
        [],
        {
            "teacher_adversary_weight": 9,
            "dkd_beta": 9,
            "distill_from": "maps",
            "co_teachers": ["resnet8_cifar"],
            "ensemble_weights": "confidence",
            "critic_published": True,
            "dro_step_size": 9,
        },
    ),
    (
        [],
        {
            "dataset": "image-folder",
            "data_root": "elsewhere",
            "download": True,
            "target": "kind",
            "group": "who",
            "audit_groups": ["who"],
            "variant": "mfd",
            "samples": 100,
            "cache_dir": "elsewhere",
            "csv": "x.csv",
            "path_column": "file",
            "label_column": "kind",
            "group_column": "who",
            "split_column": "part",
            "unit_column": "who",
            "bias": "tint",
            "skew": 0.7,
            "image_size": 64,
            "adversary_weights": [9],
            "temperatures": [9],
            "distillers": ["rkd"],
            "mitigations": ["laftr"],
            "every_pair": True,
            "seeds": 9,
            "bootstrap_replicates": 999,
            "confidence": 0.5,
            "run_name": "other",
            "plugin": "{plugin}",
            "device": "cpu",
            "teacher_cache_gb": 0,
        },
    ),
]


def folders(experiment: Experiment, splits) -> dict[str, Path]:
    recipe = Recipe(experiment, splits)
    teacher = recipe.folder("teacher", None).path
    return {role: recipe.folder(role, teacher).path for role in ROLES}


def changed_roles(one: dict[str, Path], other: dict[str, Path]) -> list[str]:
    return [role for role in ROLES if one[role] != other[role]]


def test_each_parameter_changes_exactly_the_artefacts_that_it_determines(
    tiny_experiment, tiny_splits, tmp_path
):
    named = [name for _, values in CHANGES for name in values]
    assert sorted([*named, "output_dir"]) == sorted(Experiment.names()), "a new parameter belongs here"
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"some weights")
    plugin = tmp_path / "empty.py"
    plugin.touch()
    before = folders(tiny_experiment, tiny_splits)
    assert len(set(before.values())) == 4
    for roles, values in CHANGES:
        for name, value in values.items():
            value = {"{weights}": weights, "{plugin}": plugin}.get(str(value), value)
            after = folders(tiny_experiment.replace(**{name: value}), tiny_splits)
            assert changed_roles(before, after) == roles, name


TEACHER_TOO = ["teacher", *_KD]
ADVERSARY = ["adversary_weight", "adversary_learning_rate", "adversary_hidden", "adversary_sees_label"]
#: Methods, parameters that they read, and parameters that they do not.
READ: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({"distiller": "rkd"}, ["distill_from", "distill_weight"], ["temperature", "dkd_beta", "co_teachers"]),
    ({"distiller": "mfd"}, ["task_weight", "teacher_outputs"], ["temperature", "distill_from"]),
    ({"distiller": "dkd"}, ["dkd_beta", "temperature", "logit_standardization"], ["co_teachers"]),
    ({"distiller": "kd+rkd"}, ["temperature", "distill_from"], ["dkd_beta"]),
    ({"distiller": "co_advise"}, ["co_teachers", "teacher_calibration"], ["temperature", "ensemble_weights"]),
    ({"distiller": "ensemble"}, ["co_teachers", "ensemble_weights", "temperature"], ["dkd_beta"]),
    (
        {"distiller": "none"},
        [],
        ["temperature", "distill_weight", "task_weight", "co_teachers", "teacher_outputs"],
    ),
    ({"mitigation": "reweighting"}, [], [*ADVERSARY, "dro_step_size", "critic_published"]),
    ({"mitigation": "group_dro"}, ["dro_step_size"], ADVERSARY),
    ({"mitigation": "laftr"}, ADVERSARY, ["adversary_balanced", "dro_step_size"]),
    (
        {"mitigation": "recall_gap_critic"},
        ["critic_published", "adversary_weight", "adversary_learning_rate", "adversary_hidden"],
        ["adversary_sees_label", "adversary_input", "adversary_penalty", "adversary_balanced"],
    ),
    ({"mitigation": "domain_independent"}, [], [*ADVERSARY, "dro_step_size"]),
]
OTHER_VALUES: dict[str, Any] = {name: value for _, values in CHANGES for name, value in values.items()}


@pytest.mark.parametrize(
    ("methods", "read", "unread"), READ, ids=lambda v: str(v) if isinstance(v, dict) else ""
)
def test_a_parameter_counts_only_where_the_method_reads_it(
    tiny_experiment, tiny_splits, methods, read, unread
):
    experiment = tiny_experiment.replace(**methods)
    before = folders(experiment, tiny_splits)
    for name in (*read, *unread):
        changed = changed_roles(
            before, folders(experiment.replace(**{name: OTHER_VALUES[name]}), tiny_splits)
        )
        expected = ["student_fair"] if "mitigation" in methods else _KD
        assert changed == (expected if name in read else []), name


def test_the_teacher_s_mitigation_counts_with_what_it_reads(tiny_experiment, tiny_splits):
    experiment = tiny_experiment.replace(teacher_mitigation="gradient_reversal", mitigation="reweighting")
    before = folders(experiment, tiny_splits)

    def changed(**values: Any) -> list[str]:
        return changed_roles(before, folders(experiment.replace(**values), tiny_splits))

    assert changed(teacher_adversary_weight=3) == changed(adversary_hidden=3) == TEACHER_TOO
    assert changed(adversary_weight=3) == changed(dro_step_size=3) == []
    assert changed(mitigation="group_dro") == ["student_fair"]


def test_other_data_change_every_artefact_and_another_folder_none_of_the_names(
    tiny_experiment, tiny_splits, tmp_path
):
    before = folders(tiny_experiment, tiny_splits)
    other = dataclasses.replace(tiny_splits, fingerprint="other")
    assert changed_roles(before, folders(tiny_experiment, other)) == list(ROLES)
    moved = folders(tiny_experiment.replace(output_dir=str(tmp_path / "moved")), tiny_splits)
    assert [path.name for path in moved.values()] == [path.name for path in before.values()]


def test_local_weights_count_by_their_content(tiny_experiment, tiny_splits, tmp_path):
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    one.write_bytes(b"a")
    shutil.copy(one, other)
    first = folders(tiny_experiment.replace(teacher_weights=str(one)), tiny_splits)
    assert folders(tiny_experiment.replace(teacher_weights=str(other)), tiny_splits) == first
    one.write_bytes(b"b")
    second = folders(tiny_experiment.replace(teacher_weights=str(one)), tiny_splits)
    assert changed_roles(first, second) == ["teacher", *_KD]


@pytest.mark.parametrize(
    ("name", "own", "other"), [("augmentation", "crop", "none"), ("stem", "auto", "small")]
)
def test_auto_is_what_the_data_set_says(tiny_experiment, tiny_splits, name, own, other):
    assert getattr(tiny_experiment, name) == "auto" and getattr(tiny_splits, name) == own
    automatic = folders(tiny_experiment, tiny_splits)
    assert folders(tiny_experiment.replace(**{name: own}), tiny_splits) == automatic
    changed = folders(tiny_experiment, dataclasses.replace(tiny_splits, **{name: other}))
    assert changed_roles(automatic, changed) == list(ROLES)
    assert folders(tiny_experiment.replace(**{name: other}), tiny_splits) == changed


def test_a_dry_run_says_which_models_there_are_without_an_image(tiny_experiment, monkeypatch, capsys):
    tiny_experiment = tiny_experiment.replace(samples=300, image_size=16, precision="auto")
    splits = setup.load_splits(tiny_experiment)
    monkeypatch.setattr("fairkd.data.plan.Plan.load", lambda plan: pytest.fail("decoded"))
    changed = tiny_experiment.changed() | {"output_dir": tiny_experiment.output_dir, "run_name": "mine"}
    words = [word for name, value in changed.items() for word in ("-p", name, str(value))]

    def models() -> list[str]:
        assert main(["run", "--dry-run", *words]) == 0
        return capsys.readouterr().out.splitlines()[len(STEPS) + 1 :]

    assert models() == []
    teacher = train_teacher(tiny_experiment, splits)
    distill_student(tiny_experiment, teacher, splits)
    there = {"teacher": "trained before", "student_fair": "trained before"}
    assert models() == [f"{role}: {there.get(role, 'would be trained')}" for role in ROLES]


def test_without_mitigation_the_student_is_that_of_plain_distillation(tiny_experiment, tiny_splits, fits):
    plain = tiny_experiment.replace(mitigation="none")
    teacher = train_teacher(plain, tiny_splits)
    assert not is_trained(plain, teacher, tiny_splits)
    student = distill_student(plain, teacher, tiny_splits)
    assert is_trained(plain, teacher, tiny_splits)
    assert not is_trained(tiny_experiment, teacher, tiny_splits)
    assert fits == ["teacher", "student kd"]
    students = train_students(plain, teacher, tiny_splits)
    assert students["student_kd"].folder == student.folder
    assert set(students) == {"student_scratch", "student_kd"}
    assert fits == ["teacher", "student kd", "student scratch"]
    # A weight that is not used changes nothing.
    again = distill_student(plain.replace(adversary_weight=9), teacher, tiny_splits)
    assert again.folder == student.folder


# The teachers' cached outputs


def cache_files(experiment: Experiment) -> dict[str, int]:
    folder = experiment.output_path / "cache"
    files = [path for path in folder.glob("*/*") if path.suffix != ".lock"]
    return {f"{path.parent.name}/{path.name}": path.stat().st_mtime_ns for path in files}


def calls_of(network: torch.nn.Module) -> list[int]:
    """Return a list to which the size of every batch of more than one image is added."""
    calls: list[int] = []
    network.register_forward_hook(
        lambda module, inputs, outputs: calls.append(len(inputs[0])) if len(inputs[0]) > 1 else None
    )
    return calls


#: Students that read of their teacher's outputs what the first one does, the logits.
SIBLINGS: list[dict[str, Any]] = [
    {"temperature": 9.0},
    {"adversary_weight": 3.0},
    {"distiller": "dkd"},
    {"student": "test_resnet"},
    {"mitigation": "projection", "distill_weight": 0.5},
    {"teacher_calibration": "global"},
    {"batch_size": 24, "micro_batch": 12},
]


def test_students_of_one_teacher_share_its_outputs_and_are_what_they_are_without_a_cache(
    tiny_experiment, tiny_splits, tmp_path
):
    experiment = tiny_experiment.replace(teacher_epochs=1, student_epochs=2)
    teacher = train_teacher(experiment, tiny_splits)
    calls = calls_of(teacher.model)
    distill_student(experiment, teacher, tiny_splits)
    assert calls == [48, 48], "each of two epochs is computed once"
    before = cache_files(experiment)
    assert sorted(name.split("/")[1] for name in before) == ["00000-logits-float32", "00001-logits-float32"]
    for values in SIBLINGS:
        chosen = experiment.replace(**values)
        student = distill_student(chosen, teacher, tiny_splits)
        assert calls == [48, 48] and cache_files(experiment) == before, values
        uncached = chosen.replace(teacher_cache_gb=0, output_dir=str(tmp_path / "uncached"))
        alone = distill_student(uncached, teacher, tiny_splits)
        assert calls == [48] * 4 and not cache_files(uncached)
        del calls[2:]
        assert alone.folder.name == student.folder.name
        weights = [(model.folder / "model.safetensors").read_bytes() for model in (student, alone)]
        assert weights[0] == weights[1], values


@pytest.mark.parametrize(
    ("values", "reads"),
    [
        ({"distiller": "attention"}, ["maps"]),
        ({"distiller": "kd+hint"}, ["features", "logits"]),
        ({"distiller": "similarity", "distill_from": "maps"}, ["maps"]),
    ],
    ids=str,
)
def test_a_distiller_s_outputs_are_kept_and_read_again_with_the_same_weights(
    tiny_experiment, tiny_splits, tmp_path, values, reads
):
    experiment = tiny_experiment.replace(teacher_epochs=1, student_epochs=1, mitigation="none", **values)
    teacher = train_teacher(experiment, tiny_splits)
    calls = calls_of(teacher.model)
    weights = []
    for name, limit in (("computed", 5), ("read", 5), ("uncached", 0)):
        folder = str(tmp_path / name)
        if name == "read":
            shutil.copytree(tmp_path / "computed" / "cache", tmp_path / name / "cache")
        chosen = experiment.replace(output_dir=folder, teacher_cache_gb=limit)
        student = distill_student(chosen, teacher, tiny_splits)
        weights.append((student.folder / "model.safetensors").read_bytes())
        kept = [f"00000-{kind}-float32" for kind in reads] if limit else []
        assert sorted(file.split("/")[1] for file in cache_files(chosen)) == kept
    assert calls == [48, 48], "nothing was computed where it could be read"
    assert weights[0] == weights[1] == weights[2]


@pytest.mark.parametrize("short", ["float16", "bfloat16"])
def test_short_outputs_teach_nearly_the_same(tiny_experiment, tiny_splits, short):
    experiment = tiny_experiment.replace(teacher_epochs=1, student_epochs=1, mitigation="none")
    teacher = train_teacher(experiment, tiny_splits)
    losses = [
        distill_student(experiment.replace(teacher_outputs=kind), teacher, tiny_splits).history["train_loss"]
        for kind in ("float32", short)
    ]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-2)
    names = [name.split("/")[1] for name in cache_files(experiment)]
    assert sorted(names) == sorted([f"00000-logits-{short}", "00000-logits-float32"])


def test_a_cache_without_room_costs_nothing_but_time(tiny_experiment, tiny_splits):
    experiment = tiny_experiment.replace(
        teacher_epochs=1, student_epochs=2, mitigation="none", teacher_cache_gb=1e-9
    )
    teacher = train_teacher(experiment, tiny_splits)
    with pytest.warns(FairkdWarning, match="raise teacher_cache_gb"):
        student = distill_student(experiment, teacher, tiny_splits)
    assert np.isfinite(student.history["train_loss"]).all() and not cache_files(experiment)


def test_a_collapsed_model_is_warned_of_whenever_it_is_loaded(tiny_experiment, tiny_splits):
    one_class = dataclasses.replace(tiny_splits.train, labels=np.zeros_like(tiny_splits.train.labels))
    splits = dataclasses.replace(tiny_splits, train=one_class)
    for _ in range(2):
        with pytest.warns(FairkdWarning) as said:
            teacher = train_teacher(tiny_experiment.replace(teacher_epochs=4), splits)
        assert teacher.collapsed
        kept = teacher.history.set_index("selected")["epoch"][True]
        assert [str(one.message).split(",")[0] for one in said] == [
            f"teacher: every epoch predicts at most half of the classes; kept epoch {kept}"
        ]


# What an artefact holds


def test_a_trained_model_is_the_same_when_it_is_loaded(tiny_experiment, tiny_splits):
    fresh, loaded = (train_teacher(tiny_experiment, tiny_splits) for _ in range(2))
    assert sorted(files_of(fresh)) == [
        "config.json",
        "history.csv",
        "model.safetensors",
        "test.parquet",
        "validation.parquet",
    ]
    config = read_json(fresh.folder / "config.json")
    assert config["role"] == "teacher" and config["determined_by"]["teacher"] == "resnet8_cifar"
    assert config["environment"]["packages"]["torch"]
    state = loaded.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in fresh.model.state_dict().items())
    assert not loaded.model.training and fresh.history["selected"].sum() == 1
    for split, stored in (("test", loaded.predictions), ("validation", loaded.validation)):
        expected = predict(loaded.model, tiny_splits, split)
        pd.testing.assert_frame_equal(stored.frame, expected.frame)


def test_the_same_parameters_give_the_same_bytes_in_another_folder(tiny_experiment, tiny_splits, tmp_path):
    runs = [
        train_all(tiny_experiment.replace(output_dir=str(tmp_path / name)), tiny_splits)
        for name in ("a", "b")
    ]
    for role in ROLES:
        one, other = (run[role] for run in runs)
        assert one.folder.name == other.folder.name and one.folder != other.folder
        for file in ("model.safetensors", "test.parquet", "validation.parquet"):
            assert (one.folder / file).read_bytes() == (other.folder / file).read_bytes(), (role, file)
        pd.testing.assert_frame_equal(
            one.history.drop(columns="seconds"), other.history.drop(columns="seconds"), check_exact=True
        )


def test_teacher_and_student_do_not_share_initial_weights(tiny_experiment, tiny_splits):
    still = tiny_experiment.replace(learning_rate=1e-9, teacher_epochs=1, student_epochs=1)
    teacher, student = train_teacher(still, tiny_splits), train_student_alone(still, tiny_splits)
    assert still.teacher == still.student
    assert not torch.allclose(teacher.model.backbone.fc.weight, student.model.backbone.fc.weight, atol=1e-3)


def test_the_seed_is_the_adversary_s_too(tiny_experiment, tiny_splits):
    network = create_model("resnet8_cifar", 3, image_size=16, seed=0)
    role = "student_fair", "student"
    weights = [
        Recipe(tiny_experiment.replace(seed=seed), tiny_splits)._mitigation(*role, network).layers[0].weight
        for seed in (1, 1, 2)
    ]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_local_weights_are_where_the_training_starts(tiny_experiment, tiny_splits, tmp_path):
    source = create_model("resnet8_cifar", 3, image_size=16, seed=99)
    save_file({k: v.contiguous() for k, v in source.state_dict().items()}, tmp_path / "w.safetensors")
    experiment = tiny_experiment.replace(
        learning_rate=1e-9, teacher_epochs=1, teacher_weights=str(tmp_path / "w.safetensors")
    )
    teacher = train_teacher(experiment, tiny_splits)
    torch.testing.assert_close(teacher.model.backbone.fc.weight, source.backbone.fc.weight, atol=1e-6, rtol=0)


# Interruption and damage


def test_an_interrupted_recipe_goes_on_from_the_last_epoch(
    tiny_experiment, tiny_splits, tmp_path, monkeypatch
):
    whole = train_teacher(tiny_experiment.replace(output_dir=str(tmp_path / "whole")), tiny_splits)
    run_epoch, epochs = Trainer._run_epoch, []

    def interrupted(self: Trainer, epoch: int, bar: Any) -> dict[str, Any]:
        epochs.append(epoch)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return run_epoch(self, epoch, bar)

    monkeypatch.setattr(Trainer, "_run_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_teacher(tiny_experiment, tiny_splits)
    partial = tmp_path / "artifacts" / f"{whole.folder.name}.partial"
    assert [file.name for file in partial.iterdir()] == ["checkpoint.pt"]
    resumed = train_teacher(tiny_experiment, tiny_splits)
    assert epochs == [0, 1, 1] and not partial.exists()
    weights = [(model.folder / "model.safetensors").read_bytes() for model in (whole, resumed)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("name", ["model.safetensors", "test.parquet", "history.csv", "config.json"])
def test_a_damaged_artefact_is_named_and_made_again_once_deleted(tiny_experiment, tiny_splits, name):
    quick = tiny_experiment.replace(teacher_epochs=1)
    teacher = train_teacher(quick, tiny_splits)
    content = (teacher.folder / name).read_bytes()
    (teacher.folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=rf"{name}.*delete .* to have it made again"):
        train_teacher(quick, tiny_splits)
    shutil.rmtree(teacher.folder)
    again = train_teacher(quick, tiny_splits)
    assert (again.folder / "model.safetensors").stat().st_size > 0
    pd.testing.assert_frame_equal(again.predictions.frame, teacher.predictions.frame)


def test_a_full_disk_names_the_model_file(tiny_experiment, tiny_splits, monkeypatch):
    monkeypatch.setattr(Checkpoint, "save", lambda self, epochs_done: None)
    with (
        full_disk(100_000),
        pytest.raises(ArtifactError, match=r"cannot write .*model\.safetensors: .*free space"),
    ):
        train_teacher(tiny_experiment, tiny_splits)
    assert not list(Path(tiny_experiment.output_dir).glob("artifacts/*/config.json"))


# Every combination


@pytest.mark.parametrize("mitigation", ["gradient_reversal", "projection"])
@pytest.mark.parametrize("adversary_input", ["features", "logits"])
@pytest.mark.parametrize("sees_label", [True, False])
def test_every_adversary_trains(tiny_experiment, tiny_splits, mitigation, adversary_input, sees_label):
    experiment = tiny_experiment.replace(
        mitigation=mitigation,
        adversary_input=adversary_input,
        adversary_sees_label=sees_label,
        adversary_balanced=sees_label,
        adversary_penalty=float(sees_label),
        teacher_epochs=1,
        student_epochs=1,
    )
    student = distill_student(experiment, train_teacher(experiment, tiny_splits), tiny_splits)
    row = student.history.iloc[0]
    assert np.isfinite(row[["train_loss", "train_adversary_loss"]].astype(float)).all()
    assert (row["train_adversary_penalty"] > 0) == sees_label
    assert row["chance"] == 0.5 and 0 <= row["adversary_balanced_accuracy"] <= 1
    config = read_json(student.folder / "config.json")
    assert config["role"] == "student_fair" and config["determined_by"]["mitigation"] == mitigation


def three_groups(images: ImageSet) -> ImageSet:
    return dataclasses.replace(images, groups=np.arange(len(images)) // 3 % 3)


def test_three_groups(tiny_experiment, tiny_splits):
    splits = dataclasses.replace(
        tiny_splits,
        **{split: three_groups(images) for split, images in tiny_splits.items()},
        group_names=("red", "green", "blue"),
        fingerprint="three",
    )
    models = train_all(tiny_experiment, splits)
    history = models["student_fair"].history
    assert {f"validation_accuracy[{name}]" for name in splits.group_names} <= set(history.columns)
    assert set(history["chance"]) == {1 / 3}
    assert models["student_fair"].predictions.group_names == ["red", "green", "blue"]


# Every method


EVERY_MITIGATION = [
    *("uniform_confusion", "laftr", "recall_gap_critic", "reweighting", "resampling", "class_weighted"),
    *("group_dro", "domain_independent", "domain_discriminative"),
]


@pytest.mark.parametrize("mitigation", EVERY_MITIGATION)
def test_every_mitigation_trains_the_teacher_and_is_found_again(
    tiny_experiment, tiny_splits, fits, mitigation
):
    experiment = tiny_experiment.replace(teacher_mitigation=mitigation, teacher_epochs=1)
    fresh, loaded = (train_teacher(experiment, tiny_splits) for _ in range(2))
    assert fits == ["teacher"]
    plain = folders(tiny_experiment.replace(teacher_epochs=1), tiny_splits)["teacher"]
    assert fresh.folder == loaded.folder != plain
    assert np.isfinite(fresh.history["train_loss"]).all()
    for split, stored in (("test", fresh.predictions), ("validation", fresh.validation)):
        pd.testing.assert_frame_equal(predict(loaded.model, tiny_splits, split).frame, stored.frame)
    config = read_json(fresh.folder / "config.json")["determined_by"]
    assert config["mitigation"] == mitigation and "teacher_mitigation" not in config
    only_plain_heads = mitigation != "domain_discriminative"
    assert (loaded.model.readout is None) == only_plain_heads
    network = create_model("resnet8_cifar", 3, image_size=16)
    assert (set(loaded.model.state_dict()) == set(network.state_dict())) == only_plain_heads


@pytest.mark.parametrize("mitigation", ["domain_independent", "domain_discriminative"])
def test_a_student_with_several_heads_is_the_same_when_it_is_loaded(tiny_experiment, tiny_splits, mitigation):
    experiment = tiny_experiment.replace(mitigation=mitigation, teacher_epochs=1, student_epochs=2)
    teacher = train_teacher(experiment, tiny_splits)
    fresh, loaded = (distill_student(experiment, teacher, tiny_splits) for _ in range(2))
    pd.testing.assert_frame_equal(predict(loaded.model, tiny_splits).frame, fresh.predictions.frame)
    pd.testing.assert_frame_equal(loaded.predictions.frame, fresh.predictions.frame)


@pytest.mark.parametrize(
    ("methods", "others"),
    [
        ({"distiller": "co_advise"}, ["teacher"]),
        ({"distiller": "ensemble", "ensemble_weights": "confidence"}, ["teacher"]),
        ({"distiller": "kd+ensemble", "ensemble_weights": "agre"}, ["teacher", "student scratch"]),
        ({"distiller": "co_advise", "ensemble_weights": "agre"}, ["teacher"]),
    ],
    ids=str,
)
def test_several_teachers_are_trained_once_and_none_of_them_changes(
    tiny_experiment, tiny_splits, fits, methods, others
):
    experiment = tiny_experiment.replace(
        mitigation="none", co_teachers=["test_vit"], teacher_epochs=1, student_epochs=1, **methods
    )
    teacher = train_teacher(experiment, tiny_splits)
    before = {name: tensor.clone() for name, tensor in teacher.model.state_dict().items()}
    size = teacher.model.param_count
    student = distill_student(experiment, teacher, tiny_splits)
    assert fits == ["teacher", *others, "student kd"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.model.state_dict().items())
    assert teacher.model.param_count == size and not teacher.model.training
    again = distill_student(experiment, teacher, tiny_splits)
    assert fits == ["teacher", *others, "student kd"]
    assert set(again.model.state_dict()) == set(create_model("resnet8_cifar", 3, image_size=16).state_dict())
    pd.testing.assert_frame_equal(predict(again.model, tiny_splits).frame, student.predictions.frame)
    taught_by = read_json(student.folder / "config.json")["determined_by"]["taught_by"]
    assert len(taught_by) == 1 + len(others) and taught_by[0] == teacher.folder.name


def test_co_teachers_trained_before_or_in_between_give_the_same_student(
    tiny_experiment, tiny_splits, tmp_path
):
    states = []
    for name in ("before", "between"):
        experiment = tiny_experiment.replace(
            distiller="ensemble", output_dir=str(tmp_path / name), teacher_epochs=1, student_epochs=1
        )
        if name == "before":
            train_teacher(experiment.replace(teacher="test_vit"), tiny_splits)
        student = distill_student(experiment, train_teacher(experiment, tiny_splits), tiny_splits)
        states.append((student.folder.name, (student.folder / "model.safetensors").read_bytes()))
    assert states[0] == states[1]


@pytest.mark.parametrize("kind", ["global", "group"])
def test_a_calibrated_teacher_teaches_another_student(tiny_experiment, tiny_splits, kind):
    experiment = tiny_experiment.replace(mitigation="none", teacher_epochs=1, student_epochs=1)
    teacher = train_teacher(experiment, tiny_splits)
    students = [
        distill_student(experiment.replace(teacher_calibration=value), teacher, tiny_splits)
        for value in ("none", kind)
    ]
    losses = [student.history["train_distill_loss"].item() for student in students]
    assert losses[0] != losses[1] and np.isfinite(losses).all()


def test_three_groups_with_every_kind_of_mitigation(tiny_experiment, tiny_splits):
    splits = dataclasses.replace(
        tiny_splits,
        **{split: three_groups(images) for split, images in tiny_splits.items()},
        group_names=("red", "green", "blue"),
        fingerprint="three",
    )
    experiment = tiny_experiment.replace(teacher_epochs=1, student_epochs=1)
    teacher = train_teacher(experiment, splits)
    for mitigation in EVERY_MITIGATION:
        student = distill_student(experiment.replace(mitigation=mitigation), teacher, splits)
        assert np.isfinite(student.history["train_loss"]).all(), mitigation


@pytest.mark.parametrize("mitigation", ["none", *EVERY_MITIGATION, "gradient_reversal", "projection"])
def test_of_all_pairs_only_those_with_two_sets_of_heads_are_refused(mitigation):
    refused = []
    for distiller in list_distillers()["name"]:
        try:
            check_methods(Experiment(distiller=distiller, mitigation=mitigation))
        except ParameterError as error:
            refused.append(distiller)
            assert "each trains class heads of its own; use distiller='ensemble'" in str(error)
    assert refused == (["co_advise"] if mitigation.startswith("domain_") else [])


def test_the_published_critic_is_refused_before_training_where_there_are_three_groups(tiny_experiment):
    plan = planned(("a", "b"), ("red", "green", "blue"))
    published = tiny_experiment.replace(critic_published=True)
    check_setting(published, plan)
    for part in ("mitigation", "teacher_mitigation"):
        with pytest.raises(ParameterError, match="critic_published=True is not possible with 3 groups"):
            check_setting(published.replace(**{part: "recall_gap_critic"}), plan)


@pytest.mark.parametrize("parameter", ["mitigation", "teacher_mitigation"])
def test_an_adversary_is_refused_before_training_where_there_is_one_group(
    parameter, tiny_experiment, tiny_splits, fits
):
    none = tiny_experiment.replace(mitigation="none")
    splits = dataclasses.replace(tiny_splits, group_names=("red",), **_ungrouped(tiny_splits))
    teacher = train_teacher(none, splits)
    fits.clear()
    asked = none.replace(**{parameter: "laftr"})
    with pytest.raises(ParameterError, match=f"^{parameter}='laftr' tells groups apart"):
        distill_student(asked, train_teacher(asked, splits), splits)
    assert fits == [] and teacher.folder.is_dir()
    with pytest.raises(ParameterError, match=f"^{parameter}='laftr' tells groups apart"):
        check_setting(asked, planned(splits.class_names, splits.group_names))


@pytest.mark.parametrize("parameter", ["mitigation", "teacher_mitigation"])
def test_a_training_split_without_groups_is_refused_where_they_are_read(parameter, tiny_experiment):
    none = tiny_experiment.replace(mitigation="none")
    plan = planned(("a", "b"), ("red", "green"), train=[-1, 0])
    check_setting(none, plan)
    check_setting(none.replace(**{parameter: "class_weighted"}), plan)
    with pytest.raises(
        DataError, match=f"shows 1 of the 2 values of tint; .*{parameter}='laftr' tells groups apart"
    ):
        check_setting(none.replace(**{parameter: "laftr"}), plan)


def test_a_test_split_without_groups_is_refused_and_one_that_lacks_some_is_warned_of(tiny_experiment):
    with pytest.raises(DataError, match="no image of the test split of some has a tint"):
        check_setting(tiny_experiment, planned(("a", "b"), ("red", "green"), test=[-1]))
    plan = planned(("a", "b"), ("red", "green", "blue"), train=[0, 1], test=[1, 2, -1])
    with pytest.warns(FairkdWarning) as told:
        warn_of_few_samples(plan)
    said = [str(one.message) for one in told]
    assert "the train split of some has no image of the tint blue" in said
    assert "the test split of some has no image of the tint red" in said


@pytest.mark.parametrize(
    ("part", "value"), [("teacher", "test_vit"), ("student", "test_vit"), ("co_teachers", ["test_vit"])]
)
def test_a_network_that_cannot_take_the_images_is_told_before_any_training(part, value, tiny_experiment):
    plan = planned(("a", "b"), ("red", "green"), image_size=40)
    asked = tiny_experiment.replace(
        **{"distiller": "ensemble", "co_teachers": ["wrn16_2_cifar"], part: value}
    )
    with pytest.raises(
        ParameterError, match=f"^{part}='test_vit': 'test_vit' cannot process 40-pixel images"
    ):
        check_setting(asked, plan)


def test_patience_needs_a_score_to_wait_for(tiny_experiment):
    asked = tiny_experiment.replace(patience=2)
    check_setting(asked, planned(("a", "b"), ("red", "green")))
    with pytest.raises(
        ParameterError, match="patience=2 waits for a better validation score, which selection='last'"
    ):
        check_setting(asked.replace(selection="last"), planned(("a", "b"), ("red", "green")))


def planned(classes, groups, *, image_size=32, **codes):
    """A plan of these classes and groups; ``codes`` are a split's groups, by default one image of each."""
    rows = {}
    for split in ("train", "validation", "test"):
        present = np.array(codes.get(split, range(len(groups))))
        rows[split] = SimpleNamespace(groups=present, labels=np.zeros_like(present))
    names = {"class_names": classes, "group_names": groups, "name": "some", "group_name": "tint"}
    return SimpleNamespace(**names, rows=rows, image_size=image_size, stem="auto")


def _ungrouped(splits):
    """Return the splits' images in one group."""
    return {
        name: dataclasses.replace(images, groups=np.zeros_like(images.groups))
        for name, images in splits.items()
    }


# What stops before any training


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"teacher": "resnet9000"}, ParameterError, r"teacher='resnet9000' .*did you mean 'resnet"),
        ({"student": "resnet9000"}, ParameterError, r"student='resnet9000' "),
        (
            {"distiller": "kdd"},
            ParameterError,
            r"distiller='kdd': 'kdd' is unknown: did you mean 'kd'\? allowed: none, kd",
        ),
        (
            {"mitigation": "projektion"},
            ParameterError,
            r"mitigation='projektion' is unknown: did you mean 'projection'\? allowed: none, ",
        ),
        (
            {"teacher_mitigation": "lafter"},
            ParameterError,
            r"teacher_mitigation='lafter' is unknown: did you mean 'laftr'\?",
        ),
        ({"co_teachers": ["resnet9000"]}, ParameterError, r"co_teachers='resnet9000' "),
        (
            {"distiller": "ensemble", "co_teachers": []},
            ParameterError,
            r"distiller='ensemble' needs at least one network more in co_teachers",
        ),
        (
            {"distiller": "ensemble", "co_teachers": ["test_vit", "resnet8_cifar"]},
            ParameterError,
            r"co_teachers names 'resnet8_cifar', which is a teacher already: trained from the same seed",
        ),
        (
            {"distiller": "co_advise", "teacher_pretrained": True, "co_teachers": ["test_vit", "test_vit"]},
            ParameterError,
            r"co_teachers names 'test_vit', which is a teacher already",
        ),
        (
            {"distiller": "kd+co_advise", "mitigation": "domain_independent"},
            ParameterError,
            r"'co_advise' and mitigation='domain_independent' cannot be combined: each trains class heads",
        ),
        (
            {"distiller": "rkd", "teacher_calibration": "group"},
            ParameterError,
            r"teacher_calibration='group' has no effect on distiller='rkd'",
        ),
        ({"device": "cuda:99"}, ParameterError, r"device='cuda:99' cannot be used: .*allowed: auto, cpu"),
        ({"device": "tpu9000"}, ParameterError, r"device='tpu9000' cannot be used: .*allowed: auto, cpu"),
        (
            {"teacher_weights": "no.pth"},
            ParameterError,
            r"teacher_weights='no.pth' is not a file: .*/no\.pth",
        ),
        (
            {"teacher_epochs": 0},
            ParameterError,
            r"teacher_epochs=0 trains nothing: name the trained network's file in teacher_weights",
        ),
        (
            {"teacher_epochs": 0, "teacher_weights": __file__, "teacher_mitigation": "resampling"},
            ParameterError,
            r"teacher_mitigation='resampling' has no effect",
        ),
        (
            {
                "teacher_epochs": 0,
                "teacher_weights": __file__,
                "distiller": "co_advise",
                "co_teachers": ["test_vit"],
            },
            ParameterError,
            r"co_teachers are trained for teacher_epochs",
        ),
        ({"distill_weight": 0, "task_weight": 0}, ParameterError, r"leave no loss to learn from"),
        ({"student_weights": "no.pth"}, ParameterError, r"student_weights='no.pth' is not a file"),
        ({"dataset": "digits"}, ParameterError, r"unknown data set 'digits': .*allowed: colored-digits"),
        ({"dataset": "image-folder", "data_root": "/no/such"}, DataError, r"/no/such"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_can_be_known_before_training_is_said_before_it(tiny_experiment, values, error, message, fits):
    with pytest.raises(error, match=message) as caught:
        check_experiment(tiny_experiment.replace(**values))
    assert "\n" not in str(caught.value)
    assert fits == [] and not list(Path(tiny_experiment.output_dir).iterdir())


def test_a_teacher_of_other_data_is_told_and_one_of_other_classes_refused(tiny_experiment, tiny_splits):
    short = tiny_experiment.replace(teacher_epochs=1, student_epochs=1, mitigation="none", distiller="kd")
    teacher = train_teacher(short, tiny_splits)
    other = dataclasses.replace(tiny_splits, fingerprint="another split")
    with pytest.warns(FairkdWarning, match="the teacher was trained on other data, or on another split"):
        distill_student(short, teacher, other)
    names = dataclasses.replace(
        tiny_splits, class_names=tuple(f"kind {name}" for name in tiny_splits.class_names)
    )
    with pytest.raises(ParameterError, match=r"the teacher tells apart .* and the data hold .*kind"):
        distill_student(short, teacher, names)
    # Without a teacher's answers none of them can be wrong.
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the teacher was trained")
        distill_student(short.replace(distiller="none"), teacher, other)


def test_the_default_experiment_passes_the_check():
    with warnings.catch_warnings():
        warnings.simplefilter("error", FairkdWarning)
        check_experiment(Experiment())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"dkd_beta": 3.0},
            "dkd_beta=3.0 has no effect on the student: distiller=kd does not read it, but dkd$",
        ),
        (
            {"distiller": "none", "distill_weight": 0.5},
            "distill_weight=0.5 has no effect on the student: distiller=none does not read it, but every distiller but",
        ),
        (
            {"mitigation": "reweighting", "adversary_weight": 3.0},
            "adversary_weight=3.0 has no effect on the student: mitigation=reweighting does not read it, but gradient_",
        ),
        (
            {"teacher_adversary_weight": 3.0},
            "teacher_adversary_weight=3.0 has no effect on the teacher: teacher_mitigation=none does not read it, but ",
        ),
    ],
)
def test_a_parameter_that_no_method_reads_is_told(values, message):
    with pytest.warns(FairkdWarning, match=message) as told:
        check_experiment(Experiment(**values))
    assert len(told) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"distiller": "kd+0.5*dkd", "dkd_beta": 3.0},
        {
            "mitigation": "none",
            "teacher_mitigation": "laftr",
            "adversary_hidden": 8,
            "teacher_adversary_weight": 3.0,
        },
        {"mitigation": "none", "distiller": "none"},
    ],
)
def test_a_parameter_that_one_method_reads_is_not(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error", FairkdWarning)
        check_experiment(Experiment(**values))


def test_a_test_split_that_cannot_tell_groups_apart_is_told_before_any_training():
    with pytest.warns(
        FairkdWarning, match=r"^the test split of colored-digits: \d+ of 20 class x group cells hold fewer"
    ):
        check_experiment(Experiment(samples=150))


def test_load_splits_loads_what_the_experiment_names_and_keeps_the_last():
    experiment = Experiment(skew=0.8, seed=3)
    splits = load_splits(experiment)
    assert splits.name == "colored-digits" and splits.num_classes == 10
    assert load_splits(experiment.replace(temperature=9)) is splits
    assert load_splits(experiment.replace(seed=4)).fingerprint != splits.fingerprint
