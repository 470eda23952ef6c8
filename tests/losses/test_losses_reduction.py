"""``reduction="none"``: each sample's own loss, which the formulas give when a sample is the whole batch."""

from __future__ import annotations

from collections.abc import Callable

import loss_oracles as oracle
import numpy as np
import pytest
import torch
from loss_cases import BATCH, CASES, CLASS_MEANS, LABELS
from torch import Tensor

from fairkd import losses
from fairkd.errors import ParameterError

MEANS = CLASS_MEANS.double()
#: Name -> the loss with its reduction, and the formula for one sample.
PER_SAMPLE: dict[str, tuple[Callable[..., Tensor], Callable[..., float]]] = {
    "kd": (
        lambda s, t, **options: losses.kd_loss(s, t, temperature=3.0, **options),
        lambda s, t, labels: oracle.kd(s, t, 3.0),
    ),
    "standardized kd": (
        lambda s, t, **options: losses.kd_loss(
            losses.standardize_logits(s), losses.standardize_logits(t), temperature=2.0, **options
        ),
        lambda s, t, labels: oracle.kd(oracle.standardize(s), oracle.standardize(t), 2.0),
    ),
    "dkd": (
        lambda s, t, **options: losses.dkd_loss(
            s, t, LABELS, alpha=0.7, beta=2.0, temperature=3.0, **options
        ),
        lambda s, t, labels: oracle.dkd(s, t, labels, 0.7, 2.0, 3.0),
    ),
    "hint": (losses.hint_loss, lambda s, t, labels: oracle.hint(s, t)),
    "attention transfer": (
        losses.attention_transfer_loss,
        lambda s, t, labels: oracle.attention_transfer(s, t),
    ),
    "norm direction": (
        lambda s, t, **options: losses.norm_direction_loss(s, t, MEANS, LABELS, **options),
        lambda s, t, labels: oracle.norm_direction(s, t, MEANS.numpy(), labels),
    ),
    "nst": (losses.nst_loss, lambda s, t, labels: oracle.nst(s, t)),
}
each = pytest.mark.parametrize("name", PER_SAMPLE)


@each
def test_each_value_is_the_formula_of_one_sample(name: str) -> None:
    student, teacher = CASES[name].inputs()
    loss, formula = PER_SAMPLE[name]
    values = loss(student, teacher, reduction="none")
    rows = [slice(row, row + 1) for row in range(BATCH)]
    expected = [formula(student[r].numpy(), teacher[r].numpy(), LABELS[r].numpy()) for r in rows]
    assert values.shape == (BATCH,)
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-9)


@each
def test_the_mean_of_the_values_is_the_mean_and_so_is_its_gradient(name: str) -> None:
    loss, _ = PER_SAMPLE[name]
    gradients = []
    for reduce in (lambda s, t: loss(s, t, reduction="none").mean(), loss):
        student, teacher = CASES[name].inputs()
        value = reduce(student.requires_grad_(), teacher)
        gradients.append((value.detach(), torch.autograd.grad(value, student)[0]))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@each
@pytest.mark.parametrize("reduction", ["sum", "batchmean", None])
def test_another_reduction_is_refused(name: str, reduction: str | None) -> None:
    student, teacher = CASES[name].inputs()
    place = {"standardized kd": "kd", "attention transfer": "attention_transfer"}.get(name, name)
    expected = f"{place.replace(' ', '_')}_loss: reduction is {reduction!r}; allowed: 'mean', 'none'"
    with pytest.raises(ParameterError) as caught:
        PER_SAMPLE[name][0](student, teacher, reduction=reduction)
    assert str(caught.value) == expected


def test_hint_of_maps_has_one_value_a_sample() -> None:
    student, _ = CASES["nst"].inputs()
    teacher = torch.zeros_like(student)
    expected = (student.numpy() ** 2).reshape(BATCH, -1).mean(axis=1)
    np.testing.assert_allclose(losses.hint_loss(student, teacher, reduction="none").numpy(), expected)


# The temperature as a tensor


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_kd_s_gradient_in_the_temperature_is_that_of_its_value(reduction: str) -> None:
    student, teacher = CASES["kd"].inputs()
    temperature = torch.tensor(2.7, dtype=torch.float64, requires_grad=True)

    def loss(z: Tensor, t: Tensor) -> Tensor:
        return losses.kd_loss(z, teacher, temperature=t, reduction=reduction)

    assert torch.autograd.gradcheck(loss, (student.requires_grad_(), temperature))


def test_kd_s_slope_in_the_temperature_is_that_of_the_written_out_formula() -> None:
    student, teacher = CASES["kd"].inputs()
    temperature = torch.tensor(2.7, dtype=torch.float64, requires_grad=True)
    value = losses.kd_loss(student, teacher, temperature=temperature)
    (slope,) = torch.autograd.grad(value, temperature)
    high, low = (oracle.kd(student.numpy(), teacher.numpy(), 2.7 + step) for step in (1e-5, -1e-5))
    assert value.item() == pytest.approx(oracle.kd(student.numpy(), teacher.numpy(), 2.7), rel=1e-12)
    assert slope.item() == pytest.approx((high - low) / 2e-5, rel=1e-6)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_tensor_that_is_not_above_zero_is_refused(value: float) -> None:
    student, teacher = CASES["kd"].inputs()
    with pytest.raises(ParameterError, match=f"temperature is {value}; allowed: finite numbers above 0"):
        losses.kd_loss(student, teacher, temperature=torch.tensor(value))
