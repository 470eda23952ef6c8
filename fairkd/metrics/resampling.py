"""What the bootstrap draws: units in strata, as counts of signatures, and what these draws lack in spread.

:mod:`fairkd.metrics.bootstrap` explains the words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from fairkd.metrics.confusion import Floats, divide
from fairkd.progress import track

#: Replicates are drawn in chunks: of so many bytes, which fit into a processor's cache, but not of fewer
#: replicates than this, or the calls would cost more than the numbers.
_CHUNK_BYTES = 16 * 2**20
_SMALLEST_CHUNK = 16

#: Strata of units with several rows that hold fewer units than this are pooled.
_SMALLEST_STRATUM = 5

_TOKEN_SEED = 0

#: What one more sample of each cell adds to ``correct`` and to ``predicted``.
More = tuple[Floats, Floats]


@dataclass(frozen=True)
class Design:
    """Units grouped by signature, signatures sorted by stratum.

    Attributes:
        unit_counts: units of each signature ``(signatures,)``.
        bounds: first signature of each stratum, and the end ``(strata + 1,)``.
        rows: positions of the rows of one unit of each signature.
        row_signature: the signature of each of those rows.
    """

    unit_counts: np.ndarray
    bounds: np.ndarray
    rows: np.ndarray
    row_signature: np.ndarray

    @property
    def num_signatures(self) -> int:
        """Number of signatures."""
        return len(self.unit_counts)

    def resample(self, matrix: csr_array, replicates: int, seed: int) -> Iterator[Floats]:
        """Draw units with replacement within strata and map each draw to table rows.

        Args:
            matrix: what one unit of each signature adds to each table row ``(table rows, signatures)``.
            replicates: number of resamples.
            seed: seed of the draws.

        Yields:
            Tables ``(table rows, replicates of the chunk)``.
        """
        rng = np.random.default_rng(seed)
        sizes = self._chunks(matrix, replicates)
        for size in track(sizes, "bootstrap", len(sizes)):
            yield matrix @ self._draw(size, rng)

    def swap(self, matrix: csr_array, swapped: csr_array, replicates: int, seed: int) -> Iterator[Floats]:
        """Map the data to table rows where each unit is mapped by the one matrix or, by a coin, by the other.

        Args:
            matrix: as :meth:`resample`.
            swapped: what one unit of each signature adds if the coin falls so, of the same shape.
            replicates: number of draws of the coins.
            seed: seed of the draws.

        Yields:
            Tables ``(table rows, replicates of the chunk)``.
        """
        rng = np.random.default_rng(seed)
        whole, change = (matrix @ self.unit_counts)[:, None], swapped - matrix
        sizes = self._chunks(matrix, replicates)
        for size in track(sizes, "permutations", len(sizes)):
            coins = rng.binomial(self.unit_counts[:, None], 0.5, size=(self.num_signatures, size))
            yield whole + change @ coins.astype(np.float64)

    def _chunks(self, matrix: csr_array, replicates: int) -> list[int]:
        chunk = max(_SMALLEST_CHUNK, _CHUNK_BYTES // (8 * sum(matrix.shape)))
        return [min(chunk, replicates - start) for start in range(0, replicates, chunk)]

    def _draw(self, replicates: int, rng: np.random.Generator) -> Floats:
        """Draw how often each signature occurs ``(signatures, replicates)``."""
        counts = np.empty((self.num_signatures, replicates))
        for start, stop in zip(self.bounds[:-1], self.bounds[1:], strict=True):
            units = self.unit_counts[start:stop]
            counts[start:stop] = rng.multinomial(units.sum(), units / units.sum(), size=replicates).T
        return counts


class OneMore:
    """One more sample of each cell, drawn from all of its class that have a group, less what it is on average.

    The same sample for all models. A cell whose units all have several rows gets none: alike in several groups,
    such rows vary less against each other than this would say.
    """

    def __init__(
        self,
        labels: np.ndarray,
        slots: np.ndarray,
        units: np.ndarray,
        predicted: np.ndarray,
        sizes: tuple[int, int, int],
        seed: int,
    ) -> None:
        num_classes, num_slots, num_groups = sizes
        self.shape, self.predicted = (num_classes, num_slots), predicted
        self.rng = np.random.default_rng([seed, 1])
        unit = pd.factorize(units)[0]
        grouped = slots < num_groups
        single = grouped & (np.bincount(unit)[unit] == 1)
        here = np.zeros(self.shape, dtype=bool)
        here[labels[single], slots[single]] = True
        self.classes, self.groups = np.nonzero(here)
        rows = np.flatnonzero(grouped)
        self.rows = rows[np.argsort(labels[rows], kind="stable")]
        self.class_sizes = np.bincount(labels[rows], minlength=num_classes)
        self.first = np.cumsum(self.class_sizes) - self.class_sizes
        shares = [self._shares(labels[rows], one[rows]) for one in predicted]
        self.recall = [np.diagonal(one)[self.classes] for one in shares]
        self.rate = [one.T @ here for one in shares]

    def draw(self, replicates: int) -> Iterator[More]:
        """Yield for each model what is added to ``correct`` and to ``predicted`` ``(replicates, classes, slots)``."""
        place = self.rng.random((replicates, len(self.classes)))
        rows = self.rows[self.first[self.classes] + (place * self.class_sizes[self.classes]).astype(np.int64)]
        which = np.arange(replicates)[:, None]
        for one, recall, rate in zip(self.predicted, self.recall, self.rate, strict=True):
            correct = np.zeros((replicates, *self.shape))
            correct[:, self.classes, self.groups] = (one[rows] == self.classes) - recall
            flat = np.ravel_multi_index((which, one[rows], self.groups), correct.shape)
            counts = np.bincount(flat.ravel(), minlength=correct.size).reshape(correct.shape)
            yield correct, counts - rate

    def _shares(self, labels: np.ndarray, predicted: np.ndarray) -> Floats:
        num_classes = self.shape[0]
        flat = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
        return np.nan_to_num(divide(flat.reshape(num_classes, -1), self.class_sizes[:, None]))


def design(cells: np.ndarray, types: np.ndarray, units: np.ndarray) -> Design:
    """Group units by what their rows are.

    Args:
        cells: class x group cell of each row ``(n,)``; a unit's multiset of cells is its stratum.
        types: what each row contributes ``(n,)``, which must tell apart all that ``cells`` does; a unit's
            multiset of types is its signature.
        units: unit of each row ``(n,)``, any hashable values.
    """
    unit, names = pd.factorize(units)
    if len(names) == len(units):
        # One row a unit: its multiset is the row itself.
        signature, stratum = compact(types), cells
    else:
        signature = _multisets(types, unit, len(names))
        stratum = _pool_small(_multisets(cells, unit, len(names)), np.bincount(unit))
    # Codes count up in order of appearance, so a unit that raises the running maximum is the first of its
    # kind.
    examples = np.flatnonzero(np.diff(np.maximum.accumulate(signature), prepend=-1))
    order = np.argsort(stratum[examples], kind="stable")
    strata = stratum[examples][order]
    starts = np.flatnonzero(np.append(True, strata[1:] != strata[:-1]))
    position = np.empty_like(order)
    position[order] = np.arange(len(order))
    is_example = np.zeros(len(names), dtype=bool)
    is_example[examples] = True
    rows = np.flatnonzero(is_example[unit])
    return Design(
        np.bincount(signature)[order], np.append(starts, len(order)), rows, position[signature[unit[rows]]]
    )


def compact(codes: np.ndarray) -> np.ndarray:
    """Renumber values from 0, densely, in order of appearance."""
    return np.asarray(pd.factorize(codes)[0])


def _multisets(values: np.ndarray, unit: np.ndarray, num_units: int) -> np.ndarray:
    """Return a code for each unit, equal for units whose rows have equal ``values`` in any order.

    Each distinct value gets a random 64-bit token; the sum of a unit's tokens is a hash of its multiset.
    Among a million units that all differ, two collide with probability 3e-8.
    """
    dense = compact(values)
    tokens = np.random.default_rng(_TOKEN_SEED).integers(2**64, size=dense.max() + 1, dtype=np.uint64)
    sums = np.zeros(num_units, dtype=np.uint64)
    np.add.at(sums, unit, tokens[dense])
    return compact(sums)


def _pool_small(stratum: np.ndarray, unit_sizes: np.ndarray) -> np.ndarray:
    """Put units of several rows whose stratum is small into one common stratum.

    A stratum of one unit never varies, and units of many rows (all images of one person) are mostly of that
    kind: kept apart, they would give intervals of width 0. Pooled, cell sizes vary a little between
    resamples.
    """
    small = (np.bincount(stratum)[stratum] < _SMALLEST_STRATUM) & (unit_sizes > 1)
    return np.where(small, stratum.max() + 1, stratum)
