"""What a network scores on the validation split after an epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairkd.metrics import reductions
from fairkd.metrics.confusion import CellCounts


def validation_scores(
    labels: np.ndarray,
    groups: np.ndarray,
    predicted: np.ndarray,
    num_classes: int,
    group_names: Sequence[str],
) -> dict[str, float]:
    """Return accuracy, mean recall gap, worst-group accuracy and ``accuracy[<group>]``, as plain floats.

    Args:
        labels, groups, predicted: integer codes ``(n,)``; a sample of group -1 (missing) counts for the
            accuracy alone.
        num_classes: number of classes.
        group_names: all groups; one without samples scores NaN.
    """
    counts = CellCounts.of_samples(labels, groups, predicted, num_classes, len(group_names))
    by_group = zip(group_names, counts.group_accuracy, strict=True)
    scores = {
        "accuracy": reductions.accuracy(counts),
        "recall_gap": reductions.recall_gap(counts),
        "worst_group_accuracy": reductions.worst_group_accuracy(counts),
        **{f"accuracy[{name}]": value for name, value in by_group},
    }
    return {name: float(value) for name, value in scores.items()}
