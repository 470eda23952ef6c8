"""What the tests of distillers, mitigations and trainings share: their options, a toy network, batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fairkd.config import Experiment
from fairkd.data.batches import Batch
from fairkd.distillers import Context, Distiller, create_distiller, list_distillers
from fairkd.mitigation import Mitigation, Setup, create_mitigation, list_mitigations
from fairkd.models import Outputs

CLASSES, GROUPS, HIDDEN = 3, 2, 5

MITIGATIONS = list(list_mitigations()["name"])
#: Each mitigation, and the critic in both its forms.
ALL_MITIGATIONS = [*MITIGATIONS, "published_critic"]
#: Those with a part that trains against the network.
ADVERSARIES = [
    *("gradient_reversal", "projection", "uniform_confusion", "laftr"),
    *("recall_gap_critic", "published_critic"),
]
DISTILLERS = list(list_distillers()["name"])


def batch_of(labels: Sequence[int], groups: Sequence[int]) -> Batch:
    n = len(labels)
    return Batch(torch.zeros(n, 3, 8, 8), torch.tensor(labels), torch.tensor(groups), torch.arange(n))


def setup_of(
    counts: Tensor | None = None,
    *,
    classes: int = CLASSES,
    groups: int = GROUPS,
    feature_size: int = HIDDEN,
    seed: int = 0,
    **options: Any,
) -> Setup:
    """The parameters' defaults but for ``options``; as many samples in every cell unless ``counts`` are given."""
    if counts is None:
        counts = torch.full((classes, groups), 10)
    defaults = {**Experiment().values("mitigation"), "adversary_weight": 1.0}
    return Setup(counts, feature_size, {**defaults, **options}, seed)


def mitigation_of(name: str, setup: Setup) -> Mitigation:
    """Make a mitigation of ``ALL_MITIGATIONS``."""
    published = name == "published_critic"
    options = {**setup.options, "critic_published": published}
    setup = Setup(setup.cell_counts, setup.feature_size, options, setup.seed)
    return create_mitigation("recall_gap_critic" if published else name, setup)


class TwoLayers(nn.Module):
    """Four numbers to five features to logits, with a network's places for heads."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, HIDDEN), nn.Linear(HIDDEN, classes)
        self.readout: nn.Module | None = None

    @property
    def classifier(self) -> nn.Module:
        return self.second

    def replace_classifier(self, module: nn.Module) -> None:
        self.second = module

    def forward(self, x: Tensor) -> Outputs:
        features = torch.tanh(self.first(x))
        scores = self.second(features)
        logits = scores if self.readout is None else self.readout(scores)
        return Outputs(logits, features, features[:, :, None, None], scores)


def outputs_of_shapes(
    seed: int,
    batch: int,
    *,
    classes: int = CLASSES,
    dim: int = 8,
    grid: tuple[int, int] = (2, 2),
    heads: int = 1,
) -> Outputs:
    """Random outputs; with several heads the logits are their mean."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn((batch, heads * classes), generator=generator)
    features = torch.randn((batch, dim), generator=generator)
    maps = torch.randn((batch, dim, *grid), generator=generator)
    return Outputs(scores.unflatten(1, (heads, classes)).mean(dim=1), features, maps, scores)


def context_of(
    student: Outputs,
    teachers: Sequence[Outputs],
    *,
    class_means: Tensor | None = None,
    groups: int = GROUPS,
    seed: int = 0,
    **options: Any,
) -> Context:
    """The parameters' defaults but for ``options``."""
    classes, dim = teachers[0].logits.shape[1], teachers[0].features.shape[1]
    means = torch.arange(1.0, 1 + classes * dim).reshape(classes, dim) if class_means is None else class_means
    return Context(
        student=student,
        teachers=tuple(teachers),
        num_classes=classes,
        num_groups=groups,
        class_means=lambda: means,
        options={**Experiment().values("distillation"), **options},
        seed=seed,
    )


def distiller_of(spec: str, student: Outputs, teachers: Sequence[Outputs], **options: Any) -> Distiller:
    return create_distiller(spec, context_of(student, teachers, **options))
