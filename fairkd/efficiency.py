"""What a model costs: parameters, multiply-accumulates, size on disk, memory, latency, energy."""

from __future__ import annotations

import platform
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from fairkd.models import Network

#: The larger of the two batch sizes that are timed.
BATCH = 64
NO_ENERGY = "not offered here"
_RAPL = Path("/sys/class/powercap")
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Timing:
    """Times of one call in milliseconds, and its mean energy in millijoules, NaN where no counter offers it."""

    median_ms: float
    p95_ms: float
    energy_mj: float = float("nan")


def measure(network: Network, image_size: int, weights: Path | None = None) -> dict[str, Any]:
    """Measure a network on the device where it is.

    Args:
        network: on the device where it is to be timed.
        image_size: height and width in pixels.
        weights: the file whose size is taken; ``None``: 4 bytes a parameter.

    Returns:
        ``param_count``, ``macs`` (a forward pass of one image), ``weights_mb`` (10^6 bytes), then what
        :func:`measure_calls` returns, with the ``peak_memory_mb`` of both batch sizes (:func:`peak_memory_mb`).
    """
    device = network.mean.device
    size = weights.stat().st_size if weights else 4 * network.param_count

    def caller(batch_size: int) -> Callable[[], object]:
        images = _images(network, image_size, batch_size)
        return lambda: network(images)

    network.eval()
    with torch.no_grad():
        times = measure_calls(caller, device, f"torch {torch.__version__}")
    return {
        "param_count": network.param_count,
        "macs": macs(network, image_size),
        "weights_mb": size / 1e6,
        **times,
        "peak_memory_mb": peak_memory_mb(network, image_size),
        "batch64_peak_memory_mb": peak_memory_mb(network, image_size, batch_size=BATCH),
    }


def measure_calls(
    caller: Callable[[int], Callable[[], object]], device: torch.device, runtime: str
) -> dict[str, Any]:
    """Time a model for one image and for a batch of 64, whatever runs it.

    Args:
        caller: makes, for a batch size, the call to be timed.
        device: where the model runs; its energy counter is read, and a GPU is waited for.
        runtime: name and version of what runs the model.

    Returns:
        ``latency_ms`` and ``latency_p95_ms`` of one image, ``batch64_latency_ms`` and
        ``batch64_latency_p95_ms`` of a batch of 64, ``throughput`` (images a second, batch of 64),
        ``energy_mj`` (millijoules an image, batch of 1), ``energy_source``, ``device``, ``hardware`` and
        ``runtime``.
    """
    counter = energy_counter(device)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    one = time_calls(caller(1), repetitions=50, wait=wait, energy=counter.read if counter else None)
    many = time_calls(caller(BATCH), repetitions=20, warm_up=2, wait=wait)
    return {
        "latency_ms": one.median_ms,
        "latency_p95_ms": one.p95_ms,
        "batch64_latency_ms": many.median_ms,
        "batch64_latency_p95_ms": many.p95_ms,
        "throughput": 1000 * BATCH / many.median_ms,
        "energy_mj": one.energy_mj,
        "energy_source": counter.source if counter else NO_ENERGY,
        "device": str(device),
        "hardware": hardware(device),
        "runtime": runtime,
    }


def time_calls(
    call: Callable[[], object],
    *,
    repetitions: int,
    warm_up: int = 5,
    wait: Callable[[], None] = lambda: None,
    energy: Callable[[], float] | None = None,
) -> Timing:
    """Time a call, after a warm-up.

    Args:
        call: what is timed.
        repetitions: timed calls, at least 1.
        warm_up: calls before, which are not timed.
        wait: returns when the device has finished what it was given.
        energy: reads a counter of millijoules before the first and after the last timed call.
    """
    for _ in range(warm_up):
        call()
    wait()
    before = energy() if energy else float("nan")
    times = []
    for _ in range(repetitions):
        started = time.perf_counter()
        call()
        wait()
        times.append(1000 * (time.perf_counter() - started))
    used = energy() - before if energy else float("nan")
    return Timing(float(np.median(times)), float(np.percentile(times, 95)), used / repetitions)


