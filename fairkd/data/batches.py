"""Batches from images in memory, with augmentation that is a pure function of (seed, epoch, index).

Images stay uint8 and whole batches are gathered and augmented at once, on the training device. Because the
random numbers come from a counter-based hash and not from a generator's state, a teacher sees exactly the pixels
that its student sees, in any order and in any process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fairkd.data.lazy import LazyImages
from fairkd.data.splits import ImageSet
from fairkd.errors import DataError

Augmentation = Literal["none", "crop", "crop+flip"]

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


@dataclass(frozen=True)
class Batch:
    """``images (batch, 3, height, width)`` uint8, channels-last in memory; the others ``(batch,)`` int64."""

    images: Tensor
    labels: Tensor
    groups: Tensor
    index: Tensor


class BatchStream:
    """Batches of an image set, shuffled by (seed, epoch), or drawn with replacement by ``sampling_weights (n,)``.

    The last batch is never a small rest: an epoch is cut into batches whose sizes differ by at most one, because
    batch normalisation cannot train on a batch of one image.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        *,
        shuffle: bool = False,
        augmentation: Augmentation = "none",
        sampling_weights: np.ndarray | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if len(images) == 0:
            raise DataError("cannot make batches of an empty image set")
        self.shuffle, self.augmentation, self.seed = shuffle, augmentation, seed
        self._shares = None if sampling_weights is None else sampling_weights / sampling_weights.sum()
        # Images that do not fit into memory are gathered a batch at a time.
        lazy = isinstance(images.images, LazyImages)
        self._images = images.images if lazy else torch.from_numpy(images.images).to(device)
        self._labels = torch.from_numpy(images.labels).to(device)
        self._groups = torch.from_numpy(images.groups).to(device)
        self._index = torch.from_numpy(images.index).to(device)
        self._batches = -(-len(images) // batch_size)

    def __len__(self) -> int:
        return self._batches

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        """Iterate over the batches of one epoch."""
        for rows in torch.tensor_split(self._order(epoch), self._batches):
            index = self._index[rows]
            images = augment(self._gather(rows), index, kind=self.augmentation, seed=self.seed, epoch=epoch)
            yield Batch(images.permute(0, 3, 1, 2), self._labels[rows], self._groups[rows], index)

    def _gather(self, rows: Tensor) -> Tensor:
        if isinstance(self._images, Tensor):
            return self._images[rows]
        return torch.from_numpy(self._images[rows.cpu().numpy()]).to(rows.device)

    def _order(self, epoch: int) -> Tensor:
        n, rng = len(self._labels), np.random.default_rng([self.seed, epoch])
        if self._shares is not None:
            order = rng.choice(n, n, p=self._shares)
        else:
            order = rng.permutation(n) if self.shuffle else np.arange(n)
        return torch.from_numpy(order).to(self._labels.device)


def augment(images: Tensor, index: Tensor, *, kind: Augmentation, seed: int, epoch: int) -> Tensor:
    """Shift images by up to an eighth of their size over black, and mirror half of them for ``crop+flip``.

    Args:
        images: ``(batch, height, width, channels)``.
        index: ``(batch,)`` int64, the samples' stable ids.
        kind: ``none``, ``crop`` or ``crop+flip``.
        seed, epoch: with ``index`` they determine the result.
    """
    if kind == "none":
        return images
    _, height, width, _ = images.shape
    pad = max(1, min(height, width) // 8)
    padded = F.pad(images, (0, 0, pad, pad, pad, pad))
    shift_y, shift_x, mirror = (uniform(index, seed=seed, epoch=epoch, slot=slot) for slot in range(3))
    rows = torch.arange(height, device=images.device) + (shift_y * (2 * pad + 1)).long()[:, None]
    columns = torch.arange(width, device=images.device).expand(len(images), width)
    if kind == "crop+flip":
        columns = torch.where(mirror[:, None] < 0.5, columns.flip(1), columns)
    columns = columns + (shift_x * (2 * pad + 1)).long()[:, None]
    batch = torch.arange(len(images), device=images.device)
    return padded[batch[:, None, None], rows[:, :, None], columns[:, None, :]]


def uniform(index: Tensor, *, seed: int, epoch: int, slot: int) -> Tensor:
    """Return numbers in [0, 1) that depend on nothing but (seed, epoch, index, slot).

    SplitMix64 (Steele et al. 2014, https://doi.org/10.1145/2714064.2660195) as a hash, chained over the four
    numbers.

    Args:
        index: int64 of any shape.

    Returns:
        float64 of the same shape.
    """
    state = _mix(torch.tensor(seed, dtype=torch.int64, device=index.device))
    for number in (torch.tensor(epoch, device=index.device), index, torch.tensor(slot, device=index.device)):
        state = _mix(state ^ number)
    return _shift_right(state, 11).double() / 2**53


def _mix(state: Tensor) -> Tensor:
    state = state + _GOLDEN
    state = (state ^ _shift_right(state, 30)) * _MIX_1
    state = (state ^ _shift_right(state, 27)) * _MIX_2
    return state ^ _shift_right(state, 31)


def _shift_right(state: Tensor, bits: int) -> Tensor:
    """Shift without copying the sign bit, which int64's own shift would do."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)
