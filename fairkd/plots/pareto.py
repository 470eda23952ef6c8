"""Many models by accuracy and disparity: those that no other beats in both, and the rest in the background."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fairkd.plots.panels import (
    bubble_sizes,
    error_bars,
    levels,
    numbers,
    panels,
    require,
    require_one_row_each,
    ring,
)
from fairkd.plots.text import count, escape, estimate, lines, metric, model_label, quantity, shorten
from fairkd.plots.theme import ACCENT, LINE, MODEL_STYLES, SMALL, TEXT, finish, model_styles
from fairkd.plots.tradeoff import name_tradeoff_axes

_FRONT, _BEHIND = 13.0, 8.0


def pareto_front(
    table: pd.DataFrame,
    *,
    disparity: str = "recall_gap",
    size: str | None = None,
    title: str | None = None,
    note: str = "",
    front: str = "not beaten in both",
) -> go.Figure:
    """Place many models by accuracy and disparity; up and to the left is better.

    Args:
        table: a row a model: ``model, accuracy, disparity``, the boolean ``on_front`` (no other is at least as
            good in both and better in one), and, if known, ``accuracy_low``, ``accuracy_high``,
            ``disparity_low``, ``disparity_high``, ``n``. Models on the front and the four roles have a symbol
            of their own, the others are faded; the hover names each. Those with a true ``selected`` get a
            ring, those with a true ``chosen`` an arrow.
        disparity: the metric behind the column ``disparity``; lower is better.
        size: a column whose value the symbols' area shows, for example ``param_count``.
        title: plain text.
        note: plain text in smaller type, for example what the bars are.
        front: plain text, what the models on the front have in common.

    Each point carries its row's label in ``table`` as ``customdata``.

    Raises:
        DataError: a column is missing, or a model occurs twice.
    """
    columns = ["model", "accuracy", "disparity", "on_front", *([size] if size else [])]
    require(table, columns, "pareto_front")
    require_one_row_each(table, ["model"], "pareto_front")
    named = table["on_front"].astype(bool) | table["model"].isin(MODEL_STYLES)
    styles = model_styles(levels(table.loc[named, "model"]))
    fig, height = panels([420])
    _draw_front(fig, table[table["on_front"].astype(bool)], front)
    behind = table[~named]
    if len(behind):
        fig.add_trace(_behind(behind, disparity, size))
    sizes = bubble_sizes(numbers(table, size)[0]) if size else np.full(len(table), _FRONT)
    for place in np.flatnonzero(named):
        row = table.iloc[place]
        marker = styles[row["model"]].marker(float(sizes[place]))
        fig.add_trace(_point(row.to_frame().T, marker, disparity, size))
    if "selected" in table.columns:
        for _, row in table[table["selected"].eq(True)].iterrows():
            ring(fig, float(row["disparity"]), float(row["accuracy"]), row=1)
    if "chosen" in table.columns:
        for _, row in table[table["chosen"].eq(True)].iterrows():
            _point_at(fig, float(row["disparity"]), float(row["accuracy"]))
    name_tradeoff_axes(fig, disparity)
    area = f"Area of the symbols: {metric(size).label}." if size else ""
    return finish(
        fig,
        title or f"Accuracy against {metric(disparity).label}",
        plot_height=height,
        note=" ".join(part for part in (note, area) if part),
        headings=1,
        legend=int(named.sum()) + bool(len(behind)) + 1,
    )


def _draw_front(fig: go.Figure, front: pd.DataFrame, name: str) -> None:
    """Join the models that no other beats."""
    rows = front.sort_values(["disparity", "accuracy"])
    fig.add_trace(
        go.Scatter(
            x=rows["disparity"],
            y=rows["accuracy"],
            mode="lines",
            line={"color": LINE, "width": 1.5, "shape": "hv"},
            name=escape(name),
            hoverinfo="skip",
        )
    )


def _point_at(fig: go.Figure, x: float, y: float) -> None:
    """Name the point that is looked at, by an arrow from below: better models leave that side free."""
    arrow = {"arrowcolor": TEXT, "arrowhead": 2, "arrowwidth": 1.5, "standoff": 9, "ax": 26, "ay": 34}
    fig.add_annotation(x=x, y=y, text="chosen", showarrow=True, font={"size": SMALL}, **arrow)


def _behind(rows: pd.DataFrame, disparity: str, size: str | None) -> go.Scatter:
    return go.Scatter(
        x=rows["disparity"],
        y=rows["accuracy"],
        mode="markers",
        marker={"color": ACCENT.color, "symbol": "circle", "size": _BEHIND, "opacity": 0.45},
        name="others (hover for the name)",
        customdata=list(rows.index),
        hovertext=[_hover(row, disparity, size) for _, row in rows.iterrows()],
        hoverinfo="text",
    )


def _point(row: pd.DataFrame, marker: dict[str, object], disparity: str, size: str | None) -> go.Scatter:
    accuracy, accuracy_low, accuracy_high = numbers(row, "accuracy", "accuracy_low", "accuracy_high")
    gap, gap_low, gap_high = numbers(row, "disparity", "disparity_low", "disparity_high")
    color = str(marker["color"])
    return go.Scatter(
        x=gap,
        y=accuracy,
        mode="markers",
        marker=marker,
        error_x=error_bars(gap, gap_low, gap_high, color),
        error_y=error_bars(accuracy, accuracy_low, accuracy_high, color),
        name=shorten(model_label(row["model"].iloc[0]), 36),
        customdata=list(row.index),
        hovertext=[_hover(row.iloc[0], disparity, size)],
        hoverinfo="text",
    )


def _hover(row: pd.Series, disparity: str, size: str | None) -> str:
    table = row.to_frame().T
    accuracy, accuracy_low, accuracy_high = (
        float(column[0]) for column in numbers(table, "accuracy", "accuracy_low", "accuracy_high")
    )
    gap, gap_low, gap_high = (
        float(column[0]) for column in numbers(table, "disparity", "disparity_low", "disparity_high")
    )
    return lines(
        escape(model_label(row["model"])),
        f"accuracy {estimate(accuracy, accuracy_low, accuracy_high)}",
        f"{escape(metric(disparity).label)} {estimate(gap, gap_low, gap_high)}",
        f"{escape(metric(size).label)} {quantity(numbers(table, size)[0][0])}" if size else "",
        count(numbers(table, "n")[0][0]),
    )
