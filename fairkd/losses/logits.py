"""Losses on logits: what the student says of each class, compared with what the teacher says."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fairkd.errors import ParameterError
from fairkd.losses._common import (
    Reduction,
    check_indices,
    check_pair,
    check_positive,
    check_reduction,
    in_full_precision,
    unit_vectors,
)

# Centred vectors shorter than this are rounding errors of a constant one.
_NO_VARIANCE = 1e-6


@in_full_precision
def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float | Tensor = 4.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Match the student's softened class distribution to the teacher's.

    ``T² · KL(softmax(t / T) ‖ softmax(s / T))``, mean over the batch. The factor T² keeps the gradient's size
    when the temperature changes.

    Source: Hinton et al. 2015, https://arxiv.org/abs/1503.02531; T = 4 is the usual choice of later
    comparisons.

    Args:
        student_logits: ``(batch, classes)``.
        teacher_logits: ``(batch, classes)``; receives no gradient.
        temperature: T, above 0; higher is softer. A scalar tensor receives a gradient.
        reduction: ``"mean"`` over the batch, or ``"none"``.

    Returns:
        A scalar, or ``(batch,)``, in nats times T², 0 to infinity; 0 when the logits are equal. Half precision
        gives float32.

    Raises:
        ParameterError: the shapes differ, the temperature is not above 0, or an unknown reduction.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
        >>> kd_loss(logits, logits, temperature=4.0).item()
        0.0
    """
    check_pair("kd_loss", student_logits, teacher_logits, ("batch", "classes"), ("batch", "classes"))
    fixed = temperature.detach() if isinstance(temperature, Tensor) else temperature
    check_positive("kd_loss", "temperature", float(fixed))
    check_reduction(reduction, "kd_loss")
    student = F.log_softmax(student_logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits.detach() / temperature, dim=1)
    return _divergence(student, teacher, reduction) * temperature**2


