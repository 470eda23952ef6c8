"""What a preview says the adversary's weight would do, beside the students that were trained."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fairkd.plots.panels import (
    error_bars,
    heading,
    numbers,
    panels,
    reference_line,
    require,
    require_one_row_each,
    ring,
)
from fairkd.plots.text import ARROWS, estimate, lines, metric
from fairkd.plots.theme import ACCENT, MODEL_STYLES, Style, finish

_STYLES = {"preview": ACCENT, "trained": MODEL_STYLES["student_fair"]}
_NAMES = {"preview": "preview: a small head", "trained": "students trained in full"}
_METRICS = ("accuracy", "recall_gap", "adversary_balanced_accuracy")


def preview_curve(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show accuracy, recall gap and the adversary's accuracy along the adversary's weight.

    Args:
        table: a row a weight and source: ``source`` (``preview`` or ``trained``), ``adversary_weight``, ``accuracy,
            recall_gap`` and, if known, ``adversary_balanced_accuracy``, ``chance``, ``<metric>_low``,
            ``<metric>_high`` and the boolean ``selected``. Weights are spaced evenly, zero included.
        title: plain text.

    Raises:
        DataError: a column is missing, or a weight occurs twice in a source.
    """
    require(table, ["source", "adversary_weight", *_METRICS[:2]], "preview_curve")
    require_one_row_each(table, ["source", "adversary_weight"], "preview_curve")
    metrics = [name for name in _METRICS if name in table.columns and table[name].notna().any()]
    weights = sorted(table["adversary_weight"].unique())
    places = {weight: place for place, weight in enumerate(weights)}
    fig, height = panels([150] * len(metrics), gap=44, shared_xaxes=True)
    sources = [source for source in _STYLES if (table["source"] == source).any()]
    for row, name in enumerate(metrics, 1):
        heading(fig, "adversary's balanced accuracy" if name == _METRICS[2] else metric(name).heading, row)
        fig.update_yaxes(title_text=metric(name).unit, nticks=5, row=row, col=1)
        for source in sources:
            rows = table[table["source"] == source].sort_values("adversary_weight").reset_index(drop=True)
            fig.add_trace(_line(rows, name, source, places, first=row == 1), row=row, col=1)
            for _, one in rows[rows.get("selected", pd.Series(False, rows.index)).eq(True)].iterrows():
                ring(fig, places[one["adversary_weight"]], float(one[name]), row=row)
    chance = "chance" in table.columns and _METRICS[2] in metrics
    if chance:
        level = float(table["chance"].dropna().iloc[0])
        reference_line(fig, y=level, name=f"chance: {level:.2f}", row=len(metrics), col=1)
    fig.update_xaxes(
        tickvals=list(places.values()),
        ticktext=[f"{weight:g}" for weight in weights],
        range=[-0.4, len(weights) - 0.6],
    )
    fig.update_xaxes(title_text="adversary weight (evenly spaced)", row=len(metrics), col=1)
    return finish(
        fig,
        title or "What the adversary's weight would do",
        plot_height=height,
        note=ARROWS,
        headings=1,
        legend=len(sources) + chance,
    )


def _line(rows: pd.DataFrame, name: str, source: str, places: dict[float, int], *, first: bool) -> go.Scatter:
    style: Style = _STYLES[source]
    value, low, high = numbers(rows, name, f"{name}_low", f"{name}_high")
    weights = rows["adversary_weight"]
    return go.Scatter(
        x=np.array([places[weight] for weight in weights]),
        y=value,
        mode="lines+markers",
        line=style.line(),
        marker=style.marker(9, hollow=source == "preview"),
        error_y=error_bars(value, low, high, style.color),
        name=_NAMES[source],
        legendgroup=source,
        showlegend=first,
        hovertext=[
            lines(f"{_NAMES[source]}, weight {weight:g}", f"{metric(name).label} {estimate(*one)}")
            for weight, *one in zip(weights, value, low, high, strict=True)
        ],
        hoverinfo="text",
    )
