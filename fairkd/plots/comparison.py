"""Models side by side: metrics with intervals, size and speed, and paired differences (bias inflation)."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from fairkd.errors import DataError
from fairkd.plots.multiples import Mark, Panel, row_panels
from fairkd.plots.panels import levels, numbers, overall, require, require_one_row_each
from fairkd.plots.text import (
    ARROWS,
    count,
    escape,
    estimate,
    lines,
    metric,
    model_label,
    quantity,
    shorten,
    wrap,
)
from fairkd.plots.theme import ACCENT, Style, finish, model_styles

_COSTS = ("param_count", "macs", "latency_ms", "weights_mb")
_DIFFERENCES = ("model", "baseline", "metric", "value", "low", "high", "supported")
_SUPPORT = {"supported: interval excludes 0": False, "not supported: interval includes 0": True}


def metric_comparison(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Compare models by several metrics: a dot and its interval, one panel a metric.

    Args:
        table: tidy rows ``model, metric, value, low, high``, one a model and metric; ``definition`` and ``n``
            appear on hover. Where there are columns ``class`` and ``group``, only the rows of all classes and
            groups are drawn.
        title: plain text.

    Raises:
        DataError: a column is missing, or a model has two values of one metric.
    """
    table = overall(table)
    require(table, ["model", "metric", "value", "low", "high"], "metric_comparison")
    require_one_row_each(table, ["model", "metric"], "metric_comparison")
    models = levels(table["model"])
    styles = model_styles(models)
    items = []
    for name in levels(table["metric"]):
        rows = _records(table[table["metric"] == name])
        marks = [_metric_mark(row, models.index(row["model"]), styles[row["model"]]) for row in rows]
        items.append(Panel(metric(name).heading, metric(name).unit, marks))
    drawn = row_panels(items, _model_names(models), "model")
    return finish(
        drawn.fig,
        title or "Models compared",
        plot_height=drawn.height,
        note=f"Lines are intervals. {ARROWS}",
        headings=drawn.headings,
    )


def efficiency_bars(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Compare the models' size and speed, one panel a cost.

    Args:
        table: a row a model, with at least one of ``param_count``, ``macs`` (multiply-accumulates an image),
            ``latency_ms`` and ``weights_mb``; ``<cost>_low`` and ``<cost>_high`` are drawn as intervals.
        title: plain text.

    Raises:
        DataError: no cost column, or a model occurs twice.
    """
    require(table, ["model"], "efficiency_bars")
    require_one_row_each(table, ["model"], "efficiency_bars")
    costs = [name for name in _COSTS if name in table.columns]
    if not costs:
        raise DataError(f"efficiency_bars: the table has none of the columns {', '.join(_COSTS)}")
    models = list(table["model"])
    styles = model_styles(models)
    items = []
    for name in costs:
        columns = numbers(table, name, f"{name}_low", f"{name}_high")
        marks = [
            _cost_mark(name, place, model, styles[model], *values)
            for place, (model, *values) in enumerate(zip(models, *columns, strict=True))
        ]
        items.append(Panel(metric(name).label, metric(name).unit, marks))
    drawn = row_panels(items, _model_names(models), "model", kind="bar")
    return finish(
        drawn.fig, title or "Size and speed of the models", plot_height=drawn.height, headings=drawn.headings
    )


def inflation_chart(comparisons: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show paired differences between models, one panel a metric: a forest plot with the zero line.

    Args:
        comparisons: tidy rows ``model, baseline, metric, value, low, high, supported``; value is model minus
            baseline. Rows of one ``class`` are left out; :func:`inflation_forest` draws such rows. Symbols are
            filled where ``supported`` (the interval excludes zero), open where not.
        title: plain text.

    Raises:
        DataError: a column is missing, no row is left, or a difference occurs twice.
    """
    rows = overall(comparisons)
    require(rows, _DIFFERENCES, "inflation_chart")
    require_one_row_each(rows, ["model", "baseline", "metric"], "inflation_chart")
    pairs = list(dict.fromkeys(zip(rows["model"], rows["baseline"], strict=True)))
    styles = model_styles(levels(rows["model"]))
    items = []
    for name in levels(rows["metric"]):
        marks = [
            _difference_mark(row, pairs.index((row["model"], row["baseline"])), styles[row["model"]])
            for row in _records(rows[rows["metric"] == name])
        ]
        items.append(Panel(metric(name).heading, "difference", marks))
    names = [
        f"{shorten(model_label(model), 22)}<br>− {shorten(model_label(baseline), 22)}"
        for model, baseline in pairs
    ]
    drawn = row_panels(
        items, names, "model − baseline", row_height=40, heading_limit=12, same_scale=True, zero_line=True
    )
    _explain_symbols(drawn.fig)
    return finish(
        drawn.fig,
        title or "Differences between models, paired",
        plot_height=drawn.height,
        note=ARROWS,
        headings=drawn.headings,
        legend=len(_SUPPORT),
    )


def _records(table: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Return the rows as dicts with floats in the number columns, NaN where the table has none."""
    names = ("value", "low", "high", "n")
    filled = table.assign(**dict(zip(names, numbers(table, *names), strict=True)))
    return [dict(row) for row in filled.to_dict("records")]


def _model_names(models: list[Hashable]) -> list[str]:
    return [wrap(model_label(model), 14, max_lines=2) for model in models]


def _metric_mark(row: dict[Hashable, Any], place: int, style: Style) -> Mark:
    definition = row.get("definition")
    name, label = escape(model_label(row["model"])), escape(metric(row["metric"]).label)
    return Mark(
        row=place,
        value=row["value"],
        low=row["low"],
        high=row["high"],
        style=style,
        name=name,
        hover=lines(
            name,
            f"{label} {estimate(row['value'], row['low'], row['high'])}",
            count(row["n"]),
            wrap(definition, 48) if isinstance(definition, str) else "",
        ),
    )


def _cost_mark(
    cost: str, place: int, model: Hashable, style: Style, value: float, low: float, high: float
) -> Mark:
    name = escape(model_label(model))
    interval = "" if math.isnan(low) else f" [{quantity(low)}, {quantity(high)}]"
    return Mark(
        row=place,
        value=value,
        low=low,
        high=high,
        style=style,
        name=name,
        text="" if math.isnan(value) else quantity(value),
        hover=lines(name, f"{metric(cost).label} {value:,.6g}{interval} {metric(cost).unit}"),
    )


def _difference_mark(row: dict[Hashable, Any], place: int, style: Style) -> Mark:
    supported = bool(pd.notna(row["supported"]) and row["supported"])
    pair = escape(f"{model_label(row['model'])} − {model_label(row['baseline'])}")
    return Mark(
        row=place,
        value=row["value"],
        low=row["low"],
        high=row["high"],
        style=style,
        name=pair,
        hollow=not supported,
        hover=lines(
            pair,
            f"{escape(metric(row['metric']).label)} {estimate(row['value'], row['low'], row['high'])}",
            "supported" if supported else "not supported",
            count(row["n"]),
        ),
    )


def _explain_symbols(fig: go.Figure) -> None:
    """Add legend entries for filled and open symbols."""
    for text, hollow in _SUPPORT.items():
        marker = ACCENT.marker(hollow=hollow)
        fig.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=text))
