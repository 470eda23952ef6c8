"""How the main objects show themselves, a table in a notebook, a line elsewhere; numbers, lists and times as text."""

from __future__ import annotations

import html
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping


class Shown(ABC):
    """Shows itself by a few facts; a data class needs ``repr=False``, or its own lines take this one's place."""

    @abstractmethod
    def summary(self) -> dict[str, str]:
        """Return what a reader wants to know first, by name."""

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}: {value}" for name, value in self.summary().items())
        return f"<{type(self).__name__} {facts}>"

    def _repr_html_(self) -> str:
        return f"<p><strong>{type(self).__name__}</strong></p>{facts_html(self.summary())}"


def facts_html(facts: Mapping[str, str]) -> str:
    """Return names and values as a table of two columns; every text is escaped."""
    left = "text-align: left; padding: 2px 12px 2px 0; vertical-align: top"
    rows = "".join(
        f'<tr><th scope="row" style="{left}">{html.escape(name)}</th>'
        f'<td style="{left}">{html.escape(value)}</td></tr>'
        for name, value in facts.items()
    )
    return f"<table>{rows}</table>"


def first_of(names: Iterable[str], most: int = 10) -> str:
    """Return how many names there are and the first ones: ``3: red, green, blue``."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)}: {', '.join(names[:most])}{rest}"


def decimals(value: float | None, digits: int = 3) -> str:
    """Write a number with a true minus sign, and zero without one; NaN and None as ``n/a``."""
    if value is None or math.isnan(value):
        return "n/a"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """As :func:`decimals`, with a plus sign too; what rounds to zero has neither."""
    text = decimals(value, digits)
    return f"+{text}" if text[0].isdigit() and float(text) else text


def duration(seconds: float) -> str:
    """Write a time as ``40 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def join_numbers(values: Iterable[float]) -> str:
    """Write numbers one after another: ``0.3, 1, 10``."""
    return ", ".join(f"{value:g}" for value in values)


def table_names(names: Iterable[str]) -> list[str]:
    """Return names of classes or groups, ``all`` written differently: in tables it stands for all of them together."""
    return ["all (value)" if name == "all" else name for name in names]
