"""What the losses share: precision, safe normalisation, and checks of what they are given."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, ParamSpec

import torch
from torch import Tensor

from fairkd.errors import ParameterError

P = ParamSpec("P")

#: ``"mean"`` over the batch, or ``"none"``: one value a sample, ``(batch,)``, where the loss is a mean of such.
Reduction = Literal["mean", "none"]


def in_full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Make ``loss`` compute in float32 when it is given half precision, with autocast switched off.

    Autocast would send matrix products back to half precision, where squared norms overflow at 65,504.
    """

    @functools.wraps(loss)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        device = tensors[0].device.type if tensors else "cpu"
        with torch.autocast(device_type=device, enabled=False):
            return loss(*map(_widened, args), **{name: _widened(value) for name, value in kwargs.items()})

    return wrapper


def unit_vectors(vectors: Tensor, dim: int = -1, *, smallest: float = 1e-12) -> Tensor:
    """Divide by the L2 norm along ``dim``; a vector no longer than ``smallest`` is left as it is.

    Dividing such a vector by a small constant instead would give it a gradient of one over that constant.
    """
    norms = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return vectors / torch.where(norms > smallest, norms, 1.0)


def reduced(values: Tensor, reduction: Reduction, place: str) -> Tensor:
    """Return the mean of ``values (batch, ...)``, or for ``"none"`` each sample's mean ``(batch,)``.

    Raises:
        ParameterError: another reduction.
    """
    check_reduction(reduction, place)
    return values.mean() if reduction == "mean" else values.flatten(1).mean(dim=1)


def check_reduction(reduction: str, place: str) -> None:
    """Check that ``reduction`` is ``"mean"`` or ``"none"``.

    Raises:
        ParameterError: another one.
    """
    if reduction not in ("mean", "none"):
        raise ParameterError(f"{place}: reduction is {reduction!r}; allowed: 'mean', 'none'")


def check_loss(loss: object, place: str, batch: int, reduction: Reduction, *, whole: bool = False) -> None:
    """Check what a loss of the user's returned: a scalar, or for ``"none"`` one value a sample, ``(batch,)``.

    ``whole``: a loss that compares samples with each other may be a scalar all the same.

    Raises:
        ParameterError: naming what was returned and what is needed.
    """
    shapes = [()] * (reduction == "mean" or whole) + [(batch,)] * (reduction == "none")
    shape = tuple(loss.shape) if isinstance(loss, Tensor) else None
    if shape not in shapes:
        given = type(loss).__name__ if shape is None else f"a tensor of shape {shape}"
        needed = " or ".join(f"shape {one}" if one else "a scalar" for one in shapes)
        raise ParameterError(
            f"{place} with reduction={reduction!r} returned {given}; needed: a tensor, {needed}"
        )


def check_pair(
    place: str, student: Tensor, teacher: Tensor, layout: tuple[str, ...], same: tuple[str, ...]
) -> None:
    """Check that both tensors have the ``layout`` and agree in the dimensions ``same``.

    A layout that ends in ``"..."`` allows further dimensions.

    Raises:
        ParameterError: naming both shapes and what is allowed.
    """
    fits = all(_has_layout(tensor, layout) for tensor in (student, teacher))
    if not fits or any(student.shape[layout.index(d)] != teacher.shape[layout.index(d)] for d in same):
        raise ParameterError(
            f"{place}: the student's tensor has shape {tuple(student.shape)} and the teacher's "
            f"{tuple(teacher.shape)}; allowed: both ({', '.join(layout)}), not empty, "
            f"with equal {' and '.join(same)}"
        )


def check_same_shape(place: str, student: Tensor, teacher: Tensor) -> None:
    """Check that both tensors are ``(batch, ...)`` of one shape.

    Raises:
        ParameterError: naming both shapes and what is allowed.
    """
    if student.shape != teacher.shape or not _has_layout(student, ("batch", "...")):
        raise ParameterError(
            f"{place}: the student's tensor has shape {tuple(student.shape)} and the teacher's "
            f"{tuple(teacher.shape)}; allowed: one shape (batch, ...), not empty"
        )


def check_indices(place: str, name: str, values: Tensor, batch: int, count: int) -> None:
    """Check that ``values`` are integers ``(batch,)`` from 0 to ``count - 1``.

    The range is checked on the CPU only: to read values back from another device, its queue would have to be
    emptied in every step, and indexing out of range stops there anyhow.

    Raises:
        ParameterError: naming what was given and what is allowed.
    """
    allowed = f"allowed: integers of shape ({batch},) from 0 to {count - 1}"
    if values.is_floating_point() or values.dtype == torch.bool or values.shape != (batch,):
        raise ParameterError(f"{place}: {name} is {values.dtype} of shape {tuple(values.shape)}; {allowed}")
    if values.device.type != "cpu":
        return
    low, high = (int(extreme) for extreme in torch.aminmax(values))
    if low < 0 or high >= count:
        raise ParameterError(f"{place}: {name} lies between {low} and {high}; {allowed}")


def check_positive(place: str, name: str, value: float) -> None:
    """Check that ``value`` is above 0 and finite.

    Raises:
        ParameterError: naming the value and what is allowed.
    """
    if not 0 < value < math.inf:
        raise ParameterError(f"{place}: {name} is {value}; allowed: finite numbers above 0")


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value


def _has_layout(tensor: Tensor, layout: tuple[str, ...]) -> bool:
    fits = tensor.ndim >= len(layout) if layout[-1] == "..." else tensor.ndim == len(layout)
    return fits and tensor.numel() > 0
