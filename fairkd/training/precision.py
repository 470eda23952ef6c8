"""Which number format a network trains fastest in on this machine: measured, and remembered."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import statistics
import time
from typing import Literal, cast

import torch
import torch.nn.functional as F

from fairkd.data.cache import cache_folder
from fairkd.errors import ArtifactError
from fairkd.models import Network
from fairkd.reproducibility import version_of
from fairkd.store import digest, read_json, write_json
from fairkd.training.memory import is_out_of_memory

Precision = Literal["float32", "bfloat16", "float16"]

#: A shorter format must be so many times as fast: close calls would fall one way today and the other tomorrow.
ADVANTAGE = 1.25
#: So many times slower on a few images, a shorter format is not tried on a whole batch: without hardware for it, a step
#: of a large network would take minutes.
HOPELESS = 2.0
_FEW = 2
_ROUNDS = 3


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[object]:
    """Return the context in which a network computes with ``precision``."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))


def fastest_precision(
    network: Network, image_size: tuple[int, int], batch_size: int, device: str
) -> Precision:
    """Return ``bfloat16`` or ``float16`` where training steps are at least 1.25 times as fast, else ``float32``.

    The first time, a few steps are measured on a copy of the network; the answer is kept in the cache folder,
    by network, batch, device and version of torch, so that a rerun trains in the same format.

    Args:
        network: what shall be trained; it is not changed.
        image_size: height and width, pixels.
        batch_size: images a step.
        device: where it is trained.
    """
    there = torch.device(device)
    candidate = _candidate(there)
    if candidate == "float32":
        return candidate
    shape = (batch_size, 3, *image_size)
    structure = hashlib.sha256(repr(network).encode()).hexdigest()
    key = digest([structure, shape, device_name(there), torch.get_num_threads(), version_of("torch")], 24)
    path = cache_folder(None) / f"precision-{key}.json"
    with contextlib.suppress(ArtifactError, KeyError, TypeError):
        remembered = read_json(path)["precision"]
        if remembered in ("float32", candidate):
            return cast(Precision, remembered)
    ratio = _speed_up_that_fits(network, shape, there, candidate)
    chosen: Precision = candidate if ratio >= ADVANTAGE else "float32"
    # Without a place to remember it, it is measured again the next time.
    with contextlib.suppress(ArtifactError):
        write_json(path, {"precision": chosen, "measured": candidate, "times_as_fast": round(ratio, 3)})
    return chosen


def _candidate(device: torch.device) -> Precision:
    if device.type == "cuda":
        # Older GPUs compute bfloat16 by way of float32.
        return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float16"
    return "bfloat16" if device.type == "cpu" else "float32"


def device_name(device: torch.device) -> str:
    """Return what tells apart devices that compute differently."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.backends.cpu.get_cpu_capability()} {os.cpu_count()}"


def _speed_up_that_fits(
    network: Network, shape: tuple[int, ...], device: torch.device, candidate: Precision
) -> float:
    """Measure on a smaller batch what does not fit into memory; 1.0 where nothing does."""
    count = shape[0]
    while count >= _FEW:
        try:
            return _speed_up(network, (count, *shape[1:]), device, candidate)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Not in the handler: until it ends, the error holds what the failed attempt computed.
        count //= 2
    return 1.0


def _speed_up(network: Network, shape: tuple[int, ...], device: torch.device, candidate: Precision) -> float:
    """Return how many times as fast ``candidate`` is as float32, the median of measurements side by side."""
    with torch.random.fork_rng(devices=[]):
        copied = copy.deepcopy(network).to(device).train()
        images = torch.rand(shape).to(device).contiguous(memory_format=torch.channels_last)
        labels = torch.zeros(shape[0], dtype=torch.int64, device=device)

        def ratio(count: int) -> float:
            plain, short = (
                _seconds(copied, images[:count], labels[:count], precision)
                for precision in ("float32", candidate)
            )
            return plain / short

        few = max(ratio(_FEW) for _ in range(_ROUNDS))
        if few < 1 / HOPELESS:
            return few
        ratio(shape[0])  # The first steps set things up.
        ratios = [ratio(shape[0])]
        while len(ratios) < _ROUNDS and ratios[0] >= 1 / ADVANTAGE:
            ratios.append(ratio(shape[0]))
    return statistics.median(ratios)


def _seconds(network: Network, images: torch.Tensor, labels: torch.Tensor, precision: Precision) -> float:
    started = time.perf_counter()
    with autocast(images.device, precision):
        logits = network(images).logits
    F.cross_entropy(logits.float(), labels).backward()
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)
    return time.perf_counter() - started
