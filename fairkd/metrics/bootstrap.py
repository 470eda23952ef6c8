"""A paired, stratified cluster bootstrap that resamples counts instead of rows.

The atom of resampling is the *unit*: rows of one unit (one scan shown in two tints) are drawn together,
since they are not independent. Units are drawn within strata: the stratum of a unit is the multiset of its
rows' (class, group), so that every resample has the class x group cell sizes of the data. Units that
contribute the same (equal multisets of (class, group, each model's prediction)) have the same *signature*
and are exchangeable: a resample is a multinomial draw of how often each signature occurs, and a linear map
from signatures to cells gives the counts of every model. One draw serves all models, which makes their
differences paired. The cost depends on the number of signatures, not of rows: a million images in ten
classes and ten groups have a thousand.

Intervals of a value are percentile intervals (Efron & Tibshirani 1993, An Introduction to the Bootstrap,
chapter 13). Two limits to know. Where no resample can differ (a cell without errors) the interval has width
0, which is not certainty. And a metric that is an extreme or an absolute value (recall gap, worst group,
calibration error) is biased by sampling error: a model that treats the groups alike still shows a gap. Its
*noise floor* is the bias that it would have if the model did treat them alike: the mean over resamples that
are moved so that their centre is group-blind (or calibrated). Compare a value with its floor before reading
anything into it. A moved cell of n samples also gets the spread of one more, drawn from its class: resamples
have (n - 1) / n of a sample's variance, and a cell of a single sample has none at all.

The floor is higher for a less accurate model, so a difference of two gaps may be noise alone, however many
samples there are. The interval of a difference therefore allows for any bias between none, which clear gaps
have, and the difference of the two floors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from fairkd.metrics.calibration import BINS, Strategy, bin_edges, bin_of, confidence_and_correct
from fairkd.metrics.confusion import (
    CellCounts,
    Floats,
    confusion,
    divide,
    group_blind,
    group_slots,
    mean_defined,
)
from fairkd.metrics.resampling import Design, More, OneMore, compact, design

Statistics = Mapping[str, Callable[[CellCounts], Floats]]


@dataclass(frozen=True)
class Resampled:
    """One statistic of one model.

    Attributes:
        values: of each resample ``(replicates, ...)``.
        floor: the noise floor ``(...)``; 0 for what sampling error does not bias.
        blind: of each resample, moved to a group-blind (or calibrated) centre ``(replicates, ...)``.
    """

    values: Floats
    floor: Floats
    blind: Floats


def bootstrap_counts(
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
) -> list[dict[str, Resampled]]:
    """Resample the samples and compute statistics of the counts of each model.

    Args:
        labels: integer classes ``(n,)``.
        groups: integer groups ``(n,)``, -1 where missing; the samples without a group of a class are a cell
            of their own.
        predicted: integer predictions ``(models, n)``.
        units: unit of each sample ``(n,)``, any hashable values.
        num_classes: number of classes, those without samples included.
        num_groups: number of groups, those without samples included.
        statistics: functions from :class:`CellCounts` of ``(..., classes, groups)`` to ``(..., any shape)``.
        replicates: number of resamples.
        seed: seed of the draws.

    Returns:
        For each model, the resampled statistics by name. The same replicate of two models is the same
        resample.
    """
    labels, groups, predicted = (np.asarray(codes, dtype=np.int64) for codes in (labels, groups, predicted))
    slots, num_slots = group_slots(groups, num_groups)
    sizes = num_classes, num_slots
    plan, matrix = counted_design(labels, slots, predicted, units, sizes)
    collectors = [
        _Collector(confusion(labels, slots, one, *sizes), num_groups, statistics) for one in predicted
    ]
    one_more = OneMore(labels, slots, units, predicted, (*sizes, num_groups), seed)
    for table in plan.resample(matrix, replicates, seed):
        drawn_counts, further = counts_of_table(table, sizes), one_more.draw(table.shape[-1])
        for collector, drawn, more in zip(collectors, drawn_counts, further, strict=True):
            collector.add(drawn, more)
    return [collector.result() for collector in collectors]


def bootstrap_calibration(
    labels: np.ndarray,
    groups: np.ndarray,
    probabilities: Sequence[np.ndarray],
    units: np.ndarray,
    *,
    bins: int = BINS,
    strategy: Strategy = "uniform",
    replicates: int = 2000,
    seed: int = 0,
) -> list[Resampled]:
    """Resample the samples and compute the expected calibration error of each model.

    The same mechanism: the error is made of each bin's sum of confidence - correctness, which is linear in
    how often a sample is drawn. A sample's signature holds its bin and correctness in each model; within a
    signature the mean confidence stands for all. The value on the data is exact; what is lost is the
    variance of the confidence within a bin: about one per cent of the interval's width with 15 equal bins,
    more with wide ones. The bins are those of the data in every resample.

    Args:
        labels: integer classes ``(n,)``.
        groups: integer groups ``(n,)``, -1 where missing; they only define the strata.
        probabilities: for each model ``(n, classes)``.
        units: unit of each sample ``(n,)``.
        bins: as :func:`~fairkd.metrics.expected_calibration_error`.
        strategy: as there.
        replicates: number of resamples.
        seed: seed of the draws.

    Returns:
        For each model, the errors ``(replicates,)`` and their noise floor, that of a calibrated model.

    Raises:
        DataError: labels or probabilities that do not fit.
        ParameterError: ``bins`` below 1 or an unknown ``strategy``.
    """
    labels, groups = (np.asarray(codes, dtype=np.int64) for codes in (labels, groups))
    slots, num_slots = group_slots(groups, groups.max() + 1)
    cells = labels * num_slots + slots
    types = compact(cells)
    binned, excess = [], []
    for one_model in probabilities:
        confidence, correct = confidence_and_correct(labels, one_model)
        which = bin_of(confidence, bin_edges(confidence, bins, strategy))
        types = compact(types * 2 * bins + which * 2 + correct.astype(np.int64))
        binned.append(which)
        excess.append(confidence - correct)
    plan = design(cells, types, units)
    matrix = _calibration_matrix(plan, types, binned, excess, bins)
    observed = matrix @ plan.unit_counts
    errors: list[Floats] = []
    noise: list[Floats] = []
    for table in plan.resample(matrix, replicates, seed):
        expected = np.outer(observed / observed[0], table[0])
        for kept, sums in ((errors, table), (noise, table - expected)):
            gaps = np.abs(sums[1:]).reshape(len(binned), bins, -1).sum(axis=1)
            kept.append(divide(gaps, table[0]))
    values, calibrated = np.concatenate(errors, axis=1), np.concatenate(noise, axis=1)
    return [Resampled(*each) for each in zip(values, calibrated.mean(axis=1), calibrated, strict=True)]


class _Collector:
    """Statistics of one model's resamples, and of the same resamples moved to a group-blind centre."""

    def __init__(self, tensor: np.ndarray, num_groups: int, statistics: Statistics) -> None:
        self.statistics, self.num_groups = statistics, num_groups
        self.observed = CellCounts.from_confusion(tensor)
        # Only samples with a group can be moved from one to another.
        blind = np.concatenate([group_blind(tensor[:, :num_groups]), tensor[:, num_groups:]], axis=1)
        self.blind = CellCounts.from_confusion(blind)
        self.values: dict[str, list[Floats]] = {name: [] for name in statistics}
        self.blinded: dict[str, list[Floats]] = {name: [] for name in statistics}
        self.noise: dict[str, list[Floats]] = {name: [] for name in statistics}

    def add(self, drawn: CellCounts, more: More) -> None:
        """Add a chunk of resamples, and what one more sample adds to their spread."""
        # A resample and its mirror image: what is linear in the counts then has a floor of exactly 0.
        slots = drawn, self._moved(drawn, more, 1), self._moved(drawn, more, -1), self.blind
        drawn, above, below, blind = (counts.set_apart(self.num_groups) for counts in slots)
        for name, statistic in self.statistics.items():
            self.values[name].append(statistic(drawn))
            self.blinded[name].append(statistic(above))
            self.noise[name].append((self.blinded[name][-1] + statistic(below)) / 2 - statistic(blind))

    def result(self) -> dict[str, Resampled]:
        """Return the statistics of all chunks."""
        return {
            name: Resampled(
                np.concatenate(self.values[name]),
                mean_defined(np.concatenate(self.noise[name]), axis=0),
                np.concatenate(self.blinded[name]),
            )
            for name in self.statistics
        }

    def _moved(self, drawn: CellCounts, more: More, sign: int) -> CellCounts:
        group_sizes = drawn.group_sizes[..., None, :]
        recall, blind_recall = (np.nan_to_num(counts.recall) for counts in (self.observed, self.blind))
        rate, blind_rate = (np.nan_to_num(counts.selection_rate) for counts in (self.observed, self.blind))
        return CellCounts(
            drawn.samples,
            drawn.samples * blind_recall + sign * (drawn.correct - drawn.samples * recall + more[0]),
            group_sizes * blind_rate + sign * (drawn.predicted - group_sizes * rate + more[1]),
        )


