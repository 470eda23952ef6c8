"""What has been trained before, and where it is."""

from __future__ import annotations

from pathlib import Path

from fairkd.config import Experiment
from fairkd.data.splits import Splits
from fairkd.recipes.models import Recipe, Role, TrainedModel, student_role


def is_trained(experiment: Experiment, teacher: TrainedModel, splits: Splits | None = None) -> bool:
    """Whether :func:`distill_student` would load the student instead of training it."""
    recipe = Recipe(experiment, splits)
    return recipe.folder(student_role(experiment), teacher.folder).finished


def student_folder(experiment: Experiment, teacher: TrainedModel, splits: Splits | None = None) -> Path:
    """Return the artefact folder of the student that :func:`distill_student` makes; it may not exist yet."""
    return Recipe(experiment, splits).folder(student_role(experiment), teacher.folder).path


def trained_before(experiment: Experiment) -> dict[Role, bool]:
    """Return, for each of a run's four models, whether it would be loaded instead of trained.

    Raises:
        ParameterError, DataError: as their messages say.
    """
    recipe = Recipe(experiment, None)
    plain = Recipe(experiment.replace(mitigation="none"), recipe.splits)
    teacher = recipe.folder("teacher", None)
    return {
        "teacher": teacher.finished,
        "student_scratch": recipe.folder("student_scratch", None).finished,
        "student_kd": plain.folder("student_kd", teacher.path).finished,
        "student_fair": recipe.folder(student_role(experiment), teacher.path).finished,
    }
