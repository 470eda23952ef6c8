"""Where teacher and student look, image by image and group by group."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fairkd.errors import DataError
from fairkd.plots.images import picture
from fairkd.plots.panels import heading, levels, name_rows, panels, require, require_one_row_each, say_missing
from fairkd.plots.text import escape, lines, model_label, shorten, wrap
from fairkd.plots.theme import ACCENT, SEQUENTIAL, finish

#: Tiles in a row, groups shown, and the height of a tile in pixels.
_TILES, _GROUPS, _TILE_HEIGHT = 6, 8, 72


def saliency_pairs(
    table: pd.DataFrame, images: np.ndarray, maps: Mapping[str, np.ndarray], *, title: str | None = None
) -> go.Figure:
    """Show images with what each network looks at beside them: one panel a group, one row an image.

    Args:
        table: rows ``row, group, label`` and, if known, ``teacher_prediction, student_prediction, reason``, in the
            order to show, as :func:`fairkd.analysis.saliency_examples` gives them; ``row`` is the position in
            ``images``.
        images: ``(n, height, width, 3)``, uint8.
        maps: by model, ``(n, height, width)`` of :func:`fairkd.analysis.saliency_maps`. Each map has its own
            scale, light to dark: from 0 (and below) to its 99th percentile; one with NaN says so.
        title: plain text.

    Returns:
        At most 6 images of each of the first 8 groups; the note says what is left out.

    Raises:
        DataError: a column is missing, an image occurs twice, a row is not in ``images``, or maps have other shapes.
    """
    require(table, ["row", "group", "label"], "saliency_pairs")
    require_one_row_each(table, ["row"], "saliency_pairs")
    _check(table, images, maps)
    groups = levels(table["group"])[:_GROUPS]
    parts = [table[table["group"] == group].head(_TILES) for group in groups]
    views = ["image", *(wrap(shorten(model_label(name), 24), 10) for name in maps)]
    fig, height = panels([_TILE_HEIGHT * len(part) for part in parts], gap=88)
    for row, (group, part) in enumerate(zip(groups, parts, strict=True), 1):
        _draw(fig, part, images, maps, row)
        name_rows(fig, [_tick(one) for _, one in part.iterrows()], row=row, col=1)
        heading(fig, str(group), row)
    fig.update_xaxes(tickvals=list(range(len(views))), ticktext=views, title_text="")
    fig.update_yaxes(ticks="", showline=False)
    fig.update_yaxes(title_text="image", row=(len(groups) + 1) // 2, col=1)
    fig.update_xaxes(title_text="view", row=len(groups), col=1)
    note = "Darker: speaks more for the true class" + _rows_note(table)
    left_out = table["group"].nunique() - len(groups)
    if left_out:
        note += f". {left_out} more group{'s are' if left_out > 1 else ' is'} not shown"
    return finish(
        fig, title or "Where the models look, by group", plot_height=height, note=note, headings=1, below=86
    )


def _check(table: pd.DataFrame, images: np.ndarray, maps: Mapping[str, np.ndarray]) -> None:
    outside = table.loc[(table["row"] < 0) | (table["row"] >= len(images)), "row"]
    if len(outside):
        raise DataError(f"saliency_pairs: row {outside.iloc[0]} is not among the {len(images)} images")
    for name, one in maps.items():
        if one.shape != images.shape[:3]:
            raise DataError(
                f"saliency_pairs: the maps of {name!r} have shape {one.shape}; needed: {images.shape[:3]}"
            )


def _draw(
    fig: go.Figure, part: pd.DataFrame, images: np.ndarray, maps: Mapping[str, np.ndarray], row: int
) -> None:
    """Draw one group's tiles: in each row the image, then one map a model."""
    rows = part["row"].to_numpy()
    tiles = np.concatenate([images[rows], *(_colored(one[rows]) for one in maps.values())])
    size, views = len(rows), 1 + len(maps)
    picks = {
        (place, view): np.array([view * size + place])
        for place, view in itertools.product(range(size), range(views))
    }
    for view, one in enumerate(maps.values(), 1):
        for place in np.flatnonzero(np.isnan(one[rows]).any(axis=(1, 2))).tolist():
            picks[place, view] = np.array([], dtype=np.int64)
            say_missing(fig, view, place, row=row, col=1)
    fig.add_trace(picture(tiles, picks, (size, views), 1), row=row, col=1)
    fig.add_scatter(
        x=[view for _, view in picks],
        y=[place for place, _ in picks],
        mode="markers",
        marker={"opacity": 0, "size": 30, "color": ACCENT.color},
        hovertext=[_hover(part.iloc[place]) for place, _ in picks],
        hoverinfo="text",
        showlegend=False,
        row=row,
        col=1,
    )
    fig.update_xaxes(
        tickmode="array",
        tickangle=0,
        tickfont={"size": 10},
        range=[-0.5, views - 0.5],
        showgrid=False,
        constrain="domain",
        constraintoward="left",
        showline=False,
        row=row,
        col=1,
    )
    fig.update_yaxes(
        scaleanchor="x" if row == 1 else f"x{row}", constrain="domain", constraintoward="top", row=row, col=1
    )


def _colored(maps: np.ndarray) -> np.ndarray:
    """Return maps as colours ``(n, height, width, 3)`` uint8, each from 0 to nearly its largest value."""
    values = np.nan_to_num(maps.astype(np.float64)).clip(0, None)
    # A few outlying pixels would leave the others too pale to see.
    top = np.quantile(values, 0.99, axis=(1, 2), keepdims=True)
    top = np.where(top > 0, top, values.max(axis=(1, 2), keepdims=True))
    scaled = np.minimum(values / np.where(top > 0, top, 1), 1)
    places = [place for place, _ in SEQUENTIAL]
    channels = [
        np.interp(scaled, places, [int(color[start : start + 2], 16) for _, color in SEQUENTIAL])
        for start in (1, 3, 5)
    ]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _tick(one: pd.Series) -> str:
    parts = [f"{name[0]} {shorten(one[name], 6)}" for name in _predicted(one.index)]
    return "<br>".join([shorten(one["label"], 10), *parts])


def _hover(one: pd.Series) -> str:
    names = _predicted(one.index)
    return lines(
        f"row {one['row']}",
        f"true: {escape(one['label'])}",
        *(f"{name.removesuffix('_prediction')} predicts {escape(one[name])}" for name in names),
        escape(one["reason"]) if "reason" in one.index else "",
    )


def _rows_note(table: pd.DataFrame) -> str:
    """Explain what stands beside a row below the true class."""
    return ", ".join(
        ["", *(f"{name[0]}: {name.removesuffix('_prediction')} says" for name in _predicted(table.columns))]
    )


def _predicted(columns: pd.Index) -> list[str]:
    return [name for name in ("teacher_prediction", "student_prediction") if name in columns]
