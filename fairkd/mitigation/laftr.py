"""LAFTR: an adversary whose loss counts every group alike within the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from fairkd.mitigation.adversary import GradientReversal


class Laftr(GradientReversal):
    """Gradient reversal with a group-normalised L1 loss, which bounds the parity gap that it names.

    ``mean over cells of (mean over the cell's samples of 1 − p(true group))``: half the L1 distance between
    the adversary's probabilities and the one-hot group. The cells are the groups of the batch (demographic
    parity), with the label as input its class × group cells (equalised odds).

    Source: Madras et al. 2018, https://arxiv.org/abs/1802.06309, here for any number of groups.
    """

    def group_loss(self, logits: Tensor, labels: Tensor, groups: Tensor, known: Tensor) -> Tensor:
        missed = 1 - logits.softmax(dim=1).gather(1, groups[:, None]).squeeze(1)
        cells = labels * self.num_groups + groups if self.sees_label else groups
        size = self.num_groups * (self.num_classes if self.sees_label else 1)
        zeros = missed.new_zeros(size)
        counts = zeros.index_add(0, cells, known.to(missed.dtype))
        sums = zeros.index_add(0, cells, missed * known)
        return (sums / counts.clamp_min(1)).sum() / torch.count_nonzero(counts).clamp_min(1)
