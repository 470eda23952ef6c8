"""The pipeline's events on a terminal: live bars where someone watches, plain lines where a log is kept."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Column, Table

from fairkd.pipeline import Event
from fairkd.shown import duration

_SECONDS_BETWEEN_LINES = 10.0


@contextlib.contextmanager
def show_events(console: Console) -> Iterator[Callable[[Event], None]]:
    """Yield the function to call with each event."""
    if not console.is_terminal:
        yield _Plain(console)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("[dim]{task.fields[detail]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Live(progress)


class _Clock:
    """Tells how long the work that progress events describe will still take."""

    def __init__(self) -> None:
        self._work: tuple[str, str] | None = None
        self._began, self._from, self._last = 0.0, 0, 0

    def is_new(self, event: Event) -> bool:
        """Whether the event is the first of its work; starts the clock if so.

        Work that goes backwards is new work of the same name.
        """
        known = self._work == (event.step, event.text) and event.done >= self._last
        self._last = event.done
        if not known:
            self._work, self._began, self._from = (event.step, event.text), time.monotonic(), event.done
        return not known

    def detail(self, event: Event) -> str:
        """Return ``40/120, 12 s left, accuracy 0.91``."""
        parts = [f"{event.done}/{event.total}"]
        passed = event.done - self._from
        if passed > 0 and event.done < event.total:
            left = (time.monotonic() - self._began) / passed * (event.total - event.done)
            parts.append(f"{duration(left)} left")
        parts += [f"{name} {_short(value)}" for name, value in event.values.items()]
        return ", ".join(parts)


class _Plain:
    def __init__(self, console: Console) -> None:
        self._console, self._clock, self._written = console, _Clock(), 0.0

    def __call__(self, event: Event) -> None:
        if event.kind == "progress":
            now = time.monotonic()
            if self._clock.is_new(event) or now - self._written > _SECONDS_BETWEEN_LINES:
                self._written = now
                self._line(event, f"{event.text} {self._clock.detail(event)}")
        elif event.kind != "cell":
            self._line(event, _said(event))

    def _line(self, event: Event, text: str) -> None:
        where = f"[{event.number}/{event.steps}] {event.step}"
        self._console.print(f"{where}: {text}", markup=False, highlight=False, soft_wrap=True)


class _Live:
    def __init__(self, progress: Progress) -> None:
        self._progress, self._clock = progress, _Clock()
        self._step: TaskID | None = None
        self._work: TaskID | None = None

    def __call__(self, event: Event) -> None:
        if event.kind == "start":
            self._step = self._add(f"[bold]{event.number}/{event.steps}[/] {escape(event.step)}")
        elif event.kind == "cell":
            self._update(self._step, event, f"cell {event.done + 1} of {event.total}")
        elif event.kind == "progress":
            if self._clock.is_new(event):
                self._remove("_work")
                self._work = self._add(f"    {escape(event.text)}")
            self._update(self._work, event, self._clock.detail(event))
        else:
            self._remove("_work")
            self._remove("_step")
            mark = "[dim]·[/]" if event.kind == "skip" else "[green]✓[/]"
            self._progress.console.print(f"{mark} {escape(event.step)} [dim]{_said(event)}[/]")

    def _add(self, description: str) -> TaskID:
        return self._progress.add_task(description, total=None, detail="")

    def _update(self, task: TaskID | None, event: Event, detail: str) -> None:
        if task is not None:
            self._progress.update(task, completed=event.done, total=event.total, detail=escape(detail))

    def _remove(self, name: str) -> None:
        task: TaskID | None = getattr(self, name)
        if task is not None:
            self._progress.remove_task(task)
            setattr(self, name, None)


def _said(event: Event) -> str:
    return {
        "skip": "done before",
        "start": "started",
        "finish": f"done in {duration(event.seconds)}",
        "report": "written from the executed notebooks",
    }[event.kind]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def show_methods(console: Console, folder: Path) -> None:
    """Print the table of a comparison of methods."""
    import pandas as pd

    from fairkd.comparison import methods_table, summarize_methods

    summary = summarize_methods(pd.read_csv(folder / "methods.csv"))
    collapsed = set(summary.loc[summary["collapsed"], "method"])
    table = methods_table(summary)
    columns = ["accuracy", "mean recall gap", "Δ mean recall gap"]
    shown = Table(
        Column("method", overflow="fold"), *(Column(name, no_wrap=True) for name in columns), box=None
    )
    for method, cells in table[columns].iterrows():
        name = f"{method} †" if method in collapsed else str(method)
        shown.add_row(escape(name), *(escape(cell) for cell in cells))
    console.print(shown)
    if collapsed:
        console.print(
            "† collapsed with some seed: it predicts at most half of the classes, and its gap says nothing"
        )
