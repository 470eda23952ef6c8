"""Decoded images on disk: one memory-mapped ``.npy`` file a source and size, read instead of the images.

The file holds two arrays, one after the other: the pixels, and the files' hashes, which are looked at in every load.
Its name holds the hash of everything that determines its content: each file's name, size and time of
change (or CRC-32), the image size, the decoder's version. It is written under a temporary name and renamed, so
that a reader, in this process or another, finds all of it or nothing; of two writers the last one wins, with the
same content. On opening, header and length are checked; the bytes are not, so that opening takes no time.
"""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from fairkd.config import resolve_path
from fairkd.data.decode import Decoded, record_type
from fairkd.errors import ArtifactError, DataError, FairkdWarning
from fairkd.store import write_atomic

VARIABLE = "FAIRKD_CACHE"
#: Raised by one whenever the file's form changes.
CACHE_VERSION = 2


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
    """Return ``n`` decoded images, memory-mapped.

    ``None`` where there is no such file, or one that cannot be what was written there.
    """
    shape, hash_type = (n, size, size, 3), record_type(size)["hash"]
    try:
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
        if (pixels.shape, pixels.dtype) != (shape, np.uint8):
            return None
        with path.open("rb") as file:
            file.seek(pixels.offset + pixels.nbytes)
            hashes = np.load(file, allow_pickle=False)
            whole = file.read(1) == b""
    except (OSError, ValueError, EOFError):
        return None
    return Stored(pixels, hashes) if whole and (hashes.shape, hashes.dtype) == ((n,), hash_type) else None


def decode_to_cache(
    path: Path,
    n: int,
    size: int,
    decode: Callable[[], Iterator[Decoded]],
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
        _check_space(temporary.parent, n * record_type(size).itemsize)
        with temporary.open("wb") as file:
            _write(file, n, size, _checked(decode(), check))

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
        return _in_memory(path.parent, n, size, _checked(decode(), check))
    stored = open_cached(path, n, size)
    if stored is None:
        raise DataError(f"the cache {path} was changed while it was written; delete it and try again")
    return stored


def _write(file: IO[bytes], n: int, size: int, decoded: Iterator[tuple[int, Decoded]]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (n, size, size, 3)}
    np.lib.format.write_array_header_2_0(file, header)
    hashes = np.empty(n, dtype=record_type(size)["hash"])
    for start, chunk in decoded:
        hashes[start : start + len(chunk.records)] = chunk.records["hash"]
        file.write(chunk.records["pixels"].tobytes())
    np.save(file, hashes)


def _checked(
    decoded: Iterator[Decoded], check: Callable[[Decoded, int], None]
) -> Iterator[tuple[int, Decoded]]:
    start = 0
    for chunk in decoded:
        check(chunk, start)
        yield start, chunk
        start += len(chunk.records)


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
