"""``python ray_node_trial.py FOLDER``: a sweep on a Ray of two nodes on the loopback, one of which is lost at work.

A process of its own, so that nothing of Ray's is left in the one that runs the tests. Prints JSON; exit code 3 means
that Ray did not start.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from sweep_cases import result, tiny

from fairkd.sweeps.engine import Job
from fairkd.sweeps.plan import Planner
from fairkd.sweeps.ray_engine import RayEngine, import_ray
from fairkd.sweeps.records import RecordFolder
from fairkd.sweeps.scheduler import Event, Scheduler

SECONDS = 120


def start_cluster() -> tuple[Any, Any]:
    """Start two nodes of one core each; return the cluster and the node that is to be lost."""
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20}
    try:
        cluster = Cluster(True, head_node_args={**options, "include_dashboard": False})
        return cluster, cluster.add_node(**options)
    except Exception as error:
        print(error, file=sys.stderr)
        sys.exit(3)


def main(folder: Path) -> dict[str, Any]:
    ray = import_ray(local=True)
    cluster, other = start_cluster()
    trials = Planner(tiny(folder)).plan([{"temperature": 1.0}, {"temperature": 2.0}])
    at_work, lost = folder / "at-work", other.node_id

    def work(job: Job) -> dict[str, Any]:
        if ray.get_runtime_context().get_node_id() == lost:
            at_work.touch()
            time.sleep(SECONDS)
        # Two are at work at once, one on each node.
        time.sleep(1)
        return {"result": result()}

    def lose() -> None:
        while not at_work.exists():
            time.sleep(0.05)
        cluster.remove_node(other, allow_graceful=False)

    said: list[str] = []

    def note(event: Event, scheduler: Scheduler) -> None:
        said.append(f"{event.kind}: {event.text}")

    engine = RayEngine(cluster.address, 2, "cpu", work)
    threading.Thread(target=lose, daemon=True).start()
    try:
        scheduler = Scheduler(engine, RecordFolder(folder / "sweep"), note)
        scheduler.add(trials)
        while scheduler.busy:
            scheduler.step()
    finally:
        engine.close()
        cluster.shutdown()
    records = [scheduler.records[trial.key] for trial in trials]
    return {
        "said": said,
        "states": [record.state for record in records],
        "attempts": sorted(record.attempts for record in records),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))), flush=True)
    # Ray's threads look for the node for a while.
    os._exit(0)
