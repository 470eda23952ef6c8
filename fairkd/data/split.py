"""Stratified splits: every stratum is divided in the same proportions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def stratified_split(
    strata: np.ndarray, shares: Sequence[float], rng: np.random.Generator, *, fill_order: Sequence[int]
) -> np.ndarray:
    """Divide every stratum among the parts in proportion to ``shares``.

    A stratum with at least as many samples as there are parts puts at least one into each. A smaller one
    fills the parts one by one in ``fill_order``.

    Args:
        strata: stratum of each sample, ``(n,)`` integers.
        shares: share of each part; they sum to 1.
        rng: source of the draw.
        fill_order: the parts, the one that may least be empty first.

    Returns:
        Part of each sample, ``(n,)`` int64.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> parts = stratified_split(np.zeros(10), [0.7, 0.1, 0.2], rng, fill_order=[0, 2, 1])
        >>> np.bincount(parts).tolist()
        [7, 1, 2]
    """
    parts = np.empty(len(strata), dtype=np.int64)
    for stratum in np.unique(strata):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        parts[rows] = np.repeat(np.arange(len(shares)), part_sizes(len(rows), shares, fill_order))
    return parts


def stratified_unit_split(
    strata: np.ndarray,
    units: np.ndarray,
    shares: Sequence[float],
    rng: np.random.Generator,
    *,
    fill_order: Sequence[int],
) -> np.ndarray:
    """Divide as :func:`stratified_split` does, but whole units, each in the stratum of most of its samples.

    Args:
        strata: as there.
        units: unit of each sample, ``(n,)`` integers.
        shares: share of the units in each part; they sum to 1.
        rng: source of the draw.
        fill_order: as there.

    Returns:
        Part of each sample, ``(n,)`` int64; the same for all samples of a unit.
    """
    stratum, unit, counts = unit_counts(strata, units)
    # A unit's most frequent stratum first, of equally frequent ones the smaller.
    order = np.lexsort((stratum, -counts, unit))
    names, first = np.unique(unit[order], return_index=True)
    parts = stratified_split(stratum[order[first]], shares, rng, fill_order=fill_order)
    return parts[np.searchsorted(names, units)]


def unit_counts(strata: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return stratum, unit and number of samples of every pair that occurs; both are integers from 0, ``(n,)``."""
    pairs, counts = np.unique(strata * (units.max() + 1) + units, return_counts=True)
    return pairs // (units.max() + 1), pairs % (units.max() + 1), counts


def part_sizes(n: int, shares: Sequence[float], fill_order: Sequence[int]) -> np.ndarray:
    """Return how many of ``n`` samples each part gets, by the rule of :func:`stratified_split`.

    Where no part is at its minimum of one, this is the method of largest remainders.
    """
    sizes = np.zeros(len(shares), dtype=np.int64)
    sizes[list(fill_order)[:n]] = 1
    exact = np.asarray(shares, dtype=np.float64) * n
    # Where the steps below surely lead, without taking thousands of them.
    sizes = np.maximum(sizes, np.floor(exact).astype(np.int64) - len(shares))
    for _ in range(n - int(sizes.sum())):
        # Rounding before the comparison keeps ties (0.7 * 5 against 0.1 * 5) free of floating-point noise.
        sizes[np.argmax(np.round(exact - sizes, 9))] += 1
    return sizes


def stratified_subset(strata: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Choose ``n`` samples, from every stratum in proportion to its size and at least one.

    Args:
        strata: stratum of each sample, ``(m,)``, integers from 0 without a gap.
        n: how many to choose, from the number of strata to ``m``.
        rng: source of the draw.

    Returns:
        Whether each sample is chosen, ``(m,)`` bool.
    """
    sizes = np.bincount(strata)
    # The first of every stratum is certain; the others are shared out by largest remainders.
    kept = np.ones(len(sizes), dtype=np.int64)
    exact = (sizes - 1) * (n - len(sizes)) / max(1, (sizes - 1).sum())
    kept += np.floor(exact + 1e-9).astype(np.int64)
    remainder = np.round(exact - np.floor(exact + 1e-9), 9)
    kept[np.argsort(-remainder, kind="stable")[: n - int(kept.sum())]] += 1
    chosen = np.zeros(len(strata), dtype=bool)
    for stratum, count in enumerate(kept):
        chosen[rng.permutation(np.flatnonzero(strata == stratum))[:count]] = True
    return chosen
