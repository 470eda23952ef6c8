"""The audit of a data set: how label and group go together, and whether the pixels give the group away."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from fairkd.data.splits import ImageSet, Splits
from fairkd.errors import FairkdWarning

PROBE_ROWS = 2000
PROBE_SIZE = 8
_SHOWN = 10


@dataclass(frozen=True)
class Audit:
    """What :func:`audit` found, as tidy tables.

    ``counts``: ``split, class, group, n, share, low, high``; ``share`` is the group's share of the class.
    ``association``: ``split, statistic, value, n``; see :func:`association`.
    ``predictability``: one row; see :func:`group_predictability`.
    ``empty_cells``: ``split, class, group`` of the cells without a sample.
    """

    counts: pd.DataFrame
    association: pd.DataFrame
    predictability: pd.DataFrame
    empty_cells: pd.DataFrame


def audit(splits: Splits, *, confidence: float = 0.95) -> Audit:
    """Audit a data set: counts with intervals, association, predictability of the group, empty cells.

    Args:
        splits: the data.
        confidence: coverage of the intervals, (0, 1).

    Returns:
        The tables. Empty class x group cells are named in one :class:`~fairkd.errors.FairkdWarning`.

    Example:
        >>> audit(fairkd.load_dataset("colored-digits")).association
    """
    counts = _with_shares(splits.counts(), confidence)
    empty = counts.loc[counts["n"] == 0, ["split", "class", "group"]].reset_index(drop=True)
    if len(empty):
        _warn_of_empty_cells(empty)
    probe = group_predictability(splits, confidence=confidence)
    return Audit(counts, association(splits), probe, empty)


def association(splits: Splits) -> pd.DataFrame:
    """Measure how strongly label and group go together in each split.

    The statistics are ``cramers_v`` (0 none, 1 complete; without bias correction, so that a small sample of
    independent columns is above 0), ``mutual_information`` in nats, and ``normalized_mutual_information``,
    the mutual information divided by the group's entropy: the share of the group that the label gives away.

    Returns:
        Tidy rows ``split, statistic, value, n``; NaN where a split holds a single class or group.
    """
    rows = []
    for split, counts in splits.counts().groupby("split", sort=False):
        table = counts["n"].to_numpy().reshape(splits.num_classes, splits.num_groups)
        rows += [
            {"split": split, "statistic": statistic, "value": value, "n": int(table.sum())}
            for statistic, value in _association(table).items()
        ]
    return pd.DataFrame(rows)


def group_predictability(splits: Splits, *, confidence: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Predict the group from downscaled pixels: logistic regression, fitted on training, scored on test.

    The images are averaged to 8 x 8 pixels; at most 2,000 rows of each split are used, drawn by ``seed``.
    A balanced accuracy near ``chance`` says that this simple probe finds no cue, not that there is none.

    Args:
        splits: the data.
        confidence: coverage of the interval, (0, 1).
        seed: seed of the draw of rows.

    Returns:
        One row ``target, source, balanced_accuracy, low, high, chance, n``. The limits are the means of the
        groups' Wilson limits: conservative, and valid also where groups share source images. The values are
        NaN, with a warning, where training or test holds a single group.
    """
    from sklearn.metrics import recall_score

    train, test = (_at_most(images, PROBE_ROWS, seed) for images in (splits.train, splits.test))
    row: dict[str, object] = {"target": splits.group_name, "source": f"pixels ({PROBE_SIZE} × {PROBE_SIZE})"}
    row |= {"balanced_accuracy": np.nan, "low": np.nan, "high": np.nan}
    present = np.unique(test.groups)
    if len(np.unique(train.groups)) < 2 or len(present) < 2:
        message = f"the group ({splits.group_name}) cannot be probed: training or test holds a single group"
        warnings.warn(message, FairkdWarning, stacklevel=2)
    else:
        predicted = _probe(train, test)
        recalls = recall_score(test.groups, predicted, labels=present, average=None, zero_division=0)
        sizes = np.array([(test.groups == group).sum() for group in present])
        low, high = wilson_interval(recalls * sizes, sizes, confidence)
        row |= {"balanced_accuracy": recalls.mean(), "low": low.mean(), "high": high.mean()}
    return pd.DataFrame([{**row, "chance": 1 / splits.num_groups, "n": len(test)}])


def wilson_interval(
    successes: np.ndarray, trials: np.ndarray, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's score interval of a proportion (Wilson 1927, doi 10.1080/01621459.1927.10502953).

    ``(p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)``

    Args:
        successes: ``(k,)``, each in [0, trials].
        trials: ``(k,)``, at least 0.
        confidence: coverage, (0, 1).

    Returns:
        Lower and upper limits ``(k,)``, in [0, 1]; NaN where there are no trials.
    """
    from scipy.special import ndtri

    z = ndtri(0.5 + confidence / 2)
    n = np.where(np.asarray(trials) > 0, trials, np.nan)
    p = successes / n
    centre = p + z**2 / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)
    # The limits at 0 and at n successes are exactly 0 and 1; rounding errors are not.
    return np.where(p == 0, 0.0, low), np.where(p == 1, 1.0, high)


def _with_shares(counts: pd.DataFrame, confidence: float) -> pd.DataFrame:
    totals = counts.groupby(["split", "class"], sort=False)["n"].transform("sum").to_numpy()
    n = counts["n"].to_numpy()
    low, high = wilson_interval(n, totals, confidence)
    return counts.assign(share=n / np.where(totals > 0, totals, np.nan), low=low, high=high)


def _association(table: np.ndarray) -> dict[str, float]:
    """Return the statistics of a contingency table ``(classes, groups)``."""
    from scipy.stats import entropy
    from scipy.stats.contingency import association as scipy_association
    from sklearn.metrics import mutual_info_score

    # Classes and groups that do not occur say nothing, and would divide by zero.
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return dict.fromkeys(
            ("cramers_v", "mutual_information", "normalized_mutual_information"), float("nan")
        )
    information = float(mutual_info_score(None, None, contingency=table))
    return {
        "cramers_v": float(scipy_association(table, method="cramer")),
        "mutual_information": information,
        "normalized_mutual_information": information / float(entropy(table.sum(axis=0))),
    }


def _at_most(images: ImageSet, rows: int, seed: int) -> ImageSet:
    if len(images) <= rows:
        return images
    return images.subset(np.sort(np.random.default_rng(seed).choice(len(images), rows, replace=False)))


def _probe(train: ImageSet, test: ImageSet) -> np.ndarray:
    """Fit on ``train`` and return the predicted groups of ``test``, ``(n,)``."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=300))
    with warnings.catch_warnings():
        # A probe that is not quite fitted is still a probe: its score on test data stays valid.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(_pixels(train.images), train.groups)
    return np.asarray(model.predict(_pixels(test.images)))


def _pixels(images: np.ndarray) -> np.ndarray:
    """Return averaged pixels ``(n, 3 * PROBE_SIZE²)``, on the scale 0 to 1."""
    size = (PROBE_SIZE, PROBE_SIZE)
    small = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)) for image in images]
    return np.stack(small).reshape(len(images), -1) / 255


def _warn_of_empty_cells(empty: pd.DataFrame) -> None:
    names = [f"{row['split']}: {row['class']} × {row['group']}" for row in empty.to_dict("records")]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    warnings.warn(
        f"no samples in {'; '.join(names[:_SHOWN])}{more}; measures of these cells are NaN",
        FairkdWarning,
        stacklevel=3,
    )
