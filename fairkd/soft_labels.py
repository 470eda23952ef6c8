"""What temperature does to a teacher's soft labels, and the temperature that calibrates it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fairkd.inference import softmax

_RANGE = (0.05, 20.0)


def calibration_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the T in [0.05, 20] that minimises the cross-entropy of softmax(logits / T) with the labels.

    Fit it on validation data. Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2.

    Args:
        logits: ``(n, classes)``, n at least 1.
        labels: ``(n,)`` integers.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rows = np.arange(len(labels))

    def cross_entropy(log_temperature: float) -> float:
        return float(-log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean())

    bounds = tuple(np.log(_RANGE))
    return float(np.exp(minimize_scalar(cross_entropy, bounds=bounds, method="bounded").x))


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
