"""``imagefolder``: images in one folder a class, with folders for the splits above them or without."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np

from fairkd.data.assemble import assemble
from fairkd.data.attributes import Columns
from fairkd.data.files import Root
from fairkd.data.image_folder import SPLIT_WORDS, split_code
from fairkd.data.pixels import ImageFiles
from fairkd.data.plan import DataOptions, Plan
from fairkd.data.profile import Profile, Records
from fairkd.data.source import contents, image_files, name_place, open_source
from fairkd.errors import DataError

PROFILE = Profile(
    name="imagefolder",
    source="your own folder or zip with one folder of images a class",
    licence="that of the data's owner",
    target="class",
    group=None,
    image_size=64,
)


def plan(options: DataOptions) -> Plan:
    """Plan the data set: ``class/file`` or ``split/class/file``, below any folders that all files share.

    Raises:
        ParameterError: ``data_root`` is not set.
        DataError: it is not there, or its images are not in folders.
    """
    with closing(
        open_source(options, PROFILE.name, "a folder or zip with one folder of images a class")
    ) as root:
        records = class_folders(root)
        profile = replace(PROFILE, source=root.path.name)
    return assemble(records, options, profile)


def class_folders(root: Root) -> Records:
    """Read the folders' names: column ``class``, and the split if folders name it.

    Raises:
        DataError: there are no images in folders.
    """
    files = image_files(root)
    names = files.names
    folders = [name.rpartition("/")[0] for name in names]
    classes, parts = _understand(set(folders), root.path.name)
    if not files or not all(classes.values()):
        flat = [name for name, folder in zip(names, folders, strict=True) if not classes[folder]]
        first = f", for example {flat[0]!r}" if flat else ""
        raise DataError(
            f"{root.path} is no folder of classes: expected images as class/name.jpg or train/class/name.jpg"
            f"{first}; it holds {contents(root.files())}"
        )
    labels = [classes[folder] for folder in folders]
    columns = Columns(root.path.name, {"class": labels}, name_place(names))
    split, facts = _split([parts[folder] for folder in folders]) if parts else (None, {})
    pixels = ImageFiles(root.path, names, files.stamps)
    return Records(columns, pixels, split, sorted(classes.items()), facts)


def _understand(folders: set[str], origin: str) -> tuple[dict[str, str], dict[str, int]]:
    """Return the class of every folder (empty: it has none) and its split (no entry at all: none is named)."""
    short = {folder: folder for folder in folders}
    # Folders that all images share mean nothing, but for one that names a split.
    while len(tops := {name.partition("/")[0] for name in short.values()}) == 1 and tops != {""}:
        if split_code(next(iter(tops))) is not None:
            break
        short = {folder: name.partition("/")[2] for folder, name in short.items()}
    parts = {folder: split_code(name.partition("/")[0]) for folder, name in short.items()}
    known = {folder: part for folder, part in parts.items() if part is not None}
    # A class may be called train; a folder of classes beside others that are none may not.
    if 0 < len(known) < len(folders) and any("/" in short[folder] for folder in known):
        split, other = (
            min(short[folder].partition("/")[0] for folder in chosen)
            for chosen in (known, folders - known.keys())
        )
        raise DataError(
            f"{origin}: the folder {split!r} names a split, and {other!r} beside it does not; call that one of "
            f"{', '.join(SPLIT_WORDS)}, or move it away"
        )
    if len(known) < len(folders):
        return {folder: name.partition("/")[0] for folder, name in short.items()}, {}
    return {folder: name.partition("/")[2].partition("/")[0] for folder, name in short.items()}, known


def _split(parts: list[int]) -> tuple[np.ndarray, dict[str, str]]:
    codes = np.array(parts, dtype=np.int64)
    if (codes == 2).any() or not (codes == 1).any():
        return codes, {}
    # With two folders, the held-out one is what results are reported on.
    return np.where(codes == 1, 2, codes), {
        "test": "the folder of validation images, as there is none for test"
    }
