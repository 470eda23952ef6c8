"""The headline of a run, from ``metrics.json``: what the report's first page and the command line show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairkd.errors import ArtifactError
from fairkd.plots.text import metric, model_label
from fairkd.shown import decimals
from fairkd.store import read_json

METRICS = "metrics.json"
#: Columns of the headline table, in this order, as far as the run has them; more would not fit a screen.
HEADLINE = (
    "accuracy",
    "worst_group_accuracy",
    "recall_gap",
    "equalized_odds_difference",
    "bias_amplification",
)


@dataclass(frozen=True)
class Cell:
    """A value with its interval; ``None`` where it could not be computed.

    ``supported`` is for differences: whether the interval excludes 0.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    supported: bool | None = None

    @property
    def text(self) -> str:
        """The value in three decimals; a difference has its sign."""
        sign = "+" if self.supported is not None and self.value is not None and self.value > 0 else ""
        return sign + _decimals(self.value)

    @property
    def interval(self) -> str:
        """``[low, high]``, or an empty string."""
        if self.low is None or self.high is None:
            return ""
        return f"[{_decimals(self.low)}, {_decimals(self.high)}]"


@dataclass(frozen=True)
class Column:
    """A metric: its name, label, which direction is better, its definition, and a cell for each row."""

    name: str
    label: str
    better: str
    definition: str
    cells: tuple[Cell, ...]

    def percent(self, number: float) -> float:
        """Return where ``number`` lies between the smallest and largest number of the column and zero."""
        numbers = [number for cell in self.cells for number in (cell.value, cell.low, cell.high)]
        known = [0.0, *(number for number in numbers if number is not None)]
        low, high = min(known), max(known)
        return round(100 * (number - low) / (high - low), 2) if high > low else 0.0


@dataclass(frozen=True)
class Table:
    """A row for each model or pair of models, and a column for each metric."""

    models: tuple[str, ...]
    labels: tuple[str, ...]
    columns: tuple[Column, ...]


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return ``metrics.json`` of a run folder, empty if the run has none yet.

    Raises:
        ArtifactError: the file is damaged, or is not the object with ``models`` that a run writes.
    """
    path = folder / METRICS
    if not path.is_file():
        return {}
    metrics = read_json(path)
    if not isinstance(metrics, dict) or not isinstance(metrics.get("models"), dict):
        raise ArtifactError(f"{path} has no object 'models'; delete it to have it made again")
    return metrics


def table(metrics: dict[str, Any], names: tuple[str, ...] | None = HEADLINE) -> Table:
    """Return the models by the metrics in ``names`` (``None``: all) that at least one model has."""
    costs = metrics.get("efficiency", {})
    models = {name: {**values, **costs.get(name, {})} for name, values in metrics.get("models", {}).items()}
    labels = [capital(model_label(name)) for name in models]
    return _table(list(models), labels, list(models.values()), names)


def differences(metrics: dict[str, Any], names: tuple[str, ...] | None = HEADLINE) -> Table:
    """Return the paired differences ``model − baseline`` as :func:`table` returns the models."""
    pairs: dict[tuple[str, str], dict[str, Any]] = {}
    for row in metrics.get("comparisons", []):
        entry = {**row, "value": row.get("difference"), "supported": bool(row.get("supported"))}
        pairs.setdefault((row["model"], row["baseline"]), {})[row["metric"]] = entry
    labels = [f"{capital(model_label(model))} − {model_label(baseline)}" for model, baseline in pairs]
    return _table([model for model, _ in pairs], labels, list(pairs.values()), names)


def _table(
    models: list[str], labels: list[str], rows: list[dict[str, Any]], names: tuple[str, ...] | None
) -> Table:
    present = list(dict.fromkeys(name for row in rows for name in row))
    wanted = present if names is None else [name for name in names if name in present]
    columns = [_column(name, [row.get(name) for row in rows]) for name in wanted]
    shown = tuple(column for column in columns if any(cell.value is not None for cell in column.cells))
    return Table(tuple(models), tuple(labels), shown)


def capital(text: str) -> str:
    """Return ``text`` with a capital first letter and the rest as it is."""
    return text[:1].upper() + text[1:]


def _column(name: str, entries: list[Any]) -> Column:
    known = metric(name)
    definitions = [
        str(entry["definition"]) for entry in entries if isinstance(entry, dict) and entry.get("definition")
    ]
    return Column(
        name=name,
        label=capital(known.label),
        better=known.better,
        definition=definitions[0] if definitions else "",
        cells=tuple(_cell(entry) for entry in entries),
    )


def _cell(entry: Any) -> Cell:
    if not isinstance(entry, dict):
        return Cell(_number(entry))
    value, low, high = (_number(entry.get(name)) for name in ("value", "low", "high"))
    return Cell(value, low, high, entry.get("supported"))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value == value else None


def _decimals(value: float | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:,.0f}".replace("-", "−") if abs(value) >= 1000 else decimals(value)
