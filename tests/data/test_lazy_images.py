"""Images on disk behave like an array of them: indexing, batches, statistics, predictions."""

import dataclasses

import numpy as np
import pytest

from fairkd.data import ImageSet, inject_bias, load_dataset
from fairkd.data.batches import AugmentedImages, BatchStream
from fairkd.data.effects import EFFECTS
from fairkd.data.lazy import LazyImages
from fairkd.inference import outputs_of
from fairkd.models import create_model

ROWS = np.array([5, 0, 3, 3, 7, 1])
GROUPS = np.array([0, 1, 1, 0, 1, 0])


@pytest.fixture
def source(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    return np.load(tmp_path / "pixels.npy", mmap_mode="r")


@pytest.fixture
def lazy(source):
    return LazyImages(source, ROWS, groups=GROUPS, keys=ROWS, change=EFFECTS["grey"].change)


@pytest.fixture
def whole(source):
    return EFFECTS["grey"].change(np.array(source[ROWS]), GROUPS, ROWS)


@pytest.mark.parametrize(
    "key",
    [
        2,
        -1,
        np.int64(1),
        slice(None),
        slice(1, 5, 2),
        np.array([4, 4, 0]),
        [1, 3],
        GROUPS == 1,
        (slice(0, 3), ..., 0),
        (..., 1),
        (3, slice(None), 2),
        (np.array([1, 0]), 2),
        slice(3, 3),
    ],
)
def test_indexing_is_that_of_the_array(lazy, whole, key):
    got, expected = lazy[key], whole[key]
    assert type(got) is np.ndarray and got.dtype == np.uint8
    assert got.shape == expected.shape and (got == expected).all()


def test_attributes_iteration_and_conversion(lazy, whole):
    assert (lazy.shape, lazy.dtype, lazy.ndim, len(lazy)) == (
        whole.shape,
        whole.dtype,
        whole.ndim,
        len(whole),
    )
    assert lazy.nbytes == whole.nbytes
    assert (np.stack(list(lazy)) == whole).all()
    assert (np.asarray(lazy) == whole).all()
    assert (lazy.subset(np.array([4, 1]))[:] == whole[[4, 1]]).all()


def test_an_index_out_of_range_is_refused(lazy):
    with pytest.raises(IndexError):
        lazy[6]


def test_grey_sources_become_three_channels(source):
    grey = LazyImages(source[..., 0], ROWS, groups=GROUPS, keys=ROWS)
    assert grey[:].shape == grey.shape == (6, 16, 16, 3)


def test_the_source_is_not_written_to(lazy, source):
    before = np.array(source)
    lazy[:]
    assert (before == source).all()


def image_set(images):
    index = np.arange(6)
    return ImageSet(images, index % 3, GROUPS, index, index)


def test_a_subset_of_an_image_set_stays_lazy(lazy, whole):
    part = image_set(lazy).subset(np.array([True, False, True, True, False, False]))
    assert isinstance(part.images, LazyImages)
    assert (part.images[:] == whole[[0, 2, 3]]).all()


@pytest.mark.parametrize("augmentation", ["none", "crop+flip"])
def test_batches_are_the_same(lazy, whole, augmentation):
    streams = [
        BatchStream(AugmentedImages(image_set(images), augmentation=augmentation), 4, shuffle=True)
        for images in (lazy, whole)
    ]
    for one, other in zip(streams[0].epoch(2), streams[1].epoch(2), strict=True):
        assert (one.images == other.images).all() and (one.index == other.index).all()


def test_statistics_predictions_and_injection_are_the_same(tiny_splits):
    def lazily(images):
        rows = np.arange(len(images))
        stored = LazyImages(images.images, rows, groups=images.groups, keys=images.index)
        return dataclasses.replace(images, images=stored)

    lazy = dataclasses.replace(tiny_splits, **{name: lazily(part) for name, part in tiny_splits.items()})
    assert lazy.channel_statistics() == tiny_splits.channel_statistics()
    assert lazy.image_size == tiny_splits.image_size
    network = create_model("resnet8_cifar", 3, image_size=16, seed=0)
    logits = [outputs_of(network, splits.test.images).logits for splits in (lazy, tiny_splits)]
    assert (logits[0] == logits[1]).all()
    noisy = [inject_bias(splits, kind="noise", skew=0.9) for splits in (lazy, tiny_splits)]
    for name, images in noisy[0].items():
        assert (images.images == getattr(noisy[1], name).images).all()


def test_injection_stays_lazy_where_memory_is_short(tiny_splits, monkeypatch):
    small = inject_bias(tiny_splits, kind="blur", skew=0.8)
    monkeypatch.setattr("fairkd.data.inject.IN_MEMORY_BYTES", 1000)
    large = inject_bias(tiny_splits, kind="blur", skew=0.8)
    for name, images in large.items():
        assert isinstance(images.images, LazyImages)
        assert (images.images[:] == getattr(small, name).images).all()


@pytest.mark.parametrize("convert", [np.asarray, lambda images: images[:], lambda images: images[0:6]])
def test_what_is_kept_is_gathered_once_and_when_it_is_first_asked_for(source, whole, convert):
    calls = []

    def grey(images, groups, keys):
        calls.append(len(images))
        return EFFECTS["grey"].change(images, groups, keys)

    lazy = LazyImages(source, ROWS, groups=GROUPS, keys=ROWS, change=grey, keep=True)
    part = lazy.subset(np.array([4, 1]))
    assert (lazy.shape, len(lazy), lazy.on_disk, calls) == (whole.shape, 6, True, [])
    assert (lazy[3] == whole[3]).all() and calls == [6]
    assert (lazy[[5, 0]] == whole[[5, 0]]).all() and (lazy[..., 1] == whole[..., 1]).all()
    assert np.shares_memory(convert(lazy), convert(lazy)) and calls == [6]
    assert not np.shares_memory(np.array(lazy), np.asarray(lazy))
    assert (part[:] == whole[[4, 1]]).all() and calls == [6, 2]


@pytest.mark.parametrize("keep", [False, True])
def test_arithmetic_and_comparisons_are_those_of_the_array(source, keep):
    lazy = LazyImages(source, ROWS, groups=GROUPS, keys=ROWS, keep=keep)
    whole = np.array(source[ROWS])
    assert ((lazy == whole) == np.ones(whole.shape, dtype=bool)).all()
    assert (lazy != lazy).sum() == 0
    assert (lazy / 255 == whole / 255).all() and (255 - lazy == 255 - whole).all()
    assert np.add.reduce(lazy, axis=0).tolist() == np.add.reduce(whole, axis=0).tolist()
    assert np.mean(lazy) == lazy.mean() == whole.mean() and lazy.tobytes() == whole.tobytes()
    assert (
        lazy.astype(np.float32).dtype == np.float32
        and not hasattr(lazy, "cuda")
        and (lazy > 100).sum() == (whole > 100).sum()
    )
    with pytest.raises(TypeError):
        lazy[0] = 0


def test_loaded_images_stay_in_the_cache_file_until_they_are_asked_for(tmp_path, monkeypatch):
    from PIL import Image

    gathered = []
    gather = LazyImages._gather
    monkeypatch.setattr(
        LazyImages, "_gather", lambda self, rows: gathered.append(len(rows)) or gather(self, rows)
    )
    for row in range(20):
        file = tmp_path / "data" / "ab"[row % 2] / f"{row:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), row, dtype=np.uint8)).save(file)
    splits = load_dataset("imagefolder", data_root=tmp_path / "data", image_size=16)
    assert gathered == [] and splits.train.images.on_disk
    names = sorted(str(file) for file in (tmp_path / "data").rglob("*.png"))
    values = [int(name[-6:-4]) for name in names]
    sets = [splits.train, splits.validation, splits.test]
    for images in sets:
        assert images.images[:, 0, 0, 0].tolist() == [values[unit] for unit in images.unit]
    assert gathered == [len(images) for images in sets]
