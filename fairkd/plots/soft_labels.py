"""What a teacher hands on: calibration, its softened labels, and their entropy by group."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import pandas as pd
import plotly.graph_objects as go

from fairkd.plots.panels import (
    breakdown,
    error_bars,
    heading,
    heading_width,
    levels,
    name_rows,
    numbers,
    panels,
    reference_line,
    require,
    require_one_row_each,
)
from fairkd.plots.text import count, escape, estimate, line_count, lines, model_label, number, shorten
from fairkd.plots.theme import ACCENT, HIGHLIGHT, SMALL, TEXT, Style, finish, group_styles, model_styles

#: Below so many samples a bin's accuracy is mostly noise, and its symbol is left open.
_FEW = 10
_LOG_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def reliability_diagram(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show accuracy against confidence in bins, one panel a model or group.

    Args:
        table: tidy rows ``bin_confidence, bin_accuracy, n``, if known ``accuracy_low, accuracy_high``, and a
            column ``model`` or ``group`` that tells several curves apart. The columns of
            :func:`fairkd.metrics.reliability_bins` serve as they are; empty bins are left out.
        title: plain text.

    Returns:
        On the diagonal confidence equals accuracy. Bars are the share of the samples in each bin; bins of
        fewer than 10 samples have open symbols.

    Raises:
        DataError: a column is missing, or there is no bin.
    """
    table = table.rename(columns={"confidence": "bin_confidence", "accuracy": "bin_accuracy"})
    require(table, ["bin_confidence", "bin_accuracy", "n"], "reliability_diagram")
    table = table[table["n"] > 0]
    require(table, ["n"], "reliability_diagram")
    key = next((name for name in ("model", "group") if name in table.columns), None)
    table = breakdown(table, "group") if key == "group" else table
    names = levels(table[key]) if key else ["all samples"]
    styles = model_styles(names) if key == "model" else group_styles(names)
    labels = [model_label(name) if key == "model" else str(name) for name in names]
    columns = min(2, len(names))
    depth, width = math.ceil(len(names) / columns), heading_width(columns)
    headings = line_count(labels, width) if key else 0
    fig, height = panels(
        [300 if depth == 1 else 220] * depth,
        columns=columns,
        gap=30 + 17 * headings,
        shared_xaxes=True,
        shared_yaxes=True,
    )
    for position, (name, label) in enumerate(zip(names, labels, strict=True)):
        row, column = position // columns + 1, position % columns + 1
        rows = table[table[key] == name] if key else table
        style = styles[name] if key else ACCENT
        for trace in _reliability(rows.sort_values("bin_confidence"), label, style, first=position == 0):
            fig.add_trace(trace, row=row, col=column)
        if key:
            heading(fig, label, row, column, width=width)
    fig.update_xaxes(range=[0, 1.03], dtick=0.25)
    fig.update_yaxes(range=[0, 1.05], dtick=0.25)
    fig.update_xaxes(title_text="mean confidence", row=depth)
    fig.update_yaxes(title_text="accuracy (share)", col=1)
    return finish(
        fig,
        title or "Reliability of the confidence",
        plot_height=height,
        note=f"Open symbols: fewer than {_FEW} samples in the bin",
        headings=headings,
        legend=2,
    )


