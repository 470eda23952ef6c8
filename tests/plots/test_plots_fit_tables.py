"""The tables of the audit, of the evaluation and of the calibration bins can be drawn as they come."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from fairkd import plots
from fairkd.analysis import inflation
from fairkd.data.audit import audit
from fairkd.data.splits import ImageSet, Splits
from fairkd.evaluation import compare, evaluate
from fairkd.metrics import reliability_bins
from fairkd.predictions import Predictions

CLASSES, GROUPS = ("zero", "one", "two"), ("red", "green")


def some_images(n: int, seed: int) -> ImageSet:
    random = np.random.default_rng(seed)
    labels, groups = np.arange(n) % 3, np.arange(n) // 3 % 2
    images = random.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return ImageSet(images, labels, groups, index=np.arange(n), unit=np.arange(n))


def drawn_values(fig: go.Figure) -> list[float]:
    return sorted(dot.x[0] for dot in fig.data if dot.x[0] is not None)


@pytest.fixture(scope="module")
def models() -> dict[str, Predictions]:
    labels, groups = np.arange(90) % 3, np.arange(90) // 3 % 2
    made = {}
    for seed, name in enumerate(("teacher", "student_kd", "student_fair")):
        scores = np.random.default_rng(seed).uniform(size=(90, 3)) + np.eye(3)[labels]
        probabilities = scores / scores.sum(axis=1, keepdims=True)
        made[name] = Predictions.from_arrays(
            labels=labels, groups=groups, probabilities=probabilities, class_names=CLASSES, group_names=GROUPS
        )
    return made


def test_the_audit() -> None:
    sets = {name: some_images(60, seed) for seed, name in enumerate(("train", "validation", "test"))}
    splits = Splits(
        "made up",
        **sets,
        class_names=CLASSES,
        group_names=GROUPS,
        label_name="digit",
        group_name="tint",
        fingerprint="",
    )
    found = audit(splits)
    counts = plots.contingency_heatmap(found.counts, split="test", label_name="digit", group_name="tint")
    assert counts.data[0].z.tolist() == [[0.5, 0.5]] * 3
    assert len([bar for bar in plots.association_bars(found.association).data if bar.type == "bar"]) == 9
    probe = plots.predictability_bars(found.predictability)
    assert list(probe.data[-1].x) == list(found.predictability["balanced_accuracy"])


def test_the_evaluation(models: dict[str, Predictions]) -> None:
    table = pd.concat([evaluate(one, model=name, replicates=20) for name, one in models.items()])
    overall = table[(table["class"] == "all") & (table["group"] == "all")]
    dots = plots.metric_comparison(table).data
    assert sorted(dot.x[0] for dot in dots) == sorted(overall["value"])
    by_group = table[(table["metric"] == "accuracy") & (table["group"] != "all")]
    assert plots.by_group_heatmap(table).data[0].z.ravel().tolist() == by_group["value"].tolist()
    panels = [trace for trace in plots.recall_heatmap(table).data if trace.type == "heatmap"]
    recalls = table[table["metric"] == "recall"]["value"]
    assert np.stack([panel.z for panel in panels]).ravel().tolist() == recalls.tolist()


def test_the_comparison(models: dict[str, Predictions]) -> None:
    table = compare(models, replicates=20)
    overall = table[table["class"] == "all"]
    assert drawn_values(plots.inflation_chart(table)) == sorted(overall["value"])


def test_the_inflation(models: dict[str, Predictions]) -> None:
    table = inflation(models, replicates=600)
    for level in ("overall", "group", "class", "cell"):
        rows = table[table["level"] == level]
        assert drawn_values(plots.inflation_forest(table, level=level)) == sorted(rows["value"])


def test_the_calibration_bins(models: dict[str, Predictions]) -> None:
    teacher = models["teacher"]
    bins = reliability_bins(teacher.labels, teacher.probabilities)
    fig = plots.reliability_diagram(bins)
    known = bins[bins["n"] > 0]
    assert list(fig.data[-1].y) == list(known["accuracy"])
