"""Sentences computed from results: what a notebook says is never something that a rerun could falsify."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fairkd.analysis.inflation import holm
from fairkd.config import Experiment
from fairkd.data.audit import Audit
from fairkd.data.splits import Splits
from fairkd.distillers import distiller_entries
from fairkd.evaluation import FEW_SAMPLES
from fairkd.metrics import METRICS
from fairkd.mitigation import mitigation_entry
from fairkd.pareto import fairest_near_best

#: Cramér's V from which an association is called weak, moderate, strong; Cohen 1988's w for two groups.
_STRENGTHS = ((0.1, "negligible"), (0.3, "weak"), (0.5, "moderate"), (np.inf, "strong"))


def say(*sentences: str) -> None:
    """Display sentences in a notebook, each on its own line; text from data is shown literally."""
    from IPython.display import Markdown, display

    if sentences:
        display(Markdown("\n".join(f"- {_literal(sentence)}" for sentence in sentences)))


def define(metrics: Iterable[str]) -> list[str]:
    """Give each metric's definition and say which direction is better."""
    return [
        f"**{METRICS[name].title}** ({METRICS[name].better} is better): {METRICS[name].definition}"
        for name in metrics
    ]


def describe_noise(evaluation: pd.DataFrame, metric: str = "recall_gap") -> list[str]:
    """Say what each model's disparity would be from sampling alone, if its errors favoured no group."""
    rows = evaluation[(evaluation["metric"] == metric) & (evaluation["class"] == "all")]
    if rows["value"].isna().all():
        return [f"The {METRICS[metric].title} is undefined on these samples: no two groups to compare."]
    return [
        f"{row['model']}: {METRICS[metric].title} {row['value']:.3f}; sampling alone would give about "
        f"{row['noise_floor']:.3f} to a model of the same accuracy whose errors favour no group."
        for row in rows[rows["group"] == "all"].to_dict("records")
    ]


def describe_counts(splits: Splits) -> list[str]:
    """Say how many samples there are, and which class x group cells are small or empty."""
    sizes = ", ".join(f"{len(images):,} {split}" for split, images in splits.items())
    counts = splits.counts()
    small = counts[counts["n"] < FEW_SAMPLES]
    sentences = [
        f"{splits.name}: {sizes} samples of {splits.num_classes} classes and {splits.num_groups} groups."
    ]
    for split, rows in small.groupby("split", sort=False):
        cells = [f"{c} × {g} ({n})" for c, g, n in rows[["class", "group", "n"]].itertuples(index=False)]
        shown = ", ".join(cells[:8]) + (f" and {len(cells) - 8} more" if len(cells) > 8 else "")
        sentences.append(
            f"In the {split} split {len(cells)} of {splits.num_classes * splits.num_groups} class × group cells "
            f"hold fewer than {FEW_SAMPLES} samples: {shown}."
        )
    return sentences


def describe_association(audit: Audit) -> list[str]:
    """Say how strongly label and group go together in each split."""
    rows = audit.association.pivot(index="split", columns="statistic", values="value")
    sentences = []
    for split in dict.fromkeys(audit.association["split"]):
        v, share = rows.loc[split, "cramers_v"], rows.loc[split, "normalized_mutual_information"]
        if np.isnan(v):
            sentences.append(f"{split}: one class or one group only, so that no association can be computed.")
            continue
        strength = next(name for limit, name in _STRENGTHS if v < limit)
        sentences.append(
            f"{split}: Cramér's V is {v:.2f} ({strength}); the label gives away {100 * share:.0f} % of the "
            "group's entropy."
        )
    return sentences


def describe_predictability(row: Mapping[str, Any]) -> str:
    """Say whether a linear probe reads the group from the pixels."""
    value, low, high, chance = (float(row[name]) for name in ("balanced_accuracy", "low", "high", "chance"))
    if np.isnan(value):
        return "The group cannot be probed: one split holds a single group."
    verdict = (
        "the group can be read from the pixels, so a network can use it as a shortcut"
        if low > chance
        else "this probe does not read the group from the pixels; a stronger one might"
    )
    return (
        f"A logistic regression on {row['source']} predicts {row['target']} with a balanced accuracy of "
        f"{value:.3f} ({low:.3f} to {high:.3f}), chance being {chance:.3f}: {verdict}."
    )


