"""The command line: ``fairkd run | train | compare | sweep | export | report | parameters | datasets | doctor``.

Only what parses arguments is imported here, so that ``--help`` and mistakes are answered at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fairkd.arguments import join_pairs, read_experiment
from fairkd.command_options import Pairs, ParameterFile
from fairkd.errors import ArtifactError, FairkdError, ParameterError, plain_warnings
from fairkd.interrupts import resumable
from fairkd.list_commands import datasets, doctor, parameters
from fairkd.reproducibility import version_of
from fairkd.sweep_command import sweep
from fairkd.train_command import train

if TYPE_CHECKING:
    from fairkd.config import Experiment
    from fairkd.pipeline import RunResult

_TABLE_METRICS = ("accuracy", "worst_group_accuracy", "recall_gap")

app = typer.Typer(
    help="Measure and reduce the bias that knowledge distillation inflates.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Help in rich's frames takes twice as long to appear: they need rich's Markdown.
    rich_markup_mode=None,
)
_out = Console()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 2 for a wrong parameter, 1 for any other error."""
    try:
        with plain_warnings():
            app(args=join_pairs(sys.argv[1:] if arguments is None else arguments))
    except FairkdError as error:
        Console(stderr=True).print(
            f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False
        )
        return 2 if isinstance(error, ParameterError) else 1
    except SystemExit as end:  # How typer ends, errors of usage included.
        return end.code if isinstance(end.code, int) else 1
    return 0


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fairkd {version_of('fairkd') or '(not installed)'}")
        raise typer.Exit


@app.callback()
def _fairkd(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(short_help="Run the notebooks and write the report.")
def run(
    parameters: Pairs = None,
    params: ParameterFile = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="STEP", help="Repeat from this step on: 03, or its name.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Repeat every step.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the parameters and say what there is to do.")
    ] = False,
    notebooks: Annotated[
        Path | None,
        typer.Option("--notebooks", metavar="FOLDER", help="Use your own copies of the notebooks."),
    ] = None,
    chapters: Annotated[
        list[str] | None, typer.Option("--with", metavar="CHAPTER", help="Add an optional chapter: edge.")
    ] = None,
) -> None:
    """Run the notebooks that are not yet done, in order, and write the report."""
    experiment = read_experiment(parameters or [], params)
    from fairkd.config import COMPARED
    from fairkd.pipeline import steps_with

    for name in COMPARED:
        if name in experiment.changed():
            sweep_too = " or `fairkd sweep`" if name == "seeds" else ""
            raise ParameterError(f"{name} does nothing in `fairkd run`: use `fairkd compare`{sweep_too}")

    options = {"notebooks": notebooks, "start": start, "force": force, "dry_run": dry_run}
    command = " ".join([experiment.command, *(f"--with {name}" for name in chapters or ())])
    result = _run(experiment, steps=steps_with(chapters or ()), command=command, **options)
    if dry_run:
        if result.executed:
            _print_models(experiment)
    else:
        _print_headline(result.folder)
        _print(f"report: {result.report}")


@app.command(short_help="Compare distillers and mitigations over seeds.")
def compare(
    distillers: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Distillers, each without mitigation; all for every one."),
    ] = None,
    mitigations: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y",
            help="Mitigations of the distiller kd (or -p distiller), each a name or name:weight; all for every one.",
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Number of seeds.")] = None,
    every_pair: Annotated[bool, typer.Option("--every-pair", help="Combine each with each as well.")] = False,
    parameters: Pairs = None,
    params: ParameterFile = None,
    force: Annotated[bool, typer.Option("--force", help="Repeat the analysis; models are kept.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the parameters and list the methods.")
    ] = False,
) -> None:
    """Train distillers and mitigations side by side over several seeds, and write the report."""
    chosen = {"distillers": distillers, "mitigations": mitigations}
    pairs = [f"{name}={json.dumps(_words(text))}" for name, text in chosen.items() if text is not None]
    pairs += [f"seeds={seeds}"] * (seeds is not None) + ["every_pair=true"] * every_pair
    experiment = read_experiment([*(parameters or []), *pairs], params)
    if experiment.mitigation != experiment.default("mitigation"):
        raise ParameterError("mitigation does nothing in `fairkd compare`: name it in --mitigations")
    if experiment.run_name is None:
        experiment = experiment.replace(run_name=f"methods-{experiment.run}")
    from fairkd.comparison import check_methods_of, list_methods
    from fairkd.display import show_methods
    from fairkd.pipeline import COMPARISON

    methods = list_methods(experiment)
    options = {"force": force, "dry_run": dry_run, "command": experiment.command_of("compare")}
    result = _run(experiment, steps=COMPARISON, check=check_methods_of, **options)
    if dry_run:
        for method in methods:
            _print(f"{method.name}: {experiment.seeds} seeds")
    else:
        show_methods(_out, result.folder)
        _print(f"report: {result.report}")


app.command(short_help="Train many settings, choose on validation data.")(sweep)
app.command(short_help="Train models alone, on many devices.")(train)


