"""What the pixels say without a model: brightness, contrast, saturation and sharpness by group, and odd images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from fairkd.data.audit.hashing import LUMA, Hashes, chunks
from fairkd.data.audit.probe import draw_rows
from fairkd.data.splits import Splits

STATISTICS = ("brightness", "contrast", "saturation", "sharpness")
STATISTIC_ROWS = 2000
#: Below so many grey levels of standard deviation in every channel an image shows next to nothing.
NEARLY_CONSTANT = 2.5


def image_statistics(splits: Splits, *, confidence: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Average simple image statistics over each group.

    Of at most 2,000 images of each split, drawn by ``seed``; see :func:`measure_images`. Where the means of two
    groups lie apart, a network can tell the groups by that alone.

    Returns:
        Tidy rows ``split, group, statistic, value, low, high, n``: the mean with Student's interval, NaN for
        fewer than two images. Samples without a group are left out.
    """
    rows = []
    for split, images in splits.items():
        chosen = draw_rows(np.arange(len(images)), STATISTIC_ROWS, seed)
        measured = measure_images(images.images[chosen])
        for code, group in enumerate(splits.group_names):
            members = images.groups[chosen] == code
            rows += [
                (split, group, name, *_mean(measured[members, column], confidence), int(members.sum()))
                for column, name in enumerate(STATISTICS)
            ]
    return pd.DataFrame(rows, columns=["split", "group", "statistic", "value", "low", "high", "n"])


def measure_images(images: np.ndarray) -> npt.NDArray[np.float64]:
    """Measure each image; all values on the scale 0 to 1 of the pixels.

    ``brightness``: mean luma (ITU-R BT.601); ``contrast``: its standard deviation; ``saturation``: mean over
    the pixels of (max - min) / max of the channels, 0 for black; ``sharpness``: edge energy, the root of the
    mean squared luma difference of neighbours, to the right and below together.

    Args:
        images: ``(n, height, width, 3)`` uint8.

    Returns:
        ``(n, 4)`` in the order of ``STATISTICS``.
    """
    parts = [_measure(chunk.astype(np.float32) / np.float32(255)) for chunk in chunks(images)]
    return np.concatenate(parts) if parts else np.empty((0, len(STATISTICS)))


def odd_images(splits: Splits, hashes: Mapping[str, tuple[np.ndarray, Hashes]]) -> pd.DataFrame:
    """List the images that show nothing, or next to nothing.

    Args:
        splits: the data.
        hashes: for each split the rows that were looked at ``(k,)`` and what was found.

    Returns:
        Tidy rows ``split, row, index, label, group, finding, spread``: the finding is ``constant`` (every
        pixel alike) or ``nearly constant``, the spread the largest standard deviation of a channel in grey
        levels. A missing group is NaN.
    """
    found = []
    for split, images in splits.items():
        rows, known = hashes[split]
        for place in np.flatnonzero(known.spread < NEARLY_CONSTANT):
            row, spread = int(rows[place]), float(known.spread[place])
            finding = "constant" if spread < 1e-3 else "nearly constant"
            label, group = splits.class_names[images.labels[row]], group_of(splits, images.groups[row])
            found.append((split, row, int(images.index[row]), label, group, finding, round(spread, 3)))
    return pd.DataFrame(found, columns=["split", "row", "index", "label", "group", "finding", "spread"])


def group_of(splits: Splits, code: int) -> str | None:
    """Return a group's name, None for the code -1."""
    return splits.group_names[code] if code >= 0 else None


def _measure(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    luma = images @ LUMA
    right, below = np.diff(luma, axis=2), np.diff(luma, axis=1)
    squares = [(steps.astype(np.float64) ** 2).sum(axis=(1, 2)) for steps in (right, below)]
    number = max(right[0].size + below[0].size, 1)
    top, bottom = images.max(axis=3), images.min(axis=3)
    saturation = np.divide(top - bottom, top, out=np.zeros_like(top), where=top > 0)
    return np.stack(
        [
            luma.mean(axis=(1, 2), dtype=np.float64),
            luma.std(axis=(1, 2), dtype=np.float64),
            saturation.mean(axis=(1, 2), dtype=np.float64),
            np.sqrt(sum(squares) / number),
        ],
        axis=1,
    )


def _mean(values: npt.NDArray[np.float64], confidence: float) -> tuple[float, float, float]:
    from scipy.special import stdtrit

    n = len(values)
    mean = float(values.mean()) if n else float("nan")
    if n < 2:
        return mean, float("nan"), float("nan")
    half = float(stdtrit(n - 1, 0.5 + confidence / 2) * values.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half
