"""A sweep's trainings in worker processes of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from fairkd.progress import PROGRESS_FILE
from fairkd.sweeps.engine import Job, Outcome, Running, core_count

_COMMAND = ("-c", "from fairkd.sweeps.worker import main; main()")
_SECONDS_TO_END = 5.0


class LocalEngine:
    """Worker processes; each is started for its first job and replaced when it dies.

    Args:
        workers: how many; default: one a GPU, without GPUs one a core.
        gpus: names as in ``CUDA_VISIBLE_DEVICES``; they are dealt out in turn. Threads are divided evenly.
        logs: folder for what the workers print.
    """

    def __init__(self, workers: int | None, gpus: list[str], logs: Path) -> None:
        self.slots = workers or len(gpus) or core_count()
        self._outcomes: queue.SimpleQueue[tuple[_Worker, bytes]] = queue.SimpleQueue()
        self._scratch = tempfile.TemporaryDirectory(prefix="fairkd-sweep-")
        self._workers = [
            _Worker(
                worker_environment(number, self.slots, gpus),
                logs / f"worker-{number + 1}.log",
                Path(self._scratch.name) / f"{number}.json",
                self._outcomes,
            )
            for number in range(self.slots)
        ]

    def start(self, key: str, job: Job) -> None:
        """See :class:`Engine`."""
        next(worker for worker in self._workers if worker.key is None).start(key, job)

    def wait(self, seconds: float) -> list[Outcome]:
        """See :class:`Engine`."""
        outcomes: list[Outcome] = []
        with contextlib.suppress(queue.Empty):
            while True:
                worker, line = self._outcomes.get(timeout=0 if outcomes else seconds)
                outcome = worker.ended(line)
                if outcome is not None:
                    outcomes.append(outcome)
        return outcomes

    def running(self) -> list[Running]:
        """See :class:`Engine`."""
        return [worker.running() for worker in self._workers if worker.key is not None]

    def close(self) -> None:
        """See :class:`Engine`."""
        for worker in self._workers:
            worker.stop()
        self._scratch.cleanup()


class _Worker:
    """A process that answers one job at a time."""

    def __init__(
        self,
        environment: dict[str, str],
        log: Path,
        progress: Path,
        outcomes: queue.SimpleQueue[tuple[_Worker, bytes]],
    ) -> None:
        self.key: str | None = None
        self._environment = {**os.environ, **environment, PROGRESS_FILE: str(progress)}
        self._log, self._progress, self._outcomes = log, progress, outcomes
        self._process: subprocess.Popen[bytes] | None = None
        self._since = 0.0

    def start(self, key: str, job: Job) -> None:
        self.key, self._since = key, time.monotonic()
        self._progress.unlink(missing_ok=True)
        if self._process is None:
            self._launch()
        # A process that has died in the meantime is noticed by its reader, which closes the pipe.
        with contextlib.suppress(OSError, ValueError):
            assert self._process is not None and self._process.stdin is not None
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()

    def ended(self, line: bytes) -> Outcome | None:
        """Return what an answer, or the empty line of a dead process, means; ``None`` if nothing was asked."""
        key, self.key = self.key, None
        if line.endswith(b"\n"):
            return None if key is None else Outcome(key, **json.loads(line))
        assert self._process is not None
        code = self._process.wait()
        self._process = None
        return None if key is None else Outcome(key, error=f"the worker process {_cause(code)}")

    def running(self) -> Running:
        assert self.key is not None
        pid = None if self._process is None else self._process.pid
        return Running(self.key, self._since, pid, _read_progress(self._progress))

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _launch(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *_COMMAND],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                # Ctrl-C is for the parent: it decides what becomes of its workers.
                start_new_session=True,
            )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None and process.stdin is not None
        with process.stdout:
            for line in process.stdout:
                if line.endswith(b"\n"):
                    self._outcomes.put((self, line))
        # A job that the process did not live to read may still be on its way to it.
        with contextlib.suppress(OSError):
            process.stdin.close()
        self._outcomes.put((self, b""))


def worker_environment(number: int, workers: int, gpus: list[str]) -> dict[str, str]:
    """Return what a worker's environment adds: its share of the threads, and its GPU.

    A smaller ``OMP_NUM_THREADS`` of the user's own stays.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    limit = int(given) if given.isdecimal() else core_count()
    threads = max(1, min(limit, core_count() // workers))
    environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return {**environment, "CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else environment


def _cause(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
    return f"was killed ({name}); out of memory?" if name == "SIGKILL" else f"was killed ({name})"


def _read_progress(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        state = json.loads(path.read_text(encoding="utf-8"))
        return f"{state['description']} {state['done']}/{state['total']}"
    return ""
