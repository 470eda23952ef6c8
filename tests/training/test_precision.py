"""Which number format is the fastest is measured once, remembered, and measuring leaves no trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training_cases import equal_states, make_network, tiny_network

from fairkd.config import Experiment
from fairkd.data.splits import Splits
from fairkd.recipes import setup
from fairkd.training import fastest_precision
from fairkd.training import precision as module

SIZE = (16, 24)


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A memory of the test's own."""
    monkeypatch.setenv("FAIRKD_CACHE", str(tmp_path / "memory"))
    return tmp_path / "memory"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let bfloat16 be 1.3 times as fast, and record what is measured."""
    calls: list[Any] = []

    def speed_up(network: Any, shape: Any, device: Any, candidate: Any) -> float:
        calls.append((shape, device.type, candidate))
        return 1.3

    monkeypatch.setattr(module, "_speed_up", speed_up)
    return calls


def test_the_answer_is_remembered_in_a_file_that_says_what_was_measured(memory, measured):
    network = make_network()
    assert fastest_precision(network, SIZE, 8, "cpu") == "bfloat16"
    assert measured == [((8, 3, 16, 24), "cpu", "bfloat16")]
    (file,) = memory.iterdir()
    assert file.name.startswith("precision-") and file.suffix == ".json"
    assert json.loads(file.read_text()) == {
        "precision": "bfloat16",
        "measured": "bfloat16",
        "times_as_fast": 1.3,
    }
    file.write_text('{"precision": "float32"}')
    assert fastest_precision(make_network(seed=2), SIZE, 8, "cpu") == "float32", "the file is what counts"
    assert len(measured) == 1


def test_what_does_not_fit_into_memory_is_measured_on_a_smaller_batch(memory, monkeypatch):
    tried: list[int] = []

    def speed_up(network: Any, shape: Any, device: Any, candidate: Any) -> float:
        tried.append(shape[0])
        if shape[0] > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 1.3

    monkeypatch.setattr(module, "_speed_up", speed_up)
    fits = 9
    assert fastest_precision(make_network(), SIZE, 33, "cpu") == "bfloat16"
    assert tried == [33, 16, 8]
    fits = 0
    assert fastest_precision(make_network(), SIZE, 5, "cpu") == "float32", (
        "the training will say what is wrong"
    )
    fits, tried = 9, []
    monkeypatch.setattr(module, "_speed_up", lambda *_: make_network().nothing)
    with pytest.raises(AttributeError):
        fastest_precision(make_network(), SIZE, 6, "cpu")


@pytest.mark.parametrize("other", ["network", "size", "batch", "threads"])
def test_something_else_is_measured_on_its_own(memory, measured, other):
    fastest_precision(make_network(), SIZE, 8, "cpu")
    network = make_network(1, "resnet20_cifar") if other == "network" else make_network()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + (other == "threads"))
        fastest_precision(network, (16, 16) if other == "size" else SIZE, 9 if other == "batch" else 8, "cpu")
    finally:
        torch.set_num_threads(threads)
    assert len(measured) == len(list(memory.iterdir())) == 2


@pytest.mark.parametrize(
    ("ratio", "chosen"), [(0.4, "float32"), (1.0, "float32"), (1.249, "float32"), (1.25, "bfloat16")]
)
def test_a_shorter_format_must_be_a_quarter_faster(monkeypatch, ratio, chosen):
    assert module.ADVANTAGE == 1.25
    monkeypatch.setattr(module, "_speed_up", lambda *_: ratio)
    assert fastest_precision(make_network(), SIZE, 8, "cpu") == chosen


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"{}", b"\xff\xfe", b'{"precision": "int4"}', b'{"precision": 16}'],
    ids=repr,
)
def test_a_memory_that_cannot_be_read_is_measured_again_and_replaced(memory, measured, content):
    fastest_precision(make_network(), SIZE, 8, "cpu")
    (file,) = memory.iterdir()
    whole = file.read_bytes()
    file.write_bytes(content)
    assert fastest_precision(make_network(), SIZE, 8, "cpu") == "bfloat16"
    assert len(measured) == 2 and file.read_bytes() == whole


def test_without_a_place_to_remember_it_is_measured_each_time(memory, measured):
    memory.write_text("a file where the folder should be")
    assert [fastest_precision(make_network(), SIZE, 8, "cpu") for _ in range(2)] == ["bfloat16"] * 2
    assert len(measured) == 2


def test_measuring_changes_neither_the_network_nor_a_generator(monkeypatch):
    network = tiny_network(4, 1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state, formats = torch.get_rng_state(), []
    seconds = module._seconds

    def recorded(copied: Any, images: Any, labels: Any, chosen: Any) -> float:
        assert copied is not network and copied.training
        formats.append((tuple(images.shape), chosen))
        seconds(copied, images, labels, chosen)
        return 1.0

    monkeypatch.setattr(module, "_seconds", recorded)
    network.eval()
    assert fastest_precision(network, SIZE, 8, "cpu") == "float32"
    assert set(formats) == {((n, 3, 16, 24), chosen) for n in (2, 8) for chosen in ("float32", "bfloat16")}
    assert equal_states(before, network.state_dict()) and not network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("times", "ratio"),
    [
        # Three times a few images; then the batch, to warm up and in three pairs: the median of 2, 3 and 1.
        ([1, 9, 1, 9, 1, 2, 9, 9, 2, 1, 3, 1, 1, 1], 2.0),
        # Slower: nothing more is measured.
        ([1, 1, 1, 1, 1, 1, 9, 9, 7, 10], 0.7),
        # So slow on a few images, each time, that the batch is not tried.
        ([1, 9, 1, 4, 1, 5], 0.25),
    ],
)
def test_the_ratio_is_the_median_of_pairs_side_by_side(monkeypatch, times, ratio):
    left = [float(time) for time in times]
    monkeypatch.setattr(module, "_seconds", lambda *_: left.pop(0))
    found = module._speed_up(tiny_network(4, 1), (4, 3, 8, 8), torch.device("cpu"), "bfloat16")
    assert found == pytest.approx(ratio) and left == []


def test_a_device_without_a_candidate_is_not_measured(measured):
    assert fastest_precision(make_network(), SIZE, 8, "meta") == "float32" and measured == []


# In a recipe


def test_auto_is_measured_for_the_images_that_are_computed_at_once(tiny_splits: Splits, monkeypatch):
    asked = []

    def fastest(network: Any, image_size: Any, batch_size: int, device: str) -> str:
        asked.append((image_size, batch_size, device))
        return "bfloat16"

    monkeypatch.setattr(setup, "fastest_precision", fastest)
    setup._fastest_precision.cache_clear()
    experiment = Experiment(student="resnet8_cifar", batch_size=32)
    try:
        for options in ({}, {}, {"micro_batch": 8}):
            chosen = experiment.replace(**options)
            settings = setup.make_settings(chosen, "student", tiny_splits, "cpu")
            assert settings.precision == "bfloat16"
        assert asked == [((16, 16), 32, "cpu"), ((16, 16), 8, "cpu")]
        for name in ("float32", "bfloat16", "float16"):
            fixed = experiment.replace(precision=name)
            assert setup.make_settings(fixed, "student", tiny_splits, "cpu").precision == name
        assert len(asked) == 2
    finally:
        setup._fastest_precision.cache_clear()
