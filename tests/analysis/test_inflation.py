"""Differences tested by family: values against ``compare``, the family's error rate in simulations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from analysis_cases import balanced, predictions

from fairkd.analysis import inflation
from fairkd.analysis.inflation import holm
from fairkd.errors import FairkdWarning, ParameterError
from fairkd.evaluation import compare, evaluate
from fairkd.metrics import reductions
from fairkd.metrics.bootstrap import bootstrap_counts
from fairkd.metrics.confusion import CellCounts
from fairkd.metrics.intervals import paired_p_value
from fairkd.metrics.swapping import swap_p_values

STATISTICS = {
    "gap": reductions.recall_gap_by_class,
    "recall": lambda counts: counts.recall,
    "accuracy": lambda counts: counts.group_accuracy,
}
LABELS, GROUPS = balanced(classes=3, groups=2, cell=60)


def pair(recalls: np.ndarray, others: np.ndarray, seed: int = 0) -> dict[str, object]:
    """Two models with recalls by class and group that mostly fail on the same samples."""
    rng = np.random.default_rng(seed)
    ease = rng.random(len(LABELS))
    again = np.where(rng.random(len(LABELS)) < 0.5, ease, rng.random(len(LABELS)))
    rights = ease < recalls[LABELS, GROUPS], again < others[LABELS, GROUPS]
    return {name: predictions(LABELS, GROUPS, r) for name, r in zip(("teacher", "kd"), rights, strict=True)}


ALIKE = np.full((3, 2), 0.9)
#: Class 1 is recalled worse in group 1.
WORSE = np.array([[0.9, 0.9], [0.9, 0.4], [0.9, 0.9]])


def test_holm_equals_the_steps_written_out() -> None:
    rng = np.random.default_rng(0)
    for m in (1, 2, 7, 40):
        p_values = rng.random(m) ** 3
        order, expected, largest = np.argsort(p_values), np.empty(m), 0.0
        for step, position in enumerate(order):
            largest = max(largest, min(1.0, (m - step) * p_values[position]))
            expected[position] = largest
        np.testing.assert_allclose(holm(p_values), expected)
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_values_and_intervals_are_those_of_compare() -> None:
    models = pair(ALIKE, WORSE)
    table = inflation(models, replicates=2000)
    expected = compare(models, replicates=2000)
    rows = table[table["level"].isin(["overall", "class"])].reset_index(drop=True)
    columns = ["model", "baseline", "metric", "class", "group", "value", "low", "high", "n", "better"]
    pd.testing.assert_frame_equal(rows[columns], expected[columns])
    alone = {name: evaluate(one, replicates=5)["value"] for name, one in models.items()}
    np.testing.assert_allclose(table["value"], alone["kd"] - alone["teacher"])


def test_a_real_change_is_found_where_it_is_and_nowhere_else() -> None:
    table = inflation(pair(ALIKE, WORSE), replicates=4000).set_index(["level", "metric", "class", "group"])
    cells = table.loc["cell"]["verdict"]
    assert cells.loc[("recall", "c1", "g1")] == "smaller"
    assert (cells.drop(("recall", "c1", "g1")) == "not settled").all()
    assert table.loc[("group", "accuracy", "all", "g1"), "verdict"] == "smaller"
    assert table.loc[("group", "accuracy", "all", "g0"), "verdict"] == "not settled"
    gaps = table.loc["class"]["verdict"].droplevel(["metric", "group"])
    assert gaps.to_dict() == {"c0": "not settled", "c1": "larger", "c2": "not settled"}
    assert table.loc[("overall", "worst_cell_accuracy", "all", "all"), "verdict"] == "smaller"


def test_families_are_a_comparisons_levels() -> None:
    models = pair(ALIKE, ALIKE)
    table = inflation({**models, "again": models["kd"]}, replicates=4000)
    sizes = table.groupby("family")["family_size"].agg(["first", "size"])
    np.testing.assert_array_equal(sizes["first"], sizes["size"])
    assert len(sizes) == 8
    for _, family in table.groupby("family"):
        np.testing.assert_allclose(family["p_adjusted"], holm(family["p_value"].to_numpy()))
    kd, again = (table[table["model"] == name].reset_index() for name in ("kd", "again"))
    np.testing.assert_array_equal(kd["p_adjusted"], again["p_adjusted"])


def test_small_cells_are_judged_by_nobody() -> None:
    models = pair(ALIKE, WORSE)
    keep = np.r_[0:60, 60:69, 120:360]
    few = {name: type(one)(one.frame.iloc[keep]) for name, one in models.items()}
    table = inflation(few, replicates=2000)
    cells = table[table["level"] == "cell"].set_index(["class", "group"])
    assert cells.loc[("c0", "g1"), ["n", "verdict"]].tolist() == [9, "too few samples"]
    assert np.isnan(cells.loc[("c0", "g1"), "p_adjusted"])
    assert set(cells["family_size"]) == {5}
    keep = np.r_[0:60, 120:360]
    empty = {name: type(one)(one.frame.iloc[keep]) for name, one in models.items()}
    cells = inflation(empty, replicates=2000).query("level == 'cell'")
    assert cells["verdict"].iloc[1] == "undefined"


def test_the_same_model_differs_nowhere() -> None:
    one = pair(ALIKE, WORSE)["kd"]
    table = inflation({"a": one, "b": one}, replicates=2000)
    np.testing.assert_array_equal(table["p_value"], 1)
    assert set(table["verdict"]) == {"not settled"}


@pytest.mark.parametrize(
    ("recalls", "others"),
    [
        # Equal models; equal models with a gap; less accurate without a gap (a null of the gaps alone).
        (ALIKE, ALIKE),
        (np.tile([0.95, 0.7], (3, 1)), np.tile([0.95, 0.7], (3, 1))),
        (np.full((3, 2), 0.98), np.full((3, 2), 0.8)),
    ],
)
def test_a_family_errs_as_seldom_as_it_says(recalls: np.ndarray, others: np.ndarray) -> None:
    trials, names = 120, ["gap", "recall", "accuracy"] if (recalls == others).all() else ["gap"]
    statistics = {name: STATISTICS[name] for name in names}
    errors = dict.fromkeys(names, 0)
    options = {"num_classes": 3, "num_groups": 2, "statistics": statistics, "replicates": 400}
    for seed in range(trials):
        models = pair(recalls, others, seed).values()
        predicted, units = np.stack([one.predicted for one in models]), np.arange(len(LABELS))
        drawn = bootstrap_counts(LABELS, GROUPS, predicted, units, **options, seed=seed)
        swapped = swap_p_values(LABELS, GROUPS, predicted, units, **options, seed=seed)
        counts = [CellCounts.of_samples(LABELS, GROUPS, one, 3, 2) for one in predicted]
        for name, statistic in statistics.items():
            difference = statistic(counts[0]) - statistic(counts[1])
            p_values = np.fmax(paired_p_value(difference, drawn[0][name], drawn[1][name]), swapped[name])
            errors[name] += bool((holm(p_values.ravel()) <= 0.05).any())
    # At most 5 %, and two standard errors of this simulation.
    for name, count in errors.items():
        assert count / trials <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / trials), name


def test_too_few_replicates_and_wrong_names_are_named() -> None:
    models = pair(ALIKE, ALIKE)
    with pytest.warns(
        FairkdWarning, match="replicates=100 cannot settle anything in a family of 14 .* at least 560"
    ):
        inflation(models, replicates=100)
    with pytest.raises(ParameterError, match="baseline 'x' and the models teacher, kd"):
        inflation(models, baseline="x")
    with pytest.raises(ParameterError, match="at least two models"):
        inflation({"a": models["kd"]})
