"""The Pareto front of accuracy and a disparity."""

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
