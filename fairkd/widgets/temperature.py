"""The temperature panel: pick images, move the slider, see the softened labels and their entropy by group."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fairkd import plots
from fairkd.config import Experiment
from fairkd.data.splits import Splits
from fairkd.errors import ParameterError
from fairkd.inference import outputs_of
from fairkd.models import Network
from fairkd.narrative import describe_temperature
from fairkd.soft_labels import calibration_temperature, entropy_by_group, softened_table
from fairkd.widgets.panel import Panel, command_html, in_a_row, value_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

_MOST_IMAGES = 6
_GRID = np.round(np.geomspace(0.5, 20, 25), 3)


class TemperaturePanel(Panel):
    """Softened labels of a teacher on validation images.

    Args:
        experiment: its temperature is where the slider starts.
        teacher: the network.
        splits: the data; images are taken from the validation split.
        rows: positions of the images at the start; default: two a group, whose two likeliest classes are closest.
    """

    def __init__(
        self, experiment: Experiment, teacher: Network, splits: Splits, rows: Sequence[int] | None = None
    ) -> None:
        self.experiment, self.splits = experiment, splits
        data = splits.validation
        if not len(data):
            raise ParameterError("the validation split is empty: there is no image to show")
        self.logits = outputs_of(teacher, data.images).logits
        self.calibration = calibration_temperature(self.logits, data.labels)
        self.temperature = experiment.temperature
        self.rows = list(rows) if rows is not None else self._least_certain()
        self.names = [self._name(row) for row in range(len(data))]

    @property
    def command(self) -> str:
        return self.experiment.replace(temperature=float(self.temperature), run_name=None).command

    def static(self) -> go.Figure:
        """Return the softened labels of the chosen images at T = 1, the chosen temperature, and 10."""
        return self._softened(sorted({1.0, self.temperature, 10.0}))

    def entropy(self) -> go.Figure:
        """Return the mean entropy by group over the temperature."""
        groups, names = self.splits.validation.groups, self.splits.group_names
        table = entropy_by_group(self.logits, groups, names, _GRID.tolist())
        return plots.temperature_entropy(
            table,
            calibration_temperature=self.calibration,
            title=f"Entropy of the teacher's soft labels by {self.splits.group_name}",
        )

    def describe(self) -> list[str]:
        """Return computed sentences on calibration and on the groups' entropies."""
        groups, names = self.splits.validation.groups, self.splits.group_names
        table = entropy_by_group(self.logits, groups, names, [self.temperature])
        return describe_temperature(self.calibration, self.temperature, table)

    def images(self) -> go.Figure:
        """Return the chosen images."""
        data = self.splits.validation.subset(np.array(self.rows))
        # Only the chosen images' own classes: a column for each of a hundred would leave no room for them.
        present, labels = np.unique(data.labels, return_inverse=True)
        return plots.image_grid(
            data.images,
            labels,
            data.groups,
            tuple(self.splits.class_names[label] for label in present),
            self.splits.group_names,
            per_cell=2,
            label_name=self.splits.label_name,
            group_name=self.splits.group_name,
            title="The chosen images",
        )

    def widget(self) -> Any:
        import ipywidgets as w
        import plotly.graph_objects as go

        from fairkd.widgets.figure import LiveFigure

        slider = w.FloatSlider(
            value=self.temperature,
            min=min(0.5, self.temperature),
            max=max(20.0, self.temperature),
            step=0.5,
            description="temperature",
            continuous_update=True,
            style={"description_width": "initial"},
            layout={"width": "420px"},
        )
        chosen = w.SelectMultiple(
            options=[(name, row) for row, name in enumerate(self.names)],
            value=tuple(self.rows),
            description="images",
            rows=7,
            tooltip=f"hold Ctrl or Shift to choose several, at most {_MOST_IMAGES}",
            layout={"width": "420px"},
        )
        command = w.HTML(command_html(self.command, copy=True))
        bars, images = (
            LiveFigure(self._softened([self.temperature])),
            LiveFigure(self.images()),
        )
        sentences, limit = w.HTML(self._sentences()), w.HTML()
        curve = self.entropy()
        line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": {"dash": "dot", "color": "gray"}}

        def marked() -> go.Figure:
            """Return the curve with a line at the present temperature."""
            return go.Figure(curve).add_shape(x0=self.temperature, x1=self.temperature, **line)

        entropy = LiveFigure(marked())

        def update(change: Any) -> None:
            self.temperature = value_of(slider)
            if change["owner"] is chosen:
                self.rows = list(chosen.value)[:_MOST_IMAGES] or self.rows
                dropped = len(chosen.value) - _MOST_IMAGES
                limit.value = f"<p>The first {_MOST_IMAGES} of them are shown.</p>" if dropped > 0 else ""
                images.show(self.images())
            bars.show(self._softened([self.temperature]))
            entropy.show(marked())
            sentences.value = self._sentences()
            command.value = command_html(self.command, copy=True)

        slider.observe(update, names="value")
        chosen.observe(update, names="value")
        return w.VBox([in_a_row(slider, chosen), limit, sentences, bars, images, entropy, command])

    def _sentences(self) -> str:
        return "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self.describe())

    def _softened(self, temperatures: Sequence[float]) -> go.Figure:
        labels = self.splits.validation.labels[self.rows]
        names = [self.names[row] for row in self.rows]
        table = softened_table(self.logits[self.rows], labels, names, self.splits.class_names, temperatures)
        return plots.softened_labels(table)

    def _name(self, row: int) -> str:
        data = self.splits.validation
        label, code = self.splits.class_names[data.labels[row]], data.groups[row]
        group = self.splits.group_names[code] if code >= 0 else "no group"
        return f"{label} · {group} · #{data.index[row]}"

    def _least_certain(self) -> list[int]:
        """Two images a group, at most six, whose two largest logits are closest: temperature shows most there."""
        top = np.sort(self.logits, axis=1)
        margin = top[:, -1] - top[:, -2]
        order = np.argsort(margin, kind="stable")
        groups = self.splits.validation.groups[order]
        picks = [order[groups == group][:2] for group in range(self.splits.num_groups)]
        return [int(row) for row in np.concatenate(picks)[:_MOST_IMAGES]]
