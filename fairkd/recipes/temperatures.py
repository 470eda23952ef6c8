"""Plain distillation at several temperatures: what becomes of accuracy, disparity and individual fairness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fairkd.analysis.individual import prediction_sensitivity
from fairkd.config import Experiment
from fairkd.data.splits import ImageSet, Splits
from fairkd.evaluation import compare, evaluate
from fairkd.predictions import Predictions
from fairkd.recipes.kept import TrainedModel
from fairkd.recipes.models import distill_student
from fairkd.recipes.setup import load_splits

STUDIED = ("accuracy", "recall_gap", "worst_group_accuracy")
#: Images for the prediction sensitivity, whose cost grows with their square.
_MOST_IMAGES = 1000


def temperature_study(
    experiment: Experiment, teacher: TrainedModel, splits: Splits | None = None
) -> pd.DataFrame:
    """Distil plain KD students at ``temperature`` and at ``temperatures``, and measure each.

    They have neither mitigation nor another distiller, share the seed, and are loaded where they have been trained
    before; the teacher's outputs are kept between them.

    Args:
        experiment: parameters.
        teacher: what :func:`fairkd.train_teacher` returned.
        splits: the data; default: what the experiment names.

    Returns:
        Tidy rows ``temperature, own, seed, split, metric, value, low, high, n, difference, difference_low,
        difference_high, supported, confidence``, by temperature, for the splits ``validation`` and ``test``:
        ``accuracy``, ``recall_gap`` and ``worst_group_accuracy`` as :func:`fairkd.evaluate` gives them, and
        ``prediction_sensitivity`` (:func:`fairkd.analysis.prediction_sensitivity` over all pairs of at most 1,000
        images on the scale 0 to 1; ``n`` counts images). ``own`` is true at ``experiment.temperature``, and
        ``difference`` is the value less that of this student, paired as in :func:`fairkd.compare`; it is NaN, and
        ``supported`` false, for this student itself and for the prediction sensitivity. The intervals hold the
        sampling of images alone: another seed would train other students.

    Raises:
        ParameterError, DataError, TrainingError, ArtifactError: as their messages say.
    """
    splits = splits or load_splits(experiment)
    temperatures = sorted({experiment.temperature, *experiment.temperatures})
    plain = experiment.replace(distiller="kd", mitigation="none")
    students = {t: distill_student(plain.replace(temperature=t), teacher, splits) for t in temperatures}
    parts = {
        "validation": (splits.validation, {t: one.validation for t, one in students.items()}),
        "test": (splits.test, {t: one.predictions for t, one in students.items()}),
    }
    tables = [_measured(experiment, *part).assign(split=split) for split, part in parts.items()]
    table = pd.concat(tables, ignore_index=True).sort_values("temperature", kind="stable", ignore_index=True)
    table = table.assign(
        own=table["temperature"] == experiment.temperature,
        seed=experiment.seed,
        confidence=experiment.confidence,
    )
    difference = ["difference", "difference_low", "difference_high", "supported", "confidence"]
    return table[["temperature", "own", "seed", "split", "metric", "value", "low", "high", "n", *difference]]


def _measured(experiment: Experiment, images: ImageSet, students: dict[float, Predictions]) -> pd.DataFrame:
    """Return one split's rows, with the paired difference of each student to the run's own."""
    options: dict[str, Any] = {
        "replicates": experiment.bootstrap_replicates,
        "confidence": experiment.confidence,
    }
    own = experiment.temperature
    records = []
    for temperature, predictions in students.items():
        table = _overall(evaluate(predictions, **options))
        table.loc["prediction_sensitivity", ["value", "low", "high", "n"]] = _sensitivity(
            predictions, images, experiment.confidence
        )
        if temperature != own:
            pair = {"other": predictions, "own": students[own]}
            table = table.join(_differences(compare(pair, baseline="own", **options)))
        records.append(table.assign(temperature=temperature).reset_index(names="metric"))
    found = pd.concat(records, ignore_index=True)
    columns = ["difference", "difference_low", "difference_high", "supported"]
    found = found.reindex(columns=["temperature", "metric", "value", "low", "high", "n", *columns])
    return found.assign(supported=found["supported"].eq(True), n=found["n"].astype("int64"))


def _overall(table: pd.DataFrame) -> pd.DataFrame:
    rows = table[(table["class"] == "all") & (table["group"] == "all")].set_index("metric")
    return rows.loc[list(STUDIED), ["value", "low", "high", "n"]].astype(np.float64)


def _differences(comparison: pd.DataFrame) -> pd.DataFrame:
    rows = comparison[(comparison["class"] == "all") & (comparison["group"] == "all")].set_index("metric")
    names = {"value": "difference", "low": "difference_low", "high": "difference_high"}
    return rows.rename(columns=names)[[*names.values(), "supported"]]


def _sensitivity(predictions: Predictions, images: ImageSet, confidence: float) -> tuple[float, ...]:
    """Return value, limits and number of images of the prediction sensitivity; the same images for every student."""
    rows = np.arange(len(images))
    if len(rows) > _MOST_IMAGES:
        rows = np.sort(np.random.default_rng(0).choice(rows, _MOST_IMAGES, replace=False))
    chosen = Predictions(predictions.frame.iloc[rows].reset_index(drop=True))
    table = prediction_sensitivity(chosen, images.images[rows] / 255, confidence=confidence)
    every = table.set_index("pairs").loc["all"]
    return (*every[["value", "low", "high"]].to_list(), len(rows))
