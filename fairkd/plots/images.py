"""Sampled images by class and group, composed into one crisp picture."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from fairkd.errors import DataError
from fairkd.plots.panels import column_label_height, name_columns, name_rows, panels, say_missing
from fairkd.plots.text import count, escape, lines, wrap
from fairkd.plots.theme import ACCENT, finish

#: Pixels of a tile in the composed picture; smaller images are enlarged to at least this.
_TILE = 64
#: Largest tile on the page, and the width that the picture may take there, in pixels.
_SHOWN_TILE, _SHOWN_WIDTH = 60.0, 940.0
#: An empty cell's shade: visible on light and dark pages.
_EMPTY = (128, 128, 128, 48)

_Cell = tuple[int, int]


def image_grid(
    images: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    class_names: Sequence[str],
    group_names: Sequence[str],
    *,
    per_cell: int = 3,
    seed: int = 0,
    label_name: str = "class",
    group_name: str = "group",
    title: str | None = None,
) -> go.Figure:
    """Show images sampled a class (columns) and group (rows).

    Args:
        images: ``(n, height, width, 3)``, uint8.
        labels: class codes ``(n,)``.
        groups: group codes ``(n,)``.
        class_names: the classes in the order of their codes.
        group_names: the groups in the order of their codes.
        per_cell: images a cell, one below another, at least 1; without replacement.
        seed: seed of the sample.
        label_name: what the classes are, for the axis title.
        group_name: what the groups are, for the axis title.
        title: plain text.

    Returns:
        One image trace; a cell without samples says so.

    Raises:
        DataError: the arrays differ in length, the images are not uint8 RGB, or ``per_cell`` is below 1.
    """
    _check(images, labels, groups, per_cell)
    random = np.random.default_rng(seed)
    picks: dict[_Cell, np.ndarray] = {}
    sizes = np.zeros((len(group_names), len(class_names)), dtype=int)
    for g in range(len(group_names)):
        for c in range(len(class_names)):
            members = np.flatnonzero((labels == c) & (groups == g))
            sizes[g, c] = len(members)
            picks[g, c] = random.permutation(members)[:per_cell]

    rows = len(group_names) * per_cell
    fig, height = panels([min(_SHOWN_TILE, _SHOWN_WIDTH / len(class_names)) * rows])
    fig.add_trace(picture(images, picks, sizes.shape, per_cell))
    fig.add_trace(_hover_layer(picks, sizes, class_names, group_names, per_cell))
    for g, c in zip(*np.nonzero(sizes == 0), strict=True):
        say_missing(fig, int(c), _middle(g, per_cell), "no samples" if per_cell > 1 else "no<br>samples")
    # Upright, so that it fits a narrow column.
    fig.update_annotations(textangle=-90, font_size=10 if len(class_names) <= 12 else 8)
    name_columns(fig, class_names, title_text=escape(label_name))
    name_rows(fig, [wrap(name, 18, 2) for name in group_names], title_text=escape(group_name))
    fig.update_yaxes(
        tickvals=[_middle(g, per_cell) for g in range(len(group_names))],
        range=[rows - 0.5, -0.5],
        scaleanchor="x",
        constraintoward="top",
    )
    fig.update_xaxes(constrain="domain")
    below = 36 + column_label_height(class_names, len(class_names))
    fig.update_yaxes(constrain="domain")
    return finish(
        fig, title or f"Sampled images by {label_name} and {group_name}", plot_height=height, below=below
    )


def _check(images: np.ndarray, labels: np.ndarray, groups: np.ndarray, per_cell: int) -> None:
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise DataError(f"image_grid: images must be uint8 (n, h, w, 3), got {images.dtype} {images.shape}")
    if not len(images) == len(labels) == len(groups):
        lengths = f"{len(images)}, {len(labels)}, {len(groups)}"
        raise DataError(f"image_grid: images, labels and groups must have one length, got {lengths}")
    if per_cell < 1:
        raise DataError(f"image_grid: per_cell={per_cell} must be at least 1")


def _middle(group: int, per_cell: int) -> float:
    """Return the middle of a group's rows, in tiles."""
    return (int(group) + 0.5) * per_cell - 0.5


def picture(
    images: np.ndarray, picks: dict[_Cell, np.ndarray], shape: tuple[int, ...], per_cell: int
) -> go.Image:
    """Compose tiles into one RGBA picture, each pixel enlarged to a square; gaps stay transparent.

    Args:
        images: ``(n, height, width, 3)``, uint8.
        picks: positions in ``images`` for each cell ``(row, column)``; a cell without any is shaded.
        shape: rows and columns of cells.
        per_cell: tiles a cell, one below another.
    """
    height, width = images.shape[1:3]
    scale = max(1, math.ceil(_TILE / max(height, width)))
    side = scale * max(height, width) + 2 * max(1, scale * max(height, width) // 24)
    canvas = np.zeros((shape[0] * per_cell * side, shape[1] * side, 4), dtype=np.uint8)
    for (g, c), members in picks.items():
        if not len(members):
            canvas[
                g * per_cell * side + 2 : (g + 1) * per_cell * side - 2, c * side + 2 : (c + 1) * side - 2
            ] = _EMPTY
        for position, member in enumerate(members):
            tile = images[member].repeat(scale, axis=0).repeat(scale, axis=1)
            top = (g * per_cell + position) * side + (side - tile.shape[0]) // 2
            left = c * side + (side - tile.shape[1]) // 2
            place = canvas[top : top + tile.shape[0], left : left + tile.shape[1]]
            place[..., :3], place[..., 3] = tile, 255
    start = -0.5 + 0.5 / side
    return go.Image(
        source=_png(canvas), x0=start, y0=start, dx=1 / side, dy=1 / side, zsmooth=False, hoverinfo="skip"
    )


def _png(canvas: np.ndarray) -> str:
    """Return an RGBA array as a PNG data address."""
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _hover_layer(
    picks: dict[_Cell, np.ndarray],
    sizes: np.ndarray,
    class_names: Sequence[str],
    group_names: Sequence[str],
    per_cell: int,
) -> go.Scatter:
    """Return invisible points that say what each tile is."""
    tiles = [(g, c, k, row) for (g, c), members in picks.items() for k, row in enumerate(members)]
    return go.Scatter(
        x=[c for _, c, _, _ in tiles],
        y=[g * per_cell + k for g, _, k, _ in tiles],
        mode="markers",
        marker={"opacity": 0, "size": 24, "color": ACCENT.color},
        hovertext=[
            lines(
                f"{escape(class_names[c])}, {escape(group_names[g])}",
                f"row {row}",
                f"cell: {count(sizes[g, c])}",
            )
            for g, c, _, row in tiles
        ],
        hoverinfo="text",
        showlegend=False,
    )
