"""Adversaries that predict the group: gradient reversal and gradient projection, for many classes and groups."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairkd.data.batches import Batch
from fairkd.mitigation.base import Mitigation
from fairkd.models import Outputs

AdversaryInput = Literal["features", "logits"]


def ramp(progress: float) -> float:
    """Ganin's schedule 2 / (1 + exp(-10 p)) - 1, from 0 to 1 (https://arxiv.org/abs/1505.07818, section 4.3)."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return inputs.view_as(inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(inputs: Tensor, strength: float) -> Tensor:
    """Return ``inputs`` unchanged; the gradient that flows back is multiplied by ``-strength``.

    Source: Ganin et al. 2016, https://arxiv.org/abs/1505.07818.
    """
    return _Reverse.apply(inputs, strength)  # type: ignore[no-any-return]


def project_gradient(task: Tensor, adversary: Tensor, strength: float) -> Tensor:
    """Return ``g - proj_h(g) - w h`` for one parameter: g the task's gradient, h the adversary's, w the strength.

    The projection uses the Frobenius inner product of the whole tensor, whatever its number of dimensions, so
    that ``g - proj_h(g)`` is orthogonal to ``h``. Where ``h`` is zero there is nothing to project on.

    Source: Zhang et al. 2018, https://arxiv.org/abs/1801.07593, equation 1.
    """
    squared = (adversary * adversary).sum()
    coefficient = (task * adversary).sum() / torch.where(squared > 0, squared, 1.0)
    return task - (coefficient + strength) * adversary


