"""Decoded images on disk: one memory-mapped ``.npy`` file a source and size, read instead of the images.

The file holds the pixels, with numpy's header; of each image, the file's hash, which is looked at in every load, and
a CRC-32 of its pixels; at the end, the SHA-256 of these two.
Its name holds the hash of everything that determines its content: each file's name, size and time of
change (or CRC-32), the image size, the decoder's version. It is written under a temporary name and renamed, so
that a reader, in this process or another, finds all of it or nothing; of two writers the last one wins, with the
same content. On opening, all is checked but the pixels, so that opening takes no time; those of an image are checked
when they are first read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import math
import os
import shutil
import time
import warnings
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from fairkd.config import resolve_path
from fairkd.data.decode import Decoded, record_type
from fairkd.errors import ArtifactError, DataError, FairkdWarning
from fairkd.store import write_atomic

VARIABLE = "FAIRKD_CACHE"
#: Raised by one whenever the file's form changes.
CACHE_VERSION = 3
#: A file that is being written is written to all the time.
_ABANDONED_SECONDS = 3600


class Stored(NamedTuple):
    """``pixels (n, size, size, 3)`` uint8, memory-mapped or in memory, and the files' ``hashes (n,)``."""

    pixels: np.ndarray
    hashes: np.ndarray


def cache_folder(chosen: str | None) -> Path:
    """Return the folder of decoded images: ``chosen``, else ``$FAIRKD_CACHE``, else the user's cache folder."""
    if chosen is not None:
        return resolve_path(chosen)
    if os.environ.get(VARIABLE):
        return resolve_path(os.environ[VARIABLE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "fairkd"


def open_cached(path: Path, n: int, size: int) -> Stored | None:
    """Return ``n`` decoded images, memory-mapped; ``None`` where there is no such file.

    Warns:
        FairkdWarning: the file is not what was written there; ``None`` is returned.
    """
    if not path.is_file():
        return None
    header, shape = _header(n, size), (n, size, size, 3)
    try:
        with path.open("rb") as file:
            if file.read(len(header)) != header:
                raise ValueError("it is damaged: its header is another one")
            file.seek(math.prod(shape), os.SEEK_CUR)
            footer = _read_footer(file.read(), n, size)
        pixels = np.memmap(path, dtype=np.uint8, mode="r", offset=len(header), shape=shape)
    except (OSError, ValueError) as error:
        warnings.warn(
            f"{path} cannot be used ({error}): the images are decoded again", FairkdWarning, stacklevel=2
        )
        return None
    return Stored(_CheckedPixels.of(pixels, footer["checksum"], path), footer["hash"])


def decode_to_cache(
    path: Path,
    n: int,
    size: int,
    decode: Callable[[], Generator[Decoded]],
    check: Callable[[Decoded, int], None],
) -> Stored:
    """Decode ``n`` images into a new file and open it; in memory, with a warning, where that cannot be written.

    Args:
        path: the cache file.
        n: number of images.
        size: their height and width, pixels.
        decode: starts decoding and yields chunks in order.
        check: called with every chunk and its start.

    Raises:
        DataError: the cache cannot be written, and the images do not fit into memory.
    """

    def write(temporary: Path) -> None:
        _remove_abandoned(temporary)
        _check_space(temporary.parent, n * record_type(size).itemsize)
        with temporary.open("wb") as file, _checked(decode(), check) as chunks:
            _write(file, n, size, chunks)

    try:
        write_atomic(path, write)
    except ArtifactError as error:
        reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
        warnings.warn(
            f"the decoded images cannot be kept in {path.parent} ({reason}): they are decoded into memory, and "
            "again the next time; set cache_dir to a folder with space",
            FairkdWarning,
            stacklevel=2,
        )
        with _checked(decode(), check) as chunks:
            return _in_memory(path.parent, n, size, chunks)
    stored = open_cached(path, n, size)
    if stored is None:
        raise DataError(f"the cache {path} was changed while it was written; delete it and try again")
    return stored


def _write(file: IO[bytes], n: int, size: int, decoded: Iterator[tuple[int, Decoded]]) -> None:
    file.write(_header(n, size))
    footer = np.empty(n, dtype=_footer_type(size))
    for start, chunk in decoded:
        footer["hash"][start : start + len(chunk.records)] = chunk.records["hash"]
        for i, pixels in enumerate(chunk.records["pixels"], start):
            footer["checksum"][i] = zlib.crc32(pixels.tobytes())
        file.write(chunk.records["pixels"].tobytes())
    file.write(footer.tobytes() + hashlib.sha256(footer.tobytes()).digest())


def _header(n: int, size: int) -> bytes:
    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (n, size, size, 3)}
    np.lib.format.write_array_header_2_0(file, header)
    return file.getvalue()


def _footer_type(size: int) -> np.dtype:
    return np.dtype([("hash", record_type(size)["hash"]), ("checksum", np.uint32)])


def _read_footer(data: bytes, n: int, size: int) -> np.ndarray:
    footer, seal = data[:-32], data[-32:]
    if hashlib.sha256(footer).digest() != seal:
        raise ValueError("it is damaged: its SHA-256 is not the recorded one")
    return np.frombuffer(footer, dtype=_footer_type(size), count=n)


class _CheckedPixels(np.memmap):
    """Pixels of a cache file; each image is compared with its checksum when it is first read."""

    _checksums: np.ndarray | None = None
    _checked: np.ndarray
    _path: Path

    @classmethod
    def of(cls, pixels: np.ndarray, checksums: np.ndarray, path: Path) -> _CheckedPixels:
        """Take over memory-mapped ``pixels (n, size, size, 3)`` with their ``checksums (n,)``."""
        checked = pixels.view(cls)
        checked._checksums, checked._path = checksums, path
        checked._checked = np.zeros(len(checksums), dtype=bool)
        return checked

    def __getitem__(self, key: Any) -> Any:
        pixels = np.asarray(self)
        if self._checksums is not None:
            rows = np.atleast_1d(np.arange(len(pixels))[key[0] if isinstance(key, tuple) else key])
            for row in rows[~self._checked[rows]].tolist():
                if zlib.crc32(pixels[row]) != self._checksums[row]:
                    raise ArtifactError(
                        f"{self._path} is damaged (image {row} is not what was written there); delete it to have "
                        "it made again"
                    )
            self._checked[rows] = True
        return pixels[key]


def _remove_abandoned(temporary: Path) -> None:
    """Delete what killed processes have left of this file: it may be as large as the data set."""
    pattern = f"{temporary.name.removesuffix('.tmp').rpartition('.')[0]}.*.tmp"
    for leftover in temporary.parent.glob(pattern):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _ABANDONED_SECONDS:
                leftover.unlink()


@contextlib.contextmanager
def _checked(
    decoded: Generator[Decoded], check: Callable[[Decoded, int], None]
) -> Iterator[Iterator[tuple[int, Decoded]]]:
    """Give the chunks with their starts; after an error too, the decoding is closed here, and not some time later.

    It has processes and a filter of warnings, which belongs to the whole process.
    """

    def chunks() -> Iterator[tuple[int, Decoded]]:
        start = 0
        for chunk in decoded:
            check(chunk, start)
            yield start, chunk
            start += len(chunk.records)

    with contextlib.closing(decoded):
        yield chunks()


def _in_memory(folder: Path, n: int, size: int, decoded: Iterator[tuple[int, Decoded]]) -> Stored:
    needed, free = n * record_type(size).itemsize, _free_memory()
    if free is not None and needed > free:
        raise DataError(
            f"{n:,} images of {size} x {size} pixels need {needed / 2**30:.1f} GiB: they cannot be kept in "
            f"{folder}, and {free / 2**30:.1f} GiB of memory are free; set cache_dir to a folder with space, or "
            "a smaller image_size or samples"
        )
    records = np.empty(n, dtype=record_type(size))
    for start, chunk in decoded:
        records[start : start + len(chunk.records)] = chunk.records
    return Stored(records["pixels"], records["hash"])


def _check_space(folder: Path, needed: int) -> None:
    """Raise before decoding, not after an hour of it."""
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _free_memory() -> int | None:
    """Return the memory that can still be had, bytes; ``None`` where the system does not say."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    line = next((line for line in text.splitlines() if line.startswith("MemAvailable:")), None)
    return None if line is None else int(line.split()[1]) * 1024
