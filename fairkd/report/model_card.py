"""The model card: what an exported file is, how it was made, how it does for whom, and what that does not show.

After "Model Cards for Model Reporting" (Mitchell et al. 2019, arXiv 1810.03993), restricted to what can be computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fairkd.data.splits import Splits
from fairkd.metrics import METRICS
from fairkd.report.card import Card, plain, records

INTENDED_USE = (
    "Study of how distillation, mitigation and export change a classifier's decisions by group. Whether the model "
    "suits any other purpose has to be shown on data of that purpose, with the people whom it concerns."
)
_LIMITS = ("value", "low", "high")


class ModelCard(Card):
    """An exported model's card, written as ``<file>.json`` and ``<file>.html``."""

    kind = "model_card"


def model_card(
    splits: Splits,
    *,
    name: str,
    file: Mapping[str, Any],
    training: Mapping[str, Any],
    evaluation: pd.DataFrame,
    comparison: pd.DataFrame,
    changes: pd.DataFrame,
    efficiency: pd.DataFrame,
    findings: Sequence[str],
    limits: Sequence[str],
    versions: Mapping[str, Any],
    how_to_run: str,
) -> ModelCard:
    """Make the card of an exported model.

    Args:
        splits: the data.
        name: the model's name.
        file: facts of the file: name, format, size, SHA-256, what goes in and what comes out.
        training: everything that determined the weights, by name.
        evaluation: :func:`fairkd.evaluate`'s rows of two models, ``original`` and ``exported``.
        comparison: :func:`fairkd.compare`'s rows, exported − original.
        changes: what :func:`fairkd.export.changed_decisions` returned.
        efficiency: a row a model, as :func:`fairkd.efficiency.measure` names its values.
        findings: sentences computed from the above.
        limits: sentences computed from the above.
        versions: software and hardware of the audit, by name.
        how_to_run: Python code.
    """
    height, width = splits.image_size
    content = {
        "name": name,
        "file": dict(file),
        "training": dict(training),
        "data": {
            "name": splits.name,
            "fingerprint": splits.fingerprint,
            "licence": splits.facts.get("licence"),
            "image_size": {"height": height, "width": width},
            "label": {"name": splits.label_name, "values": list(splits.class_names)},
            "group": {"name": splits.group_name, "values": list(splits.group_names)},
            "images": {split: len(images) for split, images in splits.items()},
        },
        "metrics": _metrics(evaluation, comparison),
        "by_group": _by_group(evaluation, changes),
        "cells": _cells(evaluation),
        "efficiency": records(efficiency),
        "findings": list(findings),
        "limits": list(limits),
        "intended_use": INTENDED_USE,
        "versions": dict(versions),
        "how_to_run": how_to_run,
    }
    return ModelCard(plain(content))


def _metrics(evaluation: pd.DataFrame, comparison: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row a metric: both models' estimates and their paired difference."""
    differences = {row["metric"]: row for row in _rows(comparison, "all", "all")}
    models = {name: _rows(part, "all", "all") for name, part in evaluation.groupby("model", sort=False)}
    return [
        {
            "metric": row["metric"],
            "title": METRICS[row["metric"]].title,
            "better": METRICS[row["metric"]].better,
            "definition": row["definition"],
            "original": _estimate(row),
            "exported": _estimate(other),
            "difference": {
                **_estimate(differences[row["metric"]]),
                "supported": differences[row["metric"]]["supported"],
            },
        }
        for row, other in zip(models["original"], models["exported"], strict=True)
    ]


def _by_group(evaluation: pd.DataFrame, changes: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row a group, all first: both models' accuracy, and how many decisions changed."""
    accuracy = evaluation[(evaluation["metric"] == "accuracy") & (evaluation["class"] == "all")]
    found = {(row["model"], row["group"]): _estimate(row) for row in records(accuracy)}
    return [
        {**row, **{name: found.get((name, row["group"])) for name in ("original", "exported")}}
        for row in records(changes)
    ]


def _cells(evaluation: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row a class and group: both models' recall."""
    recall = evaluation[(evaluation["metric"] == "recall") & (evaluation["group"] != "all")]
    parts = {name: records(part) for name, part in recall.groupby("model", sort=False)}
    return [
        {
            **{key: row[key] for key in ("class", "group", "n")},
            "original": _estimate(row),
            "exported": _estimate(other),
        }
        for row, other in zip(parts["original"], parts["exported"], strict=True)
    ]


def _rows(table: pd.DataFrame, class_name: str, group: str) -> list[dict[str, Any]]:
    return records(table[(table["class"] == class_name) & (table["group"] == group)])


def _estimate(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _LIMITS}
