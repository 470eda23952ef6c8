"""Small multiples of rows: one panel a metric, one row a model (or class), a dot or bar with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import plotly.graph_objects as go

from fairkd.plots.panels import (
    error_bars,
    heading,
    heading_width,
    name_rows,
    panels,
    reference_line,
    say_missing,
)
from fairkd.plots.text import line_count
from fairkd.plots.theme import ACCENT, SMALL, TEXT, Style


@dataclass(frozen=True)
class Mark:
    """One value in a panel. ``name``, ``hover`` and ``text`` are escaped already.

    ``row`` counts from the top; a fraction puts several marks side by side in one row.
    """

    row: float
    value: float
    low: float = math.nan
    high: float = math.nan
    style: Style = ACCENT
    name: str = ""
    hover: str = ""
    hollow: bool = False
    text: str = ""


@dataclass
class Panel:
    """A heading, the unit on the x axis, and the marks; heading and unit are plain text."""

    heading: str
    unit: str
    marks: list[Mark] = field(default_factory=list)


class RowPanels(NamedTuple):
    """A figure that is not yet finished, its plotting height in pixels, and the lines of its headings."""

    fig: go.Figure
    height: float
    headings: int


def row_panels(
    items: Sequence[Panel],
    row_names: Sequence[str],
    rows_title: str,
    *,
    kind: Literal["dot", "bar"] = "dot",
    row_height: float = 34,
    heading_limit: int = 16,
    same_scale: bool = False,
    zero_line: bool = False,
) -> RowPanels:
    """Draw panels of named rows, in two columns; the left edge carries the rows' names, already escaped.

    ``heading_limit`` is the number of characters that a heading may have beside long names of rows.
    """
    columns = min(2, len(items))
    width = min(heading_limit, heading_width(columns)) if columns > 1 else heading_width(1)
    headings = line_count((panel.heading for panel in items), width)
    fig, height = panels(
        [max(row_height * len(row_names), 46)] * math.ceil(len(items) / columns),
        columns=columns,
        gap=66 + 17 * headings,
        column_gap=0.07,
        shared_yaxes=True,
        shared_xaxes="all" if same_scale else False,
    )
    for position, panel in enumerate(items):
        row, column = position // columns + 1, position % columns + 1
        for mark in panel.marks:
            _draw(fig, mark, kind, row, column)
        name_rows(fig, row_names, row=row, col=column)
        fig.update_xaxes(
            title_text=panel.unit,
            nticks=4,
            tickangle=0,
            tickfont={"size": 11},
            showticklabels=True,
            row=row,
            col=column,
        )
        heading(fig, panel.heading, row, column, width=width)
        if zero_line:
            reference_line(fig, x=0, dash="solid", row=row, col=column)
        if kind == "bar":
            _leave_room(fig, panel, row, column)
    fig.update_yaxes(title_text=rows_title, col=1)
    return RowPanels(fig, height, headings)


def _draw(fig: go.Figure, mark: Mark, kind: str, row: int, column: int) -> None:
    if math.isnan(mark.value):
        # The row keeps its place, and says why it is empty.
        say_missing(fig, 0.5, mark.row, row=row, col=column)
        fig.layout.annotations[-1].xref += " domain"
    if kind == "dot":
        fig.add_trace(_dot(mark), row=row, col=column)
    else:
        fig.add_trace(_bar(mark), row=row, col=column)
        fig.add_trace(_number_at_end(mark), row=row, col=column)


def _dot(mark: Mark) -> go.Scatter:
    return go.Scatter(
        x=[mark.value],
        y=[mark.row],
        mode="markers",
        marker=mark.style.marker(hollow=mark.hollow),
        error_x=error_bars(mark.value, mark.low, mark.high, mark.style.color),
        name=mark.name,
        hovertext=[mark.hover],
        hoverinfo="text",
        showlegend=False,
    )


def _bar(mark: Mark) -> go.Bar:
    return go.Bar(
        x=[mark.value],
        y=[mark.row],
        orientation="h",
        width=0.62,
        marker={"color": mark.style.color},
        error_x=error_bars(mark.value, mark.low, mark.high, TEXT),
        name=mark.name,
        hovertext=[mark.hover],
        hoverinfo="text",
        showlegend=False,
    )


def _number_at_end(mark: Mark) -> go.Scatter:
    """Return the bar's number, to the right of the bar and of its interval."""
    return go.Scatter(
        x=[np.fmax(mark.value, mark.high)],
        y=[mark.row],
        mode="text",
        text=[f" {mark.text}"],
        textposition="middle right",
        textfont={"size": SMALL},
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )


def _leave_room(fig: go.Figure, panel: Panel, row: int, column: int) -> None:
    """Let bars start at zero and leave a third of the panel for the numbers at their ends."""
    ends = np.array([[mark.value, mark.high] for mark in panel.marks], dtype=float)
    top = 0.0 if np.isnan(ends).all() else float(np.nanmax(ends))
    fig.update_xaxes(range=[0, (top or 1.0) * 1.6], nticks=4, row=row, col=column)
