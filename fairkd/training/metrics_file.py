"""A file through which a training in other processes is followed, and told to stop."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairkd.errors import ArtifactError
from fairkd.store import read_json, write_json

if TYPE_CHECKING:
    from fairkd.training.control import TrainingControl
    from fairkd.training.loop import Trainer

_SECONDS_BETWEEN_WRITES = 0.5


class MetricsFile:
    """The state of a training as JSON: ``done`` and ``total`` steps, ``history`` with a row an epoch.

    The last row may be of an unfinished epoch. The training writes it; whoever follows reads it, and may ask for a
    stop by a second file beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stop = path.with_name(f"{path.name}.stop")
        self._written = 0.0

    def observe(self, trainer: Trainer, epoch: int, control: TrainingControl) -> None:
        """Write where the training is, twice a second, and hand on a stop; called in the first process."""
        now = time.monotonic()
        if now - self._written < _SECONDS_BETWEEN_WRITES:
            return
        self._written = now
        if self._stop.exists():
            control.stop()
        steps, (_, numbers) = len(trainer.stream), trainer.partial
        done = epoch * steps + (numbers[-1] if numbers else 0)
        self.write(done, trainer.settings.epochs * steps, trainer.history_so_far(epoch))

    def write(self, done: int, total: int, history: list[dict[str, Any]], *, stopped: bool = False) -> None:
        """Write the state, whole or not at all."""
        state = {"done": done, "total": total, "history": history, "stopped": stopped}
        write_json(self.path, state)

    def read(self) -> dict[str, Any]:
        """Return the state; empty before there is one."""
        try:
            state: dict[str, Any] = read_json(self.path)
        except ArtifactError:
            return {}
        return state

    def stop(self) -> None:
        """Ask the training to write a checkpoint and end."""
        self._stop.touch()
