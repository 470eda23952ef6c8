"""What several seeds of a comparison say: means, intervals, the front, and the tables and points to show."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from fairkd.pareto import fairest_near_best, not_beaten
from fairkd.shown import signed

#: What the comparison reports of every model.
METRICS = ("accuracy", "worst_group_accuracy", "recall_gap")
METRIC_TITLES = {
    "accuracy": "accuracy",
    "worst_group_accuracy": "worst-group accuracy",
    "recall_gap": "mean recall gap",
}
TEACHER, ALONE = "teacher", "student alone"
#: The family of the further teachers' rows, which are shown and take part in nothing else.
CO_TEACHER = "co-teacher"
BASELINE = "kd"


def summarize_methods(table: pd.DataFrame, *, confidence: float = 0.95) -> pd.DataFrame:
    """Reduce :func:`compare_methods`'s rows to one row a method and metric.

    Args:
        table: its result.
        confidence: coverage of the intervals over the seeds, (0, 1).

    Returns:
        Rows ``method, distiller, mitigation, family, metric, seeds, mean, std, difference, low, high,
        p_value, supported_seeds, validation, collapsed, param_count, seconds`` in the table's order. ``std`` is over
        the seeds, NaN for one seed. ``difference`` is the mean paired difference to plain KD with Student's interval
        over the seeds and ``p_value`` that test's, of one row alone: of other trainings on these data, and other splits
        of them where a seed draws the split; for other data the interval is too narrow. Of one seed it is that seed's
        bootstrap interval, without a p-value.
        ``supported_seeds`` counts the seeds whose own interval excludes 0 in the direction of the mean;
        ``collapsed`` says whether the model predicts at most half of the classes with any seed.
    """
    rows = []
    for (method, metric), part in table.groupby(["method", "metric"], sort=False):
        first = part.iloc[0]
        difference, low, high = _over_seeds(part, confidence)
        p_value = seed_p_value(part["difference"]) if len(part) > 1 else np.nan
        same_way = np.sign(part["difference"]) == np.sign(difference)
        rows.append(
            {
                "method": method,
                **{name: first[name] for name in ("distiller", "mitigation", "family")},
                "metric": metric,
                "seeds": len(part),
                "mean": part["value"].mean(),
                "std": part["value"].std(ddof=1),
                "difference": difference,
                "low": low,
                "high": high,
                "p_value": p_value,
                "supported_seeds": int((part["supported"].astype(bool) & same_way).sum()),
                "validation": part["validation"].mean(),
                "collapsed": bool("collapsed" in part and part["collapsed"].any()),
                "param_count": int(first["param_count"]),
                "seconds": part["seconds"].mean(),
            }
        )
    return pd.DataFrame(rows)


def best_method(summary: pd.DataFrame, tolerance: float) -> str | None:
    """Return the method with the smallest validation recall gap within ``tolerance`` of the best accuracy.

    Teachers do not take part, nor does what has collapsed: the choice is between students. Test data play no part in
    it. ``None``: no recall gap is defined, as with one group, or every student has collapsed.
    """
    wide = _students(summary, "validation")
    if wide.empty:
        return None
    place = fairest_near_best(wide["accuracy"].to_numpy(), wide["recall_gap"].to_numpy(), tolerance)
    return None if place is None else str(wide.index[place])


def pareto_methods(summary: pd.DataFrame, *, by: str = "mean") -> set[str]:
    """Return the students that no other beats in accuracy without a larger mean recall gap.

    ``by`` is the column that holds both: ``"mean"``, on test data, or ``"validation"``.
    """
    wide = _students(summary, by)
    if wide.empty:
        return set()
    return set(wide.index[not_beaten(wide["accuracy"].to_numpy(), wide["recall_gap"].to_numpy())])


def methods_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`summarize_methods`'s rows as a table to read: one row a method, as text."""
    rows = {}
    for method, part in summary.groupby("method", sort=False):
        by_metric = part.set_index("metric")
        cells: dict[str, str] = {METRIC_TITLES[name]: mean_and_std(by_metric.loc[name]) for name in METRICS}
        for name in ("accuracy", "recall_gap"):
            cells[f"Δ {METRIC_TITLES[name]}"] = _signed_interval(by_metric.loc[name])
        cells["parameters"] = f"{by_metric['param_count'].iloc[0]:,}"
        cells["training (s)"] = f"{by_metric['seconds'].iloc[0]:.0f}"
        rows[method] = cells
    return pd.DataFrame.from_dict(rows, orient="index")


