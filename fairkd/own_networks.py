"""What tells apart the networks that users register with timm: their names stay while their code changes."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

import timm
import torch
from timm.models import model_entrypoint
from torch import nn

from fairkd.plugin import plugin_of
from fairkd.store import digest

#: What versions tell apart; an artefact's hash has these already.
_LIBRARIES = ("fairkd", "timm", "torch", "torchvision")


def own_network(name: str) -> str | None:
    """Return a hash of the layers and the code of a network from outside the libraries; ``None`` for theirs.

    Its code is that of the function that makes it and of its modules' classes, as compiled: comments and layout do
    not count. What these call elsewhere does not count either, unless a plugin holds them, whose whole text counts.
    """
    if not timm.is_model(name) or _of_library(make := model_entrypoint(name)):
        return None
    with torch.random.fork_rng(devices=[]):
        network = timm.create_model(name)
    code = [[make.__qualname__, *_written(make.__code__)], *own_layers(network)]
    text = {"plugin": found} if (found := plugin_of(make)) else {}
    return digest({"layers": str(network), "code": code, **text})


def own_layers(network: nn.Module) -> list[list[Any]]:
    """Return name and code of every method of a network's classes that are of no library, base classes included."""
    kinds = {kind for module in network.modules() for kind in type(module).__mro__ if not _of_library(kind)}
    return [
        [function.__qualname__, *_written(function.__code__)]
        for kind in sorted(kinds - {object}, key=lambda kind: (kind.__qualname__, kind.__module__))
        for _, function in sorted(vars(kind).items())
        if isinstance(function, FunctionType)
    ]


def _of_library(thing: Any) -> bool:
    return str(thing.__module__).split(".")[0] in _LIBRARIES


def _written(code: CodeType) -> Iterator[Any]:
    """Write compiled code down, without the addresses and file names that differ from process to process."""
    yield code.co_code.hex()
    yield [*code.co_names]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield [*_written(constant)]
        else:
            yield sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)
