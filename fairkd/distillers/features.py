"""Terms on pooled features and on maps, sample by sample."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairkd.data.batches import Batch
from fairkd.distillers.base import Context, Term, projector, warm_up
from fairkd.distillers.logits import KD
from fairkd.errors import FairkdWarning
from fairkd.losses import (
    Reduction,
    attention_transfer_loss,
    hint_loss,
    norm_direction_loss,
    nst_loss,
)
from fairkd.models import Outputs

#: Twenty of the 240 epochs of the paper's schedule.
KD_WARM_UP = 20 / 240


class Hint(Term):
    """Regression of the teacher's features through a projector (Romero et al. 2015, 1412.6550).

    ``distill_from="features"`` takes the pooled, semantic features and a linear projector; ``"maps"`` the
    maps, as FitNets do, and a 1 × 1 convolution.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        student, teacher = context.student, context.teachers[0]
        self.on_maps = context.options["distill_from"] == "maps"
        self.teacher_reads = (context.options["distill_from"],)
        if self.on_maps:
            sizes = student.maps.shape[1], teacher.maps.shape[1]
            linear = projector(*sizes, context.seed)
            self.projector = _as_convolution(linear)
        else:
            self.projector = projector(student.features.shape[1], teacher.features.shape[1], context.seed)

    def forward(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        batch: Batch,
        progress: float,
        reduction: Reduction = "mean",
    ) -> Tensor:
        if self.on_maps:
            pair = same_grid(self.projector(student.maps), teachers[0].maps)
        else:
            pair = self.projector(student.features), teachers[0].features
        return hint_loss(*pair, reduction=reduction)


class MapTerm(Term):
    """Base of the terms that compare positions; maps of a single cell have none to compare."""

    teacher_reads = ("maps",)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        student, _ = same_grid(context.student.maps, context.teachers[0].maps)
        if student.shape[2] * student.shape[3] == 1:
            warnings.warn(
                f"{type(self).__name__.lower()} compares positions in the networks' last maps, which are 1 × 1 "
                "here: it changes nothing; set stem=small, or use larger images",
                FairkdWarning,
                stacklevel=2,
            )


class Attention(MapTerm):
    """Where the networks are active (Zagoruyko and Komodakis 2017, https://arxiv.org/abs/1612.03928)."""

    def forward(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        batch: Batch,
        progress: float,
        reduction: Reduction = "mean",
    ) -> Tensor:
        return attention_transfer_loss(*same_grid(student.maps, teachers[0].maps), reduction=reduction)


class NST(MapTerm):
    """The channels' activation patterns (Huang and Wang 2017, https://arxiv.org/abs/1707.01219)."""

    def forward(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        batch: Batch,
        progress: float,
        reduction: Reduction = "mean",
    ) -> Tensor:
        return nst_loss(*same_grid(student.maps, teachers[0].maps), reduction=reduction)


class NormDirection(Term):
    """KD++: KD, ramped up over the first twelfth of the training, and features of the right norm and direction.

    ``KD + 2/9 · norm_direction_loss``: with the default ``task_weight`` and ``distill_weight`` the second term
    has twice the weight of the cross-entropy, as in the paper's code.

    Source: Wang et al. 2023, https://arxiv.org/abs/2305.17007.
    """

    teacher_reads = ("logits", "features")
    class_means: Tensor
    RATIO = 2 / 9

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.kd = KD(context)
        sizes = context.student.features.shape[1], context.teachers[0].features.shape[1]
        self.projector = projector(*sizes, context.seed)
        self.register_buffer("class_means", context.class_means())

    def forward(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        batch: Batch,
        progress: float,
        reduction: Reduction = "mean",
    ) -> Tensor:
        soft = self.kd(student, teachers, batch, progress, reduction)
        direction = norm_direction_loss(
            self.projector(student.features),
            teachers[0].features,
            self.class_means,
            batch.labels,
            reduction=reduction,
        )
        total: Tensor = warm_up(progress, KD_WARM_UP) * soft + self.RATIO * direction
        return total


def same_grid(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool the larger of two maps ``(batch, channels, height, width)`` to the smaller one's grid."""
    sizes = zip(student.shape[2:], teacher.shape[2:], strict=True)
    height, width = (min(pair) for pair in sizes)
    return tuple(  # type: ignore[return-value]
        maps if maps.shape[2:] == (height, width) else F.adaptive_avg_pool2d(maps, (height, width))
        for maps in (student, teacher)
    )


def _as_convolution(linear: nn.Module) -> nn.Module:
    if not isinstance(linear, nn.Linear):
        return linear
    convolution = nn.Conv2d(linear.in_features, linear.out_features, 1)
    with torch.no_grad():
        convolution.weight.copy_(linear.weight[:, :, None, None])
        convolution.bias.copy_(linear.bias)  # type: ignore[union-attr]
    return convolution
