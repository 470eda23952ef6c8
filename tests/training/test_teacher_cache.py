"""Cached outputs are bit for bit the teacher's, or they are not used."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cached_teacher import ask
from full_disk import full_disk
from method_cases import DISTILLERS
from torch import Tensor
from training_cases import make_distiller, make_network

from fairkd.data.augment import apply, draw
from fairkd.data.batches import AugmentedImages, BatchStream
from fairkd.data.splits import Splits
from fairkd.errors import FairkdWarning, TrainingError
from fairkd.inference import inference_batch
from fairkd.models import Network
from fairkd.store import write_sealed
from fairkd.teachers import Teachers
from fairkd.training import CacheFolder, TeacherOutputs, teacher_cache

KINDS = ("logits", "features", "maps")
PLENTY = 10**9
#: Three batches of the 48 training images, the last one smaller.
CANONICAL = 20


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_cache, "inference_batch", lambda device: CANONICAL)


@pytest.fixture
def network() -> Network:
    return make_network(7)


@pytest.fixture
def cache(tmp_path: Path) -> CacheFolder:
    return CacheFolder(tmp_path / "cache", PLENTY)


def images_of(splits: Splits, **options: Any) -> AugmentedImages:
    options = {"augmentation": "crop+flip", "seed": 5, "fingerprint": splits.fingerprint, **options}
    return AugmentedImages(splits.train, **options)


@torch.no_grad()
def by_hand(network: Network, splits: Splits, epoch: int, kind: str = "crop+flip", seed: int = 5) -> Any:
    """Run the teacher over all training images, in the canonical batches: its outputs by name."""
    data = splits.train
    draws = draw(kind, torch.from_numpy(data.index), seed=seed, epoch=epoch)
    looks = apply(kind, torch.from_numpy(data.images.copy()), draws)
    answers = [network.eval()(part.permute(0, 3, 1, 2)) for part in looks.split(CANONICAL)]
    return {name: torch.cat([getattr(answer, name) for answer in answers]) for name in KINDS}


def calls_of(network: Network) -> list[int]:
    """Return a list to which the size of every batch of more than one image is added.

    One image shows how large the outputs are.
    """
    calls: list[int] = []
    network.register_forward_hook(
        lambda module, inputs, outputs: calls.append(len(inputs[0])) if len(inputs[0]) > 1 else None
    )
    return calls


def answers_of(teacher: TeacherOutputs, epoch: int, batch_size: int = 24, shuffle: bool = True) -> Any:
    """Ask for an epoch, batch by batch, and return the outputs in the images' order."""
    tables: dict[str, Tensor] = {}
    for batch in BatchStream(teacher.images, batch_size, shuffle=shuffle, seed=3).epoch(epoch):
        answer = teacher(batch)
        for kind in teacher.reads:
            part = getattr(answer, kind)
            table = tables.setdefault(kind, part.new_empty(len(teacher.images), *part.shape[1:]))
            table[batch.rows] = part
        unread = [name for name in answer._fields if name not in teacher.reads]
        assert all(getattr(answer, name).numel() == 0 for name in unread)
    return tables


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return bool(one) and all(torch.equal(table, other[kind]) for kind, table in one.items())


def files_of(cache: CacheFolder) -> list[Path]:
    return sorted(file for file in cache.path.glob("*/*") if file.suffix != ".lock")


# Bit for bit


