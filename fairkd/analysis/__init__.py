"""What distillation changed, for whom: analyses of predictions, logits and features beyond the table of metrics.

Every function takes predictions or arrays and returns a tidy table; none trains or plots.
"""

from __future__ import annotations

from fairkd.analysis.calibration import calibration_by_group, reliability
from fairkd.analysis.disagreement import disagreement, exemplars, modal
from fairkd.analysis.individual import counterfactual_flips, prediction_sensitivity
from fairkd.analysis.inflation import inflation
from fairkd.analysis.last_layer import retrain_last_layer
from fairkd.analysis.leakage import group_leakage
from fairkd.analysis.postprocess import calibrate_groups, optimize_thresholds
from fairkd.analysis.regroup import regroup
from fairkd.analysis.representation import class_geometry, group_mmd, project
from fairkd.analysis.saliency import saliency_maps, saliency_method
from fairkd.analysis.saliency_overlap import map_overlap, saliency_examples, saliency_overlap
from fairkd.analysis.seeds import across_seeds

__all__ = [
    "across_seeds",
    "calibrate_groups",
    "calibration_by_group",
    "class_geometry",
    "counterfactual_flips",
    "disagreement",
    "exemplars",
    "group_leakage",
    "group_mmd",
    "inflation",
    "map_overlap",
    "modal",
    "optimize_thresholds",
    "prediction_sensitivity",
    "project",
    "regroup",
    "reliability",
    "retrain_last_layer",
    "saliency_examples",
    "saliency_maps",
    "saliency_method",
    "saliency_overlap",
]
