"""What somebody registers by name is told by its code; a network, by its layers, too."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
import types
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from timm.models import register_model
from torch import nn

from fairkd.own_code import code_digest, own_network
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
    program = "import test_own_code as t; t.register(); print(t.own_network('own_tiny'))"
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


def test_a_network_that_was_changed_is_trained_again(tiny_experiment, tiny_splits):
    experiment = tiny_experiment.replace(teacher="own_tiny", teacher_epochs=1)
    folders = []
    for activation in (nn.ReLU, nn.Tanh, nn.ReLU):
        register(activation=activation)
        folders.append(train_teacher(experiment, tiny_splits).folder)
    assert folders[0] != folders[1] and folders[0] == folders[2]


CODE = """
import functools
from dataclasses import dataclass

@dataclass
class Config:
    beta: float = 2.0

CONFIG = Config()
SCALE, TABLE = 3.0, {"a": [1, 2]}

def helper(x):
    return x * SCALE

@functools.lru_cache
def cached(x):
    return x + 1

class Base:
    strength = 5
    @property
    def half(self):
        return self.strength / 2
    @staticmethod
    def start():
        return 0

class Mine(Base):
    def forward(self, x, power=2):
        # Inner functions count, and what they name.
        def inner(y):
            return helper(y) ** power + CONFIG.beta + TABLE["a"][0] + cached(1)
        return super().half + inner(x)
"""


def digest_of(code: str) -> str:
    module = types.ModuleType("written_by_somebody")
    with mock.patch.dict(sys.modules, {module.__name__: module}):
        exec(code, vars(module))
        return code_digest(functools.partial(module.Mine, factor=3))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("beta: float = 2.0", "beta: float = 2.5"),
        ("SCALE, TABLE = 3.0", "SCALE, TABLE = 4.0"),
        ('"a": [1, 2]', '"a": [2, 1]'),
        ("x * SCALE", "x / SCALE"),
        ("x + 1", "x - 1"),
        ("strength = 5", "strength = 6"),
        ("self.strength / 2", "self.strength / 3"),
        ("return 0", "return 1"),
        ("power=2", "power=3"),
        ("** power", "* power"),
    ],
)
def test_whatever_the_code_names_counts(old, new):
    assert digest_of(CODE) == digest_of(CODE) != digest_of(CODE.replace(old, new))


def test_comments_layout_and_what_is_not_named_do_not_count():
    other = (
        CODE.replace("# Inner functions count, and what they name.", "\n") + "\n\ndef unused():\n    pass\n"
    )
    assert digest_of(CODE) == digest_of(other)


def test_arrays_closures_partials_and_neighbours_count(tmp_path, monkeypatch):
    def made(value: Any) -> Any:
        return lambda: value

    pairs = [
        (torch.tensor([1, 2]), torch.tensor([1, 3])),
        (np.ones(2), np.ones(3)),
        (functools.partial(made, 1), functools.partial(made, 2)),
        ({1, 2}, {1, 3}),
        (nn.Linear(2, 2), nn.Linear(2, 3)),
    ]
    for first, second in pairs:
        assert code_digest(made(first)) == code_digest(made(first)) != code_digest(made(second))
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for text in ("VALUE = 1\n", "VALUE = 2\n"):
        (tmp_path / "neighbour.py").write_text(text, encoding="utf-8")
        neighbour = importlib.import_module("neighbour")
        found.append(code_digest(made(neighbour)))
    assert found[0] != found[1]
    assert code_digest(made(np)) == code_digest(made(np)) != code_digest(made(nn))


def test_a_thing_that_holds_itself_ends():
    loop: list[Any] = []
    loop.append(loop)
    assert code_digest(lambda: loop) == code_digest(lambda: loop)