def describe_choice(experiment: Experiment) -> list[str]:
    """Say what the chosen distiller and mitigation do, and where they are from."""
    terms = [
        f"Distiller **{entry.name}**{f' (× {factor:g})' if factor != 1 else ''}: {entry.description}"
        f"{f', {_source(entry.url)}' if entry.source else ''}."
        for factor, entry in distiller_entries(experiment.distiller)
    ]
    chosen = mitigation_entry(experiment.mitigation)
    read = ", ".join(f"{name} = {getattr(experiment, name)}" for name in chosen.options)
    mitigation = f"Mitigation **{chosen.name}**: {chosen.description}"
    source = f", {_source(chosen.source)}" if chosen.source else ""
    return [*terms, f"{mitigation}{source}{f'; it reads {read}' if read else ''}."]


def describe_history(history: pd.DataFrame, name: str) -> str:
    """Say which epoch was kept and what it scored on validation data."""
    row = history[history["selected"]].iloc[0]
    gaps = history["validation_recall_gap"]
    if not row["epoch"]:
        return (
            f"{name}: taken as it is, without training, with a validation accuracy of {row['validation_accuracy']:.3f} "
            f"and a mean recall gap of {row['validation_recall_gap']:.3f}."
        )
    return (
        f"{name}: epoch {row['epoch']:.0f} of {len(history)} was kept, with a validation accuracy of "
        f"{row['validation_accuracy']:.3f} and a mean recall gap of {row['validation_recall_gap']:.3f} "
        f"(over the epochs {gaps.min():.3f} to {gaps.max():.3f})."
    )


def describe_adversary(history: pd.DataFrame) -> list[str]:
    """Say how well the adversary read the group at its best and at the end."""
    if "adversary_balanced_accuracy" not in history:
        return ["This student was trained without an adversary."]
    accuracy, chance = history["adversary_balanced_accuracy"], float(history["chance"].iloc[-1])
    last = float(accuracy.iloc[-1])
    where = (
        "close to chance"
        if abs(last - chance) < 0.05
        else "above chance"
        if last > chance
        else "below chance"
    )
    return [
        f"The adversary's balanced accuracy over class × group cells was at most {accuracy.max():.3f} (epoch "
        f"{history['epoch'].iloc[int(np.argmax(accuracy))]:.0f}) and {last:.3f} in the last epoch; chance is "
        f"{chance:.3f}.",
        f"At the end it is {where}; what this adversary cannot read, a stronger one may still read.",
    ]


def describe_temperature(calibration: float, temperature: float, entropies: pd.DataFrame) -> list[str]:
    """Say what calibrates the teacher, and how far the groups' entropies are apart at the chosen temperature."""
    rows = entropies[entropies["temperature"] == temperature].dropna(subset="entropy")
    need = "softening" if calibration > 1 else "sharpening"
    sentences = [
        f"On validation data the teacher is best calibrated at T = {calibration:.2f}: its probabilities need {need}."
    ]
    if len(rows) > 1:
        top, bottom = rows.loc[rows["entropy"].idxmax()], rows.loc[rows["entropy"].idxmin()]
        overlap = top["low"] <= bottom["high"]
        values = [f"{row['entropy']:.3f}" for row in (top, bottom)]
        sentences.append(
            f"At T = {temperature:g} the groups' mean entropies are equal to three decimals ({values[0]} nats)."
            if values[0] == values[1]
            else f"At T = {temperature:g} the mean entropy is largest for {top['group']} ({values[0]} nats) and "
            f"smallest for {bottom['group']} ({values[1]}); their intervals "
            f"{'overlap' if overlap else 'do not overlap'}."
        )
    return sentences


def choose_weight(table: pd.DataFrame, tolerance: float) -> float | None:
    """Return the weight with the smallest recall gap among those within ``tolerance`` of the best accuracy.

    Args:
        table: rows ``adversary_weight, accuracy, recall_gap, collapsed`` on validation data.
        tolerance: accuracy that may be given up, [0, 1].

    Returns:
        The smaller of two equally good ones; ``None`` where no recall gap is defined, as with one group, or every
        student has collapsed.
    """
    table = table[~table["collapsed"]].sort_values("adversary_weight")
    place = fairest_near_best(table["accuracy"].to_numpy(), table["recall_gap"].to_numpy(), tolerance)
    return None if place is None else float(table["adversary_weight"].iloc[place])


