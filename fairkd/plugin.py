"""A Python file of the user's, run so that the networks and methods that it registers are known by name."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Container, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any, Literal

from fairkd.errors import FairkdError, ParameterError, first_line
from fairkd.parameters import Parameters

_SCOPES = {"distiller": "distillation", "mitigation": "mitigation"}
#: The SHA-256 of what was run.
_loaded: dict[Path, str] = {}


class _Loader(SourceFileLoader):
    """Reads the source each time: bytecode on the disk may be that of a version less than a second older."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def load_plugin(path: Path) -> None:
    """Run the file, unless this process has run it as it is now; it can import what lies beside it.

    Raises:
        ParameterError: there is no such Python file, or it ends in an error; names the line.
    """
    if path.suffix != ".py" or not path.is_file():
        raise ParameterError(f"plugin={str(path)!r} is not a Python file: name one that ends in .py")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if _loaded.get(path) == found:
        return
    if str(path.parent) not in sys.path:
        # Last, so that a neighbour hides no installed package.
        sys.path.append(str(path.parent))
    name = f"fairkd_plugin_{path.stem}"
    loader = _Loader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    # Dataclasses and pickle look a class's module up there.
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except FairkdError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise ParameterError(
            f"plugin={str(path)!r}{_line(error, path)}: {kind}: {first_line(error)}"
        ) from error
    _loaded[path] = found


def _line(error: Exception, path: Path) -> str:
    """Say where in the file the error is, or was called."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return f", line {lines[-1]}" if lines else ""


def check_registration(
    kind: Literal["distiller", "mitigation"], name: str, options: Sequence[str], taken: Container[str]
) -> None:
    """Raise unless a method can have this name, and its options are parameters.

    Raises:
        ParameterError: says which are allowed.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ParameterError(
            f"a {kind} cannot be called {name!r}: use letters, digits and _, and begin with no digit"
        )
    if name in taken:
        raise ParameterError(f"{name!r} is a {kind} of fairkd: choose another name for your own")
    fields: dict[str, Any] = dict(Parameters.model_fields)
    known = [one for one, field in fields.items() if field.json_schema_extra["scope"] == _SCOPES[kind]]
    if unknown := sorted({*options} - {*known}):
        raise ParameterError(
            f"{kind} {name!r}: {', '.join(unknown)} is no parameter of scope {_SCOPES[kind]!r}; "
            f"allowed: {', '.join(known)}. What is your own stands in your code, which tells its models apart"
        )
