"""What must hold for every loss: the teacher is left alone, odd batches stay finite, precision is kept."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Callable

import pytest
import torch
from loss_cases import CASES, CLASS_MEANS, CLASSES, GROUPS, LABELS, Case
from torch import Tensor

from fairkd import losses

FUNCTIONS = [name for name in losses.__all__ if name != "Reduction"]
every_loss = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def value_and_gradient(case: Case, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    student = student.clone().requires_grad_()
    value = case.loss(student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    return value.detach(), gradient


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_kd_of_equal_logits_is_zero(temperature: float) -> None:
    logits = 5 * CASES["kd"].inputs(dtype=torch.float32)[0]
    value, gradient = value_and_gradient(
        Case(lambda s, t: losses.kd_loss(s, t, temperature=temperature), "logits"), logits, logits
    )
    assert value.item() == 0
    assert gradient.abs().max() < 1e-6


@every_loss
def test_loss_is_zero_exactly_where_the_student_equals_the_teacher(case: Case) -> None:
    student, teacher = case.inputs()
    assert case.loss(student, teacher) > 1e-4
    if case.zero_at_teacher:
        assert case.loss(student, student).item() == pytest.approx(0, abs=1e-12)


@every_loss
def test_teacher_receives_no_gradient(case: Case) -> None:
    student, teacher = (tensor.requires_grad_() for tensor in case.inputs())
    before = teacher.detach().clone()
    case.loss(student, teacher).backward()
    assert student.grad is not None and student.grad.abs().sum() > 0
    assert teacher.grad is None
    assert torch.equal(teacher, before)


def test_class_means_receive_no_gradient() -> None:
    student, teacher = CASES["norm direction"].inputs(dtype=torch.float32)
    means = CLASS_MEANS.clone().requires_grad_()
    losses.norm_direction_loss(student.requires_grad_(), teacher, means, LABELS).backward()
    assert means.grad is None


@every_loss
@pytest.mark.parametrize("batch", [1, 2])
def test_tiny_batch_is_defined(case: Case, batch: int) -> None:
    value, gradient = value_and_gradient(case, *case.inputs(batch, torch.float32))
    assert torch.isfinite(value) and torch.isfinite(gradient).all()


def zeros(student: Tensor) -> Tensor:
    return torch.zeros_like(student)


def one_zero_sample(student: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(student[:1]), student[1:]])


def identical_samples(student: Tensor) -> Tensor:
    return student[:1].expand_as(student)


@every_loss
@pytest.mark.parametrize("spoil", [zeros, one_zero_sample, identical_samples])
@pytest.mark.parametrize("both", [False, True], ids=["student", "student and teacher"])
def test_degenerate_features_give_bounded_values_and_gradients(
    case: Case, spoil: Callable[[Tensor], Tensor], both: bool
) -> None:
    student, teacher = case.inputs(dtype=torch.float32)
    value, gradient = value_and_gradient(case, spoil(student), spoil(teacher) if both else teacher)
    assert torch.isfinite(value)
    assert gradient.abs().max() < 100  # NaN and infinity fail this too


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(case: Case, dtype: torch.dtype) -> None:
    student, teacher = (300 * tensor for tensor in case.inputs(dtype=torch.float32))
    student, teacher = student.to(dtype), teacher.to(dtype)
    value, gradient = value_and_gradient(case, student, teacher)
    expected, expected_gradient = value_and_gradient(case, student.float(), teacher.float())
    assert value.dtype == torch.float32 and torch.isfinite(value)
    assert torch.equal(value, expected)
    assert torch.equal(gradient, expected_gradient.to(dtype))


@every_loss
def test_autocast_does_not_lower_the_precision(case: Case) -> None:
    student, teacher = case.inputs(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = case.loss(student, teacher)
    assert torch.equal(value, case.loss(student, teacher))


@pytest.mark.parametrize("size", [6e4, 1e-4])
def test_kd_survives_extreme_half_precision_logits(size: float) -> None:
    student = torch.tensor([[size, -size, 0.0]], dtype=torch.float16)
    value, gradient = value_and_gradient(CASES["kd"], student, -student)
    assert torch.isfinite(value) and torch.isfinite(gradient).all()


def test_kd_gradient_keeps_its_size_when_the_temperature_changes() -> None:
    student, teacher = CASES["kd"].inputs()
    norms = [
        value_and_gradient(
            Case(lambda s, t, T=T: losses.kd_loss(s, t, temperature=T), "logits"), student, teacher
        )[1].norm()
        for T in (50.0, 500.0)
    ]
    assert norms[1] / norms[0] == pytest.approx(1.0, abs=0.02)


def test_dkd_recombines_to_kd() -> None:
    # KD is the target part plus (1 − the teacher's probability of the target) times the other part.
    student, teacher = (tensor[:1] for tensor in CASES["kd"].inputs())
    others = 1 - torch.softmax(teacher / 3, dim=1)[0, LABELS[0]].item()
    value = losses.dkd_loss(student, teacher, LABELS[:1], alpha=1.0, beta=others, temperature=3.0)
    assert value.item() == pytest.approx(losses.kd_loss(student, teacher, temperature=3.0).item(), rel=1e-12)


@pytest.mark.parametrize("name", ["rkd distance", "rkd angle"])
def test_rkd_ignores_scale_shift_and_rotation(name: str) -> None:
    student, teacher = CASES[name].inputs()
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)).double())
    moved = 7 * student @ rotation + torch.tensor([1.0, -2.0, 3.0])
    expected = CASES[name].loss(student, teacher).item()
    assert CASES[name].loss(moved, teacher).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["pkt", "similarity preserving", "attention transfer", "nst", "mfd poly"])
def test_normalised_losses_ignore_the_size_of_the_features(name: str) -> None:
    student, teacher = CASES[name].inputs()
    expected = CASES[name].loss(student, teacher).item()
    assert CASES[name].loss(5 * student, 0.1 * teacher).item() == pytest.approx(expected, rel=1e-9)


def test_relations_take_maps_as_flat_features() -> None:
    student, teacher = CASES["nst"].inputs()
    for name in ("rkd distance", "rkd angle", "similarity preserving", "pkt"):
        loss = CASES[name].loss
        assert torch.equal(loss(student, teacher), loss(student.flatten(1), teacher.flatten(1)))


@pytest.mark.parametrize("name", ["mfd rbf", "mfd poly"])
def test_mfd_of_one_group_that_equals_the_teacher_is_zero(name: str) -> None:
    _, teacher = CASES[name].inputs()
    value = losses.mfd_loss(
        teacher,
        teacher,
        LABELS,
        torch.zeros_like(LABELS),
        num_classes=CLASSES,
        num_groups=2,
        sigma=1.0,
        kernel=name.split()[1],
    )
    assert value.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["mfd rbf", "mfd poly"])
def test_mfd_is_not_changed_by_slots_that_the_batch_does_not_fill(name: str) -> None:
    student, teacher = CASES[name].inputs()
    kernel = name.split()[1]
    more = losses.mfd_loss(
        student, teacher, LABELS, GROUPS, num_classes=9, num_groups=8, sigma=1.0, kernel=kernel
    )
    assert more.item() == pytest.approx(CASES[name].loss(student, teacher).item(), rel=1e-12)


def test_equal_logits_standardize_to_zero() -> None:
    assert losses.standardize_logits(torch.full((2, 5), 3.7)).abs().max() < 1e-6


def test_all_names_are_exported_and_documented() -> None:
    assert losses.__all__ == sorted(losses.__all__)
    for name in FUNCTIONS:
        text = getattr(losses, name).__doc__
        for part in ("arxiv.org/abs/", "Args:", "Returns:", "Raises:", "Example:", "(batch, "):
            assert part in text, f"{name} lacks {part}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_example_runs(name: str) -> None:
    function = getattr(losses, name)
    names = vars(importlib.import_module(function.__module__)).copy()
    (example,) = doctest.DocTestFinder(recurse=False).find(function, name, globs=names)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
