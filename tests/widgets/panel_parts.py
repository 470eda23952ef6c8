"""What the tests of the panels look at: their parts, what a figure shows, the command."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import plotly.graph_objects as go
from ipywidgets import HTML


def parts_of(box: Any, kind: type) -> list[Any]:
    """All widgets of a kind in a box, in their order."""
    found = [box] if isinstance(box, kind) else []
    return found + [part for child in getattr(box, "children", ()) for part in parts_of(child, kind)]


def drawn(figure: go.Figure) -> dict[str, Any]:
    """What a figure shows: its traces without the ids that a live one gives them, its layout."""
    content = go.Figure(figure).to_plotly_json()
    traces = [{key: value for key, value in trace.items() if key != "uid"} for trace in content["data"]]
    return {"data": _plain(traces), "layout": _plain(content["layout"])}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    return value


def command_of(box: Any) -> str:
    """The command that the panel shows."""
    shown = [part.value for part in parts_of(box, HTML) if "Reproduce with" in part.value]
    assert len(shown) == 1
    return html.unescape(shown[0].split("<code>")[1].split("</code>")[0])
