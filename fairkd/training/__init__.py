"""Training: steps, the loop, selection on validation data, checkpoints and the teachers' cached outputs."""

from fairkd.training.checkpoint import CHECKPOINTS
from fairkd.training.control import Change, StoppedError, TrainingControl, one_training, stop_on_interrupt
from fairkd.training.devices import Devices, current_devices, join_processes
from fairkd.training.loop import Trainer
from fairkd.training.metrics_file import MetricsFile
from fairkd.training.optimizer import learning_rate_factor, make_optimizer
from fairkd.training.precision import Precision, fastest_precision
from fairkd.training.selection import Score, Selector, warn_of_collapse
from fairkd.training.settings import TrainingSettings, training_images
from fairkd.training.steps import Step, distill_step, task_step
from fairkd.training.teacher_cache import CacheFolder, TeacherOutputs

__all__ = [
    "CHECKPOINTS",
    "CacheFolder",
    "Change",
    "Devices",
    "MetricsFile",
    "Precision",
    "Score",
    "Selector",
    "Step",
    "StoppedError",
    "TeacherOutputs",
    "Trainer",
    "TrainingControl",
    "TrainingSettings",
    "current_devices",
    "distill_step",
    "fastest_precision",
    "join_processes",
    "learning_rate_factor",
    "make_optimizer",
    "one_training",
    "stop_on_interrupt",
    "task_step",
    "training_images",
    "warn_of_collapse",
]
