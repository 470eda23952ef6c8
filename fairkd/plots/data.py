"""Where bias may start: association of label and group, and how well the group can be predicted."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fairkd.plots.multiples import Mark, Panel, row_panels
from fairkd.plots.panels import (
    error_bars,
    levels,
    name_rows,
    numbers,
    panels,
    require,
    require_one_row_each,
    say_missing,
)
from fairkd.plots.text import count, escape, estimate, lines, metric, quantity, shorten, wrap
from fairkd.plots.theme import ACCENT, TEXT, finish, group_styles


def association_bars(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show how strongly label and group go together, one panel a statistic, one bar a split.

    Args:
        table: tidy rows ``split, statistic, value`` and, if known, ``low, high, n``.
        title: plain text.

    Raises:
        DataError: a column is missing, or a split has two values of one statistic.
    """
    require(table, ["split", "statistic", "value"], "association_bars")
    require_one_row_each(table, ["split", "statistic"], "association_bars")
    splits = levels(table["split"])
    items = []
    for name in levels(table["statistic"]):
        rows = table[table["statistic"] == name]
        label = escape(metric(name).label)
        columns = numbers(rows, "value", "low", "high", "n")
        marks = [
            Mark(
                row=splits.index(split),
                value=value,
                low=low,
                high=high,
                name=escape(split),
                text="" if math.isnan(value) else quantity(value),
                hover=lines(escape(split), f"{label} {estimate(value, low, high)}", count(n)),
            )
            for split, value, low, high, n in zip(rows["split"], *columns, strict=True)
        ]
        items.append(Panel(metric(name).label, metric(name).unit, marks))
    drawn = row_panels(items, [shorten(split, 16) for split in splits], "split", kind="bar")
    return finish(
        drawn.fig,
        title or "Association of label and group",
        plot_height=drawn.height,
        headings=drawn.headings,
    )


def predictability_bars(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show how well labels and groups can be predicted, against chance.

    Args:
        table: tidy rows ``target, source, balanced_accuracy, chance`` (``target`` or ``source`` may be
            absent) and, if known, ``low, high, n``.
        title: plain text.

    Raises:
        DataError: a column is missing, or a target occurs twice with one source.
    """
    keys = [name for name in ("target", "source") if name in table.columns] or ["target"]
    require(table, [*keys, "balanced_accuracy", "chance"], "predictability_bars")
    require_one_row_each(table, keys, "predictability_bars")
    names = [" from ".join(str(value) for value in row) for row in table[keys].itertuples(index=False)]
    value, chance, low, high, n = numbers(table, "balanced_accuracy", "chance", "low", "high", "n")
    places = np.arange(len(names))
    hovers = [
        lines(
            escape(name),
            f"balanced accuracy {estimate(value[i], low[i], high[i])}",
            f"chance {chance[i]:.3f}",
            count(n[i]),
        )
        for i, name in enumerate(names)
    ]
    fig, height = panels([max(40 * len(names), 60)])
    from_chance = np.column_stack([chance, value, np.full(len(value), math.nan)]).ravel()
    fig.add_scatter(
        x=from_chance,
        y=places.repeat(3),
        mode="lines",
        line={"color": ACCENT.color, "width": 6},
        opacity=0.3,
        hoverinfo="skip",
        showlegend=False,
    )
    fig.add_scatter(
        x=chance,
        y=places,
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 22, "color": TEXT, "line": {"width": 2.5}},
        name="chance",
        hovertext=hovers,
        hoverinfo="text",
    )
    fig.add_scatter(
        x=value,
        y=places,
        mode="markers",
        marker=ACCENT.marker(),
        error_x=error_bars(value, low, high, ACCENT.color),
        name="classifier",
        hovertext=hovers,
        hoverinfo="text",
    )
    for place in np.flatnonzero(np.isnan(value)):
        say_missing(fig, 0.5, int(place))
    name_rows(fig, [wrap(name, 18, max_lines=2) for name in names], title_text=keys[0])
    fig.update_xaxes(title_text="balanced accuracy (share)", range=[0, 1.04])
    return finish(fig, title or "How well the group can be predicted", plot_height=height, legend=2)


def attribute_shares(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show how a data set divides over its groups and further attributes: one panel a split, one row a value.

    Args:
        table: tidy rows ``attribute, split, value, share`` and, if known, ``low, high, n``; a missing value
            reads "missing".
        title: plain text.

    Raises:
        DataError: a column is missing, or a value occurs twice in a split.
    """
    require(table, ["attribute", "split", "value", "share"], "attribute_shares")
    table = table.assign(value=table["value"].astype(object).where(table["value"].notna(), "missing"))
    require_one_row_each(table, ["attribute", "split", "value"], "attribute_shares")
    several = len(levels(table["attribute"])) > 1
    names = np.array(
        [f"{a}: {v}" if several else str(v) for a, v in zip(table["attribute"], table["value"], strict=True)]
    )
    rows = list(dict.fromkeys(names))
    items = []
    for split in levels(table["split"]):
        chosen = (table["split"] == split).to_numpy()
        columns = numbers(table[chosen], "share", "low", "high", "n")
        marks = [
            Mark(
                row=rows.index(name),
                value=share,
                low=low,
                high=high,
                name=escape(split),
                hover=lines(escape(name), f"share {estimate(share, low, high)}", count(n)),
            )
            for name, share, low, high, n in zip(names[chosen], *columns, strict=True)
        ]
        items.append(Panel(str(split), "share of the split", marks))
    labels = [wrap(name, 18, max_lines=2) for name in rows]
    drawn = row_panels(items, labels, "value", row_height=36, same_scale=True)
    # A share is read from zero; the widest interval still fits.
    top = np.nanmax([*numbers(table, "share", "high"), np.zeros(len(table))])
    drawn.fig.update_xaxes(range=[0, 1.05 * (top or 1)])
    return finish(
        drawn.fig, title or "Shares of every group", plot_height=drawn.height, headings=drawn.headings
    )


def image_statistics(table: pd.DataFrame, *, split: str = "train", title: str | None = None) -> go.Figure:
    """Show the mean of simple image statistics by group: one panel a statistic, one row a group.

    Args:
        table: tidy rows ``split, group, statistic, value`` and, if known, ``low, high, n``.
        split: which split to show.
        title: plain text.

    Raises:
        DataError: a column or the split is missing, or a group has two values of one statistic.
    """
    require(table, ["split", "group", "statistic", "value"], "image_statistics")
    table = table[table["split"] == split]
    require(table, ["split"], "image_statistics")
    require_one_row_each(table, ["group", "statistic"], "image_statistics")
    groups = levels(table["group"])
    styles = group_styles(groups)
    items = []
    for name in levels(table["statistic"]):
        rows = table[table["statistic"] == name]
        columns = numbers(rows, "value", "low", "high", "n")
        marks = [
            Mark(
                row=groups.index(group),
                value=value,
                low=low,
                high=high,
                style=styles[group],
                name=escape(group),
                hover=lines(escape(group), f"mean {escape(name)} {estimate(value, low, high)}", count(n)),
            )
            for group, value, low, high, n in zip(rows["group"], *columns, strict=True)
        ]
        items.append(Panel(str(name), "mean, 0 to 1", marks))
    drawn = row_panels(items, [wrap(group, 16, max_lines=2) for group in groups], "group")
    return finish(
        drawn.fig,
        title or f"Image statistics by group, {split} split",
        plot_height=drawn.height,
        note="Lines are intervals of the mean; the scales differ",
        headings=drawn.headings,
    )
