"""Where the time of a cold epoch goes, what makes a teacher faster, and what a student costs at its start."""

from __future__ import annotations

import copy
import itertools
import statistics
from collections.abc import Callable
from typing import Any

import torch
from performance_bench import BATCH, LARGE, SMALL, UNLIMITED, Bench, seconds
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.profiler import ProfilerActivity

from fairkd.models import Network
from fairkd.training import CacheFolder, Precision
from fairkd.training.precision import autocast

#: Names of torch's operations by what they do; the first that is part of a name counts.
KINDS = {
    "convolutions": ("conv",),
    "batch normalisation": ("batch_norm",),
    "activations and pooling": ("relu", "threshold", "pool", "silu", "sigmoid"),
    "augmentation and gathering": ("index", "flip", "aten::cat", "pad"),
    "optimiser": ("adam",),
}


def profile(bench: Bench) -> dict[str, Any]:
    """Return the profile's findings, as shares, and times as fast as float32."""
    teacher = bench.network(LARGE[0], 0)
    cache = CacheFolder(bench.folder / "profile", UNLIMITED)
    experiment = bench.experiment(LARGE)
    few = bench.part(len(bench.images) // 4)
    trainers = [few.trainer(experiment, cache, teacher)]
    making = seconds(lambda: trainers.append(few.trainer(experiment, cache, teacher)))
    with_teacher = seconds(lambda: few.trainer(experiment, cache))
    epochs = [few.epochs(trainer) for trainer in trainers]
    epochs[0]()
    formats = bench.formats(SMALL)
    return {
        "operations": {name: _operations(bench, name) for name in formats},
        "forward": _forward(
            bench.network(SMALL[0], 0).eval(), bench.images[:BATCH].to(bench.device), formats, bench.rounds
        ),
        "student": {
            "making": making,
            "with teacher": with_teacher,
            "epoch": seconds(epochs[1]),
            "images": len(few.images),
        },
    }


def _operations(bench: Bench, precision: Precision) -> dict[str, float]:
    """Return the share of a cold epoch's operation time that each kind of operation takes."""
    options = {"precision": precision, "teacher_outputs": precision}
    epoch = bench.epochs(bench.trainer(bench.experiment(SMALL, **options), None))
    epoch()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.device != "cpu" else [])]
    with torch.profiler.profile(activities=activities) as profiler:
        epoch()
    times = dict.fromkeys([*KINDS, "the rest"], 0.0)
    for event in profiler.key_averages():
        time = event.self_cpu_time_total if bench.device == "cpu" else event.self_device_time_total
        name = event.key.lower()
        kinds = (kind for kind, parts in KINDS.items() if any(part in name for part in parts))
        times[next(kinds, "the rest")] += time
    total = sum(times.values())
    return {kind: time / total for kind, time in times.items()}


@torch.inference_mode()
def _forward(network: Network, images: Tensor, formats: list[Precision], rounds: int) -> dict[str, float]:
    """Return how many times as fast as float32 other ways are to compute a teacher's outputs."""
    mean, std = network.mean, network.std
    floats = ((images / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
    folded = _folded(network.backbone)
    frozen = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(network.backbone, floats)))
    works: dict[str, Callable[[], Any]] = {
        **{name: lambda name=name: _autocast(network.backbone, floats, name) for name in formats},
        "float32, batch normalisation folded into the convolutions": lambda: folded(floats),
        "float32, frozen and fused by TorchScript": lambda: frozen(floats),
    }
    for work in itertools.chain(works.values(), works.values()):
        work()
    times = [{name: seconds(work) for name, work in works.items()} for _ in range(3 * rounds)]
    return {name: statistics.median(one["float32"] / one[name] for one in times) for name in works}


def _autocast(network: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    with autocast(images.device, precision):
        return network(images)  # type: ignore[no-any-return]


def _folded(network: nn.Module) -> nn.Module:
    """Return a copy in which each batch normalisation right after its convolution is part of it."""
    network = copy.deepcopy(network)
    modules = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    for (name, convolution), (after, norm) in itertools.pairwise(modules):
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            network.set_submodule(name, fuse_conv_bn_eval(convolution, norm))
            network.set_submodule(after, nn.Identity())
    return network.to(memory_format=torch.channels_last)
