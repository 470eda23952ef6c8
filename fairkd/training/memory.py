"""A step that does not fit into memory: how much it would need, and what it has changed before it failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

#: How torch's allocators, which raise a bare ``RuntimeError``, say it.
_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")

#: Parts of a batch are not made smaller: parts of 4 or more leave no image alone, which batch normalisation
#: cannot train on.
SMALLEST_PART = 4


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, on the CPU or on a GPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


class StepState:
    """What computing a step's gradients changes besides them: statistics of modules, torch's generators.

    Args:
        modules: those that take part in the step.
        device: where they are.
    """

    def __init__(self, modules: Iterable[nn.Module], device: torch.device | str) -> None:
        self._buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
        self._generator = torch.get_rng_state()
        self._device = torch.device(device)
        self._on_gpu = self._device.type == "cuda"
        self._gpu_generator = torch.cuda.get_rng_state(self._device) if self._on_gpu else None

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back, so that the step can be computed again, and free what the failed attempt held."""
        for buffer, value in self._buffers:
            buffer.copy_(value)
        torch.set_rng_state(self._generator)
        if self._gpu_generator is not None:
            torch.cuda.set_rng_state(self._gpu_generator, self._device)
            torch.cuda.empty_cache()


def activation_bytes(network: nn.Module, images: Tensor) -> float | None:
    """Return the bytes an image that a network keeps for its backward pass, measured on up to two images.

    Args:
        network: its statistics are left alone.
        images: as the network takes them, ``(batch, 3, height, width)``.

    Returns:
        ``None`` where there is no memory even for that.
    """
    few, training, kept = images[:2], network.training, dict[int, int]()
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    network.eval()
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, _unpack):
            # Held until the end: what is freed would give its address to another tensor.
            outputs = network(few)
        del outputs
    except (RuntimeError, MemoryError):
        return None
    finally:
        network.train(training)
    return sum(kept.values()) / len(few)


_unpack: Callable[[Tensor], Tensor] = lambda tensor: tensor  # noqa: E731


def describe_shortage(network: nn.Module, images: Tensor, part: int, *, several: bool = False) -> str:
    """Say what a batch needs and what can be done.

    Args:
        network: the one in training.
        images: the batch ``(batch, 3, height, width)``.
        part: how many of its images were computed at once.
        several: whether several processes train, which cannot find the size of parts by themselves.
    """
    size, need = len(images), activation_bytes(network, images)
    estimate = (
        "" if need is None else f", about {_bytes(part * need)} for the network ({_bytes(need)} an image)"
    )
    smaller = "lower image_size, or take a smaller network"
    if part > SMALLEST_PART:
        auto = "" if several else "micro_batch=auto or "
        smaller = f"set {auto}micro_batch={max(SMALLEST_PART, part // 2)}, or lower batch_size"
    at_once = "" if part >= size else f", {part} at once"
    return f"a batch of {size} images{at_once} does not fit into memory{estimate}; {smaller}"


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
