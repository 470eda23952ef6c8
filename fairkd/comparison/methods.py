"""Which methods are compared, and how each is trained and scored."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fairkd.comparison.scores import score_model
from fairkd.comparison.summary import ALONE, BASELINE, CO_TEACHER, TEACHER
from fairkd.config import Experiment
from fairkd.data.splits import Splits
from fairkd.distillers import list_distillers
from fairkd.errors import FairkdWarning, ParameterError
from fairkd.mitigation import list_mitigations
from fairkd.progress import part_of
from fairkd.recipes import (
    TrainedModel,
    check_methods,
    check_setting,
    co_teachers,
    distill_student,
    load_splits,
    plan_of,
    train_student_alone,
    train_teacher,
    warn_of_few_samples,
    warn_of_unread,
)
from fairkd.store import write_csv


@dataclass(frozen=True)
class Method:
    """One row of the comparison: how the student is distilled and mitigated."""

    name: str
    distiller: str
    mitigation: str
    experiment: Experiment

    @property
    def family(self) -> str:
        """``baseline`` (plain KD), ``distiller`` (without mitigation), ``mitigation`` (of plain KD) or ``both``."""
        if self.name == BASELINE:
            return "baseline"
        if self.mitigation == "none":
            return "distiller"
        return "mitigation" if self.distiller == BASELINE else "both"


def list_methods(experiment: Experiment) -> list[Method]:
    """Return the methods that the experiment compares: plain KD first, then the others.

    ``"all"`` stands for every distiller or mitigation that is not named beside it. Every entry of
    ``distillers`` runs without mitigation, every entry of ``mitigations`` with the experiment's ``distiller``;
    with ``every_pair`` all other pairs follow. Pairs that cannot be combined are left out, with a warning that
    says why.

    Raises:
        ParameterError: an unknown name, or an entry that cannot be combined and is not one of many pairs.
    """
    distillers = _expanded(experiment.distillers, list_distillers()["name"])
    mitigations = _expanded(experiment.mitigations, list_mitigations()["name"])
    pairs = [(BASELINE, "none"), *((distiller, "none") for distiller in distillers)]
    pairs += [(experiment.distiller, mitigation) for mitigation in mitigations]
    needed = len(pairs)
    if experiment.every_pair:
        pairs += [(d, m) for d in distillers for m in mitigations]
    found: dict[str, Method] = {}
    for position, pair in enumerate(pairs):
        method = _method(experiment, *pair)
        try:
            check_methods(method.experiment)
        except ParameterError as error:
            if position < needed:
                raise
            warnings.warn(f"{method.name} is left out: {error}", FairkdWarning, stacklevel=2)
            continue
        found.setdefault(method.name, method)
    return list(found.values())


def check_methods_of(experiment: Experiment) -> list[Method]:
    """Return :func:`list_methods`, each checked as :func:`fairkd.check_experiment` does.

    Raises:
        ParameterError, DataError: before any training; as their messages say.

    Warns:
        FairkdWarning: as :func:`fairkd.check_experiment`.
    """
    plan = plan_of(experiment)
    methods = list_methods(experiment)
    for method in methods:
        check_setting(method.experiment, plan)
    warn_of_unread(experiment, [method.experiment for method in methods])
    warn_of_few_samples(plan)
    return methods


def compare_methods(experiment: Experiment, splits: Splits | None = None) -> pd.DataFrame:
    """Train, or load, every method with every seed, and score it on the test split.

    One teacher a seed serves all methods, and methods that learn from further teachers have a row for each of those;
    what has been trained before is found again.

    Args:
        experiment: its ``distillers``, ``mitigations``, ``every_pair`` and ``seeds`` say what is compared,
            everything else how. The seeds are ``seed``, ``seed + 1``, ...
        splits: the data; default: what the experiment names, which another seed may split differently.

    Returns:
        Tidy rows ``method, distiller, mitigation, family, seed, metric, value, low, high, difference,
        difference_low, difference_high, supported, validation, collapsed, param_count, seconds``: a row a method, seed
        and metric. ``difference`` is the paired difference to plain KD with its bootstrap interval, NaN for
        plain KD and further teachers; the teacher and the student alone have one. ``validation`` is the metric on
        validation data, ``collapsed`` as :attr:`TrainedModel.collapsed`, ``seconds`` the time of the training.

    Raises:
        ParameterError: see :func:`list_methods`; before any training.
    """
    methods = check_methods_of(experiment)
    rows: list[dict[str, Any]] = []
    further = _co_teachers(methods)
    jobs: list[tuple[str, Method | Experiment | None]] = [(TEACHER, None), *further.items(), (ALONE, None)]
    jobs += [(method.name, method) for method in methods]
    total = experiment.seeds * len(jobs)
    for seed in range(experiment.seed, experiment.seed + experiment.seeds):
        here = splits or load_splits(experiment.replace(seed=seed))
        models: dict[str, TrainedModel] = {}
        for name, chosen in jobs:
            position = (seed - experiment.seed) * len(jobs) + len(models) + 1
            with part_of(f"{name}, seed {seed} ({position} of {total})"):
                models[name] = _train(experiment.replace(seed=seed), chosen, models.get(TEACHER), here)
        rows += _rows_of_seed(experiment, methods, models, seed)
    return pd.DataFrame(rows)


def save_comparison(experiment: Experiment, table: pd.DataFrame) -> Path:
    """Write the rows of all seeds to ``methods.csv`` in the run's folder."""
    path = experiment.run_folder / "methods.csv"
    write_csv(path, table)
    return path


