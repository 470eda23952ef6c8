"""The registry: what tables print agrees with the public functions."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fairkd import metrics
from fairkd.metrics import METRICS
from fairkd.metrics.confusion import CellCounts

WITHOUT_GROUPS = ("accuracy", "balanced_accuracy", "class_recall_ratio")


@pytest.mark.parametrize("num_classes", [2, 4])
def test_every_reduction_is_the_public_function_with_its_defaults(num_classes: int) -> None:
    rng = np.random.default_rng(0)
    groups = np.arange(120) % 3
    y_true, y_pred = rng.integers(num_classes, size=120), rng.integers(num_classes, size=120)
    counts = CellCounts.from_confusion(metrics.confusion(y_true, groups, y_pred, num_classes, 3))
    for name, metric in METRICS.items():
        if metric.reduce is None:
            continue
        options = {} if name in WITHOUT_GROUPS else {"sensitive_features": groups}
        if name == "recall_gap_max":
            expected = metrics.recall_gap(y_true, y_pred, reduce="max", **options)
        else:
            expected = getattr(metrics, name)(y_true, y_pred, **options)
        assert float(metric.reduce(counts)) == expected, name


def test_keys_definitions_and_directions() -> None:
    assert [name for name, metric in METRICS.items() if metric.reduce is None] == [
        "expected_calibration_error"
    ]
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.definition.endswith(".")
        assert metric.better in ("lower", "higher")
        assert hasattr(metrics, name) or name == "recall_gap_max"


def test_metrics_need_neither_torch_nor_fairlearn() -> None:
    forbidden = {"torch", "fairlearn", "sklearn", "plotly"}
    code = (
        "import sys, fairkd; before = set(sys.modules); import fairkd.metrics; "
        f"print(sorted({forbidden} & (set(sys.modules) - before)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_documents_list_every_metric_with_its_definition():
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (higher|lower) \| (.+?) \|$", text, flags=re.MULTILINE)
    assert rows == [(name, one.title, one.better, one.definition) for name, one in METRICS.items()]
