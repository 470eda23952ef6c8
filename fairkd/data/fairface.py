"""``fairface``: FairFace, with race, gender and age of each face (Kärkkäinen and Joo 2021, arXiv 1908.04913)."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from fairkd.data.assemble import assemble
from fairkd.data.attributes import Columns
from fairkd.data.files import listed_names
from fairkd.data.pixels import ImageFiles
from fairkd.data.plan import DataOptions, Plan
from fairkd.data.profile import Profile, Records
from fairkd.data.source import find_file, locate, name_place, open_source
from fairkd.data.table import parse_table

PROFILE = Profile(
    name="fairface",
    source="FairFace, 97,698 labelled faces (Kärkkäinen and Joo 2021, arXiv 1908.04913)",
    licence="CC BY 4.0",
    target="gender",
    group="race",
    image_size=64,
)
FILES = ("fairface_label_train.csv", "fairface_label_val.csv")
_COLUMNS = ("age", "gender", "race")


def plan(options: DataOptions) -> Plan:
    """Plan the data set: the published validation set, on which results are reported, is the test set.

    Raises:
        ParameterError: ``data_root`` is not set.
        DataError: it is not there, or lacks one of its two CSV files, a column or images.
    """
    hint = f"a folder or zip with {FILES[0]}, {FILES[1]}, train/ and val/"
    with closing(open_source(options, PROFILE.name, hint)) as root:
        files = root.files()
        paths = [find_file(root, files, [name], "FairFace") for name in FILES]
        tables = [parse_table(root.read(path), path) for path in paths]
        listed = [listed_names(table.column("file", "the header"), table.name) for table in tables]
        names = locate(root, files, [*listed[0], *listed[1]], f"{FILES[0]} and {FILES[1]}")
        pixels = ImageFiles(root.path, names, [files[name] for name in names])
    columns = {
        name: [value for table in tables for value in table.column(name, "the header")] for name in _COLUMNS
    }
    records = Records(
        Columns(root.path.name, columns, name_place(names)),
        pixels,
        np.repeat([0, 2], [len(rows) for rows in listed]),
        [table.sha256 for table in tables],
        split_fact="the data's own, whose validation set is the test set here",
    )
    return assemble(records, options, PROFILE)
