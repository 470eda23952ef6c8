"""A randomisation test of the difference between two models: swap their predictions, unit by unit, by a coin.

If the models are exchangeable on the data, every pattern of swaps is as likely as the one that is observed, so
that the test is exact however few samples there are (Fisher 1935, The Design of Experiments; for a proportion with one
row a unit it is McNemar's exact test). The bootstrap's p-value has no such guarantee: of three samples that one model
gets right and the other wrong, every resample says the same. But swapping also finds that models of other accuracy
differ in noise: use it with the bootstrap, as :func:`fairkd.analysis.inflation` does.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, vstack

from fairkd.metrics.bootstrap import Statistics, counted_design, counts_of_table
from fairkd.metrics.confusion import Floats, group_slots

#: Differences of counts are the same number or not; rounding must not decide which.
_ROUNDING = 1e-9


def swap_p_values(
    labels: np.ndarray,
    groups: np.ndarray,
    predicted: np.ndarray,
    units: np.ndarray,
    *,
    num_classes: int,
    num_groups: int,
    statistics: Statistics,
    replicates: int = 2000,
    seed: int = 0,
) -> dict[str, Floats]:
    """Test the difference of each statistic between two models.

    ``(1 + #{r: |d_r| >= |d|}) / (R + 1)`` with ``d_r`` the difference in the r-th of R patterns of swaps.

    Args:
        labels: as :func:`fairkd.metrics.bootstrap.bootstrap_counts`.
        groups: as there.
        predicted: of the two models ``(2, n)``.
        units: as there; the rows of a unit are swapped together.
        num_classes: as there.
        num_groups: as there.
        statistics: as there.
        replicates: number of patterns R.
        seed: seed of the coins.

    Returns:
        Two-sided p-values by statistic, in (0, 1] ``(any shape)``; NaN where the difference is undefined.
    """
    labels, groups, predicted = (np.asarray(codes, dtype=np.int64) for codes in (labels, groups, predicted))
    slots, num_slots = group_slots(groups, num_groups)
    sizes = num_classes, num_slots
    plan, matrix = counted_design(labels, slots, predicted, units, sizes)
    cells = num_classes * num_slots
    first, second = matrix[cells : 3 * cells], matrix[3 * cells :]
    swapped = csr_array(vstack([matrix[:cells], second, first]))

    def differences(table: Floats) -> dict[str, Floats]:
        one, other = (counts.set_apart(num_groups) for counts in counts_of_table(table, sizes))
        return {name: statistic(one) - statistic(other) for name, statistic in statistics.items()}

    observed = differences((matrix @ plan.unit_counts)[:, None])
    reached = {name: np.zeros(value.shape[1:]) for name, value in observed.items()}
    for table in plan.swap(matrix, swapped, replicates, seed):
        for name, drawn in differences(table).items():
            # A swap that leaves the difference undefined does not count as evidence of one.
            far = (np.abs(drawn) >= np.abs(observed[name]) - _ROUNDING) | np.isnan(drawn)
            reached[name] += far.sum(axis=0)
    return {
        name: np.where(np.isnan(observed[name][0]), np.nan, (1 + count) / (1 + replicates))
        for name, count in reached.items()
    }
