"""A sweep from its space to its report: check everything, train what is missing, summarise."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from fairkd.config import COMPARED, Experiment
from fairkd.errors import ArtifactError, ParameterError
from fairkd.recipes import check_setting, check_swept, warn_of_few_samples, warn_of_unread
from fairkd.reproducibility import environment
from fairkd.run_state import locked
from fairkd.store import digest, read_json, write_json
from fairkd.sweeps.engine import Engine, visible_gpus
from fairkd.sweeps.local_engine import LocalEngine
from fairkd.sweeps.plan import Planner, Trial
from fairkd.sweeps.ray_engine import RayEngine, import_ray
from fairkd.sweeps.records import RecordFolder
from fairkd.sweeps.results import Results, make_results, save_results
from fairkd.sweeps.scheduler import OnEvent, Scheduler
from fairkd.sweeps.search import SAMPLERS, Sampler, Search, import_optuna, objectives
from fairkd.sweeps.space import Dimension, Space, corners, grid, read_space

SWEEP = "sweep.json"


@dataclass(frozen=True)
class Question:
    """What a sweep asks: the experiment, what is varied, and, for a search, how many settings are tried."""

    experiment: Experiment
    dimensions: tuple[Dimension, ...]
    search: Literal["optuna"] | None = None
    trials: int = 0
    sampler: Sampler = "tpe"

    @property
    def folder(self) -> Path:
        """``outputs/<run_name>``, by default named after what is varied."""
        experiment = self.experiment
        names = "-".join(one.name for one in self.dimensions)[:60]
        name = experiment.run_name or f"sweep-{names}-{digest(self.asked, 8)}"
        return experiment.output_path / name

    @property
    def asked(self) -> dict[str, Any]:
        """What determines the answer. More trials continue a search: their number is not part of it."""
        changed = {name: str(value) for name, value in self.experiment.changed().items()}
        if self.experiment.plugin is not None:
            changed["plugin"] = str(self.experiment.plugin_digest)
        asked = {"experiment": changed, "space": [str(one) for one in self.dimensions], "search": self.search}
        return {**asked, "sampler": self.sampler} if self.search else asked

    @property
    def command(self) -> str:
        """The shell command that repeats the sweep."""
        words = ["fairkd", "sweep"]
        for one in self.dimensions:
            words += ["--param", shlex.quote(str(one))]
        if self.search:
            words += ["--search", self.search, "--trials", str(self.trials), "--sampler", self.sampler]
        own = self.experiment.command_of("sweep").removeprefix("fairkd sweep")
        return " ".join(words) + own


def ask(
    experiment: Experiment,
    space: Space,
    *,
    search: Literal["optuna"] | None = None,
    trials: int | None = None,
    sampler: Sampler = "tpe",
) -> Question:
    """Read and check what a sweep asks: every setting of a grid, and the ends of a space to search.

    Raises:
        ParameterError: a parameter is unknown or a value not allowed; ``search`` without ``trials``, or the
            other way round; an unknown sampler; Optuna is not installed.
        DataError: the data set is not there or cannot serve.
    """
    dimensions = read_space(space)
    for name in set(COMPARED) - {"seeds"}:
        if name in experiment.changed():
            raise ParameterError(
                f"{name} does nothing in `fairkd sweep`: vary distiller or mitigation with --param"
            )
    if search not in (None, "optuna"):
        raise ParameterError(f"--search {search} is not known; allowed: optuna")
    if (search is None) != (trials is None) or (trials is not None and trials < 1):
        raise ParameterError("--search and --trials belong together: --search optuna --trials 20")
    if sampler not in SAMPLERS:
        raise ParameterError(f"--sampler {sampler} is not known; allowed: {', '.join(SAMPLERS)}")
    if search:
        import_optuna()
    points = corners(dimensions) if search else grid(dimensions)
    planner = Planner(experiment)
    settings = planner.experiments(points)
    plans = [planner.data(one) for one in settings]
    for one, plan in zip(settings, plans, strict=True):
        check_setting(one, plan)
    check_swept([dimension.name for dimension in dimensions], settings)
    warn_of_unread(experiment, settings)
    for plan in {plan.fingerprint: plan for plan in plans}.values():
        warn_of_few_samples(plan)
    return Question(experiment, tuple(dimensions), search, trials or 0, sampler)


def plan_grid(question: Question) -> list[Trial]:
    """Return the trials of a grid, in the order in which they start."""
    return Planner(question.experiment).plan(grid(question.dimensions))


def sweep(
    experiment: Experiment,
    space: Space,
    *,
    engine: Literal["local", "ray"] | Engine = "local",
    address: str | None = None,
    workers: int | None = None,
    search: Literal["optuna"] | None = None,
    trials: int | None = None,
    sampler: Sampler = "tpe",
    on_event: OnEvent | None = None,
) -> pd.DataFrame:
    """Train every setting of a space with every seed, side by side, and write one report.

    Teachers, and plain KD as the baseline, are trained first and shared. What has been trained before is not
    repeated, and what was interrupted goes on. A training that fails, or whose worker dies, is tried once more and
    then reported; the others are not affected. Everything is kept in ``outputs/<run_name>/``: ``sweep.json``,
    ``trials/``, ``trials.csv``, ``summary.json`` and ``report.html``.

    Args:
        experiment: what is not varied; ``seeds`` seeds from ``seed`` on. ``run_name`` names the folder.
        space: by parameter, the values as a list or as text (``"0,0.3,1"``); for a search also a range,
            ``"0.1..30:log"``.
        engine: ``"local"`` (worker processes of this machine), ``"ray"``, or an engine of your own.
        address: of a running Ray cluster; ``None``: Ray runs on this machine only.
        workers: trainings side by side; default: one a GPU, without GPUs one a core. Threads are divided.
        search: ``"optuna"`` proposes settings instead of trying a grid.
        trials: settings that the search tries, those of earlier invocations included.
        sampler: of the search, ``"tpe"`` or ``"nsga2"``.
        on_event: called with each :class:`~fairkd.sweeps.scheduler.Event` and the scheduler.

    Returns:
        A row a trial, as :func:`fairkd.sweeps.results.trial_table` describes it.

    Raises:
        ParameterError, DataError: before any training.
        FairkdError: another process works in the sweep's folder.

    Example:
        >>> from fairkd import Experiment, sweep
        >>> table = sweep(Experiment(seeds=3), {"adversary_weight": [0, 1, 10]})  # doctest: +SKIP
    """
    question = ask(experiment, space, search=search, trials=trials, sampler=sampler)
    return run(question, engine=engine, address=address, workers=workers, on_event=on_event).table


def run(
    question: Question,
    *,
    engine: Literal["local", "ray"] | Engine = "local",
    address: str | None = None,
    workers: int | None = None,
    on_event: OnEvent | None = None,
) -> Results:
    """Answer a checked question; see :func:`sweep`."""
    check_engine(engine, address, workers)
    folder, planner = question.folder, Planner(question.experiment)
    with locked(folder):
        _write_question(question)
        chosen = _engine(engine, address, workers, question)
        scheduler = Scheduler(chosen, RecordFolder(folder), on_event or (lambda event, scheduler: None))
        try:
            with contextlib.closing(chosen):
                (_search if question.search else _grid)(question, planner, scheduler)
        except KeyboardInterrupt:
            _report(question, planner, scheduler)
            raise
        return _report(question, planner, scheduler)


def _report(question: Question, planner: Planner, scheduler: Scheduler) -> Results:
    """Write what there is by now; an interrupted sweep has trials that were not run."""
    experiment, folder = question.experiment, question.folder
    results = make_results(
        planner.trials,
        scheduler.records,
        tolerance=experiment.selection_tolerance,
        confidence=experiment.confidence,
    )
    save_results(folder, results)
    # Needs plotly, which a training machine may lack.
    with contextlib.suppress(ImportError):
        from fairkd.sweeps.report import write_sweep_report

        write_sweep_report(folder, results, read_json(folder / SWEEP))
    return results


def _grid(question: Question, planner: Planner, scheduler: Scheduler) -> None:
    scheduler.add(planner.plan(grid(question.dimensions)))
    while scheduler.busy:
        scheduler.step()


def _search(question: Question, planner: Planner, scheduler: Scheduler) -> None:
    """Keep as many settings in training as there are slots; tell the search how each did."""
    search = Search(question.folder, question.dimensions, question.sampler, question.experiment.seed)
    waiting: dict[int, list[Trial]] = {}

    def take(number: int, values: dict[str, Any]) -> None:
        scheduler.add(planner.plan([values]))
        waiting[number] = planner.students(values)

    for number, values in search.known.items():
        take(number, values)
    while True:
        for number, students in list(waiting.items()):
            records = [scheduler.records.get(trial.key) for trial in students]
            if None not in records:
                search.tell(number, objectives([record for record in records if record is not None]))
                del waiting[number]
        while len(search.known) < question.trials and len(waiting) < scheduler.slots:
            take(*search.ask())
        if not scheduler.busy and not waiting:
            return
        scheduler.step()


def check_engine(engine: str | Engine, address: str | None, workers: int | None) -> None:
    """Raise where an engine cannot be had with these options.

    Raises:
        ParameterError: an unknown engine, options that it does not take, or Ray is not installed.
    """
    if isinstance(engine, str) and engine not in ("local", "ray"):
        raise ParameterError(f"--engine {engine} is not known; allowed: local, ray")
    if address is not None and engine != "ray":
        raise ParameterError("--address is of a Ray cluster: add --engine ray")
    if workers is not None and workers < 1:
        raise ParameterError(f"--workers {workers} is not allowed: at least 1")
    if engine == "ray":
        import_ray(local=address is None)


def _engine(
    engine: Literal["local", "ray"] | Engine, address: str | None, workers: int | None, question: Question
) -> Engine:
    if not isinstance(engine, str):
        return engine
    device = question.experiment.device
    if engine == "ray":
        return RayEngine(address, workers, device)
    return LocalEngine(workers, visible_gpus(device), question.folder / "logs")


def _write_question(question: Question) -> None:
    """Write what is asked; the memory of a search is of one question only."""
    path = question.folder / SWEEP
    if question.search and path.is_file():
        with contextlib.suppress(ArtifactError, AttributeError):
            if read_json(path).get("asked") != question.asked:
                raise ParameterError(
                    f"{question.folder} holds a search with other parameters; choose another -p run_name, or delete it"
                )
    write_json(
        path,
        {
            "command": question.command,
            "asked": question.asked,
            "parameters": question.experiment.model_dump(mode="json"),
            "environment": environment(),
        },
    )
