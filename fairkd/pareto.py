"""Choices between models by accuracy and a disparity: the Pareto front, and the rule that names one model."""

from __future__ import annotations

import numpy as np
import pandas as pd


def not_beaten(accuracy: np.ndarray, disparity: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` bool: no other point is at least as good in both and better in one. NaN is on no front."""
    points = pd.DataFrame({"accuracy": accuracy, "disparity": disparity})
    best = points.dropna().groupby("accuracy")["disparity"].min().sort_index(ascending=False)
    above = best.cummin().shift(fill_value=np.inf)
    own, more = points["accuracy"].map(best), points["accuracy"].map(above)
    front: np.ndarray = ((points["disparity"] == own) & (points["disparity"] < more)).to_numpy()
    return front


def fairest_near_best(accuracy: np.ndarray, disparity: np.ndarray, tolerance: float) -> int | None:
    """Return the place of the smallest disparity among those within ``tolerance`` of the best accuracy.

    The first one counts where several are as small. A model whose disparity is NaN takes no part; ``None``: all are.
    """
    known = ~np.isnan(disparity)
    if not known.any():
        return None
    near = known & (accuracy >= accuracy[known].max() - tolerance)
    return int(np.where(near, disparity, np.inf).argmin())
