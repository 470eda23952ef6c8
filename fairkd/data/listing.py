"""``Listing``: the CSV of an image folder read as paths, classes, groups and splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairkd.config import Experiment, suggest
from fairkd.data.bias import TINTS
from fairkd.data.files import Root
from fairkd.data.plan import DataOptions
from fairkd.data.table import Table, encode
from fairkd.errors import DataError

#: What the split column may hold, in any case, and the split's place in ``SPLIT_NAMES``.
SPLIT_WORDS = {"train": 0, "validation": 1, "valid": 1, "val": 1, "test": 2}


@dataclass(frozen=True)
class Listing:
    """One entry a CSV row: paths and int64 codes ``(n,)``; ``split`` is ``None`` where no column says it."""

    table: Table
    paths: list[str]
    labels: np.ndarray
    class_names: tuple[str, ...]
    groups: np.ndarray
    group_names: tuple[str, ...]
    label_name: str
    group_name: str
    split: np.ndarray | None

    @property
    def csv(self) -> str:
        """The CSV's name, for messages."""
        return self.table.name

    @property
    def cells(self) -> np.ndarray:
        """Class x group cell of each row, ``(n,)``."""
        return np.asarray(self.labels * len(self.group_names) + self.groups)

    def cell_name(self, cell: int) -> str:
        """Name a cell for a message: ``cat × outdoors``."""
        label, group = divmod(cell, len(self.group_names))
        return f"{self.class_names[label]} × {self.group_names[group]}"

    def stamps(self, root: Root) -> list[tuple[int, int]]:
        """Return each image's size and time of change (or CRC).

        Raises:
            DataError: images are missing; names their rows.
        """
        stamps = [root.stamp(path) for path in self.paths]
        missing = [row for row, stamp in enumerate(stamps) if stamp is None]
        if missing:
            raise DataError(
                f"{root.path} lacks the images named in {self.table.rows(missing)} of {self.csv}, first "
                f"{self.paths[missing[0]]!r}; correct the paths (relative to data_root) or remove the rows"
            )
        return [stamp for stamp in stamps if stamp is not None]


def read_listing(table: Table, options: DataOptions) -> Listing:
    """Understand the CSV's columns; with ``bias="tint"`` the groups are the tints, still to be assigned.

    Raises:
        DataError: a column is missing or a cell cannot be used; names column and row.
    """
    paths = table.paths(options.path_column)
    labels, class_names = encode(_label_texts(table, paths, options.label_column))
    if len(class_names) < 2:
        origin = "label column" if options.label_column in table.columns else "first folder of the paths"
        raise DataError(
            f"{table.name}: the {origin} gives the one class {class_names[0]!r}, and at least two are "
            "needed; set label_column to the column with the class"
        )
    if options.bias == "tint":
        groups, group_names, group_name = np.zeros(len(paths), dtype=np.int64), tuple(TINTS), "tint"
    else:
        groups, group_names, group_name = _groups(table, options.group_column)
    split = _split_codes(table, options.split_column)
    label_name = options.label_column
    return Listing(table, paths, labels, class_names, groups, group_names, label_name, group_name, split)


def _label_texts(table: Table, paths: Sequence[str], column: str) -> Sequence[str]:
    # Only the default name may be absent: one that was asked for must be there.
    if column in table.columns or column != Experiment.default("label_column"):
        return table.column(column, "label_column")
    flat = [row for row, path in enumerate(paths) if "/" not in path]
    if flat:
        raise DataError(
            f"{table.name} has no column {column!r}, and the path has no folder to name the class in "
            f"{table.rows(flat)}; its columns: {', '.join(table.columns)}; set label_column to one of them"
        )
    return [path.split("/")[0] for path in paths]


def _groups(table: Table, column: str) -> tuple[np.ndarray, tuple[str, ...], str]:
    """Return codes ``(n,)``, the groups that occur, in natural order, and the attribute's name."""
    crossed = [column] if column in table.columns else [part.strip() for part in column.split("*")]
    codes, names = encode(table.column(crossed[0], "group_column"))
    for part in crossed[1:]:
        more, more_names = encode(table.column(part, "group_column"))
        pairs, codes = np.unique(codes * len(more_names) + more, return_inverse=True)
        names = tuple(f"{names[p // len(more_names)]} × {more_names[p % len(more_names)]}" for p in pairs)
    if len(names) < 2:
        raise DataError(
            f"{table.name}: column {column!r} holds the one group {names[0]!r}, and at least two are needed; "
            "set group_column to another column, or bias='tint'"
        )
    return codes.astype(np.int64), names, " × ".join(crossed)


def _split_codes(table: Table, column: str) -> np.ndarray | None:
    if column not in table.columns and column == Experiment.default("split_column"):
        return None
    texts = [text.lower() for text in table.column(column, "split_column")]
    for row, text in enumerate(texts):
        if text not in SPLIT_WORDS:
            raise DataError(
                f"{table.name}, {table.rows([row])}: split {text!r} is not allowed: "
                f"{suggest(text, SPLIT_WORDS)}allowed: {', '.join(SPLIT_WORDS)}"
            )
    return np.array([SPLIT_WORDS[text] for text in texts], dtype=np.int64)
