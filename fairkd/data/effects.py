"""Injected attributes: what is done to an image so that it belongs to a group.

The corruptions are those of CIFAR-10-C at severity 3 (Hendrycks and Dietterich 2019, arXiv 1903.12261); the grey
is that of CIFAR-10S (Wang et al. 2020, arXiv 1911.11834).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fairkd.data.bias import TINTS, tint
from fairkd.data.lazy import Change
from fairkd.errors import FairkdWarning

NOISE_DEVIATION = 0.08
#: Pixels at 32 x 32; larger images are blurred in proportion.
BLUR_RADIUS = 0.7
CONTRAST_FACTOR = 0.4
BRIGHTNESS_SHIFT = 0.15
_BLUR_SIZE = 32
#: How many images tell whether an effect can be seen.
LOOKED_AT = 64
_BATCH = 1024
_NOISE_SEED = 1903_12261


@dataclass(frozen=True)
class Effect:
    """An injected attribute: its name, the names of its groups, and what it does to a batch.

    ``change(images, groups, keys)`` may write into ``images``; group 0 stays as it is, but with ``tint``, which
    colours both.
    """

    attribute: str
    group_names: tuple[str, ...]
    change: Change


def grey(images: np.ndarray) -> np.ndarray:
    """Return the images in grey: Pillow's ``convert("L")`` on three channels.

    Args:
        images: ``(n, height, width, 3)``, uint8.

    Returns:
        The same shape, uint8; the channels are equal.
    """
    n, height, width, _ = images.shape
    tall = Image.fromarray(images.reshape(n * height, width, 3))
    return np.repeat(np.asarray(tall.convert("L")).reshape(n, height, width, 1), 3, axis=-1)


def noise(images: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Add Gaussian noise of standard deviation 0.08 (on the scale 0 to 1); an image's key alone seeds it.

    Args:
        images: ``(n, height, width, 3)``, uint8.
        keys: identity of each image, ``(n,)``, non-negative integers.
    """
    noisy = np.empty_like(images)
    for row, (image, key) in enumerate(zip(images, keys.tolist(), strict=True)):
        values = np.random.default_rng([_NOISE_SEED, key]).normal(0, 255 * NOISE_DEVIATION, image.shape)
        noisy[row] = _to_pixels(image + values)
    return noisy


def blur(images: np.ndarray) -> np.ndarray:
    """Blur with a Gaussian of 0.7 pixels at 32 x 32, in proportion at other sizes; uint8 in, uint8 out."""
    from scipy.ndimage import gaussian_filter

    radius = BLUR_RADIUS * min(images.shape[1:3]) / _BLUR_SIZE
    return _to_pixels(gaussian_filter(images.astype(np.float32), sigma=(0, radius, radius, 0)))


def contrast(images: np.ndarray) -> np.ndarray:
    """Move every pixel to 0.4 of its distance from its channel's mean in the image; uint8 in, uint8 out."""
    means = images.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    return _to_pixels((images - means) * CONTRAST_FACTOR + means)


def brightness(images: np.ndarray) -> np.ndarray:
    """Add 0.15 to the value of the HSV colour; hue and saturation stay; uint8 in, uint8 out."""
    value = images.max(axis=-1, keepdims=True).astype(np.float64)
    brighter = np.minimum(value + 255 * BRIGHTNESS_SHIFT, 255)
    ratio = np.divide(brighter, value, out=np.zeros_like(value), where=value > 0)
    return _to_pixels(np.where(value > 0, images * ratio, brighter))


def _to_pixels(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(np.clip(values, 0, 255)), dtype=np.uint8)


def _on_second_group(corrupt: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Change:
    def change(images: np.ndarray, groups: np.ndarray, keys: np.ndarray) -> np.ndarray:
        rows = np.flatnonzero(groups == 1)
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            images[batch] = corrupt(images[batch], keys[batch])
        return images

    return change


def _effect(attribute: str, clean: str, changed: str, corrupt: Callable[[np.ndarray], np.ndarray]) -> Effect:
    return Effect(attribute, (clean, changed), _on_second_group(lambda images, keys: corrupt(images)))


#: The injected attributes by the name that ``bias`` takes.
EFFECTS: Mapping[str, Effect] = {
    "tint": Effect("tint", tuple(TINTS), lambda images, groups, keys: tint(images, groups)),
    "grey": _effect("domain", "colour", "grey", grey),
    "noise": Effect("noise", ("clean", "noisy"), _on_second_group(noise)),
    "blur": _effect("blur", "clean", "blurred", blur),
    "contrast": _effect("contrast", "clean", "low contrast", contrast),
    "brightness": _effect("brightness", "clean", "bright", brightness),
}


def warn_if_unchanged(name: str, images: np.ndarray, keys: np.ndarray) -> None:
    """Warn of an effect that does nothing to these images, as grey does to grey ones: no network sees such a group.

    Args:
        name: of the effect.
        images: ``(n, height, width, 3)``, uint8, before the effect; the first :data:`LOOKED_AT` will do.
        keys: identity of each image, ``(n,)``.
    """
    second = np.ones(len(images), dtype=np.int64)
    if len(images) and np.array_equal(EFFECTS[name].change(np.array(images), second, keys), images):
        warnings.warn(
            f"bias={name!r} changes none of the first {len(images)} training images: the groups would differ by "
            "name alone. Choose another bias.",
            FairkdWarning,
            stacklevel=3,
        )