def counted_design(
    labels: np.ndarray, slots: np.ndarray, predicted: np.ndarray, units: np.ndarray, sizes: tuple[int, int]
) -> tuple[Design, csr_array]:
    """Return the units by signature, and the map from signatures to counts.

    Args:
        labels: ``(n,)``.
        slots: group of each sample, one more slot for the missing ``(n,)``.
        predicted: ``(models, n)``.
        units: ``(n,)``.
        sizes: number of classes and of slots.

    Returns:
        The design, and the matrix ``((1 + 2 models) classes slots, signatures)``: cells of samples, then of
        correct and of predicted of each model.
    """
    cells = labels * sizes[1] + slots
    types = cells
    for one_model in predicted:
        types = compact(types * sizes[0] + one_model)
    plan = design(cells, types, units)
    return plan, _count_matrix(plan, labels, slots, predicted, sizes)


def counts_of_table(table: Floats, sizes: tuple[int, int]) -> list[CellCounts]:
    """Return each model's counts ``(replicates, classes, slots)`` from the mapped draws ``(cells, replicates)``."""
    margins = np.moveaxis(table.reshape(-1, *sizes, table.shape[-1]), -1, 1)
    return [
        CellCounts(margins[0], margins[1 + 2 * model], margins[2 + 2 * model])
        for model in range(len(margins) // 2)
    ]


def _count_matrix(
    plan: Design, labels: np.ndarray, slots: np.ndarray, predicted: np.ndarray, sizes: tuple[int, int]
) -> csr_array:
    labels, slots, signature = labels[plan.rows], slots[plan.rows], plan.row_signature
    num_slots, num_cells = sizes[1], sizes[0] * sizes[1]
    cells = labels * num_slots + slots
    signatures, table_rows = [signature], [cells]
    for model, prediction in enumerate(predicted[:, plan.rows]):
        correct = prediction == labels
        block = num_cells * (1 + 2 * model)
        signatures += [signature[correct], signature]
        table_rows += [block + cells[correct], block + num_cells + prediction * num_slots + slots]
    return _matrix(plan, table_rows, signatures, None, num_cells * (1 + 2 * len(predicted)))


def _calibration_matrix(
    plan: Design, types: np.ndarray, binned: list[np.ndarray], excess: list[Floats], bins: int
) -> csr_array:
    """Return the map from signatures to the number of samples, then to the sums in each model's bins."""
    rows = plan.rows
    table_rows, weights = [np.zeros_like(rows)], [np.ones(len(rows))]
    for model, (which, values) in enumerate(zip(binned, excess, strict=True)):
        means = np.bincount(types, weights=values) / np.bincount(types)
        table_rows.append(1 + model * bins + which[rows])
        weights.append(means[types[rows]])
    signatures = [plan.row_signature] * len(table_rows)
    return _matrix(plan, table_rows, signatures, np.concatenate(weights), 1 + len(binned) * bins)


def _matrix(
    plan: Design,
    table_rows: list[np.ndarray],
    signatures: list[np.ndarray],
    weights: Floats | None,
    num_rows: int,
) -> csr_array:
    """Assemble the sparse matrix ``(table rows, signatures)``; entries of one place are added."""
    row, column = np.concatenate(table_rows), np.concatenate(signatures)
    values = np.ones(len(row)) if weights is None else weights
    return csr_array((values, (row, column)), shape=(num_rows, plan.num_signatures))
