"""Trainers small enough for a test: 48 images of 16 pixels, two steps an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from method_cases import context_of, mitigation_of, setup_of
from torch import Tensor, nn

from fairkd.data.splits import Splits
from fairkd.distillers import Distiller, create_distiller
from fairkd.mitigation import Mitigation
from fairkd.models import Network, create_model
from fairkd.recipes.setup import class_means, dry_outputs, training_counts
from fairkd.teachers import Teachers
from fairkd.training import Step, Trainer, TrainingSettings, distill_step

#: The training that is interrupted and continued: two steps an epoch, four epochs.
INTERRUPTED: dict[str, Any] = {"mitigation": "gradient_reversal", "epochs": 4, "selection": "fairness"}


class Tiny(nn.Module):
    """What fairkd needs of a timm network: one convolution, a pool and a classifier."""

    def __init__(self, channels: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.convolution = nn.Conv2d(3, channels, 3, stride=2)
            self.norm = nn.BatchNorm2d(channels)
            self.fc = nn.Linear(channels, 3)

    def forward_features(self, images: Tensor) -> Tensor:
        return torch.relu(self.norm(self.convolution(images)))

    def forward_head(self, hidden: Tensor, pre_logits: bool) -> Tensor:
        return hidden.mean(dim=(2, 3))

    def get_classifier(self) -> nn.Module:
        return self.fc


def tiny_network(channels: int, seed: int) -> Network:
    return Network(Tiny(channels, seed), [0.5] * 3, [0.25] * 3)


def make_network(seed: int = 1, name: str = "resnet8_cifar") -> Network:
    return create_model(name, 3, image_size=16, seed=seed)


def make_trainer(
    splits: Splits,
    *,
    network: Network | None = None,
    teachers: Sequence[Network] = (),
    distiller: str = "kd",
    distill_options: dict[str, Any] | None = None,
    step: Step | None = None,
    mitigation: str = "none",
    adversary_weight: float = 1.0,
    folder: Path | None = None,
    **settings: Any,
) -> Trainer:
    """Distillation at temperature 4 with a quarter of the weight on the labels."""
    network = network or make_network()
    networks = list(teachers) or [make_network(seed=7)]
    feature_size = dry_outputs(network, splits).features.shape[1]
    chosen = make_mitigation(mitigation, adversary_weight, splits, feature_size)
    chosen.prepare(network)
    distills = make_distiller(distiller, network, networks, splits, **(distill_options or {}))
    distills.prepare(network)
    settings = {"epochs": 2, "batch_size": 24, "augmentation": "crop", "seed": 5, **settings}
    return Trainer(
        network,
        step or distill_step(Teachers(networks), distills, chosen, distill_weight=0.75, task_weight=0.25),
        splits,
        TrainingSettings(**settings),
        mitigation=chosen,
        extra=distills,
        folder=folder,
        description="student fair",
    )


def make_mitigation(name: str, weight: float, splits: Splits, feature_size: int = 64) -> Mitigation:
    """Without balanced weights, which would be 1 in these data anyhow."""
    options = {"adversary_weight": weight, "adversary_balanced": False, "adversary_learning_rate": 2e-3}
    return mitigation_of(
        name, setup_of(training_counts(splits)[0], feature_size=feature_size, seed=3, **options)
    )


def make_distiller(
    spec: str, network: Network, teachers: Sequence[Network], splits: Splits, **options: Any
) -> Distiller:
    context = context_of(
        dry_outputs(network, splits),
        [dry_outputs(teacher, splits) for teacher in teachers],
        class_means=class_means(teachers[0], splits),
        groups=splits.num_groups,
        **options,
    )
    return create_distiller(spec, context)


def equal_states(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def assert_same(one: Trainer, history: pd.DataFrame, other: Trainer, other_history: pd.DataFrame) -> None:
    """The same weights, histories and optimisers' states, bit for bit."""
    columns = history.columns.drop("seconds")
    pd.testing.assert_frame_equal(history[columns], other_history[columns], check_exact=True)
    for part in ("network", "mitigation", "extra"):
        assert equal_states(getattr(one, part).state_dict(), getattr(other, part).state_dict()), part
    for part in ("optimizer", "mitigation_optimizer"):
        states = [getattr(trainer, part).state_dict()["state"] for trainer in (one, other)]
        assert all(equal_states(states[0][key], states[1][key]) for key in states[1]), part
