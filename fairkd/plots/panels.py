"""Small helpers that the figures share: checks of tables, panels, intervals, tick labels, reference lines."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fairkd.errors import DataError
from fairkd.plots.text import shorten, wrap
from fairkd.plots.theme import FONT_SIZE, SMALL, TEXT

#: Characters that fit side by side above the plotting area of a phone, 390 pixels wide.
_CHARACTERS_ON_A_PHONE = 42
#: What stands in the columns ``class`` and ``group`` where a value is of all of them.
ALL = "all"


def require(table: pd.DataFrame, columns: Sequence[str], figure: str) -> None:
    """Check that ``table`` has rows and ``columns``.

    Raises:
        DataError: a column is missing or there is no row; names the figure and what it needs.
    """
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(f"{figure}: the table lacks the columns {missing}; needed: {', '.join(columns)}")
    if table.empty:
        raise DataError(f"{figure}: the table has no rows; needed: at least one with {', '.join(columns)}")


def require_one_row_each(table: pd.DataFrame, keys: Sequence[str], figure: str) -> None:
    """Check that no two rows share ``keys``: a figure must not draw one value over another.

    Raises:
        DataError: two rows share the keys; names them.
    """
    repeated = table.duplicated(list(keys))
    if repeated.any():
        first = ", ".join(f"{key}={table.loc[repeated, key].iloc[0]!r}" for key in keys)
        raise DataError(f"{figure}: several rows for {first}; keep one row for each {' x '.join(keys)}")


def levels(column: pd.Series) -> list[Hashable]:
    """Return the distinct values: in their order if categorical, else in order of appearance."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        present = set(column.dropna())
        return [value for value in column.cat.categories if value in present]
    return list(column.dropna().unique())


def overall(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are of all classes and groups: those columns are absent, missing or ``"all"``."""
    for name in ("class", "group"):
        if name in table.columns:
            table = table[table[name].isna() | (table[name].astype(str) == ALL)]
    return table


def breakdown(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return the rows that name a value in each of ``columns``, leaving those of all values out.

    A data set's only group may itself be called "all": where nothing else is left, such rows stay.
    """
    for name in columns:
        named = table[name].notna()
        proper = named & (table[name].astype(str) != ALL)
        table = table[proper if proper.any() else named]
    return table


def numbers(table: pd.DataFrame, *names: str) -> tuple[np.ndarray, ...]:
    """Return columns as floats ``(n,)``, all NaN for a column that the table lacks."""
    return tuple(
        table[name].to_numpy(dtype=float, na_value=math.nan)
        if name in table.columns
        else np.full(len(table), math.nan)
        for name in names
    )


def error_bars(value: Any, low: Any, high: Any, color: str) -> dict[str, Any] | None:
    """Return plotly's error bars from ``low`` to ``high``, or ``None`` where no interval is known."""
    value, low, high = (np.atleast_1d(np.asarray(item, dtype=float)) for item in (value, low, high))
    if np.isnan(low).all() or np.isnan(high).all():
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": high - value,
        "arrayminus": value - low,
        "color": color,
        "thickness": 1.8,
        "width": 5,
    }


def panels(
    heights: Sequence[float], *, columns: int = 1, gap: float = 56, column_gap: float = 0.06, **options: Any
) -> tuple[go.Figure, float]:
    """Return a grid of panels and its height in pixels. ``heights`` and ``gap`` are in pixels."""
    total = sum(heights) + gap * (len(heights) - 1)
    fig = make_subplots(
        rows=len(heights),
        cols=columns,
        row_heights=list(heights),
        vertical_spacing=gap / total if len(heights) > 1 else 0,
        horizontal_spacing=column_gap if columns > 1 else 0,
        **options,
    )
    return fig, total


def heading_width(columns: int) -> int:
    """Return how many characters a heading over one of so many columns may have on a phone."""
    return {1: _CHARACTERS_ON_A_PHONE, 2: 16, 3: 12}.get(columns, 10)


