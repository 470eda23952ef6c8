"""The optimiser and the learning rate over a training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Return the share of the peak learning rate: linear warm-up, then a cosine to 0.

    Args:
        progress: share of the training done, [0, 1].
        warmup: share of the training that is warm-up, [0, 1).
    """
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def make_optimizer(
    name: str, modules: Sequence[nn.Module], *, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return the optimiser ``adamw`` or ``sgd`` (Nesterov momentum 0.9), fused, for the modules' parameters."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    # Biases and normalisation are not decayed, as in timm.
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)
