"""All finished runs in an output folder as one table, to be compared: what the explorer and its figure show."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic_core import from_json

from fairkd.config import Experiment
from fairkd.errors import ArtifactError, ParameterError
from fairkd.metrics import METRICS
from fairkd.pareto import fairest_near_best, not_beaten
from fairkd.progress import DELAY, ProgressBar
from fairkd.recipes import ROLES
from fairkd.store import digest, file_digest, read_sealed, write_sealed

#: Metrics of which less is better: what can stand against the accuracy.
DISPARITIES = tuple(name for name, one in METRICS.items() if one.better == "lower")
COSTS = ("param_count", "macs", "weights_mb", "latency_ms")
#: In the output folder: what was read of the runs, so that thousands need not be read again.
INDEX = ".runs.index"
_KEYS = ("run", "setting", "seed", "dataset", "model")
#: A column of the index: the state of the run's files that were read.
_STAMP = "stamp"
#: A file that has changed within this time may change again without its time of change telling so.
_SETTLED_NS = 2_000_000_000
#: As JSON has them.
_DEFAULTS = {
    name: list(default) if isinstance(default := Experiment.default(name), tuple) else default
    for name in Experiment.model_fields
}
#: Parameters that make other data; a seed draws another part of the same.
_OF_DATA = [
    name for name in Experiment.names(["data"]) if name not in ("dataset", "download", "cache_dir", "seed")
]


def list_runs(output_dir: Path | str) -> pd.DataFrame:
    """Return a row a model of every run folder that has a ``metrics.json``; folders that cannot be read are left out.

    A run whose files are unchanged since an earlier call is taken from :data:`INDEX`.

    Returns:
        ``run`` (the folder's name), ``setting`` (the changed parameters without the seed), ``seed``, ``dataset``
        (name, skew and group), ``model`` (a role), a column a metric of the test split with ``<metric>_low`` and
        ``<metric>_high``, ``validation_<metric>`` where the run has it, ``collapsed`` (a student), ``param_count``,
        ``macs``, ``weights_mb`` and ``latency_ms``. Empty where there is no run.
    """
    output_dir = Path(output_dir)
    stamps = _stamps(output_dir)
    known = _read_index(output_dir)
    unchanged = [stamps.get(run) == stamp for run, stamp in zip(known["run"], known[_STAMP], strict=True)]
    kept = known[np.array(unchanged, dtype=bool)]
    names = sorted(stamps.keys() - set(kept["run"]))
    with ProgressBar("reading runs", len(names), delay=DELAY) as bar:
        records = []
        for name in names:
            records += [{**row, _STAMP: stamps[name]} for row in _rows(output_dir / name)]
            bar.update()
    parts = [part for part in (kept, pd.DataFrame(records)) if len(part)]
    table = pd.concat(parts, ignore_index=True) if parts else kept
    table = table.sort_values("run", kind="stable", ignore_index=True)
    settled = table[table[_STAMP] != ""]
    if len(settled) != len(kept) or len(kept) != len(known):
        _write_index(output_dir, settled)
    return table.drop(columns=_STAMP)


def as_settings(runs: pd.DataFrame, disparity: str = "recall_gap") -> pd.DataFrame:
    """Reduce :func:`list_runs`'s rows to one point a setting and model, over its seeds.

    Teachers, students alone and plain KD students that do not depend on a changed parameter occur in many runs;
    the same numbers are shown once.

    Args:
        runs: of one data set.
        disparity: the metric that becomes the column ``disparity``; lower is better.

    Returns:
        ``model`` (a label), ``role, setting, runs`` (names), ``seeds, accuracy, disparity`` with ``_low`` and
        ``_high`` (± one standard deviation over the seeds; of one seed its bootstrap interval),
        ``validation_accuracy, validation_disparity`` (NaN where unknown), ``collapsed`` (with any seed), costs, and
        ``on_front``: it has not collapsed, and no other such student is at least as good in both and better in one.

    Raises:
        ParameterError: the runs are of several data sets, or the disparity is not known.
    """
    if disparity not in DISPARITIES:
        raise ParameterError(
            f"disparity={disparity!r} is not one of {', '.join(DISPARITIES)}: of these less is better"
        )
    datasets = sorted(runs["dataset"].unique())
    if len(datasets) != 1:
        raise ParameterError(
            f"runs of {len(datasets)} data sets cannot be compared: keep those of one ({', '.join(datasets)})"
        )
    # The fewest changes first: a model that a parameter does not concern is named without it.
    parts = runs.sort_values("setting", key=lambda column: column.str.len(), kind="stable")
    parts = parts.drop_duplicates(["model", "seed", "accuracy", disparity, "setting"])
    table = _points(parts, disparity).drop_duplicates(["role", "seeds", "accuracy", "disparity"])
    table = table.reset_index(drop=True)
    return table.assign(on_front=_on_front(table))


def choose(points: pd.DataFrame, tolerance: float) -> int | None:
    """Return the place of the student that the selection rule names: by validation data alone.

    Of the students that have not collapsed and whose validation accuracy is within ``tolerance`` of the best one's, the
    one with the smallest validation disparity. ``None``: no student's validation scores are known.
    """
    known = points[(points["role"] != "teacher") & ~points["collapsed"]]
    place = fairest_near_best(
        known["validation_accuracy"].to_numpy(), known["validation_disparity"].to_numpy(), tolerance
    )
    return None if place is None else int(known.index[place])


def _stamps(output_dir: Path) -> dict[str, str]:
    """Return the state of each run's files; empty where they have changed a moment ago."""
    now, stamps = time.time_ns(), {}
    with contextlib.suppress(OSError), os.scandir(output_dir) as entries:
        for entry in entries:
            # No table can hold a name that is no Unicode.
            with contextlib.suppress(OSError, UnicodeError):
                entry.name.encode()
                # The folder's time tells of files that were renamed into it, as fairkd's are.
                metrics, folder = Path(entry.path, "metrics.json").stat(), entry.stat()
                changed = max(metrics.st_mtime_ns, folder.st_mtime_ns)
                state = f"{_reader()} {metrics.st_mtime_ns} {metrics.st_size} {folder.st_mtime_ns}"
                stamps[entry.name] = state if now - changed > _SETTLED_NS else ""
    return stamps


@functools.cache
def _reader() -> str:
    """Name what decides about the rows beside the files: this module and the defaults."""
    return digest([file_digest(Path(__file__)), _DEFAULTS])


def _read_index(output_dir: Path) -> pd.DataFrame:
    with contextlib.suppress(ArtifactError, OSError, ValueError):
        table = pd.read_parquet(io.BytesIO(read_sealed(output_dir / INDEX)))
        if {*_KEYS, _STAMP} <= set(table):
            return table
    return pd.DataFrame(columns=[*_KEYS, _STAMP])


def _write_index(output_dir: Path, table: pd.DataFrame) -> None:
    """Without an index, as where nothing can be written, the runs are read again."""
    with contextlib.suppress(ArtifactError):
        write_sealed(output_dir / INDEX, table.to_parquet(index=False))


def _rows(folder: Path) -> Iterable[dict[str, Any]]:
    try:
        content = from_json((folder / "metrics.json").read_bytes())
        experiment = content["experiment"]
        models, costs = content["models"], content.get("efficiency", {})
        validation, latency = _validation(folder), _latency(folder)
        changed = {
            name: value
            for name, value in experiment.items()
            if name in _DEFAULTS and value != _DEFAULTS[name]
        }
        common = {
            "run": folder.name,
            "setting": ", ".join(f"{name}={value}" for name, value in changed.items() if name != "seed"),
            "seed": np.int64(experiment["seed"]),
            "dataset": _dataset(experiment),
        }
        rows = []
        for role in ROLES:
            if role == "student_fair" and role not in models:
                continue  # a run without a mitigation
            row = {**common, "model": role}
            for metric, one in models[role].items():
                value, low, high = _columns(metric)
                row[value], row[low], row[high] = (_number(one[part]) for part in ("value", "low", "high"))
            row |= {name: _number(value) for name, value in costs.get(role, {}).items()}
            rows.append(
                {
                    **row,
                    "collapsed": False,
                    **validation.get(role, {}),
                    "latency_ms": latency.get(role, np.nan),
                }
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        # Somebody else's file, a run of another version, or one that is being written: not to be compared.
        return []
    return rows


def _number(value: Any) -> float:
    """``null`` is how JSON holds NaN."""
    return np.nan if value is None else float(value)


@functools.cache
def _columns(metric: str) -> tuple[str, str, str]:
    return metric, f"{metric}_low", f"{metric}_high"


def _validation(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what notebook 03 noted of the students' validation split."""
    try:
        students = from_json((folder / "students.json").read_bytes())
        return {
            role: {
                "collapsed": bool(one.get("collapsed")),
                **{f"validation_{row['metric']}": _number(row["value"]) for row in one["metrics"]},
            }
            for role, one in students.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return {}


def _latency(folder: Path) -> dict[str, float]:
    try:
        with (folder / "efficiency.csv").open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            head = next(lines)
            model, latency = head.index("model"), head.index("latency_ms")
            return {line[model]: float(line[latency]) for line in lines if line}
    except (OSError, ValueError, IndexError, StopIteration, csv.Error):
        return {}


def _dataset(experiment: dict[str, Any]) -> str:
    """Name the data by all that makes them: runs are compared where they have the same name."""
    parts = [experiment["dataset"]]
    for name in _OF_DATA:
        value = experiment.get(name, _DEFAULTS[name])
        if value != _DEFAULTS[name]:
            # Elsewhere on another machine, the same file is the same data.
            parts.append(f"{name} {Path(value).name if name in ('data_root', 'csv') else value}")
    return ", ".join(parts)


def _points(parts: pd.DataFrame, disparity: str) -> pd.DataFrame:
    """Return a row a setting and model: means over the seeds, with their spread; of one seed, its interval."""
    grouped = parts.groupby(["model", "setting"], sort=False)
    points = grouped.agg(seeds=("seed", "nunique"), runs=("run", list)).reset_index(names=["role", "setting"])
    changed = points["setting"] != ""
    points["model"] = points["role"].where(~changed, points["role"] + " · " + points["setting"])
    for name, metric in (("accuracy", "accuracy"), ("disparity", disparity)):
        mean, spread = (grouped[metric].agg(how).to_numpy(dtype=float) for how in ("mean", "std"))
        one = np.isnan(spread)
        low, high = (grouped[f"{metric}_{side}"].first().to_numpy(dtype=float) for side in ("low", "high"))
        points[name] = mean
        points[f"{name}_low"] = np.where(one, low, mean - spread)
        points[f"{name}_high"] = np.where(one, high, mean + spread)
        column = f"validation_{metric}"
        points[f"validation_{name}"] = grouped[column].mean().to_numpy() if column in parts else np.nan
    points["collapsed"] = grouped["collapsed"].any().to_numpy()
    for name in COSTS:
        if name in parts:
            points[name] = grouped[name].first().to_numpy(dtype=float)
    return points


def _on_front(points: pd.DataFrame) -> np.ndarray:
    """The teacher takes no part: the choice is between students, and not those that have collapsed."""
    students = ((points["role"] != "teacher") & ~points["collapsed"]).to_numpy()
    front = np.zeros(len(points), dtype=bool)
    part = points[students]
    front[students] = not_beaten(part["accuracy"].to_numpy(), part["disparity"].to_numpy())
    return front
