"""Batches that lack a group or a class, hold one sample, or miss groups: every term stays defined."""

from __future__ import annotations

import pytest
import torch
from method_cases import DISTILLERS, batch_of, distiller_of, outputs_of_shapes

from fairkd import losses
from fairkd.models import Outputs

BATCHES = {
    "one sample": ([0], [0]),
    "one cell": ([0, 0, 0], [1, 1, 1]),
    "one class": ([2, 2, 2], [0, 1, 0]),
    "no group known": ([0, 1, 2], [-1, -1, -1]),
    "one group missing": ([0, 1, 2, 1], [0, -1, 1, 1]),
    "one sample, missing": ([1], [-1]),
}
#: Every term, and the ensemble with each of its rules.
TERMS = [(name, "mean") for name in DISTILLERS if name != "none"]
TERMS += [("ensemble", "confidence"), ("ensemble", "agre")]


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("case", BATCHES)
@pytest.mark.parametrize(("name", "rule"), TERMS)
def test_odd_batches_give_finite_losses_and_gradients(name, case, rule, reduction):
    batch = batch_of(*BATCHES[case])
    n = len(batch.labels)
    student = outputs_of_shapes(1, n, heads=4 if name == "co_advise" else 1)
    student = Outputs(*(tensor.requires_grad_() for tensor in student))
    teachers = [outputs_of_shapes(seed, n, dim=12) for seed in (2, 3, 4)]
    distiller = distiller_of(name, student, teachers, ensemble_weights=rule)
    loss = distiller(student, teachers, batch, 0.5, reduction)["distill_loss"].mean()
    assert torch.isfinite(loss) and loss >= -1e-6
    # The task's loss is there too, so that there is always something to train.
    (loss + student.logits.sum()).backward()
    tensors = [*student, *distiller.parameters()]
    gradients = [tensor.grad for tensor in tensors if tensor.grad is not None]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


def test_mfd_leaves_out_samples_without_a_group():
    student, teacher = outputs_of_shapes(1, 6), outputs_of_shapes(2, 6)
    batch = batch_of([0, 1, 2, 1, 0, 2], [0, -1, 1, 1, -1, 0])
    known = batch.groups >= 0
    expected = losses.mfd_loss(
        student.features[known],
        teacher.features[known],
        batch.labels[known],
        batch.groups[known],
        num_classes=3,
        num_groups=2,
    )
    value = distiller_of("mfd", student, [teacher])(student, [teacher], batch, 0.5)["distill_loss"]
    torch.testing.assert_close(value, 3 / 9 * expected)
    nobody = batch_of([0, 1, 2, 1, 0, 2], [-1] * 6)
    assert distiller_of("mfd", student, [teacher])(student, [teacher], nobody, 0.5)["distill_loss"] == 0
