"""Sentences on a preview: its order of the weights, and how well such orders agreed with full training."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pandas as pd

from fairkd.metrics import METRICS
from fairkd.shown import join_numbers

_COMPARED = ("recall_gap", "accuracy")
#: With fewer weights a rank correlation says nothing.
_FEWEST = 4
#: From this rank correlation on an order is worth reading.
_USEFUL = 0.7


def preview_agreement() -> dict[str, Any]:
    """Return what ``benchmarks/preview.py`` measured: the setting, the rank correlations and the latencies."""
    text = resources.files("fairkd.recipes").joinpath("preview_agreement.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def describe_preview(table: pd.DataFrame) -> list[str]:
    """Say how the preview orders the weights, how that agrees with students trained here, and what was measured.

    Args:
        table: rows ``source, adversary_weight, accuracy, recall_gap``, see :func:`fairkd.plots.preview_curve`.
    """
    seen = table[table["source"] == "preview"].sort_values("recall_gap", kind="stable")
    order = ", ".join(f"{row.adversary_weight:g} ({row.recall_gap:.3f})" for row in seen.itertuples())
    sentences = [f"Preview, weights from the smallest mean recall gap to the largest: {order}."]
    trained = table[table["source"] == "trained"].merge(
        seen, on="adversary_weight", suffixes=("_trained", "_preview")
    )
    if len(trained) >= _FEWEST:
        found = {name: rank_agreement(trained, f"{name}_preview", f"{name}_trained") for name in _COMPARED}
        sentences.append(f"Here, over {len(trained)} students trained in full: {_correlations(found)}.")
    measured = preview_agreement()
    means = {name: measured["weights"][name]["mean"] for name in _COMPARED}
    beyond = {name: measured["with_collapse"][name]["mean"] for name in _COMPARED}
    temperature = {name: measured["temperature"][name]["mean"] for name in _COMPARED}
    orders = min(temperature.values()) >= _USEFUL
    return [
        *sentences,
        f"Measured on {measured['dataset']}, {measured['seeds']} seeds, weights {join_numbers(measured['tried'])}: "
        f"{_correlations(means)}. With the weight {measured['collapse']:g}, where full trainings collapse, which no "
        f"preview shows: {_correlations(beyond)}. Temperatures {join_numbers(measured['temperatures'])}: "
        f"{_correlations(temperature)}; a preview {'orders' if orders else 'does not order'} temperatures.",
    ]


def rank_agreement(table: pd.DataFrame, first: str, second: str) -> float:
    """Return Spearman's rank correlation of two columns, NaN where one is constant."""
    return float(table[first].rank().corr(table[second].rank()))


def _correlations(values: dict[str, float]) -> str:
    parts = [f"{METRICS[name].title} {value:.2f}".replace("-", "−") for name, value in values.items()]
    return f"rank correlation with full training {', '.join(parts)}"
