from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import softmax as scipy_softmax

from fairkd.soft_labels import calibration_temperature, entropy, entropy_by_group, softened_table


@pytest.fixture
def calibrated() -> tuple[np.ndarray, np.ndarray]:
    """Logits of a calibrated classifier: the labels are drawn from its own probabilities."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(20_000, 5))
    uniform = rng.random((len(logits), 1))
    return logits, (scipy_softmax(logits, axis=1).cumsum(axis=1) < uniform).sum(axis=1)


# Calibration


def test_calibrated_logits_need_no_temperature(calibrated):
    assert calibration_temperature(*calibrated) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("factor", [0.2, 0.5, 3.0])
def test_the_temperature_is_the_factor_by_which_calibrated_logits_were_multiplied(calibrated, factor):
    logits, labels = calibrated
    at_one = calibration_temperature(logits, labels)
    assert calibration_temperature(factor * logits, labels) == pytest.approx(factor * at_one, rel=1e-3)


def test_the_temperature_minimises_the_negative_log_likelihood(calibrated):
    logits, labels = calibrated[0][:200] * 3, calibrated[1][:200]

    def loss(temperature: float) -> float:
        rows = scipy_softmax(logits / temperature, axis=1)[np.arange(200), labels]
        return -np.log(rows).mean()

    best = calibration_temperature(logits, labels)
    grid = np.geomspace(0.05, 20, 2000)
    assert loss(best) <= min(loss(temperature) for temperature in grid) + 1e-9


def test_a_classifier_that_is_always_or_never_right_gets_a_bound_of_the_range():
    logits = np.eye(3)
    assert calibration_temperature(logits, np.arange(3)) == pytest.approx(0.05, rel=0.01)
    assert calibration_temperature(logits, np.array([1, 2, 0])) == pytest.approx(20, rel=0.01)


# Entropy


def test_entropy_is_scipy_s():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(6), size=(4, 3))
    np.testing.assert_allclose(entropy(probabilities), stats.entropy(probabilities, axis=-1))


def test_entropy_lies_between_certainty_and_the_uniform_distribution():
    np.testing.assert_allclose(
        entropy(np.array([[1.0, 0.0, 0.0], [1 / 3] * 3])), [0, math.log(3)], atol=1e-12
    )


def test_entropy_goes_to_0_for_a_low_and_to_log_classes_for_a_high_temperature():
    logits = np.random.default_rng(0).normal(size=(50, 7))
    table = entropy_by_group(logits, np.zeros(50, dtype=int), ["all"], [1e-4, 1e6])
    assert table["entropy"].tolist() == pytest.approx([0, math.log(7)], abs=1e-3)


def test_entropy_by_group_is_the_mean_with_its_normal_interval():
    rng = np.random.default_rng(0)
    logits, groups = rng.normal(size=(60, 4)), rng.integers(0, 2, 60)
    table = entropy_by_group(logits, groups, ["red", "green"], [0.5, 4.0])
    assert table[["temperature", "group"]].values.tolist() == [
        [temperature, group] for temperature in (0.5, 4.0) for group in ("red", "green")
    ]
    for row in table.itertuples():
        code = ["red", "green"].index(row.group)
        values = stats.entropy(scipy_softmax(logits[groups == code] / row.temperature, axis=1), axis=1)
        assert row.n == len(values) and row.entropy == pytest.approx(values.mean())
        expected = stats.norm.interval(0.95, loc=values.mean(), scale=stats.sem(values))
        assert (row.low, row.high) == pytest.approx(expected, rel=1e-4)


def test_a_group_without_samples_is_nan_and_one_sample_has_no_interval():
    table = entropy_by_group(np.zeros((1, 3)), np.array([0]), ["one", "none"], [1.0])
    assert table["n"].tolist() == [1, 0]
    assert table["entropy"].tolist() == pytest.approx([math.log(3), math.nan], nan_ok=True)
    assert table[["low", "high"]].isna().all(axis=None)


# Softened labels


def test_the_softened_table_has_a_row_a_temperature_sample_and_class():
    logits = np.array([[2.0, 0.0, -1.0], [0.0, 0.0, 3.0]])
    table = softened_table(logits, np.array([0, 2]), ["x", "y"], ["a", "b", "c"], [1.0, 10.0])
    assert list(table.columns) == ["sample", "temperature", "class", "probability", "label"]
    assert len(table) == 12
    for (sample, temperature), rows in table.groupby(["sample", "temperature"]):
        number = ["x", "y"].index(sample)
        assert rows["class"].tolist() == ["a", "b", "c"] and set(rows["label"]) == {"ac"[number]}
        np.testing.assert_allclose(rows["probability"], scipy_softmax(logits[number] / temperature))
    certain = table[table["temperature"] == 1].groupby("sample")["probability"].max()
    soft = table[table["temperature"] == 10].groupby("sample")["probability"].max()
    pd.testing.assert_series_equal(certain > soft, pd.Series([True, True], certain.index, name="probability"))


def test_samples_and_labels_must_have_one_length():
    with pytest.raises(ValueError, match="zip"):
        softened_table(np.zeros((2, 2)), np.array([0, 1]), ["only one"], ["a", "b"], [1.0])
