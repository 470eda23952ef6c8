"""What has been trained before, and where it is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from fairkd.config import Experiment
from fairkd.data.splits import Splits
from fairkd.recipes.checks import plan_of
from fairkd.recipes.kept import Role, TrainedModel
from fairkd.recipes.models import Recipe, student_role


def is_trained(experiment: Experiment, teacher: TrainedModel, splits: Splits | None = None) -> bool:
    """Whether :func:`distill_student` would load the student instead of training it."""
    recipe = Recipe(experiment, splits)
    return recipe.folder(student_role(experiment), teacher.folder).finished


def student_folder(experiment: Experiment, teacher: TrainedModel, splits: Splits | None = None) -> Path:
    """Return the artefact folder of the student that :func:`distill_student` makes; it may not exist yet."""
    return Recipe(experiment, splits).folder(student_role(experiment), teacher.folder).path


def trained_before(experiment: Experiment) -> dict[Role, bool]:
    """Return, for each of a run's models, whether it would be loaded instead of trained; no image is decoded.

    Raises:
        ParameterError, DataError: as their messages say.
    """
    plan = plan_of(experiment)
    # What an artefact's hash reads of the data.
    outline = SimpleNamespace(
        fingerprint=plan.fingerprint,
        augmentation=plan.augmentation,
        stem=plan.stem,
        num_classes=len(plan.class_names),
        image_size=(plan.image_size, plan.image_size),
        train=plan.rows["train"],
    )
    recipe = Recipe(experiment, cast(Splits, outline))
    plain = Recipe(experiment.replace(mitigation="none"), recipe.splits)
    teacher = recipe.folder("teacher", None)
    return {
        "teacher": teacher.finished,
        "student_scratch": recipe.folder("student_scratch", None).finished,
        "student_kd": plain.folder("student_kd", teacher.path).finished,
        student_role(experiment): recipe.folder(student_role(experiment), teacher.path).finished,
    }
