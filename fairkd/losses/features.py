"""Losses that compare a sample's features or maps with the teacher's, sample by sample."""

from __future__ import annotations

import torch
from torch import Tensor

from fairkd.errors import ParameterError
from fairkd.losses._common import (
    Reduction,
    check_indices,
    check_pair,
    check_same_shape,
    in_full_precision,
    reduced,
    unit_vectors,
)


@in_full_precision
def hint_loss(student_features: Tensor, teacher_features: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Regress the teacher's features (FitNets).

    ``mean((f_s − f_t)²)`` over the batch and all entries. Where the sizes differ, the caller projects the
    student's features first.

    Source: Romero et al. 2015, https://arxiv.org/abs/1412.6550. Later comparisons weigh it by 100.

    Args:
        student_features: ``(batch, dim)``, or maps ``(batch, channels, height, width)``.
        teacher_features: of the same shape; receives no gradient.
        reduction: ``"mean"`` over the batch, or ``"none"``.

    Returns:
        A scalar, or ``(batch,)``, in squared feature units, 0 to infinity.

    Raises:
        ParameterError: the shapes differ, or an unknown reduction.

    Example:
        >>> hint_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]])).item()
        2.0
    """
    check_same_shape("hint_loss", student_features, teacher_features)
    return reduced((student_features - teacher_features.detach()).square(), reduction, "hint_loss")


@in_full_precision
def attention_transfer_loss(
    student_map: Tensor, teacher_map: Tensor, *, reduction: Reduction = "mean"
) -> Tensor:
    """Match where in the image the two networks are active.

    ``mean((a_s − a_t)²)`` over the batch and all positions; ``a`` is the channel mean of the squared map,
    divided by its L2 norm over the positions. A map of zeros has attention 0.

    Source: Zagoruyko and Komodakis 2017, https://arxiv.org/abs/1612.03928, with its power 2 and weight 1000.

    Args:
        student_map: ``(batch, channels, height, width)``.
        teacher_map: ``(batch, any channels, height, width)``; receives no gradient.
        reduction: ``"mean"`` over the batch, or ``"none"``.

    Returns:
        A scalar, or ``(batch,)``, without unit, 0 to 2 / (height · width).

    Raises:
        ParameterError: not maps, or batch, height or width differ (pool the larger map first).

    Example:
        >>> maps = torch.arange(8.0).reshape(1, 2, 2, 2)
        >>> attention_transfer_loss(3 * maps, maps).item() < 1e-12
        True
    """
    layout = ("batch", "channels", "height", "width")
    check_pair("attention_transfer_loss", student_map, teacher_map, layout, ("batch", "height", "width"))
    difference = _attention(student_map) - _attention(teacher_map.detach())
    return reduced(difference.square(), reduction, "attention_transfer_loss")


@in_full_precision
def norm_direction_loss(
    student_features: Tensor,
    teacher_features: Tensor,
    class_means: Tensor,
    labels: Tensor,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Pull features towards their class mean in direction, and to at least the teacher's norm in size.

    ``mean(1 − ⟨f_s, e_y⟩ / max(‖f_s‖, ‖f_t‖))`` over the batch, where e_y is the unit vector of the teacher's
    mean feature of class y. The gradient also passes through ‖f_s‖ where that is the larger norm. Where both
    norms are 0, or the class mean is, the sample counts 1.

    Source: Wang et al. 2023 (KD++), https://arxiv.org/abs/2305.17007, whose code weighs it by 2.

    Args:
        student_features: ``(batch, dim)``.
        teacher_features: ``(batch, dim)``; receives no gradient.
        class_means: ``(classes, dim)``, the teacher's mean feature of each class over the training set,
            at any length; receives no gradient. The row of a class that is not in ``labels`` is not read.
        labels: ``(batch,)``, integers from 0 to classes − 1.
        reduction: ``"mean"`` over the batch, or ``"none"``.

    Returns:
        A scalar, or ``(batch,)``, without unit, 0 (same direction, at least the teacher's norm) to 2 (opposite).

    Raises:
        ParameterError: shapes that do not fit together, or labels out of range.

    Example:
        >>> student, means = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.5, 0.0]])
        >>> norm_direction_loss(student, torch.tensor([[6.0, 0.0]]), means, torch.tensor([0])).item()
        0.5
    """
    place, layout = "norm_direction_loss", ("batch", "dim")
    check_pair(place, student_features, teacher_features, layout, layout)
    batch, dim = student_features.shape
    if class_means.ndim != 2 or class_means.shape[1] != dim:
        raise ParameterError(
            f"{place}: class_means has shape {tuple(class_means.shape)}; "
            f"allowed: (classes, {dim}), as the features have {dim} dimensions"
        )
    check_indices(place, "labels", labels, batch, len(class_means))
    directions = unit_vectors(class_means.detach()[labels.long()])
    student_norms = torch.linalg.vector_norm(student_features, dim=1)
    teacher_norms = torch.linalg.vector_norm(teacher_features.detach(), dim=1)
    norms = torch.maximum(student_norms, teacher_norms)
    along = (student_features * directions).sum(dim=1)
    return reduced((1 - along / torch.where(norms > 0, norms, 1.0))[:, None], reduction, place)


def _attention(maps: Tensor) -> Tensor:
    """Return the maps' attention as unit vectors ``(batch, height · width)``."""
    return unit_vectors(maps.square().mean(dim=1).flatten(1))
