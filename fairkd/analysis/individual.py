"""Individual fairness: do similar inputs, and the same thing shown in another group, get similar predictions?"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from fairkd.errors import DataError, ParameterError
from fairkd.frames import AnyPredictions, as_predictions
from fairkd.metrics.clusters import cluster_mean
from fairkd.metrics.confusion import Floats
from fairkd.metrics.proportions import wilson_interval
from fairkd.predictions import Predictions


def prediction_sensitivity(
    predictions: AnyPredictions,
    inputs: np.ndarray,
    *,
    max_rows: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean over pairs of samples of prediction distance over input distance: ``mean_{i<j} |p_i - p_j| / |x_i - x_j|``.

    A mean form of Dwork et al.'s Lipschitz condition (2012, arXiv 1104.3913), with which Mohammadshahi & Ioannou (2025,
    arXiv 2410.08407) compare teachers and students; smaller is fairer. Both distances are Euclidean, between
    probabilities and between flattened inputs; the value has the inverse unit of the inputs, so compare models on
    the same ones. A constant model has 0: read it beside the accuracy. Pairs of equal inputs are left out.

    The interval is the jackknife's over units (Efron & Tibshirani 1993, chapter 11), since the pairs of one sample
    depend on each other.

    Args:
        predictions: with probabilities.
        inputs: images or features in the order of the rows, ``(n, ...)``.
        max_rows: at most so many samples, drawn by ``seed``; the cost grows with their square.
        confidence: nominal coverage, (0, 1).
        seed: seed of the draw.

    Returns:
        Tidy rows ``pairs, value, low, high, n``: ``all``, and the pairs ``same group`` and ``other group``; ``n``
        counts pairs. NaN where there are none; limits are NaN where fewer than two units can be left out.

    Raises:
        DataError: inputs of another length, not finite, or predictions without probabilities.
        ParameterError: ``max_rows`` below 2.
    """
    if max_rows < 2:
        raise ParameterError(f"max_rows={max_rows} is not allowed: at least 2")
    inputs, predictions = np.asarray(inputs), as_predictions(predictions)
    if len(inputs) != len(predictions):
        raise DataError(
            f"there are {len(inputs)} inputs and {len(predictions)} predictions; needed: one of each a sample"
        )
    rows = np.arange(len(predictions))
    if len(rows) > max_rows:
        rows = np.sort(np.random.default_rng(seed).choice(rows, max_rows, replace=False))
    flat = inputs[rows].reshape(len(rows), -1).astype(np.float64)
    if not np.isfinite(flat).all():
        raise DataError("the inputs hold values that are not finite")
    between = _distances(flat)
    ratios = np.divide(
        _distances(predictions.probabilities[rows]),
        between,
        out=np.full_like(between, np.nan),
        where=between > 0,
    )
    groups = predictions.groups[rows]
    known = (groups[:, None] >= 0) & (groups >= 0)
    same = groups[:, None] == groups
    kinds = {"all": np.ones_like(same), "same group": known & same, "other group": known & ~same}
    unit = pd.factorize(predictions.units[rows])[0]
    return pd.DataFrame(
        [{"pairs": name, **_jackknifed(ratios, chosen, unit, confidence)} for name, chosen in kinds.items()]
    )


def counterfactual_flips(predictions: AnyPredictions, *, confidence: float = 0.95) -> pd.DataFrame:
    """How often the prediction changes where the same unit is shown in another group.

    For units with exactly one sample in each of two groups (a digit in red and in green) and one label: the share whose
    predicted classes differ, and the mean total variation distance ``½ sum_c |p_c - q_c|`` of their probabilities.
    Counterfactual in the sense of Kusner et al. (2017, arXiv 1703.06856) only as far as the pair differs in nothing but
    the group.

    Args:
        predictions: of data that show units in several groups; or a table as :mod:`fairkd.frames` describes it.
        confidence: nominal coverage, (0, 1).

    Returns:
        Tidy rows ``class, group, other_group, metric, value, low, high, n`` with the metrics ``flip_rate``,
        ``lost_rate`` (right in ``group``, wrong in ``other_group``), ``gained_rate`` (the reverse) and
        ``total_variation`` (NaN without probabilities); class ``"all"`` first, n counts units. The limits of rates are
        Wilson's, those of the distance a mean's (:func:`fairkd.metrics.clusters.cluster_mean`) within [0, 1].

    Raises:
        DataError: no unit is shown in two groups.
    """
    predictions = as_predictions(predictions)
    frame = pd.DataFrame({"unit": pd.factorize(predictions.units)[0], "group": predictions.groups})
    frame["label"], frame["row"] = predictions.labels, np.arange(len(frame))
    frame = frame[frame["group"] >= 0]
    alone = frame.groupby(["unit", "group"])["row"].transform("size") == 1
    rows = frame[alone].pivot(index="unit", columns="group", values="row")
    tables = [
        _flips(predictions, rows[[one, other]].dropna().to_numpy(dtype=np.int64), (one, other), confidence)
        for one, other in combinations(sorted(rows.columns), 2)
    ]
    tables = [table for table in tables if len(table)]
    if not tables:
        raise DataError("no unit is shown once in each of two groups; counterfactual pairs need such units")
    return pd.concat(tables, ignore_index=True)


