"""Augmentation against written-out versions, and as a pure function of (seed, epoch, index)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import functional as vision

from fairkd.config import Experiment
from fairkd.data.augment import OPERATIONS, apply, draw, operations, uniform
from fairkd.errors import ParameterError
from fairkd.recipes import check_experiment

SIZES = [(16, 24), (24, 16), (8, 8)]
ALL = "+".join(OPERATIONS)
KINDS = ["none", *OPERATIONS, "crop+flip", ALL]


def images_of(n: int, size: tuple[int, int] = (16, 24), seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(1, 255, (n, *size, 3), dtype=np.uint8))


def augment(images: Tensor, index: Tensor, *, kind: str, seed: int, epoch: int) -> Tensor:
    return apply(kind, images.clone(), draw(kind, index, seed=seed, epoch=epoch))


def numbers(*columns: list[float]) -> list[Tensor]:
    return [torch.tensor(column, dtype=torch.float64) for column in columns]


# Random numbers


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


def test_no_two_numbers_of_the_operations_share_a_slot():
    slots = [slot for operation in OPERATIONS.values() for slot in operation.slots]
    assert len(slots) == len(set(slots)) == 15


# Names


def test_parts_are_applied_in_one_order_however_they_are_written():
    assert operations("none") == [] and operations(ALL) == list(OPERATIONS.values())
    assert operations("flip+resize+crop") == [OPERATIONS[name] for name in ("resize", "crop", "flip")]


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("rotate", "'rotate' is unknown"),
        ("crop+rotate", "'rotate' is unknown"),
        ("crop+none", "'none' is unknown"),
        ("", "'' is unknown"),
        ("crop+", "'' is unknown"),
        ("crop+crop", "a part is repeated"),
        ("flip+crop+flip", "a part is repeated"),
    ],
)
def test_unknown_and_repeated_parts_are_refused_before_any_training(kind, fault):
    message = (
        f"augmentation={kind!r}: {fault}; allowed: none, or resize, crop, flip, tint, erase joined by '+'"
    )
    with pytest.raises(ParameterError) as caught:
        operations(kind)
    assert str(caught.value) == message
    with pytest.raises(ParameterError) as caught:
        check_experiment(Experiment(augmentation=kind))
    assert str(caught.value) == message


@pytest.mark.parametrize("kind", ["auto", "none", ALL])
def test_allowed_augmentations_pass_the_check(kind):
    check_experiment(Experiment(augmentation=kind))


# A pure function


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_depends_on_seed_epoch_and_index_and_not_on_its_batch(kind, size):
    images, index = images_of(40, size), torch.arange(40) * 7
    before = images.clone()
    together = augment(images, index, kind=kind, seed=1, epoch=2)
    assert torch.equal(images, before), "the source is left as it was"
    assert together.dtype == torch.uint8 and together.shape == images.shape
    for order in (torch.tensor([7, 2, 39, 2]), torch.arange(40).flip(0), torch.tensor([5])):
        alone = augment(images[order], index[order], kind=kind, seed=1, epoch=2)
        assert torch.equal(alone, together[order])
    others = [
        augment(images, index, kind=kind, seed=4, epoch=2),
        augment(images, index, kind=kind, seed=1, epoch=3),
        augment(images, index + 1, kind=kind, seed=1, epoch=2),
    ]
    assert all(torch.equal(together, other) == (kind == "none") for other in others)


def test_the_mean_colour_of_a_large_image_does_not_depend_on_its_batch():
    images, index = images_of(6, (500, 700)), torch.arange(6)
    together = augment(images, index, kind="erase", seed=1, epoch=0)
    each = [augment(images[i : i + 1], index[i : i + 1], kind="erase", seed=1, epoch=0) for i in range(6)]
    assert torch.equal(together, torch.cat(each))


def test_the_parts_are_applied_one_after_another_with_the_numbers_of_their_own():
    images, index = images_of(20), torch.arange(20)
    expected = images
    for name in OPERATIONS:
        expected = augment(expected, index, kind=name, seed=1, epoch=2)
    assert torch.equal(augment(images, index, kind=ALL, seed=1, epoch=2), expected)
    draws = draw(ALL, index, seed=1, epoch=2)
    assert sorted(draws) == list(range(15))
    assert all(torch.equal(draws[slot], uniform(index, seed=1, epoch=2, slot=slot)) for slot in draws)
    assert torch.equal(apply(ALL, images.clone(), draws), expected)


# Crop and flip


@pytest.mark.parametrize(("size", "pad"), [((16, 16), 2), ((16, 24), 2), ((24, 16), 2), ((4, 32), 1)])
def test_crop_equals_a_written_out_shift_over_black(size, pad):
    (height, width), n = size, 30
    images, index = images_of(n, size), torch.arange(n)
    result = augment(images, index, kind="crop", seed=0, epoch=4)
    shifts = [(uniform(index, seed=0, epoch=4, slot=s) * (2 * pad + 1)).int().tolist() for s in (0, 1)]
    assert set(shifts[0]) == set(shifts[1]) == set(range(2 * pad + 1))
    for row, (dy, dx) in enumerate(zip(*shifts, strict=True)):
        canvas = torch.zeros(height + 2 * pad, width + 2 * pad, 3, dtype=torch.uint8)
        canvas[pad:-pad, pad:-pad] = images[row]
        assert torch.equal(result[row], canvas[dy : dy + height, dx : dx + width])


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_flip_mirrors_the_columns_of_the_images_whose_number_is_below_a_half(size):
    images, index = images_of(400, size), torch.arange(400)
    mirrored = uniform(index, seed=0, epoch=0, slot=2) < 0.5
    assert 160 < mirrored.sum() < 240
    expected = torch.where(mirrored[:, None, None, None], images.flip(2), images)
    assert torch.equal(augment(images, index, kind="flip", seed=0, epoch=0), expected)


# Resize


def drawn_boxes(draws: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Left, top, width and height of the part that is enlarged, as shares of the image's."""
    area, ratio, left, top = draws
    root, stretch = np.sqrt(0.35 + 0.65 * area), np.exp(np.log(4 / 3) * (ratio - 0.5))
    width, height = np.minimum(root * stretch, 1), np.minimum(root / stretch, 1)
    return left * (1 - width), top * (1 - height), width, height


