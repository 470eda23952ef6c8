from __future__ import annotations

import functools
import io
import json
import os
import time
from pathlib import Path

import pytest

from fairkd import progress
from fairkd.progress import PROGRESS_FILE, ProgressBar, is_headless, track


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in (PROGRESS_FILE, "CI", "FAIRKD_HEADLESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def watched(monkeypatch):
    """As if somebody looked at a terminal: pytest's own variable says that nobody does."""
    monkeypatch.setenv("FAIRKD_HEADLESS", "0")


@pytest.fixture
def file(tmp_path: Path, monkeypatch) -> Path:
    path = tmp_path / "progress.json"
    monkeypatch.setenv(PROGRESS_FILE, str(path))
    return path


def state(path: Path) -> dict:
    return json.loads(path.read_text())


def test_someone_may_watch_unless_a_variable_says_otherwise(monkeypatch):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # pytest sets it anew for each phase of a test
    assert not is_headless()
    for name in (PROGRESS_FILE, "PYTEST_CURRENT_TEST", "CI"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            assert is_headless()


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_the_decision_by_hand_goes_before_the_signs(monkeypatch, value, expected):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setenv("CI", "" if expected else "1")
    monkeypatch.setenv("FAIRKD_HEADLESS", value)
    assert is_headless() is expected


def test_the_file_holds_the_state_and_nothing_is_printed(file, capfd, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_WRITES", 0.0)
    with ProgressBar("teacher", 4) as bar:
        bar.update(2, accuracy=0.5, epoch="1/2")
        assert state(file) == {
            "description": "teacher",
            "done": 2,
            "total": 4,
            "values": {"accuracy": 0.5, "epoch": "1/2"},
        }
        bar.update()
        assert state(file)["done"] == 3
    assert list(file.parent.iterdir()) == [file], "no temporary file stays"
    assert capfd.readouterr() == ("", "")


def test_writes_are_rare_but_the_end_is_always_written(file, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with ProgressBar("work", 4) as bar:
        bar.update()
        bar.update()
        assert state(file)["done"] == 1
        now[0] += 1
        bar.update()
        assert state(file)["done"] == 3
        bar.update()
        assert state(file)["done"] == 4


def test_a_display_that_cannot_be_written_does_not_stop_the_work(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_WRITES", 0.0)
    monkeypatch.setenv(PROGRESS_FILE, str(tmp_path / "missing" / "progress.json"))
    with ProgressBar("work", 3) as bar:
        bar.update()
        bar.update()
    assert bar.done == 2


def test_where_nobody_watches_no_bar_is_made(monkeypatch, capfd):
    import tqdm.auto

    monkeypatch.setattr(tqdm.auto, "tqdm", lambda **_: pytest.fail("a bar was made"))
    with ProgressBar("teacher", 2) as bar:
        bar.update(2, accuracy=0.5)
    assert bar.done == 2 and capfd.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_with_values_that_is_removed_at_the_end(watched, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with ProgressBar("teacher", 2) as bar:
        bar.update(1, accuracy=0.5)
        bar.update(1)
    text = stream.getvalue()
    assert "teacher" in text
    assert text.endswith("\r") and not text.rsplit("\r", 2)[-2].strip()


def test_a_bar_that_is_switched_off_stops_no_work(watched, monkeypatch, capfd):
    import tqdm.auto

    # As tqdm itself does where TQDM_DISABLE is set when it is first imported.
    monkeypatch.setattr(tqdm.auto, "tqdm", functools.partial(tqdm.auto.tqdm, disable=True))
    with ProgressBar("training", 3) as bar:
        bar.update(2, loss=1.0)
    assert capfd.readouterr().err == ""


def test_the_bar_is_closed_when_the_work_fails(file):
    with pytest.raises(ZeroDivisionError), ProgressBar("work", 2) as bar:
        bar.update(1 // 0)
    assert bar.done == 0


def test_track_yields_the_items_and_counts_them(file, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    assert list(track(iter("abc"), "reading", 3)) == ["a", "b", "c"]
    assert state(file) == {"description": "reading", "done": 3, "total": 3, "values": {}}
    assert os.environ[PROGRESS_FILE] == str(file)


def test_what_is_soon_done_shows_nothing(file, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    for _ in track(range(3), "quick", 3):
        assert not file.exists()
    for item in track(range(3), "slow", 3):
        assert file.exists() == (item == 2)
        now[0] += 1.5
    assert state(file)["done"] == 3


def test_a_bar_that_appears_late_counts_what_was_done_before(watched, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with ProgressBar("work", 100, delay=0.2) as bar:
        bar.update(49)
        assert stream.getvalue() == ""
        time.sleep(0.25)
        bar.update(1)
    assert "50%" in stream.getvalue() and "50/100" in stream.getvalue()
