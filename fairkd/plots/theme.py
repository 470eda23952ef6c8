"""How every figure looks: colours, symbols and dashes, type sizes, margins, and one template.

Colours are told apart under the three common colour-vision deficiencies and stand out on white and on near
black; the paper is transparent and the text mid-grey, so that one figure suits light and dark pages. Colour
never carries a meaning alone: each model and group also has its own marker symbol and dash.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from fairkd.plots.text import wrap

TEXT = "#757575"
GRID = "rgba(128,128,128,0.22)"
LINE = "rgba(128,128,128,0.65)"
CLEAR = "rgba(0,0,0,0)"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
FONT_SIZE, SMALL, TITLE_SIZE = 13, 12, 16
#: Under this many pixels plotly lets axis titles and tick labels collide.
_LEAST_PLOT = 72

#: Light to dark blue: monotone in lightness, so that it survives grey print.
SEQUENTIAL = ((0.0, "#EEF4FA"), (0.35, "#A9CBE6"), (0.7, "#3F86BF"), (1.0, "#0B3C66"))


@dataclass(frozen=True)
class Style:
    """What tells one series from another: colour, marker symbol and line dash."""

    color: str
    symbol: str
    dash: str

    def marker(self, size: float = 10, *, hollow: bool = False) -> dict[str, Any]:
        """Return plotly's marker settings; ``hollow`` markers are outlines."""
        symbol = f"{self.symbol}-open" if hollow else self.symbol
        return {
            "color": self.color,
            "symbol": symbol,
            "size": size,
            "line": {"color": self.color, "width": 2},
        }

    def line(self, width: float = 2) -> dict[str, Any]:
        """Return plotly's line settings."""
        return {"color": self.color, "dash": self.dash, "width": width}


#: Okabe and Ito's blue, reddish purple, vermillion and bluish green (https://jfly.uni-koeln.de/color/).
MODEL_STYLES = {
    "teacher": Style("#0072B2", "circle", "solid"),
    "student_scratch": Style("#CC79A7", "square", "dot"),
    "student_kd": Style("#D55E00", "diamond", "dash"),
    "student_fair": Style("#009E73", "triangle-up", "longdash"),
}
#: None of the models' colours, so that a group is never taken for a model.
SERIES_STYLES = (
    Style("#C98500", "circle", "solid"),
    Style("#6C5FC7", "square", "dash"),
    Style("#E01B6A", "diamond", "dot"),
    Style("#64ABCC", "triangle-up", "dashdot"),
    Style("#A9421B", "triangle-down", "longdash"),
    Style("#9C02FC", "cross", "longdashdot"),
    Style("#9F3F87", "x", "dash"),
    Style("#A1A2A1", "star", "dot"),
)
#: For what is neither a model nor a group.
ACCENT = Style("#64748B", "circle", "solid")
#: One member of a set to look at, for example the true class.
HIGHLIGHT = Style("#C98500", "diamond", "solid")


def group_styles(groups: Sequence[Hashable]) -> dict[Hashable, Style]:
    """Return a style a group, by position; from the ninth on, colours meet other symbols."""
    return {group: _series_style(position) for position, group in enumerate(groups)}


def model_styles(models: Sequence[Hashable]) -> dict[Hashable, Style]:
    """Return a style a model: fixed for the four roles, in order of appearance for any other name."""
    others = [name for name in models if name not in MODEL_STYLES]
    return {
        **group_styles(others),
        **{name: MODEL_STYLES[str(name)] for name in models if name in MODEL_STYLES},
    }


def _series_style(position: int) -> Style:
    lap, place = divmod(position, len(SERIES_STYLES))
    style, shifted = SERIES_STYLES[place], SERIES_STYLES[(place + lap) % len(SERIES_STYLES)]
    return Style(style.color, shifted.symbol, shifted.dash)


_AXIS = {
    "automargin": True,
    "gridcolor": GRID,
    "linecolor": LINE,
    "showline": True,
    "ticks": "outside",
    "tickcolor": LINE,
    "ticklen": 4,
    "zeroline": False,
    "tickfont": {"size": SMALL},
    "title": {"font": {"size": FONT_SIZE}, "standoff": 8},
}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": FONT_SIZE, "color": TEXT},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "title": {
            "font": {"size": TITLE_SIZE},
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
        },
        "legend": {
            "orientation": "h",
            "x": 0.008,
            "xref": "container",
            "xanchor": "left",
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
            "bgcolor": CLEAR,
            "font": {"size": SMALL},
            "itemsizing": "constant",
        },
        "hoverlabel": {"align": "left", "font": {"family": FONT, "size": SMALL}, "namelength": -1},
        "hovermode": "closest",
        # Dragging over a figure scrolls the page; the tool bar's zoom button turns zooming on.
        "dragmode": False,
        "modebar": {"bgcolor": CLEAR, "color": LINE, "activecolor": TEXT, "remove": ["lasso", "select"]},
        "barcornerradius": 2,
    }
)

_TITLE_WIDTH, _NOTE_WIDTH = 46, 58
_TITLE_LINE, _NOTE_LINE, _HEADING_LINE, _LEGEND_LINE = 21, 16, 17, 19
#: plotly draws a title of several lines this much higher than one of a single line.
_TITLE_RISE = 11


def finish(
    fig: go.Figure,
    title: str,
    *,
    plot_height: float,
    note: str = "",
    headings: int = 0,
    below: float = 56,
    legend: int = 0,
) -> go.Figure:
    """Apply the template, the title and a fixed height, and return ``fig``.

    Args:
        fig: the figure.
        title: plain text; it is escaped and wrapped here.
        plot_height: height of the plotting area in pixels, gaps between panels included.
        note: plain text in smaller type under the title.
        headings: lines of text between the title and the plotting area (panel headings).
        below: pixels for tick labels and axis title under the plotting area.
        legend: number of entries in the legend at the bottom; 0 for no legend.
    """
    text, rows = wrap(title, _TITLE_WIDTH), 1 + wrap(title, _TITLE_WIDTH).count("<br>")
    top = 20 + _TITLE_LINE * rows + _HEADING_LINE * headings
    if note:
        small = wrap(note, _NOTE_WIDTH)
        text += f'<br><span style="font-size:{SMALL}px">{small}</span>'
        top += _NOTE_LINE * (1 + small.count("<br>"))
    bottom = below + (12 + _LEGEND_LINE * math.ceil(legend / 3) if legend else 0)
    fig.update_layout(
        template=TEMPLATE,
        title={"text": text, "pad": {"l": 10, "t": 12 + (_TITLE_RISE if "<br>" in text else 0)}},
        height=round(max(plot_height, _LEAST_PLOT) + top + bottom),
        margin={"l": 12, "r": 16, "t": top, "b": 12},
        showlegend=legend > 0,
    )
    return fig
