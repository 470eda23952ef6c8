"""Training steps: ``batch -> dict`` of losses; ``"loss"`` is what is backpropagated, the others are logged."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from fairkd.data.batches import Batch
from fairkd.distillers import Distiller
from fairkd.losses import Reduction
from fairkd.mitigation import Mitigation
from fairkd.models import Outputs
from fairkd.teachers import Teachers

#: ``step(outputs, batch, progress)`` returns the losses for what the network in training computed for a batch;
#: ``progress`` is the share of the training done, [0, 1].
Step = Callable[[Outputs, Batch, float], dict[str, Tensor]]


def task_step(mitigation: Mitigation | None = None, *, label_smoothing: float = 0.0) -> Step:
    """The loss that teaches the labels: cross-entropy, or the mitigation's own."""
    chosen = mitigation or Mitigation()

    def step(outputs: Outputs, batch: Batch, progress: float) -> dict[str, Tensor]:
        if chosen.weighs_samples:
            losses = chosen.task_loss(outputs, batch, label_smoothing=label_smoothing, reduction="none")
            return {"loss": chosen.reduce(losses, batch)}
        return {"loss": chosen.task_loss(outputs, batch, label_smoothing=label_smoothing)}

    return step


def distill_step(
    teachers: Teachers,
    distiller: Distiller,
    mitigation: Mitigation | None = None,
    *,
    distill_weight: float,
    task_weight: float,
    label_smoothing: float = 0.0,
) -> Step:
    """``task_weight`` x task loss + ``distill_weight`` x distillation loss; the teachers never change."""
    chosen = mitigation or Mitigation()

    def step(outputs: Outputs, batch: Batch, progress: float) -> dict[str, Tensor]:
        reduction: Reduction = "none" if chosen.weighs_samples else "mean"
        task = chosen.task_loss(
            distiller.task_outputs(outputs), batch, label_smoothing=label_smoothing, reduction=reduction
        )
        losses = distiller(outputs, teachers(batch), batch, progress, reduction)
        task_loss, distilled = task_weight * task, distill_weight * losses["distill_loss"]
        if not chosen.weighs_samples:
            loss = task_loss + distilled
        elif distilled.ndim:
            loss = chosen.reduce(task_loss + distilled, batch)
        else:
            # A loss of the whole batch says nothing of its samples.
            loss = chosen.reduce(task_loss, batch) + distilled
        return {
            "loss": loss,
            "task_loss": task.mean(),
            **{name: value.mean() for name, value in losses.items()},
        }

    return step
