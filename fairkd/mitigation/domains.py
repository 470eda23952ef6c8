"""Mitigations with one class head a group during training; at inference the group is not needed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fairkd.data.batches import Batch
from fairkd.heads import MeanReadout, PriorShiftReadout, add_heads, split_heads
from fairkd.losses import Reduction
from fairkd.mitigation.base import Mitigation
from fairkd.models import Network, Outputs


class DomainIndependent(Mitigation):
    """Train one class head a group on that group's samples; at inference the mean of the heads' logits.

    The finished network has a single head, the mean of the heads. A sample with a missing group trains the
    mean. Distillation losses act on the mean, too.

    Source: Wang et al. 2020, https://arxiv.org/abs/1911.11834 ("sum of logits").

    Args:
        num_groups: of the data.
    """

    def __init__(self, num_groups: int) -> None:
        super().__init__()
        self.num_groups = num_groups

    def prepare(self, network: Network) -> None:
        add_heads(network, self.num_groups, MeanReadout(self.num_groups))

    def task_loss(
        self, outputs: Outputs, batch: Batch, *, label_smoothing: float = 0.0, reduction: Reduction = "mean"
    ) -> Tensor:
        heads = split_heads(outputs.scores, self.num_groups)
        own = heads[torch.arange(len(heads), device=heads.device), batch.groups.clamp_min(0)]
        logits = torch.where((batch.groups >= 0)[:, None], own, outputs.logits)
        return F.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing, reduction=reduction)


class DomainDiscriminative(Mitigation):
    """Train one softmax over all class × group cells; at inference sum over the groups with a shifted prior.

    A sample with a missing group trains the probability of its class, summed over the groups.

    Source: Wang et al. 2020, https://arxiv.org/abs/1911.11834 ("sum, prior shift").

    Args:
        counts: ``(classes, groups)``, training samples of each cell.
    """

    def __init__(self, counts: Tensor) -> None:
        super().__init__()
        # Not a buffer: the network's readout keeps what inference needs.
        self.counts = counts

    def prepare(self, network: Network) -> None:
        add_heads(network, self.counts.shape[1], PriorShiftReadout(self.counts))

    def task_loss(
        self, outputs: Outputs, batch: Batch, *, label_smoothing: float = 0.0, reduction: Reduction = "mean"
    ) -> Tensor:
        num_classes, num_groups = self.counts.shape
        cells = batch.groups.clamp_min(0) * num_classes + batch.labels
        by_class = split_heads(outputs.scores, num_groups).logsumexp(dim=1)
        of_cell, of_class = (
            F.cross_entropy(logits, target, label_smoothing=label_smoothing, reduction="none")
            for logits, target in ((outputs.scores, cells), (by_class, batch.labels))
        )
        losses = torch.where(batch.groups >= 0, of_cell, of_class)
        return losses if reduction == "none" else losses.mean()
