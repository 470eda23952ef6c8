"""A Python file of the user's, run so that the networks and methods that it registers are known by name."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import linecache
import re
import sys
import traceback
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any, Literal, TypeVar

from fairkd.errors import ParameterError, check_type, first_line
from fairkd.parameters import Parameters

Kind = Literal["distiller", "mitigation"]
_Made = TypeVar("_Made")
_SCOPES = {"distiller": "distillation", "mitigation": "mitigation"}
#: Names of losses and of the adversary's terms, and the word for every method.
_RESERVED = ("adversary", "all", "distill", "task")
_GIVEN = {"Term": "Context", "Mitigation": "Setup"}
#: Where a plugin's module holds the hash of its text.
_MARK = "__fairkd_source__"


class _Plugin:
    """A file, the hash of the text that was run, and how to undo what it registered."""

    def __init__(self, path: Path, digest: str) -> None:
        self.path, self.digest = path, digest
        self.undo: dict[tuple[Kind, str], Callable[[], object]] = {}

    def clear(self) -> None:
        for undo in self.undo.values():
            undo()
        self.undo.clear()


_loaded: dict[Path, _Plugin] = {}
#: The one whose file is being run, if any.
_running: list[_Plugin] = []


class _Loader(SourceFileLoader):
    """Reads the source each time: bytecode on the disk may be that of a version less than a second older."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def load_plugin(path: Path) -> None:
    """Run the file, unless this process has run it as it is now.

    Raises:
        ParameterError: there is no such Python file, or it ends in an error; names the line.
    """
    if path.suffix != ".py" or not path.is_file():
        what = "is not a Python file: name one that ends in .py" if path.exists() else "does not exist"
        raise ParameterError(f"plugin={str(path)!r} {what}")
    plugin = _Plugin(path, hashlib.sha256(path.read_bytes()).hexdigest())
    if path in _loaded and _loaded[path].digest == plugin.digest:
        return
    if path in _loaded:
        _loaded.pop(path).clear()
    name = f"fairkd_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    loader = _Loader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    setattr(module, _MARK, plugin.digest)
    # Dataclasses and pickle look a class's module up there.
    sys.modules[name] = module
    _running.append(plugin)
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        plugin.clear()
        kind = "" if isinstance(error, ParameterError) else f"{type(error).__name__}: "
        raise ParameterError(
            f"plugin={str(path)!r}{_line(error, path)}: {kind}{first_line(error)}"
        ) from error
    finally:
        _running.pop()
    _loaded[path] = plugin


def plugin_digest(path: Path) -> str:
    """Return the hash of the text of a plugin that has been loaded."""
    return _loaded[path].digest


def plugin_of(function: Callable[..., Any]) -> str:
    """Return the hash of the text of the plugin that defines a function; empty, where none does."""
    return str(getattr(sys.modules.get(function.__module__), _MARK, ""))