@pytest.mark.parametrize("name", ["resnet8_cifar", "resnet10t", "test_vit"])
@pytest.mark.parametrize("reads", [("logits",), ("features",), ("maps",), KINDS])
def test_outputs_are_the_teacher_s_computed_read_or_without_a_cache(tiny_splits, cache, name, reads):
    network, images = make_network(7, name), images_of(tiny_splits)
    expected = [by_hand(network, tiny_splits, epoch) for epoch in (0, 1)]
    calls = calls_of(network)
    fresh = TeacherOutputs(network, images, reads, cache=cache)
    computed = [answers_of(fresh, epoch) for epoch in (0, 1)]
    assert calls == 2 * [20, 20, 8]
    again = TeacherOutputs(network, images_of(tiny_splits), reads, cache=cache)
    read = [answers_of(again, epoch) for epoch in (1, 0)][::-1]
    assert len(calls) == 6, "what is read is not computed"
    nowhere = TeacherOutputs(network, images, reads)
    without = [answers_of(nowhere, epoch) for epoch in (0, 1)]
    for epoch in (0, 1):
        assert set(computed[epoch]) == set(reads)
        for tables in (computed, read, without):
            assert equal(tables[epoch], expected[epoch])
    assert fresh.rounding_error == again.rounding_error == 0
    assert not equal(computed[0], computed[1])


@pytest.mark.parametrize(("batch_size", "shuffle"), [(7, True), (24, False), (48, True), (48, False)])
def test_the_student_s_batches_change_nothing_not_even_the_layout(
    tiny_splits, network, cache, batch_size, shuffle
):
    expected, images = by_hand(network, tiny_splits, 2), images_of(tiny_splits)
    layouts = set()
    for number in range(3):
        teacher = TeacherOutputs(network, images, KINDS, cache=cache if number else None)
        assert equal(answers_of(teacher, 2, batch_size, shuffle), expected)
        layouts.add(teacher(images.batch(torch.arange(5), 2)).maps.stride())
    assert len(layouts) == 1, "sums over the maps would differ in their last digits"


def test_another_kind_of_output_is_added_without_computing_the_first_again(tiny_splits, network, cache):
    images, expected = images_of(tiny_splits), by_hand(network, tiny_splits, 0)
    answers_of(TeacherOutputs(network, images, ["logits"], cache=cache), 0)
    (first,) = files_of(cache)
    changed = first.stat().st_mtime_ns
    assert equal(
        answers_of(TeacherOutputs(network, images, ["features", "logits"], cache=cache), 0), expected
    )
    assert len(files_of(cache)) == 2 and first.stat().st_mtime_ns == changed


def test_without_augmentation_one_epoch_stands_for_all(tiny_splits, network, cache):
    expected = by_hand(network, tiny_splits, 0, kind="none")
    calls = calls_of(network)
    for _ in range(2):
        teacher = TeacherOutputs(network, images_of(tiny_splits, augmentation="none"), cache=cache)
        for epoch in (0, 1, 7):
            assert equal(answers_of(teacher, epoch), expected)
    assert calls == [20, 20, 8] and len(files_of(cache)) == 1
    # Nothing depends on the seed then.
    other = TeacherOutputs(network, images_of(tiny_splits, augmentation="none", seed=6), cache=cache)
    assert equal(answers_of(other, 3), expected) and len(calls) == 3


