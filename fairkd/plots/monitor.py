"""A training as it goes on: losses, the adversary against chance, accuracy by group, and what was changed when."""

from __future__ import annotations

import math
import re

import pandas as pd
import plotly.graph_objects as go

from fairkd.plots.panels import heading, numbers, panels, require
from fairkd.plots.text import escape, metric, number, shorten
from fairkd.plots.theme import ACCENT, SERIES_STYLES, SMALL, TEXT, Style, finish, group_styles

_HEIGHT, _GAP = 140, 44
#: The losses are none of the first groups' colours; the adversary is the same in both its panels.
_LOSSES = {
    "train_task_loss": ("task loss", SERIES_STYLES[4]),
    "train_distill_loss": ("distillation loss", SERIES_STYLES[5]),
    "train_adversary_loss": ("adversary's loss", ACCENT),
}
_WHOLE = {"train_loss": ("training loss", SERIES_STYLES[4])}
_CHANGE = re.compile(r"(\w+)=(\S+)@([\d.]+)")


def training_monitor(
    history: pd.DataFrame, *, epochs: int | None = None, title: str | None = None
) -> go.Figure:
    """Show a training, finished or not: losses, the adversary's accuracy against chance, accuracy by group.

    Args:
        history: one row an epoch, as :meth:`fairkd.training.Trainer.fit` returns it: ``epoch``, ``train_loss`` and
            whatever there is of its parts, ``adversary_balanced_accuracy``, ``chance``, ``validation_accuracy``
            with that of each group and of the worst, and ``changes``. A last row may be of an unfinished epoch.
        epochs: of the whole training; default: those in the history.
        title: plain text.

    Raises:
        DataError: a column is missing, or there is no row.
    """
    require(history, ["epoch", "train_loss"], "training_monitor")
    adversary = "adversary_balanced_accuracy" in history.columns
    names = [
        "training losses\xa0↓",
        *["adversary's balanced accuracy"] * adversary,
        "validation accuracy\xa0↑",
    ]
    fig, height = panels([_HEIGHT] * len(names), gap=_GAP, shared_xaxes=True)
    for row, name in enumerate(names, 1):
        heading(fig, name, row)
    parts = {column: look for column, look in _LOSSES.items() if column in history.columns} or _WHOLE
    for column, (name, style) in parts.items():
        fig.add_trace(_curve(history, column, name, style), row=1, col=1)
    fig.update_yaxes(title_text="loss", row=1, col=1)
    if adversary:
        _draw_adversary(fig, history)
    _draw_accuracy(fig, history, len(names))
    _mark_changes(fig, history, len(names))
    whole = epochs or math.ceil(history["epoch"].max()) or 1
    fig.update_xaxes(range=[0, whole * 1.02])
    fig.update_xaxes(title_text="epoch", row=len(names), col=1)
    entries = sum(trace.showlegend is not False for trace in fig.data)
    return finish(fig, title or "Training", plot_height=height, headings=1, legend=entries)


def _draw_adversary(fig: go.Figure, history: pd.DataFrame) -> None:
    chance = _curve(history, "chance", "chance", Style(TEXT, "circle", "dash")).update(mode="lines")
    fig.add_trace(chance, row=2, col=1)
    curve = _curve(history, "adversary_balanced_accuracy", "adversary", ACCENT)
    fig.add_trace(curve, row=2, col=1)
    fig.update_yaxes(title_text="share", range=[0, 1.05], row=2, col=1)


def _draw_accuracy(fig: go.Figure, history: pd.DataFrame, row: int) -> None:
    """Draw a curve a group and that of all; a broad band lies under the curve of the worst group."""
    prefix = "validation_accuracy["
    columns = [str(column) for column in history.columns if str(column).startswith(prefix)]
    styles = group_styles(columns)
    if "validation_worst_group_accuracy" in history.columns:
        band = {"color": "rgba(128,128,128,0.3)", "width": 11}
        worst = _curve(history, "validation_worst_group_accuracy", "worst group", ACCENT)
        fig.add_trace(worst.update(mode="lines", line=band), row=row, col=1)
    for column in columns:
        fig.add_trace(_curve(history, column, column[len(prefix) : -1], styles[column]), row=row, col=1)
    every = Style("#8A8A8A", "circle-open", "solid")
    fig.add_trace(_curve(history, "validation_accuracy", "all groups", every), row=row, col=1)
    fig.update_yaxes(title_text="share", row=row, col=1)


def _curve(history: pd.DataFrame, column: str, name: str, style: Style) -> go.Scatter:
    epochs, values = numbers(history, "epoch", column)
    label = escape(metric(column.partition("[")[0]).label)
    return go.Scatter(
        x=epochs,
        y=values,
        mode="lines+markers",
        line=style.line(),
        marker={**style.marker(6), "maxdisplayed": 24},
        name=shorten(name, 28),
        connectgaps=True,
        hovertext=[
            f"{escape(name)}, epoch {epoch:.4g}<br>{label} {number(value)}"
            for epoch, value in zip(epochs, values, strict=True)
        ],
        hoverinfo="text",
    )


def _mark_changes(fig: go.Figure, history: pd.DataFrame, rows: int) -> None:
    """Draw a line through all panels where a setting was changed, with what it became."""
    texts = history["changes"].dropna() if "changes" in history.columns else []
    for turn, (setting, value, place) in enumerate(_CHANGE.findall("; ".join(map(str, texts)))):
        for row in range(1, rows + 1):
            fig.add_vline(x=float(place), line={"color": TEXT, "dash": "dot", "width": 1.5}, row=row, col=1)
        fig.add_annotation(
            x=float(place),
            # In turn over the panels: changes may be close.
            yref=f"y{turn % rows + 1 if turn % rows else ''} domain",
            y=1,
            xref="x",
            xanchor="left",
            yanchor="top",
            textangle=-90,
            text=f"{setting.replace('_', ' ')} {float(value):g}",
            showarrow=False,
            font={"size": SMALL},
        )
