"""Uniform confusion: the network is trained until the adversary cannot but guess."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from fairkd.data.batches import Batch
from fairkd.mitigation.adversary import Adversary
from fairkd.models import Outputs


class UniformConfusion(Adversary):
    """Push the adversary's prediction towards the uniform distribution over the groups.

    The adversary minimises its cross-entropy and leaves the network alone; the network minimises ``weight``
    × ramp(progress) × the cross-entropy of the uniform distribution with the adversary's prediction, and
    leaves the adversary alone.

    Source: Tzeng et al. 2015, https://arxiv.org/abs/1510.02192; on CIFAR-10S worse than doing
    nothing in Wang et al. 2020, https://arxiv.org/abs/1911.11834.
    """

    def read(self, outputs: Outputs, progress: float) -> Tensor:
        return super().read(outputs, progress).detach()

    def losses(self, outputs: Outputs, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the adversary's terms and ``confusion_loss``."""
        frozen = {name: tensor.detach() for name, tensor in self.state_dict(keep_vars=True).items()}
        inputs = super().read(outputs, progress).float()  # not detached: this term is the network's
        logits = functional_call(self, frozen, (inputs, batch.labels))
        known = (batch.groups >= 0).to(logits.dtype)
        confusion = -(F.log_softmax(logits, dim=1).mean(dim=1) * known).mean()
        return {**super().losses(outputs, batch, progress), "confusion_loss": confusion}

    def backward(self, task: Tensor, terms: dict[str, Tensor], network: nn.Module, progress: float) -> None:
        own = terms["adversary_loss"] + terms["adversary_penalty"]
        (task + self.strength(progress) * terms["confusion_loss"] + own).backward()
