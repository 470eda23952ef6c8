from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from fairkd.data.batches import Batch, BatchStream, augment, uniform
from fairkd.data.splits import ImageSet
from fairkd.errors import DataError


def image_set(n: int = 10, size: int = 8) -> ImageSet:
    rng = np.random.default_rng(0)
    index = np.arange(n) * 7
    images = rng.integers(1, 255, (n, size, size, 3), dtype=np.uint8)
    return ImageSet(images, np.arange(n) % 3, np.arange(n) % 2, index, index)


def splitmix(state: int) -> int:
    mask = 2**64 - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)


def test_uniform_is_splitmix64_written_with_python_s_integers():
    state = splitmix(5)
    for number in (3, 17, 2):
        state = splitmix(state ^ number)
    drawn = uniform(torch.tensor([17]), seed=5, epoch=3, slot=2)
    assert drawn.item() == (state >> 11) / 2**53


def test_uniform_is_uniform_and_independent_of_its_neighbours():
    draws = uniform(torch.arange(100_000), seed=0, epoch=0, slot=0).numpy()
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    assert (abs(counts - 5000) < 5 * np.sqrt(5000)).all()
    others = [
        uniform(torch.arange(100_000), seed=s, epoch=e, slot=k).numpy()
        for s, e, k in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    assert all(abs(np.corrcoef(draws, other)[0, 1]) < 0.02 for other in others)


@pytest.mark.parametrize("kind", ["none", "crop", "crop+flip"])
def test_augmentation_depends_on_the_sample_and_not_on_its_batch(kind):
    images = torch.from_numpy(image_set().images)
    index = torch.arange(10)
    together = augment(images, index, kind=kind, seed=1, epoch=2)
    order = torch.tensor([7, 2, 9])
    assert torch.equal(together[order], augment(images[order], index[order], kind=kind, seed=1, epoch=2))


def test_crop_equals_a_written_out_shift_over_black():
    images, index = torch.from_numpy(image_set(size=16).images), torch.arange(10)
    result = augment(images, index, kind="crop", seed=0, epoch=4)
    pad = 2
    for row in range(10):
        dy, dx = (int(uniform(index, seed=0, epoch=4, slot=s)[row] * (2 * pad + 1)) for s in (0, 1))
        canvas = torch.zeros(16 + 2 * pad, 16 + 2 * pad, 3, dtype=torch.uint8)
        canvas[pad:-pad, pad:-pad] = images[row]
        assert torch.equal(result[row], canvas[dy : dy + 16, dx : dx + 16])


def test_flip_mirrors_about_half_of_the_images():
    images = torch.zeros(400, 8, 8, 3, dtype=torch.uint8)
    images[:, :, :4] = 200
    result = augment(images, torch.arange(400), kind="crop+flip", seed=0, epoch=0)
    mirrored = (result[:, 4, 6, 0] > 0).float().mean()
    assert 0.4 < mirrored < 0.6


def columns(*batches: Batch) -> Iterator[tuple[torch.Tensor, ...]]:
    return zip(*(vars(batch).values() for batch in batches), strict=True)


def test_epochs_differ_and_repeat():
    stream = BatchStream(image_set(), 4, shuffle=True, augmentation="crop", seed=3)
    first, again, other = (list(stream.epoch(epoch)) for epoch in (0, 0, 1))
    assert all(torch.equal(a, b) for x, y in zip(first, again, strict=True) for a, b in columns(x, y))
    order, other_order = (torch.cat([batch.index for batch in epoch]) for epoch in (first, other))
    assert not torch.equal(order, other_order)
    assert torch.equal(order.sort().values, other_order.sort().values)


def test_rows_stay_together_and_the_layout_is_channels_last():
    data = image_set()
    for batch in BatchStream(data, 4, shuffle=True, seed=1).epoch(0):
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        for image, label, group, index in zip(*vars(batch).values(), strict=True):
            row = int(index) // 7
            assert torch.equal(image.permute(1, 2, 0), torch.from_numpy(data.images[row]))
            assert (int(label), int(group)) == (row % 3, row % 2)


def test_no_batch_is_a_small_rest():
    sizes = [len(batch.labels) for batch in BatchStream(image_set(9), 4).epoch(0)]
    assert sorted(sizes) == [3, 3, 3]


def test_empty_set_is_refused():
    with pytest.raises(DataError, match="empty"):
        BatchStream(image_set().subset(np.array([], dtype=int)), 4)
