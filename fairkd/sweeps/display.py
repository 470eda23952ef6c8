"""A sweep on a terminal: a live table where someone watches, plain lines where a log is kept."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from fairkd.comparison.summary import mean_and_std
from fairkd.shown import duration
from fairkd.sweeps.plan import Trial
from fairkd.sweeps.records import Record
from fairkd.sweeps.results import Results
from fairkd.sweeps.scheduler import Event, OnEvent, Scheduler

_MOST_LINES = 16
_DIGITS = 3


@contextlib.contextmanager
def show_sweep(console: Console, tolerance: float) -> Iterator[OnEvent]:
    """Yield the function to call with each event.

    Args:
        console: where it shows.
        tolerance: accuracy that the best so far may give up.
    """
    if not console.is_terminal:
        yield _Plain(console)
        return
    with Live(console=console, transient=True, auto_refresh=False) as live:
        yield _Table(live, tolerance)


def show_results(console: Console, results: Results) -> None:
    """Print the settings with their means, the front and the chosen one."""
    if results.summary.empty:
        return
    shown = Table(
        Column("setting", overflow="fold"),
        *(Column(name, justify="right") for name in ("accuracy", "mean recall gap", "seeds")),
        Column("on validation data"),
        box=None,
    )
    for setting, part in results.summary.groupby("method", sort=False):
        by_metric = part.set_index("metric")
        marks = ["chosen"] * (setting == results.chosen) + ["front"] * (setting in results.front)
        marks += ["collapsed"] * bool(part["collapsed"].iloc[0])
        shown.add_row(
            escape(str(setting)),
            *(mean_and_std(by_metric.loc[metric]) for metric in ("accuracy", "recall_gap")),
            str(int(part["seeds"].iloc[0])),
            ", ".join(marks),
        )
    console.print(shown)


class BestSoFar:
    """The best student with one seed by now: the smallest recall gap near the best accuracy, both on validation data.

    Collapsed students do not count. Only those that no other beats in both are kept: thousands cost no more than a few.

    Args:
        tolerance: accuracy that the best may give up.
    """

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._front: list[tuple[str, float, float]] = []

    def note(self, record: Record) -> None:
        """Take a student's record into account."""
        if not record.result or record.result["collapsed"]:
            return
        scores = record.scores()
        accuracy, gap = (scores[name]["validation"] for name in ("accuracy", "recall_gap"))
        if gap is None or gap != gap or any(a >= accuracy and g <= gap for _, a, g in self._front):
            return
        others = [one for one in self._front if one[1] > accuracy or one[2] < gap]
        self._front = [*others, (record.title, float(accuracy), float(gap))]

    def get(self) -> tuple[str, float, float] | None:
        """Return title, accuracy and recall gap; ``None``: there is no student yet."""
        best = max((accuracy for _, accuracy, _ in self._front), default=0.0)
        near = [one for one in self._front if one[1] >= best - self._tolerance]
        return min(near, key=lambda one: one[2], default=None)


class _Clock:
    """Tells how long the trainings that are left will take, from those that have ended in this invocation."""

    def __init__(self) -> None:
        self._seconds, self._ended = 0.0, 0

    def note(self, record: Record) -> None:
        self._seconds += record.seconds
        self._ended += 1

    def left(self, scheduler: Scheduler) -> str:
        if not self._ended:
            return ""
        mean = self._seconds / self._ended
        remaining = len(scheduler.trials) - len(scheduler.records)
        # What runs is on average half done.
        work = mean * (remaining - len(scheduler.running()) / 2)
        return f"{duration(work / min(scheduler.slots, max(remaining, 1)))} left" if remaining else ""


class _Plain:
    def __init__(self, console: Console) -> None:
        self._console, self._clock = console, _Clock()

    def __call__(self, event: Event, scheduler: Scheduler) -> None:
        trial = event.trial
        if trial is None or event.kind == "tick":
            return
        if event.kind == "finish":
            self._clock.note(scheduler.records[trial.key])
        where = f"[{len(scheduler.records)}/{len(scheduler.trials)}]"
        left = self._clock.left(scheduler) if event.kind == "finish" else ""
        said = _said(event, scheduler) + (f", {left}" if left else "")
        self._console.print(f"{where} {trial.title}: {said}", markup=False, highlight=False, soft_wrap=True)


class _Table:
    def __init__(self, live: Live, tolerance: float) -> None:
        self._live, self._clock, self._best, self._failed = live, _Clock(), BestSoFar(tolerance), 0
        self._began = time.monotonic()

    def __call__(self, event: Event, scheduler: Scheduler) -> None:
        if event.trial is not None:
            self._note(event, event.trial, scheduler)
        self._live.update(self._view(scheduler), refresh=True)

    def _note(self, event: Event, trial: Trial, scheduler: Scheduler) -> None:
        self._failed += event.kind == "fail"
        if event.kind in ("fail", "retry"):
            text = f"{trial.title}: {_said(event, scheduler)}"
            self._live.console.print(f"[bold red]✕[/] {escape(text)}", soft_wrap=True, highlight=False)
        if event.kind == "finish":
            self._clock.note(scheduler.records[trial.key])
        if event.kind in ("finish", "skip") and trial.kind != "teacher":
            self._best.note(scheduler.records[trial.key])

    def _view(self, scheduler: Scheduler) -> Group:
        done, total = len(scheduler.records), len(scheduler.trials)
        head = Table.grid(padding=(0, 2))
        counted = f"{done}/{total} trainings"
        elapsed = duration(time.monotonic() - self._began)
        failures = f"[bold red]✕ {self._failed} failed[/]" if self._failed else "[dim]0 failed[/]"
        bar = ProgressBar(total=max(total, 1), completed=done, width=24)
        head.add_row(f"[bold]{counted}[/]", bar, elapsed, self._clock.left(scheduler), failures)
        return Group(head, self._running(scheduler), self._best_line())

    def _running(self, scheduler: Scheduler) -> Table:
        table = Table(Column("training", overflow="fold"), "time", Column("", style="dim"), box=None)
        running = scheduler.running()
        for one in running[:_MOST_LINES]:
            title = escape(scheduler.trials[one.key].title)
            table.add_row(title, duration(time.monotonic() - one.since), escape(one.detail))
        if len(running) > _MOST_LINES:
            table.add_row(f"[dim]and {len(running) - _MOST_LINES} more", "", "")
        return table

    def _best_line(self) -> Text:
        best = self._best.get()
        if best is None:
            return Text("best so far: none yet", style="dim")
        title, accuracy, gap = best
        return Text(f"best so far (validation): {title}: {_scores(accuracy, gap)}")


def _said(event: Event, scheduler: Scheduler) -> str:
    assert event.trial is not None
    if event.kind == "finish":
        record = scheduler.records[event.trial.key]
        scores = record.scores()
        values = (scores[name]["validation"] for name in ("accuracy", "recall_gap"))
        return f"done in {duration(record.seconds)}, validation {_scores(*values)}"
    return {
        "skip": "done before",
        "start": "started",
        "retry": f"failed, tried once more: {event.text}",
        "fail": f"failed: {event.text}",
    }[event.kind]


def _scores(accuracy: float, gap: float | None) -> str:
    shown = "n/a" if gap is None or gap != gap else f"{gap:.{_DIGITS}f}"
    return f"accuracy {accuracy:.{_DIGITS}f}, recall gap {shown}"
