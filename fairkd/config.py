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
from typing import Any, Literal

from pydantic import ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from fairkd.errors import ParameterError
from fairkd.parameters import Parameters, Scope
from fairkd.plugin import load_plugin, plugin_digest
from fairkd.shown import Shown
from fairkd.store import digest

#: What `fairkd run`, which trains one setting with one seed, does not read.
COMPARED = ("seeds", "distillers", "mitigations", "every_pair")
#: The parameters of the same kind that a command reads.
_COMPARED_BY = {"run": (), "sweep": ("seeds",), "compare": COMPARED}
#: What other tools call some parameters.
OTHER_NAMES = {
    "alpha": "'distill_weight' and 'task_weight'",
    "arch": "'teacher' or 'student'",
    "aug": "'augmentation'",
    "bs": "'batch_size'",
    "data": "'dataset' (its name) or 'data_root' (where it is)",
    "epochs": "'teacher_epochs' or 'student_epochs'",
    "groups": "'group' or 'group_column'",
    "lambda": "'adversary_weight'",
    "lr": "'learning_rate'",
    "model": "'teacher' or 'student'",
    "pretrained": "'teacher_pretrained' or 'student_pretrained'",
    "t": "'temperature'",
    "tau": "'temperature'",
    "wd": "'weight_decay'",
    "weights": "'teacher_weights' or 'student_weights'",
}


