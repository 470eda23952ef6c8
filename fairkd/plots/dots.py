"""Models beside each other in named rows: what happens to each group, how much is read, how far apart they are."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fairkd.plots.multiples import Mark, Panel, row_panels
from fairkd.plots.panels import levels, numbers, reference_line, require, require_one_row_each
from fairkd.plots.text import count, escape, estimate, lines, metric, model_label, shorten
from fairkd.plots.theme import GRID, finish, model_styles

#: Rows that a figure shows at most, and pixels between two marks of a row.
_MOST_ROWS, _STEP = 12, 14
_DIRECTIONS = ("teacher right, student wrong", "teacher wrong, student right")
_CALIBRATION = {
    "calibration_error_debiased": "calibration error, debiased",
    "brier_score": "Brier score",
    "overconfidence": "overconfidence",
    "confidence_of_errors": "confidence of errors",
}
_INTERVALS = "Lines are intervals"


def disagreement_dots(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show what share of each group a student lost and won against its teacher.

    Args:
        table: tidy rows ``model, group, outcome, share, low, high, n``, as
            :func:`fairkd.analysis.disagreement` returns them for a model; of the outcomes the two directions are drawn.
        title: plain text.

    Raises:
        DataError: a column is missing, no row is left, or a place has two values.
    """
    require(table, ["model", "group", "outcome", "share", "low", "high"], "disagreement_dots")
    rows = table[table["outcome"].isin(_DIRECTIONS)].rename(columns={"share": "value"})
    rows = rows.assign(panel=rows["outcome"], row=rows["group"])
    return _dots(rows, "disagreement_dots", "share", "group", title or "Where student and teacher disagree")


