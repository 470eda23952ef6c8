"""The last layer trained again: against scikit-learn's own fit, and where the network's own leaned on the group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from fairkd.analysis import last_layer, retrain_last_layer
from fairkd.errors import DataError, ParameterError
from fairkd.evaluation import compare
from fairkd.predictions import Predictions


def made(
    seed: int, shares: Any = (0.5, 0.5), n: int = 1200, classes: int = 2, **changes: Any
) -> tuple[Predictions, np.ndarray]:
    """Features that hold the class and, larger, the group; a model that takes the group for the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    groups = (rng.random(n) > np.asarray(shares)[labels % 2]).astype(np.int64)
    core = 2.0 * np.eye(classes)[labels] + rng.normal(size=(n, classes))
    features = np.column_stack([core, 5.0 * groups + rng.normal(size=n)])
    biased = np.exp(core + 4.0 * (groups[:, None] == np.arange(classes) % 2))
    arguments = {
        "labels": labels,
        "groups": groups,
        "probabilities": biased / biased.sum(axis=1, keepdims=True),
        "class_names": [f"class {c}" for c in range(classes)],
        "group_names": ["x", "y"],
    }
    return Predictions.from_arrays(**{**arguments, **changes}), features


@pytest.mark.parametrize("classes", [2, 3])
def test_a_layer_that_leaned_on_the_group_is_mended(classes):
    (validation, fitted), (test, decided) = made(0, (0.8, 0.2), classes=classes), made(1, classes=classes)
    again = retrain_last_layer(validation, test, fitted, decided)
    rows = compare({"own": test, "again": again}, replicates=100).set_index(["metric", "class"])
    gap, accuracy = rows.loc[("recall_gap", "all")], rows.loc[("accuracy", "all")]
    assert gap["baseline_value"] > 0.4 and gap["model_value"] < 0.12
    assert accuracy["low"] > 0.1
    assert np.allclose(again.probabilities.sum(axis=1), 1)
    assert np.array_equal(again.predicted, again.probabilities.argmax(axis=1))


@pytest.mark.parametrize("classes", [2, 3])
def test_of_balanced_data_it_is_scikit_learn_s_fit(classes, monkeypatch):
    rows = np.arange(240)
    balanced = {"labels": rows % classes, "groups": rows // classes % 2}
    validation, fitted = made(2, n=240, classes=classes, **balanced)
    test, decided = made(3, n=100, classes=classes)
    monkeypatch.setattr(last_layer, "_STRENGTHS", (0.3,))
    scale = StandardScaler().fit(fitted)
    expected = LogisticRegression(C=0.3, max_iter=1000).fit(scale.transform(fitted), validation.labels)
    ours = retrain_last_layer(validation, test, fitted, decided, repeats=3)
    assert np.allclose(ours.probabilities, expected.predict_proba(scale.transform(decided)), atol=1e-4)


def test_the_penalty_is_chosen_and_the_seed_draws():
    (validation, fitted), (test, decided) = made(0, (0.8, 0.2), n=120), made(1)
    noise = np.random.default_rng(5)
    fitted = np.column_stack([fitted, noise.normal(size=(120, 300))])
    decided = np.column_stack([decided, noise.normal(size=(1200, 300))])
    first, same, other = (
        retrain_last_layer(validation, test, fitted, decided, seed=seed).probabilities for seed in (0, 0, 1)
    )
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_samples_without_a_group_are_not_fitted_but_decided():
    (validation, fitted), (test, decided) = made(0), made(1, groups=np.full(1200, -1))
    unknown = np.where(np.arange(1200) < 100, -1, validation.groups)
    fitted_less = fitted.copy()
    fitted_less[:100] = 1e6
    hidden, _ = made(0, groups=unknown)
    assert retrain_last_layer(hidden, test, fitted_less, decided).predicted.max() == 1


def test_too_few_units_to_choose_with_take_the_strongest_penalty():
    one, fitted = made(0, n=40, unit=np.zeros(40, dtype=np.int64))
    test, decided = made(1)
    again = retrain_last_layer(one, test, fitted, decided)
    assert np.isfinite(again.probabilities).all()


def test_what_cannot_be_fitted_is_told():
    (validation, fitted), (test, decided) = made(0), made(1)
    with pytest.raises(DataError, match=r"no sample of class 'class 0' in group 'y'"):
        alone, features = made(0, (1.0, 0.0))
        retrain_last_layer(alone, test, features, decided)
    with pytest.raises(DataError, match=r"validation_features of shape \(3, 3\) do not fit: .* \(1200, 3\)"):
        retrain_last_layer(validation, test, fitted[:3], decided)
    with pytest.raises(DataError, match="test_features"):
        retrain_last_layer(validation, test, fitted, np.full_like(decided, np.nan))
    with pytest.raises(DataError, match="test_features"):
        retrain_last_layer(validation, test, fitted, decided[:, :2])
    with pytest.raises(ParameterError, match="repeats=0"):
        retrain_last_layer(validation, test, fitted, decided, repeats=0)
    with pytest.raises(DataError, match="other classes"):
        retrain_last_layer(made(0, classes=3)[0], test, fitted, decided)
