"""What holds for every figure: titles, axes, escaping, fixed height, a page's own background, any size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from plot_tables import FIGURES, FROM_TABLE, HOSTILE, Tables, draw

from fairkd import plots
from fairkd.errors import DataError

ESCAPED = "&lt;i&gt;cat&lt;/i&gt; &amp; &#36;x&#36;"
#: These figures write no name from the data.
NAMELESS = {"adversary_curves", "adversary_weight_curve", "association_bars", "preview_curve"}


def texts(value: Any) -> Iterator[str]:
    """Walk through a figure's JSON and yield every string."""
    if isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def test_every_public_figure_is_covered() -> None:
    helpers = {"escape", "finish", "group_styles", "model_label", "model_styles"}
    assert set(plots.__all__) - helpers == set(FIGURES)


@pytest.mark.parametrize("sizes", [(1, 1), (2, 2), (10, 2), (20, 8)], ids=str)
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_title_axis_titles_height_and_no_background(name: str, sizes: tuple[int, int]) -> None:
    fig = draw(name, Tables.sized(*sizes))
    assert isinstance(fig, go.Figure)
    assert fig.layout.title.text
    assert any(axis.title.text for axis in fig.select_xaxes())
    assert any(axis.title.text for axis in fig.select_yaxes())
    assert 130 <= fig.layout.height <= 3000
    assert (
        fig.layout.template.layout.paper_bgcolor == fig.layout.template.layout.plot_bgcolor == "rgba(0,0,0,0)"
    )
    assert fig.data


@pytest.mark.parametrize(
    "models", [("teacher",), ("teacher", f"own_{HOSTILE}", "kd w=3")], ids=["one", "own"]
)
@pytest.mark.parametrize("name", FIGURES)
def test_any_number_and_name_of_models(name: str, models: tuple[str, ...]) -> None:
    assert draw(name, Tables.sized(3, 2, models)).data


@pytest.mark.parametrize("name", FIGURES)
def test_text_from_data_is_escaped(name: str) -> None:
    fig = draw(name, Tables.sized(3, 2, ("teacher", f"own {HOSTILE}")))
    found = list(texts(json.loads(fig.to_json())))
    assert not [text for text in found if "<i>" in text or "$x" in text]
    assert name in NAMELESS or any(ESCAPED in text for text in found)


@pytest.mark.parametrize("name", FIGURES)
def test_a_title_is_plain_text(name: str) -> None:
    fig = draw(name, Tables.sized(2, 2), title="Digits < 5 & tint")
    assert fig.layout.title.text.startswith("Digits &lt; 5 &amp; tint")


@pytest.mark.parametrize("name", FROM_TABLE)
def test_the_table_is_left_as_it_is(name: str) -> None:
    function, make = FROM_TABLE[name]
    table = make(Tables.sized(3, 2))
    before = table.copy(deep=True)
    function(table)
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize("name", FROM_TABLE)
def test_a_missing_column_or_an_empty_table_is_named(name: str) -> None:
    function, make = FROM_TABLE[name]
    table = make(Tables.sized(2, 2))
    with pytest.raises(DataError, match=name):
        function(pd.DataFrame({"something": [1]}))
    with pytest.raises(DataError, match=name):
        function(table.iloc[:0])


@pytest.mark.parametrize(
    "name",
    sorted(
        set(FROM_TABLE)
        - {
            "adversary_curves",
            "training_curves",
            "training_monitor",
            "reliability_diagram",
            "projection_scatter",
        }
    ),
)
def test_two_values_for_one_place_are_refused(name: str) -> None:
    function, make = FROM_TABLE[name]
    table = make(Tables.sized(2, 2))
    with pytest.raises(DataError, match=f"{name}: several rows for"):
        function(pd.concat([table, table]))


@pytest.mark.parametrize(
    "name", ["metric_comparison", "inflation_chart", "by_group_heatmap", "recall_heatmap"]
)
def test_a_missing_value_is_said_in_words(name: str) -> None:
    function, make = FROM_TABLE[name]
    table = make(Tables.sized(3, 2))
    complete = [note.text for note in function(table).layout.annotations]
    table.loc[0, ["value", "low", "high"]] = np.nan
    assert "n/a" not in complete
    assert [note.text for note in function(table).layout.annotations].count("n/a") == 1


def test_association_and_predictability_say_what_is_missing() -> None:
    tables = Tables.sized(2, 2)
    association = tables.association().assign(value=np.nan)
    probe = tables.predictability().assign(balanced_accuracy=np.nan, low=np.nan, high=np.nan)
    for fig, times in ((plots.association_bars(association), 4), (plots.predictability_bars(probe), 1)):
        assert [note.text for note in fig.layout.annotations].count("n/a") == times
