"""A plotly figure that changes in place while somebody looks at it."""

from __future__ import annotations

import threading
from typing import Any

import ipywidgets as w
import plotly
import plotly.graph_objects as go
from traitlets import Instance

#: plotly's own module, of 5 MB, comes from a widget that all figures share, and is compiled once a page.
_MODULE = (
    """
async function load(model) {
  const library = await model.widget_manager.get_model(model.get("_library").replace("IPY_MODEL_", ""));
  const source = () => new Blob([library.get("value")], {type: "text/javascript"});
  globalThis["fairkd-plotly-VERSION"] ??= import(URL.createObjectURL(source()));
  return (await globalThis["fairkd-plotly-VERSION"]).default();
}
export default () => {
  let loaded;
  return {
    initialize({model}) {
      loaded = load(model).then(figure => { figure.initialize({model}); return figure; });
    },
    async render({model, el}) {
      return (await loaded).render({model, el});
    },
  };
};
"""
).replace("VERSION", plotly.__version__)


class LiveFigure(go.FigureWidget):
    """A ``FigureWidget`` that works on a slow page too, and that a thread can update.

    Every ``FigureWidget`` brings plotly's whole code with it. A page that takes more than two seconds to compile it
    loses all that the kernel sends to the figure afterwards (anywidget gives up): a slider moves, and the figure stays
    as it was. This one brings a few lines that get the code from a widget of its own.

    plotly also announces its widget without traces and sends them in a second message. A page that is slow to answer
    has drawn the empty figure by then, and does not look at the traces again. This one is announced when it has them.

    While a widget takes in news from the page, it sends only what a property ends with: the changes that another
    thread makes meanwhile, which plotly sends by way of properties that are empty again at once, would be lost. A
    thread that updates the figure holds its ``lock``.

    What changes it is :func:`refresh` alone: other changes do not reach a page that is still loading plotly.
    """

    _esm = _MODULE
    _library = Instance(w.Widget).tag(sync=True, **w.widget_serialization)
    _shared: w.Label | None = None

    def __init__(self, figure: go.Figure | None = None, lock: threading.RLock | None = None) -> None:
        self._complete, self._lock = False, lock or threading.RLock()
        super().__init__(figure)
        self._library = self._code()
        self._complete = True
        self.open()

    @classmethod
    def _code(cls) -> w.Label:
        """Return the widget that holds plotly's code; a new one if somebody has closed it."""
        if LiveFigure._shared is None or LiveFigure._shared.comm is None:
            LiveFigure._shared = w.Label(value=str(go.FigureWidget._esm))
        return LiveFigure._shared

    def open(self) -> None:
        """Announce the widget to the page; ipywidgets calls this in its constructor, which is too early."""
        if self._complete:
            super().open()

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take in news from the page."""
        with self._lock:
            super().set_state(sync_data)


def refresh(widget: LiveFigure, figure: go.Figure) -> None:
    """Make a figure show another one, keeping its traces where their number is the same."""
    with widget.batch_update():
        if len(widget.data) == len(figure.data):
            for old, new in zip(widget.data, figure.data, strict=True):
                _replace(old, new)
        else:
            widget.data = []
            widget.add_traces(list(figure.data))
        _replace(widget.layout, figure.layout)
    # plotly sends changes alone; a page that is loaded again begins with what this keeps.
    widget._repr_mimebundle_()


def _replace(old: Any, new: Any) -> None:
    """Give ``old`` the properties of ``new``; what ``new`` lacks, such as the axes of a panel less, goes."""
    properties = new.to_plotly_json()
    gone = {name: None for name in old.to_plotly_json() if name not in properties and name != "uid"}
    old.update({**gone, **properties}, overwrite=True)
