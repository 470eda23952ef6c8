"""A network's last layer, trained again on balanced validation data: how much of a bias sits there alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit
from sklearn.preprocessing import StandardScaler

from fairkd.analysis.postprocess import both
from fairkd.errors import DataError, ParameterError
from fairkd.frames import AnyPredictions
from fairkd.metrics.confusion import Floats
from fairkd.predictions import Predictions

#: Inverse strengths of the penalty that are tried, as in the authors' code.
_STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)


def retrain_last_layer(
    validation: AnyPredictions,
    test: AnyPredictions,
    validation_features: np.ndarray,
    test_features: np.ndarray,
    *,
    repeats: int = 10,
    seed: int = 0,
) -> Predictions:
    """Fit a linear classifier of the features on validation data in which all classes × groups count alike.

    Deep feature reweighting (Kirichenko et al. 2023, https://arxiv.org/abs/2204.02937): where it mends what the network
    does, the features hold what is needed and the network's own last layer leaned on the group. It needs groups of the
    validation data, none of the samples that it decides. Features are standardised; the strength of the penalty is
    chosen on half of the validation units; the logits are means over ``repeats`` fits, each with as many samples of
    every cell as the smallest has. Where half of the units lacks a cell, the strongest penalty is taken. Deviations:
    the scale is that of all validation features with a group; the penalty is the square of the weights, where the
    paper's is their absolute value; what is chosen has the best mean recall over the cells, not the best of the worst
    cell, which here may hold few samples.

    Args:
        validation: the model's predictions, or a table as :mod:`fairkd.frames` describes it; their labels and groups
            are what is fitted, samples without a group are left out.
        test: its predictions of the samples that are decided.
        validation_features, test_features: pooled features ``(n, dim)`` of the same samples in the same order.
        repeats: draws of the balanced samples, at least 1.
        seed: seed of the draws.

    Returns:
        ``test`` with the new layer's probabilities and classes.

    Raises:
        DataError: other classes or groups in validation than in test, features that do not fit, or a class without a
            validation sample of one of the groups.
        ParameterError: fewer than one draw.
    """
    if repeats < 1:
        raise ParameterError(
            f"repeats={repeats} is not allowed: at least 1 draw of balanced samples is needed"
        )
    validation, test = both(validation, test)
    for name, features, of in (
        ("validation_features", validation_features, validation),
        ("test_features", test_features, test),
    ):
        shape = (len(of), validation_features.shape[-1])
        if features.shape != shape or not np.isfinite(features).all():
            raise DataError(f"{name} of shape {features.shape} do not fit: needed are finite values {shape}")
    known = validation.groups >= 0
    inputs, labels = validation_features[known], validation.labels[known]
    cells = labels * len(validation.group_names) + validation.groups[known]
    _check_cells(cells, validation)
    scale = StandardScaler().fit(inputs)
    inputs, rng = scale.transform(inputs), np.random.default_rng(seed)
    strength = _choose(inputs, labels, cells, validation.units[known], rng)
    decided = scale.transform(test_features)
    fits = [_fit(inputs, labels, _balanced(cells, rng), strength) for _ in range(repeats)]
    logits = np.mean([_logits(one, decided) for one in fits], axis=0)
    columns = {f"probability_{c}": column for c, column in enumerate(softmax(logits, axis=1).T)}
    chosen = pd.Categorical.from_codes(logits.argmax(axis=1), dtype=test.frame["prediction"].dtype)
    return Predictions(test.frame.assign(prediction=chosen, **columns))


def _check_cells(cells: np.ndarray, validation: Predictions) -> None:
    counts = np.bincount(cells, minlength=len(validation.class_names) * len(validation.group_names))
    if (counts == 0).any():
        where, group = divmod(int(counts.argmin()), len(validation.group_names))
        raise DataError(
            f"no last layer can be fitted: the validation data hold no sample of class "
            f"{validation.class_names[where]!r} in group {validation.group_names[group]!r}"
        )


def _choose(
    inputs: Floats, labels: np.ndarray, cells: np.ndarray, units: np.ndarray, rng: np.random.Generator
) -> float:
    """Return the strength with the best mean recall over the cells of one half, fitted on the other half."""
    halves = GroupShuffleSplit(n_splits=1, test_size=0.5, random_state=int(rng.integers(2**31)))
    if len(np.unique(units)) < 2:
        return _STRENGTHS[-1]
    fitted, scored = next(halves.split(inputs, labels, units))
    if len(np.unique(cells[fitted])) < len(np.unique(cells)):
        return _STRENGTHS[-1]
    rows = fitted[_balanced(cells[fitted], rng)]
    scores = []
    for strength in _STRENGTHS:
        hits = _logits(_fit(inputs, labels, rows, strength), inputs[scored]).argmax(axis=1) == labels[scored]
        scores.append(np.mean([hits[cells[scored] == cell].mean() for cell in np.unique(cells[scored])]))
    return _STRENGTHS[int(np.argmax(scores))]


def _balanced(cells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return positions with as many samples of every cell as the smallest has."""
    found, counts = np.unique(cells, return_counts=True)
    return np.concatenate(
        [rng.choice(np.flatnonzero(cells == cell), counts.min(), replace=False) for cell in found]
    )


def _fit(inputs: Floats, labels: np.ndarray, rows: np.ndarray, strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=1000).fit(inputs[rows], labels[rows])


def _logits(fitted: LogisticRegression, inputs: Floats) -> Floats:
    values: Floats = fitted.decision_function(inputs)
    return values if values.ndim == 2 else np.stack([-values / 2, values / 2], axis=1)
