"""Simple probes: whether pixels, or a network's features, give a group away."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from fairkd.data.audit.counts import attribute_codes, attribute_names
from fairkd.data.splits import Splits
from fairkd.errors import DataError, FairkdWarning
from fairkd.metrics.proportions import wilson_interval

PROBE_ROWS = 2000
PROBE_SIZE = 8

#: Features of a whole split by its name ``(n, dim)``, or what makes them of images ``(k, height, width, 3)``.
Features = Mapping[str, np.ndarray] | Callable[[np.ndarray], np.ndarray]


def group_predictability(
    splits: Splits,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    features: Features | None = None,
    attribute: str | None = None,
) -> pd.DataFrame:
    """Predict the group from downscaled pixels: logistic regression, fitted on training, scored on test.

    The images are averaged to 8 x 8 pixels; at most 2,000 rows of each split are used, drawn by ``seed``;
    samples without a group are left out. A balanced accuracy near ``chance`` says that this simple probe finds
    no cue, not that there is none.

    Args:
        splits: the data.
        confidence: coverage of the interval, (0, 1).
        seed: seed of the draw of rows.
        features: read the group from these instead of from pixels.
        attribute: predict this further attribute instead of the group.

    Returns:
        One row ``target, source, balanced_accuracy, low, high, chance, n``. The limits are the means of the
        groups' Wilson limits: conservative, and valid also where groups share source images. The values are
        NaN, with a warning, where training or test holds a single group.

    Raises:
        DataError: features that do not fit the splits.
    """
    from sklearn.metrics import recall_score

    target = splits.group_name if attribute is None else attribute
    chance = 1 / len(attribute_names(splits)[target])
    (train, train_codes), (test, test_codes) = (
        _sampled(splits, split, target, features, seed) for split in ("train", "test")
    )
    row: dict[str, object] = {"target": target, "source": _source(train, features)}
    row |= {"balanced_accuracy": np.nan, "low": np.nan, "high": np.nan}
    present = np.unique(test_codes)
    if len(np.unique(train_codes)) < 2 or len(present) < 2:
        what = "group" if attribute is None else "attribute"
        message = f"the {what} ({target}) cannot be probed: training or test holds a single group"
        warnings.warn(message, FairkdWarning, stacklevel=2)
    else:
        predicted = np.asarray(fitted_probe(train, train_codes).predict(test))
        recalls = recall_score(test_codes, predicted, labels=present, average=None, zero_division=0)
        sizes = np.array([(test_codes == group).sum() for group in present])
        low, high = wilson_interval(recalls * sizes, sizes, confidence)
        row |= {"balanced_accuracy": recalls.mean(), "low": low.mean(), "high": high.mean()}
    return pd.DataFrame([{**row, "chance": chance, "n": len(test_codes)}])


def predictabilities(splits: Splits, confidence: float, seed: int, features: Features | None) -> pd.DataFrame:
    """:func:`group_predictability` of the group and every further attribute, from pixels and from features."""
    sources = [None] if features is None else [None, features]
    tables = [
        group_predictability(
            splits,
            confidence=confidence,
            seed=seed,
            features=source,
            attribute=None if name == splits.group_name else name,
        )
        for name in attribute_names(splits)
        for source in sources
    ]
    return pd.concat(tables, ignore_index=True)


def inputs_of(splits: Splits, split: str, rows: np.ndarray, features: Features | None) -> np.ndarray:
    """Return what a probe reads of some rows: averaged pixels, or features ``(k, dim)``.

    Raises:
        DataError: features that do not fit the split.
    """
    images = dict(splits.items())[split]
    if features is None:
        return _pixels(images.images[rows])
    if callable(features):
        values, wanted = np.asarray(features(images.images[rows])), len(rows)
    else:
        values, wanted = np.asarray(features.get(split, np.empty((0, 0)))), len(images)
    if values.ndim != 2 or len(values) != wanted:
        raise DataError(f"features of the {split} split have shape {values.shape}; needed: ({wanted}, dim)")
    return values if callable(features) else values[rows]


def draw_rows(candidates: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return at most so many of ``candidates (k,)``, drawn by ``seed``, in their order."""
    if len(candidates) <= most:
        return candidates
    return candidates[np.sort(np.random.default_rng(seed).choice(len(candidates), most, replace=False))]


def fitted_probe(inputs: np.ndarray, codes: np.ndarray) -> Any:
    """Fit a logistic regression of standardised inputs ``(n, dim)`` that weighs the codes ``(n,)`` alike."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=300))
    with warnings.catch_warnings():
        # A probe that is not quite fitted is still a probe: its score on test data stays valid.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(inputs, codes)


def _sampled(
    splits: Splits, split: str, target: str, features: Features | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    codes = attribute_codes(splits, dict(splits.items())[split], target)
    rows = draw_rows(np.flatnonzero(codes >= 0), PROBE_ROWS, seed)
    return inputs_of(splits, split, rows, features), codes[rows]


def _source(inputs: np.ndarray, features: Features | None) -> str:
    return f"pixels ({PROBE_SIZE} × {PROBE_SIZE})" if features is None else f"features ({inputs.shape[1]})"


def _pixels(images: np.ndarray) -> np.ndarray:
    """Return averaged pixels ``(n, 3 * PROBE_SIZE²)``, on the scale 0 to 1."""
    size = (PROBE_SIZE, PROBE_SIZE)
    small = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)) for image in images]
    return np.array(small, dtype=np.uint8).reshape(len(small), 3 * PROBE_SIZE**2) / 255
