"""Mitigations that act during training; ``create_mitigation`` makes one by name."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from fairkd.config import suggest
from fairkd.errors import ParameterError
from fairkd.mitigation.adversary import (
    Adversary,
    GradientProjection,
    GradientReversal,
    project_gradient,
    ramp,
    reverse_gradient,
)
from fairkd.mitigation.base import Mitigation

__all__ = [
    "Adversary",
    "GradientProjection",
    "GradientReversal",
    "Mitigation",
    "balanced_cell_weights",
    "check_mitigation",
    "create_mitigation",
    "list_mitigations",
    "project_gradient",
    "ramp",
    "reverse_gradient",
]

#: name -> (class, what it does, source)
_MITIGATIONS: dict[str, tuple[type[Mitigation], str, str]] = {
    "none": (Mitigation, "train as usual", ""),
    "gradient_reversal": (
        GradientReversal,
        "an adversary predicts the group; the student receives its gradient reversed",
        "https://arxiv.org/abs/1505.07818",
    ),
    "projection": (
        GradientProjection,
        "an adversary predicts the group; its direction is removed from the student's gradient",
        "https://arxiv.org/abs/1801.07593",
    ),
}


def list_mitigations() -> pd.DataFrame:
    """Return one row a mitigation: ``name, description, source``."""
    rows = [(name, description, source) for name, (_, description, source) in _MITIGATIONS.items()]
    return pd.DataFrame(rows, columns=["name", "description", "source"])


def check_mitigation(name: str) -> None:
    """Raise :class:`ParameterError` unless ``name`` is a mitigation."""
    if name not in _MITIGATIONS:
        raise ParameterError(
            f"mitigation={name!r} is unknown: {suggest(name, _MITIGATIONS)}allowed: {', '.join(_MITIGATIONS)}"
        )


def create_mitigation(name: str, *args: Any, **options: Any) -> Mitigation:
    """Make a mitigation by name; the arguments are those of :class:`Adversary`, ignored by ``none``.

    Raises:
        ParameterError: unknown name.
    """
    check_mitigation(name)
    kind = _MITIGATIONS[name][0]
    return kind(*args, **options) if issubclass(kind, Adversary) else kind()


def balanced_cell_weights(labels: Tensor, groups: Tensor, num_classes: int, num_groups: int) -> Tensor:
    """Return weights ``(classes, groups)`` proportional to 1 / n(class, group), with mean 1 over the samples.

    A cell without samples gets 0.

    Args:
        labels, groups: ``(n,)`` int64 of the training set.
    """
    cells = torch.bincount(labels * num_groups + groups, minlength=num_classes * num_groups).double()
    filled = cells > 0
    weights = torch.where(filled, len(labels) / (filled.sum() * cells.clamp_min(1)), 0.0)
    return weights.view(num_classes, num_groups).float()
