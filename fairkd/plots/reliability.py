"""Reliability diagrams as small multiples: one row a model, one column a group."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fairkd.plots.panels import (
    breakdown,
    error_bars,
    heading,
    heading_width,
    levels,
    numbers,
    panels,
    require,
    require_one_row_each,
)
from fairkd.plots.text import count, escape, estimate, line_count, lines, model_label, wrap
from fairkd.plots.theme import LINE, Style, finish, model_styles

#: Columns that fit beside each other, and the size of a bin under which its symbol is open.
_MOST_GROUPS, _FEW = 4, 10


def reliability_grid(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show accuracy against confidence in bins for every model (rows) and group (columns).

    Args:
        table: tidy rows ``model, group, bin, confidence, accuracy, accuracy_low, accuracy_high, n``, as
            :func:`fairkd.analysis.reliability` returns them for a model. Rows of all groups together are left out
            where there are others; of more than four groups the largest are drawn.
        title: plain text.

    Returns:
        On the diagonal confidence equals accuracy; bins of fewer than 10 samples have open symbols.

    Raises:
        DataError: a column is missing, or a bin occurs twice.
    """
    needed = ["model", "group", "bin", "confidence", "accuracy", "n"]
    require(table, needed, "reliability_grid")
    require_one_row_each(table, ["model", "group", "bin"], "reliability_grid")
    rows = breakdown(table, "group")
    models, every = levels(rows["model"]), levels(rows["group"])
    sizes = rows.groupby("group", observed=True)["n"].sum()
    largest = set(sizes.sort_values(ascending=False, kind="stable").index[:_MOST_GROUPS])
    groups = [group for group in every if group in largest]
    styles, width = model_styles(models), heading_width(len(groups))
    headings = line_count(map(str, groups), width)
    fig, height = panels(
        [150] * len(models),
        columns=len(groups),
        gap=26,
        column_gap=0.04,
        shared_xaxes=True,
        shared_yaxes=True,
    )
    for place, model in enumerate(models, start=1):
        for column, group in enumerate(groups, start=1):
            part = rows[(rows["model"] == model) & (rows["group"] == group)].sort_values("confidence")
            fig.add_trace(_diagonal(), row=place, col=column)
            fig.add_trace(_bins(part, escape(model_label(model)), styles[model]), row=place, col=column)
            if place == 1:
                heading(fig, str(group), 1, column, width=width)
        fig.update_yaxes(title_text=wrap(model_label(model), 16, 2), row=place, col=1)
    fig.update_xaxes(range=[0, 1.03], dtick=0.5)
    fig.update_yaxes(range=[0, 1.06], dtick=0.5)
    fig.update_xaxes(title_text="confidence", row=len(models))
    hidden = len(every) - len(groups)
    left_out = f"; the {len(groups)} largest of {len(every)} groups are shown" if hidden else ""
    return finish(
        fig,
        title or "Reliability by model and group",
        plot_height=height,
        note=f"Accuracy over the bins' mean confidence. Open symbols: fewer than {_FEW} samples{left_out}",
        headings=headings,
    )


def _diagonal() -> go.Scatter:
    line = {"color": LINE, "dash": "dash", "width": 1}
    return go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, hoverinfo="skip", showlegend=False)


def _bins(part: pd.DataFrame, name: str, style: Style) -> go.Scatter:
    sure, right, low, high, n = numbers(part, "confidence", "accuracy", "accuracy_low", "accuracy_high", "n")
    marker = style.marker(7)
    marker["symbol"] = np.where(n < _FEW, f"{style.symbol}-open", style.symbol).tolist()
    return go.Scatter(
        x=sure,
        y=right,
        mode="lines+markers",
        line=style.line(1.5),
        marker=marker,
        error_y=error_bars(right, low, high, style.color) if len(part) else None,
        name=name,
        hovertext=[
            lines(name, f"confidence {one:.3f}", f"accuracy {estimate(*limits)}", count(size))
            for one, *limits, size in zip(sure, right, low, high, n, strict=True)
        ],
        hoverinfo="text",
        showlegend=False,
    )
