"""Files under ``outputs/``: run folders, and artefacts addressed by the hash of what determines them.

Everything is written whole or not at all: to a temporary name in the same folder, then renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairkd.errors import ArtifactError

#: What :func:`write_sealed` puts before the content.
SEAL_BYTES = 32


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a temporary path beside ``path``, then rename it to ``path``.

    Raises:
        ArtifactError: the file cannot be written (disk full, no permission); nothing half-written stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        raise ArtifactError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another output_dir"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. NaN is written as ``null``, which JSON can hold."""
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ArtifactError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot read {path}: {error}; delete it to have it made again") from error


def digest(value: Any, length: int = 12) -> str:
    """Return the first ``length`` hex digits of the SHA-256 of ``value`` as canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sealed(path: Path, content: bytes) -> None:
    """Write bytes behind their SHA-256, atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)

    write_atomic(path, write)


def read_sealed(path: Path) -> bytes:
    """Read what :func:`write_sealed` wrote.

    Raises:
        ArtifactError: the file is missing or its bytes have changed.
    """
    try:
        with path.open("rb") as file:
            seal, content = file.read(SEAL_BYTES), file.read()
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}") from error
    if hashlib.sha256(content).digest() != seal:
        raise ArtifactError(f"{path} is damaged (its SHA-256 is not the recorded one)")
    return content


class ArtifactFolder:
    """``outputs/artifacts/<kind>-<hash>``: made once, in a ``.partial`` sibling, then renamed into place.

    ``config.json`` holds ``determined_by`` (what the hash is of) and the SHA-256 of every other file.
    """

    def __init__(self, output_dir: Path, kind: str, determined_by: dict[str, Any]) -> None:
        self.determined_by = determined_by
        self.path = output_dir / "artifacts" / f"{kind}-{digest(determined_by)}"
        self.partial = self.path.with_name(self.path.name + ".partial")

    @property
    def finished(self) -> bool:
        """Whether the artefact is complete."""
        return (self.path / "config.json").is_file()

    def begin(self) -> Path:
        """Return the folder to work in. What an interrupted attempt left there is kept, for resuming."""
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(
                f"cannot create {self.partial}: {error.strerror}; choose another output_dir"
            ) from error
        return self.partial

    def finish(self, details: dict[str, Any]) -> None:
        """Write ``config.json`` and move the folder into place."""
        # A process that was killed while it wrote may have left a temporary file.
        for leftover in self.partial.glob(".*.tmp"):
            leftover.unlink()
        files = {
            file.name: file_digest(file)
            for file in sorted(self.partial.iterdir())
            if file.name != "config.json"
        }
        config = {"determined_by": self.determined_by, "sha256": files, **details}
        write_json(self.partial / "config.json", config)
        if self.path.exists():
            shutil.rmtree(self.path)
        self.partial.replace(self.path)

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
