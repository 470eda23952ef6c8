"""What a mitigation may change in a training step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairkd.data.batches import Batch
from fairkd.losses import Reduction
from fairkd.models import Network, Outputs


@dataclass(frozen=True)
class Setup:
    """What a mitigation is made from.

    ``cell_counts (classes, groups)`` int64: training samples of each cell; ``class_counts (classes,)`` int64: those
    of each class, with those that have no group; default: the cells' sums. ``feature_size``: of the network's
    pooled features. ``options``: the parameters that the mitigation reads, of :class:`fairkd.config.Experiment`.
    """

    cell_counts: Tensor
    feature_size: int
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    class_counts: Tensor | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return int(self.cell_counts.shape[0])

    @property
    def num_groups(self) -> int:
        """Number of groups."""
        return int(self.cell_counts.shape[1])


class Mitigation(nn.Module):
    """No mitigation; the base of the others.

    A training calls :meth:`prepare` once; a step calls :meth:`task_loss`, :meth:`reduce` where
    ``weighs_samples``, :meth:`losses` and then :meth:`backward`. Parameters of the mitigation itself (an
    adversary) are updated by an optimiser of their own, with ``learning_rate``. A sample whose group is
    missing has the group -1: it counts for the task, and for the mitigation it does not.
    """

    learning_rate: float | None = None
    #: Whether :meth:`reduce` needs the loss of every sample.
    weighs_samples = False

    def __init__(self, setup: Setup | None = None) -> None:
        super().__init__()

    def prepare(self, network: Network) -> None:
        """Change the network before it is trained, or before its trained weights are loaded."""

    def sampling_weights(self, labels: np.ndarray, groups: np.ndarray) -> np.ndarray | None:
        """Return how often each training sample ``(n,)`` shall be drawn, or ``None``: once an epoch."""
        return None

    def task_loss(
        self, outputs: Outputs, batch: Batch, *, label_smoothing: float = 0.0, reduction: Reduction = "mean"
    ) -> Tensor:
        """Return the loss that teaches the labels: a scalar, or ``(batch,)`` for ``reduction="none"``."""
        return F.cross_entropy(
            outputs.logits, batch.labels, label_smoothing=label_smoothing, reduction=reduction
        )

    def reduce(self, losses: Tensor, batch: Batch) -> Tensor:
        """Turn the losses of the samples ``(batch,)`` into the loss of the batch."""
        return losses.mean()

    def losses(self, outputs: Outputs, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return named terms of this step.

        ``adversary_loss`` is what the adversary minimises; other names are only logged.

        Args:
            outputs: what the network being trained computed for ``batch``.
            batch: with labels and groups.
            progress: share of the training done, [0, 1].
        """
        return {}

    def backward(self, task: Tensor, terms: dict[str, Tensor], network: nn.Module, progress: float) -> None:
        """Leave in ``.grad`` of the network and of the mitigation what their optimisers shall apply.

        Args:
            task: the task and distillation loss, a scalar.
            terms: what :meth:`losses` returned.
            network: the network being trained.
            progress: share of the training done, [0, 1].
        """
        task.backward()


def cell_counts(labels: np.ndarray, groups: np.ndarray, num_classes: int, num_groups: int) -> Tensor:
    """Return the samples of each cell ``(classes, groups)`` int64; a missing group (-1) counts nowhere.

    Args:
        labels, groups: ``(n,)`` int64.
    """
    known = groups >= 0
    cells = labels[known] * num_groups + groups[known]
    counts = np.bincount(cells, minlength=num_classes * num_groups)
    return torch.from_numpy(counts.reshape(num_classes, num_groups))


def balanced_weights(counts: Tensor) -> Tensor:
    """Return weights proportional to 1 / ``counts`` (any shape), with mean 1 over the samples counted.

    An empty entry gets 0.
    """
    filled = counts > 0
    weights = counts.sum() / (filled.sum() * counts.clamp_min(1).double())
    return torch.where(filled, weights, 0.0).float()
