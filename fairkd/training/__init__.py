"""Training: steps, the loop, selection on validation data, checkpoints and the teachers' cached outputs."""

from fairkd.training.loop import Trainer, TrainingSettings, training_images
from fairkd.training.optimizer import learning_rate_factor, make_optimizer
from fairkd.training.precision import Precision, fastest_precision
from fairkd.training.selection import Score, Selector
from fairkd.training.steps import Step, distill_step, task_step
from fairkd.training.teacher_cache import CacheFolder, TeacherOutputs

__all__ = [
    "CacheFolder",
    "Precision",
    "Score",
    "Selector",
    "Step",
    "TeacherOutputs",
    "Trainer",
    "TrainingSettings",
    "distill_step",
    "fastest_precision",
    "learning_rate_factor",
    "make_optimizer",
    "task_step",
    "training_images",
]
