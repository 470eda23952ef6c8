"""Every distiller with every mitigation, in the smallest training there is: two steps of a tiny network."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from method_cases import ALL_MITIGATIONS, DISTILLERS
from tiny_images import make_image_set
from torch import Tensor, nn
from training_cases import equal_states, make_trainer

from fairkd.data.splits import Splits
from fairkd.heads import fold_heads
from fairkd.models import Network

pytestmark = pytest.mark.filterwarnings("ignore:every epoch predicts:fairkd.errors.FairkdWarning")


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


def tiny(channels: int, seed: int) -> Network:
    return Network(Tiny(channels, seed), [0.5] * 3, [0.25] * 3)


@pytest.fixture(scope="module")
def splits() -> Splits:
    """Six training images of six cells, and as many without a group."""
    rng = np.random.default_rng(0)
    train, validation, test = (make_image_set(rng, 12, classes=3, groups=2, size=8) for _ in range(3))
    train = dataclasses.replace(train, groups=np.where(np.arange(12) < 6, train.groups, -1))
    train.groups[6:9] = [0, 1, 0]
    return Splits(
        name="matrix",
        train=train,
        validation=validation,
        test=test,
        class_names=("a", "b", "c"),
        group_names=("red", "green"),
        label_name="shape",
        group_name="colour",
        fingerprint="matrix",
        augmentation="crop",
    )


@pytest.mark.parametrize("mitigation", ALL_MITIGATIONS)
@pytest.mark.parametrize("distiller", [*DISTILLERS, "kd+0.5*rkd+hint"])
def test_every_distiller_trains_with_every_mitigation(splits, distiller, mitigation):
    if distiller == "co_advise" and mitigation.startswith("domain_"):
        pytest.skip("refused: each adds heads, see test_recipes")
    student, teachers = tiny(4, 1), [tiny(6, 2), tiny(6, 3), tiny(6, 4)]
    before = [{name: t.clone() for name, t in network.state_dict().items()} for network in teachers]
    first = {name: tensor.clone() for name, tensor in student.backbone.convolution.state_dict().items()}
    trainer = make_trainer(
        splits,
        network=student,
        teachers=teachers,
        distiller=distiller,
        distill_options={"ensemble_weights": "agre"},
        mitigation=mitigation,
        epochs=1,
        batch_size=6,
    )
    history = trainer.fit()
    assert len(trainer.stream) == 2
    logged = history.filter(like="train_").iloc[0].astype(float)
    assert np.isfinite(logged).all(), logged
    assert not equal_states(first, student.backbone.convolution.state_dict())
    assert all(equal_states(b, n.state_dict()) for b, n in zip(before, teachers, strict=True))
    fold_heads(student)
    assert (student.readout is None) == (mitigation != "domain_discriminative")
    assert torch.isfinite(student(torch.zeros(2, 3, 8, 8)).logits).all()
