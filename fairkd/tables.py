"""Tables that the notebooks show, made of evaluations and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fairkd.evaluation import evaluate
from fairkd.metrics import METRICS
from fairkd.predictions import Predictions
from fairkd.shown import signed

#: What stands for a verdict of :func:`fairkd.analysis.inflation` in a table.
SYMBOLS = {"larger": "▲", "smaller": "▼", "not settled": "○", "too few samples": "✕", "undefined": "✕"}
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


def overview(
    evaluation: pd.DataFrame, changes: pd.DataFrame, metrics: Sequence[str] = tuple(METRICS)
) -> pd.DataFrame:
    """Return one row a metric: n, each model's ``value (low–high)``, and each difference with its verdict's symbol.

    Args:
        evaluation: :func:`evaluate_models`'s rows.
        changes: :func:`fairkd.analysis.inflation`'s rows.
        metrics: the rows.

    Returns:
        Text; the columns of differences are named ``model − baseline``, their symbols are those of :data:`SYMBOLS`.
    """
    wide = headline(evaluation, metrics).T
    sizes = overall(evaluation, metrics).drop_duplicates("metric").set_index("metric")["n"]
    wide.insert(0, "n", [f"{sizes[name]:,}" for name in metrics if name in sizes])
    rows = changes[changes["level"] == "overall"]
    for (model, baseline), pair in rows.groupby(["model", "baseline"], sort=False):
        by_metric = pair.set_index("metric")
        wide[f"{model} − {baseline}"] = [
            _change(by_metric.loc[name]) for name in metrics if name in by_metric.index
        ]
    arrows = {"higher": " ↑", "lower": " ↓", "": ""}
    return wide.rename(
        index={METRICS[name].title: METRICS[name].title + arrows[METRICS[name].better] for name in metrics}
    )


def _change(row: pd.Series) -> str:
    symbol = SYMBOLS[row["verdict"]]
    if row["value"] == row["low"] == row["high"] == 0:
        return "= 0"
    if row["verdict"] in ("too few samples", "undefined"):
        return f"{symbol} {row['verdict']}"
    return f"{symbol} {signed(row['value'])}"


def _estimate(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return "n/a"
    return f"{value:.3f}" if np.isnan(low) else f"{value:.3f} ({low:.3f}–{high:.3f})"
