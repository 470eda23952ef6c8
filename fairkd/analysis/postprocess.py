"""What could be had without training: post-processing of a model's predictions, fitted on validation data.

Both return :class:`~fairkd.predictions.Predictions`, which ``evaluate`` and ``compare`` take as another model.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import softmax

from fairkd.errors import DataError, ParameterError
from fairkd.frames import AnyPredictions, from_frames
from fairkd.predictions import Predictions
from fairkd.teachers import calibration_temperatures

Constraint = Literal[
    "equalized_odds",
    "demographic_parity",
    "true_positive_rate_parity",
    "false_positive_rate_parity",
    "true_negative_rate_parity",
    "false_negative_rate_parity",
]
CONSTRAINTS: tuple[Constraint, ...] = Constraint.__args__  # type: ignore[attr-defined]
_SMALLEST = 1e-300


def optimize_thresholds(
    validation: AnyPredictions,
    test: AnyPredictions,
    *,
    constraint: Constraint = "equalized_odds",
    seed: int = 0,
) -> Predictions:
    """Choose a threshold a group, possibly a random mixture of two, that meets a constraint on validation data.

    fairlearn's ``ThresholdOptimizer`` (Hardt et al. 2016, arXiv 1610.02413) with the probability of the second class
    as the score and accuracy as the objective. The rule needs the group of every sample that it decides, which
    training-time mitigation does not.

    Args:
        validation: predictions, or a table as :mod:`fairkd.frames` describes it: what the thresholds are fitted on;
            samples without a group are left out.
        test: what they are applied to; samples without a group keep the model's own prediction.
        constraint: what is to be alike in the groups.
        seed: seed of the mixture's draws.

    Returns:
        ``test`` with the chosen classes and no probabilities: a randomised decision has no confidence.

    Raises:
        DataError: not two classes, other classes or groups in validation than in test, a group of the test data that
            has no validation samples of both classes, or no probabilities.
        ParameterError: an unknown constraint.
    """
    from fairlearn.postprocessing import ThresholdOptimizer

    if constraint not in CONSTRAINTS:
        raise ParameterError(
            f"constraint={constraint!r} is not allowed: choose one of {', '.join(CONSTRAINTS)}"
        )
    validation, test = both(validation, test)
    if len(test.class_names) != 2:
        raise DataError(
            f"optimize_thresholds needs 2 classes, these predictions have {len(test.class_names)}; for more, "
            "calibrate_groups and retrain_last_layer are there"
        )
    _check_groups(validation, test)
    known, decided = validation.groups >= 0, test.groups >= 0
    optimizer = ThresholdOptimizer(
        estimator=_scorer(),
        constraints=constraint,
        prefit=True,
        predict_method="predict_proba",
    )
    with warnings.catch_warnings():
        # fairlearn's own conversions, and groups where a mixture is not needed.
        warnings.simplefilter("ignore")
        optimizer.fit(
            validation.probabilities[known],
            validation.labels[known],
            sensitive_features=validation.groups[known],
        )
        chosen = optimizer.predict(
            test.probabilities[decided], sensitive_features=test.groups[decided], random_state=seed
        )
    predicted = test.predicted.copy()
    predicted[decided] = np.asarray(chosen, dtype=np.int64)
    frame = test.frame.drop(columns=["probability_0", "probability_1"])
    return Predictions(
        frame.assign(prediction=pd.Categorical.from_codes(predicted, dtype=frame["prediction"].dtype))
    )


def calibrate_groups(validation: AnyPredictions, test: AnyPredictions) -> Predictions:
    """Divide each group's logits by the temperature that calibrates the group on validation data.

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599), one a group; any number of classes. A temperature changes
    confidences, not which class is likeliest: accuracies and all that is made of them stay.

    Args:
        validation: predictions, or a table as :mod:`fairkd.frames` describes it: what the temperatures are fitted on.
        test: what they are applied to. A group with fewer than 50 validation samples, and samples without a group, take
            the temperature of all.

    Returns:
        ``test`` with calibrated probabilities.

    Raises:
        DataError: other classes or groups in validation than in test, or no probabilities.
    """
    validation, test = both(validation, test)
    temperatures = calibration_temperatures(validation, "group").numpy().astype(np.float64)
    # A missing group is -1, and so finds the last entry.
    logits = np.log(np.clip(test.probabilities, _SMALLEST, None)) / temperatures[test.groups][:, None]
    probabilities = softmax(logits, axis=1)
    columns = {f"probability_{c}": probabilities[:, c] for c in range(probabilities.shape[1])}
    return Predictions(test.frame.assign(**columns))


def _scorer() -> Any:
    """Return what fairlearn takes for a fitted classifier: the probabilities are the input."""
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        """Returns its input as the probabilities."""

        fitted_ = True

        def fit(self, inputs: np.ndarray, targets: np.ndarray) -> Given:
            self.classes_ = np.unique(targets)
            return self

        def predict_proba(self, inputs: np.ndarray) -> np.ndarray:
            return np.asarray(inputs)

    return Given()


def both(validation: AnyPredictions, test: AnyPredictions) -> tuple[Predictions, Predictions]:
    """Return both as predictions of the same classes and groups.

    Raises:
        DataError: a malformed table, or other classes or groups in one than in the other; names those of both.
    """
    validation, test = from_frames({"validation": validation, "test": test}).values()
    for what, names in (("classes", "class_names"), ("groups", "group_names")):
        fitted, applied = getattr(validation, names), getattr(test, names)
        if fitted != applied:
            raise DataError(f"validation and test predictions have other {what}: {fitted} and {applied}")
    return validation, test


def _check_groups(validation: Predictions, test: Predictions) -> None:
    """Refuse groups whose rates cannot be known from the validation data."""
    for code, name in enumerate(test.group_names):
        found = set(validation.labels[validation.groups == code])
        if (test.groups == code).any() and len(found) < 2:
            raise DataError(
                f"no threshold can be chosen for the group {name!r}: its validation samples hold {len(found)} of the 2 "
                "classes"
            )
