"""Many paired differences with adjusted verdicts: a forest of metrics, groups, classes or cells."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import pandas as pd
import plotly.graph_objects as go

from fairkd.errors import DataError
from fairkd.plots.multiples import Mark, Panel, row_panels
from fairkd.plots.panels import levels, numbers, require, require_one_row_each
from fairkd.plots.text import count, escape, estimate, lines, metric, model_label, number, shorten, wrap
from fairkd.plots.theme import ACCENT, Style, finish, model_styles

#: How a verdict of :func:`fairkd.analysis.inflation` is drawn; symbols without a verdict are outlines.
_SYMBOLS = {"larger": "triangle-right", "smaller": "triangle-left", "not settled": "circle"}
_FEW = {"too few samples": "x", "undefined": "x"}
_KEYS = ["model", "baseline", "metric", "class", "group"]


def inflation_forest(
    table: pd.DataFrame, *, level: str = "overall", most: int = 24, title: str | None = None
) -> go.Figure:
    """Show paired differences with Holm-adjusted verdicts, one panel a pair of models.

    Args:
        table: rows of :func:`fairkd.analysis.inflation`: ``model, baseline, level, metric, class, group, value, low,
            high, p_adjusted, verdict``.
        level: which rows: ``overall`` (a row a metric), ``group``, ``class`` or ``cell``.
        most: rows drawn at most, at least 1: those with the smallest adjusted p-value; the note counts the others.
        title: plain text.

    Raises:
        DataError: a column is missing, no row of the level, or a difference occurs twice.
    """
    needed = ["level", *_KEYS, "value", "low", "high", "p_adjusted", "verdict"]
    require(table, needed, "inflation_forest")
    rows = table[table["level"] == level]
    if rows.empty:
        raise DataError(f"inflation_forest: no rows of level {level!r}; there are {levels(table['level'])}")
    require_one_row_each(rows, _KEYS, "inflation_forest")
    rows = rows.assign(place=_places(rows, level))
    every = list(dict.fromkeys(rows["place"]))
    shown = _clearest(rows, every, max(most, 1))
    styles, items = model_styles(levels(rows["model"])), []
    for (model, baseline), pair in rows.groupby(["model", "baseline"], sort=False, observed=True):
        heading = f"{model_label(model)} −\xa0{model_label(baseline)}"
        items.append(Panel(heading, "difference", _marks(pair, shown, styles[model])))
    drawn = row_panels(
        items,
        [_name(place, level) for place in shown],
        {"overall": "metric", "cell": "class, group"}.get(level, level),
        # Names of metrics take two lines.
        row_height=34 if level == "overall" else 22,
        heading_limit=14,
        same_scale=True,
        zero_line=True,
    )
    for verdict, symbol in _SYMBOLS.items():
        marker = Style(ACCENT.color, symbol, "solid").marker(hollow=verdict == "not settled")
        drawn.fig.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=verdict))
    marker = Style(ACCENT.color, "x", "solid").marker(hollow=True)
    drawn.fig.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name="too few samples"))
    return finish(
        drawn.fig,
        title or "Differences, with adjusted verdicts",
        plot_height=drawn.height,
        note=_note(len(every), len(shown)),
        headings=drawn.headings,
        legend=len(_SYMBOLS) + 1,
    )


def _places(rows: pd.DataFrame, level: str) -> pd.Series:
    """Return what each row is of: a metric, a group, a class, or a class and group."""
    columns = {"overall": ["metric"], "group": ["group"], "class": ["class"]}.get(level, ["class", "group"])
    return pd.Series(list(zip(*(rows[name] for name in columns), strict=True)), index=rows.index)


def _clearest(rows: pd.DataFrame, every: list[Hashable], most: int) -> list[Hashable]:
    """Return the places with the smallest adjusted p-values, in their order; without one they come last."""
    if len(every) <= most:
        return every
    smallest = rows.assign(p=rows["p_adjusted"].fillna(2.0)).groupby("place", sort=False)["p"].min()
    kept = set(smallest.sort_values(kind="stable").index[:most])
    return [place for place in every if place in kept]


def _name(place: Hashable, level: str) -> str:
    parts = list(place) if isinstance(place, tuple) else [place]
    if level == "overall":
        return wrap(metric(parts[0]).heading, 20, 2)
    return ", ".join(shorten(part, 20 if len(parts) == 1 else 12) for part in parts)


def _note(every: int, shown: int) -> str:
    capped = f". {shown} of {every} rows, those with the smallest p-values; the table has all"
    return "Model − baseline on the same images; filled: settled after Holm's adjustment" + (
        capped if shown < every else ""
    )


def _marks(pair: pd.DataFrame, shown: Sequence[Hashable], style: Style) -> list[Mark]:
    marks = []
    columns = numbers(pair, "value", "low", "high", "p_adjusted", "n")
    for row, value, low, high, adjusted, n in zip(pair.to_dict("records"), *columns, strict=True):
        if row["place"] not in shown:
            continue
        verdict = str(row["verdict"])
        symbol = (_SYMBOLS | _FEW).get(verdict, "circle")
        name = escape(f"{model_label(row['model'])} − {model_label(row['baseline'])}")
        text = lines(
            name,
            escape(f"{metric(row['metric']).label}, class {row['class']}, group {row['group']}"),
            estimate(value, low, high),
            f"{escape(verdict)}, adjusted p {number(adjusted)}",
            count(n),
        )
        marks.append(
            Mark(
                shown.index(row["place"]),
                value,
                low,
                high,
                style=Style(ACCENT.color if verdict in _FEW else style.color, symbol, style.dash),
                name=name,
                hover=text,
                hollow=verdict not in ("larger", "smaller"),
            )
        )
    return marks