def _expanded(entries: Sequence[str], names: Iterable[str]) -> list[str]:
    """Replace ``all`` by the names that are not named beside it (with or without a weight)."""
    named = {entry.partition(":")[0] for entry in entries}
    rest = [name for name in names if name not in named and name != "none"]
    return [name for entry in entries for name in (rest if entry == "all" else [entry])]


def _method(experiment: Experiment, distiller: str, entry: str) -> Method:
    mitigation, _, weight = entry.partition(":")
    changes: dict[str, Any] = {"distiller": distiller, "mitigation": mitigation}
    if weight:
        if not re.fullmatch(r"[0-9.]+(e[+-]?[0-9]+)?", weight):
            raise ParameterError(f"mitigations: {entry!r} has no number after the colon; write name:weight")
        if mitigation in _unweighted():
            raise ParameterError(f"mitigations: {mitigation} has no weight; write it without ':{weight}'")
        changes["adversary_weight"] = float(weight)
    name = distiller if mitigation == "none" else f"{distiller} + {entry}"
    return Method(name, distiller, mitigation, experiment.replace(**changes))


def _unweighted() -> list[str]:
    """Return the mitigations that do not read ``adversary_weight``."""
    table = list_mitigations()
    return list(table.loc[~table["options"].str.contains("adversary_weight"), "name"])


def _co_teachers(methods: Sequence[Method]) -> dict[str, Experiment]:
    """Return the experiments of the methods' further teachers, by the name of their row."""
    found = (one for method in methods for one in co_teachers(method.experiment))
    return {f"{CO_TEACHER} {one.teacher}": one for one in found}


def _family_of_reference(name: str) -> str:
    return "reference" if name in (TEACHER, ALONE) else CO_TEACHER


def _train(
    experiment: Experiment,
    method: Method | Experiment | None,
    teacher: TrainedModel | None,
    splits: Splits,
) -> TrainedModel:
    if teacher is None:
        return train_teacher(experiment, splits)
    if isinstance(method, Experiment):
        return train_teacher(method.replace(seed=experiment.seed), splits)
    if method is None:
        return train_student_alone(experiment, splits)
    return distill_student(method.experiment.replace(seed=experiment.seed), teacher, splits)


def _rows_of_seed(
    experiment: Experiment, methods: Sequence[Method], models: dict[str, TrainedModel], seed: int
) -> list[dict[str, Any]]:
    known = {method.name: method for method in methods}
    rows = []
    for name, model in models.items():
        method = known.get(name)
        row = {
            "method": name,
            "distiller": method.distiller if method else "",
            "mitigation": method.mitigation if method else "",
            "family": method.family if method else _family_of_reference(name),
            "seed": seed,
        }
        baseline = None if name == BASELINE or row["family"] == CO_TEACHER else models[BASELINE]
        rows += [{**row, **scores} for scores in score_model(experiment, model, baseline)]
    return rows
