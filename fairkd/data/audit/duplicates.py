"""Images that occur more than once, within a split and across splits, and whether their labels agree."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
import pandas as pd

from fairkd.data.audit.hashing import Hashes, hamming, hash_images, near_pairs
from fairkd.data.audit.images import group_of
from fairkd.data.audit.probe import draw_rows
from fairkd.data.splits import Splits
from fairkd.errors import FairkdWarning

#: Images of a split that are searched; of more, so many are drawn.
MOST_IMAGES = 100_000
#: Near duplicates: dHash bits that may differ, and the correlation of the 16 x 16 grey images.
HASH_DISTANCE, CORRELATION = 6, 0.99
#: Pairs that are listed one by one; the counts are of all.
MOST_LISTED = 1000

_BLOCK = 50_000


class Duplicates(NamedTuple):
    """``summary``: counts by kind and pair of splits; ``pairs``: the pairs; see :func:`find_duplicates`."""

    summary: pd.DataFrame
    pairs: pd.DataFrame


def hash_splits(splits: Splits, seed: int = 0) -> dict[str, tuple[np.ndarray, Hashes]]:
    """Return for each split the rows that are searched ``(k,)`` and the hashes of their images."""
    hashed = {}
    for split, images in splits.items():
        rows = draw_rows(np.arange(len(images)), MOST_IMAGES, seed)
        everything = len(rows) == len(images)
        hashed[split] = rows, hash_images(images.images if everything else images.images[rows])
    return hashed


def find_duplicates(
    splits: Splits,
    hashes: Mapping[str, tuple[np.ndarray, Hashes]] | None = None,
    *,
    distance: int = HASH_DISTANCE,
    correlation: float = CORRELATION,
) -> Duplicates:
    """Find images that occur more than once.

    ``exact``: every pixel is equal; an image that repeats earlier ones is paired with the first of them.
    ``near``: among the distinct images, difference hashes within ``distance`` bits and grey images of 16 x 16
    pixels that correlate by at least ``correlation``: re-encoded, rescaled or re-lit copies, and, in data of
    few pixels, images that merely look alike. Rows of a split that show one source item
    (``unit``) are no duplicates.

    Args:
        splits: the data.
        hashes: what :func:`hash_splits` returned, if known.
        distance: Hamming distance, [0, 63].
        correlation: Pearson's, (0, 1].

    Returns:
        ``summary``: rows ``kind, split, other_split, pairs, images, labels_differ, groups_differ, n`` for every
        pair of splits; ``images`` counts the images of ``other_split`` that have a twin in ``split``, of ``n``
        searched; pairs with a missing group do not count as differing in it. ``pairs``: rows ``kind,
        distance, split, row, index, label, group, other_split, other_row, ..., other_group, labels_differ``,
        those whose labels differ first, at most 1,000.

    Warns:
        FairkdWarning: if so many images look alike that the near ones were not all compared.
    """
    hashes = hash_splits(splits) if hashes is None else hashes
    known = _Rows(splits, hashes)
    exact, distinct = known.exact_pairs()
    near, complete = known.near_pairs(distinct, distance, correlation)
    if not complete:
        warnings.warn(
            "too many images look alike to list all near duplicates: their counts are lower bounds",
            FairkdWarning,
            stacklevel=2,
        )
    tables = [known.table("exact", exact), known.table("near", near)]
    pairs = pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
    sizes = {split: len(rows) for split, (rows, _) in hashes.items()}
    listed = pairs.sort_values("labels_differ", ascending=False, kind="stable").head(MOST_LISTED)
    return Duplicates(_summary(pairs, sizes), listed.drop(columns="groups_differ").reset_index(drop=True))


class _Rows:
    """The searched rows of all splits, one after the other."""

    def __init__(self, splits: Splits, hashes: Mapping[str, tuple[np.ndarray, Hashes]]) -> None:
        searched = [(name, images, *hashes[name]) for name, images in splits.items()]
        self.splits = splits
        self.split = np.concatenate([[name] * len(rows) for name, _, rows, _ in searched])
        self.row = np.concatenate([rows for _, _, rows, _ in searched])
        self.labels, self.groups, self.index, self.unit = (
            np.concatenate([getattr(images, column)[rows] for _, images, rows, _ in searched])
            for column in ("labels", "groups", "index", "unit")
        )
        self.hashes = Hashes(
            *(np.concatenate(parts) for parts in zip(*(h for *_, h in searched), strict=True))
        )

    def exact_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return pairs ``(pairs, 2)`` of a first image and one that repeats it, and all first ones."""
        _, first, image = np.unique(self.hashes.exact, return_index=True, return_inverse=True)
        pairs = np.stack([first[image], np.arange(len(image))], axis=1)
        return self._of_different_units(pairs), np.sort(first)

    def near_pairs(self, distinct: np.ndarray, distance: int, correlation: float) -> tuple[np.ndarray, bool]:
        """Return the near pairs among distinct images, and whether they are all."""
        pairs, complete = near_pairs(self.hashes.near[distinct], distance)
        pairs = self._of_different_units(distinct[pairs])
        small = self.hashes.small
        blocks = np.array_split(pairs, len(pairs) // _BLOCK + 1)
        alike = [np.einsum("ij,ij->i", small[block[:, 0]], small[block[:, 1]]) for block in blocks]
        return pairs[np.concatenate(alike) >= correlation], complete

    def table(self, kind: str, pairs: np.ndarray) -> pd.DataFrame:
        """Describe pairs, one row each."""
        one, other = pairs.T
        sides = {
            prefix + name: values
            for prefix, places in (("", one), ("other_", other))
            for name, values in self._side(places).items()
        }
        groups = self.groups[one], self.groups[other]
        return pd.DataFrame(
            {
                "kind": kind,
                "distance": hamming(self.hashes.near[one], self.hashes.near[other]),
                **sides,
                "labels_differ": self.labels[one] != self.labels[other],
                "groups_differ": (groups[0] != groups[1]) & (groups[0] >= 0) & (groups[1] >= 0),
            }
        )

    def _side(self, places: np.ndarray) -> dict[str, object]:
        return {
            "split": self.split[places],
            "row": self.row[places],
            "index": self.index[places],
            "label": [self.splits.class_names[code] for code in self.labels[places]],
            "group": [group_of(self.splits, code) for code in self.groups[places]],
        }

    def _of_different_units(self, pairs: np.ndarray) -> np.ndarray:
        one, other = pairs.T
        # One item in two splits is a leak, by design or not.
        differ = (self.unit[one] != self.unit[other]) | (self.split[one] != self.split[other])
        return np.asarray(pairs[differ])


def _summary(pairs: pd.DataFrame, sizes: Mapping[str, int]) -> pd.DataFrame:
    rows = []
    for kind in ("exact", "near"):
        for split, other in combinations_with_replacement(sizes, 2):
            chosen = (pairs["kind"] == kind) & (pairs["split"] == split) & (pairs["other_split"] == other)
            found = pairs[chosen]
            differ = int(found["labels_differ"].sum()), int(found["groups_differ"].sum())
            rows.append((kind, split, other, len(found), found["other_row"].nunique(), *differ, sizes[other]))
    columns = ["kind", "split", "other_split", "pairs", "images", "labels_differ", "groups_differ", "n"]
    return pd.DataFrame(rows, columns=columns)
