"""Many image files to pixels, in parallel and in order, a chunk at a time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image

from fairkd.data.images import decode_image
from fairkd.progress import ProgressBar

CHUNK = 64
#: From so many files on, worker processes pay for their start of about a second. Threads wait for one another
#: with small images, whose decoding is mostly Python.
PROCESSES_FROM = 4000
_HASH_BYTES = 16


class Decoded(NamedTuple):
    """``records (n,)`` of :func:`record_type`, and the error of each image that failed, by position."""

    records: np.ndarray
    errors: dict[int, str]


#: Decodes the files of some names.
ChunkDecoder = Callable[[Sequence[str]], Decoded]


def record_type(size: int) -> np.dtype:
    """Return the type of one decoded image: the BLAKE2 hash of its file, and its pixels."""
    return np.dtype([("hash", f"V{_HASH_BYTES}"), ("pixels", np.uint8, (size, size, 3))])


def decode_chunk(names: Sequence[str], read: Callable[[str], bytes], size: int) -> Decoded:
    """Decode files one after the other; a failure is reported and leaves black pixels."""
    decoded = Decoded(np.zeros(len(names), dtype=record_type(size)), {})
    for i, name in enumerate(names):
        try:
            data = read(name)
            decoded.records["hash"][i] = np.void(hashlib.blake2b(data, digest_size=_HASH_BYTES).digest())
            decoded.records["pixels"][i] = decode_image(data, size)
        except Exception as error:  # Pillow, zipfile and zlib raise many kinds on damaged bytes
            decoded.errors[i] = " ".join(f"{error or type(error).__name__}".split())
    return decoded


def decode_files(
    names: Sequence[str], read: Callable[[str], bytes], size: int, *, root: Path | None = None
) -> Generator[Decoded]:
    """Decode many images in parallel, with a progress bar; chunks come in the order of ``names``.

    Args:
        names: the files.
        read: returns a file's bytes; called from several threads.
        size: height and width of the result, pixels.
        root: where ``names`` lie, a folder or a zip archive, if worker processes may read them there.

    Yields:
        Chunks of at most ``CHUNK`` images; the positions of their errors count from the chunk's start.
    """
    chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    decode: ChunkDecoder = lambda chunk: decode_chunk(chunk, read, size)  # noqa: E731
    with contextlib.ExitStack() as stack:
        if root is not None and len(names) >= PROCESSES_FROM and sys.executable:
            decode = stack.enter_context(_Workers(root, size, decode))
        bar = stack.enter_context(ProgressBar("reading images", len(names)))
        stack.enter_context(_bombs_are_errors())
        for decoded in _in_order(decode, chunks):
            yield decoded
            bar.update(len(decoded.records))


@contextlib.contextmanager
def _bombs_are_errors() -> Iterator[None]:
    """Refuse pictures of too many pixels. Set once for all threads: filters belong to the whole process."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _in_order(decode: ChunkDecoder, chunks: Sequence[Sequence[str]]) -> Iterator[Decoded]:
    """Run in threads, few chunks ahead: what is decoded faster than it is stored must not fill the memory."""
    threads = _parallel()
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Decoded]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(decode, chunk))
            if len(waiting) > 3 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _parallel() -> int:
    return min(16, os.cpu_count() or 1)


class _Workers:
    """One process a thread, each of which opens the root itself; a context manager that gives a decoder.

    Plain child processes, not ``multiprocessing``: forking a process with threads (torch's) can hang, and
    spawning runs the user's script again.
    """

    def __init__(self, root: Path, size: int, fallback: ChunkDecoder) -> None:
        self._command = [sys.executable, "-m", "fairkd.data.decode_worker", str(root), str(size)]
        self._size, self._fallback = size, fallback
        self._mine = threading.local()
        self._all: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> ChunkDecoder:
        return self._decode

    def __exit__(self, *details: object) -> None:
        for process in self._all:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what was not yet sent cannot be
                    pipe.close()  # type: ignore[union-attr]
            process.wait()

    def _decode(self, names: Sequence[str]) -> Decoded:
        try:
            return self._ask(names)
        except (OSError, ValueError, EOFError):
            # The process could not be started, or was killed: what it would have done is done here.
            return self._fallback(names)

    def _ask(self, names: Sequence[str]) -> Decoded:
        if not hasattr(self._mine, "process"):
            self._mine.process = self._start()
        stdin, stdout = self._mine.process.stdin, self._mine.process.stdout
        stdin.write(json.dumps(list(names)).encode() + b"\n")
        stdin.flush()
        return receive(stdout, len(names), self._size)

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        self._all.append(process)
        return process


def send(stream: IO[bytes], decoded: Decoded) -> None:
    """Write what a worker has decoded: a line of JSON with the errors, then the records."""
    stream.write(json.dumps(list(decoded.errors.items())).encode() + b"\n")
    stream.write(decoded.records.tobytes())
    stream.flush()


def receive(stream: IO[bytes], n: int, size: int) -> Decoded:
    """Read what :func:`send` wrote for ``n`` images.

    Raises:
        EOFError, ValueError: the worker ended before it had written everything.
    """
    errors: list[Any] = json.loads(stream.readline())
    data = stream.read(n * record_type(size).itemsize)
    if len(data) != n * record_type(size).itemsize:
        raise EOFError("a worker ended early")
    return Decoded(np.frombuffer(data, dtype=record_type(size)), {int(i): text for i, text in errors})
