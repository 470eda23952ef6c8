"""The answers to a run's questions, computed from its paired differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fairkd.metrics import METRICS
from fairkd.shown import signed

#: What a supported rise, a supported fall, no settled sign, and no difference at all are called.
_INFLATION = (
    "The distilled student is **more biased** than its teacher",
    "The distilled student is **less biased** than its teacher",
    "Whether the distilled student is more biased than its teacher is **not settled** by these data",
    "The distilled student is **as biased** as its teacher",
)
_TEACHING = (
    "With the teacher the student's bias is **larger** than without",
    "With the teacher the student's bias is **smaller** than without",
    "Whether the teacher changed the student's bias, against training on labels, is **not settled** by these data",
    "With the teacher the student's bias is **the same** as without",
)
_REDUCTION = (
    "The mitigation **raised** the distilled student's bias",
    "The mitigation **reduced** the distilled student's bias",
    "Whether the mitigation changed the distilled student's bias is **not settled** by these data",
    "The mitigation left the distilled student's bias **unchanged**",
)
_ACCURACY = (
    "With the mitigation accuracy **rose**",
    "With the mitigation accuracy **fell**",
    "Whether accuracy changed with the mitigation is **not settled** by these data",
    "With the mitigation accuracy is **unchanged**",
)
_NO_MITIGATION = "**No mitigation** was asked for (mitigation=none)."


def conclude(
    inflation: pd.DataFrame,
    teaching: pd.DataFrame,
    reduction: pd.DataFrame | None = None,
    *,
    disparity: str = "recall_gap",
) -> list[str]:
    """Answer the report's questions: did the bias grow, was it the teacher, did the mitigation reduce it, at what cost?

    Args:
        inflation: the comparison of plain KD with the teacher.
        teaching: the comparison of plain KD with the student alone.
        reduction: the comparison of the mitigated student with plain KD; ``None``: there was no mitigation.
        disparity: the metric that stands for the bias.
    """
    questions = [(_INFLATION, inflation, disparity), (_TEACHING, teaching, disparity)]
    if reduction is not None:
        questions += [(_REDUCTION, reduction, disparity), (_ACCURACY, reduction, "accuracy")]
    sentences = []
    for words, table, metric in questions:
        rows = table[(table["class"] == "all") & (table["group"] == "all") & (table["metric"] == metric)]
        row = rows.iloc[0]
        undefined = f"the {METRICS[metric].title} is undefined on these samples"
        sentences.append(
            f"{words[_outcome(row)]}: {undefined if np.isnan(row['value']) else _difference(row)}."
        )
    return sentences if reduction is not None else [*sentences, _NO_MITIGATION]


def _outcome(row: Mapping[str, Any]) -> int:
    """0 for a supported rise, 1 for a supported fall, 2 where the sign is open, 3 for no difference at all."""
    if row["value"] == row["low"] == row["high"] == 0:
        return 3
    if not row["supported"]:
        return 2
    return 0 if row["value"] > 0 else 1


def _difference(row: Mapping[str, Any]) -> str:
    difference, low, high = (signed(row[name]) for name in ("value", "low", "high"))
    return (
        f"{METRICS[row['metric']].title} {row['baseline_value']:.3f} to {row['model_value']:.3f}, paired difference "
        f"{difference} ({100 * row['confidence']:g} % interval {low} to {high})"
    )
