"""Terms on logits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fairkd.data.batches import Batch
from fairkd.distillers.base import Context, Term, warm_up
from fairkd.losses import Reduction, dist_loss, dkd_loss, kd_loss, standardize_logits
from fairkd.mitigation import reverse_gradient
from fairkd.models import Outputs

#: Twenty of the 240 epochs of the papers' schedule on CIFAR-100.
DKD_WARM_UP = 20 / 240
#: Ten of them.
CTKD_WARM_UP = 10 / 240


class LogitTerm(Term):
    """Base of the terms that compare the student's logits with the first teacher's."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.temperature: float = context.options["temperature"]
        self.standardized: bool = context.options["logit_standardization"]

    def logits(self, student: Outputs, teacher: Outputs) -> tuple[Tensor, Tensor]:
        """Return the student's and the teacher's logits, standardised where that is asked for."""
        if self.standardized:
            return standardize_logits(student.logits), standardize_logits(teacher.logits)
        return student.logits, teacher.logits


class KD(LogitTerm):
    """Soft labels at a temperature (Hinton et al. 2015, https://arxiv.org/abs/1503.02531)."""

    def forward(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        batch: Batch,
        progress: float,
        reduction: Reduction = "mean",
    ) -> Tensor:
        logits = self.logits(student, teachers[0])
        return kd_loss(*logits, temperature=self.temperature, reduction=reduction)


class StandardizedKD(KD):
    """KD on z-scored logits (Sun et al. 2024, https://arxiv.org/abs/2403.01427)."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.standardized = True


class DKD(LogitTerm):
    """Decoupled KD, ramped up over the first twelfth of the training (https://arxiv.org/abs/2203.08679)."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.beta: float = context.options["dkd_beta"]

    def forward(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        batch: Batch,
        progress: float,
        reduction: Reduction = "mean",
    ) -> Tensor:
        loss = dkd_loss(
            *self.logits(student, teachers[0]),
            batch.labels,
            beta=self.beta,
            temperature=self.temperature,
            reduction=reduction,
        )
        return warm_up(progress, DKD_WARM_UP) * loss


class DIST(LogitTerm):
    """Correlations within samples and within classes (Huang et al. 2022, https://arxiv.org/abs/2205.10536)."""

    def forward(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        batch: Batch,
        progress: float,
        reduction: Reduction = "mean",
    ) -> Tensor:
        return dist_loss(*self.logits(student, teachers[0]), temperature=self.temperature)


class CTKD(LogitTerm):
    """KD at a temperature that is learned against the student, by gradient reversal.

    ``T = 1 + 20 · sigmoid(θ)``; the reversal grows by a cosine from 0 to 1 over the first 1/24 of the training.
    It starts at ``temperature``, limited to [1.5, 20.5].

    Source: Li et al. 2023, https://arxiv.org/abs/2211.16231 (global temperature).
    """

    START, RANGE = 1.0, 20.0

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        share = (min(max(self.temperature, 1.5), 20.5) - self.START) / self.RANGE
        self.raw = nn.Parameter(torch.tensor(math.log(share / (1 - share))))

    def learned_temperature(self, progress: float) -> Tensor:
        """Return T, whose gradient is reversed."""
        strength = (1 - math.cos(math.pi * warm_up(progress, CTKD_WARM_UP))) / 2
        return self.START + self.RANGE * torch.sigmoid(reverse_gradient(self.raw, strength))

    def forward(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        batch: Batch,
        progress: float,
        reduction: Reduction = "mean",
    ) -> Tensor:
        temperature = self.learned_temperature(progress)
        return kd_loss(*self.logits(student, teachers[0]), temperature=temperature, reduction=reduction)
