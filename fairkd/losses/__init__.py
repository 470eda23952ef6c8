"""Distillation losses: pure functions of tensors, one paper each.

Features are ``(batch, dim)``, maps ``(batch, channels, height, width)``, logits ``(batch, classes)``. Every
loss is a scalar tensor, differentiable in the student's tensor; the teacher is detached inside.
Half-precision tensors are computed in float32, also under autocast, so that squares and exponentials do not
overflow. No loss carries the weight that its paper multiplies it by: that belongs to the distiller.
"""

from __future__ import annotations

from fairkd.losses._common import Reduction
from fairkd.losses.features import attention_transfer_loss, hint_loss, norm_direction_loss
from fairkd.losses.logits import dist_loss, dkd_loss, kd_loss, standardize_logits
from fairkd.losses.mmd import mfd_loss, nst_loss
from fairkd.losses.relations import (
    pkt_loss,
    rkd_angle_loss,
    rkd_distance_loss,
    similarity_preserving_loss,
)

__all__ = [
    "Reduction",
    "attention_transfer_loss",
    "dist_loss",
    "dkd_loss",
    "hint_loss",
    "kd_loss",
    "mfd_loss",
    "norm_direction_loss",
    "nst_loss",
    "pkt_loss",
    "rkd_angle_loss",
    "rkd_distance_loss",
    "similarity_preserving_loss",
    "standardize_logits",
]
