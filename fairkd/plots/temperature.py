"""What the temperature of distillation does to accuracy and disparity."""

from __future__ import annotations

import math
from collections.abc import Hashable

import pandas as pd
import plotly.graph_objects as go

from fairkd.plots.panels import (
    error_bars,
    heading,
    levels,
    numbers,
    panels,
    reference_line,
    require,
    require_one_row_each,
    ring,
    say_missing,
)
from fairkd.plots.text import ARROWS, count, escape, estimate, lines, metric, number, shorten
from fairkd.plots.theme import Style, finish, group_styles

#: By so much the splits lie apart on the log axis, so that their intervals do not cover each other.
_APART = 1.035


def temperature_study(
    table: pd.DataFrame, *, calibration_temperature: float | None = None, title: str | None = None
) -> go.Figure:
    """Show each metric of the distilled students over the temperature (log axis), a panel a metric, a line a split.

    Args:
        table: tidy rows ``temperature, metric, value`` and, if known, ``split, low, high, n`` and the boolean ``own``,
            true at the temperature of the run, which is marked.
        calibration_temperature: the one that calibrates the teacher, marked by a vertical line.
        title: plain text.

    Raises:
        DataError: a column is missing, or a metric has two values at one temperature of a split.
    """
    require(table, ["temperature", "metric", "value"], "temperature_study")
    table = table if "split" in table.columns else table.assign(split="test")
    require_one_row_each(table, ["split", "metric", "temperature"], "temperature_study")
    metrics, splits = levels(table["metric"]), levels(table["split"])
    styles = group_styles(splits)
    fig, height = panels([170] * len(metrics), gap=46, shared_xaxes=True)
    for row, name in enumerate(metrics, 1):
        known = metric(name)
        heading(fig, known.heading, row)
        fig.update_yaxes(title_text=escape(known.unit), nticks=5, row=row, col=1)
        for place, split in enumerate(splits):
            rows = table[(table["metric"] == name) & (table["split"] == split)].sort_values("temperature")
            shift = _APART ** (place - (len(splits) - 1) / 2)
            fig.add_trace(_line(rows, name, split, styles[split], shift, first=row == 1), row=row, col=1)
            _mark(fig, rows, shift, row)
        if table.loc[table["metric"] == name, "value"].isna().all():
            say_missing(fig, 0.5, 0.5, row=row, col=1)
            axis = "" if row == 1 else str(row)
            fig.layout.annotations[-1].update(xref=f"x{axis} domain", yref=f"y{axis} domain")
    marked = _references(fig, table, calibration_temperature)
    _name_temperatures(fig, sorted(table["temperature"].unique()), calibration_temperature, len(metrics))
    note = f"{ARROWS}. Intervals: sampling of the images, not of the training"
    return finish(
        fig,
        title or "What the temperature of distillation trades",
        plot_height=height,
        note=note,
        headings=1,
        legend=len(splits) + marked,
    )


def _line(
    rows: pd.DataFrame, name: Hashable, split: Hashable, style: Style, shift: float, *, first: bool
) -> go.Scatter:
    temperature, value, low, high, n = numbers(rows, "temperature", "value", "low", "high", "n")
    label = escape(metric(name).label)
    return go.Scatter(
        x=temperature * shift,
        y=value,
        mode="lines+markers",
        line=style.line(),
        marker=style.marker(9),
        error_y=error_bars(value, low, high, style.color),
        name=f"{shorten(split, 20)} data",
        legendgroup=str(escape(split)),
        showlegend=first,
        hovertext=[
            lines(
                f"temperature {temperature[i]:g}, {escape(split)} data",
                f"{label} {estimate(value[i], low[i], high[i])}",
                count(n[i]),
            )
            for i in range(len(rows))
        ],
        hoverinfo="text",
    )


def _mark(fig: go.Figure, rows: pd.DataFrame, shift: float, row: int) -> None:
    """Ring the run's own student."""
    if "own" in rows.columns:
        for temperature, value in rows.loc[rows["own"].eq(True), ["temperature", "value"]].to_numpy(
            dtype=float
        ):
            if not math.isnan(value):
                ring(fig, temperature * shift, value, row=row)


def _references(fig: go.Figure, table: pd.DataFrame, calibration: float | None) -> int:
    """Draw the run's temperature and the teacher's calibrating one into every panel; return how many there are."""
    own = (
        table.loc[table["own"].eq(True), "temperature"] if "own" in table.columns else pd.Series(dtype=float)
    )
    marks = [(float(own.iloc[0]), "dot", f"this run: T = {own.iloc[0]:g}")] if len(own) else []
    if calibration is not None:
        marks.append((calibration, "dash", f"calibrates the teacher: T = {number(calibration, 2)}"))
    for place, dash, name in marks:
        for row in range(1, 1 + table["metric"].nunique()):
            reference_line(fig, x=place, name=name if row == 1 else "", dash=dash, row=row, col=1)
    return len(marks)


def _name_temperatures(
    fig: go.Figure, temperatures: list[float], calibration: float | None, depth: int
) -> None:
    """Label the temperatures that were tried, and leave some room beside them."""
    shown = [*temperatures, *([] if calibration is None else [calibration])]
    room = 0.08 + 0.04 * math.log10(max(shown) / min(shown))
    fig.update_xaxes(
        type="log",
        tickmode="array",
        tickvals=temperatures,
        ticktext=[f"{temperature:g}" for temperature in temperatures],
        range=[math.log10(min(shown)) - room, math.log10(max(shown)) + room],
    )
    fig.update_xaxes(title_text="temperature of distillation (log scale)", row=depth, col=1)
