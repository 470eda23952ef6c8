"""The main job on data sets of the field: from files on disk to a comparison, and to a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairkd.cli import main
from fairkd.config import Experiment
from fairkd.data import Splits
from fairkd.data.cifar10 import CLASSES
from fairkd.data.utkface import GENDERS, RACES
from fairkd.evaluation import compare, evaluate
from fairkd.predictions import Predictions
from fairkd.recipes import ROLES, TrainedModel, load_splits, train_students, train_teacher
from fairkd.store import read_json

# A few hundred images and one epoch rarely suffice to predict more than one class, or to fill every cell.
pytestmark = pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")

SAMPLES = 300
DATA: dict[str, dict[str, Any]] = {
    "cifar10s": {"file": "cifar10.zip", "classes": CLASSES, "groups": ("colour", "grey")},
    "utkface": {"file": "utkface64.zip", "classes": GENDERS, "groups": RACES},
}


@pytest.fixture(params=DATA)
def experiment(
    request: pytest.FixtureRequest,
    real_data: Callable[[str], Path],
    tmp_path: Path,
) -> Experiment:
    """One epoch of tiny networks on a few hundred images."""
    return Experiment(
        dataset=request.param,
        data_root=str(real_data(DATA[request.param]["file"])),
        samples=SAMPLES,
        image_size=32,
        cache_dir=str(tmp_path / "cache"),
        teacher="resnet8_cifar",
        student="test_resnet",
        teacher_epochs=1,
        student_epochs=1,
        adversary_weights=[],
        bootstrap_replicates=100,
        output_dir=str(tmp_path / "outputs"),
    )


def train_all(experiment: Experiment, splits: Splits) -> dict[str, TrainedModel]:
    teacher = train_teacher(experiment, splits)
    return {"teacher": teacher, **train_students(experiment, teacher, splits)}


def check_counts(splits: Splits, name: str) -> None:
    sets = [images for _, images in splits.items()]
    assert splits.class_names == tuple(sorted(DATA[name]["classes"]))
    assert set(splits.group_names) == set(DATA[name]["groups"])
    units = [np.unique(images.unit) for images in sets]
    assert sum(map(len, units)) == len(np.unique(np.concatenate(units))) == SAMPLES
    # An injected domain shows every validation and test image twice, once in each domain.
    twice = 2 if name == "cifar10s" else 1
    repeats = [np.unique(images.unit, return_counts=True)[1] for images in sets]
    assert [set(counts.tolist()) for counts in repeats] == [{1}, {twice}, {twice}]
    assert all((images.groups >= 0).all() for images in sets)


def check_predictions(predictions: Predictions, splits: Splits) -> None:
    assert predictions.class_names == list(splits.class_names)
    assert (predictions.labels == splits.test.labels).all()
    assert (predictions.groups == splits.test.groups).all()
    assert (predictions.units == splits.test.unit).all()
    assert np.isfinite(predictions.probabilities).all()
    assert predictions.probabilities.sum(axis=1) == pytest.approx(1)


def test_from_the_archive_to_the_comparison_of_models(experiment: Experiment) -> None:
    splits = load_splits(experiment)
    check_counts(splits, experiment.dataset)
    models = train_all(experiment, splits)
    assert tuple(models) == ROLES
    for model in models.values():
        check_predictions(model.predictions, splits)
    tables = {role: evaluate(model.predictions, replicates=100) for role, model in models.items()}
    for role, table in tables.items():
        (accuracy,) = table.query("metric == 'accuracy' and `class` == 'all' and group == 'all'").itertuples()
        predicted = models[role].predictions.predicted
        assert accuracy.value == pytest.approx((predicted == splits.test.labels).mean())
        assert accuracy.low <= accuracy.value <= accuracy.high
        by_group = table.query("metric == 'accuracy' and `class` == 'all' and group != 'all'")
        assert set(by_group["group"]) == set(splits.group_names)
        assert np.isfinite(by_group["value"]).all()
    differences = compare({role: model.predictions for role, model in models.items()}, replicates=100)
    changes = differences.query("metric == 'accuracy' and group == 'all'")
    assert len(changes) and np.isfinite(changes[["value", "low", "high"]].to_numpy(dtype=float)).all()


def test_another_adversary_weight_finds_teacher_and_other_students_again(experiment: Experiment) -> None:
    splits = load_splits(experiment)
    first = train_all(experiment, splits)
    before = {role: (model.folder / "model.safetensors").stat().st_mtime_ns for role, model in first.items()}
    changed = experiment.replace(adversary_weight=7)
    second = train_all(changed, load_splits(changed))
    for role in ROLES:
        again = second[role].folder == first[role].folder
        assert again == (role != "student_fair")
        assert (first[role].folder / "model.safetensors").stat().st_mtime_ns == before[role]


@pytest.mark.realdata
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", DATA)
def test_one_command_from_the_archive_to_the_report(
    name: str,
    whole_data: Callable[[str], Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    options = {
        "dataset": name,
        "data_root": whole_data(DATA[name]["file"]),
        "samples": 1500,
        "teacher": "resnet8_cifar",
        "teacher_epochs": 2,
        "student_epochs": 2,
        "adversary_weights": "[]",
        "bootstrap_replicates": 200,
        "cache_dir": tmp_path / "cache",
        "output_dir": tmp_path,
        "run_name": "real",
    }
    arguments = [str(part) for option in options.items() for part in ("-p", *option)]
    assert main(["run", *arguments]) == 0, capfd.readouterr()
    metrics = read_json(tmp_path / "real" / "metrics.json")
    assert set(metrics["models"]) == set(ROLES)
    for values in metrics["models"].values():
        assert (
            0 <= values["accuracy"]["low"] <= values["accuracy"]["value"] <= values["accuracy"]["high"] <= 1
        )
    predictions = Predictions.from_parquet(tmp_path / "real" / "predictions.parquet")
    assert set(predictions.group_names) == set(DATA[name]["groups"])
    report = (tmp_path / "real" / "report.html").read_text(encoding="utf-8")
    assert len(report) > 100_000 and "Traceback" not in report
    assert all(group in report for group in DATA[name]["groups"])
