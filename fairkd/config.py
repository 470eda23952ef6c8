"""``Experiment``: every notebook parameter, typed, with its range and unit.

A field's *scope* says which artefacts it determines: a teacher depends on the scopes ``data``, ``training``
and ``teacher``, so a run with another adversary weight finds the same teacher again.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

from fairkd.errors import ParameterError
from fairkd.store import digest

Scope = Literal["data", "training", "teacher", "student", "distillation", "mitigation", "evaluation", "run"]


def _field(scope: Scope, default: Any, description: str, **constraints: Any) -> Any:
    return Field(default, description=description, json_schema_extra={"scope": scope}, **constraints)


class Experiment(BaseModel):
    """All parameters of one experiment: frozen, validated, with a one-line error for a bad value.

    Raises:
        ParameterError: an unknown name, a wrong type, or a value outside the range; names what is allowed.

    Example:
        >>> Experiment(temperature=2.0).adversary_weight == Experiment().adversary_weight
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    dataset: str = _field("data", "colored-digits", "data set; `fairkd datasets` lists the names")
    data_root: str | None = _field("data", None, "folder or zip with the images (image-folder)")
    csv: str | None = _field("data", None, "CSV file in data_root; None: the only one there")
    path_column: str = _field("data", "path", "CSV column with the image path")
    label_column: str = _field("data", "label", "CSV column with the class")
    group_column: str = _field("data", "group", "CSV column with the group; 'a*b' crosses two columns")
    split_column: str = _field("data", "split", "CSV column with train/validation/test, if present")
    bias: Literal["auto", "tint", "subsample"] = _field(
        "data", "auto", "how skew is made; auto: tint for colored-digits, subsample for image-folder"
    )
    skew: float | None = _field(
        "data",
        None,
        "share of each class that is in its majority group, training split, [0.5, 1]; None: the data set's own",
        ge=0.5,
        le=1.0,
    )
    image_size: int | None = _field(
        "data", None, "pixels, [8, 1024]; None: the data set's own", ge=8, le=1024
    )
    seed: int = _field("data", 0, "seed of split, initial weights and batch order, [0, 2^31)", ge=0, lt=2**31)

    augmentation: Literal["auto", "none", "crop", "crop+flip"] = _field(
        "training", "auto", "training augmentation; auto: the data set's own"
    )
    batch_size: int = _field("training", 64, "images a step, [2, 65536]", ge=2, le=65536)
    optimizer: Literal["adamw", "sgd"] = _field("training", "adamw", "optimiser")
    learning_rate: float = _field("training", 2e-3, "peak learning rate, (0, 10]", gt=0, le=10)
    weight_decay: float = _field("training", 0.05, "weight decay, [0, 1]", ge=0, le=1)
    warmup_epochs: int = _field(
        "training", 1, "epochs of linear warm-up before the cosine, [0, 1000]", ge=0, le=1000
    )
    label_smoothing: float = _field("training", 0.0, "label smoothing of the task loss, [0, 1)", ge=0, lt=1)
    patience: int = _field(
        "training", 0, "stop after so many epochs without a better validation score; 0: never", ge=0, le=10000
    )
    selection: Literal["accuracy", "fairness", "last"] = _field(
        "training",
        "accuracy",
        "which epoch is kept, on validation data: best accuracy; smallest recall gap within "
        "selection_tolerance of the best accuracy; or the last",
    )
    selection_tolerance: float = _field(
        "training", 0.01, "accuracy that selection='fairness' may give up, [0, 1]", ge=0, le=1
    )

    teacher: str = _field("teacher", "resnet10t", "teacher network, any timm name")
    teacher_epochs: int = _field("teacher", 12, "epochs, [1, 100000]", ge=1, le=100_000)
    teacher_pretrained: bool = _field("teacher", False, "start from timm's pretrained weights (downloads)")
    teacher_weights: str | None = _field("teacher", None, "start from a local .safetensors or .pth file")
    stem: Literal["auto", "small", "original"] = _field(
        "training",
        "auto",
        "early strides; auto: the data set's own, else final map at least 2x2; small: 4x4; original: timm's",
    )

    student: str = _field("student", "test_resnet", "student network, any timm name")
    student_epochs: int = _field("student", 20, "epochs, [1, 100000]", ge=1, le=100_000)
    student_pretrained: bool = _field("student", False, "start from timm's pretrained weights (downloads)")
    student_weights: str | None = _field("student", None, "start from a local .safetensors or .pth file")

    distiller: str = _field(
        "distillation", "kd", "distillation loss; fairkd.list_distillers() lists the names"
    )
    temperature: float = _field("distillation", 4.0, "softens the teacher's labels, (0, 100]", gt=0, le=100)
    distill_weight: float = _field(
        "distillation", 0.9, "weight of the distillation loss, [0, 1e6]", ge=0, le=1e6
    )
    task_weight: float = _field(
        "distillation", 0.1, "weight of the cross-entropy with the labels, [0, 1e6]", ge=0, le=1e6
    )

    mitigation: str = _field(
        "mitigation", "gradient_reversal", "bias mitigation; fairkd.list_mitigations() lists the names"
    )
    adversary_weight: float = _field(
        "mitigation", 10.0, "strength of the adversary, [0, 1000]", ge=0, le=1000
    )
    adversary_weights: tuple[Annotated[float, Field(ge=0, le=1000)], ...] = _field(
        "evaluation",
        (1.0, 30.0),
        "further weights of the trade-off curve, each [0, 1000]; [] for none",
    )
    adversary_input: Literal["features", "logits"] = _field(
        "mitigation", "features", "what the adversary reads"
    )
    adversary_sees_label: bool = _field(
        "mitigation", True, "give the adversary the label too: equalised odds instead of demographic parity"
    )
    adversary_balanced: bool = _field(
        "mitigation", True, "weigh the adversary's loss so that every class x group cell counts alike"
    )
    adversary_penalty: float = _field(
        "mitigation", 1.0, "gradient penalty that keeps the game stable, [0, 1000]; 0: none", ge=0, le=1000
    )
    adversary_learning_rate: float = _field("mitigation", 2e-3, "the adversary's own, (0, 10]", gt=0, le=10)
    adversary_hidden: int = _field("mitigation", 64, "units of its hidden layer, [1, 65536]", ge=1, le=65536)

    bootstrap_replicates: int = _field(
        "evaluation", 2000, "resamples for the intervals, [100, 1000000]", ge=100, le=1_000_000
    )
    confidence: float = _field("evaluation", 0.95, "coverage of the intervals, (0, 1)", gt=0, lt=1)

    run_name: str | None = _field("run", None, "folder under output_dir; None: made from the parameters")
    output_dir: str = _field("run", "outputs", "where runs and artefacts go; relative to the project's root")
    device: str = _field("run", "auto", "auto, cpu, cuda, cuda:N or mps")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ParameterError(_explain(error)) from None
        if self.run_name is not None and not re.fullmatch(r"[\w][\w.+=,-]{0,119}", self.run_name):
            raise ParameterError(
                f"run_name={self.run_name!r} cannot name a folder: use up to 120 letters, digits, '.', '_', '-'"
            )

    @field_validator("adversary_weights", mode="before")
    @classmethod
    def _read_list(cls, value: Any) -> Any:
        """Command lines and papermill pass ``[0.1, 3]`` as text."""
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                return json.loads(value)
        return value

    @classmethod
    def from_variables(cls, variables: Mapping[str, Any]) -> Experiment:
        """Build an experiment from a notebook's ``globals()``: fields by name, plus the dict ``options``.

        Raises:
            ParameterError: ``options`` names something that is not a field, or a value is out of range.
        """
        options = variables.get("options") or {}
        if not isinstance(options, Mapping):
            raise ParameterError(f"options={options!r} must be a dict of further parameters")
        values = {name: variables[name] for name in cls.model_fields if name in variables}
        return cls(**{**values, **options})

    @classmethod
    def names(cls, scopes: Iterable[Scope] | None = None) -> list[str]:
        """Return the parameters' names, of all scopes or of some."""
        wanted = None if scopes is None else set(scopes)
        return [name for name, field in cls.model_fields.items() if wanted is None or _scope(field) in wanted]

    def values(self, *scopes: Scope) -> dict[str, Any]:
        """Return the values of the fields in ``scopes``."""
        return {name: getattr(self, name) for name in self.names(scopes)}

    def changed(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, without those of scope ``run``."""
        return {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if _scope(field) != "run" and getattr(self, name) != field.default
        }

    def replace(self, **changes: Any) -> Experiment:
        """Return a copy with some values changed, validated again."""
        return Experiment(**{**self.model_dump(), **changes})

    @property
    def run(self) -> str:
        """The run's name: ``run_name``, else a readable name made from the changed parameters."""
        if self.run_name is not None:
            return self.run_name
        changed = self.changed()
        readable = "_".join(f"{name}-{value}" for name, value in changed.items())
        if not changed:
            return "default"
        if len(readable) <= 80 and re.fullmatch(r"[\w.+-]+", readable):
            return readable
        return f"{re.sub(r'[^A-Za-z0-9-]+', '-', self.dataset)}-{digest(changed)}"

    @property
    def output_path(self) -> Path:
        """The absolute ``output_dir``."""
        return resolve_path(self.output_dir)

    @property
    def run_folder(self) -> Path:
        """``<output_dir>/<run>``: where notebooks, report and tables of this run go."""
        return self.output_path / self.run

    @property
    def command(self) -> str:
        """The shell command that reproduces this experiment."""
        import shlex

        values = self.changed()
        if self.run != self.replace(run_name=None).run:
            values["run_name"] = self.run_name
        if self.output_path != resolve_path(self.default("output_dir")):
            values["output_dir"] = self.output_dir
        if self.device != self.default("device"):
            values["device"] = self.device
        return " ".join(
            ["fairkd run", *(f"-p {name} {shlex.quote(_word(value))}" for name, value in values.items())]
        )

    @classmethod
    def default(cls, name: str) -> Any:
        """Return a field's default."""
        return cls.model_fields[name].default


def project_root() -> Path:
    """Return the nearest folder upward with a ``pyproject.toml``, else the current folder."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "pyproject.toml").is_file()), here)


def resolve_path(path: str | os.PathLike[str]) -> Path:
    """Make ``path`` absolute; a relative one is taken from :func:`project_root`."""
    return (project_root() / Path(path).expanduser()).resolve()


def suggest(name: str, allowed: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` or an empty string."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}? " if close else ""


def _scope(field: FieldInfo) -> Scope:
    return field.json_schema_extra["scope"]  # type: ignore[index, return-value]


def _explain(error: ValidationError) -> str:
    """Turn pydantic's errors into one line."""
    return "; ".join(_explain_one(detail) for detail in error.errors(include_url=False))


def _explain_one(detail: Any) -> str:
    name = str(detail["loc"][0])
    if detail["type"] == "extra_forbidden":
        names = Experiment.names()
        return f"unknown parameter {name!r}: {suggest(name, names)}allowed: {', '.join(names)}"
    description = Experiment.model_fields[name].description
    return f"{name}={_short(detail['input'])} is not allowed: {_plain(detail['msg'])} ({name}: {description})"


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, tuple) else str(value)


def _short(value: Any) -> str:
    """One line of at most 80 characters, whatever object a notebook's variable holds."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:76]} ..."


def _plain(message: str) -> str:
    return message[0].lower() + message[1:]
