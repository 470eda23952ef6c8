from __future__ import annotations

import importlib.metadata
import json
import random

import numpy as np
import pytest
import torch

from fairkd.reproducibility import VERSIONED_PACKAGES, environment, seed_everything, version_of


@pytest.fixture(autouse=True)
def restore_generators():
    before = torch.get_deterministic_debug_mode(), random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_deterministic_debug_mode(before[0])
    random.setstate(before[1])
    np.random.set_state(before[2])  # noqa: NPY002


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def test_the_seed_decides_all_three_generators():
    results = []
    for seed in (3, 3, 4):
        seed_everything(seed)
        results.append(draws())
    assert results[0] == results[1]
    assert all(one != other for one, other in zip(results[0], results[2], strict=True))


def test_the_largest_seed_is_allowed():
    seed_everything(2**31 - 1)


def test_deterministic_algorithms_are_asked_for_without_refusing_the_others():
    torch.set_deterministic_debug_mode("default")
    seed_everything(0)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()


def test_versions_are_those_installed():
    assert version_of("numpy") == np.__version__ == importlib.metadata.version("numpy")
    assert version_of("torch") == torch.__version__.split("+")[0]
    assert version_of("no-such-package-of-fairkd") is None


def test_the_environment_is_json_and_names_no_machine():
    described = environment()
    assert set(described) == {"python", "platform", "cpu_count", "packages"}
    assert tuple(described["packages"]) == VERSIONED_PACKAGES
    assert described["packages"]["fairkd"]
    assert json.loads(json.dumps(described)) == described
