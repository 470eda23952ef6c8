"""Files under ``outputs/``: run folders, and artefacts addressed by the hash of what determines them.

Everything is written whole or not at all: to a temporary name in the same folder, then renamed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairkd.errors import ArtifactError
from fairkd.progress import ProgressBar

if TYPE_CHECKING:
    import pandas as pd

#: With the full-width forms, which some spreadsheets read as well.
_FORMULA = ("=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠")
#: The folder of artefacts under ``output_dir``.
ARTIFACTS = "artifacts"
#: What :func:`write_sealed` puts before the content.
SEAL_BYTES = 32

_WAYS_OUT = {
    errno.EMFILE: "close files, or allow more of them (ulimit -n)",
    errno.ENFILE: "close programs that hold files open",
    errno.ENAMETOOLONG: "choose a shorter output_dir or run_name",
    errno.EIO: "check the disk",
    errno.ENOENT: "repeat what makes it",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS), "allow access to it, or choose another output_dir"
    ),
    **dict.fromkeys(
        (errno.EEXIST, errno.EISDIR, errno.ENOTDIR), "move what is in the way, or choose another output_dir"
    ),
}


@contextlib.contextmanager
def naming(action: str) -> Iterator[None]:
    """Turn an ``OSError`` into an error that says what cannot be done (``write <path>``), why, and the way out.

    Raises:
        ArtifactError: what was done inside raised an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        way_out = _WAYS_OUT.get(error.errno or 0, "free space or choose another output_dir")
        raise ArtifactError(f"cannot {action}: {error.strerror or error}; {way_out}") from error


def check_writable(folder: Path) -> None:
    """Raise what making and filling a folder would raise, as far as it shows before anything is written.

    Raises:
        ArtifactError: the folder, or the nearest one above it that exists, is a file or must not be written to.
    """
    with naming(f"write to {folder}"):
        there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{there} is not a folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"{there} must not be written to")


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a temporary path beside ``path``, then rename it to ``path``.

    Raises:
        ArtifactError: the file cannot be written (disk full, no permission); nothing half-written stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(f"write {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, atomically, with the same line ends on every system."""
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. NaN is written as ``null``, which JSON can hold."""
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table for people as CSV, atomically.

    A text that a spreadsheet would compute (one that starts with ``=``, ``+``, ``-``, ``@``, a tab or a line break)
    gets an apostrophe before it: names of classes and files come from anywhere. A carriage return becomes a line
    feed: Python 3.11 writes it without quotes, and what follows would be a cell of its own.
    """
    safe = table.rename(columns=_literal).map(_literal)
    write_atomic(path, lambda temporary: safe.to_csv(temporary, index=False))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ArtifactError: the file is missing, cannot be read, or is not JSON.
    """
    try:
        with naming(f"read {path}"):
            return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"cannot read {path}: {error}; delete it to have it made again") from error


def digest(value: Any, length: int = 12) -> str:
    """Return the first ``length`` hex digits of the SHA-256 of ``value`` as canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        ArtifactError: the file cannot be read.
    """
    with naming(f"read {path}"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sealed(path: Path, content: bytes, *, keep: Path | None = None) -> None:
    """Write bytes behind their SHA-256, atomically. What ``path`` held before becomes ``keep``."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        # Only now: a full disk leaves both as they were.
        if keep is not None and path.is_file():
            path.replace(keep)

    write_atomic(path, write)


def read_sealed(path: Path) -> bytes:
    """Read what :func:`write_sealed` wrote.

    Raises:
        ArtifactError: the file is missing or its bytes have changed.
    """
    with naming(f"read {path}"), path.open("rb") as file:
        seal, content = file.read(SEAL_BYTES), file.read()
    if hashlib.sha256(content).digest() != seal:
        raise ArtifactError(f"{path} is damaged (its SHA-256 is not the recorded one)")
    return content


class ArtifactFolder:
    """``outputs/artifacts/<kind>-<hash>``: made once, in a ``.partial`` sibling, then renamed into place.

    ``config.json`` holds ``determined_by`` (what the hash is of) and the SHA-256 of every other file.
    """

    def __init__(self, output_dir: Path, kind: str, determined_by: dict[str, Any]) -> None:
        self.determined_by = determined_by
        self.path = output_dir / ARTIFACTS / f"{kind}-{digest(determined_by)}"
        self.partial = self.path.with_name(self.path.name + ".partial")

    @property
    def finished(self) -> bool:
        """Whether the artefact is complete.

        Raises:
            ArtifactError: that cannot be told (no permission, a name that is too long).
        """
        with naming(f"read {self.path}"):
            return (self.path / "config.json").is_file()

    def begin(self) -> Path:
        """Return the folder to work in. What an interrupted attempt left there is kept, for resuming."""
        with naming(f"create {self.partial}"):
            self.partial.mkdir(parents=True, exist_ok=True)
        return self.partial

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Let one process at a time make the artefact; another one waits, with a bar that says so.

        The lock ends with its process, however that ends. Where the file system has no locks there is none.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        with contextlib.ExitStack() as held:
            with contextlib.suppress(OSError, NotImplementedError):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    lock.acquire(blocking=False)
                except Timeout:
                    with ProgressBar(f"waiting for another process that makes {self.path.name}", 1) as bar:
                        bar.update(0)
                        lock.acquire()
                held.callback(lock.release)
            yield

    def finish(self, details: dict[str, Any], scratch: Collection[str] = ()) -> None:
        """Write ``config.json`` and move the folder into place; then delete the files ``scratch``.

        Whoever is killed before the move still has them to go on from.
        """
        with naming(f"finish {self.path}"):
            # A process that was killed while it wrote may have left a temporary file.
            for leftover in self.partial.glob(".*.tmp"):
                leftover.unlink()
            left_out = {"config.json", *scratch}
            names = sorted(file.name for file in self.partial.iterdir() if file.name not in left_out)
            files = {name: file_digest(self.partial / name) for name in names}
            config = {"determined_by": self.determined_by, "sha256": files, **details}
            write_json(self.partial / "config.json", config)
            if self.path.exists():
                shutil.rmtree(self.path)
            self.partial.replace(self.path)
            for name in scratch:
                (self.path / name).unlink(missing_ok=True)

    def check(self) -> dict[str, Any]:
        """Verify every file against its SHA-256 and return ``config.json``.

        Raises:
            ArtifactError: a file is missing or its bytes have changed.
        """
        config: dict[str, Any] = read_json(self.path / "config.json")
        if not isinstance(config, dict) or not isinstance(config.get("sha256"), dict):
            raise ArtifactError(
                f"{self.path / 'config.json'} lists no files; delete {self.path} to have it made again"
            )
        # The folder's name is the hash of what determines it.
        if digest(config.get("determined_by")) != digest(self.determined_by):
            raise ArtifactError(
                f"{self.path / 'config.json'} is damaged: it is of another artefact; delete {self.path} to have "
                "it made again"
            )
        for name, expected in config["sha256"].items():
            file = self.path / name
            if not file.is_file() or file_digest(file) != expected:
                raise ArtifactError(
                    f"{file} is missing or damaged (its SHA-256 is not the recorded one); "
                    f"delete {self.path} to have it made again"
                )
        return config

    def remove(self) -> None:
        """Delete the artefact and any partial work on it."""
        for folder in (self.path, self.partial):
            shutil.rmtree(folder, ignore_errors=True)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value != value:
        return None
    if hasattr(value, "item") and not isinstance(value, str):
        return _finite(value.item())
    return value


def _literal(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(_FORMULA) else text