class Adversary(Mitigation):
    """A two-layer network that reads the student's features or logits (and the label) and predicts the group.

    Without the label the student is pushed towards demographic parity, with it towards equalised odds.
    ``cell_weights (classes, groups)`` weigh its cross-entropy; weights proportional to 1 / n(class, group) keep
    it from winning by the prior of a skewed training set.

    Args:
        input_dim: size of the features or the number of classes for logits.
        num_classes, num_groups: of the data.
        reads: ``features`` or ``logits``.
        sees_label: whether the one-hot label is an input too.
        weight: final strength w of the adversary's pull on the student, at least 0; 0 leaves the student alone.
        cell_weights: ``(classes, groups)``, mean 1 over the training set; ``None``: every sample counts 1.
        penalty: weight of the gradient penalty that keeps the game from oscillating, at least 0; see
            :meth:`gradient_penalty`.
        hidden: units of the hidden layer.
        learning_rate: of the adversary's own optimiser.
        seed: of its initial weights.
    """

    cell_weights: Tensor

    def __init__(
        self,
        input_dim: int,
        num_classes: int,
        num_groups: int,
        *,
        reads: AdversaryInput = "features",
        sees_label: bool = True,
        weight: float = 1.0,
        cell_weights: Tensor | None = None,
        penalty: float = 1.0,
        hidden: int = 64,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_groups = num_classes, num_groups
        self.reads, self.sees_label, self.weight, self.penalty = reads, sees_label, weight, penalty
        self.learning_rate = learning_rate
        if cell_weights is None:
            cell_weights = torch.ones(num_classes, num_groups)
        self.register_buffer("cell_weights", cell_weights)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Linear(input_dim + (num_classes if sees_label else 0), hidden),
                nn.ReLU(),
                nn.Linear(hidden, num_groups),
            )

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return group logits ``(batch, groups)`` for ``inputs (batch, input_dim)`` and ``labels (batch,)``."""
        if self.sees_label:
            inputs = torch.cat([inputs, F.one_hot(labels, self.num_classes).to(inputs.dtype)], dim=1)
        return self.layers(inputs)  # type: ignore[no-any-return]

    def strength(self, progress: float) -> float:
        """The adversary's pull on the student at this point of the training."""
        return self.weight * ramp(progress)

    def read(self, outputs: Outputs, progress: float) -> Tensor:
        """Return what the adversary reads."""
        return outputs.features if self.reads == "features" else outputs.logits

    def losses(self, outputs: Outputs, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return ``adversary_loss``, ``adversary_penalty`` and, a cell, the adversary's hits and count."""
        inputs = self.read(outputs, progress).float()
        logits = self(inputs, batch.labels)
        known, groups = batch.groups >= 0, batch.groups.clamp_min(0)
        cells = batch.labels * self.num_groups + groups
        # float32 counts a batch exactly, and Apple's GPUs have no float64.
        hits = ((logits.detach().argmax(dim=1) == groups) & known).float()
        size = self.num_classes * self.num_groups
        return {
            "adversary_loss": self.group_loss(logits, batch.labels, groups, known),
            "adversary_penalty": self.penalty * self.gradient_penalty(inputs, batch.labels, groups, known),
            "adversary_hits": hits.new_zeros(size).index_add_(0, cells, hits),
            "adversary_count": hits.new_zeros(size).index_add_(0, cells, known.float()),
        }

    def group_loss(self, logits: Tensor, labels: Tensor, groups: Tensor, known: Tensor) -> Tensor:
        """Return what the adversary minimises: its cross-entropy, weighed by cell; a missing group counts 0.

        Divided by the whole batch, so that a sample pulls as much whoever else is in it.
        """
        weights = self.cell_weights[labels, groups] * known
        return (weights * F.cross_entropy(logits, groups, reduction="none")).mean()

    def gradient_penalty(self, inputs: Tensor, labels: Tensor, groups: Tensor, known: Tensor) -> Tensor:
        """Return half the mean squared gradient of the true group's centred logit with respect to the input.

        Without it the student and the adversary chase each other in circles and the adversary stays near
        certainty; with it the game converges. Multiplied by the input's variance, so that the scale of the
        features does not matter. It reaches the adversary's parameters only.

        Source: the R1 penalty of Mescheder et al. 2018, https://arxiv.org/abs/1801.04406.
        """
        if self.penalty == 0:
            return inputs.new_zeros(())
        inputs = inputs.detach().requires_grad_()
        logits = self(inputs, labels)
        centred = logits - logits.mean(dim=1, keepdim=True)
        true = (centred.gather(1, groups[:, None]) * known[:, None]).sum()
        (gradient,) = torch.autograd.grad(true, inputs, create_graph=True)
        scale = inputs.detach().var(dim=0, unbiased=False).sum()
        return 0.5 * scale * gradient.pow(2).sum(dim=1).mean()


class GradientReversal(Adversary):
    """Train the adversary and pull the student the other way in one backward pass.

    Loss: task + CE(adversary(reverse(student features), label), group); the student receives
    ``-weight * ramp(progress)`` times the adversary's gradient, the adversary its own in full.

    Source: Ganin et al. 2016, https://arxiv.org/abs/1505.07818; conditioning on the label as in Zhang et al. 2018.
    """

    def read(self, outputs: Outputs, progress: float) -> Tensor:
        return reverse_gradient(super().read(outputs, progress), self.strength(progress))

    def backward(self, task: Tensor, terms: dict[str, Tensor], network: nn.Module, progress: float) -> None:
        (task + terms["adversary_loss"] + terms["adversary_penalty"]).backward()


class GradientProjection(Adversary):
    """Remove from the student's gradient its component along the adversary's, then step against the adversary.

    Each parameter of the student receives :func:`project_gradient` of its task gradient and its gradient of the
    adversary's loss; the adversary receives its own.

    Source: Zhang et al. 2018, https://arxiv.org/abs/1801.07593.
    """

    def backward(self, task: Tensor, terms: dict[str, Tensor], network: nn.Module, progress: float) -> None:
        own = list(self.parameters())
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(
            terms["adversary_loss"] + terms["adversary_penalty"],
            parameters + own,
            retain_graph=True,
            allow_unused=True,
        )
        task.backward()
        for parameter, gradient in zip(own, gradients[len(parameters) :], strict=True):
            parameter.grad = gradient
        if self.weight == 0:
            return
        strength = self.strength(progress)
        for parameter, gradient in zip(parameters, gradients, strict=False):
            if gradient is not None and parameter.grad is not None:
                parameter.grad = project_gradient(parameter.grad, gradient, strength)
