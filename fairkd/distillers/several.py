"""Terms that learn from several teachers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fairkd.data.batches import Batch
from fairkd.distillers.base import Context, Term
from fairkd.distillers.logits import LogitTerm
from fairkd.heads import MeanReadout, add_heads, split_heads
from fairkd.losses import Reduction, kd_loss
from fairkd.models import Network, Outputs


class CoAdvise(Term):
    """One student, several teachers of different architecture families, one head for each.

    A further head learns the labels. Each teacher's head learns its soft labels at temperature 1; the student
    answers with the mean of all heads, which the finished network holds as a single head.

    Source: Ren et al. 2022, https://arxiv.org/abs/2106.12378.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.heads = 1 + len(context.teachers)

    def prepare(self, network: Network) -> None:
        add_heads(network, self.heads, MeanReadout(self.heads))

    def task_outputs(self, student: Outputs) -> Outputs:
        """Return the student's outputs with the logits of the head that the labels teach."""
        return student._replace(logits=split_heads(student.scores, self.heads)[:, 0])

    def forward(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        batch: Batch,
        progress: float,
        reduction: Reduction = "mean",
    ) -> Tensor:
        heads = split_heads(student.scores, self.heads)
        losses = [
            kd_loss(heads[:, number], teacher.logits, temperature=1.0, reduction=reduction)
            for number, teacher in enumerate(teachers, start=1)
        ]
        return torch.stack(losses).sum(dim=0)


class Ensemble(LogitTerm):
    """KD from several teachers, each weighed the same or sample by sample.

    ``ensemble_weights``: ``"mean"``; ``"confidence"``, by each teacher's cross-entropy with the label, as
    ``(1 − softmax(CE)) / (K − 1)`` (Zhang et al. 2022, https://arxiv.org/abs/2201.00007); ``"agre"``, by 1 − the
    cosine between the teacher's gradient and that of a biased student, the last network of the list, divided
    by the sum over the teachers (Kenfack et al. 2025, https://arxiv.org/abs/2411.14984). The gradients are
    those of KD with respect to the student's logits: with respect to its last layer they have the same cosine.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.rule: str = context.options["ensemble_weights"]

    def forward(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        batch: Batch,
        progress: float,
        reduction: Reduction = "mean",
    ) -> Tensor:
        advisers = teachers[:-1] if self.rule == "agre" else teachers
        losses = torch.stack(
            [
                kd_loss(*self.logits(student, adviser), temperature=self.temperature, reduction="none")
                for adviser in advisers
            ]
        )
        weighed = (self.adviser_weights(student, teachers, batch) * losses).sum(dim=0)
        return weighed if reduction == "none" else weighed.mean()

    @torch.no_grad()
    def adviser_weights(self, student: Outputs, teachers: Sequence[Outputs], batch: Batch) -> Tensor:
        """Return each teacher's weight for each sample ``(teachers, batch)``; they sum to 1 over the teachers."""
        if self.rule == "mean":
            return student.logits.new_full((len(teachers), len(batch.labels)), 1 / len(teachers))
        if self.rule == "confidence":
            losses = [F.cross_entropy(t.logits, batch.labels, reduction="none") for t in teachers]
            shares = torch.stack(losses).softmax(dim=0)
            return (1 - shares) / (len(teachers) - 1)
        gradients = [self._gradient(student, network) for network in teachers]
        away = torch.stack([1 - F.cosine_similarity(g, gradients[-1], dim=1) for g in gradients[:-1]])
        # All teachers may point exactly where the biased student does.
        away = away.clamp_min(1e-6)
        return away / away.sum(dim=0)

    def _gradient(self, student: Outputs, teacher: Outputs) -> Tensor:
        """Return the gradient of each sample's KD with respect to the student's logits ``(batch, classes)``."""
        logits = student.logits.detach().requires_grad_()
        with torch.enable_grad():
            pair = self.logits(student._replace(logits=logits), teacher)
            total = kd_loss(*pair, temperature=self.temperature, reduction="none").sum()
        return torch.autograd.grad(total, logits)[0]