class Experiment(Parameters, Shown):
    """All parameters of one experiment: frozen, validated, with a one-line error for a bad value.

    Raises:
        ParameterError: an unknown name, a wrong type, a value outside the range, or an error in the plugin, whose
            file is run here; names what is allowed.

    Example:
        >>> Experiment(temperature=2.0).adversary_weight == Experiment().adversary_weight
        True
    """

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ParameterError(_explain(error)) from None
        if self.run_name is not None and not re.fullmatch(r"[\w][\w.+=,-]{0,119}", self.run_name):
            raise ParameterError(
                f"run_name={self.run_name!r} cannot name a folder: use up to 120 letters, digits and . _ - + = , and "
                "begin with a letter, a digit or _"
            )
        if self.plugin is not None:
            load_plugin(resolve_path(self.plugin))

    def __setattr__(self, name: str, value: Any) -> None:
        raise ParameterError(
            f"an experiment does not change; experiment.replace({name}=...) gives a changed copy"
        )

    @field_validator(
        "adversary_weights", "co_teachers", "distillers", "mitigations", "temperatures", mode="before"
    )
    @classmethod
    def _read_list(cls, value: Any) -> Any:
        """Command lines and papermill pass ``[0.1, 3]`` as text; ``0.1,3``, ``[kd, dkd]`` and one element serve too."""
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                inside = re.fullmatch(r"\s*\[(.*)\]\s*", value)
                value = [word.strip() for word in (inside[1] if inside else value).split(",")]
        if not isinstance(value, Iterable) or isinstance(value, str):
            value = (value,)
        if any(isinstance(one, bool) for one in value):
            raise PydanticCustomError("truth", "true and false are no values of this parameter")
        return value

    @field_validator("audit_groups", mode="before")
    @classmethod
    def _read_expressions(cls, value: Any) -> Any:
        """As text, a JSON list or one expression; an expression has commas of its own."""
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                return json.loads(value)
            return (value,)
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth(cls, value: Any, info: ValidationInfo) -> Any:
        """``yes`` is true in YAML, and true is 1 in Python: never what was meant by a number; paths become text."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise PydanticCustomError("truth", "true and false are no value of this parameter")
        return str(value) if isinstance(value, Path) else value

    @classmethod
    def from_variables(cls, variables: Mapping[str, Any]) -> Experiment:
        """Build an experiment from a notebook's ``globals()``: fields by name, plus the dict ``options``.

        Raises:
            ParameterError: ``options`` names something that is not a field, a value is out of range, or a number or
                text has a name that is nearly a field's.
        """
        options = variables.get("options") or {}
        if not isinstance(options, Mapping):
            raise ParameterError(f"options={options!r} must be a dict of further parameters")
        for name, value in variables.items():
            if isinstance(value, str | int | float) and name not in cls.model_fields and name[0] != "_":
                meant = suggest(name, cls.model_fields, cutoff=0.85)
                if meant:
                    raise ParameterError(f"{name}={_short(value)} is no parameter: {meant}".rstrip())
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

    def summary(self) -> dict[str, str]:
        """Return the run's name, what was changed, and the command."""
        changed = {name: word(value) for name, value in self.changed().items()}
        command = self.command_of("compare" if changed.keys() & set(COMPARED) else "run")
        return {"run": self.run, **(changed or {"changed": "nothing: the defaults"}), "command": command}

    def __repr__(self) -> str:
        changed = (
            f"{name}={getattr(self, name)!r}"
            for name in self.names()
            if getattr(self, name) != self.default(name)
        )
        return f"Experiment({', '.join(changed)})"

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
    def plugin_digest(self) -> str | None:
        """The hash of the plugin's text as it was run; ``None`` without one."""
        return None if self.plugin is None else plugin_digest(resolve_path(self.plugin))

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
        """The shell command that reproduces this experiment, which is one setting with one seed."""
        return self.command_of("run")

    def command_of(self, verb: Literal["run", "compare", "sweep"]) -> str:
        """Return the shell command ``fairkd <verb>`` with what differs from the defaults and is read by it."""
        import shlex

        names = {*COMPARED, "mitigation"} if verb == "compare" else COMPARED
        unread = {name: self.default(name) for name in names if name not in _COMPARED_BY[verb]}
        values = {name: value for name, value in self.changed().items() if name not in unread}
        if self.run != self.replace(run_name=None, **unread).run:
            values["run_name"] = self.run
        if self.output_path != resolve_path(self.default("output_dir")):
            values["output_dir"] = self.output_dir
        for name in ("device", "plugin"):
            if getattr(self, name) != self.default(name):
                values[name] = getattr(self, name)
        return " ".join(
            [f"fairkd {verb}", *(f"-p {name} {shlex.quote(word(value))}" for name, value in values.items())]
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


def suggest(name: str, allowed: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ``did you mean 'x'?`` or an empty string; capitals and the kind of dash do not count."""
    known = {_folded(one): one for one in reversed([*allowed])}
    close = difflib.get_close_matches(_folded(name), known, n=1, cutoff=cutoff)
    return f"did you mean {known[close[0]]!r}? " if close else ""


def _folded(name: str) -> str:
    return name.lower().replace("_", "-")


def _scope(field: FieldInfo) -> Scope:
    return field.json_schema_extra["scope"]  # type: ignore[index, return-value]


def _explain(error: ValidationError) -> str:
    """Turn pydantic's errors into one line; of a parameter with several forms there is one a form."""
    by_name: dict[str, list[Any]] = {}
    for detail in error.errors(include_url=False):
        by_name.setdefault(str(detail["loc"][0]), []).append(detail)
    return "; ".join(_explain_one(name, details) for name, details in by_name.items())


def _explain_one(name: str, details: list[Any]) -> str:
    if details[0]["type"] == "extra_forbidden":
        return (
            f"unknown parameter {name!r}: {suggest_parameter(name)}allowed: {', '.join(Experiment.names())}"
        )
    description = Experiment.model_fields[name].description
    # In a tuple, each wrong element is an error of its own.
    given = " and ".join(dict.fromkeys(_short(detail["input"]) for detail in details))
    allowed = ", or ".join(dict.fromkeys(_plain(detail["msg"]) for detail in details))
    return f"{name}={given} is not allowed: {allowed} ({name}: {description})"


def suggest_parameter(name: str) -> str:
    """Return what others call the parameter, else the close name."""
    meant = OTHER_NAMES.get(name.lower().replace("-", "_"))
    return f"did you mean {meant}? " if meant else suggest(name, Experiment.names())


def word(value: Any) -> str:
    """Return a value as the command line takes it."""
    return json.dumps(value) if isinstance(value, tuple) else str(value)


def _short(value: Any) -> str:
    """One line of at most 80 characters, whatever object a notebook's variable holds."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:76]} ..."


def _plain(message: str) -> str:
    return message[0].lower() + message[1:]
