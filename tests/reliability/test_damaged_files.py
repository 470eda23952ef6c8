"""Bits flipped and files cut at random places: named, made again or replaced by the previous one; never believed."""

from __future__ import annotations

import contextlib
import random
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from small_files import make_photos
from training_cases import INTERRUPTED, equal_states, make_network, make_trainer

from fairkd.data import load_dataset
from fairkd.data.batches import AugmentedImages, BatchStream
from fairkd.data.cache import open_cached
from fairkd.data.splits import Splits
from fairkd.errors import ArtifactError, FairkdWarning
from fairkd.recipes import TrainedModel, train_teacher
from fairkd.report import write_report
from fairkd.run_state import read_status
from fairkd.training import CacheFolder, TeacherOutputs

# So few steps rarely suffice to predict more than one class.
pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")


def damaged(content: bytes, points: random.Random) -> bytes:
    """Flip a bit, or cut the end off."""
    place = points.randrange(len(content))
    if points.random() < 0.2:
        return content[:place]
    return content[:place] + bytes([content[place] ^ 1 << points.randrange(8)]) + content[place + 1 :]


@contextlib.contextmanager
def damage(file: Path, points: random.Random) -> Iterator[None]:
    """Damage a file, and put it back."""
    whole = file.read_bytes()
    # Another file in its place: where the old one is open, it stays as it was.
    file.unlink()
    file.write_bytes(damaged(whole, points))
    yield
    file.unlink(missing_ok=True)
    file.write_bytes(whole)


def same_models(one: TrainedModel, other: TrainedModel) -> bool:
    return (
        equal_states(one.model.state_dict(), other.model.state_dict())
        and one.history.equals(other.history)
        and one.predictions.frame.equals(other.predictions.frame)
        and one.validation.frame.equals(other.validation.frame)
    )


@pytest.mark.parametrize(
    "name", ["model.safetensors", "history.csv", "config.json", "test.parquet", "validation.parquet"]
)
def test_a_damaged_artefact_is_named_or_as_it_was(tiny_splits, tiny_experiment, name):
    experiment = tiny_experiment.replace(teacher_epochs=1)
    trained, points = train_teacher(experiment, tiny_splits), random.Random(name)
    named = 0
    for _ in range(12):
        with damage(trained.folder / name, points):
            try:
                loaded = train_teacher(experiment, tiny_splits)
            except ArtifactError as error:
                assert str(trained.folder) in str(error) and "to have it made again" in str(error)
                assert "\n" not in str(error)
                named += 1
            else:
                # What config.json says of versions and machine is for people: nothing reads it.
                assert name == "config.json" and same_models(loaded, trained)
    assert named >= (4 if name == "config.json" else 12)


def test_a_training_goes_on_from_the_checkpoint_before_a_damaged_one(tiny_splits, tmp_path):
    whole = make_trainer(tiny_splits, **INTERRUPTED)
    expected = whole.fit().drop(columns="seconds")
    make_trainer(tiny_splits, folder=tmp_path / "kept", **{**INTERRUPTED}).fit()
    points = random.Random(0)
    for number in range(4):
        folder = shutil.copytree(tmp_path / "kept", tmp_path / str(number))
        with damage(folder / "checkpoint.pt", points):
            resumed = make_trainer(tiny_splits, folder=folder, **INTERRUPTED)
            with pytest.warns(
                FairkdWarning, match=r"checkpoint\.pt is damaged .*goes on from the epoch before"
            ):
                history = resumed.fit().drop(columns="seconds")
            pd.testing.assert_frame_equal(history, expected, check_exact=True)
            assert equal_states(resumed.network.state_dict(), whole.network.state_dict())


def test_two_damaged_checkpoints_are_named(tiny_splits, tmp_path):
    make_trainer(tiny_splits, folder=tmp_path).fit()
    points = random.Random(0)
    with (
        damage(tmp_path / "checkpoint.pt", points),
        damage(tmp_path / "checkpoint.previous.pt", points),
        pytest.warns(FairkdWarning, match=r"checkpoint\.pt is damaged"),
        pytest.raises(ArtifactError, match=r"checkpoint\.previous\.pt is damaged .*delete it to train from"),
    ):
        make_trainer(tiny_splits, folder=tmp_path).fit()


def answers(splits: Splits, cache: Path) -> torch.Tensor:
    """A teacher's logits in two epochs."""
    images = AugmentedImages(splits.train, augmentation="crop", seed=5, fingerprint=splits.fingerprint)
    teacher = TeacherOutputs(make_network(7), images, cache=CacheFolder(cache, 10**9))
    stream = BatchStream(images, 24)
    return torch.cat([teacher(batch).logits for epoch in range(2) for batch in stream.epoch(epoch)])


