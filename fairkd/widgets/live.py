"""A student's training that goes on in the background while a panel shows it, one for each artefact."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from fairkd.config import Experiment
from fairkd.data.splits import Splits
from fairkd.progress import ProgressBar, followed_by
from fairkd.recipes import TrainedModel, distill_student, is_trained, student_folder
from fairkd.training import StoppedError, Trainer, TrainingControl, stop_on_interrupt
from fairkd.widgets.processes import train_in_processes

State = Literal["waiting", "running", "stopped", "finished", "failed"]

# Drawing takes a tenth of a second of the training.
_SECONDS_BETWEEN_NEWS = 1.0
_LIVE: dict[Path, LiveTraining] = {}


def live_training(
    experiment: Experiment, teacher: TrainedModel, splits: Splits | None, processes: int = 1
) -> LiveTraining:
    """Return the training of this student that is going on or was stopped, or else a new one."""
    folder = student_folder(experiment, teacher, splits)
    known = _LIVE.get(folder)
    if known is None or known.state in ("finished", "failed"):
        known = _LIVE[folder] = LiveTraining(experiment, teacher, splits, processes)
    return known


class LiveTraining:
    """Trains one student in a thread, or in the foreground, and keeps what there is to see of it.

    ``table`` has a row an epoch, the last one perhaps of an unfinished epoch; ``listener`` is called, by whichever
    thread, when there is something new, once a second at most.
    """

    def __init__(
        self, experiment: Experiment, teacher: TrainedModel, splits: Splits | None, processes: int = 1
    ) -> None:
        self.experiment, self.teacher, self.splits, self.processes = experiment, teacher, splits, processes
        self.control = TrainingControl(on_step=self._observe)
        self.state: State = "waiting"
        self.student: TrainedModel | None = None
        self.error: Exception | None = None
        self.table = pd.DataFrame()
        self.done = self.total = 0
        #: What takes time beside the steps: the bar that advanced last.
        self.activity = ""
        self.listener: Callable[[], None] = _nobody
        self._thread: threading.Thread | None = None
        self._told = 0.0
        self._seconds, self._steps, self._last = 0.0, 0, 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the last step, at the mean pace since the start; ``None`` while that is not known."""
        if not self._steps or self.state != "running":
            return None
        return self._seconds / self._steps * (self.total - self.done)

    @property
    def is_trained(self) -> bool:
        """Whether the student is there already, so that starting loads it."""
        return is_trained(self.experiment, self.teacher, self.splits)

    def start(self) -> None:
        """Train in the background, or go on there; a training that goes on already is left alone."""
        if self.state in ("waiting", "stopped", "failed"):
            self._begin()
            self._thread = threading.Thread(target=self._train_in_background, daemon=True)
            self._thread.start()

    def run(self) -> None:
        """Train in the foreground; the first keyboard interrupt stops between two steps, as :meth:`stop` does."""
        if self.state in ("waiting", "stopped", "failed"):
            self._begin()
            with stop_on_interrupt(self.control):
                self._train()

    def wait(self, seconds: float | None = None) -> None:
        """Wait for the background training to end."""
        if self._thread:
            self._thread.join(seconds)

    def resume(self) -> None:
        """Go on: after a pause from memory, after a stop or a failure from the checkpoint."""
        self._last = 0.0
        self.control.resume()
        self.start()
        self.listener()

    def pause(self) -> None:
        """Wait before the next step."""
        self.control.pause()
        self.listener()

    def stop(self) -> None:
        """Write a checkpoint before the next step, and end."""
        self.control.stop()
        self.listener()

    def _begin(self) -> None:
        self.state, self.error, self.activity = "running", None, "preparing"
        self._seconds, self._steps, self._last = 0.0, 0, 0.0

    def _train_in_background(self) -> None:
        with followed_by(self._follow):
            self._train()

    def _train(self) -> None:
        try:
            if self.processes > 1 and not self.is_trained:
                train_in_processes(self.experiment, self.processes, self._hear, lambda: self.control.stopping)
            self.student = distill_student(self.experiment, self.teacher, self.splits, self.control)
        except StoppedError as stopped:
            self._end("stopped", pd.DataFrame(stopped.history))
        except KeyboardInterrupt:
            self._end("stopped", self.table)
            raise
        except Exception as error:
            self.error = error
            self._end("failed", self.table)
        else:
            self._end("finished", self.student.history)

    def _end(self, state: State, table: pd.DataFrame) -> None:
        # What was asked for too late is not asked of the next training.
        self.control.resume()
        self.table, self.state = table, state
        self.listener()

    def _hear(self, done: int, total: int, history: list[dict[str, Any]]) -> None:
        """Take in what the processes say."""
        now = time.monotonic()
        if self._last:
            self._seconds, self._steps = self._seconds + now - self._last, self._steps + done - self.done
        self._last = now
        self.done, self.total, self.table = done, total, pd.DataFrame(history)
        self._tell()

    def _observe(self, trainer: Trainer, epoch: int) -> None:
        steps, (_, numbers) = len(trainer.stream), trainer.partial
        self.done = epoch * steps + (numbers[-1] if numbers else 0)
        self.total = trainer.settings.epochs * steps
        now = time.monotonic()
        if self._last:
            self._seconds, self._steps = self._seconds + now - self._last, self._steps + 1
        self._last = now
        if now - self._told > _SECONDS_BETWEEN_NEWS:
            self.table = pd.DataFrame(trainer.history_so_far(epoch))
            self._tell()

    def _follow(self, bar: ProgressBar) -> None:
        self.activity = bar.description
        # The steps tell of themselves: if their bar did, it would be their turn never.
        if not self._steps and time.monotonic() - self._told > _SECONDS_BETWEEN_NEWS:
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        self.listener()


def _nobody() -> None:
    """Nobody looks."""
