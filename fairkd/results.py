"""The tables of a finished run: ``metrics.json``, ``predictions.parquet`` and ``efficiency.csv``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fairkd.config import Experiment
from fairkd.data.audit import Audit
from fairkd.data.splits import Splits
from fairkd.efficiency import measure
from fairkd.evaluation import compare, few_samples, missing_groups, summarize
from fairkd.metrics import measurement
from fairkd.narrative_conclusions import conclude
from fairkd.predictions import Predictions
from fairkd.recipes import TrainedModel
from fairkd.runs import list_runs
from fairkd.store import read_json, write_atomic, write_csv, write_json
from fairkd.tables import overall

# (model, baseline): what distillation changed, and whether it was the teacher; what the mitigation changed; the size.
_COMPARISONS = (
    ("student_kd", "teacher"),
    ("student_kd", "student_scratch"),
    ("student_fair", "student_kd"),
    ("student_fair", "teacher"),
    ("student_scratch", "teacher"),
)
# Of these, what conclude speaks of, in its order.
_QUESTIONS = (("student_kd", "teacher"), ("student_kd", "student_scratch"), ("student_fair", "student_kd"))
_NAMES = {
    "teacher": "The teacher",
    "student_scratch": "The student alone",
    "student_kd": "The distilled student",
    "student_fair": "The mitigated student",
}
#: Columns that do not depend on how fast the machine is today.
_COSTS = ("param_count", "macs", "weights_mb")


def comparisons(experiment: Experiment) -> tuple[tuple[str, str], ...]:
    """Return the pairs ``(model, baseline)`` that a run compares; without a mitigation, none of a mitigated student."""
    return _asked(experiment, _COMPARISONS)


def questions(experiment: Experiment) -> tuple[tuple[str, str], ...]:
    """Return those that :func:`fairkd.narrative_conclusions.conclude` speaks of, in its order."""
    return _asked(experiment, _QUESTIONS)


def _asked(experiment: Experiment, pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in pairs if experiment.mitigation != "none" or "student_fair" not in pair)


def bootstrap_options(experiment: Experiment) -> dict[str, Any]:
    """Return the arguments that every evaluation of one experiment shares."""
    return {"replicates": experiment.bootstrap_replicates, "confidence": experiment.confidence}


def save_audit(experiment: Experiment, splits: Splits, audit: Audit) -> Path:
    """Write the audit's tables and the data's facts to ``audit.json`` in the run's folder, and return its path."""
    content = {
        "dataset": splits.name,
        "fingerprint": splits.fingerprint,
        "facts": splits.facts,
        "missing_groups": splits.missing_groups(),
        **{name: table.to_dict("records") for name, table in vars(audit).items()},
    }
    path = experiment.run_folder / "audit.json"
    write_json(path, content)
    return path


def save_models(
    experiment: Experiment, name: str, models: Mapping[str, TrainedModel], evaluation: pd.DataFrame
) -> Path:
    """Write which artefacts hold some models, whether they have collapsed, and their headline numbers, to the run."""
    columns = ["metric", "value", "low", "high"]
    content = {
        model: {
            "artifact": trained.folder.name,
            "collapsed": trained.collapsed,
            "metrics": overall(evaluation[evaluation["model"] == model])[columns].to_dict("records"),
        }
        for model, trained in models.items()
    }
    path = experiment.run_folder / name
    write_json(path, content)
    return path


def run_findings(predictions: Mapping[str, Predictions], experiment: Experiment) -> list[str]:
    """Return the conclusions as plain sentences: what distillation and the teacher changed, then the mitigation.

    Before them stands which models have collapsed, and nothing is concluded from these; after them what few samples and
    missing groups keep one from saying.
    """
    options = bootstrap_options(experiment)
    tables = [
        compare({name: predictions[name] for name in (baseline, model)}, **options)
        for model, baseline in questions(experiment)
    ]
    asked = questions(experiment)
    # The last question has two answers, what the mitigation changed and what it cost.
    pairs = itertools.chain(asked, asked[2:], itertools.repeat(()))
    sentences = [
        sentence
        for sentence, pair in zip(conclude(*tables), pairs, strict=False)
        if not any(predictions[model].collapsed for model in pair)
    ]
    cells = measurement.count(predictions["student_kd"]).samples.ravel()
    return [
        *_collapsed(predictions),
        *(sentence.replace("**", "") for sentence in sentences),
        *few_samples(cells.tolist()),
        *missing_groups(tables[0]),
    ]


def _collapsed(predictions: Mapping[str, Predictions]) -> list[str]:
    return [
        f"{name} has collapsed: it predicts at most half of the classes, and a small gap of it says nothing about "
        "fairness."
        for role, name in _NAMES.items()
        if role in predictions and predictions[role].collapsed
    ]


def save_exemplars(experiment: Experiment, table: pd.DataFrame, name: str = "exemplars.csv") -> Path:
    """Write samples on which students contradict their teacher to the run's folder, and return the file's path."""
    path = experiment.run_folder / name
    write_csv(path, table)
    return path


def efficiency(models: Mapping[str, TrainedModel], splits: Splits) -> pd.DataFrame:
    """Return a row a model: parameters, MACs, file size, latency, throughput, and the device of the times."""
    size = min(splits.image_size)
    rows = [
        {"model": name, **measure(trained.model, size, trained.folder / "model.safetensors")}
        for name, trained in models.items()
    ]
    return pd.DataFrame(rows)


def _precision(trained: TrainedModel) -> str | None:
    """Return the number format of a training, which only the artefact knows of ``auto``; ``None``: not trained."""
    determined: dict[str, Any] = read_json(trained.folder / "config.json")["determined_by"]
    return determined.get("precision")


def save_results(experiment: Experiment, models: Mapping[str, TrainedModel], costs: pd.DataFrame) -> Path:
    """Write the run's tables into its folder and return ``metrics.json``'s path.

    The index of all runs is brought up to date as well, so that whoever compares thousands of them has them read.
    ``metrics.json`` holds no times, so that the same experiment writes the same bytes; times are in
    ``efficiency.csv``.

    Args:
        experiment: parameters.
        models: by role, as in :data:`fairkd.recipes.ROLES`.
        costs: what :func:`efficiency` returned.
    """
    predictions = {name: trained.predictions for name, trained in models.items()}
    folder = experiment.run_folder
    frames = [one.frame.assign(model=name) for name, one in predictions.items()]
    table = pd.concat(frames, ignore_index=True).astype({"model": "category"})
    write_atomic(folder / "predictions.parquet", lambda path: path.write_bytes(table.to_parquet(index=False)))
    write_csv(folder / "efficiency.csv", costs)
    summary = summarize(predictions, comparisons(experiment), **bootstrap_options(experiment))
    summary["efficiency"] = {row["model"]: {k: row[k] for k in _COSTS} for row in costs.to_dict("records")}
    summary["precision"] = {name: _precision(trained) for name, trained in models.items()}
    summary["findings"] = run_findings(predictions, experiment)
    summary["experiment"] = experiment.model_dump(exclude={"output_dir", "run_name", "device", "plugin"})
    write_json(folder / "metrics.json", summary)
    list_runs(experiment.output_path)
    return folder / "metrics.json"