def test_a_damaged_shard_of_the_teacher_s_cache_is_named_and_made_again(tiny_splits, tmp_path):
    expected, points = answers(tiny_splits, tmp_path / "cache"), random.Random(0)
    shards = sorted((tmp_path / "cache").glob("*/*-float32"))
    assert len(shards) == 2
    for number in range(12):
        shard = shards[number % 2]
        whole = shard.read_bytes()
        with (
            damage(shard, points),
            pytest.warns(FairkdWarning, match=f"{shard.name} is damaged .*computed again"),
        ):
            assert torch.equal(answers(tiny_splits, tmp_path / "cache"), expected)
        assert shard.read_bytes() == whole, "it was written again, as it was"


def load_photos(folder: Path) -> Splits:
    options: dict[str, Any] = {"data_root": folder / "photos", "image_size": 8, "cache_dir": folder / "cache"}
    return load_dataset("image-folder", **options)


def test_a_damaged_data_cache_is_named_or_made_again(tmp_path):
    make_photos(tmp_path / "photos")
    expected, points = load_photos(tmp_path).train.images[:], random.Random(0)
    (cache,) = (tmp_path / "cache").glob("images-*.npy")
    ends = {"named": 0, "made again": 0}
    for _ in range(40):
        with damage(cache, points), warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                images = load_photos(tmp_path)
                pixels = [part.images[:] for _, part in images.items()]
            except ArtifactError as error:
                assert f"{cache} is damaged (image " in str(error) and "delete it" in str(error)
                ends["named"] += 1
                continue
            assert (pixels[0] == expected).all()
            assert [f"{cache} cannot be used (it is damaged: " in str(one.message) for one in told] == [True]
            ends["made again"] += 1
    assert ends["named"] > 20 and ends["made again"] > 5, "pixels are most of the file"


def test_no_bit_of_a_data_cache_outside_its_pixels_may_change(tmp_path):
    """The header is text for numpy, which reads some changes in silence and fails at others in its own way."""
    make_photos(tmp_path / "photos")
    load_photos(tmp_path)
    (cache,) = (tmp_path / "cache").glob("images-*.npy")
    whole = cache.read_bytes()
    pixels = range(128, 128 + 40 * 8 * 8 * 3)
    assert np.load(cache).shape == (40, 8, 8, 3) and len(whole) > pixels.stop
    for place in [*range(pixels.start), *range(pixels.stop, len(whole), 7)]:
        changed = bytes([whole[place] ^ 1 << place % 8])
        cache.unlink()
        cache.write_bytes(whole[:place] + changed + whole[place + 1 :])
        with pytest.warns(FairkdWarning, match=r"cannot be used \(it is damaged"):
            assert open_cached(cache, 40, 8) is None


def test_a_run_whose_results_have_changed_is_not_done(forge, place):
    (first,) = forge("run", place / "outputs")
    results, points = place / "outputs" / "run" / "metrics.json", random.Random(0)
    whole = results.read_bytes()
    for _ in range(5):
        results.write_bytes(damaged(whole, points))
        (again,) = forge("run", place / "outputs")
        assert "message" not in again and results.read_bytes() == whole
        assert "has changed since" not in (place / "outputs" / "run" / "report.html").read_text()
    (nothing,) = forge("run", place / "outputs")
    assert nothing["calls"] < again["calls"] <= first["calls"], "with nothing damaged, nothing is done"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"models": {"teacher": 1}}', "does not hold what a run writes"),
        (
            '{"models": {}, "comparisons": [{"model": "teacher"}]}',
            r"what a run writes \(KeyError\('baseline'\)\)",
        ),
        ('{"models": ', "delete it to have it made again"),
    ],
)
def test_a_report_on_damaged_results_names_them(forge, place, content, message):
    forge("run", place / "outputs")
    run = place / "outputs" / "run"
    (run / "metrics.json").write_text('{"models":  {}}')
    assert "metrics.json has changed since 02_second wrote it" in write_report(run).read_text()
    (run / "metrics.json").write_text(content)
    with pytest.raises(ArtifactError, match=rf"metrics\.json.*{message}"):
        write_report(run)


def test_unreadable_is_not_the_same_as_not_done(tmp_path):
    (tmp_path / "status.json").mkdir()
    with pytest.raises(ArtifactError, match=r"cannot read .*status\.json: Is a directory"):
        read_status(tmp_path)
