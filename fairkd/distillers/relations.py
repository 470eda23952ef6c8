"""Terms on relations between the samples of a batch: they need no projector, whatever the sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fairkd.data.batches import Batch
from fairkd.distillers.base import Context, Term, projector
from fairkd.losses import (
    Reduction,
    mfd_loss,
    pkt_loss,
    rkd_angle_loss,
    rkd_distance_loss,
    similarity_preserving_loss,
)
from fairkd.models import Outputs


class RelationTerm(Term):
    """Base: reads pooled features, or with ``distill_from="maps"`` the flattened maps."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.on_maps = context.options["distill_from"] == "maps"
        self.teacher_reads = (context.options["distill_from"],)

    def forward(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        batch: Batch,
        progress: float,
        reduction: Reduction = "mean",
    ) -> Tensor:
        return self.compare(*(self._read(outputs) for outputs in (student, teachers[0])))

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of two matrices ``(batch, any dim)``."""
        raise NotImplementedError

    def _read(self, outputs: Outputs) -> Tensor:
        return outputs.maps.flatten(1) if self.on_maps else outputs.features


class RKD(RelationTerm):
    """Distances and, twice as heavy, angles (Park et al. 2019, https://arxiv.org/abs/1904.05068)."""

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        return rkd_distance_loss(student, teacher) + 2 * rkd_angle_loss(student, teacher)


class Similarity(RelationTerm):
    """Similarity matrices (Tung and Mori 2019, https://arxiv.org/abs/1907.09682)."""

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        return similarity_preserving_loss(student, teacher)


class PKT(RelationTerm):
    """Similarity distributions (Passalis and Tefas 2018, https://arxiv.org/abs/1803.10837)."""

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        return pkt_loss(student, teacher)


class MFD(Term):
    """Each group's features of a class to the teacher's of that class (https://arxiv.org/abs/2106.04411).

    Samples with a missing group are left out.
    """

    teacher_reads = ("features",)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.num_classes, self.num_groups = context.num_classes, context.num_groups
        sizes = context.student.features.shape[1], context.teachers[0].features.shape[1]
        self.projector = projector(*sizes, context.seed)

    def forward(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        batch: Batch,
        progress: float,
        reduction: Reduction = "mean",
    ) -> Tensor:
        known = batch.groups >= 0
        features = self.projector(student.features)
        if not bool(known.any()):
            return torch.zeros((), device=features.device)
        return mfd_loss(
            features[known],
            teachers[0].features[known],
            batch.labels[known],
            batch.groups[known],
            num_classes=self.num_classes,
            num_groups=self.num_groups,
        )