def bilinear(image: np.ndarray, box: tuple[float, ...]) -> np.ndarray:
    """Enlarge a part to the whole: pixel centres, border pixels repeated outside of the image."""
    height, width, _ = image.shape
    left, top, across, down = box
    result = np.zeros(image.shape)
    for row, column in itertools.product(range(height), range(width)):
        y = (top + (row + 0.5) / height * down) * height - 0.5
        x = (left + (column + 0.5) / width * across) * width - 0.5
        for dy, dx in itertools.product((0, 1), (0, 1)):
            weight = abs(1 - dy - (y - math.floor(y))) * abs(1 - dx - (x - math.floor(x)))
            near = min(max(math.floor(y) + dy, 0), height - 1), min(max(math.floor(x) + dx, 0), width - 1)
            result[row, column] += weight * image[near]
    return result


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_resize_equals_written_out_bilinear_interpolation(size):
    images, index = images_of(12, size), torch.arange(12)
    result = augment(images, index, kind="resize", seed=3, epoch=1).double().numpy()
    draws = [uniform(index, seed=3, epoch=1, slot=slot).numpy() for slot in (3, 4, 5, 6)]
    boxes = np.stack(drawn_boxes(draws), axis=1)
    for row in range(12):
        expected = bilinear(images[row].double().numpy(), tuple(boxes[row]))
        # Half for the rounding, and a little for coordinates in float32.
        assert np.abs(result[row] - expected).max() < 0.51


