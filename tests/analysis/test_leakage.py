"""Probes on arrays that hold, or do not hold, the group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fairkd.analysis import group_leakage
from fairkd.errors import DataError, FairkdWarning, ParameterError

N = 400


def data(seed: int = 0, strength: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features whose first column is shifted by the group, groups and labels."""
    rng = np.random.default_rng(seed)
    groups, labels = np.arange(N) % 2, np.arange(N) // 2 % 2
    values = rng.normal(size=(N, 5))
    values[:, 0] += strength * groups
    return values, groups, labels


def probed(values: np.ndarray, groups: np.ndarray, probe: str = "linear", **options: Any) -> dict[str, Any]:
    table = group_leakage({"x": values}, groups, probes=[probe], replicates=300, **options)
    assert len(table) == 1
    return dict(table.iloc[0])


def test_the_linear_probe_equals_scikit_learns_cross_validation() -> None:
    values, groups, _ = data()
    found = probed(values, groups)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    predicted = cross_val_predict(model, values, groups, groups=np.arange(N), cv=splitter)
    # Groups of equal size: the priors differ by a few rows a fold.
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(groups, predicted), abs=0.01)
    # Two normal distributions at a distance of 1: the best rule is right with Φ(1/2).
    assert found["balanced_accuracy"] == pytest.approx(0.691, abs=0.05)
    assert found["low"] < found["balanced_accuracy"] < found["high"]
    assert found["above_chance"] and found["chance"] == 0.5


def test_only_the_small_network_reads_what_is_not_linear() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(N, 2))
    groups = (values[:, 0] * values[:, 1] > 0).astype(int)
    linear, small = (probed(values, groups, probe) for probe in ("linear", "mlp"))
    assert linear["balanced_accuracy"] < 0.6
    assert small["balanced_accuracy"] > 0.8


def test_nothing_is_found_where_nothing_is() -> None:
    above = 0
    for seed in range(60):
        values, groups, _ = data(seed, strength=0.0)
        above += probed(values[:120], groups[:120], seed=seed)["above_chance"]
    # One side of a 95 % interval: 2.5 %, and three standard errors of this simulation.
    assert above / 60 <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 60)


def test_rows_of_a_unit_never_straddle() -> None:
    # Each unit has features of its own and a random group: only who has seen the unit can know.
    rng = np.random.default_rng(2)
    units = np.repeat(np.arange(60), 6)
    values, groups = rng.normal(size=(60, 40))[units] * 3, rng.integers(2, size=60)[units]
    assert probed(values, groups, units=units)["low"] < 0.5
    assert probed(values, groups)["balanced_accuracy"] > 0.9


def test_conditional_leakage_is_what_the_class_does_not_give_away() -> None:
    # The features hold the label alone, and the label the group with 90 %.
    rng = np.random.default_rng(3)
    labels = np.arange(N) % 2
    groups = np.where(rng.random(N) < 0.9, labels, 1 - labels)
    values = rng.normal(size=(N, 3)) * 0.1 + labels[:, None]
    assert probed(values, groups)["balanced_accuracy"] > 0.85
    within = probed(values, groups, labels=labels)
    assert within["conditional"] and within["classes"] == 2
    assert within["low"] < 0.5 < within["high"] + 0.1
    shifted = values + groups[:, None]
    assert probed(shifted, groups, labels=labels)["balanced_accuracy"] > 0.9


def test_groups_count_alike_whatever_their_sizes_and_missing_ones_not_at_all() -> None:
    values, groups, _ = data(4, strength=2.0)
    rare = np.r_[np.flatnonzero(groups == 0), np.flatnonzero(groups == 1)[:25]]
    found = probed(values[rare], groups[rare])
    assert found["balanced_accuracy"] == pytest.approx(0.84, abs=0.08)
    missing = groups.copy()
    missing[::4] = -1
    assert probed(values, missing)["n"] == (missing >= 0).sum()


def test_rows_are_limited_by_whole_units() -> None:
    values, groups, _ = data()
    found = probed(values, groups, units=np.arange(N) // 4, max_rows=101)
    assert found["n"] == 104 and found["units"] == 26


def test_every_input_and_probe_has_a_row_and_the_seed_decides() -> None:
    values, groups, labels = data()
    options: dict[str, Any] = {"labels": labels, "replicates": 50, "folds": 3}
    table = group_leakage({"logits": values[:, :2], "features": values}, groups, **options)
    assert list(zip(table["input"], table["dim"], table["probe"], strict=True)) == [
        ("logits", 2, "linear"),
        ("logits", 2, "mlp"),
        ("features", 5, "linear"),
        ("features", 5, "mlp"),
    ]
    again = group_leakage({"logits": values[:, :2], "features": values}, groups, **options)
    assert table.equals(again)


def test_what_cannot_be_probed_is_named() -> None:
    values, groups, labels = data()
    with pytest.raises(DataError, match=r"'x' has shape \(10, 5\); needed: \(400, dim\)"):
        probed(values[:10], groups)
    with pytest.raises(DataError, match="not finite"):
        probed(np.where(values > 2, np.nan, values), groups)
    with pytest.raises(DataError, match="1 groups, with 400 units"):
        probed(values, groups * 0)
    with pytest.raises(DataError, match="with 3 units in the smallest"):
        probed(values, (np.arange(N) < 3).astype(int))
    with pytest.raises(ParameterError, match="at least 2 folds"):
        probed(values, groups, folds=1)
    with pytest.raises(ParameterError, match=r"probes=\['tree'\]"):
        probed(values, groups, "tree")
    few = np.where(np.arange(N) < 4, 2, labels)
    with pytest.warns(FairkdWarning, match="1 of 3 classes have fewer than 5 units"):
        assert probed(values, groups, labels=few)["classes"] == 2
