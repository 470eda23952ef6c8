"""Live control of a training: stop, pause, resume, and settings that are changed between two steps.

A student whose settings were changed on the way is another model than its experiment says. Its changes are
therefore part of what its artefact's hash is of; they stand in the column ``changes`` of its ``history.csv`` and,
step by step, in its ``config.json``. With the same changes given beforehand it is trained again, bit for bit.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from fairkd.config import Experiment
from fairkd.distillers.logits import CTKD, LogitTerm
from fairkd.errors import ParameterError, TrainingError

if TYPE_CHECKING:
    from fairkd.training.loop import Trainer

Setting = Literal["temperature", "adversary_weight"]


class StoppedError(TrainingError):
    """A training was stopped between two steps. Trained again, with the same changes, it goes on from there.

    ``history`` has a row (a dict) an epoch; the last one may be of an unfinished epoch.
    """

    def __init__(self, message: str, history: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.history = history


@dataclass(frozen=True)
class Change:
    """From the training step ``step`` on, counted from 0 over all epochs, ``setting`` has ``value``.

    Raises:
        ParameterError: an unknown setting, or a value out of its range.
    """

    step: int
    setting: Setting
    value: float

    def __post_init__(self) -> None:
        if self.setting not in get_args(Setting):
            raise ParameterError(
                f"{self.setting!r} cannot be changed during a training; allowed: {', '.join(get_args(Setting))}"
            )
        Experiment(**{self.setting: self.value})


class TrainingControl:
    """What a person, in another thread, tells a training. The training obeys before its next step.

    Args:
        changes: settings that change at given steps; those made while it runs are added to :attr:`changes`.
        on_step: called by the training thread before each step with the trainer and the epoch, counted from 0.
        settle_seconds: a setting changes when it has been left alone for so long: a slider that is moved passes
            through values that nobody asked for.
    """

    def __init__(
        self,
        changes: Sequence[Change] = (),
        *,
        on_step: Callable[[Trainer, int], None] | None = None,
        settle_seconds: float = 0.4,
    ) -> None:
        self.changes = sorted(changes, key=lambda change: change.step)
        self.on_step, self.settle_seconds = on_step, settle_seconds
        #: Returns the folder of the checkpoints of a training with these changes; set by who stores them.
        self.folder: Callable[[], Path] | None = None
        self._wanted: dict[Setting, tuple[float, float]] = {}
        self._condition = threading.Condition()
        self._paused = self._stopping = False

    @property
    def paused(self) -> bool:
        """Whether the training waits, or will before its next step."""
        return self._paused

    @property
    def stopping(self) -> bool:
        """Whether the training will stop before its next step."""
        return self._stopping

    def stop(self) -> None:
        """Stop before the next step, write a checkpoint, and raise :class:`StoppedError` in the training."""
        self._set(paused=False, stopping=True)

    def pause(self) -> None:
        """Wait before the next step, with everything in memory."""
        self._set(paused=True, stopping=False)

    def resume(self) -> None:
        """Go on after a pause; take back a stop that has not happened yet."""
        self._set(paused=False, stopping=False)

    def change(self, setting: Setting, value: float) -> None:
        """Give a setting another value from the next step on.

        Raises:
            ParameterError: an unknown setting, or a value out of its range.
        """
        change = Change(0, setting, float(value))
        with self._condition:
            self._wanted[change.setting] = change.value, time.monotonic() + self.settle_seconds

    def before_step(self, trainer: Trainer, epoch: int, number: int) -> None:
        """Do what is asked for; called by the training before each step.

        Raises:
            StoppedError: it shall stop; the checkpoint is written.
            ParameterError: this training does not have the setting that shall change.
        """
        with self._condition:
            while self._paused:
                self._condition.wait()
            stopping, self._stopping = self._stopping, False
        # All processes stop before the same step, or those that go on would wait for the others.
        if trainer.devices.any(stopping):
            # First: what is not finite is not kept.
            history = trainer.history_so_far(epoch)
            if trainer.checkpoint and trainer.devices.rank == 0:
                trainer.checkpoint.save(epoch)
            raise StoppedError(
                f"{trainer.description}: stopped in epoch {epoch + 1} of {trainer.settings.epochs}, before step "
                f"{number + 1}; train again to go on from there",
                history,
            )
        self._apply(trainer, epoch * len(trainer.stream) + number)
        if self.on_step:
            self.on_step(trainer, epoch)

    def logged(self, epoch: int, steps: int) -> dict[str, str]:
        """Return the history's column ``changes`` of an epoch: ``temperature=2.0@3.250; ...``; without any, none.

        The number after the ``@`` is the place in epochs: 3.25 is a quarter of the way through the fourth.
        """
        made = [one for one in self.changes if epoch <= one.step / steps < epoch + 1]
        texts = [f"{one.setting}={one.value}@{one.step / steps:.3f}" for one in made]
        return {"changes": "; ".join(texts)} if texts else {}

    def _set(self, *, paused: bool, stopping: bool) -> None:
        with self._condition:
            self._paused, self._stopping = paused, stopping
            self._condition.notify_all()

    def _apply(self, trainer: Trainer, step: int) -> None:
        for change in self.changes:
            if change.step <= step:
                _write(trainer, change.setting, change.value)
        for setting, value in self._settled():
            if value != _read(trainer, setting):
                _write(trainer, setting, value)
                self._record(Change(step, setting, value), trainer)

    def _settled(self) -> list[tuple[Setting, float]]:
        with self._condition:
            now = time.monotonic()
            due = [(setting, value) for setting, (value, at) in self._wanted.items() if at <= now]
            for setting, _ in due:
                del self._wanted[setting]
        return due

    def _record(self, change: Change, trainer: Trainer) -> None:
        """Add a change, and keep the checkpoints from now on where a training with these changes has its own."""
        unchanged = not self.changes
        same = [one for one in self.changes if (one.step, one.setting) == (change.step, change.setting)]
        kept = [one for one in self.changes if one not in same]
        self.changes = sorted([*kept, change], key=lambda one: one.step)
        if trainer.checkpoint and self.folder:
            trainer.checkpoint.move(self.folder(), keep=unchanged)


_ONE = threading.RLock()


@contextlib.contextmanager
def one_training() -> Iterator[None]:
    """Let one thread train at a time: two would draw from the same generators.

    Raises:
        TrainingError: another thread is training.
    """
    if not _ONE.acquire(blocking=False):
        raise TrainingError(
            "another training is going on in this process: wait until it has finished, or stop it in its panel"
        )
    try:
        yield
    finally:
        _ONE.release()


@contextlib.contextmanager
def stop_on_interrupt(control: TrainingControl) -> Iterator[None]:
    """Let the first keyboard interrupt stop the training between two steps; the second one acts at once.

    Only the main thread gets interrupts; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        control.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _terms(trainer: Trainer) -> list[LogitTerm]:
    """The terms that read the temperature in each step; that of CTKD is learned."""
    modules = trainer.extra.modules()
    return [one for one in modules if isinstance(one, LogitTerm) and not isinstance(one, CTKD)]


def _read(trainer: Trainer, setting: Setting) -> float:
    places: list[Any] = [trainer.mitigation] if setting == "adversary_weight" else [*_terms(trainer)]
    name = setting.removeprefix("adversary_")
    if not places or not hasattr(places[0], name):
        raise ParameterError(
            f"{trainer.description}: {setting} cannot be changed: its mitigation and distiller do not read it"
        )
    return float(getattr(places[0], name))


def _write(trainer: Trainer, setting: Setting, value: float) -> None:
    _read(trainer, setting)
    if setting == "adversary_weight":
        trainer.mitigation.weight = value  # type: ignore[assignment]
    for term in _terms(trainer) if setting == "temperature" else ():
        term.temperature = value
