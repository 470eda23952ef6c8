"""The training loop: stored losses guard it, and what it must and must not change."""

from __future__ import annotations

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from method_cases import ADVERSARIES
from sklearn.metrics import accuracy_score, recall_score
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from training_cases import equal_states, make_mitigation, make_network, make_trainer

from fairkd.data.splits import Splits
from fairkd.errors import FairkdWarning, TrainingError
from fairkd.inference import predicted_classes
from fairkd.training import Trainer, learning_rate_factor, task_step
from fairkd.training import loop as loop_module

# So few steps rarely suffice to predict more than one class.
pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")


def record_losses(trainer: Trainer) -> list[float]:
    """Return a list to which every step's loss is added."""
    losses: list[float] = []
    step = trainer.step

    def recorded(outputs, batch, progress):
        result = step(outputs, batch, progress)
        losses.append(result["loss"].item())
        return result

    trainer.step = recorded
    return losses


def copy_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


# Stored values: they change only when what the loop computes changes.

STORED = {
    ("none", "adamw", 2e-3): [0.399025, 0.342504],
    ("none", "sgd", 0.5): [0.399025, 1.006193],
    ("gradient_reversal", "sgd", 0.5): [0.399025, 1.101721],
    ("projection", "sgd", 0.5): [0.399025, 1.100469],
}


@pytest.mark.parametrize(("mitigation", "optimizer", "rate"), STORED)
def test_two_steps_give_the_stored_losses(tiny_splits, mitigation, optimizer, rate):
    trainer = make_trainer(
        tiny_splits,
        mitigation=mitigation,
        adversary_weight=20.0,
        optimizer=optimizer,
        learning_rate=rate,
        epochs=1,
    )
    losses = record_losses(trainer)
    history = trainer.fit()
    assert losses == pytest.approx(STORED[mitigation, optimizer, rate], rel=1e-4)
    assert history["train_loss"].item() == pytest.approx(np.mean(losses))


# Cost of a step


