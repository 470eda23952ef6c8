"""The main job: the four notebooks, in order, into one run folder; what is already done is left alone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fairkd.config import Experiment
from fairkd.errors import ArtifactError, FairkdError, ParameterError
from fairkd.execute import CellError, KernelDiedError, execute_notebook, select_parameters
from fairkd.reproducibility import environment, version_of
from fairkd.run_state import Status, locked, read_status
from fairkd.store import ARTIFACTS, check_writable, digest, file_digest, read_json, write_json


@dataclass(frozen=True)
class Step:
    """One notebook, ``<name>.ipynb``, and the files that it must leave in the run folder.

    ``models`` is the file in which it says which artefacts it has trained or found.
    """

    name: str
    outputs: tuple[str, ...] = ()
    models: str | None = None

    @property
    def notebook(self) -> str:
        """The file name, the same in the notebooks' folder and in the run folder."""
        return f"{self.name}.ipynb"

    @property
    def files(self) -> tuple[str, ...]:
        """Everything that exists in the run folder when the step is finished."""
        return (self.notebook, *self.outputs)


STEPS = (
    Step("01_data_and_bias"),
    Step("02_teacher_training", models="teacher.json"),
    Step("03_adversarial_distillation", models="students.json"),
    Step("04_fairness_analysis", outputs=("metrics.json", "predictions.parquet")),
)
#: Chapters that ``fairkd run --with`` adds to the main job.
OPTIONAL_STEPS = {"edge": Step("06_edge_deployment", outputs=("exports.json",))}
#: What ``fairkd compare`` executes.
COMPARISON = (Step("05_method_comparison", outputs=("methods.csv",)),)
REPORT = "report.html"


@dataclass(frozen=True)
class Event:
    """Something to show: step ``number`` of ``steps``, and how far it is.

    For ``cell``, ``done`` of ``total`` code cells have run; for ``progress``, ``done`` of ``total`` units of
    the work that ``text`` names. ``seconds`` belongs to ``finish``.
    """

    kind: Literal["skip", "start", "cell", "progress", "finish", "report"]
    step: str
    number: int
    steps: int
    done: int = 0
    total: int = 0
    text: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class RunResult:
    """Where a run is, what was executed for it (``dry_run``: would be), and what was left alone."""

    folder: Path
    executed: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def report(self) -> Path:
        """The self-contained report."""
        return self.folder / REPORT


@dataclass(frozen=True)
class _Job:
    step: Step
    source: Path
    parameters: dict[str, Any]
    key: str


def steps_with(chapters: Sequence[str]) -> tuple[Step, ...]:
    """Return the main job's steps and the optional ``chapters``.

    Raises:
        ParameterError: there is no such chapter.
    """
    for name in chapters:
        if name not in OPTIONAL_STEPS:
            raise ParameterError(f"--with {name!r} names no chapter; allowed: {', '.join(OPTIONAL_STEPS)}")
    return (*STEPS, *(step for name, step in OPTIONAL_STEPS.items() if name in chapters))


