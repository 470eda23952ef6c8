"""What an exported file changed: the share of decisions that are no longer the network's, by group."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fairkd.plots.multiples import Mark, Panel, row_panels
from fairkd.plots.panels import levels, numbers, require, require_one_row_each
from fairkd.plots.text import count, escape, estimate, lines, model_label, wrap
from fairkd.plots.theme import finish


def decision_changes(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show for whom an export changed decisions: one panel a file, one row a group.

    Args:
        table: tidy rows ``model, group, share`` and, if known, ``low, high, n``, a row a file and group.
        title: plain text.

    Raises:
        DataError: a column is missing, or a group occurs twice for one file.
    """
    require(table, ["model", "group", "share"], "decision_changes")
    require_one_row_each(table, ["model", "group"], "decision_changes")
    groups = levels(table["group"])
    items = []
    for model in levels(table["model"]):
        rows = table[table["model"] == model]
        columns = numbers(rows, "share", "low", "high", "n")
        marks = [
            Mark(
                row=groups.index(group),
                value=share,
                low=low,
                high=high,
                name=escape(group),
                hover=lines(escape(group), f"decisions changed {estimate(share, low, high)}", count(n)),
            )
            for group, share, low, high, n in zip(rows["group"], *columns, strict=True)
        ]
        items.append(Panel(model_label(model), "share of decisions", marks))
    names = [wrap(group, 18, max_lines=2) for group in groups]
    drawn = row_panels(items, names, "group", row_height=36, same_scale=True)
    # A share is read from zero; the widest interval still fits.
    top = np.nanmax([*numbers(table, "share", "high"), np.zeros(len(table))])
    drawn.fig.update_xaxes(range=[-0.02 * (top or 1), 1.05 * (top or 1)])
    return finish(
        drawn.fig,
        title or "Decisions that the exported file changes",
        plot_height=drawn.height,
        note="Lines are intervals.",
        headings=drawn.headings,
    )
