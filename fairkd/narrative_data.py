"""Sentences computed from a data set's audit, for notebook 01 and for the data card."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from fairkd.data.audit import Audit
from fairkd.data.splits import Splits

#: With fewer test images than this in a cell, the card calls what can be measured there limited.
FEW_TEST_IMAGES = 20
#: A label probe that agrees with fewer labels than this says little about the others.
_TRUSTED_PROBE = 0.8
_SHOWN = 8


def describe_attributes(audit: Audit) -> list[str]:
    """Say how the training split divides over the values of each attribute, and what is missing."""
    sentences = []
    train = audit.attributes[audit.attributes["split"] == "train"]
    for attribute, rows in train.groupby("attribute", sort=False):
        known = rows[rows["value"].notna()].sort_values("n", ascending=False, kind="stable")
        parts = [f"{row['value']} {_percent(row['share'])}" for row in known.to_dict("records")]
        missing = int(rows.loc[rows["value"].isna(), "n"].sum())
        sentences.append(f"{attribute}, training split: {_listed(parts)}; missing in {missing:,} images.")
    return sentences


def describe_images(audit: Audit, split: str = "train") -> list[str]:
    """Say in which image statistic the groups' means lie apart."""
    table = audit.image_statistics
    sentences = []
    for statistic, rows in table[table["split"] == split].groupby("statistic", sort=False):
        rows = rows.dropna(subset=["value", "low"])
        if len(rows) < 2:
            continue
        top, bottom = rows.loc[rows["value"].idxmax()], rows.loc[rows["value"].idxmin()]
        overlap = top["low"] <= bottom["high"]
        sentences.append(
            f"Mean {statistic} is highest for {top['group']} ({top['value']:.3f}) and lowest for "
            f"{bottom['group']} ({bottom['value']:.3f}); their intervals {'overlap' if overlap else 'do not overlap'}."
        )
    return sentences or [f"The {split} split has fewer than two groups with images to compare."]


def describe_duplicates(audit: Audit) -> list[str]:
    """Say how many images occur more than once, where, and whether their labels agree."""
    sentences = []
    for kind, rows in audit.duplicates.groupby("kind", sort=False):
        found = rows[rows["pairs"] > 0]
        places = [
            f"{row['pairs']:,} within {row['split']}"
            if row["split"] == row["other_split"]
            else f"{row['pairs']:,} between {row['split']} and {row['other_split']}"
            for row in found.to_dict("records")
        ]
        if not places:
            sentences.append(f"No {_KINDS[str(kind)]} were found.")
            continue
        differ, apart = int(found["labels_differ"].sum()), int(found["groups_differ"].sum())
        sentences.append(
            f"Pairs of {_KINDS[str(kind)]}: {', '.join(places)}. The label differs within {differ:,} of them, the "
            f"group within {apart:,}."
        )
    return [*sentences, *_leaks(audit)]


def describe_odd_images(audit: Audit) -> str:
    """Say how many images show nothing, or next to nothing."""
    counts = audit.odd_images["finding"].value_counts()
    if counts.empty:
        return "No constant or nearly constant image was found."
    where = audit.odd_images["split"].value_counts()
    named = ", ".join(f"{n:,} in {split}" for split, n in where.items())
    return f"{_listed(f'{n:,} {finding}' for finding, n in counts.items())} images were found: {named}."


def describe_label_noise(audit: Audit) -> list[str]:
    """Say how many labels are suspect, and how far the probe can be trusted."""
    table = audit.label_noise
    row = table[table["by"] == "all"].iloc[0]
    if not row["n"]:
        return ["Label noise was not looked for: fewer than two classes have enough images."]
    accuracy = row["probe_accuracy"]
    trust = (
        "suspects are worth a look"
        if accuracy >= _TRUSTED_PROBE
        else "it errs so often that many suspects will be its own mistakes; give the audit a network's features"
    )
    sentences = [
        f"{row['suspects']:,} of {row['n']:,} training labels examined ({_percent(row['share'], 1)}, interval "
        f"{_percent(row['low'], 1)} to {_percent(row['high'], 1)}) are contradicted by a probe that did not see them.",
        f"The probe agrees with {_percent(accuracy)} of the labels: {trust}.",
    ]
    groups = table[(table["by"] == "group") & (table["n"] > 0)]
    if len(groups) > 1:
        parts = [f"{r['name']} {_percent(r['share'], 1)}" for r in groups.to_dict("records")]
        sentences.append(f"Share of suspects by group: {_listed(parts)}.")
    return sentences


