"""Losses on the relations between the samples of a batch: student and teacher may differ in feature size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fairkd.losses._common import check_pair, in_full_precision, unit_vectors

# What the authors of PKT add to both probabilities before the logarithm.
_PKT_EPSILON = 1e-7


@in_full_precision
def rkd_distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Match the pairwise distances between the samples of a batch, each network's on its own scale.

    ``mean_ij huber(d_s[i, j] − d_t[i, j])`` over all pairs, i = j included; d is the Euclidean distance
    divided by the batch mean of the distances above 0, huber(x) = x² / 2 up to |x| = 1 and |x| − 1/2 beyond.
    A batch without two distinct samples has distances 0.

    Source: Park et al. 2019, https://arxiv.org/abs/1904.05068, which weighs it by 25.

    Args:
        student: features ``(batch, dim)``; further dimensions are flattened.
        teacher: features ``(batch, any dim)``; receives no gradient.

    Returns:
        A scalar without unit, 0 to infinity; unchanged when either network's features are scaled or shifted.

    Raises:
        ParameterError: the batch sizes differ.

    Example:
        >>> features = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
        >>> rkd_distance_loss(4 * features, features).item()
        0.0
    """
    check_pair("rkd_distance_loss", student, teacher, ("batch", "..."), ("batch",))
    return F.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher.detach()))


@in_full_precision
def rkd_angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Match the angles of all triangles that the samples of a batch form.

    ``mean_ijk huber(cos_s[i, j, k] − cos_t[i, j, k])`` over all triplets; the cosine is that of the angle at
    sample i between j and k, 0 where j or k coincides with i; huber as in :func:`rkd_distance_loss`. Time and
    memory grow with batch³ and batch² · dim.

    Source: Park et al. 2019, https://arxiv.org/abs/1904.05068, which weighs it by 50.

    Args:
        student: features ``(batch, dim)``; further dimensions are flattened.
        teacher: features ``(batch, any dim)``; receives no gradient.

    Returns:
        A scalar without unit, 0 to 1.5; unchanged when either network's features are scaled, shifted or
        rotated.

    Raises:
        ParameterError: the batch sizes differ.

    Example:
        >>> features = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
        >>> rkd_angle_loss(4 * features + 1, features).item()
        0.0
    """
    check_pair("rkd_angle_loss", student, teacher, ("batch", "..."), ("batch",))
    return F.smooth_l1_loss(_angle_cosines(student), _angle_cosines(teacher.detach()))


@in_full_precision
def similarity_preserving_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Match which samples of a batch activate the networks alike.

    ``Σ_ij (G_s[i, j] − G_t[i, j])² / batch²``; G is the matrix of dot products ``f fᵀ``, each row divided by
    its L2 norm. A row of zeros stays 0.

    Source: Tung and Mori 2019, https://arxiv.org/abs/1907.09682, which weighs it by 3000.

    Args:
        student: features ``(batch, dim)``; further dimensions are flattened.
        teacher: features ``(batch, any dim)``; receives no gradient.

    Returns:
        A scalar without unit, 0 to 4 / batch.

    Raises:
        ParameterError: the batch sizes differ.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> similarity_preserving_loss(features, features).item()
        0.0
    """
    check_pair("similarity_preserving_loss", student, teacher, ("batch", "..."), ("batch",))
    return F.mse_loss(_similarity_rows(student), _similarity_rows(teacher.detach()))


@in_full_precision
def pkt_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Match, for each sample, the probabilities with which it would choose the others as neighbours.

    ``mean_ij p_t[i, j] · log((p_t[i, j] + ε) / (p_s[i, j] + ε))`` over all batch² entries, i = j included; p
    is ``(1 + cos(f_i, f_j)) / 2`` divided by its row's sum, ε = 1e-7. A zero vector has cosine 0 with every
    sample.

    Source: Passalis and Tefas 2018, https://arxiv.org/abs/1803.10837; ε is its code's. Later comparisons
    weigh the loss by 30000.

    Args:
        student: features ``(batch, dim)``; further dimensions are flattened.
        teacher: features ``(batch, any dim)``; receives no gradient.

    Returns:
        A scalar in nats divided by the batch size, 0 to infinity.

    Raises:
        ParameterError: the batch sizes differ.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> pkt_loss(features, features).item()
        0.0
    """
    check_pair("pkt_loss", student, teacher, ("batch", "..."), ("batch",))
    chosen_by_student = _neighbour_probabilities(student)
    chosen_by_teacher = _neighbour_probabilities(teacher.detach())
    ratio = (chosen_by_teacher + _PKT_EPSILON) / (chosen_by_student + _PKT_EPSILON)
    return (chosen_by_teacher * ratio.log()).mean()


def _relative_distances(features: Tensor) -> Tensor:
    flat = features.flatten(1)
    # Differences, not dot products: those lose the digits of small distances, and torch.cdist's gradient at
    # distance 0 is 0.
    distances = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distances.sum() / (distances > 0).sum().clamp(min=1)
    return distances / torch.where(mean > 0, mean, 1.0)


def _angle_cosines(features: Tensor) -> Tensor:
    """Return cosines ``(batch, batch, batch)`` of the angle at the first sample between the other two."""
    flat = features.flatten(1)
    directions = unit_vectors(flat.unsqueeze(0) - flat.unsqueeze(1))
    return directions @ directions.mT


def _similarity_rows(features: Tensor) -> Tensor:
    flat = features.flatten(1)
    return unit_vectors(flat @ flat.T)


def _neighbour_probabilities(features: Tensor) -> Tensor:
    units = unit_vectors(features.flatten(1))
    similarity = (units @ units.T + 1) / 2
    return similarity / similarity.sum(dim=1, keepdim=True)
