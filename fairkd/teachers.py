"""Teachers as a student meets them: frozen, one or several, calibrated where that is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from fairkd.data.batches import Batch
from fairkd.models import Network, Outputs
from fairkd.predictions import Predictions
from fairkd.soft_labels import calibration_temperature

Calibration = Literal["none", "global", "group"]

#: Groups with fewer validation samples take the temperature of all.
MINIMUM_SAMPLES = 50


class Teachers(nn.Module):
    """Frozen networks that answer for a batch: always in evaluation mode, never with a gradient.

    Args:
        networks: the teachers; they are put into evaluation mode.
        answers: what is asked instead of each network, see
            :class:`~fairkd.training.teacher_cache.TeacherOutputs`; default: the networks.
        temperatures: one row a teacher, ``(teachers, groups + 1)``; logits are divided by the entry of the
            sample's group, the last where the group is missing. ``None``: they are left as they are.
    """

    temperatures: Tensor | None

    def __init__(
        self,
        networks: Sequence[Network],
        temperatures: Tensor | None = None,
        *,
        answers: Sequence[Callable[[Batch], Outputs]] | None = None,
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.answers = [functools.partial(_ask, one) for one in networks] if answers is None else answers
        self.register_buffer("temperatures", temperatures)
        self.eval()

    def train(self, mode: bool = True) -> Teachers:
        """Stay in evaluation mode, also as part of something that trains."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, batch: Batch) -> tuple[Outputs, ...]:
        """Return each teacher's outputs."""
        answers = [answer(batch) for answer in self.answers]
        if self.temperatures is not None:
            # A missing group is -1, and so finds the last entry.
            scales = self.temperatures[:, batch.groups, None]
            answers = [
                answer._replace(logits=answer.logits / scale)
                for answer, scale in zip(answers, scales, strict=True)
            ]
        return tuple(answers)


def _ask(network: Network, batch: Batch) -> Outputs:
    outputs: Outputs = network(batch.images)
    return outputs


def calibration_temperatures(validation: Predictions, kind: Calibration) -> Tensor:
    """Fit the temperatures ``(groups + 1,)`` that make a teacher's confidence right on validation data.

    Args:
        validation: the teacher's predictions.
        kind: ``"global"``: one temperature; ``"group"``: one a group with at least 50 samples, else the
            global one. The last entry is the global one.
    """
    count = len(validation.group_names)
    # Their constant a sample does not matter: logarithms serve as logits.
    logits, labels = np.log(np.clip(validation.probabilities, 1e-300, None)), validation.labels
    overall = calibration_temperature(logits, labels)
    fitted = np.full(count + 1, overall)
    if kind == "group":
        for group in range(count):
            rows = validation.groups == group
            if rows.sum() >= MINIMUM_SAMPLES:
                fitted[group] = calibration_temperature(logits[rows], labels[rows])
    return torch.from_numpy(fitted).float()
