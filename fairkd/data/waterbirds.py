"""``waterbirds``: birds on backgrounds of land or water (Sagawa et al. 2020, arXiv 1911.08731)."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from fairkd.data.assemble import assemble
from fairkd.data.attributes import Columns
from fairkd.data.files import listed_names
from fairkd.data.pixels import ImageFiles
from fairkd.data.plan import DataOptions, Plan
from fairkd.data.profile import Profile, Records
from fairkd.data.source import find_file, locate, open_source
from fairkd.data.table import Table, parse_table
from fairkd.errors import DataError

PROFILE = Profile(
    name="waterbirds",
    source="Waterbirds, 11,788 birds of CUB pasted on backgrounds of Places (Sagawa et al. 2020, arXiv 1911.08731)",
    licence="that of CUB-200-2011 and Places: non-commercial research use",
    target="bird",
    group="place",
    image_size=64,
)
FILE = "metadata.csv"
_VALUES = {"y": {"0": "landbird", "1": "waterbird"}, "place": {"0": "land", "1": "water"}}


def plan(options: DataOptions) -> Plan:
    """Plan the data set, with its own three splits.

    Raises:
        ParameterError: ``data_root`` is not set.
        DataError: it is not there, or lacks ``metadata.csv``, a column or images.
    """
    with closing(open_source(options, PROFILE.name, f"the folder or zip with {FILE}")) as root:
        files = root.files()
        path = find_file(root, files, [FILE], "Waterbirds")
        table = parse_table(root.read(path), path)
        listed = listed_names(table.column("img_filename", "the header"), path)
        names = locate(root, files, listed, path)
        pixels = ImageFiles(root.path, names, [files[name] for name in names])
    values = {"bird": _named(table, "y"), "place": _named(table, "place")}
    split = np.array([int(value) for value in _checked(table, "split", {"0", "1", "2"})], dtype=np.int64)
    columns = Columns(table.name, values, table.rows)
    return assemble(Records(columns, pixels, split, table.sha256), options, PROFILE)


def _named(table: Table, column: str) -> list[str]:
    names = _VALUES[column]
    return [names[value] for value in _checked(table, column, set(names))]


def _checked(table: Table, column: str, allowed: set[str]) -> list[str]:
    values = table.column(column, "the header")
    wrong = [row for row, value in enumerate(values) if value not in allowed]
    if wrong:
        raise DataError(
            f"{table.name}: {column} is {values[wrong[0]]!r} in {table.rows(wrong)}; allowed: "
            f"{', '.join(sorted(allowed))}"
        )
    return values
