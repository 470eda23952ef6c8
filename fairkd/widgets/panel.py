"""What the panels share: static when nobody can move a slider, the reproducing command, updating a figure."""

from __future__ import annotations

import html
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairkd.errors import FairkdError
from fairkd.progress import is_headless

if TYPE_CHECKING:
    import plotly.graph_objects as go

# By way of the selection: pages that are neither local nor encrypted have no clipboard of their own.
_COPY = (
    ' <button type="button" class="jupyter-widgets jupyter-button" style="width: auto" '
    "onclick=\"getSelection().selectAllChildren(this.previousElementSibling); document.execCommand('copy'); "
    'this.textContent = \'Copied\'" aria-label="copy the command">Copy</button>'
)


class Panel:
    """A widget in JupyterLab, a static figure anywhere else."""

    def static(self) -> go.Figure:
        """Return the panel's present state as a figure that needs no kernel."""
        raise NotImplementedError

    def widget(self) -> Any:
        """Return the ipywidgets panel."""
        raise NotImplementedError

    @property
    def command(self) -> str:
        """The shell command that reproduces the panel's present state."""
        raise NotImplementedError

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        if is_headless():
            try:
                display(self.static())
            except FairkdError as error:
                # There is nothing to show yet: say what to do, and let the notebook go on.
                display(HTML(f"<p>{html.escape(str(error))}</p>"))
            display(HTML(command_html(self.command)))
        else:
            display(self.widget())


def command_html(command: str, *, copy: bool = False, lead: str = "Reproduce with") -> str:
    """Return the command as one line of HTML; with ``copy``, with a button that puts it on the clipboard."""
    return f"<p>{html.escape(lead)} <code>{html.escape(command)}</code>{_COPY if copy else ''}</p>"


def path_from_here(path: Path) -> str:
    """Return the path from the current folder: shorter, and it names no home folder."""
    try:
        return os.path.relpath(path)
    except ValueError:  # Another drive.
        return str(path)


def value_of(slider: Any) -> float:
    """Return a slider's value without the noise of the page's arithmetic: 3.5 where it says 3.5000000000000004.

    A parameter that differs in the last digit would be another model, trained again.
    """
    return float(f"{slider.value:.9g}")


def in_a_row(*controls: Any) -> Any:
    """Return controls side by side, on several lines where the page is narrow."""
    import ipywidgets as w

    # ``grid_gap`` is the gap of any box; ipywidgets has no other name for it.
    return w.HBox(controls, layout={"flex_flow": "row wrap", "grid_gap": "2px 24px"})
