"""Mitigations that change how much a sample counts: weights, sampling, and the worst group first."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fairkd.data.batches import Batch
from fairkd.losses import Reduction
from fairkd.mitigation.base import Mitigation, balanced_weights, cell_counts
from fairkd.models import Outputs


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Return ``Σ w l / Σ w``, and 0 where all weights are 0; a constant in all losses keeps its size."""
    return (weights * losses).sum() / weights.sum().clamp_min(torch.finfo(losses.dtype).tiny)


class Reweighting(Mitigation):
    """Weigh each sample's whole loss by 1 / n(class, group), so that every cell counts alike.

    The weights are normalised within the batch. Distillation losses that have no value a sample (relations
    between samples) keep their weight. A sample with a missing group has weight 1, the mean.

    Source: the usual baseline, in the manner of Kamiran and Calders 2012,
    https://doi.org/10.1007/s10115-011-0463-8, whose weights n(class) n(group) / (n n(class, group)) make class and
    group independent; these make all cells equal.

    Args:
        counts: ``(classes, groups)``, training samples of each cell.
    """

    weighs_samples = True
    cell_weights: Tensor

    def __init__(self, counts: Tensor) -> None:
        super().__init__()
        self.register_buffer("cell_weights", balanced_weights(counts))

    def reduce(self, losses: Tensor, batch: Batch) -> Tensor:
        weights = self.cell_weights[batch.labels, batch.groups.clamp_min(0)]
        return weighted_mean(losses, torch.where(batch.groups >= 0, weights, 1.0))


class Resampling(Mitigation):
    """Draw training samples with replacement, in proportion to 1 / n(class, group).

    An epoch has as many draws as the training set has samples. A sample with a missing group is drawn as
    often as without resampling. Repeated draws of an epoch share their augmentation.

    Args:
        num_classes, num_groups: of the data.
    """

    def __init__(self, num_classes: int, num_groups: int) -> None:
        super().__init__()
        self.num_classes, self.num_groups = num_classes, num_groups

    def sampling_weights(self, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
        weights = (
            balanced_weights(cell_counts(labels, groups, self.num_classes, self.num_groups)).double().numpy()
        )
        return np.where(groups >= 0, weights[labels, groups], 1.0)


class ClassWeighted(Mitigation):
    """Weigh the cross-entropy by 1 / n(class); distillation losses and groups are left as they are.

    Args:
        counts: ``(classes,)``, training samples of each class.
    """

    class_weights: Tensor

    def __init__(self, counts: Tensor) -> None:
        super().__init__()
        weights = balanced_weights(counts)
        # A class without samples never occurs; where counts are not known, a weight of 0 would divide by it.
        self.register_buffer("class_weights", torch.where(weights > 0, weights, 1.0))

    def task_loss(
        self, outputs: Outputs, batch: Batch, *, label_smoothing: float = 0.0, reduction: Reduction = "mean"
    ) -> Tensor:
        return F.cross_entropy(
            outputs.logits,
            batch.labels,
            weight=self.class_weights,
            label_smoothing=label_smoothing,
            reduction=reduction,
        )


class GroupDRO(Resampling):
    """Minimise the loss of the worst class × group cell.

    Samples are drawn so that all cells are equally frequent, as in the paper's algorithm: cells that are
    rarely seen would otherwise rarely gain weight. Each cell has a weight q. A step multiplies q by
    ``exp(step_size × loss of the cell in this batch)``, normalises it over all cells, and minimises
    ``Σ q × loss`` over the cells that are in the batch, divided by their share of q. Samples with a missing
    group keep the weight of their share of the batch.

    Source: Sagawa et al. 2020, https://arxiv.org/abs/1911.08731, algorithm 1; its code's step size is 0.01.

    Args:
        num_classes, num_groups: of the data.
        step_size: of the exponentiated gradient, above 0.
    """

    weighs_samples = True
    log_weights: Tensor

    def __init__(self, num_classes: int, num_groups: int, *, step_size: float = 0.01) -> None:
        super().__init__(num_classes, num_groups)
        self.step_size = step_size
        size = num_classes * num_groups
        # In logarithms: a loss of a thousand would overflow the exponential, and a weight of 0 would stay 0.
        self.register_buffer("log_weights", torch.full((size,), -math.log(size)))

    @property
    def cell_weights(self) -> Tensor:
        """The weights q ``(classes * groups,)``, which sum to 1."""
        return self.log_weights.exp()

    def reduce(self, losses: Tensor, batch: Batch) -> Tensor:
        known = batch.groups >= 0
        cells = batch.labels * self.num_groups + batch.groups.clamp_min(0)
        zeros = torch.zeros_like(self.log_weights)
        counts = zeros.index_add(0, cells, known.to(zeros.dtype))
        sums = zeros.index_add(0, cells, losses.detach().to(zeros.dtype) * known)
        scores = self.log_weights + self.step_size * sums / counts.clamp_min(1)
        self.log_weights.copy_(scores.log_softmax(dim=0))
        # The lowest number instead of -inf: a batch may have no known group at all.
        present = torch.where(counts > 0, self.log_weights, torch.finfo(zeros.dtype).min)
        a_sample = present.softmax(dim=0) / counts.clamp_min(1)
        return weighted_mean(losses, torch.where(known, a_sample[cells] * known.sum(), 1.0))
