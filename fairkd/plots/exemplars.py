"""The images on which a student contradicts its teacher, a row of tiles a group."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fairkd.errors import DataError
from fairkd.plots.panels import heading, levels, panels, require, require_one_row_each
from fairkd.plots.suspects import TILE_HEIGHT, TILES, tile_row
from fairkd.plots.text import escape, lines, number, shorten
from fairkd.plots.theme import finish

#: Groups that are shown at most.
_MOST_GROUPS = 6


def exemplar_grid(
    table: pd.DataFrame,
    images: np.ndarray,
    *,
    totals: Mapping[Hashable, int] | None = None,
    title: str | None = None,
) -> go.Figure:
    """Show the first images of each group with the true class, the teacher's and the student's prediction.

    Args:
        table: rows ``row, group, label, teacher_prediction, student_prediction`` and, if known, ``margin_change``, in
            the order to show; ``row`` is the position in ``images``. Rows without a group are left out.
        images: ``(n, height, width, 3)``, uint8.
        totals: samples of each group, where the table holds a part of them.
        title: plain text.

    Returns:
        Six images a group at most, of six groups at most; the headings say how many there are.

    Raises:
        DataError: a column is missing, no row has a group, an image occurs twice or is not in ``images``.
    """
    require(table, ["row", "group", "label", "teacher_prediction", "student_prediction"], "exemplar_grid")
    require_one_row_each(table, ["row"], "exemplar_grid")
    outside = table.loc[(table["row"] < 0) | (table["row"] >= len(images)), "row"]
    if len(outside):
        raise DataError(f"exemplar_grid: row {outside.iloc[0]} is not among the {len(images)} images")
    every = levels(table["group"])
    if not every:
        raise DataError("exemplar_grid: no row has a group")
    groups = every[:_MOST_GROUPS]
    fig, height = panels([TILE_HEIGHT] * len(groups), gap=72)
    for place, group in enumerate(groups, start=1):
        part = table[table["group"] == group]
        shown = part.head(TILES)
        tile_row(fig, images, shown["row"], _ticks(shown), _hovers(shown), row=place)
        heading(fig, f"{group}: {len(shown)} of {(totals or {}).get(group, len(part))}", place)
    fig.update_xaxes(title_text="true class, then teacher (T) and student (S)", row=len(groups))
    fig.update_yaxes(title_text="group", row=(len(groups) + 1) // 2)
    hidden = len(every) - len(groups)
    return finish(
        fig,
        title or "Where the student contradicts its teacher",
        plot_height=height,
        note=f"The first {len(groups)} of {len(every)} groups" if hidden else "",
        headings=1,
        below=86,
    )


def _ticks(part: pd.DataFrame) -> list[str]:
    columns = part["label"], part["teacher_prediction"], part["student_prediction"]
    return [
        f"{shorten(true, 8)}<br>T {shorten(teacher, 6)}<br>S {shorten(student, 6)}"
        for true, teacher, student in zip(*columns, strict=True)
    ]


def _hovers(part: pd.DataFrame) -> list[str]:
    texts = []
    for row in part.to_dict("records"):
        change = row.get("margin_change", float("nan"))
        texts.append(
            lines(
                escape(f"true class {row['label']}"),
                escape(f"teacher {row['teacher_prediction']}"),
                escape(f"student {row['student_prediction']}"),
                f"change of the margin {number(float(change))} nats",
            )
        )
    return texts
