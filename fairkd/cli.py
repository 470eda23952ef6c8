"""The command line: ``fairkd run | report | datasets | doctor``.

Only what parses arguments is imported here, so that ``--help`` and mistakes are answered at once.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fairkd.config import Experiment, resolve_path
from fairkd.errors import ArtifactError, FairkdError, ParameterError
from fairkd.reproducibility import version_of

_PATHS = ("data_root", "teacher_weights", "student_weights", "output_dir")
_TABLE_METRICS = ("accuracy", "worst_group_accuracy", "recall_gap")

app = typer.Typer(
    help="Measure and reduce the bias that knowledge distillation inflates.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_out = Console()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 2 for a wrong parameter, 1 for any other error."""
    try:
        app(args=_join_pairs(sys.argv[1:] if arguments is None else arguments))
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


@app.command()
def run(
    parameters: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME VALUE", help="Set a parameter; may be repeated.")
    ] = None,
    params: Annotated[
        Path | None,
        typer.Option("--params", metavar="FILE", help="YAML file of parameters; -p goes before it."),
    ] = None,
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
) -> None:
    """Run the notebooks that are not yet done, in order, and write the report."""
    experiment = read_experiment(parameters or [], params)
    from fairkd import pipeline
    from fairkd.display import show_events

    try:
        with _terminable(), show_events(_out) as on_event:
            result = pipeline.run(
                experiment,
                notebooks=notebooks,
                start=start,
                force=force,
                dry_run=dry_run,
                on_event=on_event,
            )
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command goes on from here")
        raise typer.Exit(130) from None
    if dry_run:
        for names, verb in ((result.skipped, "done before"), (result.executed, "would run")):
            for name in names:
                _print(f"{name}: {verb}")
        return
    if not result.executed:
        _print("everything was done before")
    _print_headline(result.folder)
    _print(f"report: {result.report}")


@app.command()
def report(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="A run's name, or its folder.")],
    output_dir: Annotated[str, typer.Option(help="Where runs are.")] = "outputs",
) -> None:
    """Write report.html again from a run's executed notebooks."""
    from fairkd.report import write_report

    _print(f"report: {write_report(_run_folder(run_name, resolve_path(output_dir)))}")


@app.command()
def datasets() -> None:
    """List the data sets."""
    from fairkd.data import list_datasets

    table = Table(box=None, show_header=False)
    for row in list_datasets().to_dict("records"):
        table.add_row("[bold]name", f"[bold]{escape(row.pop('name'))}")
        for key, value in row.items():
            table.add_row(escape(str(key).replace("_", " ")), escape(_shown(value)))
        table.add_section()
    _out.print(table)


@app.command()
def doctor() -> None:
    """Say which versions and devices are there, and what optional parts are missing."""
    from fairkd.doctor import run_checks

    checks = run_checks()
    table = Table(box=None, show_header=False)
    for check in checks:
        mark = {True: "[green]ok[/]", False: "[bold red]missing[/]", None: "[dim]–[/]"}[check.ok]
        way_out = f" [yellow]→ {escape(check.way_out)}[/]" if check.way_out else ""
        table.add_row(mark, escape(check.name), escape(check.found) + way_out)
    _out.print(table)
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


def read_experiment(pairs: Sequence[str], file: Path | None) -> Experiment:
    """Build the experiment from ``name=value`` pairs and a YAML file; relative paths start where you are.

    Raises:
        ParameterError: the file is not a mapping, or a parameter is unknown or out of range.
    """
    values = {} if file is None else _read_yaml(file)
    for pair in pairs:
        name, _, text = pair.partition("=")
        values[name] = parse_value(name, text)
    for name in _PATHS:
        if isinstance(values.get(name), str):
            values[name] = str(Path(values[name]).expanduser().absolute())
    return Experiment(**values)


def parse_value(name: str, text: str) -> Any:
    """Turn a word into the value of parameter ``name``: text stays text, ``none`` is ``None``."""
    annotation = Experiment.model_fields[name].annotation if name in Experiment.model_fields else str
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    kinds = typing.get_args(annotation) if union else (annotation,)
    if type(None) in kinds and text.lower() in ("none", "null"):
        return None
    if str in kinds:
        return text
    # JSON, as YAML reads 010 as eight and 1:30 as ninety. Other words are for the validation to judge.
    with contextlib.suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, bool) == (bool in kinds) and isinstance(value, int | float):
            return value
    return text


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ParameterError(f"--params {file}: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ParameterError(
            f"--params {file}: needed are lines 'name: value', found {type(values).__name__}"
        )
    return values


def _join_pairs(arguments: Sequence[str]) -> list[str]:
    """Turn ``-p name value`` into ``-p name=value``: typer has no repeatable option of two words."""
    joined: list[str] = []
    words = iter(arguments)
    for word in words:
        joined.append(word)
        if word == "-p":
            name = next(words, None)
            value = None if name is None or "=" in name else next(words, None)
            if name is None or ("=" not in name and value is None):
                raise ParameterError("-p needs a name and a value, for example: -p temperature 2")
            joined.append(name if value is None else f"{name}={value}")
    return joined


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let a polite request to end (SIGTERM) leave the same record as Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run_folder(run_name: str, outputs: Path) -> Path:
    for folder in (outputs / run_name, Path(run_name)):
        if folder.is_dir():
            return folder.absolute()
    runs = sorted(path.parent.name for path in outputs.glob("*/status.json"))
    raise ArtifactError(f"no run {run_name!r} in {outputs}; there: {', '.join(runs) or 'none yet'}")


def _print_headline(folder: Path) -> None:
    from fairkd.report.summary import read_metrics, table

    headline = table(read_metrics(folder), _TABLE_METRICS)
    if not headline.columns:
        return
    shown = Table("model", *(f"{column.label.lower()}" for column in headline.columns), box=None)
    for row, label in enumerate(headline.labels):
        cells = [column.cells[row] for column in headline.columns]
        shown.add_row(escape(label), *(f"{cell.text}\n[dim]{escape(cell.interval)}[/]" for cell in cells))
    _out.print(shown)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None or value != value else str(value)


def _print(text: str) -> None:
    _out.print(text, markup=False, highlight=False, soft_wrap=True)