def macs(network: Network, image_size: int) -> int:
    """Return multiply-accumulates of one image's forward pass, counted by torch's own counter (FLOPs / 2)."""
    images = _images(network, image_size, 1)
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    return int(counter.get_total_flops() // 2)


@torch.no_grad()
def peak_memory_mb(network: Network, image_size: int, *, batch_size: int = 1) -> float:
    """Return the memory that a forward pass needs at its peak, 10^6 bytes: weights, input and intermediate results.

    On a GPU the intermediate results are what ``torch.cuda.max_memory_allocated`` rises by, kernels' scratch
    memory included. Elsewhere they are the tensors alive at the same time, counted as they come and go; what a
    kernel uses inside one operation is not seen there.
    """
    images = _images(network, image_size, batch_size)
    network.eval()
    network(images)
    known = (*network.parameters(), *network.buffers(), images)
    held = int(sum(tensor.nbytes for tensor in known))
    if images.device.type == "cuda":
        before = int(torch.cuda.memory_allocated(images.device))
        torch.cuda.reset_peak_memory_stats(images.device)
        network(images)
        return (held + int(torch.cuda.max_memory_allocated(images.device)) - before) / 1e6
    with _Allocations(known) as allocations:
        network(images)
    peak: int = allocations.peak
    return (held + peak) / 1e6


class _Allocations(TorchDispatchMode):
    """The bytes of the tensors that operations make while this is active; ``peak`` of those alive together."""

    def __init__(self, known: tuple[torch.Tensor, ...]) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self._seen = weakref.WeakSet(tensor.untyped_storage() for tensor in known)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        results = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(results):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage() not in self._seen:
                self._add(tensor.untyped_storage())
        return results

    def _add(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self._seen.add(storage)
        weakref.finalize(storage, self._drop, size)
        self.alive += size
        self.peak = max(self.peak, self.alive)

    def _drop(self, size: int) -> None:
        self.alive -= size


@dataclass(frozen=True)
class EnergyCounter:
    """``read`` returns millijoules since some moment; ``source`` says whose."""

    source: str
    read: Callable[[], float]


def energy_counter(device: torch.device, folder: Path = _RAPL) -> EnergyCounter | None:
    """Return the machine's energy counter for a device, or ``None`` where none can be read.

    For a CPU it is that of the whole package (RAPL), with whatever else runs on it; for a GPU the driver's
    (NVML, needs the package ``nvidia-ml-py``).
    """
    return _nvml(device) if device.type == "cuda" else _rapl(folder)


def _rapl(folder: Path) -> EnergyCounter | None:
    # Zones with a second colon are parts of a package that are in its count already.
    zones = [zone for zone in sorted(folder.glob("intel-rapl:*")) if zone.name.count(":") == 1]
    try:
        ranges = [int((zone / "max_energy_range_uj").read_text()) for zone in zones]
        last = [int((zone / "energy_uj").read_text()) for zone in zones]
    except (OSError, ValueError):
        return None
    total = 0

    def read() -> float:
        nonlocal total
        for place, zone in enumerate(zones):
            now = int((zone / "energy_uj").read_text())
            total += (now - last[place]) % (ranges[place] + 1)  # The counter starts again at its range.
            last[place] = now
        return total / 1000

    return EnergyCounter("RAPL, whole CPU package", read) if zones else None


def _nvml(device: torch.device) -> EnergyCounter | None:
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # Not installed, no driver, or a GPU without the counter: there is nothing to read.
        return None
    return EnergyCounter("NVML, whole GPU", lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)))


def hardware(device: torch.device) -> str:
    """Return the name of the processor, and for a CPU the number of threads that torch uses."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    name = next(_cpu_names(), "") or platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' * (threads != 1)}"


def _cpu_names() -> Iterator[str]:
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                yield line.partition(":")[2].strip()


def _images(network: Network, image_size: int, batch_size: int) -> torch.Tensor:
    """Return float images on the network's device, in the memory layout that training uses."""
    shape = batch_size, 3, image_size, image_size
    return torch.rand(shape, device=network.mean.device).to(memory_format=torch.channels_last)