def describe_weights(table: pd.DataFrame, chosen: float, tolerance: float) -> list[str]:
    """Say which weight the rule would choose on validation data, and whether the run uses it."""
    best = choose_weight(table, tolerance)
    if best is None:
        why = "every student has collapsed" if table["collapsed"].all() else "no recall gap is defined"
        return [f"On the validation data {why}, so that the rule names no weight."]
    row = table.set_index("adversary_weight").loc[best]
    same = "the one this run uses" if best == chosen else f"not the one this run uses ({chosen:g})"
    return [
        f"Among the {len(table)} weights tried, the smallest validation recall gap within {tolerance:g} of the best "
        f"accuracy is at weight {best:g} (accuracy {row['accuracy']:.3f}, recall gap {row['recall_gap']:.3f}): {same}."
    ]


def describe_methods(
    summary: pd.DataFrame, chosen: str | None, front: Iterable[str], *, level: float = 0.05
) -> list[str]:
    """Say what a comparison of methods shows: plain KD, what the rule names, what is settled, what is not beaten.

    Args:
        summary: :func:`fairkd.comparison.summarize_methods`'s rows.
        chosen: the method that the rule names on validation data; ``None``: no recall gap is defined.
        front: the students that no other beats in both accuracy and recall gap.
        level: of the tests over several seeds, (0, 1).
    """
    summary = summary[summary["family"] != "co-teacher"]
    gaps = summary[summary["metric"] == "recall_gap"].set_index("method")
    accuracies = summary[summary["metric"] == "accuracy"].set_index("method")
    seeds = int(gaps["seeds"].iloc[0])
    over = f"Over {seeds} seed{'s' * (seeds != 1)}"
    collapsed = [
        f"{name} has collapsed: it predicts at most half of the classes with some seed, and takes no part in the "
        "choice."
        for name in gaps.index[gaps["collapsed"]]
    ]
    if gaps["collapsed"].drop("teacher").all():
        return collapsed
    if chosen is None:
        return [
            *collapsed,
            f"{over} plain KD has an accuracy of {accuracies.loc['kd', 'mean']:.3f}, its teacher "
            f"{accuracies.loc['teacher', 'mean']:.3f}.",
            "No recall gap is defined on these data: no class has two groups to compare.",
        ]
    kd, teacher = gaps.loc["kd", "mean"], gaps.loc["teacher", "mean"]
    others = gaps.drop(index=["teacher", "kd"])
    supported, how = (others["low"] > 0) | (others["high"] < 0), "with an interval that excludes 0"
    if others["p_value"].notna().all():
        supported = holm(others["p_value"].to_numpy()) <= level
        how = f"adjusted for {len(others)} comparison{'s' * (len(others) != 1)} by Holm's method"
    settled = {
        "a smaller": others.index[supported & (others["difference"] < 0)],
        "a larger": others.index[supported & (others["difference"] > 0)],
    }
    sentences = [
        f"{over} plain KD has a mean recall gap of {kd:.3f}, "
        f"{'above' if kd > teacher else 'not above'} its teacher's {teacher:.3f}.",
        f"On validation data the rule names **{chosen}**. On test data it has an accuracy of "
        f"{accuracies.loc[chosen, 'mean']:.3f} (plain KD {accuracies.loc['kd', 'mean']:.3f}) and a mean recall gap of "
        f"{gaps.loc[chosen, 'mean']:.3f} (plain KD {kd:.3f}).",
    ]
    for words, names in settled.items():
        listed = f": {', '.join(names)}" if len(names) else ""
        sentences.append(
            f"{len(names)} of {len(others)} other students have {words} recall gap than plain KD, {how}{listed}."
        )
    sentences.append(
        f"Not beaten in both mean accuracy and mean recall gap by any other student: {', '.join(front)}."
    )
    return [*sentences, *collapsed]


def _source(source: str) -> str:
    return f"arXiv {source.rpartition('/')[2]}" if re.search(r"\d{4}\.\d{4,5}$", source) else source


def _literal(sentence: str) -> str:
    """Escape what Markdown or HTML would interpret, but keep ``**bold**``."""
    escaped = re.sub(r"([\\`_\[\]|~#$])", r"\\\1", html.escape(sentence, quote=False))
    return re.sub(r"(?<!\*)\*(?!\*)", r"\\*", escaped)
