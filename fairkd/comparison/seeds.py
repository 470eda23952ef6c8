"""The same teacher and plainly distilled student with several seeds, on one split of the data."""

from __future__ import annotations

from fairkd.config import Experiment
from fairkd.data.splits import Splits
from fairkd.predictions import Predictions
from fairkd.progress import part_of
from fairkd.recipes import distill_student, load_splits, train_teacher


def seed_predictions(experiment: Experiment, splits: Splits | None = None) -> dict[str, list[Predictions]]:
    """Train, or find again, a teacher and its plain KD student with each seed, and predict the one test split.

    :func:`compare_methods` lets the seed draw the split as well, where a data set has none of its own; here all seeds
    see the same samples, so that :func:`fairkd.analysis.across_seeds` and :func:`fairkd.analysis.modal` can tell the
    seed's doing from the sample's.

    Args:
        experiment: ``seeds`` seeds from ``seed`` on; mitigation and distiller are not used.
        splits: the data; default: what the experiment names, split by its ``seed``.

    Returns:
        Test predictions by model, ``teacher`` and ``student_kd``, one a seed.

    Raises:
        ParameterError, DataError, TrainingError, ArtifactError: as their messages say.
    """
    splits = splits or load_splits(experiment)
    found: dict[str, list[Predictions]] = {"teacher": [], "student_kd": []}
    for seed in range(experiment.seed, experiment.seed + experiment.seeds):
        here = experiment.replace(seed=seed, distiller="kd", mitigation="none")
        with part_of(f"seed {seed}, the same split"):
            teacher = train_teacher(here, splits)
            student = distill_student(here, teacher, splits)
        found["teacher"].append(teacher.predictions)
        found["student_kd"].append(student.predictions)
    return found
