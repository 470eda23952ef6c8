"""What a mitigation may change in a training step."""

from __future__ import annotations

from torch import Tensor, nn

from fairkd.data.batches import Batch
from fairkd.models import Outputs


class Mitigation(nn.Module):
    """No mitigation; the base of the others.

    A training step calls :meth:`losses` and then :meth:`backward`. Parameters of the mitigation itself (an
    adversary) are updated by an optimiser of their own, with ``learning_rate``.
    """

    learning_rate: float | None = None

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
