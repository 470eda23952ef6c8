"""Sentences computed from differences over several training seeds."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from fairkd.analysis import across_seeds
from fairkd.metrics import METRICS
from fairkd.predictions import Predictions
from fairkd.shown import signed

_PARTS = {
    "seed_variance": "the seed's",
    "sample_variance": "the test sample's",
    "interaction_variance": "that of both together",
}


def compare_seeds(
    models: Sequence[Predictions], baselines: Sequence[Predictions], *, confidence: float
) -> list[str]:
    """Say what :func:`describe_seeds` says of the predictions of several seeds; of one, that it takes more.

    Args:
        models, baselines: predictions of students and of their teachers, seed by seed.
        confidence: nominal coverage of the intervals, (0, 1).
    """
    if len(models) < 2:
        return ["One seed cannot tell the seed's doing from the sample's: ask for more with `seeds`."]
    return describe_seeds(across_seeds(models, baselines, confidence=confidence))


def describe_seeds(
    table: pd.DataFrame, metrics: Sequence[str] = ("accuracy", "worst_group_accuracy", "recall_gap")
) -> list[str]:
    """Say what distillation changed over the seeds, and whose doing the variance of one seed's difference is.

    Args:
        table: :func:`fairkd.analysis.across_seeds`'s rows of students against their teachers.
        metrics: those to speak of, in this order.
    """
    overall = table[(table["class"] == "all") & (table["group"] == "all")].set_index("metric")
    sentences = []
    for name in metrics:
        row = overall.loc[name]
        if pd.isna(row["value"]):
            sentences.append(f"{METRICS[name].title.capitalize()} is undefined on these data.")
            continue
        limits = f"{signed(row['low'])} to {signed(row['high'])}"
        settled = row["low"] > 0 or row["high"] < 0
        verdict = (
            f"**{'more' if row['value'] > 0 else 'less'}** than the teacher's"
            if settled
            else "**not settled**"
        )
        sentences.append(
            f"{METRICS[name].title.capitalize()}, student − teacher: {signed(row['value'])} on average over "
            f"{row['seeds']} seeds, {limits} for new seeds and new test images: {verdict}.{_shares(row)}"
        )
    few = int(table["seeds"].min())
    if few < 5:
        sentences.append(
            f"{few} seeds say little of the seeds' spread: the shares are rough, the intervals wide."
        )
    return sentences


def _shares(row: pd.Series) -> str:
    total = sum(row[part] for part in _PARTS)
    if not total:
        return ""
    shares = ", ".join(f"{row[part] / total:.0%} {whose}" for part, whose in _PARTS.items())
    return f" Of the variance of one seed's difference is {shares}."
