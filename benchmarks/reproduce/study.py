"""A study: models of several settings and seeds, whose numbers are noted one model at a time.

Every number goes to ``docs/results/<study>.csv`` as soon as it is there. What stands in that file is not trained again,
on whatever machine it was made, as long as the model's parameters are the same; so a study can be spread over many
short runs, and several processes can work on it at once, each with seeds of its own.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

import fairkd
from fairkd.data.splits import Splits
from fairkd.store import digest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
COLUMNS = ["setting", "model", "seed", "split", "metric", "base", "value", "low", "high", "parameters"]
KEY = ["setting", "model", "seed", "split", "metric", "base"]
#: Resamples of the test images behind an interval.
REPLICATES = 1000
#: What decides about a model's numbers, without the seed and where things lie.
_SCOPES = ("data", "training", "teacher", "student", "distillation", "mitigation")
_PLACES = ("data_root", "cache_dir", "seed")

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
        """The file of numbers."""
        return RESULTS / f"{self.name}.csv"

    def parameters(self, setting: str, model: Model, seed: int) -> fairkd.Experiment:
        """Return a model's parameters."""
        return self.experiment.replace(**{**self.settings[setting], **model.changes, "seed": seed})

    def identity(self, setting: str, model: Model) -> str:
        """Return a short hash of what decides about a model's numbers but the seed, its teacher included."""
        experiment = self.parameters(setting, model, 0)
        values = {name: value for name, value in experiment.values(*_SCOPES).items() if name not in _PLACES}
        taught_by = next((one for one in self.models if one.name == model.teacher), None)
        return digest([values, taught_by and self.identity(setting, taught_by)], 8)

    def read(self) -> pd.DataFrame:
        """Return what has been noted of models with these parameters, one row a value."""
        if not self.file.is_file():
            return pd.DataFrame(columns=COLUMNS)
        table = pd.read_csv(self.file, keep_default_na=False, na_values=[""], dtype={"parameters": str})
        table = table.fillna({"base": "", "setting": ""})
        known = {(s, model.name): self.identity(s, model) for s in self.settings for model in self.models}
        current = [
            known.get((row.setting, row.model)) == row.parameters for row in table.itertuples(index=False)
        ]
        return table[current].reset_index(drop=True)

    def train(self, seed: int, settings: Sequence[str]) -> None:
        """Train what has not been noted of one seed."""
        for setting in settings:
            noted = self.read()
            of_seed = noted[(noted["setting"] == setting) & (noted["seed"] == seed)]
            missing = [model for model in self.models if model.name not in set(of_seed["model"])]
            if missing:
                self._train_setting(setting, seed, {model.name for model in missing})

    def _train_setting(self, setting: str, seed: int, missing: set[str]) -> None:
        trained: dict[str, fairkd.TrainedModel] = {}
        wanted = missing | set(self.bases) | {one.teacher for one in self.models if one.name in missing}
        for model in self.models:
            if model.name not in wanted:
                continue
            experiment = self.parameters(setting, model, seed)
            splits = fairkd.load_splits(experiment)
            if model.teacher is None:
                trained[model.name] = fairkd.train_teacher(experiment, splits)
            else:
                trained[model.name] = fairkd.distill_student(experiment, trained[model.teacher], splits)
            if model.name in missing:
                bases = {name: trained[name].predictions for name in self.bases if name in trained}
                extra = self.extra(trained[model.name].predictions, splits) if self.extra else {}
                rows = [*self._rows(trained[model.name], bases, model.name), *_plain("test", extra)]
                self._note(setting, model, seed, rows)

    def _rows(
        self, model: fairkd.TrainedModel, bases: Mapping[str, fairkd.Predictions], name: str
    ) -> Iterator[dict[str, Any]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fairkd.FairkdWarning)
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

    def _note(self, setting: str, model: Model, seed: int, rows: list[dict[str, Any]]) -> None:
        """Write a model's numbers to the file; those of other parameters make room."""
        new = pd.DataFrame(rows).assign(
            setting=setting, model=model.name, seed=seed, parameters=self.identity(setting, model)
        )
        lock = self.experiment.output_path / f"{self.name}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            old = self.read()
            same = (old["setting"] == setting) & (old["model"] == model.name) & (old["seed"] == seed)
            table = pd.concat([part for part in (old[~same], new) if len(part)])
            table = table.sort_values(KEY, kind="stable")[COLUMNS]
            temporary = self.file.with_suffix(".tmp")
            table.to_csv(temporary, index=False, float_format="%.6g")
            temporary.replace(self.file)
        test = new[(new["split"] == "test") & (new["base"] == "")].set_index("metric")["value"]
        print(time.strftime("%H:%M"), setting, seed, model.name, test.round(4).to_dict(), flush=True)


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
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / data)
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--settings", nargs="+", help="only these settings")
    parser.add_argument("--output-dir", default="outputs/reproduce")
    parser.add_argument("--page", action="store_true", help="train nothing: write the page from the numbers")
    arguments = parser.parse_args()
    chosen = study(arguments.data.resolve(), arguments.output_dir)
    if not arguments.page:
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            chosen.train(seed, arguments.settings or settings or list(chosen.settings))
    text = page(chosen)
    (RESULTS / f"{chosen.name}.md").write_text(text, encoding="utf-8")
    print(text)


def machine() -> str:
    """Name the hardware and the versions in one line."""
    import platform

    from fairkd.reproducibility import version_of

    versions = ", ".join(f"{name} {version_of(name)}" for name in ("fairkd", "torch", "torchvision", "timm"))
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores; {versions}"
