"""A student's training in several processes, started and followed from a notebook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairkd.arguments import plain_values
from fairkd.config import Experiment
from fairkd.errors import TrainingError
from fairkd.progress import PROGRESS_FILE
from fairkd.training import MetricsFile, StoppedError

_SECONDS_BETWEEN_LOOKS = 0.2
_LINES = 20
_LAUNCHER = "torch.distributed.elastic"


def train_in_processes(
    experiment: Experiment,
    processes: int,
    hear: Callable[[int, int, list[dict[str, Any]]], None],
    stopping: Callable[[], bool],
) -> None:
    """Train the mitigated student in ``processes`` processes by ``torchrun``, and wait for them.

    Args:
        experiment: names everything, the data and the teacher too.
        processes: at least 2.
        hear: called with the steps done, all steps, and the history, whenever these are new.
        stopping: whether the training is to write a checkpoint and end.

    Raises:
        StoppedError: it was stopped; trained again, it goes on.
        TrainingError: it failed; holds what the processes said last.
    """
    with tempfile.TemporaryDirectory(prefix="fairkd-") as name:
        file, log = MetricsFile(Path(name, "metrics.json")), Path(name, "log.txt")
        parameters = Path(name, "parameters.json")
        parameters.write_text(json.dumps(plain_values(experiment)), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"),
            *("-m", "fairkd.cli", "train", "student", "--params", str(parameters)),
            *("--metrics", str(file.path)),
        ]
        threads = str(max(1, (os.cpu_count() or 1) // processes))
        environment = {
            "OMP_NUM_THREADS": threads,
            **os.environ,
            PROGRESS_FILE: str(Path(name, "progress.json")),
        }
        with log.open("w") as stream:
            # In a session of its own: an interrupt of the notebook is handed on as a stop, and not twice.
            process = subprocess.Popen(
                command, stdout=stream, stderr=stream, env=environment, start_new_session=True
            )
            heard: dict[str, Any] = {}
            try:
                while process.poll() is None:
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
                    if stopping():
                        file.stop()
                    state = file.read()
                    if state != heard and not state.get("stopped"):
                        heard = state
                        hear(state["done"], state["total"], state["history"])
            finally:
                # After a second interrupt nobody waits for them any more.
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        state = file.read()
        if process.returncode and state.get("stopped"):
            raise StoppedError("stopped; train again to go on from there", state["history"])
        if process.returncode:
            # Last comes the launcher's own account of which process ended how.
            text = log.read_text(encoding="utf-8", errors="replace").split(_LAUNCHER)[0]
            said = "\n".join(text.splitlines()[:-1][-_LINES:])
            raise TrainingError(f"the {processes} processes ended with {process.returncode}:\n{said}")