def _flips(
    predictions: Predictions, pairs: np.ndarray, groups: tuple[int, int], confidence: float
) -> pd.DataFrame:
    """Return the rows of one pair of groups; ``pairs (units, 2)`` are rows of the predictions."""
    labels = predictions.labels[pairs]
    pairs, labels = pairs[labels[:, 0] == labels[:, 1]], labels[labels[:, 0] == labels[:, 1], 0]
    if not len(pairs):
        return pd.DataFrame()
    predicted = predictions.predicted[pairs]
    right = predicted == labels[:, None]
    changes: dict[str, np.ndarray] = {
        "flip_rate": predicted[:, 0] != predicted[:, 1],
        "lost_rate": right[:, 0] & ~right[:, 1],
        "gained_rate": ~right[:, 0] & right[:, 1],
        "total_variation": np.full(len(pairs), np.nan),
    }
    if predictions.has_probabilities:
        first, second = (predictions.probabilities[pairs[:, side]] for side in (0, 1))
        changes["total_variation"] = np.abs(first - second).sum(axis=1) / 2
    names = predictions.class_names
    subsets = {"all": np.ones(len(pairs), dtype=bool)} | {name: labels == c for c, name in enumerate(names)}
    records = []
    for name, chosen in subsets.items():
        for metric, values in changes.items():
            estimate = _estimate(values[chosen], confidence)
            records.append({"class": name, "metric": metric, **estimate, "n": int(chosen.sum())})
    sides = {"group": predictions.group_names[groups[0]], "other_group": predictions.group_names[groups[1]]}
    table = pd.DataFrame(records).assign(**sides)
    return table[["class", "group", "other_group", "metric", "value", "low", "high", "n"]]


def _estimate(values: np.ndarray, confidence: float) -> dict[str, float]:
    """Return the mean of units with its limits; ``values`` are booleans or lie in [0, 1]."""
    if values.dtype != bool:
        mean, low, high = cluster_mean(values, np.arange(len(values)), confidence)
        # Unlike min and max, clip keeps what is undefined.
        return {"value": mean, "low": float(np.clip(low, 0, None)), "high": float(np.clip(high, None, 1))}
    limits = wilson_interval(np.array([values.sum()]), np.array([len(values)]), confidence)
    mean = float(values.mean()) if len(values) else float("nan")
    return {"value": mean, "low": float(limits[0][0]), "high": float(limits[1][0])}


def _distances(values: Floats) -> Floats:
    """Return Euclidean distances ``(n, n)``."""
    from scipy.spatial.distance import pdist, squareform

    return np.asarray(squareform(pdist(values)))


def _jackknifed(ratios: Floats, chosen: np.ndarray, unit: np.ndarray, confidence: float) -> dict[str, float]:
    """Return the mean of the chosen pairs, with its interval from leaving out one unit after the other."""
    from scipy.stats import norm

    valid = chosen & ~np.isnan(ratios)
    np.fill_diagonal(valid, False)
    values = np.where(valid, ratios, 0.0)
    total, count = values.sum(), float(valid.sum())
    if not count:
        return {"value": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    # What a unit takes away: its rows and columns; pairs within the unit would be counted twice.
    clusters = int(unit.max()) + 1
    same = unit[:, None] == unit
    taken, lost = (
        2 * np.bincount(unit, weights=part.sum(axis=1), minlength=clusters)
        - np.bincount(unit, weights=(part * same).sum(axis=1), minlength=clusters)
        for part in (values, valid.astype(np.float64))
    )
    mean = total / count
    left = count - lost
    without = np.divide(total - taken, left, out=np.full(clusters, np.nan), where=left > 0)
    without = without[~np.isnan(without)]
    if len(without) < 2:
        return {"value": mean, "low": np.nan, "high": np.nan, "n": int(count / 2)}
    error = np.sqrt((len(without) - 1) / len(without) * ((without - without.mean()) ** 2).sum())
    reach = norm.ppf(0.5 + confidence / 2) * error
    return {"value": mean, "low": max(0.0, mean - reach), "high": mean + reach, "n": int(count / 2)}
