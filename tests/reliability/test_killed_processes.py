"""``kill -9`` at random points of real processes: the rerun ends as an undisturbed run, nothing is half-written.

``FAIRKD_KILLS=20`` kills so many times; without it, a few times.
"""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest
from left_behind import check_readable, contents

KILLS = int(os.environ.get("FAIRKD_KILLS", "0"))
#: Half of the points are calls of any kind, mostly in training; the others are where files are written.
POINTS = {"train": KILLS or 5, "decode": KILLS or 3, "run": KILLS or 3}


@pytest.mark.parametrize("work", list(POINTS))
def test_a_killed_process_leaves_nothing_half_written_and_the_rerun_ends_as_an_undisturbed_one(
    forge, place, work
):
    (undisturbed,) = forge(work, place / "undisturbed")
    (stored,) = forge(work, place / "again", storage=True)
    assert "message" not in undisturbed and "message" not in stored, undisturbed
    expected = contents(place / "undisturbed")
    assert expected == contents(place / "again"), "two undisturbed runs are alike"
    points, left = random.Random(f"{work} 0"), []
    for number in range(POINTS[work]):
        storage = number % 2 == 0
        last = points.randint(1, (stored if storage else undisturbed)["calls"])
        folder = place / f"killed-{number}"
        (killed,) = forge(work, folder, kill_at=last, storage=storage)
        print(f"{work} {number}: killed at call {last}, {'storage' if storage else 'any'}")
        assert killed["killed"], killed
        check_readable(folder)
        left.append(names_in(folder))
        (rerun,) = forge(work, folder)
        assert "message" not in rerun, rerun
        assert contents(folder) == expected, f"killed at call {last}"
    assert len(set(left)) > 1, "the points differ in what they leave behind"


def names_in(folder: Path) -> tuple[str, ...]:
    """All names, without the process numbers in them."""
    names = [str(file.relative_to(folder)) for file in folder.rglob("*")]
    return tuple(sorted(re.sub(r"\.\d+\.tmp$", ".tmp", name) for name in names))


def test_what_an_earlier_kill_left_of_a_cache_is_deleted_once_it_is_old(forge, place):
    folder = place / "cache"
    forge("decode", folder)
    (cache,) = folder.glob("images-*.npy")
    cache.unlink()
    old, new = (folder / f".{cache.name}.{number}.tmp" for number in (4711, 4712))
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (1, 1))
    forge("decode", folder)
    assert cache.is_file() and new.is_file() and not old.exists()
