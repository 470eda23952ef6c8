"""Where networks put the groups: projections of features, and distances between the groups."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import pandas as pd
import plotly.graph_objects as go

from fairkd.plots.multiples import Mark, Panel, row_panels
from fairkd.plots.panels import (
    heading,
    heading_width,
    levels,
    numbers,
    panels,
    require,
    require_one_row_each,
)
from fairkd.plots.text import count, escape, line_count, lines, model_label, number, shorten
from fairkd.plots.theme import ACCENT, CLEAR, finish, group_styles, model_styles

#: More classes than this are not written into a projection, more rows than that not drawn.
_MOST_NAMES, _MOST_ROWS = 12, 20
#: Shares of a narrow panel that a letter takes in width, and a name in height.
_NAME_WIDTH, _NAME_HEIGHT = 0.1, 0.1
#: From this adjusted p-value down a distance is drawn filled.
_LEVEL = 0.05


def projection_scatter(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show samples in the plane of largest variance, one panel a model: symbol and colour are the group.

    Args:
        table: tidy rows ``model, x, y, class, group`` and, if known, ``x_share, y_share``: the axes' shares of the
            variance, [0, 1]. At most 12 classes are named, each at the middle of its samples.
        title: plain text.

    Raises:
        DataError: a column is missing.
    """
    require(table, ["model", "x", "y", "class", "group"], "projection_scatter")
    models, groups = levels(table["model"]), levels(table["group"])
    columns = min(2, len(models))
    depth, width = math.ceil(len(models) / columns), heading_width(columns)
    headings = line_count(map(model_label, models), width)
    fig, height = panels([290] * depth, columns=columns, gap=70 + 17 * headings, column_gap=0.1)
    for position, model in enumerate(models):
        row, column = position // columns + 1, position % columns + 1
        part = table[table["model"] == model]
        for trace in _clouds(part, groups, first=position == 0):
            fig.add_trace(trace, row=row, col=column)
        _name_classes(fig, part, row, column)
        heading(fig, model_label(model), row, column, width=width)
        shares = [float(share[0]) for share in numbers(part.head(1), "x_share", "y_share")]
        known = (
            "" if any(map(math.isnan, shares)) else " ({:.0f} %, {:.0f} %)".format(*(100 * s for s in shares))
        )
        fig.update_xaxes(title_text=f"PC 1, 2{known}", showgrid=False, row=row, col=column)
        fig.update_yaxes(showgrid=False, row=row, col=column)
    fig.update_yaxes(title_text="PC 2", col=1)
    return finish(
        fig,
        title or "Features in the plane of largest variance",
        plot_height=height,
        note="PC: principal component, its share of variance. Names stand at the middle of their class, where they fit",
        headings=headings,
        legend=len(groups),
    )


def group_distances(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show how far apart the groups' features are, one panel a model.

    Args:
        table: tidy rows ``model, place, mmd2, p_adjusted`` and, if known, ``n``; ``place`` names what is compared: a
            class, or a pair of groups. Symbols are filled where ``p_adjusted`` is at most 0.05. At most 20 places are
            drawn.
        title: plain text.

    Raises:
        DataError: a column is missing, or a distance occurs twice.
    """
    require(table, ["model", "place", "mmd2", "p_adjusted"], "group_distances")
    require_one_row_each(table, ["model", "place"], "group_distances")
    every, models = levels(table["place"]), levels(table["model"])
    shown, styles, items = every[:_MOST_ROWS], model_styles(models), []
    for model in models:
        part = table[(table["model"] == model) & table["place"].isin(shown)]
        marks = []
        for place, value, p, n in zip(part["place"], *numbers(part, "mmd2", "p_adjusted", "n"), strict=True):
            text = lines(
                escape(model_label(model)),
                escape(place),
                f"MMD² {number(value)}, adjusted p {number(p)}",
                count(n),
            )
            found = not math.isnan(p) and p <= _LEVEL
            marks.append(Mark(shown.index(place), value, style=styles[model], hover=text, hollow=not found))
        items.append(Panel(model_label(model), "MMD²", marks))
    drawn = row_panels(
        items,
        [shorten(place, 24) for place in shown],
        "compared within",
        row_height=22,
        same_scale=True,
        zero_line=True,
    )
    for name, hollow in (("adjusted p at most 0.05", False), ("above 0.05", True)):
        marker = ACCENT.marker(hollow=hollow)
        drawn.fig.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=name))
    capped = f"The first {len(shown)} of {len(every)} rows" if len(shown) < len(every) else ""
    return finish(
        drawn.fig,
        title or "Distance between the groups' features",
        plot_height=drawn.height,
        note=capped,
        headings=drawn.headings,
        legend=2,
    )


def _clouds(part: pd.DataFrame, groups: Sequence[Hashable], *, first: bool) -> list[go.Scatter]:
    styles, traces = group_styles(groups), []
    for position, group in enumerate(groups):
        rows = part[part["group"] == group]
        marker = styles[group].marker(6) | {"opacity": 0.65, "line": {"width": 0}}
        traces.append(
            go.Scatter(
                x=rows["x"],
                y=rows["y"],
                mode="markers",
                marker=marker,
                name=shorten(group, 24),
                legendgroup=f"group {position}",
                showlegend=first,
                hovertext=[lines(escape(name), escape(group)) for name in rows["class"]],
                hoverinfo="text",
            )
        )
    return traces


def _name_classes(fig: go.Figure, part: pd.DataFrame, row: int, column: int) -> None:
    """Name the classes that have room: on a phone a panel is some 130 pixels wide."""
    classes = levels(part["class"])
    if len(classes) > _MOST_NAMES:
        return
    width, height = (float(part[axis].max() - part[axis].min()) or 1.0 for axis in ("x", "y"))
    placed: list[tuple[float, float, float]] = []
    for name in classes:
        middle = part.loc[part["class"] == name, ["x", "y"]].median()
        x, y, text = float(middle["x"]), float(middle["y"]), shorten(name, 12)
        half = width * _NAME_WIDTH * len(text) / 2
        # Beside the cloud a name would reach into the axis.
        x = min(max(x, float(part["x"].min()) + half), float(part["x"].max()) - half)
        if any(abs(x - u) < half + other and abs(y - v) < height * _NAME_HEIGHT for u, v, other in placed):
            continue
        placed.append((x, y, half))
        fig.add_annotation(
            x=x,
            y=y,
            text=text,
            showarrow=False,
            font={"size": 12, "color": "#FFFFFF", "weight": 600},
            bgcolor="rgba(70,70,70,0.78)",
            bordercolor=CLEAR,
            borderpad=2,
            row=row,
            col=column,
        )
