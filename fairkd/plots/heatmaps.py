"""Annotated tables as heat maps: class by group counts, accuracy by group, recall by class and group."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fairkd.errors import DataError
from fairkd.plots.panels import (
    ALL,
    breakdown,
    column_label_height,
    heading,
    heading_width,
    levels,
    name_columns,
    name_rows,
    numbers,
    panels,
    require,
    require_one_row_each,
    say_missing,
)
from fairkd.plots.text import (
    count,
    escape,
    estimate,
    line_count,
    lines,
    metric,
    model_label,
    number,
    shorten,
    wrap,
)
from fairkd.plots.theme import SEQUENTIAL, finish

#: Widest table that still shows two decimals in each cell on a phone.
_COLUMNS_ON_A_PHONE = 8
#: Up to so many groups, a cell has room for more than one number on a phone.
_ROOMY = 3
#: With fewer samples than this a cell says how many it has.
_FEW = 30
#: Share of the colour scale above which white text contrasts more than near black does.
_WHITE_TEXT_ABOVE = 0.73


@dataclass
class _Grid:
    """A table of values ``(rows, columns)`` with the text in each cell and its hover."""

    values: np.ndarray
    texts: np.ndarray
    hovers: np.ndarray

    @classmethod
    def empty(cls, rows: int, columns: int) -> _Grid:
        return cls(
            np.full((rows, columns), math.nan),
            np.full((rows, columns), "", dtype=object),
            np.full((rows, columns), "", dtype=object),
        )


def contingency_heatmap(
    counts: pd.DataFrame,
    *,
    split: str = "train",
    label_name: str = "class",
    group_name: str = "group",
    title: str | None = None,
) -> go.Figure:
    """Show how each class divides among the groups, in one split.

    Args:
        counts: tidy rows ``split, class, group, n``, as :meth:`Splits.counts` returns them.
        split: which split to show.
        label_name: what the classes are, for the axis title.
        group_name: what the groups are, for the axis title.
        title: plain text.

    Returns:
        Rows are classes, columns groups; a cell shows n and the share of its class in percent.

    Raises:
        DataError: a column or the split is missing, or a cell occurs twice.
    """
    require(counts, ["split", "class", "group", "n"], "contingency_heatmap")
    rows = counts[counts["split"] == split]
    if rows.empty:
        known = ", ".join(str(name) for name in levels(counts["split"]))
        raise DataError(f"contingency_heatmap: no rows of split {split!r}; there are: {known}")
    require_one_row_each(rows, ["class", "group"], "contingency_heatmap")
    classes, groups = levels(rows["class"]), levels(rows["group"])
    grid = _shares(rows, classes, groups)
    fig, height = panels([27 * len(classes)])
    _draw(fig, grid, (0.0, 1.0))
    name_rows(fig, [shorten(name, 18) for name in classes], title_text=escape(label_name))
    name_columns(fig, groups, title_text=escape(group_name))
    return finish(
        fig,
        title or f"{label_name.capitalize()} by {group_name}, {split} split",
        plot_height=height,
        note="n and share of the class" if len(groups) <= _ROOMY else "share of the class",
        below=36 + column_label_height(groups, len(groups)),
    )


def by_group_heatmap(table: pd.DataFrame, *, name: str = "accuracy", title: str | None = None) -> go.Figure:
    """Show one metric a model and group.

    Args:
        table: tidy rows ``model, group, value`` and, if known, ``low, high, n``; with a column ``metric``
            only the rows of ``name`` are used, and of those only the ones of a group and of all classes.
        name: the metric, for labels.
        title: plain text.

    Raises:
        DataError: a column is missing, no row is left, or a cell occurs twice.
    """
    rows = table[table["metric"] == name] if "metric" in table.columns else table
    require(rows, ["model", "group", "value"], "by_group_heatmap")
    rows = breakdown(rows, "group")
    if "class" in rows.columns:
        rows = rows[rows["class"].isna() | (rows["class"] == ALL)]
    require_one_row_each(rows, ["model", "group"], "by_group_heatmap")
    models, groups = levels(rows["model"]), levels(rows["group"])
    label, unit = metric(name).label, metric(name).unit
    grid = _cells(rows, "model", models, groups, label, with_interval=len(groups) <= _ROOMY)
    fig, height = panels([48 * len(models)])
    _draw(fig, grid, _limits(grid.values))
    name_rows(fig, [wrap(model_label(model), 14, 2) for model in models], title_text="model")
    name_columns(fig, groups, title_text="group")
    return finish(
        fig,
        title or f"{label.capitalize()} by group",
        plot_height=height,
        note=f"{unit}, darker is higher{_sizes(rows)}",
        below=36 + column_label_height(groups, len(groups)),
    )


def recall_heatmap(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show recall a class and group, one panel a model, all on one colour scale.

    Args:
        table: tidy rows ``model, class, group, value`` and, if known, ``low, high, n``. An empty cell (NaN,
            or no row) reads "n/a". With a column ``metric`` only the rows of ``recall`` are used.
        title: plain text.

    Raises:
        DataError: a column is missing, or a cell occurs twice.
    """
    table = table[table["metric"] == "recall"] if "metric" in table.columns else table
    require(table, ["model", "class", "group", "value"], "recall_heatmap")
    table = breakdown(table, "class", "group")
    require_one_row_each(table, ["model", "class", "group"], "recall_heatmap")
    models, classes, groups = levels(table["model"]), levels(table["class"]), levels(table["group"])
    columns = max(1, min(len(models), 4, _COLUMNS_ON_A_PHONE // len(groups)))
    depth, width = math.ceil(len(models) / columns), heading_width(columns)
    headings = line_count((model_label(model) for model in models), width)
    labels = column_label_height(groups, columns * len(groups))
    fig, height = panels(
        [24 * len(classes)] * depth,
        columns=columns,
        gap=12 + labels + 17 * headings,
        column_gap=0.03,
        shared_yaxes=True,
    )
    limits = _limits(table["value"].to_numpy(dtype=float))
    for position, model in enumerate(models):
        row, column = position // columns + 1, position % columns + 1
        grid = _cells(table[table["model"] == model], "class", classes, groups, "recall")
        _draw(fig, grid, limits, row=row, column=column)
        name_columns(fig, groups, columns * len(groups), row=row, col=column)
        heading(fig, model_label(model), row, column, width=width)
    name_rows(fig, [shorten(name, 18) for name in classes])
    fig.update_yaxes(title_text="class", col=1)
    fig.update_xaxes(title_text="group", row=depth, col=(columns + 1) // 2)
    return finish(
        fig,
        title or "Recall by class and group",
        plot_height=height,
        note=f"share of a cell's images, darker is higher{_sizes(table)}",
        headings=headings,
        below=36 + labels,
    )


def _shares(rows: pd.DataFrame, classes: Sequence[Hashable], groups: Sequence[Hashable]) -> _Grid:
    """Return the share of each class that is in each group; NaN for a class without samples."""
    n = np.zeros((len(classes), len(groups)))
    for class_name, group, size in zip(rows["class"], rows["group"], rows["n"], strict=True):
        n[classes.index(class_name), groups.index(group)] = size
    total = n.sum(axis=1, keepdims=True)
    grid = _Grid.empty(*n.shape)
    np.divide(n, total, out=grid.values, where=total > 0)
    for cell in product(range(len(classes)), range(len(groups))):
        percent = "n/a" if math.isnan(grid.values[cell]) else f"{grid.values[cell]:.0%}"
        grid.texts[cell] = f"{n[cell]:,.0f} · {percent}" if len(groups) <= _ROOMY else percent
        place = f"{escape(classes[cell[0]])}, {escape(groups[cell[1]])}"
        grid.hovers[cell] = lines(place, f"{percent} of the class", count(n[cell]))
    return grid


def _cells(
    table: pd.DataFrame,
    row_key: str,
    row_names: Sequence[Hashable],
    groups: Sequence[Hashable],
    label: str,
    *,
    with_interval: bool = False,
) -> _Grid:
    """Arrange tidy rows as a grid."""
    grid = _Grid.empty(len(row_names), len(groups))
    columns = numbers(table, "value", "low", "high", "n")
    for row_name, group, value, low, high, n in zip(table[row_key], table["group"], *columns, strict=True):
        cell = row_names.index(row_name), groups.index(group)
        written = model_label(row_name) if row_key == "model" else row_name
        grid.values[cell] = value
        grid.texts[cell] = lines(
            number(value, 2),
            f"[{number(low, 2)}, {number(high, 2)}]" if with_interval and not math.isnan(low) else "",
            f"n={n:.0f}" if row_key == "model" and n < _FEW else "",
        )
        grid.hovers[cell] = lines(
            f"{escape(written)}, {escape(group)}", f"{escape(label)} {estimate(value, low, high)}", count(n)
        )
    return grid


def _draw(fig: go.Figure, grid: _Grid, limits: tuple[float, float], *, row: int = 1, column: int = 1) -> None:
    """Draw a grid into a panel. Missing values stay clear and say so."""
    rows, columns = grid.values.shape
    heatmap = go.Heatmap(
        x=list(range(columns)),
        y=list(range(rows)),
        z=grid.values,
        zmin=limits[0],
        zmax=limits[1],
        colorscale=SEQUENTIAL,
        showscale=False,
        hovertext=grid.hovers,
        hoverinfo="text",
        xgap=2,
        ygap=2,
    )
    fig.add_trace(heatmap, row=row, col=column)
    bright = (grid.values - limits[0]) / (limits[1] - limits[0]) <= _WHITE_TEXT_ABOVE
    known = ~np.isnan(grid.values)
    for chosen, color in ((known & bright, "#111111"), (known & ~bright, "#FFFFFF")):
        y, x = np.nonzero(chosen)
        text = go.Scatter(
            x=x,
            y=y,
            mode="text",
            text=grid.texts[chosen],
            textfont={"size": 12 if columns <= 4 else 11, "color": color},
            hoverinfo="skip",
            showlegend=False,
        )
        fig.add_trace(text, row=row, col=column)
    for y, x in zip(*np.nonzero(~known), strict=True):
        say_missing(fig, int(x), int(y), row=row, col=column)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Return the range of the colours: the values' own, rounded outwards to tenths."""
    known = values[~np.isnan(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = math.floor(known.min() * 10) / 10, math.ceil(known.max() * 10) / 10
    return low, max(high, low + 0.1)


def _sizes(table: pd.DataFrame) -> str:
    """Say how many samples the cells have, where that is known."""
    (n,) = numbers(table, "n")
    if np.isnan(n).all():
        return ""
    low, high = np.nanmin(n), np.nanmax(n)
    return f", n = {low:,.0f} a cell" if low == high else f", n = {low:,.0f} to {high:,.0f} a cell"
