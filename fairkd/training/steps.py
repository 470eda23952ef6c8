"""Training steps: ``batch -> dict`` of losses; ``"loss"`` is what is backpropagated, the others are logged."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from fairkd.data.batches import Batch
from fairkd.distillers import Distiller
from fairkd.losses import Reduction
from fairkd.losses._common import check_loss
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
        losses = _task_loss(chosen, outputs, batch, label_smoothing)
        return {"loss": chosen.reduce(losses, batch) if chosen.weighs_samples else losses}

    return step


def _task_loss(mitigation: Mitigation, outputs: Outputs, batch: Batch, label_smoothing: float) -> Tensor:
    reduction: Reduction = "none" if mitigation.weighs_samples else "mean"
    loss = mitigation.task_loss(outputs, batch, label_smoothing=label_smoothing, reduction=reduction)
    check_loss(loss, f"the task_loss of {type(mitigation).__name__}", len(batch.labels), reduction)
    return loss


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
        task = _task_loss(chosen, distiller.task_outputs(outputs), batch, label_smoothing)
        losses = distiller(outputs, teachers(batch), batch, progress, reduction)
        task_loss, distilled = task_weight * task, distill_weight * losses["distill_loss"]
        loss = task_loss + distilled
        if chosen.weighs_samples:
            # A loss of the whole batch says nothing of its samples.
            whole = distill_weight * losses.pop("batch_loss")
            loss = chosen.reduce(loss - whole, batch) + whole
        return {
            "loss": loss,
            "task_loss": task.mean(),
            **{name: value.mean() for name, value in losses.items()},
        }

    return step
