"""Losses on distributions: maximum mean discrepancy (MMD) between student's and teacher's features."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fairkd.errors import ParameterError
from fairkd.losses._common import (
    Reduction,
    check_indices,
    check_pair,
    check_positive,
    check_same_shape,
    in_full_precision,
    reduced,
    unit_vectors,
)


@in_full_precision
def nst_loss(student_map: Tensor, teacher_map: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Match the distribution of the channels' activation patterns in an image (neuron selectivity transfer).

    ``mean k(u_t, u_t) + mean k(u_s, u_s) − 2 · mean k(u_s, u_t)`` over the batch and all channel pairs of an
    image; u is a channel's map as a unit vector over the positions, ``k(a, b) = ⟨a, b⟩²``. A channel of zeros
    stays 0.

    Source: Huang and Wang 2017, https://arxiv.org/abs/1707.01219 (squared polynomial kernel). Later
    comparisons weigh it by 50.

    Args:
        student_map: ``(batch, channels, height, width)``.
        teacher_map: ``(batch, any channels, height, width)``; receives no gradient.
        reduction: ``"mean"`` over the batch, or ``"none"``.

    Returns:
        A scalar, or ``(batch,)``, without unit, 0 to 2.

    Raises:
        ParameterError: not maps, or batch, height or width differ (pool the larger map first).

    Example:
        >>> maps = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
        >>> nst_loss(2 * maps, maps).item()
        0.0
    """
    layout = ("batch", "channels", "height", "width")
    check_pair("nst_loss", student_map, teacher_map, layout, ("batch", "height", "width"))
    student = unit_vectors(student_map.flatten(2))
    teacher = unit_vectors(teacher_map.detach().flatten(2))
    pairs = [(teacher, teacher), (student, student), (student, teacher)]
    within_teacher, within_student, across = (
        reduced((first @ second.mT).square(), reduction, "nst_loss") for first, second in pairs
    )
    return within_teacher + within_student - 2 * across


@in_full_precision
def mfd_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    groups: Tensor,
    *,
    num_classes: int,
    num_groups: int,
    sigma: float = 1.0,
    kernel: Literal["rbf", "poly"] = "rbf",
) -> Tensor:
    """Match each group's student features of a class to the teacher's features of that class over all groups.

    ``1/2 · Σ_c Σ_g MMD²(teacher features of class c, student features of class c and group g)`` with
    ``MMD²(X, Y) = mean k(x, x') + mean k(y, y') − 2 · mean k(x, y)``, each mean over all pairs. The half is
    the paper's, so that the caller's weight is its λ (3 on CIFAR-10S and UTKFace, 7 on CelebA). A (class,
    group) cell without samples contributes 0.

    Kernels: ``"rbf"`` is ``exp(−‖a − b‖² / (2 · σ · m))``, m the mean of ‖t − s‖² over all teacher-student
    pairs of the batch, without gradient; ``"poly"`` is ``⟨a, b⟩²`` of unit vectors.

    Source: Jung et al. 2021, https://arxiv.org/abs/2106.04411; σ = 1 and the mean as bandwidth are its
    code's.

    Args:
        student: features ``(batch, dim)``; further dimensions are flattened.
        teacher: features of the same shape; receives no gradient.
        labels: ``(batch,)``, integers from 0 to ``num_classes − 1``.
        groups: ``(batch,)``, integers from 0 to ``num_groups − 1``.
        num_classes: number of classes, 1 or more.
        num_groups: number of groups, 1 or more.
        sigma: relative bandwidth of the RBF kernel, above 0; not used by ``"poly"``.
        kernel: ``"rbf"`` or ``"poly"``.

    Returns:
        A scalar without unit, 0 to the number of (class, group) cells in the batch.

    Raises:
        ParameterError: shapes that differ, labels or groups out of range, an unknown kernel, or a sigma
            not above 0.

    Example:
        >>> features, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
        >>> mfd_loss(features, features, labels, labels, num_classes=2, num_groups=2).item()
        0.0
    """
    check_same_shape("mfd_loss", student, teacher)
    check_indices("mfd_loss", "labels", labels, len(student), num_classes)
    check_indices("mfd_loss", "groups", groups, len(student), num_groups)
    check_positive("mfd_loss", "sigma", sigma)
    student, teacher = student.flatten(1), teacher.detach().flatten(1)
    if kernel == "rbf":
        among_teachers, among_students, across = _rbf_kernels(student, teacher, sigma)
    elif kernel == "poly":
        among_teachers, among_students, across = _polynomial_kernels(student, teacher)
    else:
        raise ParameterError(f"mfd_loss: kernel is {kernel!r}; allowed: 'rbf', 'poly'")
    classes, cells = _averaging_weights(labels, groups, num_classes, num_groups, student.dtype)
    discrepancy = (
        ((classes @ among_teachers) * classes).sum()
        + ((cells @ among_students) * cells).sum()
        - 2 * ((classes @ across) * cells).sum()
    )
    return discrepancy / 2


def _rbf_kernels(student: Tensor, teacher: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the kernel ``(batch, batch)`` of teacher-teacher, student-student and teacher-student pairs."""
    pairs = [(teacher, teacher), (student, student), (teacher, student)]
    squared = [
        torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist").square()
        for first, second in pairs
    ]
    mean = squared[2].detach().mean()
    bandwidth = 2 * sigma * torch.where(mean > 0, mean, 1.0)
    among_teachers, among_students, across = (torch.exp(-distances / bandwidth) for distances in squared)
    return among_teachers, among_students, across


def _polynomial_kernels(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same three matrices as :func:`_rbf_kernels`."""
    student, teacher = unit_vectors(student), unit_vectors(teacher)
    return (teacher @ teacher.T).square(), (student @ student.T).square(), (teacher @ student.T).square()


def _averaging_weights(
    labels: Tensor, groups: Tensor, num_classes: int, num_groups: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return two matrices ``(num_classes · num_groups, batch)`` whose rows average over a cell's samples.

    The first averages over the samples of the cell's class, the second over those of its class and group.
    Both rows are 0 where the cell has no sample.
    """
    cell_members = F.one_hot(labels.long() * num_groups + groups.long(), num_classes * num_groups).T.to(dtype)
    class_members = F.one_hot(labels.long(), num_classes).T.to(dtype).repeat_interleave(num_groups, dim=0)
    class_members = class_members * cell_members.any(dim=1, keepdim=True)
    return _rows_that_average(class_members), _rows_that_average(cell_members)


def _rows_that_average(members: Tensor) -> Tensor:
    return members / members.sum(dim=1, keepdim=True).clamp(min=1)
