"""Sentences computed from the overlap of two networks' saliency maps."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fairkd.shown import signed

_METHODS = {"gradcam": "Grad-CAM", "integrated_gradients": "integrated gradients"}


def describe_saliency(table: pd.DataFrame, *, confidence: float = 0.95) -> list[str]:
    """Say how far teacher and student look at the same places, and for which group they do so less.

    Args:
        table: :func:`fairkd.analysis.saliency_overlap`'s rows.
        confidence: 1 minus the level at which the adjusted p-values are judged, (0, 1).
    """
    rows = table[table["metric"] == "top_overlap"].set_index("group")
    method = _METHODS[str(table["method"].iloc[0])]
    every = rows.loc[["all"]].iloc[0]
    if not every["n"]:
        return [f"The maps of {method} point nowhere for these networks, so that nothing can be compared."]
    sentences = [
        f"By {method}, the pixels that speak most for the true class overlap by {every['value']:.3f} "
        f"({every['low']:.3f} to {every['high']:.3f}) between teacher and student, over {every['n']} images; "
        f"unrelated maps would by about {every['chance']:.3f}."
    ]
    if every["undefined"]:
        counts = rows["undefined"].drop("all")
        by_group = ", ".join(f"{group} {n}" for group, n in counts.items())
        if (ungrouped := int(every["undefined"] - counts.sum())) > 0:
            by_group += f", without a group {ungrouped}"
        sentences.append(
            f"{every['undefined']} further images have a map that points nowhere, and are left out ({by_group})."
        )
    tested = rows[rows["p_adjusted"].notna()]
    if tested.empty:
        return [*sentences, "There are no two groups whose overlap could be compared."]
    less = tested[(tested["p_adjusted"] <= 1 - confidence + 1e-12) & (tested["difference"] < 0)]
    for group, row in less.iterrows():
        sentences.append(
            f"**For {group} the student looks elsewhere more** than for the other groups: the overlap is "
            f"{row['value']:.3f}, which is {np.abs(row['difference']):.3f} less (interval of the difference "
            f"{signed(row['difference_low'])} to {signed(row['difference_high'])})."
        )
    if less.empty:
        sentences.append(
            "Whether the student looks elsewhere for one of the groups is **not settled** by these images."
        )
    else:
        sentences.append("Such a difference may lie in what else the groups' images differ in.")
    return sentences
