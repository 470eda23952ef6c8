"""A run that was trained in seconds, as its folder; for the tests of exports."""

from __future__ import annotations

from pathlib import Path

from fairkd.config import Experiment
from fairkd.data.splits import Splits
from fairkd.recipes import TrainedModel, distill_student, load_splits, student_role, train_teacher
from fairkd.results import save_models
from fairkd.store import write_json
from fairkd.tables import evaluate_models


def train_run(folder: Path, **changes: object) -> tuple[Experiment, Splits, dict[str, TrainedModel]]:
    """Train a teacher and a student, by default a mitigated one, and leave what notebooks 02 and 03 leave.

    The other students are missing, as in a run that was interrupted.
    """
    values = {
        "samples": 600,
        "teacher": "resnet8_cifar",
        "teacher_epochs": 2,
        "student_epochs": 12,
        "task_weight": 1.0,
        "distill_weight": 0.1,
        "bootstrap_replicates": 100,
        "run_name": "run",
        "output_dir": str(folder),
    }
    experiment = Experiment(**{**values, **changes})
    splits = load_splits(experiment)
    teacher = train_teacher(experiment, splits)
    student = student_role(experiment)
    models = {"teacher": teacher, student: distill_student(experiment, teacher, splits)}
    for name, role in (("teacher.json", "teacher"), ("students.json", student)):
        table = evaluate_models({role: models[role].validation}, replicates=10)
        save_models(experiment, name, {role: models[role]}, table)
    write_json(experiment.run_folder / "experiment.json", {"parameters": experiment.model_dump(mode="json")})
    return experiment, splits, models
