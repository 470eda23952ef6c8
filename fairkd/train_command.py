"""``fairkd train``: the models of an experiment, in one process or in several."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from fairkd.arguments import read_experiment
from fairkd.command_options import Pairs, ParameterFile
from fairkd.errors import ParameterError
from fairkd.interrupts import resumable

#: What can be trained; a student needs its teacher, which is trained or found.
MODELS = ("teacher", "student", "students")


def train(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL...",
            help="teacher, student or students (all three; the default). Students need the teacher.",
        ),
    ] = None,
    parameters: Pairs = None,
    params: ParameterFile = None,
    metrics: Annotated[
        Path | None,
        typer.Option("--metrics", metavar="FILE", help="Follow the training of 'student' in this JSON file."),
    ] = None,
) -> None:
    """Train models without notebooks, on many devices under accelerate launch or torchrun."""
    chosen = models or ["students"]
    for name in chosen:
        if name not in MODELS:
            raise ParameterError(f"{name!r} cannot be trained; allowed: {', '.join(MODELS)}")
    if metrics and chosen != ["student"]:
        raise ParameterError(
            f"--metrics follows one training: `fairkd train student`, not {' '.join(chosen)}"
        )
    experiment = read_experiment(parameters or [], params)
    from fairkd import recipes
    from fairkd.progress import followed_by
    from fairkd.training import MetricsFile, StoppedError, TrainingControl, join_processes, stop_on_interrupt

    if chosen == ["teacher"]:
        # What students alone read does not stop a teacher.
        recipes.check_setting(experiment.replace(mitigation="none"))
    else:
        recipes.check_experiment(experiment)
    devices = join_processes(experiment.device)
    # One bar, not one a process.
    quiet = followed_by(lambda bar: None) if devices.rank else contextlib.nullcontext()
    with resumable(), quiet:
        # The first process fills the cache of decoded images, the others read it.
        devices.agree(lambda: recipes.load_splits(experiment) and None)
        teacher = recipes.train_teacher(experiment)
        trained = {"teacher": teacher}
        if "students" in chosen:
            trained |= recipes.train_students(experiment, teacher)
        elif "student" in chosen:
            control, file = TrainingControl(), MetricsFile(metrics) if metrics and not devices.rank else None
            if file:
                control.on_step = lambda trainer, epoch: file.observe(trainer, epoch, control)
            try:
                with stop_on_interrupt(control):
                    student = recipes.distill_student(experiment, teacher, control=control)
                    trained[recipes.student_role(experiment)] = student
            except StoppedError as stopped:
                if file:
                    file.write(0, 0, stopped.history, stopped=True)
                raise
    # A launcher may have started fewer processes than it was asked for.
    if devices.rank == 0:
        typer.echo(f"processes: {devices.count}")
    for role, model in trained.items() if devices.rank == 0 else ():
        typer.echo(f"{role}: {model.folder}")