def test_resize_of_known_numbers():
    """The first 0.6 x 0.6 of columns of 0, 100, 200, 40."""
    row = torch.tensor([0, 100, 200, 40], dtype=torch.uint8)
    image = row[None, None, :, None].expand(1, 4, 4, 3).contiguous()
    area, side = (0.36 - 0.35) / 0.65, 0.6
    result = OPERATIONS["resize"].apply(image, numbers([area], [0.5], [0.0], [0.0]))
    # Centres of 4 columns over the first 2.4 columns: 0.3, 0.9, 1.5, 2.1, less a half for the pixel's own centre.
    places = [(column + 0.5) * side - 0.5 for column in range(4)]
    assert places == pytest.approx([-0.2, 0.4, 1.0, 1.6])
    assert result[0, :, :, 0].tolist() == [[0, 40, 100, 160]] * 4


def test_resize_agrees_with_torchvision_inside_of_the_part():
    """torchvision repeats the part's own border, fairkd looks at the pixels behind it: the inside is the same."""
    image = images_of(1, (32, 32))
    side, place = 24, 4  # three quarters of each side, in the middle
    area = ((side / 32) ** 2 - 0.35) / 0.65
    result = OPERATIONS["resize"].apply(image, numbers([area], [0.5], [0.5], [0.5])).permute(0, 3, 1, 2)
    planar = image.permute(0, 3, 1, 2).float()
    reference = vision.resized_crop(planar, place, place, side, side, [32, 32], antialias=False).round()
    difference = (result.float() - reference).abs()
    assert (
        difference[..., 1:-1, 1:-1].max() <= 1 and (difference[..., 1:-1, 1:-1] == 0).double().mean() > 0.99
    )


def test_the_drawn_parts_lie_in_the_image_with_areas_from_035_to_1_and_ratios_up_to_four_thirds():
    ramp = torch.linspace(0, 1, 64)
    # An image that says where each of its pixels is, in its first two channels.
    places = torch.stack([*torch.meshgrid(ramp, ramp, indexing="ij"), torch.zeros(64, 64)], dim=-1)
    images = (255 * places).round().to(torch.uint8).expand(2000, 64, 64, 3).contiguous()
    index = torch.arange(2000)
    result = augment(images, index, kind="resize", seed=0, epoch=0).double() / 255
    extents = []
    for axis in (0, 1):
        line = result[:, :, 32, 0] if axis == 0 else result[:, 32, :, 1]
        # Between a quarter and three quarters of the way, where the border repeats nothing.
        extents.append((line[:, 48] - line[:, 16]).numpy() * 63 / 32)
    height, width = extents
    area, ratio = height * width, width / height
    assert 0.33 < area.min() < 0.38 and 0.97 < area.max() < 1.03
    assert ratio.min() > 0.72 and ratio.max() < 1.39 and ratio.min() < 0.8 and ratio.max() > 1.25
    draws = [uniform(index, seed=0, epoch=0, slot=slot).numpy() for slot in (3, 4, 5, 6)]
    left, top, across, down = drawn_boxes(draws)
    assert (left >= 0).all() and (top >= 0).all()
    assert (left + across <= 1 + 1e-12).all() and (top + down <= 1 + 1e-12).all()
    np.testing.assert_allclose(height, down, atol=0.03)
    np.testing.assert_allclose(width, across, atol=0.03)


# Tint


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_tint_multiplies_each_channel_by_one_factor(size):
    images, index = images_of(50, size), torch.arange(50)
    result = augment(images, index, kind="tint", seed=2, epoch=1)
    draws = torch.stack([uniform(index, seed=2, epoch=1, slot=slot) for slot in (7, 8, 9)], dim=1)
    factors = 0.8 + 0.4 * draws
    exact = images.double() * factors[:, None, None, :]
    assert (result.double() - exact.clamp(0, 255)).abs().max() < 0.501
    assert (exact > 255).any(), "some values are cut off"


