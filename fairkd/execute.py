"""Execute one notebook with papermill: strict parameters, an event a cell, errors in one line."""

from __future__ import annotations

import ast
import contextlib
import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fairkd.errors
from fairkd.config import Experiment, suggest
from fairkd.errors import ArtifactError, FairkdError, ParameterError
from fairkd.progress import PROGRESS_FILE

OnCell = Callable[[int, int], None]
OnProgress = Callable[[dict[str, Any]], None]

_SECONDS_BETWEEN_POLLS = 0.25
_KERNEL_START_SECONDS = 180
_ENGINE = "fairkd"


class CellError(FairkdError):
    """A cell of a notebook failed, or the kernel that ran it died; the message is one line."""


class KernelDiedError(CellError):
    """The process that ran the cells is gone: killed by someone, or by the system for its memory."""


def parameter_names(notebook: Path) -> list[str]:
    """Return the names that the notebook's cell tagged ``parameters`` assigns, in its order.

    Reads the file as JSON: the papermill equivalent costs seconds of imports.

    Raises:
        ArtifactError: the notebook is missing, is not JSON, or its cell is not Python.
        ParameterError: there is not exactly one such cell.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        sources = [
            "".join(cell["source"])
            for cell in cells
            if "parameters" in cell.get("metadata", {}).get("tags", [])
        ]
        if len(sources) != 1:
            raise ParameterError(
                f"{notebook}: {len(sources)} cells are tagged 'parameters'; needed: exactly one"
            )
        return [name for statement in ast.parse(sources[0]).body for name in _assigned(statement)]
    except (OSError, ValueError, KeyError, TypeError, SyntaxError) as error:
        if isinstance(error, FairkdError):
            raise
        raise ArtifactError(f"cannot read the notebook {notebook}: {_one_line(str(error))}") from error


def select_parameters(experiment: Experiment, notebook: Path) -> dict[str, Any]:
    """Return what to inject: the fields that the cell names, and the other changed ones in ``options``.

    ``run_name`` and ``output_dir`` are always passed, resolved: all steps of a run meet in one folder.

    Raises:
        ParameterError: the cell names something that is not a parameter, or has no place for a changed one.
    """
    names = parameter_names(notebook)
    allowed = [*Experiment.names(), "options"]
    for name in names:
        if name not in allowed:
            raise ParameterError(
                f"{notebook}: its parameters cell names {name!r}, which is not a parameter: "
                f"{suggest(name, allowed)}allowed: {', '.join(allowed)}"
            )
    experiment = experiment.replace(run_name=experiment.run, output_dir=str(experiment.output_path))
    # JSON's types: papermill would write a tuple as text.
    values = experiment.model_dump(mode="json")
    chosen = {name: values[name] for name in names if name in values}
    options = {
        name: value
        for name, value in values.items()
        if name not in names and getattr(experiment, name) != Experiment.default(name)
    }
    if options and "options" not in names:
        raise ParameterError(
            f"{notebook}: its parameters cell takes neither {next(iter(options))!r} nor 'options'; "
            "add one of them"
        )
    return {**chosen, "options": options} if options else chosen


def execute_notebook(
    notebook: Path, target: Path, parameters: dict[str, Any], *, on_cell: OnCell, on_progress: OnProgress
) -> None:
    """Run ``notebook`` with ``parameters`` in a fresh kernel; write it to ``target`` after each cell.

    ``on_cell(done, total)`` is called before each code cell, ``on_progress(state)`` from a second thread
    whenever :class:`fairkd.progress.ProgressBar` in the kernel has something new.

    Raises:
        CellError: a cell raised, or the kernel could not start. What was executed is in ``target``.
        KernelDiedError: the kernel is gone.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillExecutionError

    papermill_engines.register(_ENGINE, _engine(on_cell))
    _quiet("papermill")
    try:
        with _kernel_environment(on_progress):
            papermill.execute_notebook(
                _literal(notebook),
                _literal(target),
                parameters,
                engine_name=_ENGINE,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                start_timeout=_KERNEL_START_SECONDS,
                # The kernel shares our terminal; its remarks about its transport are not for the user.
                extra_arguments=["--log-level=CRITICAL"],
                # Widgets' stored state would be stale, and is megabytes long.
                store_widget_state=False,
            )
    except PapermillExecutionError as error:
        raise CellError(_explain(error.ename, error.evalue, target)) from None
    except DeadKernelError:
        raise KernelDiedError(
            "the kernel died (killed, or out of memory?); run again to go on from here"
        ) from None
    except Exception as error:
        raise CellError(_explain(type(error).__name__, str(error), target)) from error


def _quiet(logger: str) -> None:
    """Keep a logger's messages from the terminal if nobody has asked for them by configuring logging.

    papermill says "unknown parameter" of every parameter whose annotation has a ``|`` in it.
    """
    handlers = logging.getLogger(logger).handlers
    if not handlers:
        handlers.append(logging.NullHandler())


def _assigned(statement: ast.stmt) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _engine(on_cell: OnCell) -> type:
    """Return papermill's own engine with ``on_cell`` called before each code cell."""
    from papermill.engines import NBClientEngine

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> Any:
            start, is_code = nb_man.cell_start, [cell.cell_type == "code" for cell in nb_man.nb.cells]

            def cell_start(cell: Any, cell_index: int, **extra: Any) -> None:
                if is_code[cell_index]:
                    on_cell(sum(is_code[:cell_index]), sum(is_code))
                start(cell, cell_index, **extra)

            nb_man.cell_start = cell_start
            return super().execute_managed_notebook(nb_man, kernel_name, **kwargs)

    return Engine


@contextlib.contextmanager
def _kernel_environment(on_progress: OnProgress) -> Iterator[None]:
    """Set what kernels inherit, and follow the progress file until the end."""
    with tempfile.TemporaryDirectory(prefix="fairkd-") as folder:
        progress = Path(folder) / "progress.json"
        # One MIME type a figure: other renderers need a network, or repeat plotly.js a figure.
        changes = {PROGRESS_FILE: str(progress), "PLOTLY_RENDERER": "plotly_mimetype"}
        before = {name: os.environ.get(name) for name in changes}
        stop = threading.Event()
        follower = threading.Thread(target=_follow, args=(progress, on_progress, stop), daemon=True)
        os.environ.update(changes)
        follower.start()
        try:
            yield
        finally:
            stop.set()
            follower.join()
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _follow(progress: Path, on_progress: OnProgress, stop: threading.Event) -> None:
    last = ""
    while not stop.wait(_SECONDS_BETWEEN_POLLS):
        with contextlib.suppress(OSError, ValueError):
            text = progress.read_text(encoding="utf-8")
            if text != last:
                last = text
                on_progress(json.loads(text))


def _explain(kind: str, message: str, target: Path) -> str:
    """Say in one line what stopped a notebook; fairkd's own errors already name thing, place and way out."""
    known = getattr(fairkd.errors, kind, None)
    if isinstance(known, type) and issubclass(known, FairkdError):
        return _one_line(message)
    return _one_line(f"{kind}: {message} (the notebook up to there: {target})")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _literal(path: Path) -> str:
    """Escape a path for papermill, which reads it as a format string."""
    return str(path).replace("{", "{{").replace("}", "}}")
