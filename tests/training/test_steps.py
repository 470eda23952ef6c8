"""Steps against their formulas, written out with scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from training_cases import make_distiller, make_network

from fairkd.data.batches import AugmentedImages, Batch, BatchStream
from fairkd.data.splits import Splits
from fairkd.mitigation import GroupDRO
from fairkd.teachers import Teachers
from fairkd.training import distill_step, task_step


def first_batch(splits: Splits) -> Batch:
    return next(BatchStream(AugmentedImages(splits.train), 24).epoch())


def cross_entropy(logits: np.ndarray, labels: np.ndarray, smoothing: float) -> float:
    classes = logits.shape[1]
    target = np.full_like(logits, smoothing / classes)
    target[np.arange(len(labels)), labels] += 1 - smoothing
    return float(-(target * log_softmax(logits, axis=1)).sum(axis=1).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_task_s_loss_is_the_cross_entropy_with_smoothed_labels(tiny_splits, smoothing):
    batch = first_batch(tiny_splits)
    outputs = make_network()(batch.images)
    losses = task_step(label_smoothing=smoothing)(outputs, batch, 0.5)
    expected = cross_entropy(outputs.logits.detach().numpy(), batch.labels.numpy(), smoothing)
    assert set(losses) == {"loss"} and losses["loss"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("task_weight", "distill_weight"), [(0.1, 0.9), (1.0, 0.0), (0.0, 2.0)])
def test_the_distillation_s_loss_is_the_weighted_sum_of_task_and_divergence(
    tiny_splits, task_weight, distill_weight
):
    batch, teacher, temperature = first_batch(tiny_splits), make_network(seed=7), 3.0
    student = make_network()
    distiller = make_distiller("kd", student, [teacher], tiny_splits, temperature=temperature)
    step = distill_step(
        Teachers([teacher]),
        distiller,
        distill_weight=distill_weight,
        task_weight=task_weight,
        label_smoothing=0.1,
    )
    outputs = student(batch.images)
    losses = step(outputs, batch, 0.5)
    with torch.no_grad():
        taught = teacher.eval()(batch.images).logits.numpy()
    answered = outputs.logits.detach().numpy()
    task = cross_entropy(answered, batch.labels.numpy(), 0.1)
    divergence = rel_entr(softmax(taught / temperature, axis=1), softmax(answered / temperature, axis=1))
    distill = temperature**2 * divergence.sum(axis=1).mean()
    assert losses["task_loss"].item() == pytest.approx(task, rel=1e-5)
    assert losses["distill_loss"].item() == pytest.approx(distill, rel=1e-4)
    assert losses["loss"].item() == pytest.approx(task_weight * task + distill_weight * distill, rel=1e-4)


def test_in_a_sum_only_what_has_a_value_a_sample_moves_the_cells_weights(tiny_splits):
    batch, teacher, student = first_batch(tiny_splits), make_network(seed=7), make_network()
    outputs, weights, losses = student(batch.images), {}, {}
    for name in ("kd", "kd+similarity"):
        dro = GroupDRO(tiny_splits.num_classes, tiny_splits.num_groups, step_size=0.5)
        distiller = make_distiller(name, student, [teacher], tiny_splits)
        step = distill_step(Teachers([teacher]), distiller, dro, distill_weight=5.0, task_weight=1.0)
        losses[name], weights[name] = step(outputs, batch, 0.5), dro.cell_weights
    torch.testing.assert_close(weights["kd+similarity"], weights["kd"])
    added = 5.0 * distiller.weights["similarity"] * losses["kd+similarity"]["similarity_loss"]
    assert added > 1e-3
    torch.testing.assert_close(losses["kd+similarity"]["loss"], losses["kd"]["loss"] + added)
    assert "batch_loss" not in losses["kd+similarity"]


@pytest.mark.parametrize(("name", "weight"), [("similarity", 5.0), ("kd", 5.0)])
def test_a_loss_of_the_whole_batch_moves_no_cell_s_weight(tiny_splits, name, weight):
    batch, teacher, student = first_batch(tiny_splits), make_network(seed=7), make_network()
    distiller = make_distiller(name, student, [teacher], tiny_splits)
    dro, alone = (GroupDRO(tiny_splits.num_classes, tiny_splits.num_groups, step_size=0.5) for _ in range(2))
    step = distill_step(Teachers([teacher]), distiller, dro, distill_weight=weight, task_weight=1.0)
    outputs = student(batch.images)
    losses = step(outputs, batch, 0.5)
    task = alone.reduce(
        torch.nn.functional.cross_entropy(outputs.logits, batch.labels, reduction="none"), batch
    )
    same = torch.allclose(dro.cell_weights, alone.cell_weights)
    assert same == (name == "similarity")
    if same:
        assert losses["loss"].item() == pytest.approx(
            (task + weight * losses["distill_loss"]).item(), rel=1e-5
        )
