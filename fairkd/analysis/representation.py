"""Where a network puts the groups: distances between their features, the geometry of class means, a projection."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from fairkd.errors import DataError, ParameterError
from fairkd.metrics.confusion import Floats


def group_mmd(
    features: np.ndarray,
    groups: np.ndarray,
    group_names: Sequence[str],
    *,
    labels: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    units: np.ndarray | None = None,
    permutations: int = 500,
    max_rows: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure how far apart the features of two groups are: squared maximum mean discrepancy, with a permutation test.

    The unbiased estimate (Gretton et al. 2012, JMLR 13, 723-773, equation 3) with the kernel ``exp(-d² / (2 s²))``, s
    the median distance of the rows that are compared. Under the hypothesis that the group makes no difference, groups
    may be exchanged: among the rows of a unit that is shown in both, and among the units that are in one, whose rows
    move together. The p-value is ``(1 + #{permuted >= observed}) / (permutations + 1)``.

    Args:
        features: ``(n, dim)``.
        groups: codes ``(n,)``, -1 where missing; those rows are left out.
        group_names: names of the codes.
        labels: codes ``(n,)``: compare also within each class.
        class_names: names of the labels; needed with them.
        units: source item of each row ``(n,)``; ``None``: every row its own.
        permutations: at least 1.
        max_rows: at most so many rows a comparison, drawn by ``seed``; the cost grows with their square.
        seed: seed of the draw and of the permutations.

    Returns:
        Tidy rows ``class, group, other_group, mmd2, p_value, bandwidth, n, n_other``; class ``"all"`` first. ``mmd2``
        is at most 2, about 0 for equal distributions, and can be negative; NaN with fewer than two rows in a group.

    Raises:
        DataError: shapes that do not fit, or features that are not finite.
        ParameterError: ``permutations`` below 1, or labels without ``class_names``.
    """
    if permutations < 1:
        raise ParameterError(f"permutations={permutations} is not allowed: at least 1")
    if labels is not None and class_names is None:
        raise ParameterError("labels need class_names, the names of their codes")
    features, units = _checked(features, groups, labels, units)
    subsets = {"all": np.ones(len(groups), dtype=bool)}
    if labels is not None:
        subsets |= {str(name): labels == code for code, name in enumerate(class_names or ())}
    records = []
    for name, rows in subsets.items():
        for one, other in combinations(range(len(group_names)), 2):
            chosen = np.flatnonzero(rows & np.isin(groups, (one, other)))
            rng = np.random.default_rng(seed)
            chosen = np.sort(rng.choice(chosen, min(max_rows, len(chosen)), replace=False))
            found = _tested(features[chosen], groups[chosen] == one, units[chosen], permutations, rng)
            names = {"class": name, "group": group_names[one], "other_group": group_names[other]}
            records.append(names | found)
    return pd.DataFrame(records)


def mmd_squared(kernel: Floats, first: np.ndarray) -> float:
    """Return the unbiased squared MMD between the rows with ``first`` and the others.

    ``mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean k(x_i, y_j)``

    Args:
        kernel: ``(n, n)``.
        first: booleans ``(n,)``, at least two of each.
    """
    sign = first.astype(np.float64)
    sizes = sign.sum(), (1 - sign).sum()
    rows = kernel @ sign
    within, across = rows @ sign, rows @ (1 - sign)
    rest = kernel.sum() - within - 2 * across
    diagonal = np.diagonal(kernel)
    own = (within - diagonal @ sign) / (sizes[0] * (sizes[0] - 1))
    others = (rest - diagonal @ (1 - sign)) / (sizes[1] * (sizes[1] - 1))
    return float(own + others - 2 * across / (sizes[0] * sizes[1]))


def class_geometry(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    class_names: Sequence[str],
    group_names: Sequence[str],
) -> pd.DataFrame:
    """Describe how each class lies in the feature space, and how far its groups' means are apart.

    Args:
        features: ``(n, dim)``.
        labels: codes ``(n,)``.
        groups: codes ``(n,)``, -1 where missing: such rows count for the class alone.
        class_names: names of the labels.
        group_names: names of the groups.

    Returns:
        A row a class and pair of groups: ``class, group, other_group, n, n_other, within_scatter`` (mean squared
        distance of the class's rows to their mean), ``between_scatter`` (squared distance of that mean to the mean of
        the class means), ``mean_distance`` (distance of the two group-conditional means, divided by the root of
        ``within_scatter``) and ``mean_cosine`` (cosine of the two, seen from the mean of the class means). Both are
        inflated, or lowered, by sampling error in small cells. NaN where a group or class has no rows.

    Raises:
        DataError: shapes that do not fit, or features that are not finite.
    """
    features, _ = _checked(features, groups, labels, None)
    means = np.array([_mean(features[labels == c]) for c in range(len(class_names))])
    centre = means[~np.isnan(means).any(axis=1)].mean(axis=0)
    records = []
    for code, name in enumerate(class_names):
        rows = labels == code
        within = float(((features[rows] - means[code]) ** 2).sum(axis=1).mean()) if rows.any() else np.nan
        for one, other in combinations(range(len(group_names)), 2):
            cells = rows & (groups == one), rows & (groups == other)
            first, second = (_mean(features[cell]) - centre for cell in cells)
            norms = np.linalg.norm(first) * np.linalg.norm(second)
            records.append(
                {
                    "class": name,
                    "group": group_names[one],
                    "other_group": group_names[other],
                    "n": int(cells[0].sum()),
                    "n_other": int(cells[1].sum()),
                    "within_scatter": within,
                    "between_scatter": float(((means[code] - centre) ** 2).sum()),
                    "mean_distance": _ratio(np.linalg.norm(first - second), np.sqrt(within)),
                    "mean_cosine": _ratio(first @ second, norms),
                }
            )
    return pd.DataFrame(records)


