"""Trainers small enough for a test: 48 images of 16 pixels, two steps an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from fairkd.data.splits import Splits
from fairkd.distillers import Distiller, create_distiller
from fairkd.mitigation import Mitigation, create_mitigation
from fairkd.models import Network, Outputs, create_model
from fairkd.training import Step, Trainer, TrainingSettings, distill_step

#: The training that is interrupted and continued: two steps an epoch, four epochs.
INTERRUPTED: dict[str, Any] = {"mitigation": "gradient_reversal", "epochs": 4, "selection": "fairness"}


class Hint(Distiller):
    """A distiller with parameters of its own: the student's features, projected, against the teacher's."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.projector = nn.Linear(64, 64)

    def forward(self, student: Outputs, teacher: Outputs) -> torch.Tensor:
        return (self.projector(student.features) - teacher.features).pow(2).mean()


def make_network(seed: int = 1) -> Network:
    return create_model("resnet8_cifar", 3, image_size=16, seed=seed)


def make_trainer(
    splits: Splits,
    *,
    network: Network | None = None,
    teacher: Network | None = None,
    distiller: Distiller | None = None,
    step: Step | None = None,
    mitigation: str = "none",
    adversary_weight: float = 1.0,
    folder: Path | None = None,
    **settings: Any,
) -> Trainer:
    """Distillation at temperature 4 with a quarter of the weight on the labels."""
    distiller = distiller or create_distiller("kd", temperature=4.0)
    teacher = teacher or make_network(seed=7)
    settings = {"epochs": 2, "batch_size": 24, "augmentation": "crop", "seed": 5, **settings}
    return Trainer(
        network or make_network(),
        step or distill_step(teacher, distiller, distill_weight=0.75, task_weight=0.25),
        splits,
        TrainingSettings(**settings),
        mitigation=make_mitigation(mitigation, adversary_weight),
        extra=distiller,
        folder=folder,
        description="student fair",
    )


def make_mitigation(name: str, weight: float) -> Mitigation:
    return create_mitigation(name, 64, 3, 2, weight=weight, learning_rate=2e-3, seed=3)


def equal_states(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
