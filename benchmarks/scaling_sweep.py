"""Sweeps for benchmarks/scaling.py: the real scheduler on a clock that is not real, and next to real sweeps."""

from __future__ import annotations

import heapq
import io
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

import fairkd
from fairkd.store import write_json
from fairkd.sweeps.display import show_sweep
from fairkd.sweeps.engine import Job, Outcome, Running
from fairkd.sweeps.execute import Question, run
from fairkd.sweeps.plan import Planner, Trial
from fairkd.sweeps.records import Record, RecordFolder
from fairkd.sweeps.report import write_sweep_report
from fairkd.sweeps.results import make_results, save_results
from fairkd.sweeps.scheduler import OnEvent, Scheduler
from fairkd.sweeps.space import Values

#: Seconds of a job, by its kind; the number counts the jobs before it.
Duration = Callable[[str, int], float]
ARTIFACT = "student-0"
TINY = {
    **{
        "samples": 300,
        "image_size": 16,
        "batch_size": 32,
        "precision": "float32",
        "bootstrap_replicates": 100,
    },
    **{"teacher": "resnet8_cifar", "student": "test_resnet", "teacher_epochs": 8, "student_epochs": 8},
}


class VirtualEngine:
    """Jobs that take their time on a clock of their own, which stands still while anything is computed.

    ``startup``: seconds that a worker takes before its first job.
    """

    def __init__(self, slots: int, duration: Duration, startup: float = 0.0) -> None:
        self.slots, self.now = slots, 0.0
        self._duration, self._startup, self._started = duration, startup, 0
        self._ends: list[tuple[float, str]] = []

    def start(self, key: str, job: Job) -> None:
        seconds = self._duration(job["kind"], self._started)
        # Jobs go to workers that are free, new ones only where none is: the n-th job at once starts the n-th worker.
        seconds += self._startup * (self._started < self.slots)
        self._started += 1
        heapq.heappush(self._ends, (self.now + seconds, key))

    def wait(self, seconds: float) -> list[Outcome]:
        self.now, key = heapq.heappop(self._ends)
        return [Outcome(key, result=answer(self._started))]

    def running(self) -> list[Running]:
        return [Running(key, 0.0) for _, key in self._ends]

    def close(self) -> None:
        """Nothing runs."""


class MemoryRecords(RecordFolder):
    """Keeps records without writing them."""

    def read(self, key: str) -> Record | None:
        return None

    def write(self, trial: Trial, **outcome: Any) -> Record:
        return Record(trial.key, trial.title, command="", **outcome)


def answer(number: int) -> dict[str, Any]:
    """Return what a worker answers, with scores that differ."""
    rng = random.Random(number)
    scores = [
        {
            "metric": metric,
            **{"value": (value := rng.uniform(0.1, 0.9)), "low": value - 0.02, "high": value + 0.02},
            **{"validation": rng.uniform(0.1, 0.9), "difference": 0.0, "difference_low": -0.1},
            **{"difference_high": 0.1, "supported": False, "param_count": 10, "seconds": 1.0},
        }
        for metric in ("accuracy", "worst_group_accuracy", "recall_gap")
    ]
    return {"artifact": ARTIFACT, "scores": scores, "collapsed": False, "warnings": []}


def drive(trials: Sequence[Trial], engine: Any, records: RecordFolder, on_event: OnEvent) -> Scheduler:
    """Let the scheduler run everything."""
    scheduler = Scheduler(engine, records, on_event)
    scheduler.add(trials)
    while scheduler.busy:
        scheduler.step()
    return scheduler


def planned(settings: int, seeds: int, folder: str = "outputs") -> list[Trial]:
    """Return the trials of a grid: ``settings`` adversary weights, with plain KD and teachers."""
    experiment = fairkd.Experiment(seeds=seeds, output_dir=folder)
    return Planner(experiment).plan([{"adversary_weight": (one + 1) / 100} for one in range(settings)])


def simulate(trials: Sequence[Trial], workers: int, duration: Duration, startup: float = 0.0) -> float:
    """Return the seconds, on the virtual clock, until all trials have ended."""
    engine = VirtualEngine(workers, duration, startup)
    drive(trials, engine, MemoryRecords(Path("nowhere")), lambda event, scheduler: None)
    return engine.now


