"""What a model costs: parameters, multiply-accumulates, size on disk, latency."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from fairkd.models import Network


def macs(network: Network, image_size: int) -> int:
    """Return multiply-accumulates of one image's forward pass, counted by torch's own counter (FLOPs / 2)."""
    images = torch.zeros(1, 3, image_size, image_size, device=network.mean.device)
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    return int(counter.get_total_flops() // 2)


@torch.no_grad()
def latency_ms(
    network: Network, image_size: int, *, batch_size: int = 1, repetitions: int = 30, warm_up: int = 5
) -> float:
    """Return the median time of a forward pass in milliseconds, after a warm-up, on the network's device."""
    device = network.mean.device
    shape = batch_size, 3, image_size, image_size
    images = torch.rand(shape, device=device).to(memory_format=torch.channels_last)
    network.eval()
    times = []
    for _ in range(warm_up + repetitions):
        _wait_for(device)
        started = time.perf_counter()
        network(images)
        _wait_for(device)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[warm_up:])


def measure(network: Network, image_size: int, weights: Path | None = None) -> dict[str, Any]:
    """Measure a network.

    Args:
        network: on the device where it is to be timed.
        image_size: height and width in pixels.
        weights: the file whose size is taken; ``None``: 4 bytes a parameter.

    Returns:
        ``param_count``, ``macs`` (a forward pass of one image), ``weights_mb`` (10^6 bytes), ``latency_ms`` (median,
        batch of 1), ``throughput`` (images a second, batch of 64), ``device``.
    """
    size = weights.stat().st_size if weights else 4 * network.param_count
    return {
        "param_count": network.param_count,
        "macs": macs(network, image_size),
        "weights_mb": size / 1e6,
        "latency_ms": latency_ms(network, image_size),
        "throughput": 64_000 / latency_ms(network, image_size, batch_size=64, repetitions=5, warm_up=1),
        "device": str(network.mean.device),
    }


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
