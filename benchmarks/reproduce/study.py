"""A study: models of several settings and seeds, whose numbers are noted one model at a time.

Every number goes to ``docs/results/<study>.json`` as soon as it is there. What stands in that file is not trained
again, on whatever machine it was made, as long as the model's parameters are the same; so a study can be spread over
many short runs, and several processes can work on it at once, each with seeds of its own.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock

import fairkd
from fairkd.data.splits import Splits
from fairkd.efficiency import hardware
from fairkd.errors import FairkdWarning
from fairkd.models import create_model
from fairkd.parameters import Scope
from fairkd.recipes import resolve_device
from fairkd.reproducibility import version_of
from fairkd.store import digest, write_atomic
from fairkd.training import fastest_precision

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
#: Of a trained model, and of each of its numbers.
_MODEL = ("setting", "model", "seed", "parameters", "precision", "machine")
#: What tells models apart.
_KEYS = ("setting", "model", "seed", "parameters")
_NUMBER = ("split", "metric", "base", "value", "low", "high")
#: Resamples of the test images behind an interval.
REPLICATES = 1000
#: What decides about a model's numbers, a teacher's and a student's, without the seed and where things lie.
_TEACHER_SCOPES: tuple[Scope, ...] = ("data", "training", "teacher")
_STUDENT_SCOPES: tuple[Scope, ...] = (*_TEACHER_SCOPES, "student", "distillation", "mitigation")
_PLACES = ("data_root", "cache_dir", "seed")
#: How it is computed, which is chosen by what is fast on the machine.
_FORMATS = ("precision", "teacher_outputs")

#: Of a model's test predictions and the data that they are of.
Measure = Callable[[fairkd.Predictions, Splits], Mapping[str, float]]


@dataclass(frozen=True)
class Model:
    """A row of the table.

    Args:
        name: in the table.
        changes: parameters that differ from the setting's.
        teacher: the name of the model that teaches it; ``None`` for a teacher.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    teacher: str | None = None

    @property
    def learns_from(self) -> str | None:
        """The teacher that is read in its training."""
        return None if self.changes.get("distiller") == "none" else self.teacher