def makespans(seconds: dict[str, float], spread: float, workers: Sequence[int]) -> list[dict[str, float]]:
    """Simulate a sweep of about 1,000 trainings, with few and with many seeds.

    Args:
        seconds: of a training, by kind.
        spread: standard deviation of its logarithm.
        workers: how many there are.
    """

    def duration(kind: str, number: int) -> float:
        return seconds[kind] * random.Random(number).lognormvariate(0, spread)

    rows = []
    for settings, seeds in ((333, 3), (18, 50)):
        trials = planned(settings, seeds)
        alone = simulate(trials, 1, duration)
        for count in workers:
            makespan = simulate(trials, count, duration)
            rows.append(
                {"seeds": seeds, "trials": len(trials), "workers": count, "hours": makespan / 3600}
                | {"speedup": alone / makespan, "efficiency": alone / makespan / count}
            )
    return rows


def overheads(sizes: Sequence[int]) -> list[dict[str, float]]:
    """Return what a sweep costs beside its trainings, seconds of this process, by the number of trials."""
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            rows.append({"trials": size} | _overheads(size, Path(name)))
        print(rows[-1], flush=True)
    return rows


def _overheads(size: int, outputs: Path) -> dict[str, float]:
    folder = outputs / "sweep"
    write_json(outputs / "artifacts" / ARTIFACT / "config.json", {})
    found: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = work()
        found[name] = time.process_time() - started
        return result

    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    trials = timed("plan", lambda: planned(max(1, size - 2), 1, str(outputs)))
    with show_sweep(console, 0.01) as table:
        engine = VirtualEngine(2, lambda kind, number: 1.0)
        timed("run", lambda: drive(trials, engine, RecordFolder(folder), table))
    again = timed(
        "resume", lambda: drive(trials, engine, RecordFolder(folder), lambda event, scheduler: None)
    )
    results = timed("results", lambda: make_results(trials, again.records, tolerance=0.01, confidence=0.95))
    timed("files", lambda: save_results(folder, results))
    page = timed("report", lambda: write_sweep_report(folder, results, _question(trials[0].experiment)))
    found["report_bytes"] = page.stat().st_size
    found["record_bytes"] = sum(file.stat().st_size for file in (folder / "trials").iterdir())
    return found


def _question(experiment: fairkd.Experiment) -> dict[str, Any]:
    return {
        "command": "fairkd sweep",
        "asked": {"space": ["adversary_weight=…"], "search": None},
        "parameters": experiment.model_dump(mode="json"),
        "environment": {"packages": {}, "python": "", "platform": ""},
    }


def searches(sizes: Sequence[int]) -> list[dict[str, float]]:
    """Return the seconds that Optuna takes to propose one more setting, by the number that it knows."""
    from fairkd.sweeps.search import Search
    from fairkd.sweeps.space import read_space

    rows, rng = [], random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        space = read_space({"adversary_weight": "0.1..30:log", "temperature": "1..10"})
        search, took = Search(Path(folder), space, "tpe", 0), 0.0
        for known in range(1, max(sizes) + 1):
            started = time.process_time()
            number, _ = search.ask()
            search.tell(number, (rng.random(), rng.random()))
            took = time.process_time() - started
            if known in sizes:
                rows.append({"known": known, "seconds": took})
    return rows


def against_real(settings: int = 3, seeds: int = 2) -> dict[str, Any]:
    """Run a real sweep of small trainings with one worker, simulate it with two, and run it with two.

    Durations, by kind, and a worker's start are those of the sweep with one worker: of the first training and the
    median of the others.
    """
    weights = tuple(float(one) for one in range(1, settings + 1))
    measured: dict[int, float] = {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            experiment = fairkd.Experiment(seeds=seeds, output_dir=folder, run_name="sweep", **TINY)
            question = Question(experiment, (Values("adversary_weight", weights),))
            started = time.perf_counter()
            results = run(question, workers=workers, on_event=None)
            measured[workers] = time.perf_counter() - started
            if workers == 1:
                table = results.table
                used = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    seconds = {kind: statistics.median(part["seconds"]) for kind, part in table.groupby("kind")}
    first = float(table["seconds"].iloc[0])
    seconds["teacher"] = float(table.loc[table["kind"] == "teacher", "seconds"].min())
    startup = max(0.0, first - seconds["teacher"])
    trials = planned(settings, seeds)
    simulated = {n: simulate(trials, n, lambda kind, number: seconds[kind], startup) for n in (1, 2)}
    return {
        "trials": len(table),
        "seconds": seconds,
        "startup": startup,
        "measured": measured,
        "simulated": simulated,
        "bytes": used,
    }
