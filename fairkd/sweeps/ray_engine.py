"""A sweep's trainings as tasks of Ray, on this machine or on a cluster."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

from fairkd.errors import FairkdError, ParameterError, first_line
from fairkd.sweeps.engine import Job, Outcome, Running, core_count, visible_gpus
from fairkd.sweeps.worker import answer

_LOOPBACK = ("127.0.0.1", "::1")
_SECONDS_TO_ANSWER = 10.0


class RayEngine:
    """Tasks of Ray: on this machine, reachable from nowhere else, or on the cluster at ``address``.

    Args:
        address: of a running cluster, whose machines share the output folder; ``None``: start Ray here.
        workers: tasks at once; default: one a GPU (of the cluster), without GPUs one a core.
        device: as of the experiment; ``"cpu"``: tasks take no GPU.
        function: what a task does with its job.

    Raises:
        ParameterError: Ray is not installed, or there is no cluster at the address.
        FairkdError: Ray does not start.
    """

    def __init__(
        self,
        address: str | None,
        workers: int | None,
        device: str,
        function: Callable[[Job], dict[str, Any]] = answer,
    ) -> None:
        self._ray = import_ray(local=address is None)
        threads: int = 1
        if address is None:
            gpus = len(visible_gpus(device))
            self.slots = workers or gpus or core_count()
            threads = max(1, core_count() // self.slots)
            self._start(self.slots * threads, gpus)
        else:
            self._connect(address)
            found = self._ray.cluster_resources()
            gpus = int(found.get("GPU", 0)) if device in ("auto", "cuda") else 0
            self.slots = workers or gpus or int(found.get("CPU", 1))
        # A task cannot lie across GPUs: 3 on 2 GPUs take half of one each.
        share = 1 / -(-self.slots // gpus) if gpus else 0
        # Ray gives a task as many threads as it has CPUs. Whether to try again is the scheduler's decision.
        self._task = self._ray.remote(num_cpus=threads, num_gpus=share, max_retries=0)(function)
        self._jobs: dict[Any, tuple[str, float]] = {}

    def start(self, key: str, job: Job) -> None:
        """See :class:`Engine`."""
        self._jobs[self._task.remote(job)] = key, time.monotonic()

    def wait(self, seconds: float) -> list[Outcome]:
        """See :class:`Engine`."""
        if not self._jobs:
            return []
        ready, _ = self._ray.wait(list(self._jobs), num_returns=1, timeout=seconds)
        return [self._outcome(one) for one in ready]

    def running(self) -> list[Running]:
        """See :class:`Engine`."""
        return [Running(key, since) for key, since in self._jobs.values()]

    def close(self) -> None:
        """See :class:`Engine`."""
        for one in self._jobs:
            self._ray.cancel(one, force=True)
        self._ray.shutdown()

    def _outcome(self, reference: Any) -> Outcome:
        key, _ = self._jobs.pop(reference)
        try:
            return Outcome(key, **self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            return Outcome(key, error=f"the Ray task was lost: {type(error).__name__}: {first_line(error)}")

    def _start(self, cpus: int, gpus: int) -> None:
        try:
            self._ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=gpus,
                include_dashboard=False,
                # Jobs and results are kilobytes: everything large goes by way of files.
                object_store_memory=100 * 2**20,
                log_to_driver=False,
                logging_level="ERROR",
                _node_ip_address=_LOOPBACK[0],
            )
        except Exception as error:  # Ray's own word for "too slow" is no more than that.
            raise FairkdError(
                f"Ray does not start here: {first_line(error)} Or use --engine local."
            ) from error
        if self._ray.util.get_node_ip_address() not in _LOOPBACK:
            self._ray.shutdown()
            raise FairkdError(
                "Ray was imported before the sweep and would listen on the network; start the sweep in a new process"
            )

    def _connect(self, address: str) -> None:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            if port.isdecimal():
                # Ray itself would try for ten minutes.
                socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()
            self._ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (OSError, OverflowError, RuntimeError, ValueError) as error:
            raise ParameterError(
                f"--address {address}: no Ray cluster answers there: {first_line(error)}"
            ) from error


def import_ray(*, local: bool) -> Any:
    """Return Ray; ``local``: one that is to run on this machine only.

    Raises:
        ParameterError: it is not installed.
    """
    # All three are read when Ray is imported. No word about the user goes anywhere.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray 2.60 warns that a later version will leave this to the user; the scheduler deals GPUs out by num_gpus.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if local:
        # Without it, Ray replaces the loopback address by the machine's own; the name tells of where that began.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ParameterError("--engine ray needs Ray: pip install 'fairkd[sweep]'") from error
    return ray
