"""A network that was trained elsewhere as the teacher: ``teacher_weights`` with ``teacher_epochs=0``."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from fairkd.config import Experiment
from fairkd.data.splits import Splits
from fairkd.errors import FairkdWarning, ParameterError
from fairkd.models import create_model
from fairkd.narrative import describe_history
from fairkd.plots import training_curves
from fairkd.recipes import distill_student, train_teacher
from fairkd.recipes.models import Recipe

# So few steps rarely suffice to predict more than one class.
pytestmark = pytest.mark.filterwarnings("ignore:.*half of the classes:fairkd.errors.FairkdWarning")


def name(experiment: Experiment, splits: Splits) -> str:
    return Recipe(experiment, splits).folder("teacher", None).path.name


@pytest.fixture
def trained_elsewhere(tiny_experiment, tiny_splits, tmp_path) -> Experiment:
    """A teacher's file with its normalisation, and the experiment that takes it as it is."""
    teacher = train_teacher(tiny_experiment.replace(output_dir=str(tmp_path / "elsewhere")), tiny_splits)
    shutil.copy(teacher.folder / "model.safetensors", tmp_path / "w.safetensors")
    return tiny_experiment.replace(teacher_epochs=0, teacher_weights=str(tmp_path / "w.safetensors"))


def test_a_trained_teacher_is_taken_as_it_is(trained_elsewhere, tiny_splits):
    source = load_file(trained_elsewhere.teacher_weights)
    for _ in range(2):
        teacher = train_teacher(trained_elsewhere, tiny_splits)
        assert teacher.model.state_dict().keys() == source.keys()
        for name, tensor in teacher.model.state_dict().items():
            assert torch.equal(tensor, source[name]), name
    assert teacher.history["epoch"].tolist() == [0] and teacher.history["selected"].tolist() == [True]
    scores, frame = teacher.history.iloc[0], teacher.validation.frame
    assert scores["validation_accuracy"] == pytest.approx((frame["label"] == frame["prediction"]).mean())
    assert "without training" in describe_history(teacher.history, "Teacher")
    figure = training_curves(teacher.history)
    assert [note.text for note in figure.layout.annotations if "loss" in note.text.lower()] == []
    student = distill_student(trained_elsewhere, teacher, tiny_splits)
    assert len(student.history) == trained_elsewhere.student_epochs


def test_of_a_trained_teacher_only_weights_network_and_data_count(trained_elsewhere, tiny_splits):
    before = name(trained_elsewhere, tiny_splits)
    same = {"seed": 3, "learning_rate": 0.5, "augmentation": "none", "precision": "bfloat16"}
    assert name(trained_elsewhere.replace(**same), tiny_splits) == before
    for other in ({"stem": "small"}, {"teacher": "resnet20_cifar"}, {"teacher_epochs": 1}):
        assert name(trained_elsewhere.replace(**other), tiny_splits) != before


def test_a_trained_teacher_of_other_classes_is_refused(trained_elsewhere, tiny_splits, tmp_path):
    source = create_model("resnet8_cifar", 5, image_size=16)
    save_file({k: v.contiguous() for k, v in source.state_dict().items()}, tmp_path / "w.safetensors")
    with pytest.raises(
        ParameterError, match=r"w\.safetensors does not fit the network: 2 of .* 'backbone\.fc"
    ):
        train_teacher(trained_elsewhere, tiny_splits)


def test_a_trained_teacher_that_answers_alike_is_warned_of(trained_elsewhere, tiny_splits, tmp_path):
    weights = load_file(trained_elsewhere.teacher_weights)
    weights["backbone.fc.bias"] = torch.tensor([99.0, 0.0, 0.0])
    save_file(weights, tmp_path / "w.safetensors")
    for _ in range(2):
        with pytest.warns(
            FairkdWarning, match=r"^teacher: its weights predict .* half of .* classes in this order"
        ):
            train_teacher(trained_elsewhere, tiny_splits)
