"""Training: steps, the loop, selection on validation data, and checkpoints."""

from fairkd.training.loop import Trainer, TrainingSettings, learning_rate_factor
from fairkd.training.selection import Score, Selector
from fairkd.training.steps import Step, distill_step, task_step

__all__ = [
    "Score",
    "Selector",
    "Step",
    "Trainer",
    "TrainingSettings",
    "distill_step",
    "learning_rate_factor",
    "task_step",
]
