"""A critic that learns how the recall of the groups differs in a batch, and passes the way to change it back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from fairkd.data.batches import Batch
from fairkd.errors import ParameterError
from fairkd.mitigation.adversary import ramp
from fairkd.mitigation.base import Mitigation
from fairkd.models import Outputs

_THRESHOLD = 0.5
_MARGIN = 0.01


class RecallGapCritic(Mitigation):
    """Reduce the recall gap that a critic predicts from the whole batch.

    The recall gap itself has no gradient. The critic reads logits, labels and groups of the batch and learns
    each class's signed gaps ``recall(class, group) − mean over the groups``, as they are in the batch. The
    network minimises ``weight`` × ramp(progress) × the mean over the classes of the predicted gaps' absolute
    sum, through a copy of the critic that it cannot change. Classes with fewer than two groups in the batch
    say nothing.

    Source: as meant by a Berkeley MIDS capstone of 2023; its exact form is :class:`PublishedCritic`. Gaps are
    kept a class: their signed mean, which the capstone predicts, is 0 where classes favour different groups.

    Args:
        num_classes, num_groups: of the data.
        weight: final strength of the pull on the network, at least 0.
        hidden: units of the hidden layers.
        learning_rate: of the critic's own optimiser.
        seed: of its initial weights.
    """

    def __init__(
        self,
        num_classes: int,
        num_groups: int,
        *,
        weight: float = 1.0,
        hidden: int = 64,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_groups, self.weight = num_classes, num_groups, weight
        self.learning_rate = learning_rate
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.sample = nn.Sequential(nn.Linear(2 * num_classes + num_groups, hidden), nn.ReLU())
            self.cell = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, logits: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
        """Return predicted signed gaps ``(classes, groups)``, in (-1, 1), 0 where the batch has no gap.

        Args:
            logits: ``(batch, classes)``.
            labels, groups: ``(batch,)`` int64, a missing group is -1.
        """
        known = (groups >= 0).to(logits.dtype)[:, None]
        groups = groups.clamp_min(0)
        described = [
            logits.softmax(dim=1),
            F.one_hot(labels, self.num_classes),
            F.one_hot(groups, self.num_groups),
        ]
        samples = self.sample(torch.cat([part.to(logits.dtype) for part in described], dim=1)) * known
        counts = self._cell_sums(known, labels, groups)
        cells = self._cell_sums(samples, labels, groups) / counts.clamp_min(1)
        scores: Tensor = self.cell(cells).squeeze(-1)
        return torch.tanh(self._deviations(scores, counts.squeeze(-1)))

    def gaps(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the batch's true signed gaps ``(classes, groups)``, and which classes have one ``(classes,)``."""
        known = (batch.groups >= 0).to(outputs.logits.dtype)
        groups = batch.groups.clamp_min(0)
        hits = (outputs.logits.detach().argmax(dim=1) == batch.labels) * known
        counts = self._cell_sums(known[:, None], batch.labels, groups).squeeze(-1)
        recalls = self._cell_sums(hits[:, None], batch.labels, groups).squeeze(-1) / counts.clamp_min(1)
        return self._deviations(recalls, counts), (counts > 0).sum(dim=1) >= 2

    def losses(self, outputs: Outputs, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return ``adversary_loss`` (the critic's squared error), ``predicted_gap`` and ``batch_gap``."""
        frozen = {name: tensor.detach() for name, tensor in self.state_dict(keep_vars=True).items()}
        inputs = outputs.logits.float()
        true, there = self.gaps(outputs, batch)
        predicted = self(inputs.detach(), batch.labels, batch.groups)
        pulled = functional_call(self, frozen, (inputs, batch.labels, batch.groups))
        error = (predicted - true).square().sum(dim=1)
        return {
            "adversary_loss": _mean_over(error, there),
            "predicted_gap": _mean_over(pulled.abs().sum(dim=1), there),
            "batch_gap": _mean_over(true.abs().sum(dim=1), there),
        }

    def backward(self, task: Tensor, terms: dict[str, Tensor], network: nn.Module, progress: float) -> None:
        pull = self.weight * ramp(progress) * terms["predicted_gap"]
        (task + pull + terms["adversary_loss"]).backward()

    def _cell_sums(self, values: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
        """Sum ``values (batch, k)`` by cell: ``(classes, groups, k)``."""
        sums = values.new_zeros(self.num_classes * self.num_groups, values.shape[1])
        sums = sums.index_add(0, labels * self.num_groups + groups, values)
        cells: Tensor = sums.unflatten(0, (self.num_classes, self.num_groups))
        return cells

    @staticmethod
    def _deviations(values: Tensor, counts: Tensor) -> Tensor:
        """Subtract from each cell the mean over its class's groups in the batch; 0 for absent cells."""
        there = (counts > 0).to(values.dtype)
        means = (values * there).sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True).clamp_min(1)
        return (values - means) * there


class PublishedCritic(Mitigation):
    """The capstone's critic as published, so that it can be compared: it cannot reduce what it measures.

    A critic reads the logits of one sample, the batch's first, and predicts through a sigmoid the batch's
    signed mean recall gap, which may be negative. The loss is multiplied by the constant ``max(1, weight ×
    (critic − 0.5 + 0.01) + 1)``: a larger step, in the same direction.

    Source: Berkeley MIDS capstone 2023; its weights are 0, 0.5, 1 and 2.

    Args:
        num_classes: of the data.
        num_groups: of the data; 2.
        weight: the capstone's w, at least 0.
        hidden: units of the hidden layer.
        learning_rate: of the critic's own optimiser.
        seed: of its initial weights.

    Raises:
        ParameterError: another number of groups.
    """

    def __init__(
        self,
        num_classes: int,
        num_groups: int,
        *,
        weight: float = 1.0,
        hidden: int = 64,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if num_groups != 2:
            raise ParameterError(
                f"critic_published=True is not possible with {num_groups} groups: the published critic compares "
                "two; use critic_published=False"
            )
        self._measure = [RecallGapCritic(num_classes, num_groups, hidden=1)]
        self.weight, self.learning_rate = weight, learning_rate
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Linear(num_classes, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Sigmoid()
            )

    def losses(self, outputs: Outputs, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return ``adversary_loss`` (squared error), ``predicted_gap`` and ``batch_gap``."""
        true, there = self._measure[0].gaps(outputs, batch)
        gap = _mean_over(true[:, 1] - true[:, 0], there)
        predicted = self.layers(outputs.logits.detach().float()[:1]).squeeze()
        return {
            "adversary_loss": (predicted - gap).square() * there.any(),
            "predicted_gap": predicted,
            "batch_gap": gap,
        }

    def backward(self, task: Tensor, terms: dict[str, Tensor], network: nn.Module, progress: float) -> None:
        critic = terms["predicted_gap"].detach().abs()
        factor = (self.weight * (critic - _THRESHOLD + _MARGIN) + 1).clamp_min(1)
        (task * factor + terms["adversary_loss"]).backward()


def _mean_over(values: Tensor, there: Tensor) -> Tensor:
    """Return the mean of ``values (n,)`` where ``there``, and 0 without any."""
    return (values * there).sum() / there.sum().clamp_min(1)
