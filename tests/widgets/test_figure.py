"""What a live figure tells the page, and when."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("anywidget", reason="needs anywidget: pip install 'fairkd[notebooks]'")

import comm
import plotly.graph_objects as go

from fairkd.widgets.figure import LiveFigure, refresh


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


def test_a_figure_is_announced_once_with_all_that_it_shows(announced):
    LiveFigure(bars(1, 2))
    (state,) = (state for state in announced if "_widget_data" in state)
    assert [trace["type"] for trace in state["_widget_data"]] == ["bar"]
    assert state["_widget_layout"]["title"]["text"] == "bars"


def test_plotly_s_code_is_sent_once_for_all_figures(announced):
    one, other = LiveFigure(bars(1, 2)), LiveFigure()
    assert one._library is other._library
    code = str(go.FigureWidget._esm)
    assert len(code) > 1e6
    assert sum(code in state.values() for state in announced) <= 1
    assert all(len(state["_esm"]) < 2000 for state in announced if "_esm" in state)


def test_closed_code_is_sent_again():
    first = LiveFigure()._library
    first.close()
    second = LiveFigure()._library
    assert second is not first and second.value == str(go.FigureWidget._esm)


def test_a_page_that_is_loaded_again_begins_with_the_present_figure():
    figure = LiveFigure(bars(1, 2))
    refresh(figure, bars(3, 4))
    assert list(figure.get_state()["_widget_data"][0]["y"]) == [3, 4]
