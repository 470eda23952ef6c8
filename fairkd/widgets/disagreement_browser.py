"""The disagreement browser: the samples on which a student contradicts its teacher, filtered, seen and saved."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fairkd import plots
from fairkd.analysis.disagreement import OUTCOMES
from fairkd.config import Experiment
from fairkd.errors import FairkdError
from fairkd.plots.text import model_label
from fairkd.results import save_exemplars
from fairkd.widgets.panel import Panel, command_html, in_a_row, path_from_here

if TYPE_CHECKING:
    import plotly.graph_objects as go

_EVERY = "all"
#: Images a group on one page of the grid.
_PAGE = 6


class DisagreementBrowser(Panel):
    """Thumbnails of the samples on which predictions differ, those whose margin changed most first.

    Args:
        experiment: the selection is saved in its run's folder.
        exemplars: rows ``model, row, index, label, group, teacher_prediction, student_prediction, outcome,
            margin_change``, as :func:`fairkd.tables_analysis.student_exemplars` returns them.
        images: ``(n, height, width, 3)`` uint8, the test split's.
        model: the student that is looked at first; default: the table's first.
    """

    def __init__(
        self,
        experiment: Experiment,
        exemplars: pd.DataFrame,
        images: np.ndarray,
        model: str | None = None,
    ) -> None:
        self.experiment, self.exemplars, self.images = experiment, exemplars, images
        self.models = list(exemplars["model"].unique())
        self.model = model if model is not None else (self.models or [""])[0]
        self.outcome, self.label, self.group = OUTCOMES[0], _EVERY, _EVERY
        self.page = 0

    @property
    def command(self) -> str:
        return self.experiment.command

    @property
    def selection_code(self) -> str:
        """The Python expression that reads the present selection from the table that notebook 04 leaves."""
        wanted = {"model": self.model, "outcome": self.outcome}
        wanted |= {
            name: value for name, value in (("label", self.label), ("group", self.group)) if value != _EVERY
        }
        query = " and ".join(f"{name} == {value!r}" for name, value in wanted.items())
        path = path_from_here(self.experiment.run_folder / "exemplars.csv")
        return f"pandas.read_csv({path!r}, dtype=str).query({query!r})"

    @property
    def pages(self) -> int:
        """Number of pages of the present selection, at least 1."""
        counts = self.selected()["group"].value_counts()
        return max(1, -(-int(counts.max()) // _PAGE)) if len(counts) else 1

    def selected(self) -> pd.DataFrame:
        """Return the rows that pass the filters, in their order; without those that have no group."""
        table = self.exemplars
        keep = (table["model"] == self.model) & (table["outcome"] == self.outcome) & table["group"].notna()
        for column, value in (("label", self.label), ("group", self.group)):
            if value != _EVERY:
                keep &= table[column].astype(str) == value
        return table[keep]

    def save(self) -> Path:
        """Write the selected rows to ``exemplars-selected.csv`` in the run's folder, and return its path.

        Raises:
            ArtifactError: the file cannot be written.
        """
        return save_exemplars(self.experiment, self.selected(), "exemplars-selected.csv")

    def static(self) -> go.Figure:
        selected = self.selected()
        if selected.empty:
            raise FairkdError(f"no sample is left: {self._filters()}")
        part = selected.groupby("group", observed=True, sort=False).nth(
            slice(self.page * _PAGE, (self.page + 1) * _PAGE)
        )
        title = f"{model_label(self.model)}: {self.outcome}"
        if self.pages > 1:
            title += f", page {self.page + 1} of {self.pages}"
        totals = selected["group"].astype(str).value_counts().to_dict()
        return plots.exemplar_grid(part, self.images, totals=totals, title=title)

    def describe(self) -> str:
        """Return how many samples are selected, of how many on which the student's prediction differs."""
        every = int((self.exemplars["model"] == self.model).sum())
        return (
            f"{model_label(self.model)}: {len(self.selected())} of {every} samples on which it differs from its "
            f"teacher: {self._filters()}."
        )

    def widget(self) -> Any:
        import ipywidgets as w

        from fairkd.widgets.figure import LiveFigure

        if self.exemplars.empty:
            return w.HTML("<p>No student contradicts its teacher on any sample.</p>")
        style, layout = {"description_width": "initial"}, {"width": "320px"}

        def choice(name: str, options: list[Any], value: str) -> Any:
            return w.Dropdown(options=options, value=value, description=name, style=style, layout=layout)

        names = {
            column: [_EVERY, *sorted(self.exemplars[column].dropna().astype(str).unique())]
            for column in ("label", "group")
        }
        model = choice("student", [(model_label(name), name) for name in self.models], self.model)
        outcome = choice("what became of it", [OUTCOMES[0], OUTCOMES[1], OUTCOMES[4]], self.outcome)
        label, group = choice("class", names["label"], _EVERY), choice("group", names["group"], _EVERY)
        before = w.Button(description="Previous page", icon="arrow-left")
        after = w.Button(description="Next page", icon="arrow-right")
        export = w.Button(description="Save as CSV", tooltip="writes the selected rows into the run's folder")
        message, saved, code = w.HTML(), w.HTML(), w.HTML()
        figure = LiveFigure()

        def show() -> None:
            message.value = f"<p>{html.escape(self.describe())}</p>"
            code.value = command_html(
                self.selection_code, copy=True, lead="This selection of the run's table:"
            )
            before.disabled, after.disabled = self.page == 0, self.page + 1 >= self.pages
            export.disabled = empty = self.selected().empty
            figure.layout.display = "none" if empty else None
            if not empty:
                figure.show(self.static())

        def update(_: Any) -> None:
            self.model, self.outcome = model.value, outcome.value
            self.label, self.group, self.page = label.value, group.value, 0
            saved.value = ""
            show()

        def turn(step: int) -> None:
            self.page = min(max(self.page + step, 0), self.pages - 1)
            show()

        def write(_: Any) -> None:
            try:
                saved.value = f"<p>Saved: <code>{html.escape(path_from_here(self.save()))}</code></p>"
            except FairkdError as error:
                saved.value = f"<p>{html.escape(str(error))}</p>"

        for control in (model, outcome, label, group):
            control.observe(update, names="value")
        before.on_click(lambda _: turn(-1))
        after.on_click(lambda _: turn(1))
        export.on_click(write)
        show()
        return w.VBox(
            [
                in_a_row(model, outcome),
                in_a_row(label, group),
                message,
                figure,
                in_a_row(before, after, export),
                saved,
                w.HTML(command_html(self.command, copy=True)),
                code,
            ]
        )

    def _filters(self) -> str:
        return f"{self.outcome}, class {self.label}, group {self.group}"
