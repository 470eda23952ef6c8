"""Panels for notebooks. Each has a ``.static()`` twin and shows the command that reproduces its state."""

from fairkd.widgets.adversary_weight import AdversaryWeightPanel
from fairkd.widgets.temperature import TemperaturePanel

__all__ = ["AdversaryWeightPanel", "TemperaturePanel"]
