"""The CSV that lists images: any usual encoding and separator, all values kept as text."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairkd.config import resolve_path, suggest
from fairkd.data.files import Root, relative_name
from fairkd.errors import DataError

#: How spreadsheets and pandas write "no value". Words such as NA or None may be real names.
MISSING = frozenset({"", "nan", "<na>", "n/a", "#n/a"})
_SHOWN = 5


@dataclass(frozen=True)
class Table:
    """A CSV's columns. ``numbers`` are the rows as a spreadsheet counts them: the header is row 1."""

    name: str
    sha256: str
    numbers: list[int]
    columns: dict[str, list[str]]

    def column(self, name: str, parameter: str) -> list[str]:
        """Return a column whose every cell is filled.

        Raises:
            DataError: there is no such column (``parameter`` is what to set instead), or cells are empty.
        """
        if name not in self.columns:
            raise DataError(
                f"{self.name} has no column {name!r}: {suggest(name, self.columns)}"
                f"its columns: {', '.join(self.columns)}; set {parameter} to one of them"
            )
        values = self.columns[name]
        empty = [row for row, value in enumerate(values) if value.lower() in MISSING]
        if empty:
            raise DataError(
                f"{self.name}: column {name!r} is empty in {self.rows(empty)}; "
                "fill in the values or remove the rows"
            )
        return values

    def rows(self, rows: Sequence[int]) -> str:
        """Name rows for a message: ``row 7``, or ``3 rows (7, 9, 12)``."""
        numbers = [str(self.numbers[row]) for row in rows[:_SHOWN]]
        if len(rows) == 1:
            return f"row {numbers[0]}"
        return f"{len(rows)} rows ({', '.join(numbers)}{', ...' if len(rows) > _SHOWN else ''})"

    def paths(self, name: str) -> list[str]:
        """Return the path column in the form ``folder/file``.

        Raises:
            DataError: a path is absolute, leaves the root, or appears twice.
        """
        seen: dict[str, int] = {}
        for row, text in enumerate(self.column(name, "path_column")):
            try:
                path = relative_name(text)
            except ValueError as error:
                raise DataError(
                    f"{self.name}, {self.rows([row])}: the path {text!r} {error}; "
                    "write it relative to data_root"
                ) from None
            if path in seen:
                raise DataError(
                    f"{self.name}, {self.rows([row])}: the path {text!r} is already in "
                    f"{self.rows([seen[path]])}; keep one of them"
                )
            seen[path] = row
        return list(seen)


def read_table(root: Root, chosen: str | None) -> Table:
    """Read the CSV: ``chosen``, sought in ``root`` and then on disk, or the only one directly in ``root``.

    Raises:
        DataError: there is no such file, several to choose from, or it is not a table.
    """
    name = _only_csv(root) if chosen is None else chosen
    inside, outside = name.replace("\\", "/"), resolve_path(name)
    if root.stamp(inside) is not None:
        data = _read(name, lambda: root.read(inside))
    elif outside.is_file():
        data = _read(name, outside.read_bytes)
    else:
        found = ", ".join(root.csv_names()) or "none"
        raise DataError(f"csv={name!r} is neither in {root.path} nor a file; CSV files there: {found}")
    return parse_table(data, Path(inside).name)


def parse_table(data: bytes, name: str) -> Table:
    """Parse a CSV in UTF-8 or UTF-16, separated by commas, semicolons or tabs; ``name`` is for messages.

    Raises:
        DataError: the bytes are not such a table; names the row.
    """
    text = decode(data, name)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator(text), skipinitialspace=True, strict=True
    )
    try:
        lines = [[cell.strip() for cell in line] for line in reader]
    except csv.Error as error:
        raise DataError(f"{name}, line {reader.line_num}: {error}; correct the quotes there") from error
    filled = [(number, line) for number, line in enumerate(lines, start=1) if any(line)]
    if len(filled) < 2:
        raise DataError(f"{name} holds no rows; it needs a line of column names and one line an image")
    header = filled[0][1]
    rows = [_fitted(line, len(header), f"{name}, row {number}") for number, line in filled[1:]]
    repeated = sorted({column for column in header if column and header.count(column) > 1})
    if repeated:
        raise DataError(f"{name} has the column {repeated[0]!r} more than once; rename one of them")
    columns = {column: [row[i] for row in rows] for i, column in enumerate(header) if column}
    return Table(name, hashlib.sha256(data).hexdigest(), [number for number, _ in filled[1:]], columns)


def natural_order(names: set[str]) -> list[str]:
    """Sort names by value where all are numbers, else as text in which digits count as numbers."""
    try:
        return sorted(names, key=lambda name: (float(name), name))
    except ValueError:
        return sorted(names, key=lambda name: (_natural_key(name), name))


def _natural_key(name: str) -> list[str | int]:
    # The pattern makes text and digits alternate, so that like is always compared with like.
    return [int(part) if i % 2 else part.casefold() for i, part in enumerate(re.split("([0-9]+)", name))]


def _only_csv(root: Root) -> str:
    names = root.csv_names()
    if not names:
        raise DataError(
            f"{root.path} has no CSV file beside the images; add one, or set csv to its path; for one folder a "
            "class set dataset=imagefolder"
        )
    if len(names) > 1:
        raise DataError(f"{root.path} has {len(names)} CSV files: set csv to one of {', '.join(names)}")
    return names[0]


def _read(name: str, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except Exception as error:  # a damaged archive raises errors of zipfile, zlib and struct
        raise DataError(f"the CSV {name} cannot be read: {error}") from error


def decode(data: bytes, name: str) -> str:
    """Return the text of a CSV in UTF-8 or UTF-16; ``name`` is for messages.

    Raises:
        DataError: it is in neither.
    """
    try:
        return data.decode(_encoding(data))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is neither UTF-8 nor UTF-16 (byte {error.start}); "
            "save it as 'CSV UTF-8' in the spreadsheet"
        ) from error


def _encoding(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    # Without a byte order mark, UTF-16 shows by the zero byte beside the first Latin letter.
    if data[1:2] == b"\0":
        return "utf-16-le"
    return "utf-16-be" if data[:1] == b"\0" else "utf-8-sig"


def separator(text: str) -> str:
    """Return what separates the columns of a CSV's first line: a comma, semicolon or tab."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(",;\t", key=header.count)


def _fitted(line: list[str], width: int, place: str) -> list[str]:
    if any(line[width:]):
        raise DataError(
            f"{place}: {len(line)} cells under {width} column names; quote cells that hold a separator"
        )
    return [*line[:width], *[""] * (width - len(line))]
