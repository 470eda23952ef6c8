"""A plotly figure that changes in place while somebody looks at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import ipywidgets as w
import plotly.graph_objects as go
import plotly.offline
from traitlets import Instance

#: Draws what ``_json`` holds, again whenever that or the width changes; plotly is compiled once a page.
_MODULE = (
    """
async function load(source) {
  const there = globalThis.Plotly;
  await import(URL.createObjectURL(new Blob([source], {type: "text/javascript"})));
  const plotly = globalThis.Plotly;
  globalThis.Plotly = there;
  return plotly;
}
async function render({model, el}) {
  const part = name => model.widget_manager.get_model(model.get(name).replace("IPY_MODEL_", ""));
  const [library, shown] = await Promise.all([part("_library"), part("_json")]);
  const plotly = await (globalThis["fairkd-plotly-VERSION"] ??= load(library.get("value")));
  const place = el.appendChild(document.createElement("div"));
  let width = 0, waiting = false, listening = false;
  async function draw() {
    waiting = false;
    if (!width) return;
    const {data, layout} = JSON.parse(shown.get("value"));
    // On a narrow page the tool bar would lie on the title.
    const config = {displaylogo: false, displayModeBar: width < 450 ? false : "hover"};
    await plotly.react(place, data, {width, ...layout}, config);
    if (listening) return;
    listening = true;
    place.on("plotly_click", ({points}) => model.send({clicked: points[0].customdata ?? null}));
  }
  // However often a slider moves between two frames: what it has come to is drawn.
  function soon() {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }
  const observer = new ResizeObserver(() => {
    if (el.clientWidth && el.clientWidth !== width) {
      width = el.clientWidth;
      soon();
    }
  });
  observer.observe(el);
  shown.on("change:value", soon);
  return () => {
    observer.disconnect();
    shown.off("change:value", soon);
    plotly.purge(place);
  };
}
export default {render};
"""
).replace("VERSION", plotly.__version__)


class LiveFigure(anywidget.AnyWidget):
    """A figure that works on a slow page too, and that a thread can change.

    plotly's ``FigureWidget`` tells the page of its changes by anywidget's own messages. If the page needs more than
    two seconds until it runs the widget's code, because it is still drawing other cells, anywidget gives up: it drops
    all later messages, so that a slider moves and the figure stays as it was. Here the figure is the value of a
    widget of ipywidgets itself, whose changes are never dropped, and the page draws what that value is by then.
    plotly's code, of 5 MB, is in such a widget as well, one for all figures.
    """

    _esm = _MODULE
    _library = Instance(w.Widget).tag(sync=True, **w.widget_serialization)
    _json = Instance(w.Widget).tag(sync=True, **w.widget_serialization)
    _shared: w.Label | None = None

    def __init__(self, figure: go.Figure | None = None) -> None:
        self.shown = figure if figure is not None else go.Figure()
        super().__init__(_library=self._code(), _json=w.Label(value=str(self.shown.to_json())))

    @classmethod
    def _code(cls) -> w.Label:
        """Return the widget that holds plotly's code; a new one if somebody has closed it."""
        if LiveFigure._shared is None or LiveFigure._shared.comm is None:
            LiveFigure._shared = w.Label(value=plotly.offline.get_plotlyjs())
        return LiveFigure._shared

    def show(self, figure: go.Figure) -> None:
        """Make it show another figure."""
        self.shown = figure
        self._json.value = str(figure.to_json())

    def on_click(self, callback: Callable[[Any], None]) -> None:
        """Call back with a point's ``customdata``, ``None`` where it has none, whenever somebody clicks on it."""
        self.on_msg(lambda _, message, __: callback(message["clicked"]) if "clicked" in message else None)
