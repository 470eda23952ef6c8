"""How long do 2,000 bootstrap replicates of every count-based metric take, and how do they grow?

    python benchmarks/fairness_table.py [--repetitions 5] [--fairlearn-samples 10000] [--fairlearn-replicates 100]

Ten classes, ten groups, simulated predictions that are right more often in some groups. Three measurements:

- the goal: all count-based metrics of ``fairkd.metrics`` (overall, accuracy by group, recall gap by class, recall by
  class and group) for 1,000,000 predictions, 2,000 replicates, in at most 2 seconds on 2 cores; and the whole of
  ``fairkd.evaluate``, which adds the calibration error, Wilson's limits and the table;
- fairlearn's ``MetricFrame(n_boot=...)`` against the same on fewer predictions, the same number of replicates. Two
  frames give what is compared: accuracy by group, and recall by class and group (accuracy with the class as control
  feature). Ours computes all other metrics as well. The goal is 100 times. The estimates and the limits of both
  are compared first: another method that gives other numbers would not be a faster one;
- growth: 10,000, 100,000 and 1,000,000 predictions; peak memory is what Python and numpy allocate at once beyond
  the predictions themselves (tracemalloc, in an untimed run).

Medians of the repetitions after one to warm up. Writes docs/results/fairness_table.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import textwrap
import time
import tracemalloc
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import fairkd
from fairkd.metrics import measurement
from fairkd.metrics.bootstrap import bootstrap_counts
from fairkd.metrics.intervals import interval
from fairkd.reproducibility import version_of

PAGE = Path(__file__).parents[1] / "docs" / "results" / "fairness_table.md"
CLASSES = GROUPS = 10
REPLICATES = 2000
SIZES = (10_000, 100_000, 1_000_000)
#: Seconds, and times as fast as fairlearn.
GOALS = (2.0, 100.0)
Codes = tuple[np.ndarray, np.ndarray, np.ndarray]


def simulate(n: int) -> Codes:
    """Return labels, groups and predictions ``(n,)``; groups differ in accuracy from 0.80 to 0.89."""
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(CLASSES, size=n), rng.integers(GROUPS, size=n)
    wrong = rng.random(n) > 0.8 + 0.01 * groups
    return labels, groups, np.where(wrong, (labels + rng.integers(1, CLASSES, size=n)) % CLASSES, labels)


def with_probabilities(codes: Codes) -> fairkd.Predictions:
    """Return predictions with random probabilities, largest for the predicted class."""
    labels, groups, predicted = codes
    probabilities = np.random.default_rng(1).random((len(labels), CLASSES))
    probabilities[np.arange(len(labels)), predicted] += 3
    return fairkd.Predictions.from_arrays(
        labels=labels,
        groups=groups,
        probabilities=probabilities / probabilities.sum(axis=1, keepdims=True),
        class_names=[f"class {c}" for c in range(CLASSES)],
        group_names=[f"group {g}" for g in range(GROUPS)],
    )


def ours(codes: Codes, replicates: int) -> dict[str, Any]:
    """Resample every count-based metric."""
    labels, groups, predicted = codes
    (resampled,) = bootstrap_counts(
        labels,
        groups,
        predicted[None],
        np.arange(len(labels)),
        num_classes=CLASSES,
        num_groups=GROUPS,
        statistics=measurement.STATISTICS,
        replicates=replicates,
    )
    return resampled


def fairlearn_frames(codes: Codes, replicates: int) -> tuple[Any, Any]:
    """Return fairlearn's resampled accuracy by group, and recall by class and group."""
    from fairlearn.metrics import MetricFrame
    from sklearn.metrics import accuracy_score

    labels, groups, predicted = codes
    options = {"n_boot": replicates, "ci_quantiles": [0.025, 0.975], "random_state": 0}
    data = {"y_true": labels, "y_pred": predicted, "sensitive_features": groups}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_group = MetricFrame(metrics=accuracy_score, **data, **options)
        by_cell = MetricFrame(metrics=accuracy_score, **data, control_features=labels, **options)
    return by_group, by_cell


def seconds(work: Callable[[], object], repetitions: int) -> list[float]:
    """Return the times of so many repetitions after one to warm up."""
    work()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def agreement(codes: Codes, replicates: int) -> tuple[float, float, list[float]]:
    """Return the largest difference of an estimate and of a limit of accuracy by group, and fairlearn's time."""
    start = time.perf_counter()
    by_group, by_cell = fairlearn_frames(codes, replicates)
    times = [time.perf_counter() - start]
    resampled = ours(codes, replicates)
    limits = np.array(interval(resampled["accuracy by group"].values))
    theirs = np.array([one.to_numpy() for one in by_group.by_group_ci])
    labels, groups, predicted = codes
    cells = fairkd.metrics.by_class_and_group(labels, predicted, sensitive_features=groups)
    estimate = float(np.abs(cells["recall"].to_numpy() - by_cell.by_group.to_numpy().ravel()).max())
    return estimate, float(np.abs(limits - theirs).max()), times


