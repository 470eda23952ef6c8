"""All losses as functions of (student, teacher), on inputs of each loss's own shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fairkd import losses

BATCH, CLASSES, DIM = 6, 4, 3
SHAPES = {
    "logits": ((BATCH, CLASSES), (BATCH, CLASSES)),
    "features": ((BATCH, DIM), (BATCH, DIM)),
    "relations": ((BATCH, DIM), (BATCH, DIM + 2)),
    "maps": ((BATCH, 3, 2, 3), (BATCH, 4, 2, 3)),
}
LABELS = torch.tensor([0, 1, 3, 3, 1, 0])
GROUPS = torch.tensor([0, 2, 0, 2, 2, 2])  # group 1 is absent, and so is class 2
CLASS_MEANS = torch.tensor([[1.0, 2.0, 0.5], [-1.0, 0.3, 2.0], [0.0, 0.0, 0.0], [0.2, -3.0, 1.0]])

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """A loss, the kind of its inputs, and whether it is 0 when the student equals the teacher."""

    loss: Loss
    kind: str
    zero_at_teacher: bool = True

    def inputs(self, batch: int = BATCH, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(7)
        student, teacher = SHAPES[self.kind]
        return (
            torch.randn((batch, *student[1:]), generator=generator, dtype=torch.float64).to(dtype),
            torch.randn((batch, *teacher[1:]), generator=generator, dtype=torch.float64).to(dtype),
        )


def mfd(kernel: str) -> Loss:
    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        labels, groups = LABELS[: len(student)], GROUPS[: len(student)]
        return losses.mfd_loss(
            student, teacher, labels, groups, num_classes=CLASSES, num_groups=3, sigma=1.0, kernel=kernel
        )

    return loss


CASES = {
    "kd": Case(lambda s, t: losses.kd_loss(s, t, temperature=3.0), "logits"),
    "dkd": Case(
        lambda s, t: losses.dkd_loss(s, t, LABELS[: len(s)], alpha=1.0, beta=8.0, temperature=3.0), "logits"
    ),
    "dist": Case(lambda s, t: losses.dist_loss(s, t, beta=1.0, gamma=2.0, temperature=1.5), "logits"),
    "standardized kd": Case(
        lambda s, t: losses.kd_loss(
            losses.standardize_logits(s), losses.standardize_logits(t), temperature=2.0
        ),
        "logits",
    ),
    "hint": Case(losses.hint_loss, "features"),
    "attention transfer": Case(losses.attention_transfer_loss, "maps"),
    "norm direction": Case(
        lambda s, t: losses.norm_direction_loss(
            s, t, CLASS_MEANS.double() if s.dtype == torch.float64 else CLASS_MEANS, LABELS[: len(s)]
        ),
        "features",
        zero_at_teacher=False,
    ),
    "rkd distance": Case(losses.rkd_distance_loss, "relations"),
    "rkd angle": Case(losses.rkd_angle_loss, "relations"),
    "similarity preserving": Case(losses.similarity_preserving_loss, "relations"),
    "pkt": Case(losses.pkt_loss, "relations"),
    "nst": Case(losses.nst_loss, "maps"),
    "mfd rbf": Case(mfd("rbf"), "features", zero_at_teacher=False),
    "mfd poly": Case(mfd("poly"), "features", zero_at_teacher=False),
}
