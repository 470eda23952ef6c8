"""The words of a command line and of a parameter file, read as an experiment."""

from __future__ import annotations

import contextlib
import json
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairkd.errors import ParameterError

if TYPE_CHECKING:
    from fairkd.config import Experiment

#: Parameters that name a file or a folder.
PATHS = ("data_root", "cache_dir", "teacher_weights", "student_weights", "output_dir", "plugin")


def read_experiment(pairs: Sequence[str], file: Path | None) -> Experiment:
    """Build the experiment from ``name=value`` pairs and a YAML file; relative paths start where you are.

    Raises:
        ParameterError: the file is not a mapping; a parameter is unknown, out of range, or given two values.
    """
    from fairkd.config import Experiment

    values = {} if file is None else _read_yaml(file)
    words: dict[str, str] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if words.setdefault(name, text) != text:
            raise ParameterError(f"{name} is given twice: {words[name]} and {text}; give one of them")
        values[name] = parse_value(name, text)
    for name in PATHS:
        if isinstance(values.get(name), str):
            values[name] = str(Path(values[name]).expanduser().absolute())
    return Experiment(**values)


def parse_value(name: str, text: str) -> Any:
    """Turn a word into the value of parameter ``name``: text stays text, ``none`` is ``None``."""
    from fairkd.config import Experiment

    annotation = Experiment.model_fields[name].annotation if name in Experiment.model_fields else str
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    kinds = typing.get_args(annotation) if union else (annotation,)
    if type(None) in kinds and text.lower() in ("none", "null"):
        return None
    if str in kinds:
        return text
    # JSON, as YAML reads 010 as eight and 1:30 as ninety. Other words are for the validation to judge.
    with contextlib.suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, bool) == (bool in kinds) and isinstance(value, int | float):
            return value
    return text


def plain_values(experiment: Experiment) -> dict[str, Any]:
    """Return all values as another process can read them: paths are absolute, as a relative one starts at the
    project's root in an experiment, and where one is on a command line.
    """
    from fairkd.config import resolve_path

    values = experiment.model_dump(mode="json")
    return values | {name: str(resolve_path(values[name])) for name in PATHS if values[name] is not None}


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ParameterError(f"--params {file}: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ParameterError(
            f"--params {file}: needed are lines 'name: value', found {type(values).__name__}"
        )
    return values


def join_pairs(arguments: Sequence[str]) -> list[str]:
    """Turn ``-p name value`` into ``-p name=value``: typer has no repeatable option of two words."""
    joined: list[str] = []
    words = iter(arguments)
    for word in words:
        joined.append(word)
        if word == "-p":
            name = next(words, None)
            value = None if name is None or "=" in name else next(words, None)
            if name is None or ("=" not in name and value is None):
                raise ParameterError("-p needs a name and a value, for example: -p temperature 2")
            joined.append(name if value is None else f"{name}={value}")
    return joined