def growth(repetitions: int) -> list[dict[str, float]]:
    """Measure every size: seconds of both works, and the peak memory of each, MB."""
    rows = []
    for n in SIZES:
        codes = simulate(n)
        predictions = with_probabilities(codes)
        works = {
            "counts": partial(ours, codes, REPLICATES),
            "evaluate": partial(fairkd.evaluate, predictions, replicates=REPLICATES),
        }
        row: dict[str, float] = {"n": n}
        for name, work in works.items():
            row[name] = statistics.median(seconds(work, repetitions))
            row[f"{name}_mb"] = peak_mb(work)
        rows.append(row)
        print(row, flush=True)
    return rows


def peak_mb(work: Callable[[], object]) -> float:
    """Return the most memory that a call has allocated at once, MB."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def introduction(arguments: argparse.Namespace) -> list[str]:
    """Return the paragraphs that say what was measured, and on what."""
    versions = ", ".join(
        f"{name} {version_of(name)}" for name in ("fairkd", "fairlearn", "numpy", "pandas", "scipy")
    )
    command = (
        f"`python benchmarks/fairness_table.py --repetitions {arguments.repetitions} --fairlearn-samples "
        f"{arguments.fairlearn_samples} --fairlearn-replicates {arguments.fairlearn_replicates}`"
    )
    return [
        f"Made by {command}, which says how it measures. {CLASSES} classes, {GROUPS} groups; medians of "
        f"{arguments.repetitions} repetitions after one to warm up (fairlearn: one run).",
        "",
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, of which the bootstrap uses one; "
        f"Python {platform.python_version()}, {versions}. Load average when it started: {arguments.load:.1f}.",
        "",
    ]


def page(arguments: argparse.Namespace, rows: list[dict[str, float]], against: dict[str, Any]) -> str:
    """Return the page of results."""
    largest, ratio = rows[-1], against["fairlearn"] / against["ours"]
    work = f"{REPLICATES:,} replicates of all count-based metrics, {SIZES[-1]:,} predictions"
    contest = (
        f"times as fast as fairlearn's `MetricFrame`, {arguments.fairlearn_samples:,} predictions, "
        f"{arguments.fairlearn_replicates:,} replicates"
    )
    lines = [
        "# The bootstrap's speed",
        "",
        *introduction(arguments),
        "| what | result | goal |",
        "|---|---|---|",
        f"| {work} | {largest['counts']:.2f} s | at most {GOALS[0]:g} s |",
        f"| the same in `fairkd.evaluate`, calibration and table included | {largest['evaluate']:.2f} s | – |",
        f"| {contest} | {ratio:,.0f} | at least {GOALS[1]:g} |",
        "",
        f"fairlearn took {against['fairlearn']:.1f} s for accuracy by group and recall by class and group, fairkd "
        f"{against['ours'] * 1000:.0f} ms for these and the other count-based metrics. The estimated recalls differ "
        f"by at most {against['estimate']:.0e}, the 95 % limits of the groups' accuracies by at most "
        f"{against['limit']:.3f} (both are random; fairlearn's resamples are not stratified).",
        "",
        "## Growth",
        "",
        "| predictions | count-based metrics | `fairkd.evaluate` |",
        "|---|---|---|",
        *(
            f"| {row['n']:,.0f} | {row['counts']:.2f} s, {row['counts_mb']:.0f} MB | "
            f"{row['evaluate']:.2f} s, {row['evaluate_mb']:.0f} MB |"
            for row in rows
        ),
        "",
        f"{SIZES[-1] // SIZES[0]} times the predictions take {largest['counts'] / rows[0]['counts']:.1f} times the "
        "time: the bootstrap draws how often each combination of class, group and prediction occurs, not rows.",
        "",
    ]
    return "\n".join(
        line if line.startswith(("|", "#")) else textwrap.fill(line, 115, break_on_hyphens=False)
        for line in lines
    )


def main() -> None:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--fairlearn-samples", type=int, default=10_000)
    parser.add_argument("--fairlearn-replicates", type=int, default=100)
    arguments = parser.parse_args()
    arguments.load = os.getloadavg()[0]
    codes = simulate(arguments.fairlearn_samples)
    estimate, limit, times = agreement(codes, arguments.fairlearn_replicates)
    mine = statistics.median(
        seconds(lambda: ours(codes, arguments.fairlearn_replicates), arguments.repetitions)
    )
    against = {"fairlearn": times[0], "ours": mine, "estimate": estimate, "limit": limit}
    print(against, flush=True)
    text = page(arguments, growth(arguments.repetitions), against)
    PAGE.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
