"""Performance and fairness metrics: arrays in, a float or a table out, with numpy and pandas only.

Every count-based metric is a reduction of the same counts by class, group and prediction, and so is each of
its bootstrap replicates. ``METRICS`` describes them.
"""

from __future__ import annotations

from fairkd.metrics.calibration import (
    brier_score,
    debiased_calibration_error,
    expected_calibration_error,
    reliability_bins,
)
from fairkd.metrics.confusion import confusion
from fairkd.metrics.fairness import (
    bias_amplification,
    demographic_parity_difference,
    demographic_parity_ratio,
    equal_opportunity_difference,
    equalized_odds_difference,
    recall_gap,
)
from fairkd.metrics.performance import (
    accuracy,
    accuracy_gap,
    balanced_accuracy,
    by_class_and_group,
    by_group,
    class_recall_ratio,
    worst_cell_accuracy,
    worst_group_accuracy,
)
from fairkd.metrics.registry import METRICS, Metric

__all__ = [
    "METRICS",
    "Metric",
    "accuracy",
    "accuracy_gap",
    "balanced_accuracy",
    "bias_amplification",
    "brier_score",
    "by_class_and_group",
    "by_group",
    "class_recall_ratio",
    "confusion",
    "debiased_calibration_error",
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equal_opportunity_difference",
    "equalized_odds_difference",
    "expected_calibration_error",
    "recall_gap",
    "reliability_bins",
    "worst_cell_accuracy",
    "worst_group_accuracy",
]
