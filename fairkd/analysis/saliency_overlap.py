"""Whether teacher and student look at the same places, for whom they do not, and images that show it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fairkd.analysis.disagreement import OUTCOMES, exemplars
from fairkd.analysis.inflation import holm
from fairkd.analysis.saliency import Method, saliency_maps, saliency_method
from fairkd.data.splits import ImageSet
from fairkd.errors import DataError, ParameterError
from fairkd.metrics.clusters import cluster_mean
from fairkd.metrics.confusion import Floats
from fairkd.models import Network
from fairkd.predictions import Predictions

_LOST = OUTCOMES[0]


def saliency_overlap(
    teacher: Network,
    student: Network,
    images: ImageSet,
    predictions: Predictions,
    *,
    method: Method | None = None,
    most: int = 120,
    share: float = 0.2,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure whether two networks look at the same places for the true class, for all images and for each group.

    :func:`map_overlap` of the two networks' :func:`fairkd.analysis.saliency_maps`.

    Args:
        teacher: one network.
        student: the other.
        images: one split's.
        predictions: of any model on this split in the same order, for groups and units.
        method: of the maps; ``None``: :func:`fairkd.analysis.saliency_method`.
        most: at least so many images, if there are so many: whole units are drawn by ``seed`` until they suffice.
        share: as :func:`map_overlap`.
        confidence: as there.
        seed: seed of the draw.

    Returns:
        :func:`map_overlap`'s rows and the column ``method``.

    Raises:
        DataError: as :func:`map_overlap`.
        ParameterError: ``most`` below 1, or as :func:`map_overlap`.
    """
    if most < 1:
        raise ParameterError(f"most={most} is not allowed: at least 1")
    if len(images) != len(predictions):
        raise DataError(
            f"there are {len(images)} images and {len(predictions)} predictions; needed: one of each a sample"
        )
    rows = _drawn(predictions.units, most, seed)
    pixels, classes = images.images[rows], images.labels[rows]
    method = method or saliency_method([teacher, student], pixels, classes)
    maps = [saliency_maps(network, pixels, classes, method) for network in (teacher, student)]
    chosen = Predictions(predictions.frame.iloc[rows].reset_index(drop=True))
    return map_overlap(maps[0], maps[1], chosen, share=share, confidence=confidence).assign(method=method)


