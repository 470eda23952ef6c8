"""Everything that is measured of a model's predictions: one row of values, and its resamples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fairkd.errors import ParameterError
from fairkd.metrics import reductions
from fairkd.metrics.bootstrap import Resampled, bootstrap_calibration, bootstrap_counts
from fairkd.metrics.calibration import expected_calibration_error
from fairkd.metrics.confusion import CellCounts, Floats, group_slots
from fairkd.metrics.registry import METRICS
from fairkd.metrics.swapping import swap_p_values
from fairkd.predictions import Predictions

#: The tables measured beside the registered metrics: level, metric, reduction and definition.
_TABLES: tuple[tuple[str, str, Callable[[CellCounts], Floats], str], ...] = (
    (
        "group",
        "accuracy",
        lambda counts: counts.group_accuracy,
        "Share of the group's samples that are predicted correctly.",
    ),
    (
        "class",
        "recall_gap",
        reductions.recall_gap_by_class,
        "Largest minus smallest recall of a group, within the class.",
    ),
    (
        "cell",
        "recall",
        lambda counts: counts.recall,
        "Share of the class's samples in the group that are predicted correctly.",
    ),
)
#: Every count-based statistic, for the bootstrap: the registered ones by name, the tables as "metric by level".
STATISTICS: dict[str, Callable[[CellCounts], Floats]] = {
    **{name: metric.reduce for name, metric in METRICS.items() if metric.reduce is not None},
    **{f"{metric} by {level}": reduce for level, metric, reduce, _ in _TABLES},
}
_MISSING_GROUPS = " Samples whose group is missing are left out."
_UNEQUAL_GROUPS = " The groups differ in size here, so part of the value is the data's."


@dataclass(frozen=True)
class BootstrapOptions:
    """Number of resamples, nominal coverage and seed of an evaluation, checked."""

    replicates: int
    confidence: float
    seed: int

    def __post_init__(self) -> None:
        for name, smallest in (("replicates", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < smallest:
                raise ParameterError(f"{name}={value!r} is not allowed: a whole number, at least {smallest}")
        if not 0 < self.confidence < 1:
            raise ParameterError(f"confidence={self.confidence} is not allowed: between 0 and 1")


def count(predictions: Predictions) -> CellCounts:
    """Count the samples by class, group and prediction."""
    sizes = len(predictions.class_names), len(predictions.group_names)
    return CellCounts.of_samples(predictions.labels, predictions.groups, predictions.predicted, *sizes)


def layout(predictions: Predictions) -> pd.DataFrame:
    """Describe what is measured, one row a value.

    Returns:
        The columns ``level`` (``overall``, ``group``, ``class`` or ``cell``), ``metric``, ``class`` and
        ``group`` (``"all"`` where the value is of all), ``n`` (the samples that are counted, for what
        compares groups those that have one; for a class's recall gap those of its smallest group),
        ``definition`` and ``better``.
    """
    counts = count(predictions)
    classes, groups = np.array(predictions.class_names), np.array(predictions.group_names)
    cells = {
        "class": classes.repeat(len(groups)),
        "group": np.tile(groups, len(classes)),
        "n": counts.samples.ravel(),
    }
    places: dict[str, dict[str, Any]] = {
        "group": {"class": "all", "group": groups, "n": counts.group_sizes},
        "class": {"class": classes, "group": "all", "n": counts.samples.min(axis=1)},
        "cell": cells,
    }
    grouped = int(counts.group_sizes.sum())
    sizes = [grouped if metric.compares_groups else len(predictions) for metric in METRICS.values()]
    overall = {"metric": list(METRICS), "class": "all", "group": "all", "n": sizes}
    texts = {"definition": _definitions(counts), "better": [metric.better for metric in METRICS.values()]}
    tables = [
        {
            "level": level,
            "metric": metric,
            **places[level],
            "definition": definition,
            "better": _better(metric),
        }
        for level, metric, _, definition in _TABLES
    ]
    blocks = [{"level": "overall", **overall, **texts}, *tables]
    return pd.concat([pd.DataFrame(block) for block in blocks], ignore_index=True)


def values(predictions: Predictions) -> Floats:
    """Compute the values in the order of :func:`layout` ``(rows,)``."""
    counts = count(predictions)
    calibration = (
        expected_calibration_error(predictions.labels, predictions.probabilities)
        if predictions.has_probabilities
        else np.nan
    )
    scalars = [calibration if metric.reduce is None else metric.reduce(counts) for metric in METRICS.values()]
    return np.concatenate([scalars, *(reduce(counts).ravel() for _, _, reduce, _ in _TABLES)])


def resample(models: Sequence[Predictions], replicates: int, seed: int) -> list[Resampled]:
    """Resample the samples, the same for all models, and compute the values of each resample.

    Args:
        models: predictions on the same samples in the same order.
        replicates: number of resamples.
        seed: seed of the draws.

    Returns:
        For each model, values ``(replicates, rows)`` and noise floors ``(rows,)`` in the order of
        :func:`layout`.
    """
    first = models[0]
    counted = bootstrap_counts(
        first.labels,
        first.groups,
        np.stack([one.predicted for one in models]),
        first.units,
        num_classes=len(first.class_names),
        num_groups=len(first.group_names),
        statistics=STATISTICS,
        replicates=replicates,
        seed=seed,
    )
    calibrated = _resample_calibration(models, replicates, seed)
    return [_row(by_name, errors) for by_name, errors in zip(counted, calibrated, strict=True)]


def swap_tests(pair: Sequence[Predictions], replicates: int, seed: int) -> Floats:
    """Return :func:`~fairkd.metrics.swapping.swap_p_values` of two models in the order of :func:`layout` ``(rows,)``.

    NaN for what is not count-based.
    """
    first = pair[0]
    found = swap_p_values(
        first.labels,
        first.groups,
        np.stack([one.predicted for one in pair]),
        first.units,
        num_classes=len(first.class_names),
        num_groups=len(first.group_names),
        statistics=STATISTICS,
        replicates=replicates,
        seed=seed,
    )
    scalars = [found.get(name, np.full((), np.nan)) for name in METRICS]
    tables = [found[f"{metric} by {level}"] for level, metric, *_ in _TABLES]
    return np.concatenate([np.ravel(part) for part in [*scalars, *tables]])


def trials(predictions: Predictions) -> Floats:
    """Return how many units each proportion rests on, in the order of :func:`layout` ``(rows,)``.

    NaN for what is not a proportion of samples.
    """
    num_classes, num_groups = len(predictions.class_names), len(predictions.group_names)
    units = pd.factorize(predictions.units)[0]
    slots, num_slots = group_slots(predictions.groups, num_groups)
    overall = np.full(len(METRICS), np.nan)
    overall[list(METRICS).index("accuracy")] = units.max() + 1
    by_group = _distinct(units, slots, num_slots)
    by_cell = _distinct(units, predictions.labels * num_slots + slots, num_classes * num_slots)
    by_cell = by_cell.reshape(num_classes, num_slots)[:, :num_groups]
    return np.concatenate([overall, by_group[:num_groups], np.full(num_classes, np.nan), by_cell.ravel()])


def _resample_calibration(models: Sequence[Predictions], replicates: int, seed: int) -> list[Resampled]:
    """Resample the calibration errors; NaN of a model without probabilities."""
    first, known = models[0], [one.probabilities for one in models if one.has_probabilities]
    errors = iter(
        bootstrap_calibration(
            first.labels, first.groups, known, first.units, replicates=replicates, seed=seed
        )
        if known
        else []
    )
    missing = np.full(replicates, np.nan)
    unknown = Resampled(missing, np.full((), np.nan), missing)
    return [next(errors) if one.has_probabilities else unknown for one in models]


def _row(by_name: dict[str, Resampled], calibration: Resampled) -> Resampled:
    """Put all statistics side by side, in the order of :func:`layout`."""
    scalars = [calibration if metric.reduce is None else by_name[name] for name, metric in METRICS.items()]
    parts = [*scalars, *(by_name[f"{metric} by {level}"] for level, metric, *_ in _TABLES)]
    number = len(calibration.values)
    return Resampled(
        np.concatenate([part.values.reshape(number, -1) for part in parts], axis=1),
        # Rounded, and without a sign on zero: a floor of 0 should not read as -1e-18.
        np.concatenate([np.ravel(part.floor) for part in parts]).round(12) + 0.0,
        np.concatenate([part.blind.reshape(number, -1) for part in parts], axis=1),
    )


def _definitions(counts: CellCounts) -> list[str]:
    unequal = len(np.unique(counts.group_sizes)) > 1
    missing = counts.ungrouped is not None
    return [
        metric.definition
        + (_MISSING_GROUPS if missing and metric.compares_groups else "")
        + (_UNEQUAL_GROUPS if unequal and name == "bias_amplification" else "")
        for name, metric in METRICS.items()
    ]


def _better(metric: str) -> str:
    return METRICS[metric].better if metric in METRICS else "higher"


def _distinct(units: np.ndarray, codes: np.ndarray, num_codes: int) -> np.ndarray:
    """Count the distinct units of each code ``(num_codes,)``."""
    return np.bincount(pd.unique(units * num_codes + codes) % num_codes, minlength=num_codes)
