"""What happened during training: the task by group over epochs, and the adversary."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from fairkd.plots.panels import heading, numbers, panels, reference_line, require, ring
from fairkd.plots.text import ARROWS, escape, metric, number, shorten
from fairkd.plots.theme import ACCENT, TEXT, Style, finish, group_styles

_PANEL_HEIGHT = 170
_ALL, _NEUTRAL = "all groups", Style("#8A8A8A", "circle-open", "solid")


def training_curves(
    history: pd.DataFrame,
    metrics: Sequence[str] = ("validation_accuracy", "validation_recall_gap", "train_loss"),
    *,
    title: str | None = None,
) -> go.Figure:
    """Show metrics over epochs, by group where the history has groups, with the selected epoch marked.

    Args:
        history: one row an epoch: ``epoch``, the columns named in ``metrics``, ``<metric>[<group>]`` a group,
            and the boolean ``selected``.
        metrics: one panel each, from top to bottom; one without any value is left out.
        title: plain text.

    Raises:
        DataError: a column is missing, or there is no epoch.
    """
    require(history, ["epoch", *metrics], "training_curves")
    metrics = [name for name in metrics if history[name].notna().any()] or metrics
    groups = _groups_in(history, metrics)
    styles = group_styles(groups)
    fig, height = panels([_PANEL_HEIGHT] * len(metrics), gap=40, shared_xaxes=True)
    in_legend: set[str] = set()
    for row, name in enumerate(metrics, 1):
        for group in groups:
            column = f"{name}[{group}]"
            if column in history.columns:
                curve = _curve(history, column, group, styles[group], first=group not in in_legend)
                fig.add_trace(curve, row=row, col=1)
                in_legend.add(group)
        fig.add_trace(_curve(history, name, _ALL, _NEUTRAL, first=row == 1), row=row, col=1)
        heading(fig, metric(name).heading, row)
        fig.update_yaxes(title_text=metric(name).unit, row=row, col=1)
    selected = _mark_selected(fig, history, metrics)
    _label_epochs(fig, history, len(metrics))
    return finish(
        fig,
        title or "Training by group",
        plot_height=height,
        note=ARROWS,
        headings=1,
        legend=len(groups) + 1 + selected,
    )


def adversary_curves(history: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show how well the adversary tells the groups apart, against chance, and how hard it pushes.

    Args:
        history: one row an epoch: ``epoch, adversary_balanced_accuracy, adversary_strength, chance``;
            strength is the weight in effect, after the ramp.
        title: plain text.

    Raises:
        DataError: a column is missing, or there is no epoch.
    """
    columns = ["epoch", "adversary_balanced_accuracy", "adversary_strength", "chance"]
    require(history, columns, "adversary_curves")
    fig, height = panels([_PANEL_HEIGHT + 30, _PANEL_HEIGHT - 50], gap=40, shared_xaxes=True)
    chance = Style(TEXT, "circle", "dash")
    fig.add_trace(_curve(history, "chance", "chance", chance).update(mode="lines"), row=1, col=1)
    fig.add_trace(_curve(history, "adversary_balanced_accuracy", "adversary", ACCENT), row=1, col=1)
    strength = _curve(history, "adversary_strength", "strength", ACCENT, first=False)
    fig.add_trace(strength, row=2, col=1)
    heading(fig, "adversary's balanced accuracy", 1)
    heading(fig, "strength in effect", 2)
    fig.update_yaxes(title_text="share", row=1, col=1)
    fig.update_yaxes(title_text="weight", rangemode="tozero", row=2, col=1)
    _label_epochs(fig, history, 2)
    return finish(fig, title or "The adversary over training", plot_height=height, headings=1, legend=2)


def _groups_in(history: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    """Return the groups of columns like ``validation_accuracy[red]``, in order of appearance."""
    columns = [str(column) for column in history.columns]
    found = [
        column[len(name) + 1 : -1]
        for column, name in itertools.product(columns, metrics)
        if column.startswith(f"{name}[") and column.endswith("]")
    ]
    return list(dict.fromkeys(found))


def _curve(history: pd.DataFrame, column: str, name: str, style: Style, *, first: bool = True) -> go.Scatter:
    """Return a line with symbols; only the ``first`` of a name enters the legend."""
    epochs, (values,) = history["epoch"].to_numpy(), numbers(history, column)
    label = escape(metric(column.partition("[")[0]).label)
    return go.Scatter(
        x=epochs,
        y=values,
        mode="lines+markers",
        line=style.line(),
        # A long training would drown its lines in symbols.
        marker={**style.marker(7), "maxdisplayed": 24},
        name=shorten(name, 28),
        legendgroup=escape(name),
        showlegend=first,
        hovertext=[
            f"{escape(name)}, epoch {epoch}<br>{label} {number(value)}"
            for epoch, value in zip(epochs, values, strict=True)
        ],
        hoverinfo="text",
    )


def _mark_selected(fig: go.Figure, history: pd.DataFrame, metrics: Sequence[str]) -> bool:
    """Draw a line at the selected epoch through every panel, and a ring on the curve of all groups."""
    if "selected" not in history.columns or not history["selected"].eq(True).any():
        return False
    chosen = history[history["selected"].eq(True)].iloc[0]
    for row, name in enumerate(metrics, 1):
        text = f"selected: epoch {chosen['epoch']:g}" if row == 1 else ""
        reference_line(fig, x=float(chosen["epoch"]), name=text, dash="dot", row=row, col=1)
        ring(fig, float(chosen["epoch"]), float(chosen[name]), row=row)
    return True


def _label_epochs(fig: go.Figure, history: pd.DataFrame, rows: int) -> None:
    """Title the lowest x axis, and keep ticks on whole epochs: with few of them plotly would write 1.5."""
    first, last = float(history["epoch"].min()), float(history["epoch"].max())
    steps = (size * factor for size in (1, 10, 100, 1000, 10_000) for factor in (1, 2, 5))
    step = next(step for step in steps if (last - first) / step <= 10)
    pad = max(0.4, (last - first) * 0.03)
    fig.update_xaxes(dtick=step, tick0=first if step == 1 else 0, range=[first - pad, last + pad])
    fig.update_xaxes(title_text="epoch", row=rows, col=1)
