"""Augmentation of whole batches as a pure function of (seed, epoch, index).

The random numbers come from a counter-based hash and not from a generator's state: an image's augmentation does not
depend on the batch, the order or the process, so that a teacher's outputs for (epoch, index) can be kept and
shared by all its students.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fairkd.errors import ParameterError

#: Random numbers in [0, 1) of each image, ``(batch,)`` float64 by slot.
Draws = Mapping[int, Tensor]

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB

_ERASED_SHARE = 0.5
_TINT_RANGE = 0.2


@dataclass(frozen=True)
class Operation:
    """Changes images ``(batch, height, width, 3)`` uint8 by the random numbers of its ``slots``."""

    slots: tuple[int, ...]
    apply: Callable[[Tensor, list[Tensor]], Tensor]


def operations(kind: str) -> list[Operation]:
    """Return the operations of an augmentation, in the order in which they are applied.

    Args:
        kind: ``"none"``, or names of ``OPERATIONS`` joined by ``+``.

    Raises:
        ParameterError: an unknown or repeated name.
    """
    names = [] if kind == "none" else kind.split("+")
    unknown = [name for name in names if name not in OPERATIONS]
    if unknown or len(set(names)) < len(names):
        what = f"{unknown[0]!r} is unknown" if unknown else "a part is repeated"
        raise ParameterError(
            f"augmentation={kind!r}: {what}; allowed: none, or {', '.join(OPERATIONS)} joined by '+'"
        )
    return [operation for name, operation in OPERATIONS.items() if name in names]


def draw(kind: str, index: Tensor, *, seed: int, epoch: int) -> Draws:
    """Return the random numbers that an augmentation needs, for samples with the stable ids ``index (n,)``."""
    slots = [slot for operation in operations(kind) for slot in operation.slots]
    return {slot: uniform(index, seed=seed, epoch=epoch, slot=slot) for slot in slots}


def apply(kind: str, images: Tensor, draws: Draws) -> Tensor:
    """Augment ``images (batch, height, width, 3)`` uint8, which may be overwritten.

    ``draws`` may be on the CPU while the images are on another device: no operation waits for that device.
    """
    for operation in operations(kind):
        images = operation.apply(images, [draws[slot] for slot in operation.slots])
    return images


def _resize(images: Tensor, numbers: list[Tensor]) -> Tensor:
    """Enlarge a random part to the whole: torchvision's RandomResizedCrop with an area of 0.35 to 1.

    The ratio of the part's sides to the image's is log-uniform in [3/4, 4/3]; bilinear, rounded to whole values.
    """
    area, ratio, left, top = (number.to(images.device) for number in numbers)
    root, stretch = (0.35 + 0.65 * area).sqrt(), (math.log(4 / 3) * (ratio - 0.5)).exp()
    width, height = (root * stretch).clamp_max(1), (root / stretch).clamp_max(1)
    zero = torch.zeros_like(width)
    # Coordinates of grid_sample run from -1 to 1 over the whole image.
    rows = [
        torch.stack([width, zero, (1 - width) * (2 * left - 1)], dim=1),
        torch.stack([zero, height, (1 - height) * (2 * top - 1)], dim=1),
    ]
    planar = images.permute(0, 3, 1, 2).float()
    grid = F.affine_grid(torch.stack(rows, dim=1).float(), list(planar.shape), align_corners=False)
    sampled = F.grid_sample(planar, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _crop(images: Tensor, numbers: list[Tensor]) -> Tensor:
    """Shift images by up to an eighth of their size over black."""
    n, height, width, channels = images.shape
    pad = max(1, min(height, width) // 8)
    down, right = ((number * (2 * pad + 1)).long() for number in numbers)
    run, side = width * channels, pad * channels
    padded = F.pad(images.reshape(n, height, run), (side, side, pad, pad)).view(-1)
    # A line of the result is one run of bytes of the padded batch: whole runs are copied, not pixels.
    windows = padded.as_strided((padded.numel() - run + 1, run), (1, 1))
    line = run + 2 * side
    lines = torch.arange(height, device=images.device) * line
    first = (
        torch.arange(n, device=images.device) * ((height + 2 * pad) * line) + down * line + right * channels
    )
    return windows.index_select(0, (first[:, None] + lines).view(-1)).view(images.shape)


def _flip(images: Tensor, numbers: list[Tensor]) -> Tensor:
    """Mirror half of the images."""
    rows = (numbers[0] < 0.5).nonzero()[:, 0]
    # Selecting from both kinds is several times as fast as writing the mirrored ones over the others.
    positions = torch.arange(len(images), device=rows.device)
    positions[rows] = len(images) + torch.arange(len(rows), device=rows.device)
    mirrored = images.index_select(0, rows.to(images.device)).flip(2)
    return torch.cat([images, mirrored]).index_select(0, positions.to(images.device))


def _tint(images: Tensor, numbers: list[Tensor]) -> Tensor:
    """Multiply each channel of an image by a factor of its own in [0.8, 1.2]."""
    factors = 1 + _TINT_RANGE * (2 * torch.stack(numbers, dim=1).to(images.device) - 1)
    scaled = images * factors[:, None, None, :].float()
    return scaled.round().clamp(0, 255).to(torch.uint8)


def _erase(images: Tensor, numbers: list[Tensor]) -> Tensor:
    """Fill a random rectangle with the image's mean colour, in half of the images.

    Its area is 2 to 33 % of the image, the ratio of its sides log-uniform in [0.3, 3.3]; no side is longer
    than the image's. Source: Zhong et al. 2020, https://arxiv.org/abs/1708.04896.
    """
    chosen, area, ratio, left, top = (number.to(images.device) for number in numbers)
    height, width = images.shape[1:3]
    root, stretch = (0.02 + 0.31 * area).sqrt(), (math.log(0.3) + math.log(11) * ratio).exp().sqrt()
    down = _inside(height, root * stretch, top)
    across = _inside(width, root / stretch, left)
    erased = (chosen < _ERASED_SHARE)[:, None, None] & down[:, :, None] & across[:, None, :]
    mean = images.float().mean(dim=(1, 2), keepdim=True).round().to(torch.uint8)
    return torch.where(erased[..., None], mean, images)


def _inside(size: int, share: Tensor, place: Tensor) -> Tensor:
    """Return which of ``size`` positions lie in a stretch of ``share`` of them ``(batch,)``: ``(batch, size)``."""
    extent = (share.clamp_max(1) * size).round()
    start = (place * (size - extent + 1)).floor()
    positions = torch.arange(size, device=share.device)
    return (positions >= start[:, None]) & (positions < (start + extent)[:, None])


#: By name, in the order in which they are applied. A slot belongs to one number of one operation for good: what an
#: image looks like in (seed, epoch) depends on it.
OPERATIONS: Mapping[str, Operation] = {
    "resize": Operation((3, 4, 5, 6), _resize),
    "crop": Operation((0, 1), _crop),
    "flip": Operation((2,), _flip),
    "tint": Operation((7, 8, 9), _tint),
    "erase": Operation((10, 11, 12, 13, 14), _erase),
}


def uniform(index: Tensor, *, seed: int, epoch: int, slot: int) -> Tensor:
    """Return numbers in [0, 1) that depend on nothing but (seed, epoch, index, slot).

    SplitMix64 (Steele et al. 2014, https://doi.org/10.1145/2714064.2660195) as a hash, chained over the four
    numbers.

    Args:
        index: int64 of any shape.

    Returns:
        float64 of the same shape.
    """
    state = _mix(torch.full((), seed, dtype=torch.int64, device=index.device))
    state = _mix(_mix(state ^ epoch) ^ index)
    return _shift_right(_mix(state ^ slot), 11).double() / 2**53


def _mix(state: Tensor) -> Tensor:
    state = state + _GOLDEN
    state = (state ^ _shift_right(state, 30)) * _MIX_1
    state = (state ^ _shift_right(state, 27)) * _MIX_2
    return state ^ _shift_right(state, 31)


def _shift_right(state: Tensor, bits: int) -> Tensor:
    """Shift without copying the sign bit, which int64's own shift would do."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)