@in_full_precision
def dkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Match "is it the target class" and "which of the other classes" separately (decoupled KD).

    ``T² · (α · KL(b_t ‖ b_s) + β · KL(q_t ‖ q_s))``, mean over the batch: b is the distribution on {target,
    rest}, q the softmax over the classes other than the target, both of the logits divided by T.

    Source: Zhao et al. 2022, https://arxiv.org/abs/2203.08679; the defaults are its code's, which
    also ramps the loss up linearly over 20 epochs; the ramp is left to the caller.

    Args:
        student_logits: ``(batch, classes)``, at least two classes.
        teacher_logits: ``(batch, classes)``; receives no gradient.
        labels: ``(batch,)``, integers from 0 to classes − 1.
        alpha: weight of the target part.
        beta: weight of the part on the other classes (0 by definition when there are two classes).
        temperature: T, above 0.
        reduction: ``"mean"`` over the batch, or ``"none"``.

    Returns:
        A scalar, or ``(batch,)``, in nats times T², 0 to infinity.

    Raises:
        ParameterError: shapes that differ, a single class, labels out of range, a temperature not above 0, or
            an unknown reduction.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
        >>> dkd_loss(logits, logits, torch.tensor([0]), alpha=1.0, beta=8.0, temperature=4.0).item()
        0.0
    """
    check_pair("dkd_loss", student_logits, teacher_logits, ("batch", "classes"), ("batch", "classes"))
    check_positive("dkd_loss", "temperature", temperature)
    check_reduction(reduction, "dkd_loss")
    batch, classes = student_logits.shape
    if classes < 2:
        raise ParameterError(f"dkd_loss: the logits have {classes} class; allowed: 2 or more")
    check_indices("dkd_loss", "labels", labels, batch, classes)
    student_target, student_others = _decoupled(student_logits / temperature, labels)
    teacher_target, teacher_others = _decoupled(teacher_logits.detach() / temperature, labels)
    target = _divergence(student_target, teacher_target, reduction)
    others = _divergence(student_others, teacher_others, reduction)
    return (alpha * target + beta * others) * temperature**2


@in_full_precision
def dist_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """Match the teacher's class probabilities up to scale and shift, within samples and within classes.

    ``T² · (β · (1 − mean_i r(p_s[i, :], p_t[i, :])) + γ · (1 − mean_c r(p_s[:, c], p_t[:, c])))`` with
    ``p = softmax(z / T)`` and Pearson's correlation r, taken as 0 where either side has no variance (equal
    logits; every class of a batch of one sample).

    Source: Huang et al. 2022, https://arxiv.org/abs/2205.10536; the defaults and the factor T² are its
    code's.

    Args:
        student_logits: ``(batch, classes)``.
        teacher_logits: ``(batch, classes)``; receives no gradient.
        beta: weight of the relations between the classes of a sample.
        gamma: weight of the relations between the samples of a class.
        temperature: T, above 0.

    Returns:
        A scalar without unit, 0 to 2 T² (β + γ).

    Raises:
        ParameterError: the shapes differ, or the temperature is not above 0.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
        >>> f"{dist_loss(logits, logits, beta=1.0, gamma=1.0, temperature=1.0).abs().item():.4f}"
        '0.0000'
    """
    check_pair("dist_loss", student_logits, teacher_logits, ("batch", "classes"), ("batch", "classes"))
    check_positive("dist_loss", "temperature", temperature)
    student = F.softmax(student_logits / temperature, dim=1)
    teacher = F.softmax(teacher_logits.detach() / temperature, dim=1)
    within_samples = 1 - _correlations(student, teacher, dim=1).mean()
    within_classes = 1 - _correlations(student, teacher, dim=0).mean()
    return (beta * within_samples + gamma * within_classes) * temperature**2


@in_full_precision
def standardize_logits(logits: Tensor) -> Tensor:
    """Give each sample's logits mean 0 and standard deviation 1: KD then matches their pattern, not size.

    ``(z − mean(z)) / std(z)`` over the classes, with the sample standard deviation (divisor classes − 1).

    Source: Sun et al. 2024, https://arxiv.org/abs/2403.01427; the divisor is its code's. Use it on student
    and teacher before :func:`kd_loss`; the paper's code does so with temperature 2 and weight 9.

    Args:
        logits: ``(batch, classes)``; the gradient passes through, detach the teacher's (the losses do).

    Returns:
        ``(batch, classes)`` without unit; zeros for a sample whose logits are all equal.

    Raises:
        ParameterError: ``logits`` is not a matrix or is empty.

    Example:
        >>> standardize_logits(torch.tensor([[1.0, 2.0, 3.0]])).round(decimals=3).tolist()
        [[-1.0, 0.0, 1.0]]
    """
    if logits.ndim != 2 or logits.numel() == 0:
        raise ParameterError(
            f"standardize_logits: the logits have shape {tuple(logits.shape)}; "
            "allowed: (batch, classes), not empty"
        )
    return _centred_units(logits, dim=1) * math.sqrt(logits.shape[1] - 1)


def _divergence(student: Tensor, teacher: Tensor, reduction: Reduction) -> Tensor:
    """Return KL(teacher ‖ student) of log-probabilities ``(batch, outcomes)``."""
    if reduction == "none":
        return F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def _decoupled(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of {target, rest} ``(batch, 2)`` and of the rest ``(batch, classes − 1)``."""
    target = labels.long().unsqueeze(1)
    columns = torch.arange(logits.shape[1] - 1, device=logits.device).expand(logits.shape[0], -1)
    others = logits.gather(1, columns + (columns >= target))
    rest = others.logsumexp(dim=1, keepdim=True)
    pair = torch.cat([logits.gather(1, target), rest], dim=1)
    return F.log_softmax(pair, dim=1), F.log_softmax(others, dim=1)


def _correlations(first: Tensor, second: Tensor, dim: int) -> Tensor:
    return (_centred_units(first, dim) * _centred_units(second, dim)).sum(dim)


def _centred_units(values: Tensor, dim: int) -> Tensor:
    centred = values - values.mean(dim, keepdim=True)
    return unit_vectors(centred, dim, smallest=_NO_VARIANCE)
