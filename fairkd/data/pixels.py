"""Where a data set's pixels come from: image files that are decoded once, or arrays that are there already."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import PIL
from PIL import Image

from fairkd.data.cache import CACHE_VERSION, Stored, cache_folder, decode_to_cache, open_cached
from fairkd.data.decode import Decoded, decode_files
from fairkd.data.files import open_root
from fairkd.data.images import DECODER_VERSION
from fairkd.data.listing import Stamp
from fairkd.errors import DataError
from fairkd.store import digest


class Pixels(Protocol):
    """The pixels of a source's items, which are numbered from 0."""

    @property
    def identity(self) -> Any:
        """What identifies the content, as JSON values."""

    def read(
        self, items: np.ndarray, size: int, cache_dir: str | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return images ``(n, size, size[, 3])`` uint8 of ascending ``items`` and, if known, file hashes ``(n,)``.

        Raises:
            DataError: images cannot be read; names them.
        """

    def describe(self, item: int) -> str:
        """Name an item for a message."""


@dataclass(frozen=True)
class ImageFiles:
    """Files in a folder or zip archive. ``stamps`` are their sizes and times or CRCs, one a name.

    ``place`` names items in the list they come from (``3 rows (2, 5, 9) of labels.csv``), for messages.
    ``read_file`` replaces reading from ``root``, for sources that are neither folder nor archive.
    """

    root: Path
    names: Sequence[str]
    stamps: Sequence[Stamp | str] | np.ndarray
    place: Callable[[Sequence[int]], str] | None = None
    read_file: Callable[[str], bytes] | None = field(default=None, compare=False)

    @functools.cached_property
    def identity(self) -> Any:
        """A hash of every file's name and stamp."""
        return self._hash(self.names, np.asarray(self.stamps))

    @staticmethod
    def _hash(names: Sequence[str], stamps: np.ndarray) -> str:
        content = hashlib.sha256("\0".join([*names, str(stamps.dtype)]).encode("utf-8", "surrogateescape"))
        content.update(stamps.tobytes())
        return content.hexdigest()

    def read(
        self, items: np.ndarray, size: int, cache_dir: str | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the images and file hashes of ``items``, from the cache if they are there.

        All files share a cache file unless fewer than all are asked for (``samples``).
        """
        everything = np.arange(len(self.names))
        stored = self._open(everything, size, cache_dir)
        if stored is None:
            some = self._open(items, size, cache_dir) if len(items) < len(everything) else None
            stored = self._decode(items, size, cache_dir) if some is None else some
        if len(stored.hashes) == len(everything) > len(items):
            return stored.pixels[items], stored.hashes[items]
        return stored

    def describe(self, item: int) -> str:
        """Name a file, and its row in the list if there is one."""
        return f"{self.names[item]!r}" + (f" ({self.place([item])})" if self.place else "")

    def _path(self, items: np.ndarray, size: int, cache_dir: str | None) -> Path:
        files = self.identity
        if len(items) < len(self.names):
            files = self._hash([self.names[item] for item in items.tolist()], np.asarray(self.stamps)[items])
        versions = [CACHE_VERSION, DECODER_VERSION, PIL.__version__]
        key = digest({"files": files, "size": size, "versions": versions}, 24)
        return cache_folder(cache_dir) / f"images-{key}.npy"

    def _open(self, items: np.ndarray, size: int, cache_dir: str | None) -> Stored | None:
        return open_cached(self._path(items, size, cache_dir), len(items), size)

    def _decode(self, items: np.ndarray, size: int, cache_dir: str | None) -> Stored:
        names = [self.names[item] for item in items.tolist()]
        errors: dict[int, str] = {}

        def collect(decoded: Decoded, start: int) -> None:
            errors.update({start + i: text for i, text in decoded.errors.items()})
            if start + len(decoded.records) == len(names) and errors:
                raise DataError(self._explain(items, errors))

        path = self._path(items, size, cache_dir)
        if self.read_file is not None:
            read_file = self.read_file
            return decode_to_cache(
                path, len(names), size, lambda: decode_files(names, read_file, size), collect
            )
        with closing(open_root(self.root)) as root:
            return decode_to_cache(
                path, len(names), size, lambda: decode_files(names, root.read, size, root=self.root), collect
            )

    def _explain(self, items: np.ndarray, errors: dict[int, str]) -> str:
        failed = [int(items[i]) for i in errors]
        named, remedy = "", "replace or remove the files"
        if self.place is not None:
            named, remedy = f", named in {self.place(failed)}", "replace the files or remove the rows"
        return (
            f"{len(failed)} of {len(items)} images in {self.root} cannot be decoded{named}, first "
            f"{self.names[failed[0]]!r}: {next(iter(errors.values()))}; {remedy}"
        )


@dataclass(frozen=True)
class ImageArrays:
    """Images in memory, or loaded by ``load`` when they are asked for: ``(n, height, width[, 3])``, uint8."""

    load: Callable[[], np.ndarray]
    identity: Any

    def read(
        self, items: np.ndarray, size: int, cache_dir: str | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the images of ``items``, resized where their own size is another; there are no file hashes."""
        images = self.load()[items]
        if images.shape[1:3] != (size, size):
            images = np.stack([_resized(image, size) for image in images])
        return images, None

    def describe(self, item: int) -> str:
        """Number an image."""
        return f"image {item}"


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
