"""Bias inflation: what differs between a student and its teacher, by metric, class and group, over many tests.

Looking at a hundred differences, five exclude 0 by chance. The p-values are therefore adjusted by Holm's method
within each *family*: all rows of one level (``overall``, ``group``, ``class``, ``cell``) in one comparison of a model
with a baseline. A reader who asks "in which class did the recall change?" asks the whole family.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd

from fairkd.errors import FairkdWarning
from fairkd.evaluation import FEW_SAMPLES, choose_baseline, paired_table
from fairkd.frames import from_frames
from fairkd.metrics import measurement
from fairkd.metrics.confusion import Floats
from fairkd.metrics.intervals import paired_p_value
from fairkd.metrics.measurement import BootstrapOptions
from fairkd.predictions import Predictions, align

#: Verdicts: the model's value is larger or smaller than the baseline's, or what keeps one from saying so.
LARGER, SMALLER, OPEN = "larger", "smaller", "not settled"
FEW, UNDEFINED = "too few samples", "undefined"

_COLUMNS = [
    *("model", "baseline", "level", "metric", "class", "group", "value", "low", "high", "model_value"),
    *("baseline_value", "n", "p_value", "p_adjusted", "family", "family_size", "verdict", "better"),
    *("definition", "confidence"),
]


def inflation(
    models: Mapping[str, Predictions | pd.DataFrame],
    *,
    baseline: str | None = None,
    replicates: int = 10_000,
    confidence: float = 0.95,
    bootstrap_seed: int = 0,
) -> pd.DataFrame:
    """Test every difference between models on the same samples, by metric, class, group, and class and group.

    The p-value of a difference is the larger of two. The first inverts the paired bootstrap: it is the smallest level
    at which the interval excludes 0, noise floors included (:func:`fairkd.metrics.intervals.paired_p_value`). The
    second is that of a randomisation test that swaps the two models' predictions unit by unit
    (:mod:`fairkd.metrics.swapping`), exact in small cells where the bootstrap is too sure; the calibration error has
    the first alone. ``p_adjusted`` is Holm's step-down adjustment (Holm 1979, Scandinavian Journal of Statistics 6,
    65-70) over the family: the chance that any verdict of a family is wrong is at most ``1 - confidence``. Rows with
    fewer than 10 samples are judged by nobody and do not count in the family; that does not depend on the outcome.

    Args:
        models: predictions or tables by name, as :func:`fairkd.compare` takes them.
        baseline: the model that the others are compared with; default: the first.
        replicates: bootstrap resamples, and patterns of swaps. No p-value is below ``2 / (replicates + 1)``, so a
            family of m rows needs more than ``2 m / (1 - confidence)``.
        confidence: coverage of the intervals, which are not adjusted, and 1 minus the level of the verdicts; (0, 1).
        bootstrap_seed: seed of both.

    Returns:
        Tidy rows ``model, baseline, level, metric, class, group, value, low, high, model_value, baseline_value, n,
        p_value, p_adjusted, family, family_size, verdict, better, definition, confidence``: every metric, accuracy by
        group, recall gap by class, recall by class and group. ``value`` is the model's minus the baseline's;
        ``verdict`` is ``larger`` or ``smaller`` where ``p_adjusted`` is at most ``1 - confidence``, otherwise
        ``not settled``, ``too few samples`` or ``undefined``.

    Raises:
        DataError: as :func:`fairkd.compare`.
        ParameterError: fewer than two models, an unknown baseline, or an option out of range.

    Warns:
        FairkdWarning: too few replicates for the largest family.
    """
    options = BootstrapOptions(replicates, confidence, bootstrap_seed)
    baseline = choose_baseline(models, baseline, "inflation")
    aligned = align(from_frames(models))
    tables = [_compared(aligned, name, baseline, options) for name in models if name != baseline]
    table = pd.concat(tables, ignore_index=True)
    _warn_of_few_replicates(int(table["family_size"].max()), options)
    return table


def holm(p_values: Floats) -> Floats:
    """Return Holm's adjusted p-values: ``max_{j <= i} min(1, (m - j + 1) p_(j))`` over the sorted ones.

    Args:
        p_values: ``(m,)``, each in [0, 1].

    Returns:
        Adjusted values ``(m,)``, none smaller than the given one.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    stepped = np.maximum.accumulate(np.minimum(factors * p_values[order], 1.0))
    adjusted = np.empty_like(stepped)
    adjusted[order] = stepped
    return adjusted


def _compared(
    models: Mapping[str, Predictions], model: str, baseline: str, options: BootstrapOptions
) -> pd.DataFrame:
    table, resampled = paired_table(models, model, baseline, options)
    p_values = paired_p_value(table["value"].to_numpy(), *resampled)
    swapped = measurement.swap_tests((models[model], models[baseline]), options.replicates, options.seed)
    table["p_value"] = np.fmax(p_values, swapped)
    table["family"] = [f"{model} − {baseline}: {level}" for level in table["level"]]
    return _judged(table, 1 - options.confidence)[_COLUMNS]


def _judged(table: pd.DataFrame, level: float) -> pd.DataFrame:
    """Add ``p_adjusted``, ``family_size`` and ``verdict``."""
    undefined, few = table["p_value"].isna(), table["n"] < FEW_SAMPLES
    tested = table[~undefined & ~few]
    adjusted = pd.Series(np.nan, index=table.index)
    for _, rows in tested.groupby("family", sort=False):
        adjusted[rows.index] = holm(rows["p_value"].to_numpy())
    found = adjusted <= level
    verdicts = np.select(
        [undefined, few, found & (table["value"] > 0), found & (table["value"] < 0)],
        [UNDEFINED, FEW, LARGER, SMALLER],
        OPEN,
    )
    sizes = table["family"].map(tested["family"].value_counts()).fillna(0).astype(int)
    return table.assign(p_adjusted=adjusted, family_size=sizes, verdict=verdicts)


def _warn_of_few_replicates(size: int, options: BootstrapOptions) -> None:
    needed = int(np.ceil(2 * size / (1 - options.confidence)))
    if options.replicates < needed:
        warnings.warn(
            f"replicates={options.replicates} cannot settle anything in a family of {size} differences: no p-value can "
            f"be small enough; use at least {needed}",
            FairkdWarning,
            stacklevel=3,
        )