def softened_labels(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show class probabilities of a few samples: one row of panels a sample, one column a temperature.

    Args:
        table: tidy rows ``sample, temperature, class, probability``; the class named in ``label``, if that
            column exists, is highlighted.
        title: plain text.

    Returns:
        With a single temperature the samples stand side by side instead.

    Raises:
        DataError: a column is missing, or a probability occurs twice.
    """
    require(table, ["sample", "temperature", "class", "probability"], "softened_labels")
    require_one_row_each(table, ["sample", "temperature", "class"], "softened_labels")
    samples, classes = levels(table["sample"]), levels(table["class"])
    temperatures = sorted(table["temperature"].unique())
    several = len(temperatures) > 1
    columns = len(temperatures) if several else min(len(samples), 3)
    width = 12 if several else heading_width(columns)
    titles = [f"T={t:g}" for t in temperatures] if several else [str(sample) for sample in samples]
    headings = line_count(titles, width)
    fig, height = panels(
        [max(15 * len(classes), 80)] * (len(samples) if several else math.ceil(len(samples) / columns)),
        columns=columns,
        gap=20 if several else 20 + 17 * headings,
        column_gap=0.025,
        shared_yaxes=True,
        shared_xaxes=True,
    )
    for position, (sample, temperature) in enumerate((s, t) for s in samples for t in temperatures):
        row, column = position // columns + 1, position % columns + 1
        rows = table[(table["sample"] == sample) & (table["temperature"] == temperature)]
        for trace in _probabilities(rows, classes, first=position == 0):
            fig.add_trace(trace, row=row, col=column)
        if position < len(titles):
            heading(fig, titles[position], row, column, width=width)
        if column == 1:
            text = shorten(sample, max(11, 2 * len(classes))) if several else "class"
            fig.update_yaxes(title_text=text, row=row, col=1)
    _style_probabilities(fig, classes, columns)
    if not several:
        # Of an incomplete last row, the panels above it end their columns.
        for position in range(max(0, len(samples) - columns), len(samples)):
            fig.update_xaxes(showticklabels=True, row=position // columns + 1, col=position % columns + 1)
    return finish(
        fig,
        title
        or ("Softened labels by temperature" if several else f"Softened labels, T = {temperatures[0]:g}"),
        plot_height=height,
        headings=headings,
        legend=2 if "label" in table.columns else 0,
    )


def temperature_entropy(
    table: pd.DataFrame,
    *,
    calibration_temperature: float | None = None,
    unit: str = "nats",
    title: str | None = None,
) -> go.Figure:
    """Show the mean entropy of the softened labels over the temperature, a line a group.

    Args:
        table: tidy rows ``temperature, group, entropy`` and, if known, ``low, high, n``.
        calibration_temperature: marked by a vertical line.
        unit: of the entropy, for the axis title.
        title: plain text.

    Raises:
        DataError: a column is missing, or a group has two values at one temperature.
    """
    require(table, ["temperature", "group", "entropy"], "temperature_entropy")
    require_one_row_each(table, ["temperature", "group"], "temperature_entropy")
    groups = levels(table["group"])
    styles = group_styles(groups)
    fig, height = panels([320])
    for group in groups:
        rows = table[table["group"] == group].sort_values("temperature")
        fig.add_trace(_entropy(rows, group, styles[group], escape(unit)))
    if calibration_temperature is not None:
        name = f"calibration temperature {calibration_temperature:.3g}"
        reference_line(fig, x=calibration_temperature, name=name, row=1, col=1)
    fig.update_xaxes(title_text="temperature (log scale)", type="log", tickvals=_LOG_TICKS)
    fig.update_yaxes(title_text=f"mean entropy ({escape(unit)})", rangemode="tozero")
    return finish(
        fig,
        title or "Entropy of the softened labels by group",
        plot_height=height,
        legend=len(groups) + (calibration_temperature is not None),
    )


def _reliability(rows: pd.DataFrame, name: str, style: Style, *, first: bool) -> list[go.Scatter | go.Bar]:
    """Return the bars of the samples' shares, the diagonal, and the curve with its intervals."""
    confidence, accuracy, n = numbers(rows, "bin_confidence", "bin_accuracy", "n")
    low, high = numbers(rows, "accuracy_low", "accuracy_high")
    hovers = [
        lines(
            escape(name),
            f"confidence {number(confidence[i])}",
            f"accuracy {estimate(accuracy[i], low[i], high[i])}",
            count(n[i]),
        )
        for i in range(len(rows))
    ]
    shares = go.Bar(
        x=confidence,
        y=n / n.sum(),
        width=0.06,
        marker={"color": TEXT, "opacity": 0.3},
        name="share of the samples",
        showlegend=first,
        hovertext=hovers,
        hoverinfo="text",
    )
    diagonal = go.Scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": TEXT, "dash": "dash", "width": 1.5},
        name="accuracy = confidence",
        showlegend=first,
        hoverinfo="skip",
    )
    curve = go.Scatter(
        x=confidence,
        y=accuracy,
        mode="lines+markers",
        line={"color": style.color, "width": 2},
        marker={
            **style.marker(9),
            "symbol": [f"{style.symbol}-open" if few else style.symbol for few in n < _FEW],
        },
        error_y=error_bars(accuracy, low, high, style.color),
        name=escape(name),
        showlegend=False,
        hovertext=hovers,
        hoverinfo="text",
    )
    return [shares, diagonal, curve]


def _probabilities(rows: pd.DataFrame, classes: Sequence[Hashable], *, first: bool) -> list[go.Bar]:
    """Return the bars of the true class, where it is known, and those of the others."""
    known = "label" in rows.columns
    true = rows["class"].astype(str) == rows["label"].astype(str) if known else rows["class"].isna()
    parts = [(rows[~true], "other classes", ACCENT, "")]
    if known:
        parts.insert(0, (rows[true], "true class", HIGHLIGHT, "/"))
    return [
        go.Bar(
            x=numbers(part, "probability")[0],
            y=[classes.index(name) for name in part["class"]],
            orientation="h",
            width=0.75,
            marker={"color": style.color, "pattern": {"shape": pattern, "fillmode": "overlay", "size": 6}},
            name=legend,
            legendgroup=legend,
            showlegend=first and known,
            hovertext=[
                lines(escape(name), f"probability {number(p)}", legend if known else "")
                for name, p in zip(part["class"], part["probability"], strict=True)
            ],
            hoverinfo="text",
        )
        for part, legend, style, pattern in parts
    ]


def _style_probabilities(fig: go.Figure, classes: Sequence[Hashable], columns: int) -> None:
    """Label the classes, and the probabilities so sparsely that the panels' labels do not touch."""
    name_rows(fig, [shorten(name, 16) for name in classes], tickfont={"size": 11})
    ticks = [0.5, 1] if columns > 1 else [0, 0.25, 0.5, 0.75, 1]
    fig.update_xaxes(range=[0, 1], tickvals=ticks, tickfont={"size": 11})
    depth = len(list(fig.select_yaxes(col=1)))
    fig.update_xaxes(title_text="probability", row=depth, col=(columns + 1) // 2)
    for annotation in fig.layout.annotations:
        annotation.font.size = SMALL


def _entropy(rows: pd.DataFrame, group: Hashable, style: Style, unit: str) -> go.Scatter:
    temperature, entropy, low, high, n = numbers(rows, "temperature", "entropy", "low", "high", "n")
    return go.Scatter(
        x=temperature,
        y=entropy,
        mode="lines+markers",
        line=style.line(),
        marker={**style.marker(8), "maxdisplayed": 16},
        error_y=error_bars(entropy, low, high, style.color),
        name=shorten(group, 28),
        hovertext=[
            lines(
                f"{escape(group)}, temperature {temperature[i]:g}",
                f"entropy {estimate(entropy[i], low[i], high[i])} {unit}",
                count(n[i]),
            )
            for i in range(len(rows))
        ],
        hoverinfo="text",
    )