def project(features: np.ndarray) -> pd.DataFrame:
    """Project features to the plane of largest variance (principal components); no seed plays a part.

    Args:
        features: ``(n, dim)``.

    Returns:
        The columns ``x``, ``y`` in the order of the rows, and the attributes ``x_share`` and ``y_share``, the shares of
        the variance, in ``.attrs``. The sign of an axis is that which makes its largest loading positive.

    Raises:
        DataError: not two dimensions, fewer than two rows, or values that are not finite.
    """
    features, _ = _checked(features, np.zeros(len(features)), None, None)
    if len(features) < 2:
        raise DataError(f"a projection needs at least 2 rows, got {len(features)}")
    centred = features - features.mean(axis=0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    axes = np.vstack([axes, np.zeros((2, axes.shape[1]))])[:2]
    variances = np.append(singular**2, [0.0, 0.0])
    signs = np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])
    points = centred @ (axes * signs[:, None]).T
    table = pd.DataFrame(points, columns=["x", "y"])
    total = variances.sum()
    table.attrs = {f"{axis}_share": _ratio(variances[i], total) for i, axis in enumerate("xy")}
    return table


def _tested(
    features: Floats, first: np.ndarray, units: np.ndarray, permutations: int, rng: np.random.Generator
) -> dict[str, float]:
    """Return the discrepancy of two groups, and its p-value."""
    sizes = {"n": int(first.sum()), "n_other": int((~first).sum())}
    if min(sizes.values()) < 2:
        return {"mmd2": np.nan, "p_value": np.nan, "bandwidth": np.nan, **sizes}
    squares = (features**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * features @ features.T, 0)
    bandwidth = float(np.sqrt(np.median(distances[np.triu_indices(len(features), 1)])))
    # Where most rows coincide the median is 0: any positive width then tells equal from different.
    kernel = np.exp(-distances / (2 * (bandwidth or 1.0) ** 2))
    observed = mmd_squared(kernel, first)
    unit = pd.factorize(units)[0]
    exchanged = (_exchanged(first, unit, rng) for _ in range(permutations))
    # An exchange that leaves a group without two rows has no value: it counts as one that may have reached.
    reached = sum(
        not 2 <= one.sum() <= len(one) - 2 or mmd_squared(kernel, one) >= observed - 1e-12
        for one in exchanged
    )
    return {"mmd2": observed, "p_value": (1 + reached) / (1 + permutations), "bandwidth": bandwidth, **sizes}


def _exchanged(first: np.ndarray, unit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exchange the groups: within the units that show both, and among those that show one."""
    sizes, members = np.bincount(unit), np.bincount(unit, weights=first)
    mixed = (members > 0) & (members < sizes)
    of_unit = members > 0
    of_unit[~mixed] = rng.permutation(of_unit[~mixed])
    exchanged = np.asarray(of_unit[unit])
    rows = np.flatnonzero(mixed[unit])
    # Sorted by unit with random ties, and by unit alone: a random row of the unit stands for each.
    shuffled = rows[np.lexsort((rng.random(len(rows)), unit[rows]))]
    exchanged[rows[np.argsort(unit[rows], kind="stable")]] = first[shuffled]
    return exchanged


def _checked(
    features: np.ndarray, groups: np.ndarray, labels: np.ndarray | None, units: np.ndarray | None
) -> tuple[Floats, np.ndarray]:
    values = np.asarray(features, dtype=np.float64)
    columns = [groups, *(column for column in (labels, units) if column is not None)]
    if values.ndim != 2 or any(len(column) != len(values) for column in columns):
        lengths = ", ".join(str(len(column)) for column in columns)
        raise DataError(
            f"features have shape {values.shape} and their codes the lengths {lengths}; needed: (n, dim) and n"
        )
    if not np.isfinite(values).all():
        raise DataError("the features hold values that are not finite; did the training diverge?")
    return values, np.arange(len(values)) if units is None else np.asarray(units)


def _mean(rows: Floats) -> Floats:
    return np.asarray(rows.mean(axis=0)) if len(rows) else np.full(rows.shape[1], np.nan)


def _ratio(part: np.floating, whole: np.floating) -> float:
    return float(part / whole) if whole > 0 else float("nan")
