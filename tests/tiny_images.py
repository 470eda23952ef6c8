"""Images that a tiny network can learn, for tests."""

from __future__ import annotations

import numpy as np

from fairkd.data.splits import ImageSet


def make_image_set(rng: np.random.Generator, n: int, classes: int, groups: int, size: int) -> ImageSet:
    """Images whose brightness in one quadrant shows the class and whose colour shows the group."""
    labels, colours = np.arange(n) % classes, (np.arange(n) // classes) % groups
    images = rng.integers(0, 60, (n, size, size, 3), dtype=np.uint8)
    half = size // 2
    for row, (label, group) in enumerate(zip(labels, colours, strict=True)):
        y, x = half * (label // 2 % 2), half * (label % 2)
        images[row, y : y + half, x : x + half, group] += 150
    index = np.arange(n)
    return ImageSet(images, labels.astype(np.int64), colours.astype(np.int64), index, index)
