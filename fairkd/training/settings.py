"""How a network is trained, and what the training images look like to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fairkd.data.batches import AugmentedImages
from fairkd.data.splits import Splits
from fairkd.training.precision import Precision
from fairkd.training.selection import Rule


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained; the fields are those of :class:`fairkd.config.Experiment`."""

    epochs: int
    batch_size: int = 64
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_epochs: int = 1
    patience: int = 0
    selection: Rule = "accuracy"
    selection_tolerance: float = 0.01
    augmentation: str = "none"
    seed: int = 0
    device: str = "cpu"
    precision: Precision = "float32"
    compile: bool = False
    micro_batch: int | Literal["auto"] | None = None
    ema_decay: float = 0.0


def training_images(splits: Splits, settings: TrainingSettings) -> AugmentedImages:
    """Return the training images as a training with these settings sees them."""
    return AugmentedImages(
        splits.train,
        augmentation=settings.augmentation,
        seed=settings.seed,
        device=settings.device,
        fingerprint=splits.fingerprint,
    )
