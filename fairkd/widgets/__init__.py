"""Panels for notebooks. Each has a ``.static()`` twin and shows the command that reproduces its state."""

from fairkd.widgets.adversary_weight import AdversaryWeightPanel
from fairkd.widgets.bias_explorer import BiasExplorer
from fairkd.widgets.disagreement_browser import DisagreementBrowser
from fairkd.widgets.pareto_explorer import ParetoExplorer
from fairkd.widgets.preview import PreviewPanel
from fairkd.widgets.temperature import TemperaturePanel
from fairkd.widgets.training_panel import TrainingPanel

__all__ = [
    "AdversaryWeightPanel",
    "BiasExplorer",
    "DisagreementBrowser",
    "ParetoExplorer",
    "PreviewPanel",
    "TemperaturePanel",
    "TrainingPanel",
]