def describe_limits(splits: Splits, audit: Audit) -> list[str]:
    """Name what these data cannot answer, or answer only with care; for the data card."""
    sentences = [*_small_cells(audit), *_missing(splits), *_associated(audit), *_leaks(audit)]
    contradicting = int(audit.duplicates["labels_differ"].sum())
    if contradicting:
        sentences.append(f"{contradicting:,} pairs of duplicates have different labels.")
    if len(audit.odd_images):
        sentences.append(describe_odd_images(audit))
    sentences += _doubtful_labels(audit)
    if "licence" not in splits.facts:
        sentences.append(
            "The licence is not known: find it before the data or models trained on them are shared."
        )
    return sentences or ["The audit found nothing to report here; it sees only what it was made to look for."]


_KINDS = {"exact": "identical images", "near": "near duplicates (candidates: look at them)"}


def _small_cells(audit: Audit) -> list[str]:
    test = audit.counts[(audit.counts["split"] == "test") & (audit.counts["n"] < FEW_TEST_IMAGES)]
    if test.empty:
        return []
    cells = [f"{c} × {g} ({n})" for c, g, n in test[["class", "group", "n"]].itertuples(index=False)]
    return [f"Cells with fewer than {FEW_TEST_IMAGES} test images: {_listed(cells)}."]


def _missing(splits: Splits) -> list[str]:
    missing = {split: n for split, n in splits.missing_groups().items() if n}
    if not missing:
        return []
    named = ", ".join(
        f"{n:,} of {len(images):,} in {s}" for s, images in splits.items() if (n := missing.get(s))
    )
    return [f"The group is missing: {named}. These images serve the task and are left out of group metrics."]


def _associated(audit: Audit) -> list[str]:
    table = audit.association[audit.association["statistic"] == "cramers_v"].set_index("split")["value"]
    sentences = []
    if table["train"] >= 0.3:
        sentences.append(
            f"Class and group go together in training (Cramér's V {table['train']:.2f}): a model can use the group "
            "as a shortcut."
        )
    if table["test"] >= 0.3:
        sentences.append(
            f"They go together in the test split too (Cramér's V {table['test']:.2f}): accuracy there does not tell "
            "a shortcut from the real thing."
        )
    return sentences


def _leaks(audit: Audit) -> list[str]:
    table = audit.duplicates
    rows = table[(table["split"] != "test") & (table["other_split"] == "test") & (table["images"] > 0)]
    return [
        f"{row['images']:,} of {row['n']:,} test images have {_TWINS[row['kind']]} in {row['split']}: scores on "
        f"them {'are' if row['kind'] == 'exact' else 'may be'} optimistic."
        for row in rows.to_dict("records")
    ]


def _doubtful_labels(audit: Audit) -> list[str]:
    row = audit.label_noise[audit.label_noise["by"] == "all"].iloc[0]
    if not row["n"]:
        return describe_label_noise(audit)
    if row["probe_accuracy"] < _TRUSTED_PROBE:
        return [
            f"How many labels are wrong is not known: the audit's probe agrees with {_percent(row['probe_accuracy'])} "
            "of them, too few to tell."
        ]
    if not row["suspects"]:
        return []
    return [f"{describe_label_noise(audit)[0]} None of them was checked by a person."]


_TWINS = {"exact": "an identical image", "near": "a near duplicate"}


def _listed(parts: Iterable[str]) -> str:
    parts = list(parts)
    return ", ".join(parts[:_SHOWN]) + (f" and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else "")


def _percent(share: float, digits: int = 0) -> str:
    return "n/a" if pd.isna(share) else f"{100 * np.float64(share):.{digits}f} %"
