"""Tables that the notebooks show, made of evaluations and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fairkd.data.audit import wilson_interval
from fairkd.errors import DataError
from fairkd.evaluation import evaluate
from fairkd.metrics import METRICS
from fairkd.metrics.calibration import reliability_bins
from fairkd.predictions import Predictions

HEADLINE = ("accuracy", "worst_group_accuracy", "recall_gap", "recall_gap_max", "equalized_odds_difference")


def evaluate_models(models: Mapping[str, Predictions], **options: Any) -> pd.DataFrame:
    """Return :func:`fairkd.evaluate`'s rows for several models."""
    return pd.concat(
        [evaluate(one, model=name, **options) for name, one in models.items()], ignore_index=True
    )


def concat(*parts: pd.DataFrame) -> pd.DataFrame:
    """Put tables of the same columns under each other."""
    return pd.concat(parts, ignore_index=True)


def overall(table: pd.DataFrame, metrics: Sequence[str] = HEADLINE) -> pd.DataFrame:
    """Return the rows of all classes and groups together, for some metrics."""
    rows = table[(table["class"] == "all") & (table["group"] == "all")]
    return rows[rows["metric"].isin(metrics)]


def headline(table: pd.DataFrame, metrics: Sequence[str] = HEADLINE, *, index: str = "model") -> pd.DataFrame:
    """Return one row a model and one column a metric, as text: ``value (low–high)``."""
    rows = overall(table, metrics)
    text = [_estimate(*row) for row in rows[["value", "low", "high"]].itertuples(index=False)]
    wide = rows.assign(text=text).pivot(index=index, columns="metric", values="text")
    wide = wide.loc[list(dict.fromkeys(rows[index])), [name for name in metrics if name in wide]]
    titles = {name: METRICS[name].title for name in metrics}
    return wide.rename(columns=titles).rename_axis(index=None, columns=None)


def accuracy_and_disparity(table: pd.DataFrame, disparity: str = "recall_gap") -> pd.DataFrame:
    """Return a row a model: accuracy and one disparity, each with its limits, for the trade-off figure."""
    rows = overall(table, ("accuracy", disparity)).replace({"metric": {disparity: "disparity"}})
    wide = rows.pivot(index="model", columns="metric", values=["value", "low", "high"])
    flat = {
        name + suffix: wide[column, name]
        for name in ("accuracy", "disparity")
        for column, suffix in (("value", ""), ("low", "_low"), ("high", "_high"))
    }
    return pd.DataFrame(flat).loc[list(dict.fromkeys(rows["model"]))].reset_index()


def reliability_by_group(predictions: Predictions, bins: int = 10) -> pd.DataFrame:
    """Return the bins of a reliability diagram for each group, with Wilson's interval of the accuracy.

    Returns:
        Tidy rows ``group, confidence, accuracy, accuracy_low, accuracy_high, n``, empty bins left out.
    """
    parts = []
    for code, name in enumerate(predictions.group_names):
        rows = predictions.groups == code
        if rows.any():
            table = reliability_bins(predictions.labels[rows], predictions.probabilities[rows], bins=bins)
            parts.append(table[table["n"] > 0].assign(group=name))
    if not parts:
        raise DataError("reliability_by_group: no sample has a group")
    table = pd.concat(parts, ignore_index=True)
    n = table["n"].to_numpy()
    low, high = wilson_interval(np.rint(table["accuracy"].to_numpy() * n), n)
    return table.drop(columns=["low", "high"]).assign(accuracy_low=low, accuracy_high=high)


def _estimate(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return "n/a"
    return f"{value:.3f}" if np.isnan(low) else f"{value:.3f} ({low:.3f}–{high:.3f})"
