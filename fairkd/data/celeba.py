"""``celeba``: CelebA, faces with 40 binary attributes (Liu et al. 2015, arXiv 1411.7766)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

import numpy as np

from fairkd.config import resolve_path
from fairkd.data.assemble import assemble
from fairkd.data.attributes import Columns
from fairkd.data.files import Root
from fairkd.data.listing import Stamp
from fairkd.data.pixels import ImageFiles
from fairkd.data.plan import DataOptions, Plan
from fairkd.data.profile import Profile, Records
from fairkd.data.source import find_file, locate, name_place, open_source
from fairkd.errors import DataError, ParameterError
from fairkd.store import digest

PROFILE = Profile(
    name="celeba",
    source="CelebA, 202,599 aligned faces with 40 attributes (Liu et al. 2015, arXiv 1411.7766)",
    licence="non-commercial research use only",
    target="Blond_Hair",
    group="Male",
    image_size=64,
)
ATTRIBUTES = ("list_attr_celeba.txt", "list_attr_celeba.csv")
PARTITION = ("list_eval_partition.txt", "list_eval_partition.csv")
_VALUES = {"-1": "no", "0": "no", "1": "yes"}


def plan(options: DataOptions) -> Plan:
    """Plan the data set, with its own three splits; any attribute can be ``target`` and ``group``.

    Raises:
        ParameterError: ``data_root`` is not set.
        DataError: it is not there, or lacks a file, images or values.
    """
    if options.download:
        _download(options)
    hint = f"torchvision's folder, or one with {ATTRIBUTES[0]}, {PARTITION[0]} and img_align_celeba/"
    with closing(open_source(options, PROFILE.name, hint)) as root:
        files = root.files()
        header, rows = _read(root, files, ATTRIBUTES)
        partition = {row[0]: row[1] for row in _read(root, files, PARTITION)[1]}
        listed = [row[0] for row in rows]
        names = locate(root, files, listed, ATTRIBUTES[0])
        pixels = ImageFiles(root.path, names, [files[name] for name in names])
    values = {name: _named([row[i] for row in rows], name) for i, name in enumerate(header, start=1)}
    split = _split(listed, partition)
    columns = Columns(root.path.name, values, name_place(names))
    return assemble(Records(columns, pixels, split, digest([header, rows], 64)), options, PROFILE)


def _read(
    root: Root, files: Mapping[str, Stamp], names: tuple[str, str]
) -> tuple[list[str], list[list[str]]]:
    """Return the attributes' names and the rows, of the original text file or Kaggle's CSV."""
    path = find_file(root, files, names, "CelebA")
    comma = path.endswith(".csv")
    lines = [line.split("," if comma else None) for line in root.read(path).decode("utf-8-sig").splitlines()]
    lines = [[cell.strip() for cell in line] for line in lines if any(line)]
    if not lines:
        raise DataError(f"{path} is empty; fetch it again")
    header: list[str] = []
    if comma:
        header, lines = lines[0][1:], lines[1:]
    elif len(lines) > 2 and len(lines[0]) == 1:  # the number of images, then the names
        header, lines = lines[1], lines[2:]
    width = len(header) + 1 if header else 2
    for number, line in enumerate(lines, start=1):
        if len(line) != width:
            raise DataError(f"{path}, image {number}: {len(line)} values where {width} are expected")
    if not lines:
        raise DataError(f"{path} lists no image; fetch it again")
    return header, lines


def _named(values: list[str], attribute: str) -> list[str]:
    wrong = next((value for value in values if value not in _VALUES), None)
    if wrong is not None:
        raise DataError(f"CelebA: {attribute} is {wrong!r} for an image; allowed: -1, 1")
    return [_VALUES[value] for value in values]


def _split(listed: list[str], partition: Mapping[str, str]) -> np.ndarray:
    wrong = [name for name in listed if partition.get(name) not in ("0", "1", "2")]
    if wrong:
        raise DataError(f"{PARTITION[0]} gives {wrong[0]!r} no split 0, 1 or 2; fetch the file again")
    return np.array([int(partition[name]) for name in listed], dtype=np.int64)


def _download(options: DataOptions) -> None:
    if options.data_root is None:
        raise ParameterError("celeba: download=True needs data_root, the folder to download into")
    from torchvision.datasets import CelebA

    folder = resolve_path(options.data_root)
    try:
        CelebA(str(folder), split="all", download=True)
    except Exception as error:  # urllib, gdown and torchvision raise many kinds
        raise DataError(
            f"CelebA cannot be downloaded into {folder}: {error}; copy it there by other means and leave download "
            "out"
        ) from error
