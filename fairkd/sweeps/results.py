"""What a sweep found: a row a trial, means over the seeds, and the settings chosen on validation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairkd.comparison.summary import METRICS, best_method, pareto_methods, summarize_methods
from fairkd.store import write_csv, write_json
from fairkd.sweeps.plan import Trial
from fairkd.sweeps.records import Record
from fairkd.sweeps.space import show_value


@dataclass(frozen=True)
class Results:
    """A sweep's outcome.

    ``table``: a row a trial, see :func:`trial_table`. ``summary``: rows of
    :func:`fairkd.comparison.summarize_methods` with ``collapsed`` and ``complete``; a setting is a ``method``.
    ``front``: the students that no other beats in both, and ``chosen``: the one with the smallest recall gap within
    ``tolerance`` of the best accuracy, both on validation data, over settings that finished with every seed
    and collapsed with none. ``chosen`` is empty where there is no such setting.
    """

    table: pd.DataFrame
    summary: pd.DataFrame
    front: frozenset[str]
    chosen: str
    tolerance: float


def make_results(
    trials: Sequence[Trial], records: Mapping[str, Record], *, tolerance: float, confidence: float
) -> Results:
    """Reduce the records of a sweep's trials; a trial without a record is one that did not get its turn.

    Args:
        trials: all of them.
        records: by key.
        tolerance: accuracy that the chosen setting may give up, [0, 1].
        confidence: coverage of the intervals over the seeds, (0, 1).
    """
    table = trial_table(trials, records)
    rows = [row for trial in trials for row in _rows(trial, records.get(trial.key))]
    if not rows:
        return Results(table, pd.DataFrame(), frozenset(), "", tolerance)
    summary = summarize_methods(pd.DataFrame(rows), confidence=confidence).drop(columns="collapsed")
    trained = table.groupby("setting").agg(
        complete=("state", lambda states: bool((states == "finished").all())),
        collapsed=("collapsed", lambda flags: any(flag is True for flag in flags)),
    )
    summary = summary.join(trained, on="method")
    front, chosen = choose(summary, tolerance)
    return Results(table, summary, front, chosen, tolerance)


def choose(summary: pd.DataFrame, tolerance: float) -> tuple[frozenset[str], str]:
    """Return the front and the chosen setting, from the validation column alone.

    Args:
        summary: as in :class:`Results`; teachers take no part.
        tolerance: accuracy that the chosen one may give up, [0, 1].
    """
    undefined = summary.loc[summary["validation"].isna(), "method"]
    fit = summary["complete"] & ~summary["collapsed"] & (summary["family"] != "reference")
    students = summary[fit & ~summary["method"].isin(undefined)]
    if students.empty:
        return frozenset(), ""
    return frozenset(pareto_methods(students, by="validation")), best_method(students, tolerance) or ""


def trial_table(trials: Sequence[Trial], records: Mapping[str, Record]) -> pd.DataFrame:
    """Return a row a trial.

    Returns:
        ``trial, kind, setting``, a column for each parameter that is varied (its value; NaN where a teacher or plain
        KD does not depend on it), ``seed, state`` (``finished``, ``failed`` or ``not run``), for each metric
        ``<metric>``, ``<metric>_low``, ``<metric>_high`` on test data, ``<metric>_difference`` (to plain KD of the
        same seed, with ``_low`` and ``_high``) and ``<metric>_validation``, then ``collapsed, attempts, seconds,
        artifact, warnings, error, command``.
    """
    names = list(dict.fromkeys(name for trial in trials for name in trial.values))
    return pd.DataFrame([_row(trial, records.get(trial.key), names) for trial in trials])


def save_results(folder: Path, results: Results) -> None:
    """Write ``trials.csv`` and ``summary.json`` into the sweep's folder."""
    write_csv(folder / "trials.csv", results.table)
    content = {
        "rule": describe_rule(results.tolerance),
        "chosen": results.chosen or None,
        "front": sorted(results.front),
        "tolerance": results.tolerance,
        "settings": _settings(results),
        "trials": results.table["state"].value_counts().to_dict(),
    }
    write_json(folder / "summary.json", content)


def describe_rule(tolerance: float) -> str:
    """Say how the setting is chosen."""
    return (
        f"smallest mean recall gap among students within {tolerance:g} of the best accuracy, means over the seeds, "
        "validation data; without settings that failed or collapsed with any seed"
    )


def _rows(trial: Trial, record: Record | None) -> list[dict[str, Any]]:
    """Return a trial's scores in the form of :func:`fairkd.comparison.compare_methods`."""
    if record is None or record.result is None:
        return []
    experiment = trial.experiment
    teacher = trial.kind == "teacher"
    row = {
        "method": trial.label,
        "distiller": "" if teacher else experiment.distiller,
        "mitigation": "" if teacher else experiment.mitigation,
        "family": {"teacher": "reference", "kd": "baseline", "student": "setting"}[trial.kind],
        "seed": experiment.seed,
    }
    # NaN is null in the record.
    return [
        {**row, **{name: np.nan if value is None else value for name, value in score.items()}}
        for score in record.result["scores"]
    ]


def _row(trial: Trial, record: Record | None, names: Sequence[str]) -> dict[str, Any]:
    scores = record.scores() if record else {}
    result = record.result if record and record.result else {}
    row: dict[str, Any] = {"trial": trial.number, "kind": trial.kind, "setting": trial.label}
    row |= {name: _scalar(trial.values.get(name, np.nan)) for name in names}
    row |= {"seed": trial.experiment.seed, "state": record.state if record else "not run"}
    for metric in METRICS:
        score = scores.get(metric, {})
        for column, suffix in _SUFFIXES.items():
            value = score.get(column)
            row[metric + suffix] = np.nan if value is None else value
    return row | {
        "collapsed": result.get("collapsed"),
        "attempts": record.attempts if record else 0,
        "seconds": record.seconds if record else np.nan,
        "artifact": result.get("artifact", ""),
        "warnings": "; ".join(result.get("warnings", ())),
        "error": (record.error if record else None) or "",
        "command": trial.experiment.command,
    }


_SUFFIXES = {
    "value": "",
    "low": "_low",
    "high": "_high",
    "difference": "_difference",
    "difference_low": "_difference_low",
    "difference_high": "_difference_high",
    "validation": "_validation",
}


def _settings(results: Results) -> list[dict[str, Any]]:
    settings: list[dict[str, Any]] = []
    columns = ["seeds", "mean", "std", "difference", "low", "high", "supported_seeds", "validation"]
    for method, part in results.summary.groupby("method", sort=False) if len(results.summary) else ():
        first = part.iloc[0]
        settings.append(
            {
                "setting": method,
                **{name: first[name] for name in ("family", "complete", "collapsed")},
                "on_front": method in results.front,
                "metrics": {row["metric"]: {c: row[c] for c in columns} for row in part.to_dict("records")},
            }
        )
    return settings


def _scalar(value: Any) -> Any:
    return show_value(value) if isinstance(value, tuple) else value