def test_the_factors_are_spread_over_08_to_12_and_differ_between_channels():
    grey = torch.full((2000, 4, 4, 3), 200, dtype=torch.uint8)
    result = augment(grey, torch.arange(2000), kind="tint", seed=0, epoch=0)
    assert torch.equal(result, result[:, :1, :1].expand_as(result)), "constant within a channel"
    factors = result[:, 0, 0].numpy() / 200
    assert factors.min() == 0.8 and factors.max() == 1.2
    assert abs(factors.mean() - 1) < 0.01
    assert np.abs(np.corrcoef(factors.T) - np.eye(3)).max() < 0.1


# Erase


@pytest.mark.parametrize("size", [(32, 32), (16, 24), (24, 16)], ids=str)
def test_erase_fills_one_rectangle_with_the_rounded_mean_in_half_of_the_images(size):
    (height, width), n = size, 600
    images, index = images_of(n, size), torch.arange(n)
    result = augment(images, index, kind="erase", seed=0, epoch=0)
    means = images.double().mean(dim=(1, 2)).round().to(torch.uint8)
    # No image holds its own mean colour, so that what was filled can be seen.
    images = torch.where((images == means[:, None, None]).all(-1, keepdim=True), 0, images)
    assert torch.equal(images.double().mean(dim=(1, 2)).round().to(torch.uint8), means)
    changed = (result != images).any(dim=-1).numpy()
    touched = changed.any(axis=(1, 2))
    chosen = (uniform(index, seed=0, epoch=0, slot=10) < 0.5).numpy()
    assert 250 < chosen.sum() < 350 and not touched[~chosen].any()
    areas, ratios = [], []
    for row in np.flatnonzero(touched):
        rows, columns = np.flatnonzero(changed[row].any(axis=1)), np.flatnonzero(changed[row].any(axis=0))
        inside = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        assert changed[row][inside].all() and changed[row].sum() == len(rows) * len(columns)
        assert (result[row][inside] == means[row]).all()
        areas.append(len(rows) * len(columns) / (height * width))
        ratios.append((len(rows) / height) / (len(columns) / width))
    # Sides are whole pixels: up to half a pixel is added to or taken from each.
    slack = (0.5 / height) * 1.0 + (0.5 / width) * 1.0
    assert min(areas) < 0.04 and 0.29 < max(areas) <= 0.33 + slack
    assert min(ratios) < 0.5 and max(ratios) > 2 and touched.sum() >= 0.95 * chosen.sum()


def test_erase_of_known_numbers():
    """A quarter of the sides: 2 x 2 of 8 x 8 pixels, at the last place there is."""
    image = images_of(1, (8, 8))
    area, square = (1 / 16 - 0.02) / 0.31, -math.log(0.3) / math.log(11)
    last = 1 - 1e-9
    result = OPERATIONS["erase"].apply(image.clone(), numbers([0.49], [area], [square], [last], [0.5]))
    expected = image.clone()
    expected[0, 3:5, 6:8] = image[0].double().mean(dim=(0, 1)).round().to(torch.uint8)
    assert torch.equal(result, expected)
    untouched = OPERATIONS["erase"].apply(image.clone(), numbers([0.5], [area], [square], [last], [0.5]))
    assert torch.equal(untouched, image)


def test_erase_never_reaches_beyond_the_image_however_long_its_rectangle():
    image = images_of(1, (8, 16))
    for ratio, place in itertools.product((0.0, 1.0), (0.0, 1 - 1e-9)):
        result = OPERATIONS["erase"].apply(image.clone(), numbers([0.0], [1.0], [ratio], [place], [place]))
        changed = (result != image).any(-1)[0]
        long, short = (changed.any(1), changed.any(0)) if ratio else (changed.any(0), changed.any(1))
        assert long.all(), "an area of a third at a ratio of 3.3 is as long as the image"
        assert 0 < short.sum() < len(short)


# What leaves it


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_stays_contiguous_so_that_it_is_channels_last_once_permuted(kind):
    result = augment(images_of(5), torch.arange(5), kind=kind, seed=0, epoch=0)
    assert result.is_contiguous()
    assert result.permute(0, 3, 1, 2).is_contiguous(memory_format=torch.channels_last)
