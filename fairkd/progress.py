"""Progress bars that suit where the code runs: terminal, notebook, or a notebook run without anyone watching.

The pipeline sets ``FAIRKD_PROGRESS_FILE`` for its kernels: progress then goes to that file, from which the
command line draws its display, and the executed notebook stays clean.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

PROGRESS_FILE = "FAIRKD_PROGRESS_FILE"
#: Seconds that one waits without being told for how long.
DELAY = 2.0
_SECONDS_BETWEEN_WRITES = 0.2
_PART_OF = contextvars.ContextVar("part_of", default="")
_FOLLOWER: contextvars.ContextVar[Callable[[ProgressBar], None] | None] = contextvars.ContextVar(
    "follower", default=None
)


def is_headless() -> bool:
    """Whether nobody can move a widget: under the pipeline, papermill, nbconvert, nbval or continuous integration.

    ``FAIRKD_HEADLESS=1`` or ``=0`` decides it by hand.
    """
    decided = os.environ.get("FAIRKD_HEADLESS")
    if decided is not None:
        return decided not in ("", "0")
    known = any(os.environ.get(name) for name in (PROGRESS_FILE, "PYTEST_CURRENT_TEST", "CI"))
    return known or not _somebody_could_answer()


def _somebody_could_answer() -> bool:
    """Whether the running cell was sent by a front end that could answer ``input()``; papermill and its like cannot."""
    module = sys.modules.get("IPython")
    kernel = getattr(module.get_ipython(), "kernel", None) if module else None
    if kernel is None:
        return True
    return bool(kernel.get_parent("shell").get("content", {}).get("allow_stdin", True))


class ProgressBar:
    """A progress bar with a description and values beside it (``update(accuracy=0.9)``).

    Where nobody watches (:func:`is_headless`) there is none. Each change of a notebook's bar is a message, the
    queue between kernel and reader holds a few thousand, and nbval reads only once a cell has run: it would wait in
    vain for the last one, which says that the cell has ended.

    ``delay``: seconds before which nothing is shown, for work that is often done by then.
    """

    def __init__(self, description: str, total: int, *, delay: float = 0.0) -> None:
        whole = _PART_OF.get()
        self.description = f"{whole}: {description}" if whole else description
        self.total, self.done = total, 0
        self._follower = _FOLLOWER.get()
        self._path = os.environ.get(PROGRESS_FILE)
        self._written = 0.0
        self._delay, self._shown_from = delay, time.monotonic() + delay
        self._bar: Any = None
        if not delay:
            self._show()

    def update(self, steps: int = 1, **values: float | str) -> None:
        """Advance by ``steps`` and show ``values``."""
        self.done += steps
        if time.monotonic() < self._shown_from:
            return
        self._show()
        if self._follower is not None:
            self._follower(self)
        elif self._bar is not None:
            self._bar.set_postfix(values, refresh=False)
            self._bar.update(self.done - self._bar.n)
        elif self._path is not None:
            self._write(self._path, values)

    def _show(self) -> None:
        """Make the bar where one is to be drawn; in a notebook it is a widget, which is not made in vain."""
        elsewhere = self._path is not None or self._follower is not None
        if self._bar is None and not elsewhere and not is_headless():
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self.total, desc=self.description, leave=False)
            # What was done before it appeared took its time. Switched off (TQDM_DISABLE), a bar has no times.
            if not self._bar.disable:
                self._bar.start_t = self._bar.last_print_t = self._bar.start_t - self._delay

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, path_name: str, values: dict[str, Any]) -> None:
        now = time.monotonic()
        if now - self._written < _SECONDS_BETWEEN_WRITES and self.done < self.total:
            return
        self._written = now
        path = Path(path_name)
        state = {"description": self.description, "done": self.done, "total": self.total, "values": values}
        temporary = path.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(state, default=str), encoding="utf-8")
            temporary.replace(path)
        except OSError:
            # The display is a courtesy: a full disk must not stop a training for it.
            self._path = None


@contextlib.contextmanager
def part_of(whole: str) -> Iterator[None]:
    """Put ``whole`` in front of the description of every bar that is made inside."""
    token = _PART_OF.set(whole)
    try:
        yield
    finally:
        _PART_OF.reset(token)


@contextlib.contextmanager
def followed_by(follower: Callable[[ProgressBar], None]) -> Iterator[None]:
    """Let ``follower`` show the bars that are made inside: it is called with a bar that has advanced."""
    token = _FOLLOWER.set(follower)
    try:
        yield
    finally:
        _FOLLOWER.reset(token)


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Iterate over ``items``, with a progress bar if that takes more than :data:`DELAY` seconds."""
    with ProgressBar(description, total, delay=DELAY) as bar:
        for item in items:
            yield item
            bar.update()
