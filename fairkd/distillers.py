"""Distillers: named recipes of losses that compare a student's outputs with its teacher's."""

from __future__ import annotations

import pandas as pd
from torch import Tensor, nn

from fairkd.config import suggest
from fairkd.errors import ParameterError
from fairkd.losses import kd_loss
from fairkd.models import Outputs


class Distiller(nn.Module):
    """Base class. A distiller owns the projectors it needs; they train with the student."""

    def forward(self, student: Outputs, teacher: Outputs) -> Tensor:
        """Return the distillation loss, a scalar."""
        raise NotImplementedError


class KD(Distiller):
    """Soft labels at a temperature (Hinton et al. 2015, https://arxiv.org/abs/1503.02531)."""

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student: Outputs, teacher: Outputs) -> Tensor:
        return kd_loss(student.logits, teacher.logits, temperature=self.temperature)


#: name -> (class, what it compares, source)
_DISTILLERS: dict[str, tuple[type[KD], str, str]] = {
    "kd": (KD, "softened class probabilities", "https://arxiv.org/abs/1503.02531"),
}


def list_distillers() -> pd.DataFrame:
    """Return one row a distiller: ``name, description, source``."""
    rows = [(name, description, source) for name, (_, description, source) in _DISTILLERS.items()]
    return pd.DataFrame(rows, columns=["name", "description", "source"])


def check_distiller(name: str) -> None:
    """Raise :class:`ParameterError` unless ``name`` is a distiller."""
    if name not in _DISTILLERS:
        raise ParameterError(
            f"distiller={name!r} is unknown: {suggest(name, _DISTILLERS)}allowed: {', '.join(_DISTILLERS)}"
        )


def create_distiller(name: str, *, temperature: float) -> Distiller:
    """Make a distiller by name.

    Raises:
        ParameterError: unknown name.
    """
    check_distiller(name)
    return _DISTILLERS[name][0](temperature)
