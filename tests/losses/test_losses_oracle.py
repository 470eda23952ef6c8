"""Each loss against its paper's formula written out in loops (``loss_oracles``), in float64."""

from __future__ import annotations

from collections.abc import Callable

import loss_oracles as oracle
import numpy as np
import pytest
import torch
from loss_cases import CASES, CLASS_MEANS, CLASSES, GROUPS, LABELS

from fairkd import losses

Oracle = Callable[[np.ndarray, np.ndarray], float]
LABELS_N, GROUPS_N = LABELS.numpy(), GROUPS.numpy()
ORACLES: dict[str, Oracle] = {
    "kd": lambda s, t: oracle.kd(s, t, 3.0),
    "dkd": lambda s, t: oracle.dkd(s, t, LABELS_N, 1.0, 8.0, 3.0),
    "dist": lambda s, t: oracle.dist(s, t, 1.0, 2.0, 1.5),
    "standardized kd": lambda s, t: oracle.kd(oracle.standardize(s), oracle.standardize(t), 2.0),
    "hint": oracle.hint,
    "attention transfer": oracle.attention_transfer,
    "norm direction": lambda s, t: oracle.norm_direction(s, t, CLASS_MEANS.double().numpy(), LABELS_N),
    "rkd distance": oracle.rkd_distance,
    "rkd angle": oracle.rkd_angle,
    "similarity preserving": oracle.similarity_preserving,
    "pkt": oracle.pkt,
    "nst": oracle.nst,
    "mfd rbf": lambda s, t: oracle.mfd(s, t, LABELS_N, GROUPS_N, 1.0, "rbf"),
    "mfd poly": lambda s, t: oracle.mfd(s, t, LABELS_N, GROUPS_N, 1.0, "poly"),
}


@pytest.mark.parametrize("name", CASES)
def test_loss_is_its_formula(name: str) -> None:
    student, teacher = CASES[name].inputs()
    expected = ORACLES[name](student.numpy(), teacher.numpy())
    assert CASES[name].loss(student, teacher).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", [name for name in CASES if name != "mfd rbf"])
def test_gradient_is_that_of_the_value(name: str) -> None:
    student, teacher = CASES[name].inputs()
    assert torch.autograd.gradcheck(CASES[name].loss, (student.requires_grad_(), teacher))


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_mfd_gradient_holds_the_bandwidth_fixed(sigma: float) -> None:
    student, teacher = CASES["mfd rbf"].inputs()
    loss = losses.mfd_loss(
        student.requires_grad_(),
        teacher,
        LABELS,
        GROUPS,
        num_classes=CLASSES,
        num_groups=3,
        sigma=sigma,
        kernel="rbf",
    )
    (gradient,) = torch.autograd.grad(loss, student)
    s, t, step = student.detach().numpy(), teacher.numpy(), 1e-5
    mean_square = oracle.mean_squared_distance(s, t)
    expected = np.zeros_like(s)
    for place in np.ndindex(s.shape):
        shift = np.zeros_like(s)
        shift[place] = step
        high, low = (
            oracle.mfd(moved, t, LABELS_N, GROUPS_N, sigma, "rbf", mean_square)
            for moved in (s + shift, s - shift)
        )
        expected[place] = (high - low) / (2 * step)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kernel", ["rbf", "poly"])
@pytest.mark.parametrize(("classes", "groups"), [(1, 1), (2, 2), (3, 5), (7, 2)])
def test_mfd_takes_any_number_of_classes_and_groups(classes: int, groups: int, kernel: str) -> None:
    generator = torch.Generator().manual_seed(3)
    student, teacher = torch.randn((2, 12, 4), generator=generator, dtype=torch.float64)
    y = torch.randint(classes, (12,), generator=generator)
    a = torch.randint(groups, (12,), generator=generator)
    value = losses.mfd_loss(
        student, teacher, y, a, num_classes=classes, num_groups=groups, sigma=0.7, kernel=kernel
    )
    expected = oracle.mfd(student.numpy(), teacher.numpy(), y.numpy(), a.numpy(), 0.7, kernel)
    assert value.item() == pytest.approx(expected, rel=1e-9)


def test_standardized_logits_are_z_scores() -> None:
    logits = CASES["kd"].inputs()[0]
    np.testing.assert_allclose(
        losses.standardize_logits(logits).numpy(), oracle.standardize(logits.numpy()), rtol=1e-12
    )
