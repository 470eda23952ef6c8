"""Simulated models whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from fairkd.predictions import Predictions


def balanced(classes: int, groups: int, cell: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and groups with so many samples in each class x group cell."""
    labels = np.repeat(np.arange(classes), groups * cell)
    return labels, np.tile(np.repeat(np.arange(groups), cell), classes)


def predictions(labels: np.ndarray, groups: np.ndarray, right: np.ndarray, **options: Any) -> Predictions:
    """Predictions that are right where ``right``, else the next class."""
    classes = int(labels.max()) + 1
    probabilities = np.full((len(labels), classes), 0.2 / (classes - 1))
    target = np.where(right, labels, (labels + 1) % classes)
    probabilities[np.arange(len(labels)), target] = 0.8
    return Predictions.from_arrays(
        labels=labels,
        groups=groups,
        probabilities=options.pop("probabilities", probabilities),
        class_names=[f"c{c}" for c in range(classes)],
        group_names=[f"g{g}" for g in range(int(groups.max()) + 1)],
        **options,
    )
