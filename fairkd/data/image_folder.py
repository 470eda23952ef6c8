"""``image-folder``: your own images, in a folder or zip, listed with class and group in a CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np

from fairkd.config import Experiment, suggest
from fairkd.data.assemble import assemble
from fairkd.data.attributes import Columns
from fairkd.data.files import Root
from fairkd.data.listing import Stamp
from fairkd.data.pixels import ImageFiles
from fairkd.data.plan import DataOptions, Plan
from fairkd.data.profile import Profile, Records
from fairkd.data.source import open_source
from fairkd.data.table import Table, read_table
from fairkd.errors import DataError, ParameterError

#: What the split column may hold, in any case, and the split's place in ``SPLIT_NAMES``.
SPLIT_WORDS = {"train": 0, "validation": 1, "valid": 1, "val": 1, "test": 2}

PROFILE = Profile(
    name="image-folder",
    source="your own folder or zip of images with a CSV",
    licence="that of the data's owner",
    target="label",
    group="group",
    image_size=64,
    target_parameter="label_column",
    group_parameter="group_column",
)


def plan(options: DataOptions) -> Plan:
    """Plan the data set: everything but the pixels is read and checked.

    Raises:
        ParameterError: ``data_root`` is not set, or an option contradicts another.
        DataError: the data are missing, malformed, or cannot serve; names file, row and column.
    """
    profile = resolve_columns(options, PROFILE)
    with closing(open_source(options, PROFILE.name)) as root:
        table = read_table(root, options.csv)
        paths = table.paths(options.path_column)
        values = dict(table.columns)
        if options.target is None and profile.target not in values:
            values[profile.target] = _first_folders(table, paths, profile.target)
        columns = Columns(table.name, values, table.rows)
        files = ImageFiles(root.path, paths, _stamps(root, table, paths), _place(table))
        split = _split_codes(table, options.split_column)
        records = Records(columns, files, split, table.sha256, split_fact="as the split column says")
        profile = replace(profile, source=f"{root.path.name} ({table.name})")
    return assemble(records, options, profile)


def resolve_columns(options: DataOptions, profile: Profile) -> Profile:
    """Make ``label_column`` and ``group_column`` the defaults of ``target`` and ``group``.

    Raises:
        ParameterError: both names of a thing are set.
    """
    for column, name in (("label_column", "target"), ("group_column", "group")):
        chosen = getattr(options, name)
        if chosen is not None and getattr(options, column) != Experiment.default(column):
            raise ParameterError(
                f"{name}={chosen!r} and {column}={getattr(options, column)!r} name the same thing; set one of them"
            )
    return replace(profile, target=options.label_column, group=options.group_column)


def split_code(text: str) -> int | None:
    """Return the split that a word names (train, validation, valid, val, test), in any case."""
    return SPLIT_WORDS.get(text.lower())


def _place(table: Table) -> Callable[[Sequence[int]], str]:
    return lambda rows: f"{table.rows(rows)} of {table.name}"


def _first_folders(table: Table, paths: list[str], column: str) -> list[str]:
    # Only the default name may be absent: one that was asked for must be there.
    if column != Experiment.default("label_column"):
        raise DataError(
            f"{table.name} has no column {column!r}: {suggest(column, table.columns)}"
            f"its columns: {', '.join(table.columns)}; set label_column to one of them"
        )
    _refuse_overlooked(table, "label_column", lambda _: False)
    flat = [row for row, path in enumerate(paths) if "/" not in path]
    if flat:
        raise DataError(
            f"{table.name} has no column {column!r}, and the path has no folder to name the class in "
            f"{table.rows(flat)}; its columns: {', '.join(table.columns)}; set label_column to one of them"
        )
    folders = [path.split("/")[0] for path in paths]
    if all(split_code(folder) is not None for folder in folders):
        raise DataError(
            f"{table.name} has no column {column!r}, and the first folder of the paths names the split "
            f"({', '.join(sorted(set(folders)))}), not the class; set label_column to one of its columns: "
            f"{', '.join(table.columns)}"
        )
    return folders


def _refuse_overlooked(table: Table, parameter: str, fits: Callable[[set[str]], bool]) -> None:
    """Refuse to do without an optional column where one looks like it by its name, or by its values."""
    wanted = str(Experiment.default(parameter))
    for name, values in table.columns.items():
        if name.lower() == wanted or fits(set(values)):
            raise DataError(
                f"{table.name} has no column {wanted!r}, but {name!r} looks like it: set {parameter}={name!r}, or "
                "leave that column out"
            )


def _stamps(root: Root, table: Table, paths: list[str]) -> list[Stamp]:
    stamps = [root.stamp(path) for path in paths]
    missing = [row for row, stamp in enumerate(stamps) if stamp is None]
    if missing:
        raise DataError(
            f"{root.path} lacks the images named in {table.rows(missing)} of {table.name}, first "
            f"{paths[missing[0]]!r}; correct the paths (relative to data_root) or remove the rows"
        )
    return [stamp for stamp in stamps if stamp is not None]


def _split_codes(table: Table, column: str) -> np.ndarray | None:
    if column not in table.columns and column == Experiment.default("split_column"):
        _refuse_overlooked(
            table, "split_column", lambda values: all(split_code(value) is not None for value in values)
        )
        return None
    texts = [text.lower() for text in table.column(column, "split_column")]
    for row, text in enumerate(texts):
        if text not in SPLIT_WORDS:
            raise DataError(
                f"{table.name}, {table.rows([row])}: split {text!r} is not allowed: "
                f"{suggest(text, SPLIT_WORDS)}allowed: {', '.join(SPLIT_WORDS)}"
            )
    return np.array([SPLIT_WORDS[text] for text in texts], dtype=np.int64)
