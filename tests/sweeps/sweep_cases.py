"""Engines and experiments for the tests of sweeps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairkd.config import Experiment
from fairkd.sweeps.engine import Job, Outcome, Running
from fairkd.sweeps.worker import answer


class InlineEngine:
    """Answers in this process; jobs and answers still go by way of JSON, as those of real workers do."""

    def __init__(self, function: Callable[[Job], dict[str, Any]] = answer, slots: int = 1) -> None:
        self.slots, self.function = slots, function
        self.started: list[str] = []
        self.closed = False
        self._jobs: dict[str, Job] = {}

    def start(self, key: str, job: Job) -> None:
        assert len(self._jobs) < self.slots, "more jobs than slots"
        self.started.append(key)
        self._jobs[key] = json.loads(json.dumps(job))

    def wait(self, seconds: float) -> list[Outcome]:
        key = next(iter(self._jobs))
        found = json.loads(json.dumps(self.function(self._jobs.pop(key))))
        return [Outcome(key, **found)]

    def running(self) -> list[Running]:
        return [Running(key, time.monotonic()) for key in self._jobs]

    def close(self) -> None:
        self.closed = True


def tiny(folder: Path, **changes: Any) -> Experiment:
    """Real digits, few and small, and networks that train on them in a fraction of a second."""
    values: dict[str, Any] = {
        "samples": 150,
        "image_size": 16,
        "batch_size": 32,
        "teacher": "resnet8_cifar",
        "student": "test_resnet",
        "teacher_epochs": 1,
        "student_epochs": 1,
        "precision": "float32",
        "bootstrap_replicates": 100,
        "seeds": 1,
        "output_dir": str(folder),
    }
    return Experiment(**(values | changes))


def result(accuracy: float = 0.9, gap: float = 0.1, *, collapsed: bool = False) -> dict[str, Any]:
    """What a worker answers, without a training."""
    scores = [
        {
            "metric": metric,
            **{"value": value, "low": value - 0.1, "high": value + 0.1, "validation": value},
            **{"difference": 0.0, "difference_low": -0.1, "difference_high": 0.1, "supported": False},
            **{"param_count": 10, "seconds": 1.0},
        }
        for metric, value in (("accuracy", accuracy), ("worst_group_accuracy", accuracy), ("recall_gap", gap))
    ]
    return {"artifact": "student-0", "scores": scores, "collapsed": collapsed, "warnings": []}