def test_the_size_is_known_before_anything_is_computed(tiny_splits, network):
    one = sum(tensor.nbytes for tensor in by_hand(network, tiny_splits, 0).values())
    calls = calls_of(network)
    teacher = TeacherOutputs(network, images_of(tiny_splits), KINDS)
    assert teacher.size(4) == (one, 4 * one)
    assert TeacherOutputs(network, images_of(tiny_splits, augmentation="none"), KINDS).size(4) == (one, one)
    half = TeacherOutputs(network, images_of(tiny_splits), KINDS, output_type="float16")
    assert half.size(4) == (one // 2, 2 * one)
    assert calls == []


def test_a_batch_from_elsewhere_is_answered_by_the_network(tiny_splits, network):
    teacher = TeacherOutputs(network, images_of(tiny_splits))
    batch = dataclasses.replace(teacher.images.batch(torch.arange(6), 0), rows=None)
    with torch.no_grad():
        assert torch.equal(teacher(batch).logits, network(batch.images).logits)


def test_outputs_that_do_not_fit_into_memory_are_asked_for_batch_by_batch(
    tiny_splits, network, cache, monkeypatch
):
    expected = by_hand(network, tiny_splits, 1)
    size = sum(tensor.nbytes for tensor in expected.values())
    monkeypatch.setattr(teacher_cache, "TABLE_BYTES", size - 1)
    calls = calls_of(network)
    teacher = TeacherOutputs(network, images_of(tiny_splits), KINDS, cache=cache)
    batches = list(BatchStream(teacher.images, 24, shuffle=True).epoch(1))
    for batch in batches:
        answer = teacher(batch)
        for kind in KINDS:
            torch.testing.assert_close(
                getattr(answer, kind), expected[kind][batch.rows], rtol=1e-5, atol=1e-5
            )
    assert calls == [24, 24] and not cache.path.exists()
    monkeypatch.setattr(teacher_cache, "TABLE_BYTES", size)
    assert equal(answers_of(TeacherOutputs(network, images_of(tiny_splits), KINDS, cache=cache), 1), expected)


# What every distiller reads


_ON_MAPS = [(name, {"distill_from": "maps"}) for name in ("hint", "rkd", "similarity", "pkt")]
_ENSEMBLES = [("ensemble", {"ensemble_weights": rule}) for rule in ("confidence", "agre")]
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in DISTILLERS if name != "none"),
    *_ON_MAPS,
    *_ENSEMBLES,
    ("kd+0.5*rkd+attention", {}),
]


@pytest.mark.parametrize(("spec", "options"), CASES, ids=str)
def test_every_distiller_has_the_losses_that_live_teachers_give(tiny_splits, spec, options):
    networks = [make_network(7, "resnet10t"), make_network(8), make_network(9)]
    student, images = make_network(), images_of(tiny_splits)
    distiller = make_distiller(spec, student, networks, tiny_splits, **options)
    distiller.prepare(student)
    live, answers = Teachers(networks), [TeacherOutputs(n, images, distiller.teacher_reads) for n in networks]
    temperatures = torch.tensor([[2.0, 3.0, 4.0]] * 3)
    cached = Teachers(networks, answers=answers)
    calibrated = [Teachers(networks, temperatures), Teachers(networks, temperatures, answers=answers)]
    for batch in BatchStream(images, 16, shuffle=True).epoch(1):
        outputs = student(batch.images)
        for one, other in ((live, cached), calibrated):
            losses = [distiller(outputs, teachers(batch), batch, 0.5) for teachers in (one, other)]
            for name, value in losses[0].items():
                torch.testing.assert_close(losses[1][name], value, rtol=1e-5, atol=1e-5)


# A cache that does not match


def weights_changed(network: Network, splits: Splits) -> tuple[Network, AugmentedImages]:
    with torch.no_grad():
        network.backbone.fc.bias[0] += 1e-6
    return network, images_of(splits)


def statistics_changed(network: Network, splits: Splits) -> tuple[Network, AugmentedImages]:
    network.mean += 0.001
    return network, images_of(splits)


def running_mean_changed(network: Network, splits: Splits) -> tuple[Network, AugmentedImages]:
    norm = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    norm.running_mean += 0.1
    return network, images_of(splits)


def stride_changed(network: Network, splits: Splits) -> tuple[Network, AugmentedImages]:
    convolution = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    convolution.stride = (2, 2)
    return network, images_of(splits)


def index_changed(network: Network, splits: Splits) -> tuple[Network, AugmentedImages]:
    train = dataclasses.replace(splits.train, index=splits.train.index[::-1].copy())
    return network, images_of(dataclasses.replace(splits, train=train))


OTHERS: dict[str, Callable[[Network, Splits], tuple[Network, AugmentedImages]]] = {
    "weights": weights_changed,
    "channel statistics": statistics_changed,
    "running mean": running_mean_changed,
    "stride": stride_changed,
    "another network": lambda network, splits: (make_network(7, "resnet20_cifar"), images_of(splits)),
    "data": lambda network, splits: (network, images_of(splits, fingerprint="other")),
    "index": index_changed,
    "fewer": lambda network, splits: (
        network,
        images_of(dataclasses.replace(splits, train=splits.train.subset(np.arange(40)))),
    ),
    "seed": lambda network, splits: (network, images_of(splits, seed=6)),
    "augmentation": lambda network, splits: (network, images_of(splits, augmentation="crop")),
    "none": lambda network, splits: (network, images_of(splits, augmentation="none")),
}


