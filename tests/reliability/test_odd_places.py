"""Odd paths, another language, a clock that was wrong, thousands of runs: nothing is different."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from forging import Forge, victims
from left_behind import contents
from small_files import make_place

from fairkd.cli import main
from fairkd.errors import ArtifactError
from fairkd.recipes import train_teacher

WORK = ("train", "decode", "run")
TURKISH, ENCODING = "tr_TR.ISO-8859-9", "iso8859-9"


def everything(forge: Forge, place: Path, seen_as: str | None = None) -> dict[str, list[object]]:
    """Do all jobs; return what their files say. ``seen_as``: what ``place`` is called where they run."""
    found = {}
    for work in WORK:
        (ended,) = forge(work, f"{seen_as or place}/{work}")
        assert "message" not in ended, ended
        # The data cache's name is a hash of the images' times.
        found[work] = list(contents(place / work).values())
        assert found[work]
    return found


def test_it_works_in_a_folder_of_any_name_and_length(forge, tiny_splits, place):
    odd = make_place(place.joinpath("Höhe 数据 🙂 100 % #1 {x} 'a' $HOME", *["long" * 20] * 4), tiny_splits)
    assert len(str(odd)) > 320
    assert everything(forge, odd) == everything(forge, place)


def test_a_name_that_is_too_long_for_the_disk_is_told(tiny_splits, tiny_experiment, tmp_path):
    message = r"cannot read .*: File name too long; choose a shorter output_dir or run_name$"
    with pytest.raises(ArtifactError, match=message):
        train_teacher(tiny_experiment.replace(output_dir=str(tmp_path / ("x" * 300))), tiny_splits)


@pytest.fixture
def turkish(tmp_path: Path) -> Iterator[Forge]:
    """Victims whose locale has another encoding than UTF-8, decimal commas, and an I that is no capital i."""
    made = tmp_path / "locales" / TURKISH
    made.parent.mkdir()
    command = ["localedef", "-i", "tr_TR", "-f", "ISO-8859-9", str(made)]
    if shutil.which("localedef") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this system cannot make a locale")
    with victims(LOCPATH=str(made.parent), LC_ALL=TURKISH, PYTHONUTF8="0") as forge:
        yield forge


def test_it_works_in_another_language_and_encoding(turkish, forge, tiny_splits, place):
    name = "ılık öğle"
    on_disk = os.fsdecode(name.encode(ENCODING))
    assert on_disk != name
    odd = make_place(place / on_disk, tiny_splits)
    assert everything(turkish, odd, f"{place}/{name}") == everything(forge, place)


@pytest.mark.parametrize("year", [1990, 2100])
@pytest.mark.parametrize("work", WORK)
def test_a_clock_that_was_wrong_changes_nothing(forge, place, work, year):
    (undisturbed,) = forge(work, place / "undisturbed")
    (killed,) = forge(work, place / "outputs", kill_at=undisturbed["calls"] // 2)
    assert killed["killed"]
    set_times(place / "outputs", year)
    (rerun,) = forge(work, place / "outputs")
    set_times(place / "outputs", year)
    (nothing,) = forge(work, place / "outputs")
    assert "message" not in rerun and "message" not in nothing, (rerun, nothing)
    assert contents(place / "outputs") == contents(place / "undisturbed")
    assert nothing["calls"] < undisturbed["calls"], "what is finished is not made again"


def set_times(folder: Path, year: int) -> None:
    for file in folder.rglob("*"):
        os.utime(file, ((year - 1970) * 31_556_952,) * 2)


def test_among_many_runs_one_is_reported_and_an_unknown_one_is_told_in_a_short_line(forge, place, capsys):
    forge("run", place / "outputs")
    report = place / "outputs" / "run" / "report.html"
    written = report.read_bytes()
    report.unlink()
    for number in range(300):
        shutil.copytree(report.parent, place / "outputs" / f"run-{number}")
    command = ["--output-dir", str(place / "outputs")]
    assert main(["report", "run", *command]) == 0
    assert report.read_bytes() == written
    assert capsys.readouterr().out == f"report: {report}\n"
    assert main(["report", "rum", *command]) == 1
    error = capsys.readouterr().err
    assert error.endswith(
        "did you mean 'run'? there: run, run-0, run-1, run-10, run-100, run-101, run-102, run-103, run-104, "
        "run-105 and 291 more\n"
    ), error
