"""``kill -9`` of a real ``fairkd sweep`` at random points: its workers end too, the rerun ends as an undisturbed one.

``FAIRKD_KILLS=20`` kills so many times; without it, twice.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from left_behind import check_readable, contents

from fairkd.store import read_json

KILLS = int(os.environ.get("FAIRKD_KILLS", "0"))
#: In the environment of the sweep and of its workers, so that these can be found when nobody waits for them any more.
MARK = "FAIRKD_TEST_OF_KILLED_SWEEPS"
SECONDS = 300
#: A teacher, plain KD and two students: real digits, and networks that train in seconds.
PARAMETERS = {
    **{
        "samples": 150,
        "image_size": 16,
        "batch_size": 32,
        "precision": "float32",
        "bootstrap_replicates": 100,
    },
    **{"teacher": "resnet8_cifar", "student": "test_resnet", "teacher_epochs": 2, "student_epochs": 3},
}

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc"),
]


class Sweep:
    """A sweep that writes into ``folder``, as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen, self.since = folder, set(), 0.0
        words = [word for name, value in PARAMETERS.items() for word in ("-p", name, str(value))]
        words += ["-p", "run_name", "sweep", "-p", "output_dir", str(folder)]
        program = "import sys; from fairkd.cli import main; sys.exit(main())"
        space = ["--param", "adversary_weight=1,30", "--workers", "2"]
        environment = {**os.environ, MARK: str(folder), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, "sweep", *space, "--seeds", "1", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )

    def look(self) -> bool:
        """Note the names of all files that are there; return whether the sweep goes on."""
        for _, _, names in os.walk(self.folder):
            self.seen.update(names)
        if self.seen and not self.since:
            self.since = time.monotonic()
        return self.process.poll() is None

    def finish(self) -> float:
        """Wait for the end and return how long it took since the first file, seconds."""
        while self.look():
            time.sleep(0.002)
        assert self.process.returncode == 0, self.process.communicate()[1].decode()
        self.process.communicate()
        return time.monotonic() - self.since

    def kill(self, *, files: int | None = None, seconds: float | None = None) -> None:
        """Kill it when so many files have been seen, or so long after the first one; then its workers are to end."""
        while self.look():
            if files is not None and len(self.seen) >= files:
                break
            if seconds is not None and self.since and time.monotonic() - self.since >= seconds:
                break
            time.sleep(0.001)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        end = time.monotonic() + SECONDS
        while left := workers_of(self.folder):
            assert time.monotonic() < end, f"the workers {left} outlive their sweep"
            time.sleep(0.05)


def workers_of(folder: Path) -> list[int]:
    """The processes that a sweep into ``folder`` has started and that still run."""
    mark, found = f"{MARK}={folder}\0".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes() + b"\0":
                found.append(int(process.name))
    return found


def answer(folder: Path) -> dict[str, object]:
    """Weights, predictions and cached outputs bit for bit, and the table of trials without times and paths."""
    found = {name: content for name, content in contents(folder).items() if not name.startswith("sweep/")}
    table = pd.read_csv(folder / "sweep" / "trials.csv").drop(columns=["seconds", "attempts", "command"])
    assert (table["state"] == "finished").all()
    return {**found, "trials": table.to_csv()}


def check_whole(folder: Path) -> None:
    """What has its final name can be read."""
    check_readable(folder)
    for file in (folder / "sweep").rglob("*.json"):
        read_json(file)
    for file in (folder / "sweep").rglob("*.csv"):
        assert len(pd.read_csv(file))


@pytest.mark.timeout(6 * 3600 if KILLS else 1200)
def test_a_killed_sweep_leaves_no_worker_and_the_rerun_ends_as_an_undisturbed_one(tmp_path):
    undisturbed = Sweep(tmp_path / "undisturbed")
    duration = undisturbed.finish()
    expected, points = answer(undisturbed.folder), random.Random("sweep 0")
    for number in range(KILLS or 2):
        folder = tmp_path / f"killed-{number}"
        point = (
            {"files": points.randint(1, len(undisturbed.seen) - 1)}
            if number % 2 == 0
            else {"seconds": points.uniform(0, duration)}
        )
        killed = Sweep(folder)
        killed.kill(**point)
        done = [file.parent.name for file in folder.glob("artifacts/*/config.json")]
        print(f"{number}: killed at {point}, code {killed.process.returncode}, {len(done)} models were there")
        check_whole(folder)
        Sweep(folder).finish()
        assert answer(folder) == expected, f"killed at {point}"
        check_whole(folder)


def test_a_worker_would_be_found():
    environment = {**os.environ, MARK: "/nowhere"}
    with subprocess.Popen(["sleep", "60"], env=environment, start_new_session=True) as process:
        try:
            while process.pid not in workers_of(Path("/nowhere")):
                time.sleep(0.01)
        finally:
            process.kill()
    assert workers_of(Path("/nowhere")) == []
