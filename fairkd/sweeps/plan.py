"""The trainings of a sweep: teachers first, then plain KD, then the settings, each with every seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fairkd.arguments import plain_values
from fairkd.comparison.summary import BASELINE, TEACHER
from fairkd.config import Experiment
from fairkd.data import check_dataset
from fairkd.data.plan import Plan
from fairkd.parameters import Scope
from fairkd.recipes.setup import model_values
from fairkd.reproducibility import version_of
from fairkd.store import digest
from fairkd.sweeps.space import show_setting

Kind = Literal["teacher", "kd", "student"]
_KINDS: tuple[Kind, ...] = ("teacher", "kd", "student")

#: What a teacher, and what plain KD, depends on: only these parameters of a setting reach it.
_SCOPES: dict[Kind, tuple[Scope, ...]] = {
    "teacher": ("data", "training", "teacher"),
    "kd": ("data", "training", "teacher", "student"),
}


@dataclass(frozen=True)
class Trial:
    """One training with one seed. Trials of the same ``key`` are the same model, trained once.

    ``after`` holds the keys of what must be there before: the teacher, then plain KD, the ``baseline``.
    """

    number: int
    kind: Kind
    label: str
    values: Mapping[str, Any]
    experiment: Experiment
    key: str
    after: tuple[str, ...] = ()
    baseline: Experiment | None = None

    @property
    def title(self) -> str:
        """Label and seed."""
        return f"{self.label}, seed {self.experiment.seed}"

    @property
    def job(self) -> dict[str, Any]:
        """What a worker needs, as plain values; paths are absolute."""
        baseline = None if self.baseline is None else plain_values(self.baseline)
        return {"kind": self.kind, "experiment": plain_values(self.experiment), "baseline": baseline}


class Planner:
    """Makes the trials of settings and numbers them; what settings share is listed once.

    ``experiment`` is what is not varied; its ``seeds`` are trained from its ``seed`` on.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._base = experiment.replace(run_name=None, seeds=Experiment.default("seeds"))
        self._seeds = range(experiment.seed, experiment.seed + experiment.seeds)
        self._trials: dict[tuple[Kind, str, int], Trial] = {}
        self._data: dict[str, Plan] = {}

    @property
    def trials(self) -> list[Trial]:
        """All that have been planned, by number."""
        return list(self._trials.values())

    def experiments(self, settings: Iterable[Mapping[str, Any]]) -> list[Experiment]:
        """Return the settings' experiments, of the first seed.

        Raises:
            ParameterError: a value is out of range.
        """
        return [self._base.replace(**values) for values in settings]

    def data(self, experiment: Experiment) -> Plan:
        """Return the plan of an experiment's data set; each is looked at once.

        Raises:
            DataError: the data are not there or cannot serve.
        """
        options = experiment.values("data")
        key = json.dumps(options)
        if key not in self._data:
            self._data[key] = check_dataset(options.pop("dataset"), **options)
        return self._data[key]

    def plan(self, settings: Sequence[Mapping[str, Any]]) -> list[Trial]:
        """Return the trials that the settings need and that have not been planned before.

        Teachers come first, then plain KD, then all settings with the first seed, with the next, and so on.
        Data sets are looked at, nothing is decoded or trained.
        """
        before = len(self._trials)
        for kind in _KINDS:
            for seed in self._seeds:
                for values in settings:
                    self._trial(kind, values, seed)
        return self.trials[before:]

    def students(self, values: Mapping[str, Any]) -> list[Trial]:
        """Return a setting's own trials, one a seed."""
        return [self._trial("student", values, seed) for seed in self._seeds]

    def _trial(self, kind: Kind, values: Mapping[str, Any], seed: int) -> Trial:
        own = values if kind == "student" else self._reaching(kind, values)
        label = _label(kind, own)
        if (kind, label, seed) not in self._trials:
            experiment = self._base.replace(**own, seed=seed)
            teacher = None if kind == "teacher" else self._trial("teacher", values, seed)
            baseline = self._trial("kd", values, seed) if kind == "student" else None
            if kind == "kd":
                experiment = experiment.replace(distiller=BASELINE, mitigation="none")
            before = tuple(one.key for one in (teacher, baseline) if one is not None)
            fingerprint = self.data(experiment).fingerprint
            key = _key(kind, experiment, fingerprint, before)
            if baseline is not None and key == _key("student", baseline.experiment, fingerprint, before):
                # The setting is plain KD itself: one model.
                key, before = baseline.key, baseline.after
            trial = Trial(
                number=len(self._trials) + 1,
                kind=kind,
                label=label,
                values=dict(own),
                experiment=experiment,
                key=key,
                after=before,
                baseline=baseline.experiment if baseline else None,
            )
            self._trials[kind, label, seed] = trial
        return self._trials[kind, label, seed]

    def _reaching(self, kind: Kind, values: Mapping[str, Any]) -> dict[str, Any]:
        names = Experiment.names(_SCOPES[kind])
        return {name: value for name, value in values.items() if name in names}


def _label(kind: Kind, values: Mapping[str, Any]) -> str:
    if kind == "student":
        return show_setting(values)
    name = TEACHER if kind == "teacher" else BASELINE
    return f"{name} ({show_setting(values)})" if values else name


def _key(kind: Kind, experiment: Experiment, fingerprint: str, before: Sequence[str]) -> str:
    """Return the hash of what determines the model and its scores; ``fingerprint`` is of the data."""
    if kind == "teacher":
        values = model_values(experiment, "teacher", distilled=False, mitigated=True)
    else:
        mitigated = experiment.mitigation != "none"
        values = model_values(experiment, "student", distilled=True, mitigated=mitigated)
    evaluated = {name: getattr(experiment, name) for name in ("bootstrap_replicates", "confidence")}
    versions = {name: version_of(name) for name in ("fairkd", "torch", "timm")}
    return digest([kind, values, evaluated, fingerprint, experiment.seed, versions, list(before)])
