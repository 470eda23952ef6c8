"""What became of a model on its way into a file: which decisions changed, for whom, and whether it is as fair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fairkd.evaluation import FEW_SAMPLES, compare, evaluate, findings, missing_groups
from fairkd.metrics.proportions import wilson_interval
from fairkd.predictions import Predictions, align

ORIGINAL, EXPORTED = "original", "exported"


@dataclass(frozen=True)
class ExportAudit:
    """The same test images through the original network and through the exported file.

    ``evaluation`` holds :func:`fairkd.evaluate`'s rows of both, ``comparison`` the paired differences exported −
    original, ``changes`` what :func:`changed_decisions` returns.
    """

    evaluation: pd.DataFrame
    comparison: pd.DataFrame
    changes: pd.DataFrame


def audit_export(original: Predictions, exported: Predictions, **options: Any) -> ExportAudit:
    """Compare an exported file's predictions with those of the network that it was made of.

    Args:
        original: the network's predictions.
        exported: the file's, on the same samples (:func:`fairkd.export.predict_exported`).
        options: of :func:`fairkd.evaluate`: ``replicates``, ``confidence``, ``bootstrap_seed``.

    Raises:
        DataError: the two do not cover the same samples.
    """
    models = {ORIGINAL: original, EXPORTED: exported}
    tables = [evaluate(one, model=name, **options) for name, one in models.items()]
    return ExportAudit(
        evaluation=pd.concat(tables, ignore_index=True),
        comparison=compare(models, baseline=ORIGINAL, **options),
        changes=changed_decisions(original, exported, confidence=options.get("confidence", 0.95)),
    )


def changed_decisions(
    original: Predictions, exported: Predictions, *, confidence: float = 0.95
) -> pd.DataFrame:
    """Count the samples that the exported file decides otherwise, for all and by group.

    Returns:
        Rows ``group, n, changed, share, low, high, lost, gained``: ``"all"`` first, then every group. ``share`` is
        ``changed / n`` with Wilson's interval, ``lost`` counts right decisions that became wrong, ``gained`` wrong
        ones that became right. Where samples share a unit (:class:`fairkd.Predictions`), the interval takes the
        units for its trials, so that it is not too narrow.

    Raises:
        DataError: the two do not cover the same samples.
    """
    pair = align({ORIGINAL: original, EXPORTED: exported})
    one, other = pair[ORIGINAL], pair[EXPORTED]
    right, still_right = one.predicted == one.labels, other.predicted == one.labels
    table = pd.DataFrame(
        {
            "changed": one.predicted != other.predicted,
            "lost": right & ~still_right,
            "gained": ~right & still_right,
            "unit": one.units,
        }
    )
    members = [("all", np.ones(len(one), bool))]
    members += [(name, one.groups == code) for code, name in enumerate(one.group_names)]
    rows = []
    for name, chosen in members:
        part = table[chosen]
        counts = {key: int(part[key].sum()) for key in ("changed", "lost", "gained")}
        share = counts["changed"] / len(part) if len(part) else float("nan")
        units = part["unit"].nunique()
        low, high = wilson_interval(np.array([share * units]), np.array([units]), confidence)
        rows.append({"group": name, "n": len(part), "share": share, "low": low[0], "high": high[0], **counts})
    return pd.DataFrame(rows)[["group", "n", "changed", "share", "low", "high", "lost", "gained"]]


def describe_export(audit: ExportAudit) -> list[str]:
    """Say what the export changed, for whom, and what the data leave open. Names are not escaped."""
    everyone, *groups = audit.changes.to_dict("records")
    sentences = [
        f"The exported file decides {everyone['changed']:,} of {everyone['n']:,} test images otherwise than the "
        f"original; right before and wrong now: {everyone['lost']:,}, wrong before and right now: "
        f"{everyone['gained']:,}."
    ]
    if not everyone["changed"]:
        return [*sentences, "What depends on decisions alone is the same.", *missing_groups(audit.comparison)]
    seen = [row for row in groups if row["n"]]
    spoken = {"model": {EXPORTED: "the exported file"}, "baseline": {ORIGINAL: "the original"}}
    return [*sentences, *map(_by_group, seen), *_apart(seen), *findings(audit.comparison.replace(spoken))]


def few_samples(audit: ExportAudit) -> list[str]:
    """Name the class x group cells with too few test images to say anything of their own recall."""
    rows = audit.evaluation
    cells = rows[(rows["metric"] == "recall") & (rows["model"] == ORIGINAL) & (rows["n"] < FEW_SAMPLES)]
    return [f"{row['class']} × {row['group']} ({row['n']})" for row in cells.to_dict("records")]


def _by_group(row: dict[str, Any]) -> str:
    percent = [f"{100 * row[name]:.1f}" for name in ("share", "low", "high")]
    return (
        f"{row['group']}: {row['changed']:,} of {row['n']:,} decisions changed, {percent[0]} % (interval "
        f"{percent[1]} to {percent[2]} %), {row['lost']:,} lost and {row['gained']:,} gained."
    )


def _apart(groups: list[dict[str, Any]]) -> list[str]:
    if len(groups) < 2:
        return []
    top, bottom = (pick(groups, key=lambda row: row["share"]) for pick in (max, min))
    if top["low"] > bottom["high"]:
        return [
            f"Decisions changed more often in {top['group']} than in {bottom['group']}: the intervals are apart."
        ]
    return ["The groups' intervals overlap: these data do not show that the export changed one group more."]
