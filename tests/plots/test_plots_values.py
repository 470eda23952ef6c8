"""A figure shows the numbers of its table, at the right place, with its intervals."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image
from plot_tables import MODELS, Tables

from fairkd import plots
from fairkd.errors import DataError
from fairkd.plots.theme import MODEL_STYLES, group_styles

TABLES = Tables(("zero", "one", "two"), ("red", "green"))


def named(fig: go.Figure, name: str, kind: type = go.Scatter) -> list[Any]:
    return [trace for trace in fig.data if isinstance(trace, kind) and trace.name == name]


def interval(trace: Any, axis: str = "x") -> tuple[np.ndarray, np.ndarray]:
    value, bars = np.asarray(trace[axis]), trace[f"error_{axis}"]
    return value - np.asarray(bars.arrayminus), value + np.asarray(bars.array)


def headings(fig: go.Figure) -> list[str]:
    return [note.text for note in fig.layout.annotations]


def cells(fig: go.Figure) -> dict[tuple[int, int], str]:
    """The texts in a heat map by (row, column)."""
    drawn = [trace for trace in fig.data if trace.type == "scatter" and trace.mode == "text"]
    return {
        (int(y), int(x)): text
        for trace in drawn
        for x, y, text in zip(trace.x, trace.y, trace.text, strict=True)
    }


def test_metric_comparison_puts_each_model_in_its_row() -> None:
    table = TABLES.metrics()
    fig = plots.metric_comparison(table)
    for place, model in enumerate(MODELS):
        traces = named(fig, plots.model_label(model))
        rows = table[table["model"] == model]
        assert [trace.x[0] for trace in traces] == list(rows["value"])
        assert {trace.y[0] for trace in traces} == {place}
        assert [interval(trace)[0][0] for trace in traces] == pytest.approx(list(rows["low"]))
        assert [interval(trace)[1][0] for trace in traces] == pytest.approx(list(rows["high"]))
        assert {trace.marker.color for trace in traces} == {MODEL_STYLES[model].color}
        assert {trace.marker.symbol for trace in traces} == {MODEL_STYLES[model].symbol}
    assert headings(fig)[0] == "accuracy ↑"
    assert "n = 360" in fig.data[0].hovertext[0]
    assert "Largest minus smallest" in fig.data[0].hovertext[0]


def test_metric_comparison_takes_only_the_rows_of_all_classes_and_groups() -> None:
    overall = TABLES.metrics().assign(**{"class": "all", "group": "all"})
    per_group = overall.assign(group="red", value=-1.0)
    fig = plots.metric_comparison(pd.concat([overall, per_group]))
    assert fig == plots.metric_comparison(overall)


def test_an_interval_that_leaves_out_the_value_is_drawn_as_it_is() -> None:
    table = pd.DataFrame([{"model": "m", "metric": "accuracy", "value": 0.5, "low": 0.6, "high": 0.7}])
    low, high = interval(plots.metric_comparison(table).data[0])
    assert (low[0], high[0]) == pytest.approx((0.6, 0.7))


def test_without_an_interval_none_is_drawn() -> None:
    table = TABLES.metrics().assign(low=np.nan, high=np.nan)
    assert all(trace.error_x.array is None for trace in plots.metric_comparison(table).data)


def test_inflation_fills_what_is_supported() -> None:
    table = TABLES.comparisons()
    fig = plots.inflation_chart(table)
    rows = table[(table["class"] == "all") & (table["model"] == "student_kd")]
    traces = named(fig, "student, KD − teacher")
    assert [trace.x[0] for trace in traces] == list(rows["value"])
    assert ["open" not in trace.marker.symbol for trace in traces] == list(rows["supported"])
    zero_lines = [shape for shape in fig.layout.shapes if shape.x0 == shape.x1 == 0]
    assert len(zero_lines) == 2
    assert {trace.name for trace in fig.data if trace.showlegend is None} == {
        "supported: interval excludes 0",
        "not supported: interval includes 0",
    }


def test_the_forest_of_classes_has_a_panel_a_pair_and_a_row_a_class() -> None:
    table = TABLES.inflation()
    fig = plots.inflation_forest(table, level="class")
    rows = table[(table["level"] == "class") & (table["model"] == "student_fair")]
    traces = named(fig, "student, mitigated − teacher")
    assert [trace.x[0] for trace in traces] == list(rows["value"])
    assert [trace.y[0] for trace in traces] == [0, 1, 2]
    assert fig.layout.yaxis.ticktext == ("zero", "one", "two")


def test_the_forest_names_a_level_without_rows() -> None:
    with pytest.raises(DataError, match="no rows of level 'image'"):
        plots.inflation_forest(TABLES.inflation(), level="image")


def test_efficiency_bars_write_the_value_beside_the_bar() -> None:
    table = pd.DataFrame({"model": ["teacher", "student_kd"], "param_count": [4_915_978, 340_000]})
    fig = plots.efficiency_bars(table)
    bars = [trace for trace in fig.data if isinstance(trace, go.Bar)]
    assert [bar.x[0] for bar in bars] == [4_915_978, 340_000]
    assert [trace.text[0].strip() for trace in fig.data if trace.type == "scatter"] == ["4.92 M", "340 k"]
    with pytest.raises(DataError, match="none of the columns param_count, macs"):
        plots.efficiency_bars(table[["model"]])


def test_contingency_shows_n_and_share_of_the_class() -> None:
    counts = pd.DataFrame(
        [
            ("train", "a", "red", 95),
            ("train", "a", "green", 5),
            ("train", "b", "red", 0),
            ("train", "b", "green", 0),
        ],
        columns=["split", "class", "group", "n"],
    )
    fig = plots.contingency_heatmap(counts)
    np.testing.assert_array_equal(fig.data[0].z, [[0.95, 0.05], [np.nan, np.nan]])
    assert cells(fig) == {(0, 0): "95 · 95%", (0, 1): "5 · 5%"}
    assert headings(fig) == ["n/a", "n/a"]
    with pytest.raises(DataError, match="no rows of split 'test'; there are: train"):
        plots.contingency_heatmap(counts, split="test")


def test_by_group_heatmap_takes_the_rows_of_the_metric_and_of_groups() -> None:
    rows = TABLES.by_group().assign(**{"metric": "accuracy", "class": "all"})
    others = [rows.assign(group="all"), rows.assign(metric="recall"), rows.assign(**{"class": "zero"})]
    fig = plots.by_group_heatmap(pd.concat([rows, *others]))
    assert fig.data[0].z.tolist() == rows["value"].to_numpy().reshape(4, 2).tolist()
    first = rows.iloc[0]
    assert cells(fig)[0, 0] == f"{first['value']:.2f}<br>[{first['low']:.2f}, {first['high']:.2f}]<br>n=18"


def test_recall_heatmap_has_a_panel_a_model_and_leaves_a_missing_row_empty() -> None:
    table = TABLES.recall()
    fig = plots.recall_heatmap(table.drop(index=1))
    heatmaps = [trace for trace in fig.data if trace.type == "heatmap"]
    expected = table["value"].to_numpy(copy=True).reshape(4, 3, 2)
    expected[0, 0, 1] = np.nan
    np.testing.assert_array_equal(np.stack([trace.z for trace in heatmaps]), expected)
    assert len({(trace.zmin, trace.zmax) for trace in heatmaps}) == 1
    assert headings(fig).count("n/a") == 1
    assert fig.layout.yaxis.range == (2.5, -0.5)


def test_categories_keep_their_order() -> None:
    table = TABLES.by_group()
    table["group"] = pd.Categorical(table["group"], ["green", "unused", "red"])
    assert plots.by_group_heatmap(table).layout.xaxis.ticktext == ("green", "red")


def test_training_curves_by_group_with_the_selected_epoch() -> None:
    history = TABLES.history()
    fig = plots.training_curves(history)
    styles = group_styles(TABLES.groups)
    for group in TABLES.groups:
        (curve,) = named(fig, group)
        assert list(curve.y) == list(history[f"validation_accuracy[{group}]"])
        assert curve.line.dash == styles[group].dash
    assert [list(curve.y) for curve in named(fig, "all groups")] == [
        list(history[name]) for name in ("validation_accuracy", "validation_recall_gap", "train_loss")
    ]
    assert [curve.showlegend for curve in named(fig, "all groups")] == [True, False, False]
    assert [shape.x0 for shape in fig.layout.shapes] == [11, 11, 11]
    assert fig.layout.shapes[0].name == "selected: epoch 11"


def test_training_curves_without_groups_or_selection() -> None:
    fig = plots.training_curves(TABLES.history(1)[["epoch", "train_loss"]], ["train_loss"])
    assert not fig.layout.shapes
    assert [trace.name for trace in fig.data] == ["all groups"]


def test_adversary_curves_show_chance_and_strength() -> None:
    history = TABLES.history()
    fig = plots.adversary_curves(history)
    assert list(named(fig, "adversary")[0].y) == list(history["adversary_balanced_accuracy"])
    assert list(named(fig, "strength")[0].y) == list(history["adversary_strength"])
    assert list(named(fig, "chance")[0].y) == list(history["chance"])


def test_reliability_leaves_thin_bins_open_and_empty_bins_out() -> None:
    bins = pd.DataFrame({"confidence": [0.3, np.nan, 0.9], "accuracy": [0.2, np.nan, 0.8], "n": [9, 0, 91]})
    fig = plots.reliability_diagram(bins.assign(low=[0.2, 0.4, 0.8], high=[0.4, 0.6, 1.0]))
    (curve,) = named(fig, "all samples")
    assert (list(curve.x), list(curve.y)) == ([0.3, 0.9], [0.2, 0.8])
    assert list(curve.marker.symbol) == ["circle-open", "circle"]
    # The edges of the bins, which reliability_bins calls low and high, are no interval of the accuracy.
    assert curve.error_y.array is None
    (shares,) = named(fig, "share of the samples", go.Bar)
    assert list(shares.y) == [0.09, 0.91]


def test_reliability_intervals_and_panels() -> None:
    table = TABLES.bins()
    fig = plots.reliability_diagram(table)
    rows = table[(table["model"] == "student_fair") & (table["n"] > 0)]
    (curve,) = named(fig, "student, mitigated")
    assert interval(curve, "y")[0] == pytest.approx(rows["accuracy_low"].to_numpy())
    assert len({trace.xaxis for trace in fig.data}) == len(MODELS)


def test_softened_labels_by_temperature() -> None:
    table = TABLES.softened()
    fig = plots.softened_labels(table)
    assert len({(trace.xaxis, trace.yaxis) for trace in fig.data}) == 6
    first = table[(table["sample"] == table["sample"][0]) & (table["temperature"] == 1)]
    (true,), (others,) = ([t for t in fig.data if t.name == n][:1] for n in ("true class", "other classes"))
    assert (list(true.x), list(true.y)) == ([first["probability"].iloc[0]], [0])
    assert list(others.x) == list(first["probability"].iloc[1:])
    assert headings(fig) == ["T=1", "T=4", "T=16"]


def test_softened_labels_at_one_temperature_stand_side_by_side() -> None:
    fig = plots.softened_labels(TABLES.softened((4,)).drop(columns="label"))
    assert len({trace.yaxis for trace in fig.data}) == 2
    assert not fig.layout.showlegend
    assert "T = 4" in fig.layout.title.text


def test_every_column_of_softened_labels_ends_with_numbers() -> None:
    one = TABLES.softened((4,))
    table = pd.concat(
        [one[one["sample"] == one["sample"].iloc[0]].assign(sample=f"image {i}") for i in range(4)]
    )
    fig = plots.softened_labels(table)
    # Three side by side, the fourth below the first.
    numbered = [axis for axis in ("xaxis2", "xaxis3", "xaxis4") if fig.layout[axis].showticklabels]
    assert numbered == ["xaxis2", "xaxis3", "xaxis4"] and not fig.layout.xaxis.showticklabels


def test_entropy_marks_the_calibration_temperature() -> None:
    table = TABLES.entropy()
    fig = plots.temperature_entropy(
        table.sample(frac=1, random_state=0), calibration_temperature=1.8, unit="bits"
    )
    rows = table[table["group"] == "green"]
    (line,) = named(fig, "green")
    assert (list(line.x), list(line.y)) == (list(rows["temperature"]), list(rows["entropy"]))
    assert interval(line, "y")[1] == pytest.approx(rows["high"].to_numpy())
    assert fig.layout.shapes[0].x0 == 1.8
    assert fig.layout.yaxis.title.text == "mean entropy (bits)"


def test_accuracy_versus_disparity_with_areas() -> None:
    table = TABLES.tradeoff().assign(param_count=[100, 400, 1, np.nan])
    fig = plots.accuracy_versus_disparity(table, size="param_count")
    assert [(trace.x[0], trace.y[0]) for trace in fig.data] == list(
        zip(table["disparity"], table["accuracy"], strict=True)
    )
    sizes = [trace.marker.size for trace in fig.data]
    assert sizes[1] / sizes[0] == pytest.approx(2)
    assert sizes[2] == sizes[3] < sizes[0]
    assert interval(fig.data[0], "y")[0] == pytest.approx(table["accuracy_low"][:1])
    assert any("better" in text for text in headings(fig))


def test_adversary_weights_are_sorted_and_include_zero() -> None:
    table = TABLES.weights()
    fig = plots.adversary_weight_curve(table)
    order = table.sort_values("adversary_weight")
    assert fig.layout.xaxis.ticktext == ("0", "0.3", "1", "3")
    assert list(named(fig, "accuracy")[0].y) == list(order["accuracy"])
    assert list(named(fig, "mean recall gap")[0].y) == list(order["recall_gap"])
    assert {shape.x0 for shape in fig.layout.shapes} == {2}
    assert fig.layout.shapes[0].name == "selected: weight 1"


def test_predictability_starts_at_chance() -> None:
    fig = plots.predictability_bars(
        pd.concat([TABLES.predictability(), TABLES.predictability().assign(target="b")])
    )
    (chance,), (classifier,) = named(fig, "chance"), named(fig, "classifier")
    assert list(chance.x) == [0.5, 0.5]
    assert list(fig.data[0].x)[:2] == [chance.x[0], classifier.x[0]]


def pixels(fig: go.Figure) -> np.ndarray:
    picture = next(trace for trace in fig.data if trace.type == "image")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.source.partition(",")[2]))))


def test_image_grid_shows_each_cells_own_images_uncut() -> None:
    labels, groups = np.array([0, 1, 0, 1, 0]), np.array([0, 0, 1, 1, 1])
    shades = np.array([10, 20, 30, 40, 50], dtype=np.uint8)
    images = np.broadcast_to(shades[:, None, None, None], (5, 8, 8, 3)).copy()
    shown = pixels(plots.image_grid(images, labels, groups, ["a", "b"], ["red", "green"], per_cell=2))
    side = shown.shape[1] // 2
    assert shown.shape == (4 * side, 2 * side, 4)
    tiles = shown.reshape(4, side, 2, side, 4)
    middle = tiles[:, side // 2, :, side // 2]
    assert middle[0, :, 0].tolist() == [10, 20]
    assert sorted(middle[2:, 0, 0].tolist()) == [30, 50]
    assert middle[2, 1, 0] == 40
    # A cell with fewer images than asked for leaves the place clear.
    assert middle[1, :, 3].tolist() == [0, 0]
    # Nearest neighbour: no shade that the images do not have.
    opaque = shown[shown[..., 3] == 255]
    assert set(np.unique(opaque[:, :3])) == {10, 20, 30, 40, 50}


def test_image_grid_is_repeatable_and_follows_the_seed() -> None:
    arguments = (*TABLES.images(), TABLES.classes, TABLES.groups)
    first = pixels(plots.image_grid(*arguments, per_cell=1, seed=1))
    np.testing.assert_array_equal(first, pixels(plots.image_grid(*arguments, per_cell=1, seed=1)))
    assert (first != pixels(plots.image_grid(*arguments, per_cell=1, seed=2))).any()


def test_image_grid_says_which_cell_is_empty() -> None:
    images, labels, groups = TABLES.images()
    keep = ~((labels == 2) & (groups == 1))
    fig = plots.image_grid(images[keep], labels[keep], groups[keep], TABLES.classes, TABLES.groups)
    (note,) = fig.layout.annotations
    assert (note.text, note.x, note.y) == ("no samples", 2, 4)


def test_image_grid_refuses_what_is_no_image() -> None:
    images, labels, groups = TABLES.images()
    names = TABLES.classes, TABLES.groups
    with pytest.raises(DataError, match=r"uint8 \(n, h, w, 3\), got float64"):
        plots.image_grid(images / 255, labels, groups, *names)
    with pytest.raises(DataError, match="one length, got 24, 23, 24"):
        plots.image_grid(images, labels[1:], groups, *names)
    with pytest.raises(DataError, match="per_cell=0 must be at least 1"):
        plots.image_grid(images, labels, groups, *names, per_cell=0)


def test_attribute_shares_put_each_value_in_its_row_and_name_missing_ones() -> None:
    table = TABLES.attributes()
    fig = plots.attribute_shares(table)
    labels = [text.replace("<br>", " ") for text in fig.layout.yaxis.ticktext]
    assert len(labels) == 4
    assert labels[-2:] == ["age: old", "age: missing"]
    for split in ("train", "test"):
        rows = table[table["split"] == split]
        traces = named(fig, split)
        assert [trace.x[0] for trace in traces] == list(rows["share"])
        assert [trace.y[0] for trace in traces] == [0, 1, 2, 3]
        assert [interval(trace)[0][0] for trace in traces] == pytest.approx(list(rows["low"]))
    assert fig.layout.xaxis.range[0] == 0
    assert fig.layout.xaxis.range[1] > table["high"].max()


def test_one_attribute_is_not_named_in_every_row() -> None:
    table = TABLES.attributes()
    fig = plots.attribute_shares(table[table["attribute"] == "age"])
    assert list(fig.layout.yaxis.ticktext) == ["old", "missing"]


def test_image_statistics_show_one_split_by_group() -> None:
    table = TABLES.image_statistics()
    fig = plots.image_statistics(table, split="test")
    assert headings(fig)[:4] == ["brightness", "contrast", "saturation", "sharpness"]
    for place, group in enumerate(TABLES.groups):
        rows = table[(table["split"] == "test") & (table["group"] == group)]
        traces = named(fig, group)
        assert [trace.x[0] for trace in traces] == list(rows["value"])
        assert {trace.y[0] for trace in traces} == {place}
        assert {trace.marker.color for trace in traces} == {group_styles(TABLES.groups)[group].color}
    with pytest.raises(DataError, match="image_statistics"):
        plots.image_statistics(table, split="validation")


def test_suspects_are_shown_in_order_with_both_labels() -> None:
    images = TABLES.images()[0]
    table = pd.DataFrame(
        {"row": [5, 0, 3], "label": ["zero", "one", "two"], "suggested": ["one", "two", "zero"]}
    )
    fig = plots.suspect_grid(table, images, most=2)
    assert list(fig.layout.xaxis.ticktext) == ["zero<br>→ one", "one<br>→ two"]
    assert fig.data[1].hovertext[0].startswith("row 5<br>given: zero<br>suggested: one")
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(fig.data[0].source.split(",")[1]))))
    side = drawn.shape[0]
    for place, row in enumerate([5, 0]):
        middle = drawn[side // 2, place * side + side // 2, :3]
        assert (images[row] == middle).all(axis=-1).any()


def test_more_than_six_suspects_take_another_row() -> None:
    fig = plots.suspect_grid(TABLES.suspects(), TABLES.images()[0])
    assert [len(trace.x) for trace in fig.data if trace.type == "scatter"] == [6, 2]


@pytest.mark.parametrize("row", [-1, 900])
def test_a_suspect_that_is_no_row_is_refused(row: int) -> None:
    table = pd.DataFrame({"row": [row], "label": ["zero"], "suggested": ["one"]})
    with pytest.raises(DataError, match=f"row {row} is not among"):
        plots.suspect_grid(table, TABLES.images()[0])


def test_images_without_a_group_are_in_no_row_of_the_grid() -> None:
    images, labels, groups = TABLES.images()
    names = TABLES.classes, TABLES.groups
    hidden = np.where(groups == 1, -1, groups)
    fig = plots.image_grid(images, labels, hidden, *names)
    assert [note.text for note in fig.layout.annotations] == ["no samples"] * 3
