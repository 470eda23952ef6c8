"""What the figures of saliency and of the temperature study draw."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image
from plot_tables import Tables

from fairkd import plots
from fairkd.errors import DataError
from fairkd.plots.images import picture


@pytest.fixture
def examples() -> pd.DataFrame:
    groups = ["red", "red", "green"]
    return pd.DataFrame({"row": [2, 0, 1], "group": groups, "label": ["a", "b", "a"]})


def pixels(trace: go.Image) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(trace.source.partition(",")[2]))))


def test_maps_are_drawn_beside_their_images_darker_where_larger(examples: pd.DataFrame) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    rising = np.tile(np.linspace(-1, 1, 64), (3, 64, 1))
    fig = plots.saliency_pairs(
        examples, images, {"teacher": rising, "student_kd": np.full((3, 64, 64), np.nan)}
    )
    first = pixels(next(fig.select_traces("image", row=1)))
    alone = pixels(picture(images, {(0, 0): np.array([2])}, (1, 1), 1))
    side = alone.shape[0]
    np.testing.assert_array_equal(first[:side, :side], alone)
    middle = first[side // 2, side : 2 * side, :3].astype(int).sum(axis=1)[4:-4]
    # Nothing below 0 is told apart; above it every step is darker.
    half = len(middle) // 2
    assert len(set(middle[: half - 2])) == 1 and (np.diff(middle[half + 2 :]) <= 0).all()
    assert middle[-1] < middle[0] - 300
    missing = [note for note in fig.layout.annotations if note.text == "n/a"]
    assert [(note.x, note.y) for note in missing] == [(2, 0), (2, 1), (2, 0)]
    assert [text.replace("<br>", " ") for text in fig.layout.xaxis.ticktext] == [
        "image",
        "teacher",
        "student, KD",
    ]


def test_at_most_eight_groups_are_shown_and_the_others_counted() -> None:
    table = pd.DataFrame({"row": range(11), "group": [f"g{i}" for i in range(11)], "label": "a"})
    images = np.zeros((11, 8, 8, 3), dtype=np.uint8)
    fig = plots.saliency_pairs(table, images, {"teacher": np.random.default_rng(0).random((11, 8, 8))})
    assert len(list(fig.select_traces("image"))) == 8
    # The title wraps between any two words.
    assert "3 more groups are not shown" in " ".join(fig.layout.title.text.replace("<br>", " ").split())


def test_rows_and_maps_that_do_not_fit_are_named(examples: pd.DataFrame) -> None:
    images = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(DataError, match="row 2 is not among the 2 images"):
        plots.saliency_pairs(examples, images[:2], {})
    with pytest.raises(DataError, match=r"maps of 'teacher' have shape \(3, 4, 4\)"):
        plots.saliency_pairs(examples, images, {"teacher": np.zeros((3, 4, 4))})


def test_the_study_marks_the_run_s_temperature_and_the_calibrating_one() -> None:
    table = Tables.sized(2, 2).temperatures()
    fig = plots.temperature_study(table, calibration_temperature=0.8)
    names = [one.name for one in (*fig.data, *fig.layout.shapes) if one.showlegend]
    assert "this run: T = 4" in names and "calibrates the teacher: T = 0.80" in names
    assert {shape.x0 for shape in fig.layout.shapes} == {4, 0.8}
    low, high = fig.layout.xaxis.range
    assert 10**low < 0.8 and 10**high > 10 and fig.layout.xaxis.type == "log"
    rings = [trace for trace in fig.data if trace.marker.symbol == "circle-open"]
    assert len(rings) == 6 and all(trace.x[0] == pytest.approx(4, rel=0.03) for trace in rings)
    without = plots.temperature_study(table.drop(columns=["own", "low", "high"]))
    assert not without.layout.shapes and without.data[0].error_y.array is None


def test_a_metric_without_values_says_so_and_the_temperatures_are_sorted() -> None:
    table = Tables.sized(2, 2).temperatures()
    table.loc[table["metric"] == "recall_gap", "value"] = np.nan
    fig = plots.temperature_study(table)
    assert [note.text for note in fig.layout.annotations].count("n/a") == 1
    assert all(list(trace.x) == sorted(trace.x) for trace in fig.data)