def leakage_dots(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show how well probes read the group, one panel an array and probe, with chance as a line.

    Args:
        table: tidy rows ``model, input, probe, balanced_accuracy, low, high, chance, n``, as
            :func:`fairkd.analysis.group_leakage` returns them for a model.
        title: plain text.

    Raises:
        DataError: a column is missing, or a place has two values.
    """
    columns = ["model", "input", "probe", "balanced_accuracy", "low", "high", "chance"]
    require(table, columns, "leakage_dots")
    rows = table.rename(columns={"balanced_accuracy": "value"})
    names = rows["model"].map(model_label)
    rows = rows.assign(panel=rows["input"] + ", " + rows["probe"] + " probe", row=names)
    name = title or "How well the group can be read (balanced accuracy)"
    chance = float(rows["chance"].iloc[0])
    return _dots(rows, "leakage_dots", "accuracy", "model", name, line=chance, line_name="chance")


def calibration_dots(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show calibration error, Brier score, overconfidence and the confidence of errors by group.

    Args:
        table: tidy rows ``model, group, metric, value, low, high, n``, as
            :func:`fairkd.analysis.calibration_by_group` returns them for a model.
        title: plain text.

    Raises:
        DataError: a column is missing, no row is left, or a place has two values.
    """
    require(table, ["model", "group", "metric", "value", "low", "high"], "calibration_dots")
    rows = table[table["metric"].isin(list(_CALIBRATION))]
    rows = rows.assign(panel=rows["metric"].map(_CALIBRATION), row=rows["group"])
    return _dots(rows, "calibration_dots", "value", "group", title or "Calibration by group")


def sensitivity_dots(table: pd.DataFrame, *, unit: str = "1 / input", title: str | None = None) -> go.Figure:
    """Show how strongly predictions differ between similar inputs, by kind of pair.

    Args:
        table: tidy rows ``model, pairs, value, low, high, n``, as
            :func:`fairkd.analysis.prediction_sensitivity` returns them for a model.
        unit: the unit of the value, the inverse of the inputs'.
        title: plain text.

    Raises:
        DataError: a column is missing, or a place has two values.
    """
    require(table, ["model", "pairs", "value", "low", "high"], "sensitivity_dots")
    rows = table.assign(panel="prediction / input distance", row=table["pairs"])
    return _dots(
        rows, "sensitivity_dots", unit, "pairs", title or "Do similar inputs get similar predictions?"
    )


def flip_dots(table: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Show how often a prediction changes where the same unit is shown in another group.

    Args:
        table: tidy rows ``model, group, other_group, metric, value, low, high, n``, as
            :func:`fairkd.analysis.counterfactual_flips` returns them for a model, of one class or of all.
        title: plain text.

    Raises:
        DataError: a column is missing, or a place has two values.
    """
    require(table, ["model", "group", "other_group", "metric", "value", "low", "high"], "flip_dots")
    pair = table["group"].astype(str) + " → " + table["other_group"].astype(str)
    labels = {name: metric(name).label for name in table["metric"].unique()}
    rows = table.assign(panel=table["metric"].map(labels), row=pair)
    return _dots(
        rows, "flip_dots", "share", "pair", title or "The same item in another group (share of the units)"
    )


def _dots(
    table: pd.DataFrame,
    figure: str,
    unit: str,
    rows_title: str,
    title: str,
    *,
    line: float | None = None,
    line_name: str = "",
) -> go.Figure:
    """Draw ``panel, row, model, value, low, high``: models side by side within each named row."""
    require(table, ["panel", "row", "model", "value"], figure)
    require_one_row_each(table, ["panel", "row", "model"], figure)
    every, models = levels(table["row"]), levels(table["model"])
    # A row of one model needs no room for the others.
    alone = not table.duplicated(["panel", "row"]).any()
    names, styles = every[:_MOST_ROWS], model_styles(models)
    offsets = {name: 0.0 if alone else place for name, place in _offsets(models).items()}
    items = [Panel(str(panel), unit, _marks(part, names, offsets)) for panel, part in _parts(table, names)]
    drawn = row_panels(
        items,
        [shorten(name, 18) for name in names],
        rows_title,
        row_height=30 if alone else _STEP * len(models) + 12,
    )
    for position in range(len(items)):
        where: dict[str, Any] = {"row": position // 2 + 1, "col": position % 2 + 1}
        for edge in range(1, len(names)):
            drawn.fig.add_hline(y=edge - 0.5, line={"color": GRID, "width": 1}, layer="below", **where)
        if line is not None:
            reference_line(drawn.fig, x=line, name=line_name if not position else "", **where)
            ends = [line, *(end for column in numbers(table, "value", "low", "high") for end in column)]
            low, high = np.nanmin(ends), np.nanmax(ends)
            drawn.fig.update_xaxes(range=[low - 0.05, high + 0.05], **where)
    for model in models:
        marker, label = styles[model].marker(), escape(model_label(model))
        drawn.fig.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=label))
    hidden = len(every) - len(names)
    left_out = f". Of {len(every)} rows the first {len(names)} are shown; the table has all" if hidden else ""
    return finish(
        drawn.fig,
        title,
        plot_height=drawn.height,
        note=_INTERVALS + left_out,
        headings=drawn.headings,
        legend=len(models) + (line is not None),
    )


def _parts(table: pd.DataFrame, names: Sequence[Hashable]) -> list[tuple[Hashable, pd.DataFrame]]:
    shown = table[table["row"].isin(names)]
    return [(panel, shown[shown["panel"] == panel]) for panel in levels(shown["panel"])]


def _offsets(models: Sequence[Hashable]) -> dict[Hashable, float]:
    """Return each model's place within a row, around its middle."""
    step = _STEP / (_STEP * len(models) + 12)
    return {model: (place - (len(models) - 1) / 2) * step for place, model in enumerate(models)}


def _marks(part: pd.DataFrame, names: Sequence[Hashable], offsets: Mapping[Hashable, float]) -> list[Mark]:
    styles = model_styles(list(offsets))
    columns = numbers(part, "value", "low", "high", "n")
    marks = []
    for model, name, value, low, high, n in zip(part["model"], part["row"], *columns, strict=True):
        label = escape(model_label(model))
        text = lines(label, escape(name), estimate(value, low, high), count(n))
        place = names.index(name) + offsets[model]
        marks.append(Mark(place, value, low, high, style=styles[model], name=label, hover=text))
    return marks
