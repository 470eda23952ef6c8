"""Accuracy against disparity: between models, and along the adversary's weight."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fairkd.plots.panels import (
    bubble_sizes,
    error_bars,
    heading,
    levels,
    numbers,
    panels,
    reference_line,
    require,
    require_one_row_each,
    ring,
)
from fairkd.plots.text import ARROWS, count, escape, estimate, lines, metric, model_label, quantity, shorten
from fairkd.plots.theme import MODEL_STYLES, SMALL, Style, finish, model_styles

#: Diameters in pixels: where no size is shown, and the range where one is.
_MARKER = 13.0
_TRADED = ("accuracy", "recall_gap")


def accuracy_versus_disparity(
    table: pd.DataFrame,
    *,
    disparity: str = "recall_gap",
    size: str | None = None,
    title: str | None = None,
) -> go.Figure:
    """Place models by accuracy and disparity; up and to the left is better.

    Args:
        table: a row a model: ``model, accuracy, disparity`` and, if known, ``accuracy_low``,
            ``accuracy_high``, ``disparity_low``, ``disparity_high``, ``n``.
        disparity: the metric behind the column ``disparity``, for the axis title; lower is better.
        size: a column whose value the symbols' area shows, for example ``param_count``.
        title: plain text.

    Raises:
        DataError: a column is missing, or a model occurs twice.
    """
    columns = ["model", "accuracy", "disparity", *([size] if size else [])]
    require(table, columns, "accuracy_versus_disparity")
    require_one_row_each(table, ["model"], "accuracy_versus_disparity")
    styles = model_styles(levels(table["model"]))
    sizes = bubble_sizes(numbers(table, size)[0]) if size else np.full(len(table), _MARKER)
    fig, height = panels([380])
    for position, model in enumerate(table["model"]):
        marker = styles[model].marker(float(sizes[position]))
        fig.add_trace(_model_point(table.iloc[[position]], model, marker, disparity, size))
    name_tradeoff_axes(fig, disparity)
    return finish(
        fig,
        title or f"Accuracy against {metric(disparity).label}",
        plot_height=height,
        note=f"Area of the symbols: {metric(size).label}" if size else "",
        headings=1,
        legend=len(table),
    )


def adversary_weight_curve(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show accuracy and recall gap along the adversary's weight, in two panels over one axis.

    Args:
        table: a row a weight: ``adversary_weight, accuracy, recall_gap`` and, if known, ``<metric>_low``,
            ``<metric>_high``, ``n`` and the boolean ``selected``. Weights are spaced evenly, zero included.
        title: plain text.

    Raises:
        DataError: a column is missing, or a weight occurs twice.
    """
    require(table, ["adversary_weight", *_TRADED], "adversary_weight_curve")
    require_one_row_each(table, ["adversary_weight"], "adversary_weight_curve")
    rows = table.sort_values("adversary_weight").reset_index(drop=True)
    fig, height = panels([190, 190], gap=44, shared_xaxes=True)
    for row, name in enumerate(_TRADED, 1):
        fig.add_trace(_weight_line(rows, name, MODEL_STYLES["student_fair"]), row=row, col=1)
        heading(fig, metric(name).heading, row)
        fig.update_yaxes(title_text=metric(name).unit, row=row, col=1)
    selected = _mark_selected(fig, rows)
    fig.update_xaxes(
        tickvals=list(range(len(rows))),
        ticktext=[f"{weight:g}" for weight in rows["adversary_weight"]],
        range=[-0.4, len(rows) - 0.6],
    )
    fig.update_xaxes(title_text="adversary weight (evenly spaced)", row=2, col=1)
    return finish(
        fig,
        title or "What the adversary's weight trades",
        plot_height=height,
        note=ARROWS,
        headings=1,
        legend=int(selected),
    )


def name_tradeoff_axes(fig: go.Figure, disparity: str) -> None:
    """Name the axes of a figure of accuracy against a disparity, and say where better is."""
    fig.add_annotation(
        xref="paper",
        x=0,
        xanchor="left",
        yref="paper",
        y=1,
        yanchor="bottom",
        text="↖ better: more accurate, less disparity",
        showarrow=False,
        font={"size": SMALL},
    )
    fig.update_xaxes(title_text=f"{escape(metric(disparity).label)} ({metric(disparity).unit})")
    fig.update_yaxes(title_text="accuracy (share)")


def _model_point(
    row: pd.DataFrame, model: object, marker: dict[str, object], disparity: str, size: str | None
) -> go.Scatter:
    accuracy, accuracy_low, accuracy_high = numbers(row, "accuracy", "accuracy_low", "accuracy_high")
    gap, gap_low, gap_high = numbers(row, "disparity", "disparity_low", "disparity_high")
    color = str(marker["color"])
    hover = lines(
        escape(model_label(model)),
        f"accuracy {estimate(accuracy[0], accuracy_low[0], accuracy_high[0])}",
        f"{escape(metric(disparity).label)} {estimate(gap[0], gap_low[0], gap_high[0])}",
        f"{escape(metric(size).label)} {quantity(numbers(row, size)[0][0])}" if size else "",
        count(numbers(row, "n")[0][0]),
    )
    return go.Scatter(
        x=gap,
        y=accuracy,
        mode="markers",
        marker=marker,
        error_x=error_bars(gap, gap_low, gap_high, color),
        error_y=error_bars(accuracy, accuracy_low, accuracy_high, color),
        name=shorten(model_label(model), 32),
        hovertext=[hover],
        hoverinfo="text",
    )


def _weight_line(rows: pd.DataFrame, name: str, style: Style) -> go.Scatter:
    value, low, high, n = numbers(rows, name, f"{name}_low", f"{name}_high", "n")
    label, weights = metric(name).label, rows["adversary_weight"]
    return go.Scatter(
        x=list(range(len(rows))),
        y=value,
        mode="lines+markers",
        line={"color": style.color, "width": 2},
        marker=style.marker(9),
        error_y=error_bars(value, low, high, style.color),
        name=label,
        showlegend=False,
        hovertext=[
            lines(f"weight {weights[i]:g}", f"{label} {estimate(value[i], low[i], high[i])}", count(n[i]))
            for i in range(len(rows))
        ],
        hoverinfo="text",
    )


def _mark_selected(fig: go.Figure, rows: pd.DataFrame) -> bool:
    """Draw a line and rings at the selected weight; return whether there is one."""
    if "selected" not in rows.columns or not rows["selected"].eq(True).any():
        return False
    place = int(rows["selected"].eq(True).to_numpy().argmax())
    for row, name in enumerate(_TRADED, 1):
        text = f"selected: weight {rows['adversary_weight'][place]:g}" if row == 1 else ""
        reference_line(fig, x=place, name=text, dash="dot", row=row, col=1)
        ring(fig, place, float(rows[name][place]), row=row)
    return True
