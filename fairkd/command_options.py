"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

#: ``-p`` and ``--params`` of the commands that make an experiment.
Pairs = Annotated[
    list[str] | None, typer.Option("-p", metavar="NAME VALUE", help="Set a parameter; may be repeated.")
]
ParameterFile = Annotated[
    Path | None,
    typer.Option("--params", metavar="FILE", help="YAML file of parameters; options override it."),
]
