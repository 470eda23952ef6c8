"""Several class heads on one backbone during training, and how they become one answer at inference.

The classifier gives ``heads * classes`` scores; a readout turns them into ``classes`` logits. A mean of linear
heads is a linear head again: :func:`fold_heads` writes it back, so that the finished network is the plain one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fairkd.errors import ParameterError
from fairkd.models import Network

#: Stands for the infinite shift of a cell without samples, whose gradient would not be a number.
_NEVER = 1e4


class MeanReadout(nn.Module):
    """The mean of the heads' logits; the same prediction as their sum.

    Args:
        heads: number of heads.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, scores: Tensor) -> Tensor:
        """Return logits ``(batch, classes)`` of ``scores (batch, heads * classes)``."""
        return split_heads(scores, self.heads).mean(dim=1)


class PriorShiftReadout(nn.Module):
    """Class logits of a softmax over class x group, as if every cell were equally frequent.

    ``log Σ_g p(c, g | x) / p_train(c, g)``, up to a constant. A cell without training samples is left out.

    Source: Wang et al. 2020, https://arxiv.org/abs/1911.11834 (after Saerens et al. 2002).

    Args:
        cell_counts: ``(classes, groups)``, training samples of each cell.
    """

    log_prior: Tensor

    def __init__(self, cell_counts: Tensor) -> None:
        super().__init__()
        counts = cell_counts.T.double()
        prior = torch.where(counts > 0, (counts / counts.sum()).log(), _NEVER)
        self.register_buffer("log_prior", prior.float())

    def forward(self, scores: Tensor) -> Tensor:
        """Return logits ``(batch, classes)`` of ``scores (batch, groups * classes)``."""
        return (split_heads(scores, len(self.log_prior)) - self.log_prior).logsumexp(dim=1)


def split_heads(scores: Tensor, heads: int) -> Tensor:
    """Return ``scores (batch, heads * classes)`` as ``(batch, heads, classes)``."""
    parts: Tensor = scores.unflatten(1, (heads, -1))
    return parts


def add_heads(network: Network, heads: int, readout: nn.Module) -> None:
    """Repeat the network's classifier ``heads`` times, with the same initial weights, and add a readout.

    Raises:
        ParameterError: the network has a readout already, or its classifier is not linear.
    """
    if network.readout is not None:
        raise ParameterError("the network has several class heads already; only one method can add them")
    old = network.classifier
    if not isinstance(old, nn.Linear):
        raise ParameterError(
            f"several class heads need a linear classifier, and this network has {type(old).__name__}"
        )
    new = _empty_linear(old, heads * old.out_features)
    with torch.no_grad():
        new.weight.copy_(old.weight.repeat(heads, 1))
        if old.bias is not None:
            new.bias.copy_(old.bias.repeat(heads))
    network.replace_classifier(new)
    network.readout = readout


def fold_heads(network: Network) -> None:
    """Replace heads that are averaged by the one head that gives the same logits; other networks stay."""
    readout, old = network.readout, network.classifier
    if not isinstance(readout, MeanReadout) or not isinstance(old, nn.Linear):
        return
    new = _empty_linear(old, old.out_features // readout.heads)
    with torch.no_grad():
        new.weight.copy_(old.weight.unflatten(0, (readout.heads, -1)).mean(dim=0))
        if old.bias is not None:
            new.bias.copy_(old.bias.unflatten(0, (readout.heads, -1)).mean(dim=0))
    network.replace_classifier(new)
    network.readout = None


def _empty_linear(like: nn.Linear, outputs: int) -> nn.Linear:
    """Return a linear layer whose weights are still to be set; torch's generator is left alone."""
    new = nn.utils.skip_init(nn.Linear, like.in_features, outputs, bias=like.bias is not None)
    return new.to(like.weight)  # type: ignore[no-any-return]
