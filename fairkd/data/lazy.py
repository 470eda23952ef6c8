"""``LazyImages``: images that stay in a memory-mapped store until they are asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

#: Changes a batch, perhaps in place: images ``(n, height, width, 3)``, groups ``(n,)`` and keys ``(n,)`` to images
#: of that shape.
Change = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

#: Image sets of up to so many bytes may become ordinary arrays or tensors; larger ones stay on disk.
IN_MEMORY_BYTES = 2 * 2**30

_PIECE = 2048


class LazyImages(NDArrayOperatorsMixin):
    """Rows of a larger store, gathered and changed when they are indexed; indexing gives an ordinary array.

    It stands in for an array ``(n, height, width, 3)`` uint8 wherever rows are read: ``images[3]``,
    ``images[10:20]``, ``images[mask]``, ``images[rows, ..., 0]``, ``len``, iteration, ``numpy.asarray``. Arithmetic,
    comparisons and an array's methods gather everything first. It cannot be written to.

    Args:
        source: array or other lazy images ``(m, height, width[, 3])``, uint8.
        rows: positions in ``source``, ``(n,)``.
        groups: group of each row, ``(n,)``: what ``change`` depends on.
        change: applied to what is gathered; ``None``: nothing.
        keys: identity of each row for ``change``, ``(n,)``; it seeds random changes.
        keep: gather everything the first time that a row is asked for, and keep it: as quick as an array from then
            on. For images that fit into memory.
    """

    def __init__(
        self,
        source: Any,
        rows: np.ndarray,
        *,
        groups: np.ndarray,
        keys: np.ndarray,
        change: Change | None = None,
        keep: bool = False,
    ) -> None:
        self._source, self._change, self._keep = source, change, keep
        self._rows, self._groups, self._keys = rows, groups, keys

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(n, height, width, 3)``."""
        return (len(self._rows), self._source.shape[1], self._source.shape[2], 3)

    @property
    def dtype(self) -> np.dtype:
        """``uint8``."""
        return np.dtype(np.uint8)

    @property
    def ndim(self) -> int:
        """Four."""
        return 4

    @property
    def nbytes(self) -> int:
        """Size of all images in memory, bytes."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        if self._keep:
            return np.asarray(self._kept[key])
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if first is Ellipsis:
            return np.asarray(self[:][key])
        if isinstance(first, int | np.integer):
            return np.asarray(self._gather(np.arange(len(self))[first][None])[0][rest])
        images = self._gather(np.arange(len(self))[first])
        return images[(slice(None), *rest)] if rest else images

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self), 256):
            yield from self[start : start + 256]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        images = np.array(self[:]) if copy and self._keep else self[:]
        return images if dtype is None else images.astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        arrays = [value[:] if isinstance(value, LazyImages) else value for value in inputs]
        return getattr(ufunc, method)(*arrays, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"LazyImages has no attribute {name!r}")
        return getattr(self[:], name)

    @property
    def on_disk(self) -> bool:
        """Whether the store is a memory-mapped file."""
        return on_disk(self._source)

    def subset(self, rows: np.ndarray) -> LazyImages:
        """Return the given rows, still lazy."""
        return LazyImages(
            self._source,
            self._rows[rows],
            groups=self._groups[rows],
            keys=self._keys[rows],
            change=self._change,
            keep=self._keep,
        )

    @functools.cached_property
    def _kept(self) -> np.ndarray:
        return self._gather(np.arange(len(self)))

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        # In pieces: several times faster than one large indexing, whose memory is touched page by page.
        images = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        for start in range(0, len(rows), _PIECE):
            some = rows[start : start + _PIECE]
            piece = np.asarray(self._source[self._rows[some]])
            if piece.ndim == 3:
                piece = np.repeat(piece[..., None], 3, axis=-1)
            if self._change is not None:
                piece = self._change(piece, self._groups[some], self._keys[some])
            images[start : start + _PIECE] = piece
        return images


def on_disk(images: Any) -> bool:
    """Whether images, an array or lazy, lie in a memory-mapped file."""
    return images.on_disk if isinstance(images, LazyImages) else isinstance(images, np.memmap)
