"""Faults of an earlier system, a regression test each: none of them may come back."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from method_cases import DISTILLERS, batch_of, distiller_of, mitigation_of, outputs_of_shapes, setup_of
from torch import Tensor, nn

from fairkd.data.splits import Splits
from fairkd.mitigation import Mitigation
from fairkd.models import Outputs
from fairkd.recipes import distill_student, train_teacher
from fairkd.training import Score, Selector, Trainer, distill_step

# So few steps rarely suffice to predict more than one class.
pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")

BATCH = batch_of([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1])


def loss_of(
    name: str,
    weight: float,
    mitigation: Mitigation,
    *,
    batch: int = 6,
    dim: int = 8,
    grid: tuple[int, int] = (2, 2),
) -> tuple[Tensor, Tensor]:
    """Return the step's loss and the distillation loss that it logs."""
    heads = 3 if name == "co_advise" else 1
    student = outputs_of_shapes(1, batch, dim=dim, grid=grid, heads=heads)
    student = Outputs(*(tensor.requires_grad_() for tensor in student))
    teachers = [outputs_of_shapes(2, batch, dim=12), outputs_of_shapes(3, batch, dim=12)]
    distiller = distiller_of(name, student, teachers)
    step = distill_step(lambda _: teachers, distiller, mitigation, distill_weight=weight, task_weight=0.5)
    losses = step(student, BATCH[:batch], 0.5)
    return losses["loss"], losses["distill_loss"]


# The distillation term was dropped wherever it was not a scalar.


@pytest.mark.parametrize("mitigation", ["none", "reweighting", "group_dro", "gradient_reversal"])
@pytest.mark.parametrize("shape", [{}, {"batch": 3}, {"dim": 12, "grid": (4, 4)}], ids=str)
@pytest.mark.parametrize("name", [name for name in DISTILLERS if name != "none"])
def test_the_distillation_term_is_in_the_loss_whatever_its_shape(name, shape, mitigation):
    values = {}
    for weight in (0.0, 1.0, 2.0):
        values[weight], distill = loss_of(name, weight, mitigation_of(mitigation, setup_of()), **shape)
        assert values[weight].shape == distill.shape == ()
    assert distill > 0
    # Group DRO's weights depend on the loss, a little.
    tolerance = 0.2 if mitigation == "group_dro" else 1e-4
    assert values[1.0] > values[0.0]
    first, second = (values[1.0] - values[0.0]).item(), (values[2.0] - values[1.0]).item()
    assert second == pytest.approx(first, rel=tolerance)
    if mitigation in ("none", "gradient_reversal"):
        assert first == pytest.approx(distill.item(), rel=1e-4)


# The critic read one sample of the batch.


def test_the_critic_reads_every_sample_of_the_batch():
    critic = mitigation_of("recall_gap_critic", setup_of())
    outputs = outputs_of_shapes(1, 6)
    logits = outputs.logits.requires_grad_()
    gap = critic.losses(outputs, BATCH, 0.5)["predicted_gap"]
    (gradient,) = torch.autograd.grad(gap, logits)
    assert (gradient.abs().sum(dim=1) > 0).all()


# The critic ended in a sigmoid: half of all gaps could not be said.


def test_the_critic_s_range_is_signed_and_so_is_what_it_learns():
    critic = mitigation_of("recall_gap_critic", setup_of())
    outputs = outputs_of_shapes(1, 6)
    predicted = critic(outputs.logits, BATCH.labels, BATCH.groups)
    true, _ = critic.gaps(outputs._replace(logits=torch.eye(3)[[0, 1, 0, 1, 2, 2]]), BATCH)
    assert predicted.min() < 0 < predicted.max() and predicted.abs().max() <= 1
    assert true.tolist() == [[0.5, -0.5], [-0.5, 0.5], [0.0, 0.0]]


