"""Every metric with its reduction and the sentence that defines it, for tables to print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from fairkd.metrics import reductions
from fairkd.metrics.confusion import CellCounts, Floats

Better = Literal["lower", "higher", ""]


@dataclass(frozen=True)
class Metric:
    """A metric's description.

    Attributes:
        name: key in tables and in ``metrics.json``.
        title: the name in running text.
        better: which direction is better.
        definition: one sentence.
        reduce: from counts ``(...)`` to values ``(...)``; ``None`` where counts do not suffice.
        compares_groups: whether samples without a group are left out.
    """

    name: str
    title: str
    better: Better
    definition: str
    reduce: Callable[[CellCounts], Floats] | None
    compares_groups: bool = True


#: Metrics by name. All are computed on the same samples with the defaults of the public function of that
#: name; ``recall_gap_max`` is ``recall_gap(..., reduce="max")``.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy",
            "accuracy",
            "higher",
            "Share of the samples that are predicted correctly.",
            reductions.accuracy,
            compares_groups=False,
        ),
        Metric(
            "balanced_accuracy",
            "balanced accuracy",
            "higher",
            "Mean over the classes of the share of the class that is predicted correctly (recall).",
            reductions.balanced_accuracy,
            compares_groups=False,
        ),
        Metric(
            "worst_group_accuracy",
            "worst-group accuracy",
            "higher",
            "Smallest accuracy of a group.",
            reductions.worst_group_accuracy,
        ),
        Metric(
            "worst_cell_accuracy",
            "worst-cell accuracy",
            "higher",
            "Smallest accuracy of a class x group cell.",
            reductions.worst_cell_accuracy,
        ),
        Metric(
            "accuracy_gap",
            "accuracy gap",
            "lower",
            "Largest minus smallest accuracy of a group.",
            reductions.accuracy_gap,
        ),
        Metric(
            "recall_gap",
            "mean recall gap",
            "lower",
            "Mean over the classes of the largest minus the smallest recall of a group; zero gaps count.",
            partial(reductions.recall_gap, reduce="mean"),
        ),
        Metric(
            "recall_gap_max",
            "maximum recall gap",
            "lower",
            "Maximum over the classes of the largest minus the smallest recall of a group.",
            partial(reductions.recall_gap, reduce="max"),
        ),
        Metric(
            "equalized_odds_difference",
            "equalized odds difference",
            "lower",
            "Maximum over the classes, each against the rest, of the larger of two gaps between groups: "
            "that of the true and that of the false positive rate.",
            reductions.equalized_odds_difference,
        ),
        Metric(
            "equal_opportunity_difference",
            "equal opportunity difference",
            "lower",
            "Largest minus smallest recall of a group: of the second class if there are two, "
            "otherwise the maximum over the classes.",
            reductions.equal_opportunity_difference,
        ),
        Metric(
            "demographic_parity_difference",
            "demographic parity difference",
            "lower",
            "Largest minus smallest share of a group that is predicted as a class: the second class if "
            "there are two, otherwise the maximum over the classes.",
            reductions.demographic_parity_difference,
        ),
        Metric(
            "demographic_parity_ratio",
            "demographic parity ratio",
            "higher",
            "Smallest divided by largest share of a group that is predicted as a class: the second class if "
            "there are two, otherwise the minimum over the classes.",
            reductions.demographic_parity_ratio,
        ),
        Metric(
            "class_recall_ratio",
            "class recall ratio",
            "higher",
            "Mean recall of the classes divided by the best class's recall; groups play no part.",
            reductions.class_recall_ratio,
            compares_groups=False,
        ),
        Metric(
            "bias_amplification",
            "bias amplification",
            "lower",
            "Mean over the predicted classes of the largest group's share of the predictions, "
            "minus 1 / number of groups; meant for groups of equal size.",
            reductions.bias_amplification,
        ),
        Metric(
            "expected_calibration_error",
            "expected calibration error",
            "lower",
            "Mean distance between confidence and accuracy over 15 equally wide confidence bins, "
            "each weighted by its samples.",
            None,
            compares_groups=False,
        ),
    )
}
