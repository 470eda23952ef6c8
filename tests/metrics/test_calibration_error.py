"""Calibration error against loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fairkd.errors import DataError, ParameterError
from fairkd.metrics import expected_calibration_error, reliability_bins


def random_probabilities(n: int = 500, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(classes, size=n), rng.dirichlet(np.full(classes, 0.4), n)


def loop(labels: np.ndarray, probabilities: np.ndarray, edges: np.ndarray) -> float:
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    error = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = abs(np.mean(predicted[inside] == labels[inside]) - confidence[inside].mean())
            error += inside.mean() * gap
    return error


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_uniform_bins_equal_the_loop(bins: int) -> None:
    labels, probabilities = random_probabilities()
    expected = loop(labels, probabilities, np.linspace(0, 1, bins + 1))
    assert expected_calibration_error(labels, probabilities, bins=bins) == pytest.approx(expected, abs=1e-12)


def test_quantile_bins_equal_the_loop_and_are_of_one_size() -> None:
    labels, probabilities = random_probabilities()
    edges = np.quantile(probabilities.max(axis=1), np.linspace(0, 1, 11))
    edges[0], edges[-1] = 0, 1
    options = {"bins": 10, "strategy": "quantile"}
    ours = expected_calibration_error(labels, probabilities, **options)
    assert ours == pytest.approx(loop(labels, probabilities, edges), abs=1e-12)
    assert set(reliability_bins(labels, probabilities, **options)["n"]) == {50}


def test_tied_confidences_share_a_bin() -> None:
    table = reliability_bins([0, 1, 0], [[1.0, 0.0]] * 3, bins=5, strategy="quantile")
    assert table["n"].sum() == 3
    assert (table["high"] > table["low"]).all()
    assert expected_calibration_error([0, 1, 0], [[1.0, 0.0]] * 3, strategy="quantile") == pytest.approx(
        1 / 3
    )


def test_known_values() -> None:
    # Always sure, right half of the time.
    assert expected_calibration_error([0, 1], [[1.0, 0.0], [1.0, 0.0]]) == 0.5
    assert expected_calibration_error([0, 1], [[1.0, 0.0], [0.0, 1.0]]) == 0.0


def test_a_bin_contains_its_upper_edge() -> None:
    assert list(reliability_bins([0, 0], [[0.5, 0.5], [0.6, 0.4]], bins=2)["n"]) == [1, 1]


def test_empty_bins_are_nan_in_the_table() -> None:
    table = reliability_bins([0], [[0.9, 0.1]], bins=2)
    assert list(table["n"]) == [0, 1]
    assert np.isnan(table["accuracy"][0])
    assert np.isnan(table["confidence"][0])
    assert table["confidence"][1] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1], [[0.5, 0.5]], "shape"),
        ([], np.empty((0, 2)), "n > 0"),
        ([2], [[0.5, 0.5]], "0 to 1"),
        (["a"], [[0.5, 0.5]], "index the probabilities' columns"),
        ([0], [[1.5, -0.5]], "allowed: 0 to 1"),
        ([0], [[np.nan, 1.0]], "allowed: 0 to 1"),
    ],
)
def test_bad_input_is_named(labels: object, probabilities: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        expected_calibration_error(labels, probabilities)


def test_bad_options_are_named() -> None:
    with pytest.raises(ParameterError, match="at least 1"):
        expected_calibration_error([0], [[1.0, 0.0]], bins=0)
    with pytest.raises(ParameterError, match="uniform, quantile"):
        expected_calibration_error([0], [[1.0, 0.0]], strategy="log")  # type: ignore[arg-type]
