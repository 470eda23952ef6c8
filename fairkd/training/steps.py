"""Training steps: ``batch -> dict`` of losses; ``"loss"`` is what is backpropagated, the others are logged."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fairkd.data.batches import Batch
from fairkd.distillers import Distiller
from fairkd.models import Network, Outputs

#: ``step(outputs, batch)`` returns the losses of a batch for what the network in training computed.
Step = Callable[[Outputs, Batch], dict[str, Tensor]]


def task_step(*, label_smoothing: float = 0.0) -> Step:
    """Cross-entropy with the labels."""

    def step(outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(outputs.logits, batch.labels, label_smoothing=label_smoothing)}

    return step


def distill_step(
    teacher: Network,
    distiller: Distiller,
    *,
    distill_weight: float,
    task_weight: float,
    label_smoothing: float = 0.0,
) -> Step:
    """``task_weight`` x cross-entropy + ``distill_weight`` x distillation loss; the teacher never changes."""
    teacher.eval()

    def step(outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            taught = teacher(batch.images)
        task = F.cross_entropy(outputs.logits, batch.labels, label_smoothing=label_smoothing)
        distill = distiller(outputs, taught)
        loss = task_weight * task + distill_weight * distill
        return {"loss": loss, "task_loss": task, "distill_loss": distill}

    return step