def as_differences(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in the form of :func:`fairkd.compare`, for :func:`fairkd.plots.inflation_chart`."""
    rows = summary.dropna(subset="difference")
    rows = rows[(rows["method"] != BASELINE) & rows["metric"].isin(("accuracy", "recall_gap"))]
    supported = (rows["low"] > 0) | (rows["high"] < 0)
    return rows.rename(columns={"method": "model", "difference": "value"}).assign(
        baseline=BASELINE, supported=supported
    )


def as_points(summary: pd.DataFrame, front: Collection[str] | None = None) -> pd.DataFrame:
    """Return a row a student and the teacher's, for :func:`fairkd.plots.pareto_front`; bars are ± one std.

    ``front`` names the methods on the front; default: those of the test data.
    """
    summary = summary[summary["family"] != CO_TEACHER]
    front = pareto_methods(summary) if front is None else front
    rows = []
    for method, part in summary.groupby("method", sort=False):
        row: dict[str, Any] = {"model": method, "on_front": method in front}
        for metric, name in (("accuracy", "accuracy"), ("recall_gap", "disparity")):
            one = part.set_index("metric").loc[metric]
            row |= {name: one["mean"], f"{name}_low": one["mean"] - one["std"]}
            row |= {f"{name}_high": one["mean"] + one["std"], "param_count": one["param_count"]}
        rows.append(row)
    return pd.DataFrame(rows).replace({"model": {ALONE: "student_scratch", BASELINE: "student_kd"}})


def _students(summary: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a row a method but the teachers and what has collapsed, and a column a metric."""
    summary = summary[(summary["family"] != CO_TEACHER) & ~summary["collapsed"]]
    wide: pd.DataFrame = summary.pivot(index="method", columns="metric", values=column)
    return wide.drop(index=TEACHER, errors="ignore")


def seed_p_value(differences: pd.Series) -> float:
    """Return the two-sided p of Student's test that the mean of differences, one a seed, is 0; NaN if one is.

    1 where all seeds agree to the last digit.
    """
    from scipy.stats import t

    mean, spread, count = differences.mean(), differences.std(ddof=1), len(differences)
    if spread == 0:
        # Few seeds that agree to the last digit, as counts of samples do by chance, do not say how seeds spread.
        return 1.0
    return float(2 * t.sf(abs(mean) / spread * np.sqrt(count), count - 1))


def _over_seeds(part: pd.DataFrame, confidence: float) -> tuple[float, float, float]:
    """Return the mean paired difference to plain KD and its limits."""
    if len(part) == 1:
        return tuple(part.iloc[0][["difference", "difference_low", "difference_high"]])
    from scipy.stats import t

    mean, error = part["difference"].mean(), part["difference"].std(ddof=1) / np.sqrt(len(part))
    if error == 0:
        # As above: what is known is how far each seed's own difference may be off.
        return float(mean), part["difference_low"].mean(), part["difference_high"].mean()
    half = t.ppf(0.5 + confidence / 2, len(part) - 1) * error
    return float(mean), float(mean - half), float(mean + half)


def mean_and_std(row: pd.Series) -> str:
    """Write the mean of one of :func:`summarize_methods`'s rows, with the spread if there are several seeds."""
    return f"{row['mean']:.3f}" if np.isnan(row["std"]) else f"{row['mean']:.3f} ± {row['std']:.3f}"


def _signed_interval(row: pd.Series) -> str:
    if np.isnan(row["difference"]) or row["method"] == BASELINE:
        return ""
    return f"{signed(row['difference'])} ({signed(row['low'])} to {signed(row['high'])})"
