"""Fairness metrics: binary ones against fairlearn, multi-class ones against written-out loops."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable

import fairlearn.metrics as oracle
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairkd import metrics
from fairkd.errors import FairkdWarning, ParameterError

Samples = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def samples(draw: st.DrawFn, num_classes: int, max_groups: int = 3) -> Samples:
    """Labels, predictions and groups, with every class x group cell occupied."""
    num_groups = draw(st.integers(2, max_groups))
    cells = list(itertools.product(range(num_classes), range(num_groups)))
    drawn = draw(st.lists(st.sampled_from(cells), max_size=30))
    labels, groups = np.array(cells + drawn).T
    predicted = draw(st.lists(st.integers(0, num_classes - 1), min_size=len(labels), max_size=len(labels)))
    return labels, np.array(predicted), groups


def same(ours: float, expected: float) -> bool:
    return ours == pytest.approx(expected, abs=1e-12, nan_ok=True)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(samples(num_classes=2))
def test_binary_metrics_equal_fairlearn(data: Samples) -> None:
    y_true, y_pred, groups = data
    names = [
        "demographic_parity_difference",
        "demographic_parity_ratio",
        "equal_opportunity_difference",
        "equalized_odds_difference",
    ]
    with warnings.catch_warnings():
        # A rate of 0 / 0 is NaN in both; fairlearn warns of it.
        warnings.simplefilter("ignore", RuntimeWarning)
        for name in names:
            expected = getattr(oracle, name)(y_true, y_pred, sensitive_features=groups)
            assert same(getattr(metrics, name)(y_true, y_pred, sensitive_features=groups), expected), name
        expected = oracle.equalized_odds_difference(y_true, y_pred, sensitive_features=groups, agg="mean")
    for reduce in ("max", "mean"):
        ours = metrics.equalized_odds_difference(
            y_true, y_pred, sensitive_features=groups, agg="mean", reduce=reduce
        )
        assert same(ours, expected)


def written_out(y_true: np.ndarray, y_pred: np.ndarray, groups: np.ndarray) -> dict[str, list[float]]:
    """Each class's gaps of recall, false positive rate and selection rate, and the ratio of the last."""
    gaps: dict[str, list[float]] = {"recall": [], "false_positive": [], "selection": [], "ratio": []}
    for c in np.unique(y_true):
        recalls, false_positives, selections = [], [], []
        for g in np.unique(groups):
            recalls.append(np.mean(y_pred[(groups == g) & (y_true == c)] == c))
            false_positives.append(np.mean(y_pred[(groups == g) & (y_true != c)] == c))
            selections.append(np.mean(y_pred[groups == g] == c))
        gaps["recall"].append(max(recalls) - min(recalls))
        gaps["false_positive"].append(max(false_positives) - min(false_positives))
        gaps["selection"].append(max(selections) - min(selections))
        if max(selections) > 0:
            gaps["ratio"].append(min(selections) / max(selections))
    return gaps


@settings(max_examples=60, deadline=None, derandomize=True)
@given(samples(num_classes=4))
def test_multi_class_metrics_equal_their_definitions(data: Samples) -> None:
    y_true, y_pred, groups = data
    gaps = written_out(y_true, y_pred, groups)
    odds = {
        "worst_case": np.maximum(gaps["recall"], gaps["false_positive"]),
        "mean": np.add(gaps["recall"], gaps["false_positive"]) / 2,
    }
    reducers: dict[str, Callable[..., float]] = {"max": np.max, "mean": np.mean, "min": np.min}

    def value(name: str, **options: str) -> float:
        return float(getattr(metrics, name)(y_true, y_pred, sensitive_features=groups, **options))

    for reduce in ("max", "mean"):
        assert same(value("recall_gap", reduce=reduce), reducers[reduce](gaps["recall"]))
        assert same(value("equal_opportunity_difference", reduce=reduce), reducers[reduce](gaps["recall"]))
        assert same(
            value("demographic_parity_difference", reduce=reduce), reducers[reduce](gaps["selection"])
        )
        for agg, by_class in odds.items():
            assert same(
                value("equalized_odds_difference", agg=agg, reduce=reduce), reducers[reduce](by_class)
            )
    for reduce in ("min", "mean"):
        assert same(value("demographic_parity_ratio", reduce=reduce), reducers[reduce](gaps["ratio"]))


def test_bias_amplification_equals_its_definition() -> None:
    rng = np.random.default_rng(0)
    groups, y_true, y_pred = np.repeat([0, 1, 2], 60), rng.integers(4, size=180), rng.integers(4, size=180)
    shares = []
    for c in range(4):
        counts = [np.sum((y_pred == c) & (groups == g)) for g in range(3)]
        shares.append(max(counts) / sum(counts))
    ours = metrics.bias_amplification(y_true, y_pred, sensitive_features=groups)
    assert same(ours, np.mean(shares) - 1 / 3)


