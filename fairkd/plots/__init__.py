"""Figures: pure functions from a tidy table (or arrays) to a :class:`plotly.graph_objects.Figure`.

They compute no metric. Every figure has axis titles with units and a title, draws the intervals it is given,
tells series apart by symbol and dash as well as colour, and shows text from data literally.
"""

try:
    import plotly.graph_objects as _  # noqa: F401
except ImportError as error:  # pragma: no cover
    raise ImportError("fairkd.plots needs plotly: pip install 'fairkd[notebooks]'") from error

from fairkd.plots.comparison import efficiency_bars, inflation_chart, metric_comparison
from fairkd.plots.curves import adversary_curves, training_curves
from fairkd.plots.data import (
    association_bars,
    attribute_shares,
    image_statistics,
    predictability_bars,
)
from fairkd.plots.dots import calibration_dots, disagreement_dots, flip_dots, leakage_dots, sensitivity_dots
from fairkd.plots.edge import decision_changes
from fairkd.plots.exemplars import exemplar_grid
from fairkd.plots.forest import inflation_forest
from fairkd.plots.heatmaps import by_group_heatmap, contingency_heatmap, recall_heatmap
from fairkd.plots.images import image_grid
from fairkd.plots.monitor import training_monitor
from fairkd.plots.pareto import pareto_front
from fairkd.plots.preview import preview_curve
from fairkd.plots.reliability import reliability_grid
from fairkd.plots.representation import group_distances, projection_scatter
from fairkd.plots.saliency import saliency_pairs
from fairkd.plots.soft_labels import reliability_diagram, softened_labels, temperature_entropy
from fairkd.plots.suspects import suspect_grid
from fairkd.plots.temperature import temperature_study
from fairkd.plots.text import escape, model_label
from fairkd.plots.theme import finish, group_styles, model_styles
from fairkd.plots.tradeoff import accuracy_versus_disparity, adversary_weight_curve

__all__ = [
    "accuracy_versus_disparity",
    "adversary_curves",
    "adversary_weight_curve",
    "association_bars",
    "attribute_shares",
    "by_group_heatmap",
    "calibration_dots",
    "contingency_heatmap",
    "decision_changes",
    "disagreement_dots",
    "efficiency_bars",
    "escape",
    "exemplar_grid",
    "finish",
    "flip_dots",
    "group_distances",
    "group_styles",
    "image_grid",
    "image_statistics",
    "inflation_chart",
    "inflation_forest",
    "leakage_dots",
    "metric_comparison",
    "model_label",
    "model_styles",
    "pareto_front",
    "predictability_bars",
    "preview_curve",
    "projection_scatter",
    "recall_heatmap",
    "reliability_diagram",
    "reliability_grid",
    "saliency_pairs",
    "sensitivity_dots",
    "softened_labels",
    "suspect_grid",
    "temperature_entropy",
    "temperature_study",
    "training_curves",
    "training_monitor",
]
