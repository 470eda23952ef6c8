"""``fairkd sweep``: what of it is the command line's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from fairkd.arguments import read_experiment
from fairkd.command_options import Pairs, ParameterFile
from fairkd.interrupts import resumable

if TYPE_CHECKING:
    from fairkd.sweeps import Question, Results


def sweep(
    space: Annotated[
        list[str],
        typer.Option(
            "--param",
            metavar="NAME=A,B",
            help="Vary a parameter: a list, or a range low..high[:log] to search.",
        ),
    ],
    seeds: Annotated[int | None, typer.Option(help="Number of seeds.")] = None,
    parameters: Pairs = None,
    params: ParameterFile = None,
    engine: Annotated[str, typer.Option(help="local or ray.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of a running Ray cluster; without it, Ray runs here only.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Trainings side by side; default: one a GPU, else one a core.")
    ] = None,
    search: Annotated[str | None, typer.Option(help="optuna: propose settings instead of a grid.")] = None,
    trials: Annotated[int | None, typer.Option(help="Settings that the search tries.")] = None,
    sampler: Annotated[str, typer.Option(help="Of the search: tpe or nsga2.")] = "tpe",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the parameters and list the trainings.")
    ] = False,
) -> None:
    """Train many settings with several seeds side by side, choose on validation data, and write one report."""
    pairs = [*(parameters or []), *([f"seeds={seeds}"] if seeds is not None else [])]
    experiment = read_experiment(pairs, params)
    from fairkd import sweeps
    from fairkd.store import check_writable
    from fairkd.sweeps.space import split_pairs

    options: dict[str, Any] = {"search": search, "trials": trials, "sampler": sampler}
    question = sweeps.ask(experiment, split_pairs(space), **options)
    if dry_run:
        sweeps.check_engine(engine, address, workers)
        check_writable(question.folder)
        _show_plan(question)
        return
    results = _run(question, engine=engine, address=address, workers=workers)
    report = question.folder / "report.html"
    _print(f"report: {report}" if report.is_file() else f"table: {question.folder / 'trials.csv'}")
    failed = results.table[results.table["state"] == "failed"]
    for row in failed.drop_duplicates(["setting", "seed"]).to_dict("records"):
        _print(f"failed: {row['setting']}, seed {row['seed']}: {row['error']}")
    if len(failed):
        raise typer.Exit(1)


def _run(question: Question, **options: Any) -> Results:
    from fairkd import sweeps
    from fairkd.sweeps.display import show_results, show_sweep

    console = Console()
    with resumable(), show_sweep(console, question.experiment.selection_tolerance) as on_event:
        results = sweeps.run(question, on_event=on_event, **options)
    show_results(console, results)
    return results


def _show_plan(question: Question) -> None:
    from fairkd.sweeps import plan_grid

    if question.search:
        space = ", ".join(str(one) for one in question.dimensions)
        _print(f"{question.trials} settings of {space}, each with {question.experiment.seeds} seeds")
        return
    trials = plan_grid(question)
    for trial in trials:
        _print(f"{trial.number}: {trial.title}")
    _print(f"{len({trial.key for trial in trials})} models to train or find")


def _print(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)
