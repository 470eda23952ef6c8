"""What a sweep varies: parameters with a list of values, or, for a search, with a range."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairkd.arguments import parse_value
from fairkd.config import Experiment, suggest_parameter
from fairkd.errors import ParameterError

#: What is not a property of one model: the sweep itself sets these.
_NOT_SWEPT = {
    "seed": "use --seeds",
    "seeds": "use --seeds",
    "run_name": "it names the sweep: use -p run_name",
    "output_dir": "use -p output_dir",
    "adversary_weights": "it is of the trade-off curve of one run: vary adversary_weight",
    "temperatures": "it is of the temperature study of one run: vary temperature",
    **dict.fromkeys(("audit_groups", "cache_dir", "device", "plugin", "teacher_cache_gb"), "use -p"),
    **dict.fromkeys(
        ("distillers", "mitigations", "every_pair"), "it is of `fairkd compare`: vary distiller or mitigation"
    ),
}
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(:log)?")

#: A space as users write it: values as a list, or as text, ``"0,0.3,1"`` or ``"0.1..30:log"``.
Space = Mapping[str, str | Sequence[Any]]


@dataclass(frozen=True)
class Values:
    """A parameter that takes the values of a list."""

    name: str
    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that stand for all of them when the space is checked."""
        return self.values

    def __str__(self) -> str:
        return f"{self.name}={','.join(show_value(value) for value in self.values)}"


@dataclass(frozen=True)
class Range:
    """A number between ``low`` and ``high``, both included; ``log``: even in its logarithm."""

    name: str
    low: float
    high: float
    log: bool
    integer: bool

    @property
    def ends(self) -> tuple[Any, ...]:
        """The limits."""
        return (self.low, self.high)

    def __str__(self) -> str:
        return f"{self.name}={self.low}..{self.high}{':log' * self.log}"


Dimension = Values | Range


def read_space(space: Space) -> list[Dimension]:
    """Read what is varied.

    Args:
        space: by parameter, a list of values, or text as on the command line: values with commas between them, or
            ``low..high``, with ``:log`` after it for steps that multiply.

    Raises:
        ParameterError: an unknown parameter, one that cannot be swept, or a range that is none.
    """
    if not space:
        raise ParameterError("a sweep varies something, for example: --param adversary_weight=0,1,10")
    return [_read(name, given) for name, given in space.items()]


def split_pairs(words: Sequence[str]) -> dict[str, str]:
    """Read ``name=values`` words of the command line; a name occurs once.

    Raises:
        ParameterError: a word without ``=``, or a name that occurs twice.
    """
    space: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not text:
            raise ParameterError(
                f"--param {word} has no values, needed: --param name=value,value or --param name=low..high"
            )
        if name in space:
            raise ParameterError(f"--param {name} is given twice; write all its values after one")
        space[name] = text
    return space


def grid(dimensions: Sequence[Dimension]) -> list[dict[str, Any]]:
    """Return every combination of the values, the last parameter fastest.

    Raises:
        ParameterError: a range, which has no list of values.
    """
    for one in dimensions:
        if isinstance(one, Range):
            raise ParameterError(f"--param {one}: a range needs --search optuna; list the values of a grid")
    names = [one.name for one in dimensions]
    return [
        dict(zip(names, point, strict=True)) for point in itertools.product(*(d.ends for d in dimensions))
    ]


def corners(dimensions: Sequence[Dimension]) -> list[dict[str, Any]]:
    """Return points that show whether a space to search is allowed: each value once, and each end of a range."""
    first = {one.name: one.ends[0] for one in dimensions}
    return [{**first, one.name: value} for one in dimensions for value in one.ends]


def show_value(value: Any) -> str:
    """Write a value as one would on the command line."""
    if isinstance(value, tuple | list):
        return json.dumps(value, separators=(",", ":"))
    # 4 for 4.0, and never fewer digits than it takes to tell two values apart.
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def show_setting(values: Mapping[str, Any]) -> str:
    """Write the values of a setting in one line."""
    return ", ".join(f"{name}={show_value(value)}" for name, value in values.items())


def _read(name: str, given: str | Sequence[Any]) -> Dimension:
    if name not in Experiment.model_fields:
        meant = suggest_parameter(name) or "`fairkd parameters` lists them"
        raise ParameterError(f"--param {name}: unknown parameter; {meant}".rstrip())
    if name in _NOT_SWEPT:
        raise ParameterError(f"--param {name} cannot be swept; {_NOT_SWEPT[name]}")
    if not isinstance(given, str):
        return _values(name, list(given))
    match = _RANGE.fullmatch(given)
    if match:
        return _range(name, match[1], match[2], bool(match[3]))
    return _values(name, [parse_value(name, word) for word in _words(given)])


def _values(name: str, given: list[Any]) -> Values:
    # By way of an experiment: 1 and 1.0 are one value of a float, and a wrong one is refused here.
    read = [getattr(Experiment(**{name: value}), name) for value in given]
    if not read:
        raise ParameterError(f"--param {name} has no values")
    return Values(name, tuple(dict.fromkeys(read)))


def _range(name: str, low: str, high: str, log: bool) -> Range:
    ends = [getattr(Experiment(**{name: parse_value(name, word)}), name) for word in (low, high)]
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
    if not numbers or ends[0] >= ends[1] or (log and ends[0] <= 0):
        raise ParameterError(
            f"--param {name}={low}..{high}{':log' * log} is no range: needed is a number, a larger one after it, "
            "and with :log both above 0"
        )
    return Range(name, ends[0], ends[1], log=log, integer=isinstance(ends[0], int))


def _words(text: str) -> list[str]:
    """Split at commas that stand outside of brackets."""
    words, depth = [""], 0
    for character in text:
        depth += (character in "[(") - (character in "])")
        if character == "," and depth == 0:
            words.append("")
        else:
            words[-1] += character
    return [word.strip() for word in words if word.strip()]
