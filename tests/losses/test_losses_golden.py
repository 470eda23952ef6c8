"""Agreement with values computed by the authors' or a reference benchmark's code, to 1e-4 relative.

Conventions that the keys do not spell out: ``rkd`` sums both parts with the weights given; ``mfd ... half``
includes the factor 1/2; ``norm_and_direction`` uses the teacher's class means over the batch; a gradient norm
is the L2 norm over the whole student input, with weights 25 and 50 for ``rkd`` and the defaults for ``dkd``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fairkd import losses

GOLDEN = json.loads(Path(__file__).with_name("golden_losses.json").read_text(encoding="utf-8"))
LOGITS = ("student_logits", "teacher_logits")
FEATURES = ("student_features", "teacher_features")
MAPS = ("student_maps", "teacher_maps")
Inputs = dict[str, Tensor]


def kd(temperature: float) -> Callable[[Tensor, Tensor, Inputs], Tensor]:
    return lambda s, t, _: losses.kd_loss(s, t, temperature=temperature)


def dkd(student: Tensor, teacher: Tensor, inputs: Inputs) -> Tensor:
    return losses.dkd_loss(student, teacher, inputs["labels"], alpha=1.0, beta=8.0, temperature=4.0)


def dist(student: Tensor, teacher: Tensor, _: Inputs) -> Tensor:
    return losses.dist_loss(student, teacher, beta=1.0, gamma=1.0, temperature=1.0)


def rkd(student: Tensor, teacher: Tensor, _: Inputs) -> Tensor:
    return 25 * losses.rkd_distance_loss(student, teacher) + 50 * losses.rkd_angle_loss(student, teacher)


def mfd(kernel: str) -> Callable[[Tensor, Tensor, Inputs], Tensor]:
    return lambda s, t, inputs: losses.mfd_loss(
        s,
        t,
        inputs["labels"],
        inputs["groups"],
        num_classes=inputs["student_logits"].shape[1],
        num_groups=2,
        sigma=1.0,
        kernel=kernel,
    )


def norm_direction(student: Tensor, teacher: Tensor, inputs: Inputs) -> Tensor:
    labels = inputs["labels"]
    means = torch.stack([teacher[labels == c].mean(dim=0) for c in range(inputs["student_logits"].shape[1])])
    return losses.norm_direction_loss(student, teacher, means, labels)


def plain(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, Inputs], Tensor]:
    return lambda s, t, _: loss(s, t)


VALUES: dict[str, tuple[tuple[str, str], Callable[[Tensor, Tensor, Inputs], Tensor]]] = {
    "kd_kl_batchmean_times_T2[T=1.0]": (LOGITS, kd(1.0)),
    "kd_kl_batchmean_times_T2[T=4.0]": (LOGITS, kd(4.0)),
    "kd_kl_batchmean_times_T2[T=10.0]": (LOGITS, kd(10.0)),
    "dkd[alpha=1,beta=8,T=4]": (LOGITS, dkd),
    "dist[beta=1,gamma=1,T=1]": (LOGITS, dist),
    "rkd_distance": (FEATURES, plain(losses.rkd_distance_loss)),
    "rkd_angle": (FEATURES, plain(losses.rkd_angle_loss)),
    "rkd[distance_weight=25,angle_weight=50]": (FEATURES, rkd),
    "attention_transfer[p=2]": (MAPS, plain(losses.attention_transfer_loss)),
    "similarity_preserving": (FEATURES, plain(losses.similarity_preserving_loss)),
    "pkt": (FEATURES, plain(losses.pkt_loss)),
    "nst": (MAPS, plain(losses.nst_loss)),
    "fitnet_mse": (FEATURES, plain(losses.hint_loss)),
    "mfd_mmd_rbf_sum_over_class_group_half[sigma=1]": (FEATURES, mfd("rbf")),
    "mfd_mmd_poly2_sum_over_class_group_half": (FEATURES, mfd("poly")),
    "norm_and_direction[class_means_of_this_batch,factor=1]": (FEATURES, norm_direction),
}
GRADIENT_NORMS: dict[str, tuple[tuple[str, str], Callable[[Tensor, Tensor, Inputs], Tensor]]] = {
    "grad_norm:kd[T=4]": (LOGITS, kd(4.0)),
    "grad_norm:rkd": (FEATURES, rkd),
    "grad_norm:dkd": (LOGITS, dkd),
    "grad_norm:mfd_rbf": (FEATURES, mfd("rbf")),
}


def tensors(case: dict[str, Any]) -> Inputs:
    return {name: torch.tensor(values) for name, values in case["inputs"].items()}


@pytest.mark.parametrize("case", GOLDEN, ids=["5 classes", "2 classes"])
@pytest.mark.parametrize("key", VALUES)
def test_value(key: str, case: dict[str, Any]) -> None:
    inputs = tensors(case)
    (student, teacher), loss = VALUES[key]
    value = loss(inputs[student], inputs[teacher], inputs)
    assert value.shape == ()
    assert value.item() == pytest.approx(case["expected"][key], rel=1e-4)


@pytest.mark.parametrize("case", GOLDEN, ids=["5 classes", "2 classes"])
@pytest.mark.parametrize("key", GRADIENT_NORMS)
def test_gradient_norm(key: str, case: dict[str, Any]) -> None:
    inputs = tensors(case)
    (student_name, teacher), loss = GRADIENT_NORMS[key]
    student = inputs[student_name].requires_grad_()
    (gradient,) = torch.autograd.grad(loss(student, inputs[teacher], inputs), student)
    assert gradient.norm().item() == pytest.approx(case["expected"][key], rel=1e-4)


@pytest.mark.parametrize("case", GOLDEN, ids=["5 classes", "2 classes"])
def test_every_golden_value_is_compared(case: dict[str, Any]) -> None:
    assert set(case["expected"]) == VALUES.keys() | GRADIENT_NORMS.keys()