def heading(fig: go.Figure, text: str, row: int = 1, column: int = 1, *, width: int = 42) -> None:
    """Write plain ``text`` above a panel, at its left edge, in lines of at most ``width`` characters."""
    subplot = fig.get_subplot(row, column)
    x, y = (axis.plotly_name.replace("axis", "") for axis in (subplot.xaxis, subplot.yaxis))
    fig.add_annotation(
        xref=f"{x} domain",
        x=0,
        xanchor="left",
        xshift=-2,
        yref=f"{y} domain",
        y=1,
        yanchor="bottom",
        yshift=3,
        align="left",
        text=wrap(text, width),
        showarrow=False,
        font={"size": FONT_SIZE if width > 12 else SMALL, "weight": 600},
    )


def name_rows(fig: go.Figure, names: Sequence[str], **where: Any) -> None:
    """Label the rows 0, 1, ... of the y axis, first row on top. ``names`` are escaped already."""
    fig.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(names))),
        ticktext=list(names),
        range=[len(names) - 0.5, -0.5],
        showgrid=False,
        **where,
    )


def name_columns(fig: go.Figure, names: Sequence[object], columns: int | None = None, **where: Any) -> None:
    """Label the columns 0, 1, ... of the x axis; the labels turn where they would touch.

    ``columns`` counts those of all panels side by side; default: there is one panel.
    """
    limit = _column_limit(columns or len(names))
    fig.update_xaxes(
        tickmode="array",
        tickvals=list(range(len(names))),
        ticktext=[shorten(name, limit) for name in names],
        range=[-0.5, len(names) - 0.5],
        autotickangles=[0, -45, -90],
        showgrid=False,
        **where,
    )


def column_label_height(names: Sequence[object], columns: int) -> float:
    """Return the pixels that labels of ``columns`` columns may need on a phone, where they turn."""
    longest = max(min(len(str(name)), _column_limit(columns)) for name in names)
    return 20 if (longest + 1) * columns <= _CHARACTERS_ON_A_PHONE else 20 + 4.5 * longest


def _column_limit(columns: int) -> int:
    """Return how many characters of a column's name are shown; the hover has all of it."""
    return 16 if columns > 3 else 24


def reference_line(
    fig: go.Figure,
    *,
    x: float | None = None,
    y: float | None = None,
    name: str = "",
    dash: str = "dash",
    **where: Any,
) -> None:
    """Draw a neutral line across a panel at ``x`` or ``y``; a plain-text ``name`` puts it into the legend."""
    options = {"line": {"color": TEXT, "dash": dash, "width": 1.5}, "layer": "below", **where}
    if name:
        options.update(name=shorten(name, 60), showlegend=True)
    if x is not None:
        fig.add_vline(x=x, **options)
    else:
        fig.add_hline(y=y, **options)


def say_missing(fig: go.Figure, x: float, y: float, text: str = "n/a", **where: Any) -> None:
    """Write ``text`` where a value is missing, so that an empty place is not read as zero."""
    fig.add_annotation(x=x, y=y, text=text, showarrow=False, font={"size": 11, "color": TEXT}, **where)


def ring(fig: go.Figure, x: float, y: float, *, row: int) -> None:
    """Draw a ring around a point: the one that was selected."""
    marker = {"symbol": "circle-open", "size": 16, "color": TEXT, "line": {"width": 2.5}}
    point = go.Scatter(x=[x], y=[y], mode="markers", marker=marker, hoverinfo="skip", showlegend=False)
    fig.add_trace(point, row=row, col=1)


def bubble_sizes(values: np.ndarray, smallest: float = 10, largest: float = 32) -> np.ndarray:
    """Return diameters in pixels whose areas follow ``values``; NaN, and what would hardly be seen, is ``smallest``."""
    known = values[~np.isnan(values)]
    most = float(known.max()) if known.size else 0.0
    diameters: np.ndarray = largest * np.sqrt(np.nan_to_num(values) / (most or 1.0))
    return diameters.clip(smallest, largest)