def test_bias_amplification_warns_of_groups_of_unequal_size() -> None:
    with pytest.warns(FairkdWarning, match=r"a: 2, b: 4"):
        metrics.bias_amplification([0, 1] * 3, [0, 1] * 3, sensitive_features=list("aabbbb"))


DISPARITIES = [
    "accuracy_gap",
    "recall_gap",
    "equalized_odds_difference",
    "equal_opportunity_difference",
    "demographic_parity_difference",
    "bias_amplification",
]


@pytest.mark.parametrize("name", DISPARITIES)
@pytest.mark.parametrize("num_classes", [2, 5])
def test_identical_groups_have_no_disparity(name: str, num_classes: int) -> None:
    rng = np.random.default_rng(1)
    labels = np.append(np.arange(num_classes), rng.integers(num_classes, size=50))
    predicted = rng.integers(num_classes, size=len(labels))
    groups = np.repeat(["a", "b"], len(labels))
    value = getattr(metrics, name)(np.tile(labels, 2), np.tile(predicted, 2), sensitive_features=groups)
    assert same(value, 0.0)


def test_the_order_of_samples_and_the_names_of_groups_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    y_true, y_pred, groups = rng.integers(3, size=90), rng.integers(3, size=90), np.repeat([0, 1], 45)
    order = rng.permutation(90)
    for name in DISPARITIES:
        metric = getattr(metrics, name)
        renamed = np.array(["z", "a"])[groups][order]
        assert same(
            metric(y_true[order], y_pred[order], sensitive_features=renamed),
            metric(y_true, y_pred, sensitive_features=groups),
        )


def test_the_larger_label_is_positive() -> None:
    # "no" is recalled equally in both groups, "yes" is not.
    y_true, y_pred = ["no", "no", "yes", "yes"], ["no", "no", "yes", "no"]
    groups = ["a", "b", "a", "b"]
    assert metrics.equal_opportunity_difference(y_true, y_pred, sensitive_features=groups) == 1
    reversed_order = pd.Categorical(y_true, categories=["yes", "no"])
    assert metrics.equal_opportunity_difference(reversed_order, y_pred, sensitive_features=groups) == 0


def test_a_class_with_one_group_is_left_out_with_a_warning() -> None:
    # Class 0: recall 1 in group a, 0.5 in group b. Class 1 only in group a.
    y_true, y_pred, groups = [0, 0, 0, 1], [0, 0, 1, 1], ["a", "b", "b", "a"]
    with pytest.warns(FairkdWarning, match="class 1 x group b:"):
        assert metrics.recall_gap(y_true, y_pred, sensitive_features=groups) == 0.5


def test_three_groups_with_an_empty_cell_use_the_other_two() -> None:
    y_true, y_pred, groups = [0, 0, 0, 1, 1], [0, 1, 0, 1, 1], ["a", "b", "c", "a", "b"]
    with pytest.warns(FairkdWarning, match="class 1 x group c:"):
        assert metrics.recall_gap(y_true, y_pred, sensitive_features=groups) == 0.5


@pytest.mark.parametrize("name", ["equalized_odds_difference", "equal_opportunity_difference"])
def test_an_empty_cell_leaves_the_binary_metric_undefined(name: str) -> None:
    with pytest.warns(FairkdWarning, match="class 1 x group b:"):
        value = getattr(metrics, name)([0, 1, 0], [0, 1, 0], sensitive_features=["a", "a", "b"])
    assert np.isnan(value)


@pytest.mark.parametrize("name", [*DISPARITIES, "demographic_parity_ratio"])
def test_one_group_has_no_disparity_to_speak_of(name: str) -> None:
    assert np.isnan(getattr(metrics, name)([0, 1], [0, 1], sensitive_features=["a", "a"]))


def test_a_group_without_samples_does_not_count_as_one() -> None:
    groups = pd.Categorical(["a", "a", "b", "b"], categories=["a", "b", "c"])
    with pytest.warns(FairkdWarning, match="group c"):
        assert metrics.recall_gap([0, 1, 0, 1], [0, 1, 0, 0], sensitive_features=groups) == 0.5
    with pytest.warns(FairkdWarning):
        assert metrics.bias_amplification([0, 1, 0, 1], [0, 1, 0, 1], sensitive_features=groups) == 0


@pytest.mark.parametrize(
    ("name", "options", "allowed"),
    [
        ("recall_gap", {"reduce": "median"}, "mean, max"),
        ("demographic_parity_ratio", {"reduce": "max"}, "min, mean"),
        ("equalized_odds_difference", {"agg": "max"}, "worst_case, mean"),
        ("equal_opportunity_difference", {"reduce": "min"}, "max, mean"),
    ],
)
def test_unknown_options_name_the_allowed_ones(name: str, options: dict[str, str], allowed: str) -> None:
    with pytest.raises(ParameterError, match=f"choose one of {allowed}"):
        getattr(metrics, name)([0, 1, 0, 1], [0, 1, 0, 1], sensitive_features=[0, 0, 1, 1], **options)
