"""The errors that fairkd raises on purpose. Each message names the thing, the place and the way out."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO


class FairkdError(Exception):
    """Base class: the command line prints these in one line, without a traceback."""


class ParameterError(FairkdError, ValueError):
    """A parameter is unknown, has the wrong type, or lies outside its range."""


class DataError(FairkdError, ValueError):
    """A data set is missing, malformed, or cannot serve the purpose asked of it."""


class ArtifactError(FairkdError, RuntimeError):
    """A stored model, checkpoint or table is damaged or does not belong to this run."""


class TrainingError(FairkdError, RuntimeError):
    """Training cannot go on, for example because the loss is not finite."""


class FairkdWarning(UserWarning):
    """Something the reader of a result must know, for example an empty class x group cell."""


def check_type(value: object, kind: type, what: str, instead: str) -> None:
    """Raise unless ``value`` is of the kind.

    Raises:
        ParameterError: says what ``what`` is, and what to pass ``instead``.
    """
    if not isinstance(value, kind):
        raise ParameterError(f"{what} must not be of type {type(value).__name__}; {instead}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Write each of fairkd's warnings once, in one line, without the place in the code, which is not the user's."""
    others, told = warnings.showwarning, set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, FairkdWarning):
            others(message, category, filename, lineno, file, line)
        elif str(message) not in told:
            told.add(str(message))
            print(f"warning: {message}", file=file or sys.stderr)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = others
