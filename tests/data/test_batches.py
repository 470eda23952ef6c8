"""Batches: which rows they hold, in which order, and that their images are the epoch's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from fairkd.data.augment import OPERATIONS, apply, draw
from fairkd.data.batches import AugmentedImages, Batch, BatchStream
from fairkd.data.splits import ImageSet
from fairkd.errors import DataError, ParameterError

ALL = "+".join(OPERATIONS)


def image_set(n: int = 10, size: tuple[int, int] = (8, 12)) -> ImageSet:
    rng = np.random.default_rng(0)
    index = np.arange(n) * 7
    images = rng.integers(1, 255, (n, *size, 3), dtype=np.uint8)
    return ImageSet(images, np.arange(n) % 3, np.arange(n) % 2, index, index)


def columns_of(batch: Batch) -> tuple[torch.Tensor, ...]:
    assert batch.rows is not None
    return batch.images, batch.labels, batch.groups, batch.index, batch.rows


def columns(*batches: Batch) -> Iterator[tuple[torch.Tensor, ...]]:
    return zip(*map(columns_of, batches), strict=True)


# Streams


def test_epochs_differ_and_repeat():
    stream = BatchStream(AugmentedImages(image_set(), augmentation="crop"), 4, shuffle=True, seed=3)
    first, again, other = (list(stream.epoch(epoch)) for epoch in (0, 0, 1))
    assert all(torch.equal(a, b) for x, y in zip(first, again, strict=True) for a, b in columns(x, y))
    assert {batch.epoch for batch in first} == {0} and {batch.epoch for batch in other} == {1}
    order, other_order = (torch.cat([batch.index for batch in epoch]) for epoch in (first, other))
    assert not torch.equal(order, other_order)
    assert torch.equal(order.sort().values, other_order.sort().values)


def test_rows_stay_together():
    data = image_set()
    for batch in BatchStream(AugmentedImages(data), 4, shuffle=True, seed=1).epoch(0):
        for image, label, group, index, row in zip(*columns_of(batch), strict=True):
            position = int(index) // 7
            assert torch.equal(image.permute(1, 2, 0), torch.from_numpy(data.images[position]))
            assert (int(label), int(group), int(row)) == (position % 3, position % 2, position)


@pytest.mark.parametrize("kind", ["none", *OPERATIONS, ALL])
def test_images_are_uint8_channels_last_and_those_of_seed_epoch_and_index(kind):
    data = image_set(40)
    draws = draw(kind, torch.from_numpy(data.index), seed=3, epoch=2)
    expected = apply(kind, torch.from_numpy(data.images.copy()), draws)
    images = AugmentedImages(data, augmentation=kind, seed=3)
    for batch in BatchStream(images, 7, shuffle=True).epoch(2):
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(batch.images.permute(0, 2, 3, 1), expected[batch.rows])


def test_no_batch_is_a_small_rest():
    sizes = [len(batch.labels) for batch in BatchStream(AugmentedImages(image_set(9)), 4).epoch(0)]
    assert sorted(sizes) == [3, 3, 3]


def test_rows_drawn_several_times_look_the_same_each_time():
    data, weights = image_set(6), np.array([0.0, 1, 1, 10, 10, 10])
    images = AugmentedImages(data, augmentation=ALL, seed=1)
    stream = BatchStream(images, 6, sampling_weights=weights, seed=1)
    rows = []
    for epoch in range(20):
        (batch,) = stream.epoch(epoch)
        rows += batch.rows.tolist()
        draws = draw(ALL, batch.index, seed=1, epoch=epoch)
        expected = apply(ALL, torch.from_numpy(data.images)[batch.rows], draws)
        assert torch.equal(batch.images.permute(0, 2, 3, 1), expected)
        assert len(set(batch.rows.tolist())) < 6
    assert set(rows) == {1, 2, 3, 4, 5}


def test_empty_set_is_refused():
    with pytest.raises(DataError, match="empty"):
        AugmentedImages(image_set().subset(np.array([], dtype=int)))


def test_an_unknown_augmentation_is_refused_at_once():
    with pytest.raises(ParameterError, match="'rotate' is unknown"):
        AugmentedImages(image_set(), augmentation="crop+rotate")


# Images of any epoch


@pytest.mark.parametrize("kind", ["none", *OPERATIONS, ALL])
def test_the_source_is_never_changed_and_epochs_can_be_asked_in_any_order(kind):
    data = image_set()
    before = data.images.copy()
    images = AugmentedImages(data, augmentation=kind, seed=5)
    rows = torch.tensor([3, 3, 0, 9, 3])
    first = images.batch(rows, 4)
    others = [images.batch(torch.arange(10), epoch).images for epoch in (0, 7, 4)]
    assert torch.equal(others[2][rows], first.images)
    assert torch.equal(images.batch(rows, 4).images, first.images)
    assert np.array_equal(data.images, before)
    first.images.zero_()
    assert np.array_equal(data.images, before), "what is given away is a copy"
    assert (first.rows.tolist(), first.epoch) == (rows.tolist(), 4)


@pytest.mark.parametrize(("kind", "looks"), [("none", [0, 0, 0]), ("crop", [0, 1, 5])])
def test_the_look_is_the_first_epoch_with_the_same_images(kind, looks):
    images = AugmentedImages(image_set(), augmentation=kind)
    assert [images.look_of(epoch) for epoch in (0, 1, 5)] == looks
    rows = torch.arange(10)
    for epoch, look in zip((0, 1, 5), looks, strict=True):
        assert torch.equal(images.batch(rows, epoch).images, images.batch(rows, look).images)


# Parts of a batch


@pytest.mark.parametrize("n", range(1, 12))
@pytest.mark.parametrize("size", [1, 2, 3, 5, 12])
def test_parts_are_even_and_together_the_batch(n, size):
    images = AugmentedImages(image_set(n), augmentation="crop")
    batch = images.batch(torch.arange(n).flip(0), 3)
    parts = batch.split(size)
    sizes = [len(part.labels) for part in parts]
    assert max(sizes) - min(sizes) <= 1 and max(sizes) <= size + (size == 2 and n % 2)
    assert len(parts) == -(-n // size) - (size == 2 and n % 2 and n > 1)
    # Batch normalisation cannot train on one image.
    assert min(sizes) > 1 or size == 1 or n == 1
    whole = zip(*map(columns_of, parts), strict=True)
    assert all(torch.equal(torch.cat(p), c) for p, c in zip(whole, columns_of(batch), strict=True))
    assert {part.epoch for part in parts} == {3}
    assert all(part.images.is_contiguous(memory_format=torch.channels_last) for part in parts)


def test_a_batch_of_unknown_rows_can_be_cut_too():
    batch = Batch(torch.zeros(4, 3, 8, 8), *(torch.arange(4) for _ in range(3)))
    assert [part.rows for part in batch.split(2)] == [None, None]
