"""Figures: pure functions from a tidy table (or arrays) to a :class:`plotly.graph_objects.Figure`.

They compute no metric. Every figure has axis titles with units and a title, draws the intervals it is given,
tells series apart by symbol and dash as well as colour, and shows text from data literally.
"""

try:
    import plotly.graph_objects as _  # noqa: F401
except ImportError as error:  # pragma: no cover
    raise ImportError("fairkd.plots needs plotly: pip install 'fairkd[notebooks]'") from error

from fairkd.plots.comparison import efficiency_bars, inflation_by_class, inflation_chart, metric_comparison
from fairkd.plots.curves import adversary_curves, training_curves
from fairkd.plots.data import (
    association_bars,
    attribute_shares,
    image_statistics,
    predictability_bars,
)
from fairkd.plots.heatmaps import by_group_heatmap, contingency_heatmap, recall_heatmap
from fairkd.plots.images import image_grid
from fairkd.plots.pareto import pareto_front
from fairkd.plots.soft_labels import reliability_diagram, softened_labels, temperature_entropy
from fairkd.plots.suspects import suspect_grid
from fairkd.plots.text import escape, model_label
from fairkd.plots.theme import PAGE_CSS, finish, group_styles, model_styles
from fairkd.plots.tradeoff import accuracy_versus_disparity, adversary_weight_curve

__all__ = [
    "PAGE_CSS",
    "accuracy_versus_disparity",
    "adversary_curves",
    "adversary_weight_curve",
    "association_bars",
    "attribute_shares",
    "by_group_heatmap",
    "contingency_heatmap",
    "efficiency_bars",
    "escape",
    "finish",
    "group_styles",
    "image_grid",
    "image_statistics",
    "inflation_by_class",
    "inflation_chart",
    "metric_comparison",
    "model_label",
    "model_styles",
    "pareto_front",
    "predictability_bars",
    "recall_heatmap",
    "reliability_diagram",
    "softened_labels",
    "suspect_grid",
    "temperature_entropy",
    "training_curves",
]
