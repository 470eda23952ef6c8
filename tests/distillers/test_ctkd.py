"""The learned temperature: its range, its reversed gradient, its schedule, and what it learns."""

from __future__ import annotations

import math

import pytest
import torch
from method_cases import batch_of, context_of, outputs_of_shapes

from fairkd.distillers.logits import CTKD
from fairkd.losses import kd_loss

BATCH = batch_of([0, 1, 2, 1], [0, 1, 0, 1])
STUDENT, TEACHER = outputs_of_shapes(1, 4), outputs_of_shapes(2, 4)


def make(temperature: float = 4.0) -> CTKD:
    return CTKD(context_of(STUDENT, [TEACHER], temperature=temperature))


@pytest.mark.parametrize(
    ("temperature", "start"), [(4.0, 4.0), (1.0, 1.5), (0.1, 1.5), (20.5, 20.5), (100.0, 20.5)]
)
def test_it_starts_at_the_experiment_s_temperature_within_its_range(temperature, start):
    assert make(temperature).learned_temperature(0.5).item() == pytest.approx(start, rel=1e-5)


@pytest.mark.parametrize(("raw", "expected"), [(-50.0, 1.0), (0.0, 11.0), (50.0, 21.0)])
def test_it_lies_between_1_and_21(raw, expected):
    term = make()
    with torch.no_grad():
        term.raw.fill_(raw)
    assert term.learned_temperature(0.5).item() == pytest.approx(expected)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("progress", [0.0, 1 / 96, 1 / 48, 1 / 24, 0.5, 1.0])
def test_its_gradient_is_that_of_kd_reversed_and_ramped_by_a_cosine_over_ten_of_240_epochs(
    progress, reduction
):
    term = make()
    term(STUDENT, [TEACHER], BATCH, progress, reduction).mean().backward()
    raw = term.raw.detach().clone().requires_grad_()
    temperature = 1 + 20 / (1 + torch.exp(-raw))
    (plain,) = torch.autograd.grad(kd_loss(STUDENT.logits, TEACHER.logits, temperature=temperature), raw)
    epoch = 240 * progress
    strength = 0.5 * (1 - math.cos(math.pi * min(epoch, 10) / 10))
    assert plain.abs() > 1e-4
    torch.testing.assert_close(term.raw.grad, -strength * plain)


def test_an_optimiser_that_lowers_the_loss_raises_it_in_the_temperature():
    term = make()
    optimizer = torch.optim.SGD(term.parameters(), lr=0.5)
    values = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = term(STUDENT, [TEACHER], BATCH, 1.0)
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values == sorted(values) and values[-1] > values[0]


def test_the_student_s_gradient_is_kd_s_own_at_that_temperature():
    student = STUDENT._replace(logits=STUDENT.logits.clone().requires_grad_())
    make(3.0)(student, [TEACHER], BATCH, 0.5).backward()
    again = STUDENT.logits.clone().requires_grad_()
    kd_loss(again, TEACHER.logits, temperature=3.0).backward()
    torch.testing.assert_close(student.logits.grad, again.grad)
