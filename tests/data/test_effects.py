"""Injected attributes: each against Pillow or its formula written out, and the groups that must stay as they are."""

import colorsys

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from fairkd.data.effects import EFFECTS, blur, brightness, contrast, grey, noise


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def test_grey_is_pillows(images):
    expected = [np.asarray(Image.fromarray(image).convert("L").convert("RGB")) for image in images]
    assert (grey(images) == np.stack(expected)).all()


def test_noise_has_its_deviation_and_depends_on_the_key_alone():
    flat = np.full((200, 32, 32, 3), 128, dtype=np.uint8)
    keys = np.arange(200)
    noisy = noise(flat, keys)
    assert (noisy.astype(float) - 128).std() == pytest.approx(0.08 * 255, rel=0.01)
    assert abs(noisy.mean() - 128) < 0.2
    assert (noise(flat[:1], keys[7:8]) == noisy[7]).all()
    assert (noisy[0] != noisy[1]).any()


@pytest.mark.parametrize("size", [32, 64])
def test_blur_is_in_proportion_to_the_size(size):
    images = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    sigma = 0.7 * size / 32
    for image, blurred in zip(images, blur(images), strict=True):
        for channel in range(3):
            expected = gaussian_filter(image[..., channel].astype(float), sigma)
            assert np.abs(blurred[..., channel] - expected).max() <= 0.51


def test_contrast_keeps_the_mean_and_shrinks_the_distance(images):
    for image, flatter in zip(images, contrast(images), strict=True):
        mean = image.mean(axis=(0, 1))
        assert np.abs(flatter - ((image - mean) * 0.4 + mean)).max() <= 0.5 + 1e-9


def test_brightness_raises_the_value_of_hsv(images):
    images[0, 0, 0] = 0
    for image, brighter in zip(images, brightness(images), strict=True):
        for y, x in [(0, 0), (3, 5), (31, 31)]:
            hue, saturation, value = colorsys.rgb_to_hsv(*(image[y, x] / 255))
            expected = colorsys.hsv_to_rgb(hue, saturation, min(value + 0.15, 1))
            assert np.abs(brighter[y, x] - np.array(expected) * 255).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("kind", [kind for kind in EFFECTS if kind != "tint"])
def test_group_0_stays_and_group_1_changes(images, kind):
    groups = np.array([0, 1, 0, 1, 1])
    changed = EFFECTS[kind].change(images.copy(), groups, np.arange(5))
    assert changed.shape == images.shape and changed.dtype == np.uint8
    assert (changed[groups == 0] == images[groups == 0]).all()
    assert all((changed[row] != images[row]).any() for row in (1, 3, 4))


@pytest.mark.parametrize("kind", EFFECTS)
def test_every_effect_names_two_groups(kind):
    assert len(set(EFFECTS[kind].group_names)) == 2
