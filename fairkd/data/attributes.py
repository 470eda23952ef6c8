"""Expressions that choose a class or a group from a data set's columns: ``gender*race``, ``age:0-18,19-40,41-``."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fairkd.config import suggest
from fairkd.data.table import MISSING, natural_order
from fairkd.errors import DataError, FairkdWarning, ParameterError
from fairkd.shown import table_names

_NUMBER = r"\d+(?:\.\d+)?"
_RANGE = re.compile(rf"(?P<low>{_NUMBER})?(?P<dash>-)?(?P<high>{_NUMBER})?")


@dataclass(frozen=True)
class Columns:
    """The columns of a source, as text; an empty cell is missing.

    ``origin`` names the source in messages, ``place`` names some of its rows (``row 7``).
    """

    origin: str
    values: Mapping[str, Sequence[str]]
    place: Callable[[Sequence[int]], str]

    def __getitem__(self, name: str) -> Sequence[str]:
        return self.values[name]

    def __len__(self) -> int:
        return len(next(iter(self.values.values()), ()))

    def __contains__(self, name: object) -> bool:
        return name in self.values


@dataclass(frozen=True)
class Attribute:
    """Codes ``(n,)`` int64 (-1: missing), the names of the values that occur, and the attribute's own name."""

    codes: np.ndarray
    names: tuple[str, ...]
    title: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(table_names(self.names)))


def read_attribute(columns: Columns, expression: str, parameter: str) -> Attribute:
    """Return the attribute that an expression names.

    ``column`` takes the column's values; ``column:0-18,19-40,41-`` puts numbers into bins, both ends included,
    and leaves numbers outside them missing; ``a*b`` crosses two or more of these. A column may have ``*`` or
    ``:`` in its own name.

    Args:
        columns: the source's columns.
        expression: as above.
        parameter: what to set instead, for messages.

    Raises:
        DataError: no such column, or text where numbers are to be binned.
        ParameterError: the expression cannot be read.
    """
    terms = [expression] if expression in columns else [term.strip() for term in expression.split("*")]
    attribute = _term(columns, terms[0], parameter)
    for term in terms[1:]:
        attribute = _cross(attribute, _term(columns, term, parameter))
    return attribute


def _term(columns: Columns, term: str, parameter: str) -> Attribute:
    if term in columns:
        codes, names = _encode_filled(columns[term])
        _warn_of_spellings(columns, term, names)
        return Attribute(codes, names, term)
    column, colon, bins = term.partition(":")
    column = column.strip()
    if column not in columns:
        known = columns.values
        raise DataError(
            f"{columns.origin} has no column {column!r}: {suggest(column, known)}"
            f"its columns: {', '.join(known)}; set {parameter} to one of them"
        )
    if not colon:
        raise ParameterError(f"{parameter}={term!r} cannot be read; write 'a', 'a*b' or 'a:0-18,19-'")
    return _binned(columns, column, _read_bins(bins, parameter))


def _encode_filled(values: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    names = natural_order({value for value in set(values) if value.lower() not in MISSING})
    codes = {name: code for code, name in enumerate(names)}
    return np.array([codes.get(value, -1) for value in values], dtype=np.int64), tuple(names)


def _warn_of_spellings(columns: Columns, column: str, names: Sequence[str]) -> None:
    """Warn of values that differ in writing alone: a person sees one group where there are two."""
    written: dict[str | float, list[str]] = {}
    for name in names:
        plain: str | float = unicodedata.normalize("NFC", name).casefold()
        with contextlib.suppress(ValueError):
            plain = float(plain)
        written.setdefault(plain, []).append(name)
    alike = [found for found in written.values() if len(found) > 1]
    if alike:
        listed = "; ".join(" and ".join(map(repr, found)) for found in alike[:3])
        warnings.warn(
            f"{columns.origin}: column {column!r} writes what may be one value in several ways, which count as "
            f"different: {listed}{'; ...' if len(alike) > 3 else ''}",
            FairkdWarning,
            stacklevel=2,
        )


def _read_bins(text: str, parameter: str) -> list[tuple[str, float, float]]:
    bins = []
    for part in (part.strip() for part in text.split(",")):
        match = _RANGE.fullmatch(part)
        if not match or not (match["low"] or match["high"]):
            raise ParameterError(
                f"{parameter}: the bin {part!r} cannot be read; write ranges such as 0-18,19-40,41-"
            )
        low = float(match["low"]) if match["low"] else -math.inf
        high = float(match["high"]) if match["high"] else (math.inf if match["dash"] else low)
        bins.append((part, low, high))
    for (one, low, high), (other, next_low, next_high) in itertools.pairwise(bins):
        if low > high or next_low > next_high or next_low <= high:
            raise ParameterError(f"{parameter}: the bins {one!r} and {other!r} must ascend without overlap")
    if bins[0][1] > bins[0][2]:
        raise ParameterError(f"{parameter}: the bin {bins[0][0]!r} must ascend")
    return bins


def _binned(columns: Columns, column: str, bins: list[tuple[str, float, float]]) -> Attribute:
    numbers = np.full(len(columns[column]), np.nan)
    for row, value in enumerate(columns[column]):
        try:
            numbers[row] = np.nan if value.lower() in MISSING else float(value)
        except ValueError:
            raise DataError(
                f"{columns.origin}: column {column!r} holds {value!r} in {columns.place([row])}, which is no "
                "number; bins need numbers"
            ) from None
    codes = np.full(len(numbers), -1, dtype=np.int64)
    for code, (_, low, high) in enumerate(bins):
        codes[(numbers >= low) & (numbers <= high)] = code
    return _occurring(Attribute(codes, tuple(name for name, _, _ in bins), column))


def _cross(one: Attribute, other: Attribute) -> Attribute:
    codes = np.where((one.codes < 0) | (other.codes < 0), -1, one.codes * len(other.names) + other.codes)
    names = tuple(f"{a} × {b}" for a in one.names for b in other.names)
    return _occurring(Attribute(codes, names, f"{one.title} × {other.title}"))


def _occurring(attribute: Attribute) -> Attribute:
    """Drop the values that no row has: a group without a sample has no metric."""
    present = np.unique(attribute.codes[attribute.codes >= 0])
    codes = np.where(attribute.codes < 0, -1, np.searchsorted(present, attribute.codes))
    return Attribute(codes, tuple(attribute.names[code] for code in present), attribute.title)
