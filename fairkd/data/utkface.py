"""``utkface``: UTKFace, faces named ``age_gender_race_date.jpg`` (Zhang et al. 2017, arXiv 1702.08423).

Files whose names lack a field are left out. Of byte-identical files one is kept; where their names contradict
each other, none is: before the split, so that no face is in two splits.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from pathlib import PurePosixPath
from typing import NamedTuple

from fairkd.data.assemble import assemble
from fairkd.data.attributes import Columns
from fairkd.data.files import Root
from fairkd.data.listing import Stamp
from fairkd.data.pixels import ImageFiles
from fairkd.data.plan import DataOptions, Plan
from fairkd.data.profile import Profile, Records
from fairkd.data.source import contents, image_files, name_place, open_source
from fairkd.errors import DataError, FairkdWarning

PROFILE = Profile(
    name="utkface",
    source="UTKFace, 23,707 aligned and cropped faces (Zhang, Song and Qi 2017, arXiv 1702.08423)",
    licence="non-commercial research use only",
    target="gender",
    group="race",
    image_size=64,
)
GENDERS = ("male", "female")
RACES = ("White", "Black", "Asian", "Indian", "other")
_NAME = re.compile(r"(?P<age>\d{1,3})_(?P<gender>[01])_(?P<race>[0-4])_.*", re.DOTALL)
_SHOWN = 5


class _Face(NamedTuple):
    name: str
    age: str
    gender: str
    race: str


def plan(options: DataOptions) -> Plan:
    """Plan the data set.

    Raises:
        ParameterError: ``data_root`` is not set.
        DataError: it is not there, or holds no file that is named like UTKFace's.
    """
    with closing(open_source(options, PROFILE.name, "the folder or zip archive of UTKFace's images")) as root:
        files = image_files(root)
        named, irregular = _read_names(files)
        if not named:
            raise DataError(
                f"{root.path} is no UTKFace: no image is named age_gender_race_date.jpg, such as "
                f"'26_1_2_20170116.jpg'; it holds {contents(root.files())}"
            )
        faces, copies, contradicting = _without_copies(root, files, named)
    facts = _tell(len(files), irregular, copies, contradicting)
    names = [face.name for face in faces]
    values = {field: [getattr(face, field) for face in faces] for field in ("age", "gender", "race")}
    columns = Columns(root.path.name, values, name_place(names))
    return assemble(
        Records(columns, ImageFiles(root.path, names, [files[name] for name in names]), facts=facts),
        options,
        PROFILE,
    )


def _read_names(files: Mapping[str, Stamp]) -> tuple[list[_Face], list[str]]:
    faces, irregular = [], []
    for name in files:
        match = _NAME.fullmatch(PurePosixPath(name).name)
        if match is None:
            irregular.append(name)
        else:
            faces.append(_Face(name, match["age"], GENDERS[int(match["gender"])], RACES[int(match["race"])]))
    return faces, irregular


def _without_copies(
    root: Root, files: Mapping[str, Stamp], faces: list[_Face]
) -> tuple[list[_Face], list[_Face], list[_Face]]:
    """Return the faces to keep, the copies of them, and the faces whose copies contradict them."""
    # Files of different sizes differ; in an archive the CRC, too, is known without reading.
    suspects = defaultdict(list)
    for face in faces:
        suspects[files[face.name] if not root.path.is_dir() else files[face.name][0]].append(face)
    same = defaultdict(list)
    for group in suspects.values():
        for face in group if len(group) > 1 else ():
            same[hashlib.blake2b(root.read(face.name), digest_size=16).digest()].append(face)
    copies, contradicting = set(), set()
    for group in same.values():
        if len({face[1:] for face in group}) > 1:
            contradicting.update(group)
        else:
            copies.update(group[1:])
    kept = [face for face in faces if face not in copies and face not in contradicting]
    return kept, sorted(copies), sorted(contradicting)


def _tell(
    files: int, irregular: list[str], copies: list[_Face], contradicting: list[_Face]
) -> dict[str, str]:
    """Warn of what is left out, and return it for the report; no file name of a face is repeated at length."""
    facts = {"files": f"{files:,}"}
    if irregular:
        shown = ", ".join(repr(PurePosixPath(name).name) for name in irregular[:_SHOWN])
        facts["irregular names"] = (
            f"{len(irregular):,} files lack age, gender or race and are left out ({shown})"
        )
    if copies:
        facts["duplicates"] = (
            f"{len(copies):,} files are copies of another with the same labels and are left out"
        )
    if contradicting:
        facts["contradictions"] = (
            f"{len(contradicting):,} files are byte for byte the same as one with other labels; all are left out"
        )
    told = [text for key, text in facts.items() if key != "files"]
    if told:
        warnings.warn(f"UTKFace: {'; '.join(told)}", FairkdWarning, stacklevel=2)
    return facts
