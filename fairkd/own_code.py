"""What tells apart the networks and methods that users write: their names stay while their code changes."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import timm
import torch
from timm.models import model_entrypoint
from torch import nn

from fairkd.store import digest, file_digest

#: What versions tell apart; an artefact's hash has these already.
_LIBRARIES = {"fairkd", "timm", "torch", "torchvision", "builtins", *sys.stdlib_module_names}
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib")})
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), torch.dtype, torch.device, Path)
#: What Python itself writes into a class; the values that count are visited one by one.
_OF_PYTHON = {
    "__annotations__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__static_attributes__",
}


def code_digest(*things: Any) -> str:
    """Return a hash of functions and classes as compiled, and of what they name.

    Comments and layout do not count. Followed are base classes, functions, classes, numbers, texts, arrays and
    containers and objects of these; of a module of one's own the whole file counts; of a library, the name.
    """
    return digest([*_Walk().of(things)])


def own_network(name: str) -> str | None:
    """Return a hash of the layers and the code of a network from outside the libraries; ``None`` for theirs.

    See :func:`code_digest`; its code is that of the function that makes it and of its modules' classes.
    """
    if not timm.is_model(name) or _of_library(make := model_entrypoint(name)):
        return None
    with torch.random.fork_rng(devices=[]):
        network = timm.create_model(name)
    kinds = {type(module) for module in network.modules()}
    return digest([str(network), code_digest(make, *sorted(kinds, key=lambda kind: kind.__qualname__))])


class _Walk:
    """Writes things down once each, without the addresses and file names that differ from process to process."""

    def __init__(self) -> None:
        # The things themselves: an identity is free for another once its thing is gone.
        self.seen: dict[int, tuple[int, Any]] = {}

    def of(self, things: Iterable[Any]) -> Iterator[Any]:
        for thing in things:
            yield from self.one(thing)

    def one(self, thing: Any) -> Iterator[Any]:
        if isinstance(thing, _PLAIN):
            yield f"{type(thing).__name__} {thing!r}"
            return
        if id(thing) in self.seen:
            yield self.seen[id(thing)][0]
            return
        self.seen[id(thing)] = len(self.seen), thing
        if isinstance(thing, torch.Tensor):
            thing = thing.detach().cpu().double().numpy()
        if isinstance(thing, np.ndarray):
            yield [str(thing.dtype), *thing.shape, hashlib.sha256(thing.tobytes()).hexdigest()]
        elif isinstance(thing, list | tuple):
            yield [*self.of(thing)]
        elif isinstance(thing, set | frozenset):
            yield sorted(map(repr, thing))
        elif isinstance(thing, dict):
            yield [[repr(key), *self.one(value)] for key, value in sorted(thing.items(), key=repr)]
        elif isinstance(thing, ModuleType):
            own = not _of_library(thing) and getattr(thing, "__file__", None)
            yield file_digest(Path(own)) if own else thing.__name__
        else:
            yield from self._code(thing)

    def _code(self, thing: Any) -> Iterator[Any]:
        if isinstance(thing, functools.partial):
            yield from self.of((thing.func, thing.args, thing.keywords))
        elif isinstance(thing, staticmethod | classmethod | MethodType):
            yield from self.one(thing.__func__)
        elif isinstance(thing, property):
            yield from self.of((thing.fget, thing.fset, thing.fdel))
        elif _of_library(thing):
            # Of a network its layers with their sizes.
            layers = isinstance(thing, nn.Module)
            yield str(thing) if layers else str(getattr(thing, "__qualname__", type(thing).__qualname__))
        elif isinstance(thing, FunctionType):
            yield thing.__qualname__
            yield from _written(thing.__code__)
            yield from self.of((thing.__defaults__, thing.__kwdefaults__, *_enclosed(thing)))
            known = thing.__globals__
            yield from self.of(known[name] for name in _names(thing.__code__) if name in known)
        elif hasattr(thing, "__wrapped__"):
            yield from self.one(thing.__wrapped__)
        elif isinstance(thing, type):
            yield thing.__qualname__
            yield from self.of(thing.__bases__)
            for name, value in sorted(vars(thing).items()):
                if name not in _OF_PYTHON:
                    yield name
                    yield from self.one(value)
        else:
            yield from self.of((type(thing), getattr(thing, "__dict__", None)))


def _of_library(thing: Any) -> bool:
    name = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None)
    root = str(name or "builtins").split(".")[0]
    if root in _LIBRARIES:
        return True
    module = sys.modules.get(root)
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(str(place).startswith(_INSTALLED) for place in places if place)


def _enclosed(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        # One whose variable has no value yet.
        with contextlib.suppress(ValueError):
            yield cell.cell_contents


def _written(code: CodeType) -> Iterator[Any]:
    yield code.co_code.hex()
    yield [*code.co_names]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield [*_written(constant)]
        else:
            yield sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)


def _names(code: CodeType) -> list[str]:
    """Return the names that the code and the functions in it look up, each once, in order."""
    inner = [
        name for constant in code.co_consts if isinstance(constant, CodeType) for name in _names(constant)
    ]
    return [*dict.fromkeys([*code.co_names, *inner])]
