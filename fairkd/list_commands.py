"""``fairkd parameters | datasets | doctor``: what there is."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fairkd.errors import ParameterError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_TITLES = {
    "data": "Data",
    "training": "Training, of teacher and student",
    "teacher": "Teacher",
    "student": "Student",
    "distillation": "Distillation",
    "mitigation": "Mitigation",
    "evaluation": "Comparison and evaluation",
    "run": "Run",
}
_PAGE = """# Parameters

The same names serve on the command line (`-p temperature 2`), in a YAML file (`--params`), in the notebooks (those of
the `parameters` cell by name, all others in `options`) and in `fairkd.Experiment(temperature=2)`. A list is written
`1,3` or `[1, 3]`; an absent value is `none` on the command line, `null` in YAML, `None` in Python. A relative path
starts where you are on the command line and in its YAML files, elsewhere in the project's root: the nearest folder
upward with a `pyproject.toml`. Made by `fairkd parameters --markdown`; `fairkd parameters WORD` lists those with a word
in their name or meaning."""


def parameters(
    word: Annotated[
        str, typer.Argument(metavar="WORD", help="Only those that have it in name or meaning.")
    ] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/parameters.md.")] = False,
) -> None:
    """List the parameters: default, values and meaning."""
    from fairkd.config import OTHER_NAMES, Experiment

    texts = {name: f"{name} {field.description}".lower() for name, field in Experiment.model_fields.items()}
    meant = OTHER_NAMES.get(word.lower(), "")
    found = [name for name, text in texts.items() if word.lower() in text or f"'{name}'" in meant]
    if not found:
        raise ParameterError(
            f"no parameter has {word!r} in its name or meaning; `fairkd parameters` lists all"
        )
    if markdown:
        typer.echo(_PAGE)
    for scope, title in _TITLES.items():
        names = [name for name in Experiment.names([scope]) if name in found]  # type: ignore[list-item]
        rows = [_row(name, Experiment.model_fields[name]) for name in names]
        if rows and markdown:
            typer.echo("\n".join(_markdown(title, rows)))
        elif rows:
            _show(title, rows)


def _row(name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    from fairkd.config import word

    return name, word(field.default), ", ".join(_values(field.annotation)), str(field.description)


def _values(annotation: Any) -> Iterator[str]:
    """Yield what a parameter can be, in a word or two each."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        for part in parts:
            yield from _values(part)
    elif origin is typing.Annotated:
        yield from _values(parts[0])
    elif origin is typing.Literal:
        yield from map(str, parts)
    elif origin is tuple:
        yield "list"
    else:
        names = {bool: "true, false", int: "whole number", float: "number", str: "text", type(None): "none"}
        yield names[annotation]


def _markdown(title: str, rows: list[tuple[str, str, str, str]]) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield "| parameter | default | values | meaning |\n|---|---|---|---|"
    for name, default, values, meaning in rows:
        yield f"| `{name}` | `{default}` | {values} | {meaning.replace('|', '/')} |"


def _show(title: str, rows: list[tuple[str, str, str, str]]) -> None:
    table = Table(box=None, title=title, title_justify="left", title_style="bold", show_header=False)
    for name, default, values, meaning in rows:
        table.add_row(escape(name), f"[dim]{escape(default)}", f"{escape(meaning)} [dim]({escape(values)})")
    Console().print(table, "")


def datasets() -> None:
    """List the data sets."""
    from fairkd.data import list_datasets

    table = Table(box=None, show_header=False)
    for row in list_datasets().to_dict("records"):
        table.add_row("[bold]name", f"[bold]{escape(row.pop('name'))}")
        for key, value in row.items():
            table.add_row(escape(str(key).replace("_", " ")), escape(_shown(value)))
        table.add_section()
    Console().print(table)


def doctor() -> None:
    """Say which versions and devices are there, and what optional parts are missing."""
    from fairkd.doctor import run_checks

    checks = run_checks()
    table = Table(box=None, show_header=False)
    for check in checks:
        mark = {True: "[green]ok[/]", False: "[bold red]missing[/]", None: "[dim]–[/]"}[check.ok]
        way_out = f" [yellow]→ {escape(check.way_out)}[/]" if check.way_out else ""
        table.add_row(mark, escape(check.name), escape(check.found) + way_out)
    Console().print(table)
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None or value != value else str(value)
