"""What an engine is: it runs a sweep's jobs side by side, somewhere."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Protocol

#: As JSON in, as JSON out: see :func:`fairkd.sweeps.worker.answer`.
Job = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """The end of a job: its ``result``, or the ``error`` in one line."""

    key: str
    result: dict[str, Any] | None = None
    error: str | None = None


@dataclass(frozen=True)
class Running:
    """A job at work: since when (``time.monotonic``), in which process if known, and what it is at."""

    key: str
    since: float
    pid: int | None = None
    detail: str = ""


class Engine(Protocol):
    """Runs jobs side by side. An outcome comes for every job that was started, whatever happens to it."""

    slots: int

    def start(self, key: str, job: Job) -> None:
        """Start a job; the caller sees to it that no more than ``slots`` run."""

    def wait(self, seconds: float) -> list[Outcome]:
        """Return the jobs that have ended, after at most ``seconds``."""

    def running(self) -> list[Running]:
        """Return the jobs at work."""

    def close(self) -> None:
        """End everything that still runs."""


def core_count() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus(device: str) -> list[str]:
    """Return the GPUs to deal out, as in ``CUDA_VISIBLE_DEVICES``; none where the device is chosen otherwise."""
    import torch

    if device not in ("auto", "cuda"):
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return [name for name in named.split(",") if name][:count] if named else [str(i) for i in range(count)]
