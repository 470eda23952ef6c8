"""The processes that train one network together: one a device, all with the same weights.

Every process computes its share of a batch. The outputs of the whole batch are then gathered, so that each loss,
adversary and group statistic is computed on all of it, by the same code as with one process; only the network's
gradients are summed. Batch normalisation takes its statistics over the whole batch as well.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fairkd.data.batches import even_bounds
from fairkd.errors import ParameterError
from fairkd.models import Outputs

T = TypeVar("T")
_BATCH_NORM = inspect.signature(F.batch_norm)


class Devices:
    """The process ``rank`` of ``count``; a single one computes everything itself and sends nothing."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count

    @property
    def several(self) -> bool:
        """Whether there are other processes."""
        return self.count > 1

    def agree(self, make: Callable[[], T]) -> T:
        """Return what ``make`` returns in the first process; the others do not call it."""
        if not self.several:
            return make()
        made: list[Any] = [make() if self.rank == 0 else None]
        dist.broadcast_object_list(made)
        return made[0]  # type: ignore[no-any-return]

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set in any process."""
        if not self.several:
            return flag
        flags: list[bool] = [False] * self.count
        dist.all_gather_object(flags, flag)
        return max(flags)

    def forward(self, network: Callable[[Tensor], Outputs], images: Tensor) -> Outputs:
        """Return the outputs of this process's share of ``images (batch, 3, height, width)``."""
        if not self.several:
            return network(images)
        if len(images) < self.count:
            raise ParameterError(
                f"a step of {len(images)} images cannot be shared by {self.count} processes; raise batch_size or "
                "micro_batch, or start fewer processes"
            )
        bounds = even_bounds(len(images), self.count)
        with self._own_generator(images.device), _GlobalBatchNorm(len(images)):
            return network(images[bounds[self.rank] : bounds[self.rank + 1]])

    def gather(self, output: Tensor, size: int) -> Tensor:
        """Return an output of all ``size`` images, in the order of the batch, with its gradient."""
        return _Gather.apply(output, self, size) if self.several else output

    def sum_gradients(self, network: nn.Module) -> None:
        """Let every gradient of the network's parameters be the sum over all processes, from now on."""
        # As hooks, they also act on what a gradient projection asks for before it projects.
        for parameter in network.parameters() if self.several else ():
            if parameter.requires_grad:
                parameter.register_hook(_sum)

    def predictions(self, predict: Callable[[Any], np.ndarray], images: Any) -> np.ndarray:
        """Return ``predict(images)``, one row an image, computed in equal shares and none of them twice."""
        if not self.several:
            return predict(images)
        bounds = even_bounds(len(images), self.count)
        own = images[bounds[self.rank] : bounds[self.rank + 1]]
        parts: list[Any] = [None] * self.count
        dist.all_gather_object(parts, predict(own) if len(own) else None)
        return np.concatenate([part for part in parts if part is not None])

    @contextlib.contextmanager
    def _own_generator(self, device: torch.device) -> Iterator[None]:
        # Dropout must not repeat itself in every share; the generator that all have in common stays in step.
        seed = int(torch.randint(2**62, ())) + self.rank
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield


_CURRENT = [Devices()]


def current_devices() -> Devices:
    """Return the processes that this one trains with."""
    return _CURRENT[0]


def join_processes(device: str = "auto") -> Devices:
    """Join the other processes of ``accelerate launch`` or ``torchrun``; started alone, do nothing.

    Args:
        device: as in :class:`fairkd.config.Experiment`; ``cpu`` keeps off the GPUs.

    Raises:
        ParameterError: accelerate is not installed, or there are more processes here than GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ or _CURRENT[0].several:
        return _CURRENT[0]
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    if not on_cpu and local > torch.cuda.device_count():
        raise ParameterError(
            f"{local} processes were started on {torch.cuda.device_count()} GPUs; start one a GPU, or use "
            "-p device cpu"
        )
    try:
        from accelerate import PartialState
    except ImportError:
        raise ParameterError(
            "training in several processes needs accelerate; install it: pip install 'fairkd[accelerate]'"
        ) from None
    state = PartialState(cpu=on_cpu)
    _CURRENT[0] = Devices(state.process_index, state.num_processes)
    return _CURRENT[0]


class _Gather(torch.autograd.Function):
    """All shares in order. Every process computes the same loss of them: back goes the own share's gradient."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, devices: Devices, size: int) -> Tensor:
        bounds = even_bounds(size, devices.count)
        ctx.start, ctx.stop = bounds[devices.rank], bounds[devices.rank + 1]
        # Shares differ by at most one image: padded to the largest, as all_gather needs equal shapes.
        largest = bounds[1]
        padded = own.new_zeros(largest, *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in range(devices.count)]
        dist.all_gather(parts, padded)
        return torch.cat([part[: bounds[n + 1] - bounds[n]] for n, part in enumerate(parts)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.start : ctx.stop], None, None


class _Sum(torch.autograd.Function):
    """The sum over all processes; each one's copy of it has a gradient, and their sum goes back."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        return _sum(own)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _sum(gradients[0])


def _sum(own: Tensor) -> Tensor:
    total = own.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


class _GlobalBatchNorm(TorchFunctionMode):
    """Batch normalisation with the statistics of all ``size`` images, on any backend and in timm's layers too."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is not F.batch_norm:
            return func(*args, **(kwargs or {}))
        bound = _BATCH_NORM.bind(*args, **(kwargs or {}))
        bound.apply_defaults()
        given = bound.arguments
        return _normalized(self.size, **given) if given["training"] else func(*args, **(kwargs or {}))


def _normalized(
    size: int,
    input: Tensor,  # noqa: A002 (torch's names)
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    values = input.float()
    others = [axis for axis in range(input.ndim) if axis != 1]
    shape = [1, -1, *[1] * (input.ndim - 2)]
    count = size * input[0, 0].numel()
    mean = _Sum.apply(values.sum(others)) / count
    centred = values - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(others)) / count
    with torch.no_grad():
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * count / max(count - 1, 1)).to(running_var.dtype), momentum)
    scale = (variance + eps).rsqrt() * (1 if weight is None else weight)
    result = centred * scale.view(shape)
    shifted: Tensor = result if bias is None else result + bias.view(shape)
    return shifted.to(input.dtype)