@app.command(short_help="Write, and audit, a file for deployment.")
def export(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="A run's name, or its folder.")],
    format_name: Annotated[
        str, typer.Option("--format", help="onnx, onnx-int8, onnx-int8-dynamic or pt2.")
    ] = "onnx",
    model: Annotated[
        str | None,
        typer.Option(
            help="teacher, student_scratch, student_kd or student_fair; default: the last that the run has."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the files go; default: export/ in the run's folder."),
    ] = None,
    plugin: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The run's plugin, if the model needs it; the run's word is not taken."
        ),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option(help="Where runs are; default: the project's outputs.")
    ] = None,
) -> None:
    """Write a run's model as a file for deployment, audit that file, and write its model card."""
    from fairkd.export import describe_export, export_run

    folder = _run_folder(run_name, output_dir)
    own = plugin.absolute() if plugin else None
    made = export_run(folder, model=model, format_name=format_name, output=output, plugin=own)
    for sentence in describe_export(made.audit):
        _print(sentence)
    _print(f"file: {made.path} ({made.path.stat().st_size / 1e6:.2f} MB)")
    _print(f"card: {made.card_path}")


@app.command(short_help="Write report.html again, or of predictions.")
def report(
    run_name: Annotated[str | None, typer.Argument(metavar="RUN", help="A run's name or folder.")] = None,
    output_dir: Annotated[
        Path | None, typer.Option(help="Where runs are; default: the project's outputs.")
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A CSV or parquet with label, group and prediction, any tool's."),
    ] = None,
) -> None:
    """Write report.html again from a run's executed notebooks, or a report on predictions made elsewhere."""
    if predictions and run_name is None:
        from fairkd.report.predictions_report import write_predictions_report

        if len(predictions) > 1:
            raise ParameterError(
                "--predictions takes one file; several models go into one table, with a column `model`"
            )
        _print(f"report: {write_predictions_report(predictions[0])}")
        return
    if run_name is None or predictions:
        raise ParameterError("report needs a run's name or --predictions FILE, one of them")
    from fairkd.report import write_report

    _print(f"report: {write_report(_run_folder(run_name, output_dir))}")


app.command(short_help="List the parameters and their meaning.")(parameters)
app.command()(datasets)
app.command(short_help="Say what is installed, and what is missing.")(doctor)


def _run(experiment: Experiment, **options: Any) -> RunResult:
    """Execute notebooks with a display, and say what was, or would be, left alone."""
    from fairkd import pipeline
    from fairkd.display import show_events

    with resumable(), show_events(_out) as on_event:
        result = pipeline.run(experiment, on_event=on_event, **options)
    if options.get("dry_run"):
        for names, verb in ((result.skipped, "done before"), (result.executed, "would run")):
            for name in names:
                _print(f"{name}: {verb}")
        _print(f"folder: {result.folder}")
    elif not result.executed:
        _print("everything was done before")
    return result


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _run_folder(run_name: str, output_dir: Path | None) -> Path:
    """As in :func:`fairkd.arguments.read_experiment`, a relative path starts where you are."""
    from fairkd.config import Experiment, suggest
    from fairkd.store import naming

    outputs = Experiment().output_path if output_dir is None else output_dir.expanduser().absolute()
    with naming(f"read run {run_name!r} in {outputs}"):
        for folder in (outputs / run_name, Path(run_name)):
            if folder.is_dir():
                return folder.absolute()
        runs = sorted(path.parent.name for path in outputs.glob("*/status.json"))
    there = ", ".join(runs[:10]) + (f" and {len(runs) - 10:,} more" if len(runs) > 10 else "")
    raise ArtifactError(
        f"no run {run_name!r} in {outputs}; {suggest(run_name, runs)}there: {there or 'none yet'}"
    )


def _print_models(experiment: Experiment) -> None:
    """Say which models of the run have been trained before; where none has, the data are not read for it."""
    from fairkd.store import ARTIFACTS

    if not (experiment.output_path / ARTIFACTS).is_dir():
        return
    from fairkd.recipes import trained_before

    for role, there in trained_before(experiment).items():
        _print(f"{role}: {'trained before' if there else 'would be trained'}")


def _print_headline(folder: Path) -> None:
    from fairkd.report.summary import read_metrics, table

    metrics = read_metrics(folder)
    headline = table(metrics, _TABLE_METRICS)
    if not headline.columns:
        return
    shown = Table("model", *(f"{column.label.lower()}" for column in headline.columns), box=None)
    for row, label in enumerate(headline.labels):
        cells = [column.cells[row] for column in headline.columns]
        shown.add_row(escape(label), *(f"{cell.text}\n[dim]{escape(cell.interval)}[/]" for cell in cells))
    _out.print(shown)
    for sentence in metrics.get("findings", ()):
        _print(sentence)


def _print(text: str) -> None:
    _out.print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":  # as accelerate launch and torchrun start it: -m fairkd.cli
    sys.exit(main())
