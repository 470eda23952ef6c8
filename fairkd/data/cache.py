"""Decoded images on disk: one memory-mapped ``.npy`` file a source and size, read instead of the images.

The file's name holds the hash of everything that determines its content: each file's name, size and time of
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

import numpy as np

from fairkd.config import resolve_path
from fairkd.data.decode import Decoded, record_type
from fairkd.errors import ArtifactError, DataError, FairkdWarning
from fairkd.store import write_atomic

VARIABLE = "FAIRKD_CACHE"


def cache_folder(chosen: str | None) -> Path:
    """Return the folder of decoded images: ``chosen``, else ``$FAIRKD_CACHE``, else the user's cache folder."""
    if chosen is not None:
        return resolve_path(chosen)
    if os.environ.get(VARIABLE):
        return resolve_path(os.environ[VARIABLE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "fairkd"


def open_cached(path: Path, n: int, size: int) -> np.ndarray | None:
    """Return ``n`` decoded images, memory-mapped, of :func:`~fairkd.data.decode.record_type`.

    ``None`` where there is no such file, or one that cannot be what was written there.
    """
    try:
        records = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    expected = record_type(size)
    whole = path.stat().st_size == records.offset + n * expected.itemsize
    return records if whole and records.dtype == expected and records.shape == (n,) else None


def decode_to_cache(
    path: Path,
    n: int,
    size: int,
    decode: Callable[[], Iterator[Decoded]],
    check: Callable[[Decoded, int], None],
) -> np.ndarray:
    """Decode ``n`` images into a new file and open it; in memory, with a warning, where that cannot be written.

    Args:
        path: the cache file.
        n: number of images.
        size: their height and width, pixels.
        decode: starts decoding and yields chunks in order.
        check: called with every chunk and its start.

    Returns:
        Records ``(n,)``.

    Raises:
        DataError: the cache cannot be written, and the images do not fit into memory.
    """
    header = {"descr": np.lib.format.dtype_to_descr(record_type(size)), "fortran_order": False, "shape": (n,)}

    def write(temporary: Path) -> None:
        _check_space(temporary.parent, n * record_type(size).itemsize)
        with temporary.open("wb") as file:
            np.lib.format.write_array_header_2_0(file, header)
            for start, decoded in _checked(decode(), check):
                del start
                file.write(decoded.records.tobytes())

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
    records = open_cached(path, n, size)
    if records is None:
        raise DataError(f"the cache {path} was changed while it was written; delete it and try again")
    return records


def _checked(
    decoded: Iterator[Decoded], check: Callable[[Decoded, int], None]
) -> Iterator[tuple[int, Decoded]]:
    start = 0
    for chunk in decoded:
        check(chunk, start)
        yield start, chunk
        start += len(chunk.records)


def _in_memory(folder: Path, n: int, size: int, decoded: Iterator[tuple[int, Decoded]]) -> np.ndarray:
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
    return records


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
