"""Label noise suspects: confident learning with a cross-validated probe."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from fairkd.data.audit.images import group_of
from fairkd.data.audit.probe import Features, draw_rows, fitted_probe, inputs_of
from fairkd.data.splits import Splits
from fairkd.metrics.proportions import wilson_interval

NOISE_ROWS = 2000
FOLDS = 5


class LabelNoise(NamedTuple):
    """``summary``: counts by class and group; ``suspects``: the images; see :func:`find_label_noise`."""

    summary: pd.DataFrame
    suspects: pd.DataFrame


def find_label_noise(
    splits: Splits, *, features: Features | None = None, confidence: float = 0.95, seed: int = 0
) -> LabelNoise:
    """Find training labels that a probe which did not see them contradicts with confidence.

    A logistic regression on 8 x 8 pixels, or on ``features``, predicts each label in 5-fold cross-validation
    over source items (``unit``); :func:`confident_learning` names the suspects. At most 2,000 rows are drawn by
    ``seed``; classes with fewer than 5 source items among them are left out. A suspect is a reason to look,
    not a finding: a weak probe (``probe_accuracy``) suspects its own mistakes.

    Args:
        splits: the data.
        features: what the probe reads instead of pixels; of a network that has not memorised these labels.
        confidence: coverage of the intervals, (0, 1).
        seed: seed of the draw and of the folds.

    Returns:
        ``summary``: rows ``by, name, n, suspects, share, low, high, probe_accuracy`` for all, for each class and
        for each group (``by`` is ``all``, ``class`` or ``group``). ``suspects``: rows ``split, row, index, label,
        group, suggested, self_confidence, confidence``, least plausible label first: the probe's probability of
        the given label and of the suggested one.

    Raises:
        DataError: features that do not fit the splits.
    """
    train = splits.train
    rows = draw_rows(np.arange(len(train)), NOISE_ROWS, seed)
    rows = rows[_often_enough(train.labels[rows], train.unit[rows])]
    labels = train.labels[rows]
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        return LabelNoise(*_tables(splits, rows[:0], labels[:0], labels[:0], np.empty((0, 2)), confidence))
    inputs = inputs_of(splits, "train", rows, features)
    probabilities = _out_of_sample(inputs, codes, train.unit[rows], seed)
    suggested = confident_learning(probabilities, codes)
    suspect = np.where(suggested >= 0, suggested, codes)
    sample = np.arange(len(rows))
    beliefs = np.stack([probabilities[sample, codes], probabilities[sample, suspect]], axis=1)
    predicted = classes[probabilities.argmax(axis=1)]
    return LabelNoise(*_tables(splits, rows, classes[suspect], predicted, beliefs, confidence))


def confident_learning(probabilities: npt.NDArray[np.float64], labels: np.ndarray) -> np.ndarray:
    """Name the label that a sample should rather have, by the confident joint (Northcutt 2021, arXiv 1911.00068).

    A class's threshold is the mean probability that its own samples give it. A sample is confidently of the
    likeliest class among those whose threshold it reaches; where that is not its label, it is a suspect: the
    off-diagonal of the confident joint.

    Args:
        probabilities: of samples that the model was not fitted on, ``(n, classes)``.
        labels: given labels ``(n,)``; each class occurs.

    Returns:
        The suggested class of each suspect, -1 for the others, ``(n,)``.

    Example:
        >>> confident_learning(np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]]), np.array([0, 0, 1]))
        array([-1, -1, -1])
    """
    own = probabilities[np.arange(len(labels)), labels]
    thresholds = np.bincount(labels, weights=own) / np.bincount(labels)
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    best = confident.argmax(axis=1)
    is_suspect = (confident.max(axis=1) >= 0) & (best != labels)
    return np.where(is_suspect, best, -1)


def _often_enough(labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    pairs = pd.DataFrame({"label": labels, "unit": units})
    return np.asarray(pairs.groupby("label")["unit"].transform("nunique") >= FOLDS, dtype=bool)


def _out_of_sample(
    inputs: np.ndarray, codes: np.ndarray, units: np.ndarray, seed: int
) -> npt.NDArray[np.float64]:
    """Return each row's probabilities from the probe of the folds that it is not in ``(n, classes)``."""
    from sklearn.model_selection import StratifiedGroupKFold

    probabilities = np.zeros((len(codes), codes.max() + 1))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for fit, score in folds.split(inputs, codes, units):
        probe = fitted_probe(inputs[fit], codes[fit])
        # A class may be in a single fold only, where items carry several labels.
        probabilities[np.ix_(score, probe.classes_)] = probe.predict_proba(inputs[score])
    return probabilities


def _tables(
    splits: Splits,
    rows: np.ndarray,
    suggested: np.ndarray,
    predicted: np.ndarray,
    beliefs: np.ndarray,
    confidence: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    train = splits.train
    labels, groups = train.labels[rows], train.groups[rows]
    suspect = suggested != labels
    parts = [("all", "all", np.ones(len(rows), dtype=bool))]
    parts += [("class", name, labels == code) for code, name in enumerate(splits.class_names)]
    parts += [("group", name, groups == code) for code, name in enumerate(splits.group_names)]
    n, found, right = (
        np.array([(members & chosen).sum() for _, _, members in parts])
        for chosen in (np.ones(len(rows), dtype=bool), suspect, predicted == labels)
    )
    low, high = wilson_interval(found, n, confidence)
    known = np.where(n > 0, n, np.nan)
    summary = pd.DataFrame({"by": [by for by, *_ in parts], "name": [name for _, name, _ in parts], "n": n})
    summary = summary.assign(
        suspects=found, share=found / known, low=low, high=high, probe_accuracy=right / known
    )
    listed = pd.DataFrame(
        {
            "split": "train",
            "row": rows[suspect],
            "index": train.index[rows[suspect]],
            "label": [splits.class_names[code] for code in labels[suspect]],
            "group": [group_of(splits, code) for code in groups[suspect]],
            "suggested": [splits.class_names[code] for code in suggested[suspect]],
            "self_confidence": beliefs[suspect, 0],
            "confidence": beliefs[suspect, 1],
        }
    )
    return summary, listed.sort_values("self_confidence", kind="stable", ignore_index=True)
