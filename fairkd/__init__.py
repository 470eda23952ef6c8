"""fairkd: measure and reduce the bias inflation of knowledge distillation.

The names below are the public interface. They are imported on first use, so ``import fairkd`` is instant and
needs none of the optional packages.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Experiment": "config",
    "FairkdError": "errors",
    "FairkdWarning": "errors",
    "Predictions": "predictions",
    "TrainedModel": "recipes",
    "audit": "data.audit",
    "check_experiment": "recipes",
    "compare": "evaluation",
    "create_model": "models",
    "data_card": "report.data_card",
    "distill_student": "recipes",
    "evaluate": "evaluation",
    "findings": "evaluation",
    "list_datasets": "data",
    "list_distillers": "distillers",
    "list_mitigations": "mitigation",
    "load_dataset": "data",
    "load_splits": "recipes",
    "predict": "inference",
    "register_distiller": "distillers",
    "register_mitigation": "mitigation",
    "sweep": "sweeps",
    "temperature_study": "recipes",
    "train_student_alone": "recipes",
    "train_students": "recipes",
    "train_teacher": "recipes",
}
_MODULES = (
    "analysis",
    "data",
    "distillers",
    "export",
    "losses",
    "metrics",
    "mitigation",
    "plots",
    "training",
    "widgets",
)

__all__ = [
    "Experiment",
    "FairkdError",
    "FairkdWarning",
    "Predictions",
    "TrainedModel",
    "__version__",
    "analysis",
    "audit",
    "check_experiment",
    "compare",
    "create_model",
    "data",
    "data_card",
    "distill_student",
    "distillers",
    "evaluate",
    "export",
    "findings",
    "list_datasets",
    "list_distillers",
    "list_mitigations",
    "load_dataset",
    "load_splits",
    "losses",
    "metrics",
    "mitigation",
    "plots",
    "predict",
    "register_distiller",
    "register_mitigation",
    "sweep",
    "temperature_study",
    "train_student_alone",
    "train_students",
    "train_teacher",
    "training",
    "widgets",
]

if TYPE_CHECKING:
    from fairkd import (
        analysis,
        data,
        distillers,
        export,
        losses,
        metrics,
        mitigation,
        plots,
        training,
        widgets,
    )
    from fairkd.config import Experiment
    from fairkd.data import list_datasets, load_dataset
    from fairkd.data.audit import audit
    from fairkd.distillers import list_distillers, register_distiller
    from fairkd.errors import FairkdError, FairkdWarning
    from fairkd.evaluation import compare, evaluate, findings
    from fairkd.inference import predict
    from fairkd.mitigation import list_mitigations, register_mitigation
    from fairkd.models import create_model
    from fairkd.predictions import Predictions
    from fairkd.recipes import (
        TrainedModel,
        check_experiment,
        distill_student,
        load_splits,
        temperature_study,
        train_student_alone,
        train_students,
        train_teacher,
    )
    from fairkd.report.data_card import data_card
    from fairkd.sweeps import sweep


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"fairkd.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(f"fairkd.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'fairkd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