def notebooks_folder() -> Path:
    """Return the numbered notebooks' folder: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if folder.is_dir():
            return folder
    raise ArtifactError(f"no notebooks in {package} or beside it; reinstall fairkd")


def run(
    experiment: Experiment,
    *,
    notebooks: Path | None = None,
    start: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    on_event: Callable[[Event], None] | None = None,
    steps: Sequence[Step] = STEPS,
    command: str | None = None,
    fingerprint: Callable[[Experiment], Any] | None = None,
    check: Callable[[Experiment], object] | None = None,
) -> RunResult:
    """Execute the steps that are not yet done, then write ``report.html``.

    A step is done when ``status.json`` has it finished under the same key (notebook, parameters, data,
    version, earlier steps), and its notebook, its outputs, unchanged, and its models exist. ``force`` repeats all,
    ``start`` (``"03"`` or a name) from there on, ``dry_run`` none: it checks the parameters and says what
    there is to do. ``command`` is the one that reproduces the run, default: the experiment's own.
    ``fingerprint`` (of the data) and ``check`` (of the experiment) default to the library's own.

    Raises:
        ParameterError, DataError: before any kernel starts.
        FairkdError: a step failed, or its kernel died twice; ``status.json`` says which and why, and the next
            run goes on from it.
    """
    data = (fingerprint or _fingerprint)(experiment)
    jobs = _jobs(experiment, notebooks or notebooks_folder(), steps, data)
    first_forced = 0 if force else _position(start, steps)
    folder, emit = experiment.run_folder, on_event or (lambda event: None)

    done = _done(jobs, folder, first_forced)
    if done == len(jobs) and _finished(folder):
        return _result(folder, steps, done)
    if done < len(jobs):
        check_writable(folder)
        (check or _check)(experiment)
    if dry_run:
        return _result(folder, steps, done)
    with locked(folder):
        # What another process finished while this one waited to look is not done twice.
        done = _done(jobs, folder, first_forced)
        _execute(experiment, command or experiment.command, jobs, done, data, emit)
    return _result(folder, steps, done)


def _fingerprint(experiment: Experiment) -> Any:
    from fairkd.data import dataset_fingerprint

    values = experiment.values("data")
    return dataset_fingerprint(values.pop("dataset"), **values)


def _check(experiment: Experiment) -> None:
    from fairkd.recipes import check_experiment

    check_experiment(experiment)


def _result(folder: Path, steps: Sequence[Step], done: int) -> RunResult:
    names = tuple(step.name for step in steps)
    return RunResult(folder, executed=names[done:], skipped=names[:done])


def _jobs(experiment: Experiment, notebooks: Path, steps: Sequence[Step], data: Any) -> list[_Job]:
    jobs: list[_Job] = []
    for step in steps:
        source = notebooks / step.notebook
        parameters = select_parameters(experiment, source)
        determining = {**parameters, **parameters.get("options", {})}
        for name in ("options", *Experiment.names(["run"])):
            determining.pop(name, None)
        key = {
            "notebook": file_digest(source),
            "parameters": determining,
            "data": data,
            "fairkd": version_of("fairkd"),
            "previous": jobs[-1].key if jobs else None,
        }
        if experiment.plugin is not None:
            key["plugin"] = experiment.plugin_digest
        jobs.append(_Job(step, source, parameters, digest(key)))
    return jobs


def _position(start: str | None, steps: Sequence[Step]) -> int:
    """Return the index of the step that ``start`` names by its number or the beginning of its name."""
    if start is None:
        return len(steps)
    prefix = start.removesuffix(".ipynb")
    prefix = prefix.zfill(2) if prefix.isdigit() else prefix
    matches = [index for index, step in enumerate(steps) if prefix and step.name.startswith(prefix)]
    if len(matches) != 1:
        raise ParameterError(
            f"--from {start!r} names no step; allowed: {', '.join(step.name for step in steps)}"
        )
    return matches[0]


def _done(jobs: Sequence[_Job], folder: Path, first_forced: int) -> int:
    """Return how many steps, from the first on, can be left alone."""
    finished = read_status(folder).get("steps", {})
    for index, job in enumerate(jobs[:first_forced]):
        entry = finished.get(job.step.name, {})
        same = entry.get("state") == "finished" and entry.get("key") == job.key
        there = all((folder / name).is_file() for name in job.step.files) and _models_there(job.step, folder)
        if not (same and there and entry.get("sha256") == _output_digests(job.step, folder)):
            return index
    return min(first_forced, len(jobs))


def _models_there(step: Step, folder: Path) -> bool:
    """Whether the models that a step's file points to are still among the artefacts."""
    if step.models is None or not (path := folder / step.models).is_file():
        return True
    with contextlib.suppress(ArtifactError, AttributeError, KeyError, TypeError):
        names = [Path(str(one["artifact"])).name for one in read_json(path).values()]
        return all((folder.parent / ARTIFACTS / name / "config.json").is_file() for name in names)
    return False


def _output_digests(step: Step, folder: Path) -> dict[str, str]:
    return {name: file_digest(folder / name) for name in step.outputs}


def _finished(folder: Path) -> bool:
    return read_status(folder).get("state") == "finished" and (folder / REPORT).is_file()


def _execute(
    experiment: Experiment,
    command: str,
    jobs: Sequence[_Job],
    done: int,
    data: Any,
    emit: Callable[[Event], None],
) -> None:
    from fairkd.report import write_report

    folder = experiment.run_folder
    if done < len(jobs):
        # The old report would describe a run that no longer is.
        (folder / REPORT).unlink(missing_ok=True)
        for step in OPTIONAL_STEPS.values():
            # So would a chapter of an earlier run that this one leaves out.
            if step not in [job.step for job in jobs]:
                (folder / step.notebook).unlink(missing_ok=True)
        write_json(folder / "experiment.json", _description(experiment, command, data))
    keep = [job.step.name for job in jobs[:done]]
    with Status(folder, command, keep) as status:
        for number, job in enumerate(jobs, start=1):
            if number <= done:
                emit(Event("skip", job.step.name, number, len(jobs)))
                continue
            try:
                with status.step(job.step.name, job.key) as entry:
                    _execute_step(job, folder, number, len(jobs), emit)
                    entry["sha256"] = _output_digests(job.step, folder)
            except CellError as error:
                raise FairkdError(f"{job.step.name}: {error}") from error
        emit(Event("report", "report", len(jobs), len(jobs)))
        write_report(folder)


def _description(experiment: Experiment, command: str, data: Any) -> dict[str, Any]:
    return {
        "parameters": {**experiment.model_dump(mode="json"), "run_name": experiment.run},
        "environment": environment(),
        "data_fingerprint": data,
        "command": command,
    }


def _execute_step(job: _Job, folder: Path, number: int, steps: int, emit: Callable[[Event], None]) -> None:
    name, began = job.step.name, time.monotonic()
    for output in job.step.outputs:
        (folder / output).unlink(missing_ok=True)

    def on_cell(done: int, total: int) -> None:
        emit(Event("cell", name, number, steps, done, total))

    def on_progress(state: dict[str, Any]) -> None:
        done, total = int(state["done"]), int(state["total"])
        text, values = str(state["description"]), dict(state.get("values", {}))
        emit(Event("progress", name, number, steps, done, total, text=text, values=values))

    def execute() -> None:
        emit(Event("start", name, number, steps))
        target = folder / job.step.notebook
        execute_notebook(job.source, target, job.parameters, on_cell=on_cell, on_progress=on_progress)

    try:
        execute()
    except KernelDiedError:
        # Once more: trainings go on from their checkpoints.
        execute()
    missing = [output for output in job.step.files if not (folder / output).is_file()]
    if missing:
        raise CellError(f"finished, but did not write {', '.join(missing)} to {folder}")
    emit(Event("finish", name, number, steps, seconds=time.monotonic() - began))
