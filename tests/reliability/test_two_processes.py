"""Several processes at once on the same folder: one works, the others wait or are refused; nothing is mixed up."""

from __future__ import annotations

import pytest
from left_behind import check_readable, contents


def at_once(forge, work, folder, processes):
    return forge(*[{"work": work, "folder": str(folder)}] * processes)


@pytest.mark.parametrize("work", ["train", "decode"])
def test_what_several_make_at_once_is_made_as_if_there_were_one(forge, place, work):
    (alone,) = forge(work, place / "alone")
    ended = at_once(forge, work, place / "shared", 3)
    assert not any("message" in one for one in ended), ended
    check_readable(place / "shared")
    assert contents(place / "shared") == contents(place / "alone")
    if work == "train":
        calls = sorted(one["calls"] for one in ended)
        assert calls[1] < alone["calls"] / 2 < calls[2], "one trains, the others wait for it"


def test_of_several_runs_in_one_folder_one_works_and_the_others_say_so(forge, place):
    forge("run", place / "alone")
    ended = at_once(forge, "run", place / "shared", 3)
    refused = [one for one in ended if "message" in one]
    assert 0 < len(refused) < 3, ended
    for one in refused:
        assert "FairkdError" in one["kinds"]
        assert f"{place / 'shared' / 'run'} is in use by process " in one["message"]
        assert one["message"].endswith("; wait for it to end, or give this run another run_name")
    assert contents(place / "shared") == contents(place / "alone")
