"""The sequences that notebooks, widgets and the command line share: teacher, students, and where they are kept."""

from fairkd.recipes.checks import check_experiment, check_methods
from fairkd.recipes.kept import ROLES, Role, TrainedModel
from fairkd.recipes.models import (
    co_teachers,
    distill_student,
    train_student_alone,
    train_students,
    train_teacher,
)
from fairkd.recipes.preview import HeadPreview
from fairkd.recipes.setup import load_splits, resolve_device
from fairkd.recipes.temperatures import temperature_study
from fairkd.recipes.trained import is_trained, student_folder, trained_before

__all__ = [
    "ROLES",
    "HeadPreview",
    "Role",
    "TrainedModel",
    "check_experiment",
    "check_methods",
    "co_teachers",
    "distill_student",
    "is_trained",
    "load_splits",
    "resolve_device",
    "student_folder",
    "temperature_study",
    "train_student_alone",
    "train_students",
    "train_teacher",
    "trained_before",
]