class Unwaiting(TorchDispatchMode):
    """Refuses what brings a tensor's values to Python, for which the host waits until a GPU has computed them."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        waiting = torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default
        assert func not in waiting, f"{func} waits"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("mitigation", ["none", *ADVERSARIES])
def test_no_step_waits_for_the_device_nor_runs_the_network_twice(tiny_splits, mitigation, monkeypatch):
    # On the CPU alone, torch's own looks whether the labels are in range.
    monkeypatch.setattr(nn.functional, "one_hot", lambda x, n: (x[:, None] == torch.arange(n)).long())
    trainer = make_trainer(tiny_splits, mitigation=mitigation)
    calls = []
    trainer.network.register_forward_hook(lambda *_: calls.append(1))
    batches = list(trainer.stream.epoch(0))
    for batch in batches:
        with Unwaiting():
            trainer._backward(batch, 0.5)
        # An optimiser reads its step count, which it keeps on the CPU.
        trainer._update()
    assert len(calls) == len(batches) == 2


# Learning rate


@pytest.mark.parametrize(
    ("progress", "warmup", "factor"),
    [
        (0.0, 0.2, 0.0),
        (0.1, 0.2, 0.5),
        (0.2, 0.2, 1.0),
        (0.4, 0.2, (1 + math.cos(math.pi / 4)) / 2),
        (0.6, 0.2, 0.5),
        (1.0, 0.2, 0.0),
        (0.0, 0.0, 1.0),
        (0.5, 0.0, 0.5),
    ],
)
def test_the_rate_warms_up_linearly_and_falls_by_a_cosine(progress, warmup, factor):
    assert learning_rate_factor(progress, warmup) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize(("warmup_epochs", "share"), [(1, 0.5), (0, 0.0), (1000, 0.5)])
def test_every_step_has_the_rate_of_its_middle_and_warm_up_takes_half_at_most(
    tiny_splits, warmup_epochs, share
):
    trainer = make_trainer(tiny_splits, warmup_epochs=warmup_epochs, learning_rate=0.01)
    rates = []
    trainer.optimizer.register_step_pre_hook(
        lambda optimizer, *_: rates.append([group["lr"] for group in optimizer.param_groups])
    )
    history = trainer.fit()
    expected = [0.01 * learning_rate_factor(progress, share) for progress in (1 / 8, 3 / 8, 5 / 8, 7 / 8)]
    assert rates == [[pytest.approx(rate)] * 2 for rate in expected]
    assert history["learning_rate"].tolist() == pytest.approx(expected[1::2])


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_biases_and_normalisation_are_not_decayed(tiny_splits, optimizer):
    trainer = make_trainer(tiny_splits, optimizer=optimizer.__name__.lower(), weight_decay=0.3)
    assert isinstance(trainer.optimizer, optimizer)
    decayed, spared = trainer.optimizer.param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.3, 0.0)
    assert {p.ndim for p in decayed["params"]} == {2, 4} and {p.ndim for p in spared["params"]} == {1}
    assert len(decayed["params"]) + len(spared["params"]) == len(list(trainer.network.parameters()))


# History

COLUMNS = {
    "epoch",
    "learning_rate",
    "train_loss",
    "train_task_loss",
    "train_distill_loss",
    "train_accuracy",
    "validation_accuracy",
    "validation_recall_gap",
    "validation_worst_group_accuracy",
    "validation_accuracy[red]",
    "validation_accuracy[green]",
    "validation_classes_predicted",
    "seconds",
    "selected",
}
ADVERSARY_COLUMNS = {
    "train_adversary_loss",
    "train_adversary_penalty",
    "adversary_balanced_accuracy",
    "adversary_strength",
    "chance",
}


@pytest.mark.parametrize(
    ("mitigation", "columns"), [("none", COLUMNS), ("gradient_reversal", COLUMNS | ADVERSARY_COLUMNS)]
)
def test_the_history_has_a_row_an_epoch_with_these_columns(tiny_splits, mitigation, columns):
    history = make_trainer(tiny_splits, mitigation=mitigation).fit()
    assert set(history.columns) == columns
    assert history["epoch"].tolist() == [1, 2] and history["selected"].sum() == 1
    task, distill = history["train_task_loss"], history["train_distill_loss"]
    assert history["train_loss"].tolist() == pytest.approx((0.25 * task + 0.75 * distill).tolist())


def test_the_selected_row_s_scores_are_those_of_the_network_that_is_left(tiny_splits):
    trainer = make_trainer(tiny_splits, epochs=3, learning_rate=0.01)
    history = trainer.fit()
    row = history[history["selected"]].iloc[0]
    data = tiny_splits.validation
    predicted = predicted_classes(trainer.network, data.images)
    recalls = [
        recall_score(data.labels[rows], predicted[rows], average=None, labels=range(3), zero_division=0.0)
        for rows in (data.groups == 0, data.groups == 1)
    ]
    assert row["validation_accuracy"] == pytest.approx(accuracy_score(data.labels, predicted))
    assert row["validation_recall_gap"] == pytest.approx(np.abs(recalls[0] - recalls[1]).mean())
    assert row["validation_classes_predicted"] == len(set(predicted))
    assert not trainer.network.training


def without(splits: Splits, keep: np.ndarray) -> Splits:
    return dataclasses.replace(splits, validation=splits.validation.subset(keep))


def test_a_group_that_validation_lacks_scores_nan_and_training_goes_on(tiny_splits):
    splits = without(tiny_splits, tiny_splits.validation.groups == 0)
    history = make_trainer(splits).fit()
    assert history["validation_accuracy[green]"].isna().all()
    assert history["validation_recall_gap"].isna().all()
    assert history["validation_accuracy[red]"].equals(history["validation_accuracy"].rename(None))


# Errors


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_epoch_step_and_terms(tiny_splits, tmp_path, value):
    count = 0
    plain = task_step()

    def step(outputs, batch, progress):
        nonlocal count
        count += 1
        losses = plain(outputs, batch, progress)
        return {"loss": losses["loss"] * (value if count == 4 else 1.0), "task_loss": losses["loss"]}

    trainer = make_trainer(tiny_splits, step=step, epochs=3, folder=tmp_path)
    expected = rf"^student fair: the loss is not finite at epoch 2, step 2 \(loss={value:.3g}, task_loss=\d"
    with pytest.raises(TrainingError, match=expected) as caught:
        trainer.fit()
    assert str(caught.value).endswith("; lower learning_rate")
    assert "\n" not in str(caught.value)
    resumed = make_trainer(tiny_splits, step=plain, epochs=3, folder=tmp_path)
    assert resumed.checkpoint.load() == 1, "the finished epoch is kept, the broken one is not"


def test_an_adversary_whose_loss_is_not_finite_is_named(tiny_splits):
    trainer = make_trainer(tiny_splits, mitigation="gradient_reversal")
    with torch.no_grad():
        trainer.mitigation.layers[0].weight[0, 0] = math.nan
    with pytest.raises(TrainingError, match=r"epoch 1, step 1 \(.*adversary_loss=nan"):
        trainer.fit()


# Selection and patience


@pytest.fixture
def scripted(tiny_splits, monkeypatch):
    """Let the validation accuracy of epoch k be that of a script, and record the weights of each epoch."""

    def script(trainer: Trainer, correct: list[int]) -> list[dict[str, torch.Tensor]]:
        states: list[dict[str, torch.Tensor]] = []

        def predicted(network, images, *, device):
            states.append(copy_of(network))
            labels = tiny_splits.validation.labels
            wrong = np.arange(len(labels)) >= correct[len(states) - 1]
            return np.where(wrong, (labels + 1) % 3, labels)

        monkeypatch.setattr(loop_module, "predicted_classes", predicted)
        return states

    return script


@pytest.mark.parametrize(("patience", "epochs_run"), [(2, 4), (3, 6), (0, 6)])
def test_training_stops_so_many_epochs_after_the_best(tiny_splits, scripted, patience, epochs_run):
    trainer = make_trainer(tiny_splits, epochs=6, patience=patience)
    states = scripted(trainer, [10, 20, 15, 12, 24, 11])
    history = trainer.fit()
    assert len(history) == len(states) == epochs_run
    best = 2 if patience == 2 else 5
    assert history["epoch"][history["selected"]].tolist() == [best]


@pytest.mark.parametrize(("selection", "epoch"), [("accuracy", 2), ("last", 4)])
def test_the_selected_epoch_s_weights_are_loaded(tiny_splits, scripted, selection, epoch):
    trainer = make_trainer(tiny_splits, epochs=4, selection=selection)
    states = scripted(trainer, [10, 20, 15, 12])
    history = trainer.fit()
    assert history["epoch"][history["selected"]].tolist() == [epoch]
    matches = [
        number + 1 for number, state in enumerate(states) if equal_states(state, trainer.network.state_dict())
    ]
    assert matches == [epoch]


def test_an_epoch_that_predicts_one_class_is_not_selected_unless_no_other_class_occurs(
    tiny_splits, monkeypatch
):
    epochs = iter([np.zeros(24, dtype=int), np.arange(24) % 2, np.zeros(24, dtype=int)])
    monkeypatch.setattr(loop_module, "predicted_classes", lambda *_, **__: next(epochs))
    history = make_trainer(tiny_splits, epochs=3, selection="last").fit()
    assert history["selected"].tolist() == [False, True, False]

    one_class = without(tiny_splits, tiny_splits.validation.labels == 0)
    monkeypatch.setattr(loop_module, "predicted_classes", lambda *_, **__: np.zeros(8, dtype=int))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make_trainer(one_class).fit()["validation_accuracy"].tolist() == [1.0, 1.0]


def test_a_network_that_always_collapses_is_warned_of(tiny_splits, monkeypatch):
    monkeypatch.setattr(loop_module, "predicted_classes", lambda *_, **__: np.zeros(24, dtype=int))
    with pytest.warns(
        FairkdWarning, match="student fair: every epoch predicts at most half of the classes; kept epoch 1"
    ):
        make_trainer(tiny_splits).fit()


# What must not change, and what must


def test_the_teacher_has_no_gradient_and_does_not_change(tiny_splits):
    teacher = make_network(seed=7)
    before, size = copy_of(teacher), teacher.param_count
    trainer = make_trainer(tiny_splits, teachers=[teacher.train()], mitigation="projection")
    trainer.fit()
    assert equal_states(before, teacher.state_dict())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert teacher.param_count == size, "it is still counted as it was"
    assert not equal_states(copy_of(make_network()), trainer.network.state_dict())


@pytest.mark.parametrize("name", ADVERSARIES)
def test_weight_zero_gives_the_trajectory_of_plain_distillation_bit_for_bit(tiny_splits, name):
    plain = make_trainer(tiny_splits, selection="last")
    weightless = make_trainer(tiny_splits, selection="last", mitigation=name, adversary_weight=0.0)
    losses = record_losses(plain), record_losses(weightless)
    adversary = copy_of(weightless.mitigation)
    plain.fit()
    weightless.fit()
    assert losses[0] == losses[1]
    assert equal_states(plain.network.state_dict(), weightless.network.state_dict())
    assert not equal_states(adversary, weightless.mitigation.state_dict()), "the adversary itself trains"


@pytest.mark.parametrize("name", ["gradient_reversal", "projection"])
def test_a_weight_changes_the_student(tiny_splits, name):
    plain, fair = make_trainer(tiny_splits), make_trainer(tiny_splits, mitigation=name)
    plain.fit()
    fair.fit()
    assert not equal_states(plain.network.state_dict(), fair.network.state_dict())


def test_only_the_teacher_is_in_evaluation_mode_while_the_student_trains(tiny_splits):
    teacher, modes = make_network(seed=7), []
    trainer = make_trainer(tiny_splits, teachers=[teacher], mitigation="gradient_reversal")
    parts = [trainer.network, trainer.mitigation, trainer.extra, teacher]
    trainer.optimizer.register_step_pre_hook(lambda *_: modes.append([part.training for part in parts]))
    trainer.fit()
    assert modes == [[True, True, True, False]] * 4


def test_projectors_and_the_learned_temperature_train_with_the_student(tiny_splits):
    trainer = make_trainer(tiny_splits, distiller="hint+ctkd", teachers=[make_network(7, "resnet10t")])
    assert [name for name, _ in trainer.extra.named_parameters()] == [
        "terms.hint.projector.weight",
        "terms.hint.projector.bias",
        "terms.ctkd.raw",
    ]
    in_optimizer = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in trainer.extra.parameters()} <= in_optimizer
    before = copy_of(trainer.extra)
    trainer.fit()
    after = trainer.extra.state_dict()
    assert [name for name in before if torch.equal(before[name], after[name])] == []


def test_the_adversary_has_its_own_learning_rate(tiny_splits):
    trainer = make_trainer(tiny_splits, mitigation="gradient_reversal", learning_rate=0.1)
    assert [group["lr"] for group in trainer.mitigation_optimizer.param_groups] == [2e-3]
    assert make_trainer(tiny_splits).mitigation_optimizer is None
    assert make_mitigation("none", 1.0, tiny_splits).learning_rate is None


def test_the_same_seed_repeats_a_training_and_another_does_not(tiny_splits):
    losses = []
    for seed in (5, 5, 6):
        trainer = make_trainer(tiny_splits, seed=seed)
        losses.append(record_losses(trainer))
        trainer.fit()
    assert losses[0] == losses[1] != losses[2]