def test_the_critic_pulls_on_the_network_and_does_not_only_rescale_its_loss():
    critic = mitigation_of("recall_gap_critic", setup_of(adversary_weight=50.0))
    outputs = outputs_of_shapes(1, 6)
    logits = outputs.logits.requires_grad_()
    task = nn.functional.cross_entropy(logits, BATCH.labels)
    (plain,) = torch.autograd.grad(task, logits, retain_graph=True)
    critic.backward(task, critic.losses(outputs, BATCH, 0.5), nn.Module(), 0.5)
    cosine = nn.functional.cosine_similarity(logits.grad.flatten(), plain.flatten(), dim=0)
    assert cosine < 0.99


# The epoch was chosen on the test set.


def other_test_set(splits: Splits) -> Splits:
    """The same data but for the test split: new labels and groups, and negatives for images."""
    test = splits.test
    changed = dataclasses.replace(
        test, images=255 - test.images, labels=(test.labels + 1) % 3, groups=1 - test.groups
    )
    return dataclasses.replace(splits, test=changed)


@pytest.mark.parametrize("selection", ["accuracy", "fairness"])
def test_the_test_set_changes_no_weight_and_no_choice(tiny_experiment, tiny_splits, tmp_path, selection):
    trained = []
    for number, splits in enumerate((tiny_splits, other_test_set(tiny_splits))):
        experiment = tiny_experiment.replace(
            output_dir=str(tmp_path / str(number)),
            selection=selection,
            teacher_calibration="group",
            teacher_epochs=1,
            student_epochs=2,
        )
        trained.append(distill_student(experiment, train_teacher(experiment, splits), splits))
    histories = [model.history.drop(columns="seconds") for model in trained]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    states = [(model.folder / "model.safetensors").read_bytes() for model in trained]
    assert states[0] == states[1]
    assert not np.array_equal(*(model.predictions.labels for model in trained))


# Hooks and projectors were made again for every batch, with new weights.


@pytest.mark.parametrize(
    ("distiller", "mitigation"),
    [
        ("hint+norm_direction+mfd+ctkd", "projection"),
        ("attention+nst+rkd", "recall_gap_critic"),
        ("co_advise", "uniform_confusion"),
        ("kd", "domain_independent"),
    ],
)
def test_no_hook_parameter_or_module_is_made_while_training(
    tiny_experiment, tiny_splits, monkeypatch, distiller, mitigation
):
    counts: list[list[Any]] = []

    def census(trainer: Trainer) -> list[Any]:
        modules = [m for part in (trainer.network, trainer.mitigation, trainer.extra) for m in part.modules()]
        hooks = sum(
            len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in modules
        )
        parameters = [id(parameter) for module in modules for parameter in module.parameters(recurse=False)]
        optimized = sum(len(group["params"]) for group in trainer.optimizer.param_groups)
        return [hooks, list(map(id, modules)), parameters, optimized]

    make = Trainer.__init__

    def recorded(self: Trainer, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        step = self.step

        def counted(*values: Any) -> dict[str, Tensor]:
            losses = step(*values)
            counts.append(census(self))
            return losses

        if self.description == "student fair":
            self.step = counted

    experiment = tiny_experiment.replace(
        teacher="test_resnet", distiller=distiller, mitigation=mitigation, teacher_epochs=1, student_epochs=2
    )
    teacher = train_teacher(experiment, tiny_splits)
    hooks_of_teacher = sum(len(module._forward_hooks) for module in teacher.model.modules())
    monkeypatch.setattr(Trainer, "__init__", recorded)
    distill_student(experiment, teacher, tiny_splits)
    assert len(counts) == 6 and all(count == counts[0] for count in counts[1:])
    assert counts[0][0] == 0, "features come from the forward pass, not from hooks"
    assert sum(len(module._forward_hooks) for module in teacher.model.modules()) == hooks_of_teacher == 0


# A network that predicts one class for all has no recall gap between groups, and was called fair.


@pytest.mark.parametrize("rule", ["accuracy", "fairness", "last"])
def test_a_collapsed_epoch_is_not_selected_as_fair(rule):
    selector = Selector(rule, tolerance=1.0)
    selector.offer(Score(1, 0.8, 0.2), {"epoch": 1})
    selector.offer(Score(2, 0.9, 0.0, collapsed=True), {"epoch": 2})
    assert selector.chosen()[1] == {"epoch": 1}