@dataclass(frozen=True)
class Study:
    """What is trained and what is measured.

    Args:
        name: of the file of numbers.
        experiment: the parameters that all models share.
        settings: parameters of each setting, by name.
        models: teachers before their students, and those that others are compared with before the others.
        metrics: names in ``fairkd.metrics.METRICS`` that are noted.
        bases: models with which the later ones are compared on the same test images.
        extra: further values of a model's test predictions.
    """

    name: str
    experiment: fairkd.Experiment
    settings: Mapping[str, Mapping[str, Any]]
    models: Sequence[Model]
    metrics: Sequence[str]
    bases: Sequence[str]
    extra: Measure | None = None

    @property
    def file(self) -> Path:
        """The file of numbers, a line a model."""
        return RESULTS / f"{self.name}.json"

    def parameters(self, setting: str, model: Model, seed: int) -> fairkd.Experiment:
        """Return a model's parameters."""
        return self.experiment.replace(**{**self.settings[setting], **model.changes, "seed": seed})

    def identity(self, setting: str, model: Model) -> str:
        """Return a short hash of what decides about a model's numbers but the seed, its teacher included.

        Parameters at their defaults take no part, so that a new parameter leaves old numbers alone.
        """
        scopes = _STUDENT_SCOPES if model.teacher else _TEACHER_SCOPES
        changed = self.parameters(setting, model, 0).changed()
        values = {name: changed[name] for name in changed if name in fairkd.Experiment.names(scopes)}
        values = {name: value for name, value in values.items() if name not in (*_PLACES, *_FORMATS)}
        taught_by = next((one for one in self.models if one.name == model.teacher), None)
        return digest([values, taught_by and self.identity(setting, taught_by)], 8)

    def read(self) -> pd.DataFrame:
        """Return the numbers of models with these parameters: a row a value, with the names of all columns above."""
        rows = [
            {**{name: model[name] for name in _MODEL}, **dict(zip(_NUMBER, numbers, strict=True))}
            for model in self._models()
            for numbers in model["numbers"]
        ]
        return pd.DataFrame(rows, columns=[*_MODEL, *_NUMBER]).astype(
            {"value": float, "low": float, "high": float}
        )

    def _models(self) -> list[dict[str, Any]]:
        if not self.file.is_file():
            return []
        known = {(s, model.name): self.identity(s, model) for s in self.settings for model in self.models}
        noted = json.loads(self.file.read_text(encoding="utf-8"))
        return [one for one in noted if known.get((one["setting"], one["model"])) == one["parameters"]]

    def train(self, seed: int, settings: Sequence[str], models: Sequence[str] = ()) -> None:
        """Train what has not been noted of one seed; of all models, or of these.

        A base that was noted on another machine is not trained again: differences to it have no interval over the
        images.
        """
        for setting in settings:
            noted = self.read()
            of_seed = noted[(noted["setting"] == setting) & (noted["seed"] == seed)]
            missing = [one for one in models or self.names() if one not in set(of_seed["model"])]
            if missing:
                self._train_setting(setting, seed, set(missing), of_seed)

    def names(self) -> list[str]:
        """Return the models' names."""
        return [model.name for model in self.models]

    def _train_setting(self, setting: str, seed: int, missing: set[str], noted: pd.DataFrame) -> None:
        trained: dict[str, fairkd.TrainedModel] = {}
        wanted = missing | {one.learns_from for one in self.models if one.name in missing}
        for model in self.models:
            if model.name not in wanted:
                continue
            experiment = _in_fastest_format(self.parameters(setting, model, seed))
            splits = fairkd.load_splits(experiment)
            if model.teacher is None:
                trained[model.name] = fairkd.train_teacher(experiment, splits)
            elif model.learns_from is None:
                # The function wants a model there, whichever.
                unread = trained.get(model.teacher) or fairkd.train_student_alone(experiment, splits)
                trained[model.name] = fairkd.distill_student(experiment, unread, splits)
            else:
                trained[model.name] = fairkd.distill_student(experiment, trained[model.teacher], splits)
            if model.name in missing:
                bases = {name: trained[name].predictions for name in self.bases if name in trained}
                extra = self.extra(trained[model.name].predictions, splits) if self.extra else {}
                rows = [*self._rows(trained[model.name], bases, model.name), *_plain("test", extra)]
                rows += self._differences(rows, noted[~noted["model"].isin(bases)])
                self._note(setting, model, experiment, rows)

    def _rows(
        self, model: fairkd.TrainedModel, bases: Mapping[str, fairkd.Predictions], name: str
    ) -> Iterator[dict[str, Any]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FairkdWarning)
            for split, predictions in (("validation", model.validation), ("test", model.predictions)):
                table = fairkd.evaluate(predictions, replicates=REPLICATES)
                yield from self._overall(table, split=split, base="")
            for base, predictions in bases.items():
                if base != name:
                    pair = {base: predictions, name: model.predictions}
                    table = fairkd.compare(pair, baseline=base, replicates=REPLICATES)
                    yield from self._overall(table, split="test", base=base)
        details = {
            "param_count": model.model.param_count,
            "seconds": model.history["seconds"].sum(),
            "selected_epoch": model.history.loc[model.history["selected"], "epoch"].iloc[0],
        }
        yield from _plain("", details)

    def _overall(self, table: pd.DataFrame, **columns: str) -> Iterator[dict[str, Any]]:
        chosen = (table["class"] == "all") & (table["group"] == "all") & table["metric"].isin(self.metrics)
        for row in table[chosen][["metric", "value", "low", "high"]].to_dict("records"):
            yield {**row, **columns}

    def _differences(
        self, rows: Sequence[Mapping[str, Any]], noted: pd.DataFrame
    ) -> Iterator[dict[str, Any]]:
        """Compare a model with the bases that are known by their numbers only."""
        values = {row["metric"]: row["value"] for row in rows if row["split"] == "test" and not row["base"]}
        known = noted[noted["model"].isin(self.bases) & (noted["split"] == "test") & (noted["base"] == "")]
        for row in known[known["metric"].isin(self.metrics)].to_dict("records"):
            difference = values[row["metric"]] - row["value"]
            yield {"split": "test", "metric": row["metric"], "base": row["model"], "value": difference}

    def _note(
        self, setting: str, model: Model, experiment: fairkd.Experiment, rows: list[dict[str, Any]]
    ) -> None:
        """Write a model's numbers to the file; those of models with other parameters make room."""
        numbers = [[_rounded(row.get(name)) for name in _NUMBER] for row in rows]
        seed, identity = experiment.seed, self.identity(setting, model)
        made = experiment.precision, machine(experiment.device)
        about = dict(zip(_MODEL, (setting, model.name, seed, identity, *made), strict=True))
        lock = self.experiment.output_path / f"{self.name}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            others = [one for one in self._models() if any(one[name] != about[name] for name in _KEYS)]
            models = sorted([*others, {**about, "numbers": numbers}], key=self._order)
            text = ",\n".join(json.dumps(one, ensure_ascii=False) for one in models)
            write_atomic(self.file, lambda path: path.write_text(f"[\n{text}\n]\n", encoding="utf-8"))
        test = {
            row["metric"]: _rounded(row["value"])
            for row in rows
            if row["split"] == "test" and not row["base"]
        }
        print(time.strftime("%H:%M"), setting, seed, model.name, test, flush=True)

    def _order(self, noted: Mapping[str, Any]) -> tuple[int, int, int]:
        return list(self.settings).index(noted["setting"]), noted["seed"], self.names().index(noted["model"])


