"""Batches from images in memory, augmented as a pure function of (seed, epoch, index).

Images stay uint8; whole batches are gathered and augmented at once, on the training device.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fairkd.data.augment import Draws, apply, draw, operations
from fairkd.data.lazy import IN_MEMORY_BYTES, LazyImages
from fairkd.data.splits import ImageSet
from fairkd.errors import DataError

_TOGETHER_BYTES = 2 * 2**20


@dataclass(frozen=True)
class Batch:
    """``images (batch, 3, height, width)`` uint8, channels-last in memory; the others ``(batch,)`` int64.

    ``rows`` are positions in the image set, ``epoch`` the one whose augmentation the images have; without rows it
    is not known where a batch comes from.
    """

    images: Tensor
    labels: Tensor
    groups: Tensor
    index: Tensor
    rows: Tensor | None = None
    epoch: int = 0

    def split(self, size: int) -> list[Batch]:
        """Cut into :func:`parts_of` parts, whose sizes differ by at most one."""
        bounds = even_bounds(len(self.labels), parts_of(len(self.labels), size))
        return [self[start:stop] for start, stop in itertools.pairwise(bounds)]

    def __getitem__(self, part: slice) -> Batch:
        rows = None if self.rows is None else self.rows[part]
        return Batch(
            self.images[part], self.labels[part], self.groups[part], self.index[part], rows, self.epoch
        )


class AugmentedImages:
    """An image set on the training device, from which any rows can be had as they look in any epoch.

    Args:
        images: the image set.
        augmentation: see :func:`fairkd.data.augment.operations`.
        seed: of the augmentation.
        device: where the batches shall be.
        fingerprint: identifies the images, see :class:`~fairkd.data.splits.Splits`.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        augmentation: str = "none",
        seed: int = 0,
        device: torch.device | str = "cpu",
        fingerprint: str = "",
    ) -> None:
        if len(images) == 0:
            raise DataError("cannot make batches of an empty image set")
        operations(augmentation)
        self.augmentation, self.seed, self.fingerprint = augmentation, seed, fingerprint
        self.device = torch.device(device)
        self._images = _on_device(images.images, self.device)
        self._labels = torch.from_numpy(images.labels).to(device)
        self._groups = torch.from_numpy(images.groups).to(device)
        self.index = torch.from_numpy(images.index)
        self._device_index = self.index.to(device)
        self._drawn: tuple[int, Draws] = (-1, {})

    def __len__(self) -> int:
        return len(self.index)

    @property
    def image_bytes(self) -> int:
        """Size of one image, bytes."""
        _, height, width, channels = self._images.shape
        return int(height * width * channels)

    def look_of(self, epoch: int) -> int:
        """Return the first epoch in which every image looks as it does in ``epoch``."""
        return 0 if self.augmentation == "none" else epoch

    def batch(self, rows: Tensor, epoch: int) -> Batch:
        """Return the images at the positions ``rows (batch,)`` int64, on the CPU, with the epoch's augmentation."""
        draws = {slot: numbers[rows] for slot, numbers in self._draws(epoch).items()}
        there = rows.to(self.device, non_blocking=True)
        images = apply(self.augmentation, self._gather(rows, there), draws).permute(0, 3, 1, 2)
        return Batch(
            images, self._labels[there], self._groups[there], self._device_index[there], there, epoch
        )

    def _gather(self, rows: Tensor, there: Tensor) -> Tensor:
        if isinstance(self._images, Tensor):
            return self._images.index_select(0, there)
        return torch.from_numpy(self._images[rows.numpy()]).to(self.device)

    def _draws(self, epoch: int) -> Draws:
        # Once for all images: drawn batch by batch, the calls would cost more than the numbers.
        if self._drawn[0] != epoch:
            self._drawn = epoch, draw(self.augmentation, self.index, seed=self.seed, epoch=epoch)
        return self._drawn[1]


class BatchStream:
    """Batches of images, shuffled by (seed, epoch), or drawn with replacement by ``sampling_weights (n,)``.

    The last batch is never a small rest: an epoch is cut into batches whose sizes differ by at most one, because
    batch normalisation cannot train on a batch of one image.
    """

    def __init__(
        self,
        images: AugmentedImages,
        batch_size: int,
        *,
        shuffle: bool = False,
        sampling_weights: np.ndarray | None = None,
        seed: int = 0,
    ) -> None:
        self.images, self.shuffle, self.seed = images, shuffle, seed
        self._shares = None if sampling_weights is None else sampling_weights / sampling_weights.sum()
        self._batches = parts_of(len(images), batch_size)
        # Small batches are made several at once: calls would cost more than the pixels.
        self._together = max(1, _TOGETHER_BYTES // (batch_size * images.image_bytes))

    def __len__(self) -> int:
        return self._batches

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        """Iterate over the batches of one epoch."""
        order, bounds = self._order(epoch), even_bounds(len(self.images), self._batches)
        for first in range(0, self._batches, self._together):
            cuts = bounds[first : first + self._together + 1]
            made = self.images.batch(order[cuts[0] : cuts[-1]], epoch)
            for start, stop in itertools.pairwise(cuts):
                yield made[start - cuts[0] : stop - cuts[0]]

    def _order(self, epoch: int) -> Tensor:
        n, rng = len(self.images), np.random.default_rng([self.seed, epoch])
        if self._shares is not None:
            order = rng.choice(n, n, p=self._shares)
        else:
            order = rng.permutation(n) if self.shuffle else np.arange(n)
        return torch.from_numpy(order)


def parts_of(n: int, size: int) -> int:
    """Return into how many parts of up to ``size`` images to cut ``n``, none of them of one image.

    An odd number in parts of two has one of three.
    """
    return n if size == 1 else max(1, min(-(-n // size), n // 2))


def even_bounds(n: int, parts: int) -> list[int]:
    """Return the bounds of parts of ``range(n)`` whose sizes differ by at most one, the larger ones first."""
    size, larger = divmod(n, parts)
    return [number * size + min(number, larger) for number in range(parts + 1)]


def _on_device(images: np.ndarray | LazyImages, device: torch.device) -> Tensor | LazyImages:
    if isinstance(images, LazyImages):
        if images.nbytes > IN_MEMORY_BYTES:
            return images
        images = images[:]
    return torch.from_numpy(images).to(device)
