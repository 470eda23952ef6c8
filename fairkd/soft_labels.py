"""What temperature does to a teacher's soft labels, and the temperature that calibrates it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from fairkd.inference import softmax


def calibration_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature in [0.05, 100] that minimises the negative log-likelihood.

    Fit it on validation data. Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2.

    Args:
        logits: ``(n, classes)``.
        labels: ``(n,)``.
    """

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits, float(np.exp(log_temperature)))
        return float(-np.log(probabilities[np.arange(len(labels)), labels] + 1e-300).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(100)), method="bounded").x))


def entropy_by_group(
    logits: np.ndarray,
    groups: np.ndarray,
    group_names: Sequence[str],
    temperatures: Sequence[float],
) -> pd.DataFrame:
    """Return the mean entropy of the softened labels, a row a temperature and group.

    Returns:
        Tidy rows ``temperature, group, entropy, low, high, n``: entropy in nats, [0, log classes], with the
        normal approximation's 95 % interval of the mean.
    """
    rows = []
    for temperature in temperatures:
        values = entropy(softmax(logits, temperature))
        for code, name in enumerate(group_names):
            chosen = values[groups == code]
            mean = float(chosen.mean()) if len(chosen) else float("nan")
            half = 1.96 * float(chosen.std(ddof=1)) / len(chosen) ** 0.5 if len(chosen) > 1 else float("nan")
            rows.append((temperature, name, mean, mean - half, mean + half, len(chosen)))
    return pd.DataFrame(rows, columns=["temperature", "group", "entropy", "low", "high", "n"])


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy in nats over the last axis."""
    return np.asarray(-(probabilities * np.log(np.maximum(probabilities, 1e-300))).sum(axis=-1))


def softened_table(
    logits: np.ndarray,
    labels: np.ndarray,
    samples: Sequence[str],
    class_names: Sequence[str],
    temperatures: Sequence[float],
) -> pd.DataFrame:
    """Return class probabilities of a few samples at some temperatures.

    Args:
        logits: ``(samples, classes)``.
        labels: ``(samples,)`` integer codes.
        samples: a name for each row.
        class_names: in the order of the logits.
        temperatures: each above 0.

    Returns:
        Tidy rows ``sample, temperature, class, probability, label``.
    """
    rows = [
        (sample, temperature, class_name, float(value), class_names[label])
        for temperature in temperatures
        for sample, label, row in zip(samples, labels, softmax(logits, temperature), strict=True)
        for class_name, value in zip(class_names, row, strict=True)
    ]
    return pd.DataFrame(rows, columns=["sample", "temperature", "class", "probability", "label"])