def register(
    kind: Kind,
    name: str,
    options: Sequence[str],
    taken: Container[str],
    *,
    undo: Callable[[], object],
    file: str,
) -> str:
    """Check what a method of the user's is registered with, and return the hash of the text that it stands in.

    Args:
        kind, name, options: as in the registering functions.
        taken: fairkd's own names, and those that nothing can have.
        undo: takes the registration back.
        file: what the registering code is of: a file's path, or the name of a notebook's cell.

    Raises:
        ParameterError: says what is allowed.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", name) or name in _RESERVED or re.search(r"\d[eE]$", name):
        raise ParameterError(
            f"a {kind} cannot be called {name!r}: use letters, digits and _, begin with no digit, do not end as 2e "
            f"does, and take none of {', '.join(_RESERVED)}"
        )
    if name in taken:
        raise ParameterError(f"{name!r} is taken: choose another name for your {kind}")
    fields: dict[str, Any] = dict(Parameters.model_fields)
    known = [one for one, field in fields.items() if field.json_schema_extra["scope"] == _SCOPES[kind]]
    if unknown := sorted({*options} - {*known}):
        raise ParameterError(
            f"{kind} {name!r}: {', '.join(unknown)} is no parameter of scope {_SCOPES[kind]!r}; "
            f"allowed: {', '.join(known)}. What is your own stands in your code, which tells its models apart"
        )
    for other in _loaded.values():
        if (kind, name) in other.undo:
            raise ParameterError(
                f"the {kind} {name!r} is registered by {other.path}: choose another name, as a process knows one "
                f"{kind} by it"
            )
    if _running:
        _running[-1].undo[kind, name] = undo
        return _running[-1].digest
    text = "".join(linecache.getlines(file))
    if not text:
        raise ParameterError(
            f"the text of the {kind} {name!r} is not known: write it in a file or in a notebook's cell"
        )
    return hashlib.sha256(text.encode()).hexdigest()


class _OwnOptions(dict[str, Any]):
    """The parameters that a method of the user's has named; it can read no others."""

    def __init__(self, method: str, values: Mapping[str, Any], names: Sequence[str]) -> None:
        super().__init__({name: values[name] for name in names})
        self.method = method

    def __missing__(self, name: str) -> Any:
        raise ParameterError(
            f"{self.method} reads {name!r}: name it in options where you register the method"
        )


def make_own(
    make: Callable[[Any], _Made], given: Any, method: str, options: Sequence[str], kind: type[_Made]
) -> _Made:
    """Make a method of the user's: first weights from the seed, and no parameters but those that it has named.

    Args:
        make: what was registered.
        given: a ``Context`` or a ``Setup``.
        method: what it is called in messages.
        options: the parameters that it has named.
        kind: what it has to be.

    Raises:
        ParameterError: it is of another type, or reads another parameter.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(given.seed)
        made = make(replace(given, options=_OwnOptions(method, given.options, options)))
    check_type(made, kind, f"what the {method} makes", f"derive it from fairkd's {kind.__name__}")
    check_hooks(type(made), kind, method)
    return made


def check_maker(make: Callable[..., Any], base: type, method: str) -> None:
    """Check, before anything is trained, that a method can be made and called as fairkd does it.

    Args:
        make: what is registered: a class, or a function.
        base: what a class must be derived from, and a function return.
        method: what it is called in messages.

    Raises:
        ParameterError: says what is needed.
    """
    if isinstance(make, type):
        if not issubclass(make, base):
            raise ParameterError(f"{method}: derive {make.__name__} from fairkd's {base.__name__}")
        check_hooks(make, base, method)
    try:
        inspect.signature(make).bind(None)
    except TypeError as error:
        raise ParameterError(
            f"{method}: fairkd calls {make.__name__} with one argument, a {_GIVEN[base.__name__]}, and needs a "
            f"{base.__name__} from it; this takes others ({first_line(error)})"
        ) from error


def check_hooks(made: type, base: type, method: str) -> None:
    """Check that a class overrides something of its base class, and that all it overrides takes the same arguments.

    Raises:
        ParameterError: names the method and what it is called with.
    """
    hooks = {name: one for name, one in vars(base).items() if inspect.isfunction(one) and name[0] != "_"}
    overridden = [name for name, one in hooks.items() if getattr(made, name) is not one]
    if not overridden and made is not base:
        raise ParameterError(
            f"{method} changes nothing: {made.__name__} overrides none of {', '.join(hooks)}; are they spelt so?"
        )
    for name in overridden:
        parameters = list(inspect.signature(hooks[name]).parameters.values())
        words = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
        try:
            inspect.signature(getattr(made, name)).bind(
                *parameters[: len(parameters) - len(words)], **dict.fromkeys(words)
            )
        except TypeError as error:
            raise ParameterError(
                f"{method}: {name}{inspect.signature(getattr(made, name))} cannot be called as fairkd does; needed: "
                f"{name}({', '.join(one.name for one in parameters)})"
            ) from error


def _line(error: BaseException, path: Path) -> str:
    """Say where in the file the error is, or was called."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines = [error.lineno]
    return f", line {lines[-1]}" if lines else ""
