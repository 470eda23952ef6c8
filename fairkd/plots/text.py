"""Text on its way into a figure: escaped, shortened, wrapped; and readable names for models and metrics.

plotly reads a subset of HTML in every text it draws, and formulas between dollar signs. Class, group and file
names come from data, so each passes through :func:`escape` or through a function here that calls it.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fairkd.metrics.registry import METRICS as MEASURED
from fairkd.shown import decimals

#: Explains the arrows of :attr:`Metric.heading`.
ARROWS = "↑\xa0higher\xa0is\xa0better, ↓\xa0lower\xa0is\xa0better"

MODEL_LABELS = {
    "teacher": "teacher",
    "student_scratch": "student, from scratch",
    "student_kd": "student, KD",
    "student_fair": "student, mitigated",
}


@dataclass(frozen=True)
class Metric:
    """How a metric is written: its label, its unit, and which direction is better ("" where neither is)."""

    label: str
    unit: str
    better: Literal["higher", "lower", ""] = ""

    @property
    def heading(self) -> str:
        """The label with an arrow in the direction that is better: ``mean recall gap ↓``."""
        return self.label + {"higher": "\xa0↑", "lower": "\xa0↓", "": ""}[self.better]

    @property
    def direction(self) -> str:
        """Which direction is better, in words, or nothing."""
        return f"{self.better.capitalize()} is better" if self.better else ""


_MEASURED = {
    name: Metric(known.title, "ratio" if name.endswith("_ratio") else "share", known.better)
    for name, known in MEASURED.items()
}
METRICS = {
    **_MEASURED,
    "recall": Metric("recall", "share", "higher"),
    "train_loss": Metric("training loss", "loss", "lower"),
    "train_accuracy": Metric("training accuracy", "share", "higher"),
    "validation_accuracy": Metric("validation accuracy", "share", "higher"),
    "validation_recall_gap": Metric("validation recall gap", "share", "lower"),
    "validation_worst_group_accuracy": Metric("validation worst-group accuracy", "share", "higher"),
    "adversary_balanced_accuracy": Metric("balanced accuracy", "share"),
    "cramers_v": Metric("Cramér's V", "0 to 1"),
    "mutual_information": Metric("mutual information", "nats"),
    "normalized_mutual_information": Metric("normalised mutual information", "0 to 1"),
    "prediction_sensitivity": Metric("prediction sensitivity", "per unit of input", "lower"),
    "param_count": Metric("parameters", "count", "lower"),
    "macs": Metric("multiply-accumulates", "per image", "lower"),
    "latency_ms": Metric("latency", "ms per image", "lower"),
    "weights_mb": Metric("weights on disk", "MB", "lower"),
}


def escape(text: object) -> str:
    """Return ``text`` for plotly to show literally, on one line: ``<>&$`` become entities."""
    line = " ".join(str(text).split())
    # Without this plotly takes "$...$" for a formula and hands it to MathJax.
    return html.escape(line, quote=False).replace("$", "&#36;")


def shorten(text: object, limit: int) -> str:
    """Return ``text`` escaped, cut to ``limit`` characters with an ellipsis (the hover has all of it)."""
    line = " ".join(str(text).split())
    return escape(line if len(line) <= limit else line[: limit - 1].rstrip() + "…")


def wrap(text: object, width: int, max_lines: int | None = None) -> str:
    """Return ``text`` escaped and broken into lines of at most ``width`` characters, never at ``\\xa0``."""
    broken = textwrap.wrap(str(text), width, max_lines=max_lines, placeholder=" …")
    return "<br>".join(escape(line) for line in broken)


def model_label(name: object) -> str:
    """Return a model's readable label, not yet escaped: ``student_kd`` becomes ``student, KD``.

    What stands behind `` · `` is a setting and stays as it is: ``student_kd · adversary_weight=3``.
    """
    role, *setting = str(name).split(" · ", 1)
    return " · ".join([MODEL_LABELS.get(role, role.replace("_", " ")), *setting])


def metric(name: object) -> Metric:
    """Return how to write a metric. An unknown one gets its own name, without unit or direction."""
    return METRICS.get(str(name), Metric(str(name).replace("_", " "), "value"))


def number(value: float, digits: int = 3) -> str:
    """Write a number with a true minus sign; NaN as ``n/a``."""
    return decimals(value, digits)


def estimate(value: float, low: float = math.nan, high: float = math.nan, digits: int = 3) -> str:
    """Write a value with its interval where there is one: ``0.940 [0.912, 0.963]``."""
    interval = (
        "" if math.isnan(low) or math.isnan(high) else f" [{number(low, digits)}, {number(high, digits)}]"
    )
    return number(value, digits) + interval


def quantity(value: float) -> str:
    """Write a count or measure in three significant digits with a suffix: ``4.92 M``."""
    if math.isnan(value):
        return "n/a"
    for size, suffix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        # 999,500 rounds to "1000 k" in three digits, hence the half unit.
        if abs(value) >= size * 0.9995:
            return f"{_three_digits(value / size)}{suffix}"
    return _three_digits(value)


def lines(*parts: str) -> str:
    """Join the non-empty, already escaped ``parts`` of a hover text, one a line."""
    return "<br>".join(part for part in parts if part)


def count(n: float) -> str:
    """Write ``n = 1,234``, or nothing when n is not known."""
    return "" if math.isnan(n) else f"n = {n:,.0f}"


def line_count(texts: Iterable[str], width: int) -> int:
    """Return how many lines the tallest of ``texts`` takes when wrapped to ``width`` characters."""
    return max((1 + wrap(text, width).count("<br>") for text in texts), default=0)


def _three_digits(value: float) -> str:
    rounded = float(f"{value:.3g}")
    decimals = max(0, 2 - math.floor(math.log10(abs(rounded)))) if rounded else 0
    return f"{rounded:.{min(decimals, 4)}f}"
