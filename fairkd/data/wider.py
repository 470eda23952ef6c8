"""``wider``: WIDER Attribute, scenes with people (Li et al. 2016, "Human attribute recognition by deep hierarchical
contexts").

The 30 scenes are merged to 16 activities, whose names are those of a study of gender bias in distillation
(Berkeley MIDS capstone 2023). It did not publish which scene goes where: :data:`ACTIVITIES` is fairkd's own reading
of the names, and numbers from it are comparable in kind, not image by image. ``target="scene"`` keeps all 30.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np

from fairkd.data.assemble import assemble
from fairkd.data.attributes import Columns
from fairkd.data.files import Root, listed_names
from fairkd.data.image_folder import split_code
from fairkd.data.listing import Stamp
from fairkd.data.pixels import ImageFiles
from fairkd.data.plan import DataOptions, Plan
from fairkd.data.profile import Profile, Records
from fairkd.data.source import find_file, locate, name_place, open_source
from fairkd.errors import DataError
from fairkd.store import digest

PROFILE = Profile(
    name="wider",
    source="WIDER Attribute, 13,789 images of 30 scenes with 57,524 annotated people (Li et al. 2016)",
    licence="research use, stated by its authors",
    target="activity",
    group="gender",
    image_size=64,
)
FILES = ("wider_attribute_trainval.json", "wider_attribute_test.json")
#: Scene numbers of each activity.
ACTIVITIES: Mapping[str, tuple[int, ...]] = {
    "Team Sports": (35, 36, 37, 58),  # basketball, football, soccer, hockey
    "Celebration": (6, 17, 50),  # funeral, ceremony, celebration or party
    "Parade": (0,),
    "Waiter or Waitress": (31,),
    "Individual Sports": (33, 39, 44),  # running, ice skating, aerobics
    "Surgeons": (30,),
    "Spa": (27,),
    "Law Enforcement": (3, 25),  # riot, soldier patrol
    "Business": (1, 11, 15),  # handshaking, meeting, stock market
    "Dresses": (51,),
    "Water Activities": (43, 57),  # row boat, angler
    "Picnic": (22,),
    "Rescue": (54,),
    "Cheering": (7, 28),  # cheering, sports fan
    "Performance and Entertainment": (4, 18),  # dancing, concerts
    "Family": (19, 20),  # couple, family group
}
_ACTIVITY_OF = {scene: name for name, scenes in ACTIVITIES.items() for scene in scenes}
_MALE = 0  # place of the attribute "Male": 1 yes, -1 no, 0 not annotated


def plan(options: DataOptions) -> Plan:
    """Plan the data set, with its own splits. The group is the gender of the majority of annotated people.

    Raises:
        ParameterError: ``data_root`` is not set.
        DataError: it is not there, or lacks annotations or images.
    """
    hint = f"a folder or zip with {FILES[0]}, {FILES[1]} and the images"
    with closing(open_source(options, PROFILE.name, hint)) as root:
        files = root.files()
        images, scenes = _annotations(root, files)
        listed = listed_names((str(image["file_name"]) for image in images), " and ".join(FILES))
        names = locate(root, files, listed, " and ".join(FILES))
        pixels = ImageFiles(root.path, names, [files[name] for name in names])
    numbers = [int(image["scene_id"]) for image in images]
    values = {
        "activity": [_activity(number) for number in numbers],
        "scene": [scenes.get(str(number), f"scene {number}") for number in numbers],
        "gender": [majority_gender(image["targets"]) for image in images],
    }
    split = [split_code(name.partition("/")[0]) for name in listed]
    if None in split:
        raise DataError(
            f"{FILES[0]} names {listed[split.index(None)]!r}, which is in no folder train, val or test"
        )
    columns = Columns(root.path.name, values, name_place(names))
    records = Records(columns, pixels, np.array(split, dtype=np.int64), digest([listed, values], 64))
    return assemble(records, options, PROFILE)


def majority_gender(people: list[dict[str, Any]]) -> str:
    """Return ``male`` where at least half of the people with an annotated gender are, else ``female``.

    An image in which nobody's gender is annotated has none: an empty text.
    """
    annotated = [person["attribute"][_MALE] for person in people if person["attribute"][_MALE]]
    if not annotated:
        return ""
    return "male" if 2 * annotated.count(1) >= len(annotated) else "female"


def _annotations(root: Root, files: Mapping[str, Stamp]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    images: list[dict[str, Any]] = []
    scenes: dict[str, str] = {}
    for name in FILES:
        path = find_file(root, files, [name], "WIDER Attribute")
        try:
            content = json.loads(root.read(path))
            images += [
                {key: image[key] for key in ("file_name", "scene_id", "targets")}
                for image in content["images"]
            ]
            scenes.update({str(key): str(value) for key, value in content.get("scene_id_map", {}).items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} is no annotation of WIDER Attribute ({error!r}); fetch it again"
            ) from error
    if not images:
        raise DataError(f"{FILES[0]} and {FILES[1]} list no image; fetch them again")
    return images, scenes


def _activity(scene: int) -> str:
    if scene not in _ACTIVITY_OF:
        raise DataError(
            f"WIDER Attribute has no scene {scene}; known: {', '.join(map(str, sorted(_ACTIVITY_OF)))}"
        )
    return _ACTIVITY_OF[scene]
