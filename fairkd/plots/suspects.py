"""The images whose labels are most suspect, with the given and the suggested label."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fairkd.errors import DataError
from fairkd.plots.images import picture
from fairkd.plots.panels import numbers, panels, require, require_one_row_each
from fairkd.plots.text import escape, lines, shorten
from fairkd.plots.theme import ACCENT, finish

#: Tiles in a row, and their height in pixels.
TILES, TILE_HEIGHT = 6, 60


def suspect_grid(
    table: pd.DataFrame, images: np.ndarray, *, most: int = 12, title: str | None = None
) -> go.Figure:
    """Show the images whose labels are most suspect, with the given and the suggested label.

    Args:
        table: rows ``row, label, suggested`` and, if known, ``self_confidence``, in the order to show; ``row`` is
            the position in ``images``.
        images: ``(n, height, width, 3)``, uint8.
        most: so many are shown, at least 1.
        title: plain text.

    Raises:
        DataError: a column is missing, an image occurs twice, or a row is not in ``images``.
    """
    require(table, ["row", "label", "suggested"], "suspect_grid")
    require_one_row_each(table, ["row"], "suspect_grid")
    shown = table.head(max(most, 1))
    outside = shown.loc[(shown["row"] < 0) | (shown["row"] >= len(images)), "row"]
    if len(outside):
        raise DataError(f"suspect_grid: row {outside.iloc[0]} is not among the {len(images)} images")
    depth = math.ceil(len(shown) / TILES)
    fig, height = panels([TILE_HEIGHT] * depth, gap=46)
    for place in range(depth):
        _suspects(fig, shown.iloc[place * TILES : (place + 1) * TILES], images, place + 1)
    fig.update_xaxes(title_text="given label, → label that the probe suggests", row=depth)
    fig.update_yaxes(title_text="rank", row=(depth + 1) // 2)
    return finish(fig, title or "Labels to look at", plot_height=height, below=72)


def _suspects(fig: go.Figure, part: pd.DataFrame, images: np.ndarray, row: int) -> None:
    """Draw one row of tiles with their labels."""
    columns = part["row"], part["label"], part["suggested"], *numbers(part, "self_confidence")
    hovers = [
        lines(
            f"row {member}",
            f"given: {escape(label)}",
            f"suggested: {escape(suggested)}",
            "" if math.isnan(belief) else f"probability of the given label {belief:.3f}",
        )
        for member, label, suggested, belief in zip(*columns, strict=True)
    ]
    labels = zip(part["label"], part["suggested"], strict=True)
    ticks = [f"{shorten(given, 9)}<br>→ {shorten(suggested, 7)}" for given, suggested in labels]
    tile_row(fig, images, part["row"], ticks, hovers, row=row)


def tile_row(
    fig: go.Figure,
    images: np.ndarray,
    members: Iterable[int],
    ticks: Sequence[str],
    hovers: Sequence[str],
    *,
    row: int,
) -> None:
    """Draw at most ``TILES`` images side by side, with escaped texts under and over each."""
    tiles = {(0, place): np.array([member]) for place, member in enumerate(members)}
    fig.add_trace(picture(images, tiles, (1, TILES), 1), row=row, col=1)
    places = list(range(len(ticks)))
    fig.add_scatter(
        x=places,
        y=[0] * len(places),
        mode="markers",
        marker={"opacity": 0, "size": 30, "color": ACCENT.color},
        hovertext=list(hovers),
        hoverinfo="text",
        showlegend=False,
        row=row,
        col=1,
    )
    fig.update_xaxes(
        tickmode="array",
        tickvals=places,
        ticktext=list(ticks),
        tickangle=0,
        tickfont={"size": 10},
        range=[-0.5, TILES - 0.5],
        showgrid=False,
        constrain="domain",
        row=row,
        col=1,
    )
    anchor = "x" if row == 1 else f"x{row}"
    fig.update_yaxes(
        range=[0.5, -0.5],
        showticklabels=False,
        ticks="",
        showgrid=False,
        scaleanchor=anchor,
        constrain="domain",
        constraintoward="top",
        row=row,
        col=1,
    )