@pytest.mark.parametrize("what", OTHERS)
def test_whatever_changes_the_outputs_has_a_folder_of_its_own(tiny_splits, network, cache, what):
    answers_of(TeacherOutputs(network, images_of(tiny_splits), cache=cache), 0)
    other, images = OTHERS[what](network, tiny_splits)
    calls = calls_of(other)
    found = answers_of(TeacherOutputs(other, images, cache=cache), 0)
    assert sum(calls) == len(images)
    assert len(files_of(cache)) == len(list(cache.path.iterdir())) == 2
    assert equal(found, answers_of(TeacherOutputs(other, images), 0))


def test_the_same_teacher_made_again_finds_its_outputs(tiny_splits, network, cache):
    answers_of(TeacherOutputs(network, images_of(tiny_splits), cache=cache), 0)
    again = make_network(7).train()
    calls = calls_of(again)
    answers_of(TeacherOutputs(again, images_of(tiny_splits), cache=cache), 0)
    assert calls == [] and not again.training


def test_images_that_nothing_identifies_are_not_cached(tiny_splits, network, cache):
    teacher = TeacherOutputs(network, images_of(tiny_splits, fingerprint=""), cache=cache)
    assert equal(answers_of(teacher, 0), by_hand(network, tiny_splits, 0)) and not cache.path.exists()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit": lambda file: file.write_bytes(
        file.read_bytes()[:-9] + bytes([file.read_bytes()[-9] ^ 1]) + file.read_bytes()[-8:]
    ),
    "the seal": lambda file: file.write_bytes(bytes(32) + file.read_bytes()[32:]),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:100]),
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_text("not the teacher's outputs\n"),
    "sealed text": lambda file: write_sealed(file, b"not the teacher's outputs\n"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_computed_again_and_replaced(tiny_splits, network, cache, damage):
    expected, images = by_hand(network, tiny_splits, 0), images_of(tiny_splits)
    answers_of(TeacherOutputs(network, images, ["logits", "maps"], cache=cache), 0)
    whole = {file: file.read_bytes() for file in files_of(cache)}
    DAMAGE[damage](next(file for file in whole if "logits" in file.name))
    # There is room for no more than there was.
    exact = CacheFolder(cache.path, sum(len(content) for content in whole.values()))
    with pytest.warns(
        FairkdWarning, match=r"logits-float32 is damaged.*: the teacher's outputs are computed"
    ):
        found = answers_of(TeacherOutputs(network, images, ["logits", "maps"], cache=exact), 0)
    assert equal(found, expected)
    assert {file: file.read_bytes() for file in files_of(cache)} == whole


# Room


def folder_of(teacher: TeacherOutputs, epoch: int = 0) -> Path:
    """Ask for an epoch and return the one folder that is new, or used last."""
    assert teacher.cache is not None
    answers_of(teacher, epoch)
    return max(teacher.cache.path.iterdir(), key=lambda folder: folder.stat().st_mtime_ns)


def bytes_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def age(folder: Path, seconds: int) -> None:
    then = time.time() - seconds
    os.utime(folder, (then, then))


def test_a_limit_that_is_too_small_is_warned_of_and_evicts_nothing(tiny_splits, network, cache):
    answers_of(TeacherOutputs(network, images_of(tiny_splits), cache=cache), 0)
    before = bytes_of(cache.path)
    assert before > 500
    limited = CacheFolder(cache.path, before + 1)
    teacher = TeacherOutputs(network, images_of(tiny_splits, seed=6), ["maps"], cache=limited)
    with pytest.warns(
        FairkdWarning, match=r"not kept in .*the limit of .* GB is reached; raise teacher_cache"
    ):
        answers = answers_of(teacher, 0)
    assert equal(answers, by_hand(network, tiny_splits, 0, seed=6))
    assert bytes_of(cache.path) == before, "what could not make enough room stays"


def test_the_teacher_used_longest_ago_makes_room(tiny_splits, cache):
    networks = [make_network(seed) for seed in (1, 2, 3)]
    teachers = [TeacherOutputs(network, images_of(tiny_splits), cache=cache) for network in networks]
    folders = [folder_of(teachers[0])]
    one = bytes_of(folders[0])
    age(folders[0], 300)
    cache.limit = 2 * one
    folders.append(folder_of(teachers[1]))
    age(folders[1], 200)
    # Reading counts as use.
    answers_of(TeacherOutputs(networks[0], images_of(tiny_splits), cache=cache), 0)
    folders.append(folder_of(teachers[2]))
    assert [folder.exists() for folder in folders] == [True, False, True]
    assert bytes_of(cache.path) == cache.limit


def test_a_teacher_s_own_outputs_do_not_make_room_for_its_next(tiny_splits, network, cache):
    teacher = TeacherOutputs(network, images_of(tiny_splits), cache=cache)
    folder = folder_of(teacher)
    cache.limit = bytes_of(folder)
    before = files_of(cache)
    with pytest.warns(FairkdWarning, match="the limit"):
        answers = answers_of(teacher, 1)
    assert equal(answers, by_hand(network, tiny_splits, 1)) and files_of(cache) == before


def test_a_stranger_s_file_beside_the_folders_is_left_alone(tiny_splits, network, cache):
    cache.path.mkdir()
    (cache.path / "notes.txt").write_text("mine")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers_of(TeacherOutputs(network, images_of(tiny_splits), cache=cache), 0)
    assert len(files_of(cache)) == 1 and (cache.path / "notes.txt").read_text() == "mine"


# Where nothing can be written


def no_folder(cache: CacheFolder, key: str) -> None:
    cache.path.write_text("a file where the folder should be")


def no_lock(cache: CacheFolder, key: str) -> None:
    # A folder that cannot be written to refuses the lock's file as this does.
    (cache.path / key / "00000.lock").mkdir(parents=True)
    (cache.path / key / "00000-logits-float32").mkdir()


@pytest.mark.parametrize("prevent", [no_folder, no_lock])
def test_where_nothing_can_be_written_training_goes_on_with_a_warning(tiny_splits, network, cache, prevent):
    teacher = TeacherOutputs(network, images_of(tiny_splits), cache=cache)
    prevent(cache, teacher._key)
    with pytest.warns(FairkdWarning, match="not kept in .* will be computed again: "):
        answers = answers_of(teacher, 0)
    assert equal(answers, by_hand(network, tiny_splits, 0))


@pytest.mark.skipif(os.geteuid() == 0, reason="the super-user may write anywhere")
def test_a_read_only_folder_is_read_and_not_written_to(tiny_splits, network, cache):
    folder = folder_of(TeacherOutputs(network, images_of(tiny_splits), cache=cache))
    folder.chmod(0o500)
    teacher = TeacherOutputs(network, images_of(tiny_splits), cache=cache)
    assert equal(answers_of(teacher, 0), by_hand(network, tiny_splits, 0))
    with pytest.warns(FairkdWarning, match="not kept in"):
        assert equal(answers_of(teacher, 1), by_hand(network, tiny_splits, 1))
    folder.chmod(0o700)


def test_on_a_full_disk_training_goes_on_with_a_warning(tiny_splits, network, cache):
    teacher = TeacherOutputs(network, images_of(tiny_splits), KINDS, cache=cache)
    with full_disk(5000), pytest.warns(FairkdWarning, match=r"cannot write .*free space"):
        answers = answers_of(teacher, 0)
    assert equal(answers, by_hand(network, tiny_splits, 0))
    assert [file.name for file in files_of(cache)] == ["00000-logits-float32"], "what had room is kept"


# Half precision


def test_float16_is_rounded_once_and_says_by_how_much(tiny_splits, network, cache):
    expected = by_hand(network, tiny_splits, 0)
    half = {kind: table.half().float() for kind, table in expected.items()}
    error = max(float((half[kind] - expected[kind]).abs().max()) for kind in KINDS)
    for number in range(2):
        teacher = TeacherOutputs(network, images_of(tiny_splits), KINDS, cache=cache, output_type="float16")
        answers = answers_of(teacher, 0)
        assert equal(answers, half) and answers["logits"].dtype == torch.float32
        assert teacher.rounding_error == error > 0, number
    sizes = {file.name: file.stat().st_size for file in files_of(cache)}
    full = TeacherOutputs(network, images_of(tiny_splits), KINDS, cache=cache)
    assert equal(answers_of(full, 0), expected) and full.rounding_error == 0
    for kind in KINDS:
        (file,) = [file for file in files_of(cache) if file.name == f"00000-{kind}-float32"]
        # Both have the same header and seal, of some hundred bytes.
        saved = file.stat().st_size - sizes[f"00000-{kind}-float16"]
        assert saved == pytest.approx(expected[kind].nbytes / 2, abs=16)


def test_bfloat16_is_bit_for_bit_the_network_under_autocast_and_says_how_far_from_float32(
    tiny_splits, network, cache
):
    exact = by_hand(network, tiny_splits, 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        computed = by_hand(network, tiny_splits, 0)
    expected = {kind: table.bfloat16().float() for kind, table in computed.items()}
    calls = calls_of(network)
    first = slice(CANONICAL)
    error = max(float((expected[kind] - exact[kind])[first].abs().max()) for kind in KINDS)
    for cached in (cache, cache, None):
        teacher = TeacherOutputs(network, images_of(tiny_splits), KINDS, cache=cached, output_type="bfloat16")
        answers = answers_of(teacher, 0)
        assert equal(answers, expected) and answers["logits"].dtype == torch.float32
        assert teacher.rounding_error == error > 0
    # The error costs the first batch twice more, once a training.
    assert calls == 2 * [20, 20, 20, 20, 8]
    half = TeacherOutputs(network, images_of(tiny_splits), KINDS, output_type="float16")
    assert teacher.size(3) == half.size(3)
    # The exact outputs have files of their own.
    full = TeacherOutputs(network, images_of(tiny_splits), KINDS, cache=cache)
    assert equal(answers_of(full, 0), exact) and full.rounding_error == 0


# Several processes


def test_of_two_processes_one_runs_the_teacher_and_the_other_waits(tiny_splits, tmp_path, monkeypatch):
    # What the other process has.
    monkeypatch.setattr(teacher_cache, "inference_batch", inference_batch)
    (tmp_path / "splits.pickle").write_bytes(pickle.dumps(tiny_splits))
    cache, log = tmp_path / "cache", tmp_path / "log"
    script = Path(__file__).with_name("cached_teacher.py")
    arguments = [sys.executable, script, tmp_path / "splits.pickle", cache, log]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as other:
        while not (tmp_path / "ready").exists() and other.poll() is None:
            time.sleep(0.01)
        log.touch()
        mine = ask(tiny_splits, cache, log)
        _, errors = other.communicate()
    assert other.returncode == 0, errors
    assert len(log.read_text().splitlines()) == 2, "one batch of 48 for each of two epochs"
    assert torch.equal(mine, torch.load(tmp_path / "answers", weights_only=True)) and mine.shape == (96, 3)


def test_what_float16_cannot_hold_is_refused(tiny_splits, network, cache):
    with torch.no_grad():
        network.classifier.bias.fill_(70_000)  # type: ignore[union-attr, operator]
    teacher = TeacherOutputs(network, images_of(tiny_splits), cache=cache, output_type="float16")
    with pytest.raises(TrainingError, match=r"logits exceed what float16 can hold.*teacher_outputs=float32"):
        answers_of(teacher, 0)
    assert not files_of(cache)
