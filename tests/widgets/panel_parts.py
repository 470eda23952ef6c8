"""What the tests of the panels look at: their parts, what a figure shows, the command."""

from __future__ import annotations

import html
import json
from typing import Any

import plotly.graph_objects as go
from ipywidgets import HTML

from fairkd.widgets.figure import LiveFigure


def parts_of(box: Any, kind: type) -> list[Any]:
    """All widgets of a kind in a box, in their order."""
    found = [box] if isinstance(box, kind) else []
    return found + [part for child in getattr(box, "children", ()) for part in parts_of(child, kind)]


def drawn(figure: LiveFigure | go.Figure) -> dict[str, Any]:
    """What a figure shows: of a live one, what the page is told."""
    content = json.loads(figure._json.value if isinstance(figure, LiveFigure) else figure.to_json())
    # What a page does about a zoom is not shown.
    content["layout"].pop("uirevision", None)
    return content


def click(figure: LiveFigure, customdata: Any) -> None:
    """Tell a figure what the page tells it when somebody clicks on a point."""
    figure._handle_custom_msg({"clicked": customdata}, [])


def command_of(box: Any) -> str:
    """The command that the panel shows."""
    shown = [part.value for part in parts_of(box, HTML) if "Reproduce with" in part.value]
    assert len(shown) == 1
    return html.unescape(shown[0].split("<code>")[1].split("</code>")[0])
