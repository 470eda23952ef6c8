"""``python ray_trial.py FOLDER``: a sweep on a Ray of its own, whose second training is killed once.

A process of its own, so that nothing of Ray's is left in the one that runs the tests. Prints JSON; exit code 3 means
that Ray did not start.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from sweep_cases import tiny

from fairkd.errors import FairkdError
from fairkd.sweeps.engine import Job
from fairkd.sweeps.plan import Planner
from fairkd.sweeps.ray_engine import RayEngine
from fairkd.sweeps.records import RecordFolder
from fairkd.sweeps.scheduler import Event, Scheduler
from fairkd.sweeps.worker import answer


def listening(pids: set[int]) -> set[str]:
    """Return the addresses, as hexadecimal of ``/proc``, on which processes listen."""
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(str(link.readlink()))
            except OSError:
                continue
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            local, state, inode = (line.split()[column] for column in (1, 3, 9))
            if state == "0A" and f"socket:[{inode}]" in sockets:
                found.add(local.rpartition(":")[0])
    return found


def descendants(pid: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, waiting = {pid}, [pid]
    while waiting:
        new = children.get(waiting.pop(), [])
        found.update(new)
        waiting += new
    return found


def main(folder: Path) -> dict[str, Any]:
    trials = Planner(tiny(folder)).plan([{"temperature": 1.0}])
    mark = folder / "killed"

    def once_killed(job: Job) -> dict[str, Any]:
        if job["kind"] == "kd" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return answer(job)

    said: list[str] = []

    def note(event: Event, scheduler: Scheduler) -> None:
        said.append(f"{event.kind}: {event.text}")

    try:
        engine = RayEngine(None, 1, "cpu", once_killed)
    except FairkdError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    try:
        scheduler = Scheduler(engine, RecordFolder(folder / "sweep"), note)
        scheduler.add(trials)
        while scheduler.busy:
            scheduler.step()
        addresses = listening(descendants(os.getpid()))
    finally:
        engine.close()
    records = [scheduler.records[trial.key] for trial in trials]
    return {
        "said": said,
        "states": [record.state for record in records],
        "attempts": [record.attempts for record in records],
        "addresses": sorted(addresses),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