def map_overlap(
    teacher_maps: np.ndarray,
    student_maps: np.ndarray,
    predictions: Predictions,
    *,
    share: float = 0.2,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Measure how far two networks' maps of the same images agree, for all images and for each group.

    Two measures an image, after the two with which Ghorbani et al. (2019, arXiv 1710.10547) compare maps:
    ``rank_correlation``, Spearman's over the pixels, [-1, 1]; and ``top_overlap``, intersection over union of the
    ``share`` of the pixels with the largest values, [0, 1]. Pixels at the smallest value never belong to them, and
    ties at the limit all do, so that the place of equal pixels plays no part. Sets drawn at random overlap by about
    ``share / (2 - share)``; what lies in the same place in all images adds to that without any agreement.

    Args:
        teacher_maps: ``(n, height, width)`` of :func:`fairkd.analysis.saliency_maps`; those with NaN are left out.
        student_maps: the same images and classes.
        predictions: of any model on these images in the same order, for groups and units.
        share: of the pixels, (0, 1).
        confidence: coverage of the intervals, (0, 1).

    Returns:
        Tidy rows ``group, metric, value, low, high, n, undefined, difference, difference_low, difference_high, p_value,
        p_adjusted, chance``: group ``"all"`` first. ``n`` and ``undefined`` count images with and without two maps.
        ``difference`` is the group's mean less that of the other groups' images: negative where the student looks
        elsewhere more than for the others, be it for the group or for what else its images differ in. ``chance`` is
        about what maps without any relation have. All limits are t's with the units as clusters
        (:func:`fairkd.metrics.clusters.cluster_mean`); ``p_adjusted`` is
        Holm's over the groups of one metric, and for two groups the p-value itself, since both rows make one test. NaN
        where there is nothing to compare.

    Raises:
        DataError: maps and predictions that do not fit each other.
        ParameterError: ``share`` out of range.
    """
    if not 0 < share < 1:
        raise ParameterError(f"share={share} is not allowed: more than 0 and less than 1")
    if teacher_maps.shape != student_maps.shape or len(teacher_maps) != len(predictions):
        raise DataError(
            f"maps of shape {teacher_maps.shape} and {student_maps.shape} and {len(predictions)} predictions do not "
            "fit; needed: one map of each network a prediction"
        )
    first, second = (maps.reshape(len(maps), -1).astype(np.float64) for maps in (teacher_maps, student_maps))
    measures = {
        "rank_correlation": _rank_correlation(first, second),
        "top_overlap": _top_overlap(first, second, share),
    }
    groups, units = predictions.groups, predictions.units
    chance = {"rank_correlation": 0.0, "top_overlap": share / (2 - share)}
    tables = [
        _by_group(name, values, groups, units, predictions.group_names, confidence).assign(
            chance=chance[name]
        )
        for name, values in measures.items()
    ]
    return pd.concat(tables, ignore_index=True)


def saliency_examples(teacher: Predictions, student: Predictions, *, per_group: int = 4) -> pd.DataFrame:
    """Choose images of each group to look at: those that the student lost, then those of which it is least certain.

    First the images that the teacher gets right and the student wrong, largest loss of margin first (see
    :func:`fairkd.analysis.exemplars`); where these do not suffice, those with the student's smallest absolute margin.

    Args:
        teacher: predictions on the images.
        student: predictions on the same images.
        per_group: at most so many a group, at least 1. Images without a group are left out.

    Returns:
        :func:`fairkd.analysis.exemplars`'s columns, ``row``, the position in ``teacher`` and so in the images that it
        was given, and ``reason``; group by group.

    Raises:
        DataError: other samples in one than in the other.
        ParameterError: ``per_group`` below 1.
    """
    if per_group < 1:
        raise ParameterError(f"per_group={per_group} is not allowed: at least 1")
    table = exemplars(teacher, student, every_sample=True)
    positions = pd.Series(np.arange(len(teacher)), index=teacher.frame["index"].to_numpy())
    table["row"] = positions.loc[table["index"]].to_numpy()
    lost = table["outcome"] == _LOST
    table["reason"] = np.where(lost, _LOST, "student least certain")
    order = table["student_margin"].abs().where(~lost, table["margin_change"])
    table = table.assign(lost=~lost, order=order).sort_values(
        ["group", "lost", "order", "index"], kind="stable"
    )
    chosen = table[table["group"].notna()].groupby("group", observed=True, sort=False).head(per_group)
    return chosen.drop(columns=["lost", "order"]).reset_index(drop=True)


def _drawn(units: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return the rows ``(n,)`` of randomly drawn whole units, at least ``most`` if there are so many."""
    codes, names = pd.factorize(units)
    order = np.random.default_rng(seed).permutation(len(names))
    before = np.cumsum(np.bincount(codes)[order]) - np.bincount(codes)[order]
    return np.flatnonzero(np.isin(codes, order[before < most]))


def _rank_correlation(first: Floats, second: Floats) -> Floats:
    """Return Spearman's correlation of each row ``(n,)``; NaN where a row is constant or NaN."""
    from scipy.stats import rankdata

    ranks = [rankdata(rows, axis=1, nan_policy="propagate") for rows in (first, second)]
    one, other = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    norm = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    together = (one * other).sum(axis=1)
    return np.asarray(np.divide(together, norm, out=np.full(len(first), np.nan), where=norm > 0))


def _top_overlap(first: Floats, second: Floats, share: float) -> Floats:
    """Return intersection over union of the rows' top pixels ``(n,)``; NaN where a row is constant or NaN."""
    one, other = _top(first, share), _top(second, share)
    union = (one | other).sum(axis=1)
    defined = one.any(axis=1) & other.any(axis=1)
    both = (one & other).sum(axis=1)
    return np.asarray(np.divide(both, union, out=np.full(len(first), np.nan), where=defined))


def _top(rows: Floats, share: float) -> np.ndarray:
    count = max(1, round(share * rows.shape[1]))
    limit = np.partition(rows, -count, axis=1)[:, -count, None]
    return np.asarray((rows >= limit) & (rows > rows.min(axis=1, keepdims=True)))


def _by_group(
    metric: str,
    values: Floats,
    groups: np.ndarray,
    units: np.ndarray,
    names: list[str],
    confidence: float,
) -> pd.DataFrame:
    """Return the rows of one measure: its means, and each group's difference to the others."""
    defined = ~np.isnan(values)
    records = []
    for code, name in enumerate(["all", *names], start=-1):
        members = np.ones(len(values), dtype=bool) if code < 0 else groups == code
        kept = members & defined
        mean = dict(
            zip(("value", "low", "high"), cluster_mean(values[kept], units[kept], confidence), strict=True)
        )
        counts = {"n": int(kept.sum()), "undefined": int((members & ~defined).sum())}
        others = ~members & defined & (groups >= 0)
        between = _difference(values, kept, others, units, confidence)
        records.append({"group": name, "metric": metric, **mean, **counts, **between})
    table = pd.DataFrame(records)
    tested = table["p_value"].notna().to_numpy()
    adjusted = table["p_value"].to_numpy(dtype=np.float64, copy=True)
    # The rows of two groups mirror each other.
    if len(names) > 2:
        adjusted[tested] = holm(adjusted[tested])
    return table.assign(p_adjusted=adjusted)


def _difference(
    values: Floats, one: np.ndarray, other: np.ndarray, units: np.ndarray, confidence: float
) -> dict[str, float]:
    """Return the difference of two sets' means, its limits and p-value, linearised as in ``cluster_mean``."""
    from scipy.stats import t

    unknown = dict.fromkeys(("difference", "difference_low", "difference_high", "p_value"), np.nan)
    if not one.any() or not other.any():
        return unknown
    means = values[one].mean(), values[other].mean()
    difference = float(means[0] - means[1])
    influence = np.zeros(len(values))
    influence[one] = (values[one] - means[0]) / one.sum()
    influence[other] = -(values[other] - means[1]) / other.sum()
    codes, clusters = pd.factorize(units[one | other])
    freedom = len(clusters) - 1
    sums = np.bincount(codes, weights=influence[one | other])
    if freedom < 1 or not sums.any():
        return {**unknown, "difference": difference}
    error = np.sqrt(len(clusters) / freedom * (sums**2).sum())
    reach = float(t.ppf(0.5 + confidence / 2, freedom) * error)
    return {
        "difference": difference,
        "difference_low": difference - reach,
        "difference_high": difference + reach,
        "p_value": float(2 * t.sf(abs(difference) / error, freedom)),
    }
