"""The sequences that notebooks, widgets and the command line share: teacher, students, and where they are kept."""

from fairkd.recipes.checks import (
    check_experiment,
    check_methods,
    check_setting,
    plan_of,
    warn_of_few_samples,
)
from fairkd.recipes.kept import ROLES, Role, TrainedModel
from fairkd.recipes.models import (
    co_teachers,
    distill_student,
    student_role,
    train_student_alone,
    train_students,
    train_teacher,
)
from fairkd.recipes.preview import HeadPreview
from fairkd.recipes.setup import load_splits, resolve_device
from fairkd.recipes.temperatures import temperature_study
from fairkd.recipes.trained import is_trained, student_folder, trained_before
from fairkd.recipes.unread import check_swept, warn_of_unread

__all__ = [
    "ROLES",
    "HeadPreview",
    "Role",
    "TrainedModel",
    "check_experiment",
    "check_methods",
    "check_setting",
    "check_swept",
    "co_teachers",
    "distill_student",
    "is_trained",
    "load_splits",
    "plan_of",
    "resolve_device",
    "student_folder",
    "student_role",
    "temperature_study",
    "train_student_alone",
    "train_students",
    "train_teacher",
    "trained_before",
    "warn_of_few_samples",
    "warn_of_unread",
]
