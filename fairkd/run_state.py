"""What a run folder says about itself: ``status.json``, and the lock that keeps a second process out."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from fairkd.errors import ArtifactError, FairkdError
from fairkd.store import naming, read_json, write_json

STATUS = "status.json"


def read_status(folder: Path) -> dict[str, Any]:
    """Return ``status.json``, or an empty dict if it is missing or damaged: then nothing counts as done.

    Raises:
        ArtifactError: it is there and cannot be read; what is done is then not known.
    """
    try:
        status = read_json(folder / STATUS)
    except ArtifactError as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
            raise
        return {}
    return status if isinstance(status, dict) and isinstance(status.get("steps"), dict) else {}


class Status:
    """``status.json`` of one run, rewritten whole at each change; as a context manager, records the run's end.

    ``{"state": running | finished | failed | interrupted, "command": ..., "steps": {name: {state, key,
    started, finished, seconds, error, sha256 of the outputs}}}``; times are UTC.
    """

    def __init__(self, folder: Path, command: str, keep: Sequence[str]) -> None:
        """Keep the entries of the steps in ``keep`` as they are, and forget the others."""
        self._path = folder / STATUS
        earlier = read_status(folder).get("steps", {})
        self._steps: dict[str, dict[str, Any]] = {name: earlier[name] for name in keep}
        self._command = command

    def __enter__(self) -> Status:
        self._write("running")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(_state(error))

    @contextlib.contextmanager
    def step(self, name: str, key: str) -> Iterator[dict[str, Any]]:
        """Record a step from its start to its end, whatever the end is; more can be added to the entry."""
        began = time.monotonic()
        entry: dict[str, Any] = {"state": "running", "key": key, "started": _now()}
        self._steps[name] = entry
        self._write("running")
        raised: BaseException | None = None
        try:
            yield entry
        except BaseException as error:
            raised = error
            raise
        finally:
            seconds = round(time.monotonic() - began, 3)
            entry.update(state=_state(raised), finished=_now(), seconds=seconds, error=_text(raised))
            self._write("running")

    def _write(self, state: str) -> None:
        write_json(self._path, {"state": state, "command": self._command, "steps": self._steps})


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second process out of a run folder, which is made if need be.

    The lock belongs to the open file, so it ends with its process, however that ends; the process id in the
    file is for the message only.

    Raises:
        FairkdError: another process has the folder; names it.
        ArtifactError: the folder cannot be written to.
    """
    with naming(f"write to {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a+", encoding="utf-8")
    with file:
        if not _take(file.fileno()):
            file.seek(0)
            raise FairkdError(
                f"{folder} is in use by process {file.read().strip()}; "
                "wait for it to end, or give this run another run_name"
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _take(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows has no such lock; there, nothing guards against two runs at once.
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # Some network drives have no locks; there, nothing guards either.
        return True
    return True


def _state(error: BaseException | None) -> str:
    if error is None:
        return "finished"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"


def _text(error: BaseException | None) -> str | None:
    return None if error is None else str(error) or type(error).__name__


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
