"""Which training starts when: what others need comes first, a failed one is tried once more, the rest goes on."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from fairkd.sweeps.engine import Engine, Outcome, Running
from fairkd.sweeps.plan import Trial
from fairkd.sweeps.records import Record, RecordFolder

_ATTEMPTS = 2
_SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Event:
    """Something that happened to a training; ``tick``: nothing did, for displays that show time.

    ``skip``: it was finished before this invocation.
    """

    kind: Literal["skip", "start", "finish", "retry", "fail", "tick"]
    trial: Trial | None = None
    text: str = ""


OnEvent = Callable[[Event, "Scheduler"], None]


class Scheduler:
    """Runs trainings on an engine and keeps a record of each.

    Args:
        engine: where they run.
        folder: where the records lie; finished trainings are not repeated.
        on_event: called with each event and this scheduler.
    """

    def __init__(self, engine: Engine, folder: RecordFolder, on_event: OnEvent) -> None:
        self.records: dict[str, Record] = {}
        self.trials: dict[str, Trial] = {}
        self._engine, self._folder, self._on_event = engine, folder, on_event
        #: A heap of what can start, with its place in the order; and, by key, what waits for that one first.
        self._ready: list[tuple[int, str]] = []
        self._behind: dict[str, list[Trial]] = {}
        self._places: dict[str, int] = {}
        self._active: set[str] = set()
        self._attempts: dict[str, int] = {}
        self._began: dict[str, float] = {}

    @property
    def busy(self) -> bool:
        """Whether there is anything left to do."""
        return len(self.records) < len(self.trials)

    @property
    def slots(self) -> int:
        """How many trainings run side by side."""
        return self._engine.slots

    def running(self) -> list[Running]:
        """Return the trainings at work."""
        return self._engine.running()

    def add(self, trials: Iterable[Trial]) -> None:
        """Take on trainings; what they need is to be among these or earlier ones."""
        new = []
        for trial in trials:
            if trial.key not in self.trials:
                self.trials[trial.key] = trial
                new.append(trial)
        # The first event comes when it is known how many there are.
        for trial in new:
            self._places[trial.key] = len(self._places)
            record = self._folder.read(trial.key)
            if record is None:
                self._line_up(trial)
            else:
                self._keep(record, Event("skip", trial))

    def step(self) -> None:
        """Start what can start, and wait a moment for something to end."""
        while self._ready and len(self._active) < self._engine.slots:
            self._start(self.trials[heapq.heappop(self._ready)[1]])
        if not self._active:
            return
        outcomes = self._engine.wait(_SECONDS_BETWEEN_LOOKS)
        for outcome in outcomes:
            self._settle(self.trials[outcome.key], outcome)
        if not outcomes:
            self._on_event(Event("tick"), self)

    def _line_up(self, trial: Trial) -> None:
        """Make a training ready, or let it wait for the first thing that it lacks; it fails with what it needs."""
        there = [self.records[key] for key in trial.after if key in self.records]
        failed = next((record for record in there if not record.finished), None)
        if failed is not None:
            self._end(trial, state="failed", error=f"not started, as {failed.title} failed")
        elif len(there) < len(trial.after):
            missing = next(key for key in trial.after if key not in self.records)
            self._behind.setdefault(missing, []).append(trial)
        else:
            heapq.heappush(self._ready, (self._places[trial.key], trial.key))

    def _start(self, trial: Trial) -> None:
        self._active.add(trial.key)
        self._began.setdefault(trial.key, time.monotonic())
        self._attempts[trial.key] = self._attempts.get(trial.key, 0) + 1
        self._engine.start(trial.key, trial.job)
        self._on_event(Event("start", trial), self)

    def _settle(self, trial: Trial, outcome: Outcome) -> None:
        self._active.remove(trial.key)
        if outcome.error is None:
            self._end(trial, state="finished", result=outcome.result)
        elif self._attempts[trial.key] < _ATTEMPTS:
            # First of all, so that its checkpoint is not left to age.
            heapq.heappush(self._ready, (-1, trial.key))
            self._on_event(Event("retry", trial, outcome.error), self)
        else:
            self._end(trial, state="failed", error=outcome.error)

    def _end(self, trial: Trial, **outcome: object) -> None:
        seconds = time.monotonic() - self._began.get(trial.key, time.monotonic())
        attempts = self._attempts.get(trial.key, 0)
        record = self._folder.write(trial, attempts=attempts, seconds=round(seconds, 3), **outcome)
        self._keep(record, Event("finish" if record.finished else "fail", trial, record.error or ""))

    def _keep(self, record: Record, event: Event) -> None:
        self.records[record.key] = record
        self._on_event(event, self)
        for trial in self._behind.pop(record.key, ()):
            self._line_up(trial)
