"""What a live figure tells the page, and what the page tells it."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("anywidget", reason="needs anywidget: pip install 'fairkd[notebooks]'")

import comm
import plotly.graph_objects as go
from panel_parts import click, drawn
from plotly.offline import get_plotlyjs

from fairkd.widgets.figure import LiveFigure


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The state with which each widget is announced to the page."""
    states: list[dict[str, Any]] = []
    create = comm.create_comm

    def recorded(*args: Any, **kwargs: Any) -> Any:
        states.append(kwargs["data"]["state"])
        return create(*args, **kwargs)

    monkeypatch.setattr("ipywidgets.widgets.widget.comm.create_comm", recorded)
    return states


def bars(*heights: float) -> go.Figure:
    return go.Figure(go.Bar(x=["a", "b"], y=list(heights)), {"title": {"text": "bars"}})


def test_a_figure_is_announced_with_all_that_it_shows(announced):
    LiveFigure(bars(1, 2))
    (state,) = (state for state in announced if "_esm" in state)
    (shown,) = (state for state in announced if state.get("value") == bars(1, 2).to_json())
    assert announced.index(shown) < announced.index(state), "the page finds what a widget refers to"


def test_plotly_s_code_is_sent_once_for_all_figures(announced):
    one, other = LiveFigure(bars(1, 2)), LiveFigure()
    assert one._library is other._library and one._json is not other._json
    code = get_plotlyjs()
    assert len(code) > 1e6
    assert sum(code in state.values() for state in announced) <= 1
    assert all(len(state["_esm"]) < 3000 for state in announced if "_esm" in state)


def test_closed_code_is_sent_again():
    first = LiveFigure()._library
    first.close()
    second = LiveFigure()._library
    assert second is not first and second.value == get_plotlyjs()


def test_another_figure_is_shown_now_and_by_a_page_that_is_loaded_again():
    figure = LiveFigure(bars(1, 2))
    figure.show(bars(3, 4))
    assert drawn(figure) == drawn(bars(3, 4)) and list(figure.shown.data[0].y) == [3, 4]
    assert figure._json.get_state()["value"] == bars(3, 4).to_json()


def test_each_click_is_told_also_the_same_one_again():
    figure, clicked = LiveFigure(bars(1, 2)), []
    figure.on_click(clicked.append)
    for customdata in (7, 7, None):
        click(figure, customdata)
    figure._handle_custom_msg({"kind": "anywidget-command"}, [])
    assert clicked == [7, 7, None]
