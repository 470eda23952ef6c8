"""A network that somebody registered with timm is told by its layers and its code, not by its name."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from timm.models import register_model
from torch import nn

import fairkd
from fairkd.own_networks import own_network
from fairkd.recipes import train_teacher

# timm warns where a name is registered again.
pytestmark = pytest.mark.filterwarnings("ignore:Overwriting", "ignore:.*every epoch predicts")


class Tiny(nn.Module):
    def __init__(self, num_classes: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 4), activation())
        self.classifier = nn.Linear(8, num_classes)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        return self.body(images)

    def forward_head(self, maps: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        features = maps.mean(dim=(2, 3))
        return features if pre_logits else self.classifier(features)

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(images))


class Doubled(Tiny):
    """Other code with the same layers."""

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        return 2 * self.body(images)


def register(kind: type[Tiny] = Tiny, activation: type[nn.Module] = nn.ReLU) -> None:
    def own_tiny(pretrained: bool = False, num_classes: int = 10, **options: Any) -> Tiny:
        return kind(num_classes, activation)

    own_tiny.__module__ = __name__
    register_model(own_tiny)


def test_the_libraries_networks_are_told_by_their_versions():
    assert own_network("resnet18") is None
    assert own_network("resnet18.a1_in1k") is None
    assert own_network("resnet8_cifar") is None
    assert own_network("no such network") is None


def test_other_layers_and_other_code_are_another_network_and_the_generator_is_left_alone():
    found = []
    for kind, activation in ((Tiny, nn.ReLU), (Tiny, nn.Tanh), (Doubled, nn.ReLU), (Tiny, nn.ReLU)):
        register(kind, activation)
        before = torch.get_rng_state()
        found.append(own_network("own_tiny"))
        assert torch.equal(torch.get_rng_state(), before)
    assert None not in found and len(set(found)) == 3 and found[0] == found[3]


def test_another_process_finds_the_same_hash():
    program = "import test_own_networks as t; t.register(); print(t.own_network('own_tiny'))"
    said = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=__file__.rpartition("/")[0],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    register()
    assert said == [f"{own_network('own_tiny')}\n"] * 2


def test_of_a_plugin_s_network_the_whole_text_counts(tmp_path):
    path, found = tmp_path / "mine.py", []
    text = (
        "import test_own_networks as t\nfrom timm.models import register_model\nimport torch\nBETA = 1\n"
        "def own_plugged(pretrained=False, num_classes=10, **options):\n"
        "    return t.Tiny(num_classes, torch.nn.ReLU)\nregister_model(own_plugged)\n"
    )
    for code in (text, text.replace("BETA = 1", "BETA = 2"), text):
        path.write_text(code, encoding="utf-8")
        fairkd.Experiment(plugin=path)
        found.append(own_network("own_plugged"))
    assert None not in found and found[0] == found[2] != found[1]


def test_a_network_that_was_changed_is_trained_again(tiny_experiment, tiny_splits):
    experiment = tiny_experiment.replace(teacher="own_tiny", teacher_epochs=1)
    folders = []
    for activation in (nn.ReLU, nn.Tanh, nn.ReLU):
        register(activation=activation)
        folders.append(train_teacher(experiment, tiny_splits).folder)
    assert folders[0] != folders[1] and folders[0] == folders[2]
