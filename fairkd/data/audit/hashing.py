"""Hashes of pixels, and the search for near hashes that needs neither n² memory nor a list of every pair."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fairkd.progress import track

HASH_BITS = 64
_ROWS, _COLUMNS = 8, 9
#: Luma of the ITU-R BT.601 standard, as Pillow's ``convert("L")``.
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_CHUNK_VALUES = 8_000_000
_SIDE = 16
_POPCOUNT = np.array([value.bit_count() for value in range(2**16)], dtype=np.uint8)


class Hashes(NamedTuple):
    """What is known of each image's pixels.

    ``exact (n,)``: 128-bit digests, equal for equal pixels; ``near (n,)``: 64-bit difference hashes; ``small
    (n, 256)``: 16 x 16 grey levels with mean 0 and length 1 (0 for a constant image), float32; ``spread (n,)``:
    the largest standard deviation of a channel, in grey levels, 0 to 127.5.
    """

    exact: np.ndarray
    near: npt.NDArray[np.uint64]
    small: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float32]


def chunks(images: np.ndarray) -> Iterator[np.ndarray]:
    """Iterate over ``images (n, height, width, 3)`` in pieces that fit into memory, with a progress bar."""
    _, height, width, channels = images.shape
    step = max(1, _CHUNK_VALUES // (height * width * channels))
    starts = range(0, len(images), step)
    for start in track(starts, "looking at images", len(starts)):
        yield np.asarray(images[start : start + step])


def hash_images(images: np.ndarray) -> Hashes:
    """Hash ``images (n, height, width, 3)`` uint8; one pass, one chunk in memory at a time."""
    parts = [_hash_chunk(chunk) for chunk in chunks(images)]
    return Hashes(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def hamming(one: np.ndarray, other: np.ndarray) -> npt.NDArray[np.int64]:
    """Count the bits in which 64-bit hashes differ, 0 to 64; the arrays broadcast."""
    words = np.ascontiguousarray(np.bitwise_xor(one, other))[..., None].view(np.uint16)
    return np.asarray(_POPCOUNT[words].sum(axis=-1, dtype=np.int64))


def near_pairs(
    hashes: npt.NDArray[np.uint64], threshold: int, *, limit: int = 1_000_000
) -> tuple[npt.NDArray[np.int64], bool]:
    """Find all pairs of hashes that differ in at most ``threshold`` bits.

    The bits are divided into ``threshold + 1`` bands. Two hashes within the threshold agree in at least one
    band (pigeonhole), so that only hashes with an equal band are compared: multi-index hashing (Norouzi et al.
    2012, doi 10.1109/CVPR.2012.6248043). The bits are dealt to the bands by how evenly they are set, because a
    band of bits that hardly vary would compare everything with everything. Memory is linear in ``n`` and in
    the pairs found.

    Args:
        hashes: ``(n,)``.
        threshold: largest distance, [0, 63].
        limit: stop the search after a band with which more than so many pairs were found.

    Returns:
        Pairs ``(pairs, 2)`` of positions, the smaller first, in ascending order; and whether they are all.
    """
    found = np.empty((0, 2), dtype=np.int64)
    if not len(hashes):
        return found, True
    for keys in _bands(hashes, threshold + 1):
        parts = [found, *_pairs_of_equal(keys, hashes, threshold, limit)]
        found = np.unique(np.concatenate(parts), axis=0)
        if len(found) > limit:
            return found, False
    return found, True


def _hash_chunk(images: np.ndarray) -> Hashes:
    values = images.astype(np.float32)
    grey = values @ LUMA
    rows = np.ascontiguousarray(images).reshape(len(images), -1)
    shape = str(images.shape[1:]).encode()
    digests = [hashlib.blake2b(row.data, digest_size=16, key=shape).digest() for row in rows]
    small = _averaged(grey, _SIDE, _SIDE).reshape(len(images), -1)
    small -= small.mean(axis=1, keepdims=True)
    length = np.linalg.norm(small, axis=1, keepdims=True)
    # Rounding alone gives a constant image a length; without structure there is nothing to correlate.
    small = np.where(length > 1e-2, small / np.maximum(length, 1e-2), 0).astype(np.float32)
    spread = values.reshape(len(images), -1, 3).std(axis=1).max(axis=1)
    return Hashes(np.array(digests, dtype="V16"), _difference_hash(grey), small, spread)


def _difference_hash(grey: np.ndarray) -> npt.NDArray[np.uint64]:
    """Return the 64-bit difference hash (dHash) ``(n,)`` of each image ``(n, height, width)``.

    The image is averaged to 8 rows and 9 columns of whole grey levels; a bit is 1 where a level is below its
    right neighbour's; rows from the top, the first bit is the most significant. After Krawetz 2013, "Kind of
    Like That" (hackerfactor.com). It is unchanged by brightness and hardly changed by scaling or compression.
    """
    levels = np.rint(_averaged(grey, _ROWS, _COLUMNS))
    bits = levels[:, :, 1:] > levels[:, :, :-1]
    return np.packbits(bits.reshape(len(grey), HASH_BITS), axis=1).view(">u8")[:, 0].astype(np.uint64)


def _averaged(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    """Average ``(n, h, w)`` over areas to ``(n, height, width)``."""
    return np.asarray(_area_weights(grey.shape[1], height) @ grey @ _area_weights(grey.shape[2], width).T)


def _area_weights(size: int, parts: int) -> npt.NDArray[np.float32]:
    """Return ``(parts, size)``: the share of each pixel in each of ``parts`` equal stretches; rows sum to 1."""
    edges = np.arange(parts + 1) * (size / parts)
    pixels = np.arange(size)
    low = np.maximum(edges[:-1, None], pixels)
    high = np.minimum(edges[1:, None], pixels + 1)
    return np.asarray(np.maximum(high - low, 0) * (parts / size), dtype=np.float32)


def _bands(hashes: npt.NDArray[np.uint64], number: int) -> Iterator[npt.NDArray[np.uint64]]:
    """Yield each band's bits of every hash ``(n,)``; every bit is in one band."""
    bits = np.array([((hashes >> np.uint64(bit)) & np.uint64(1)).mean() for bit in range(HASH_BITS)])
    by_balance = np.argsort(np.abs(bits - 0.5), kind="stable")
    for band in range(number):
        mask = sum(1 << int(bit) for bit in by_balance[band::number])
        yield hashes & np.uint64(mask)


def _pairs_of_equal(
    keys: np.ndarray, hashes: np.ndarray, threshold: int, limit: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the near pairs among hashes of equal key: neighbours in sorted order, then next but one, ..."""
    order = np.argsort(keys, kind="stable")
    sorted_keys, sorted_hashes = keys[order], hashes[order]
    ends = np.searchsorted(sorted_keys, sorted_keys, side="right")
    active, lag, total = np.arange(len(keys)), 1, 0
    while total <= limit:
        active = active[active + lag < ends[active]]
        if not len(active):
            return
        close = active[hamming(sorted_hashes[active], sorted_hashes[active + lag]) <= threshold]
        pairs = np.stack([order[close], order[close + lag]], axis=1)
        yield np.sort(pairs, axis=1)
        total += len(close)
        lag += 1
