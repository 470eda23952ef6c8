"""What is in several splits, so that the test finds again what was trained on: copies of a file, images of a unit."""

from __future__ import annotations

import warnings

import numpy as np

from fairkd.data.profile import Records
from fairkd.errors import FairkdWarning


def warn_of_copies(records: Records, part: np.ndarray, items: np.ndarray, hashes: np.ndarray) -> None:
    """Warn of byte-identical files in different splits: what was trained on would be tested again.

    Args:
        records: the source, which names the files.
        part: split of each image, ``(n,)``; -1: none.
        items: position of each image in the source, ``(n,)``.
        hashes: hash of each image's file, ``(n,)``.
    """
    # Sorting numbers is several times as fast as sorting hashes, and in most data nothing is equal.
    beginnings = np.sort(np.ascontiguousarray(hashes).view(np.uint64)[::2])
    if not (beginnings[1:] == beginnings[:-1]).any():
        return
    order = np.flatnonzero(part >= 0)
    order = order[np.lexsort((order, part[order]))]
    _, first, copy_of = np.unique(hashes[order], return_index=True, return_inverse=True)
    original = order[first[copy_of.ravel()]]
    copies = np.flatnonzero(part[original] != part[order])
    if len(copies):
        names = [records.pixels.describe(int(items[row])) for row in (original[copies[0]], order[copies[0]])]
        warnings.warn(
            f"{records.columns.origin}: {len(copies)} images are byte for byte the same as one in another split, "
            f"first {' and '.join(names)}; remove the copies, or results look better than they are",
            FairkdWarning,
            stacklevel=2,
        )


def warn_of_divided_units(records: Records, part: np.ndarray, units: np.ndarray) -> None:
    """Warn of units that the data's own split has in several parts.

    Args:
        records: the source, which names the images.
        part: split of each image, ``(n,)``; -1: none.
        units: unit of each image, ``(n,)``, from 0.
    """
    used = np.flatnonzero(part >= 0)
    _, first, unit = np.unique(units[used], return_index=True, return_inverse=True)
    original = used[first[unit.ravel()]]
    divided = np.flatnonzero(part[original] != part[used])
    if len(divided):
        pair = [int(original[divided[0]]), int(used[divided[0]])]
        warnings.warn(
            f"{records.columns.origin}: {len(np.unique(units[used[divided]])):,} units have images in several splits, "
            f"first {records.columns.place(pair)}; put all images of a unit into one split, or results look better "
            "than they are",
            FairkdWarning,
            stacklevel=2,
        )