def _in_fastest_format(experiment: fairkd.Experiment) -> fairkd.Experiment:
    """Let teacher and student compute in the number format in which the student trains fastest on this machine.

    The seeds of a study may come from several machines, and without hardware for bfloat16 a step in it takes tens of
    times as long.
    """
    if experiment.precision != "auto":
        return experiment
    chosen = _fastest(experiment.student, experiment.stem, experiment.batch_size, experiment.device)
    return experiment.replace(precision=chosen, teacher_outputs=chosen)


@functools.cache
def _fastest(student: str, stem: str, batch_size: int, device: str) -> str:
    """Measured once: where the formats are about as fast, each measurement could choose another."""
    network = create_model(student, 10, image_size=32, stem=stem)
    return fastest_precision(network, (32, 32), batch_size, resolve_device(device))


def _rounded(value: Any) -> Any:
    """Return six digits of what is no whole number, and ``None`` for what is not defined."""
    if value is None or isinstance(value, str):
        return value
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) else float(f"{value:.6g}")


def _plain(split: str, numbers: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    for metric, value in numbers.items():
        yield {"split": split, "metric": metric, "base": "", "value": value}


def main(
    study: Callable[[Path, str], Study],
    page: Callable[[Study], str],
    data: str,
    seeds: int,
    settings: Sequence[str] = (),
) -> None:
    """Train the seeds that are asked for, then write the page from all that has been noted.

    Args:
        study: makes the study from the data's place and the output folder.
        page: makes ``docs/results/<study>.md``.
        data: the file in ``shared/data`` that is read by default.
        seeds: how many by default.
        settings: those that are trained by default; none: all.
    """
    parser = argparse.ArgumentParser()
    where = ROOT.parent / "shared" / "data" / data
    parser.add_argument(
        "--data", type=Path, default=where, help=f"the data set's zip or folder; default: {where}"
    )
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--settings", nargs="+", default=(), help="only these settings")
    parser.add_argument("--models", nargs="+", default=(), help="only these models, and their teachers")
    parser.add_argument("--output-dir", default="outputs/reproduce")
    parser.add_argument("--page", action="store_true", help="train nothing: write the page from the numbers")
    arguments = parser.parse_args()
    chosen = study(arguments.data.resolve(), arguments.output_dir)
    for given, known in ((arguments.settings, chosen.settings), (arguments.models, chosen.names())):
        if unknown := set(given) - set(known):
            parser.error(f"not known: {', '.join(sorted(unknown))}; there are: {'; '.join(known)}")
    if not arguments.page:
        if not arguments.data.exists():
            parser.error(f"there is no {arguments.data}: --data names the data set's zip or folder")
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            chosen.train(seed, arguments.settings or settings or list(chosen.settings), arguments.models)
    text = page(chosen)
    (RESULTS / f"{chosen.name}.md").write_text(text, encoding="utf-8")
    print(text)


def machine(device: str) -> str:
    """Name hardware and versions in one line."""
    versions = ", ".join(f"{name} {version_of(name)}" for name in ("fairkd", "torch", "torchvision", "timm"))
    kind = torch.device(resolve_device(device))
    return (
        f"{hardware(kind)}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, {versions}"
    )
