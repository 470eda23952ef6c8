"""The what-if panel: move temperature or weight and see at once what a small head on frozen features does."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from fairkd import plots
from fairkd.config import Experiment
from fairkd.data.splits import Splits
from fairkd.errors import FairkdError
from fairkd.mitigation import mitigation_entry
from fairkd.narrative_preview import describe_preview
from fairkd.recipes import HeadPreview, TrainedModel, load_splits
from fairkd.widgets.adversary_weight import WEIGHTS
from fairkd.widgets.panel import Panel, command_html, in_a_row, value_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

_HINT = (
    "<p><b>Preview.</b> A small head on the frozen features of the plain student, not a student. It tells the order "
    "of the weights, not their numbers, and cannot see a training collapse.</p>"
)


class PreviewPanel(Panel):
    """Accuracy, mean recall gap and the adversary's accuracy on the validation split, as a small head previews them.

    Args:
        experiment: its temperature and adversary weight are where the sliders start.
        teacher: what the head learns from.
        student: a trained plain student, whose features are frozen.
        splits: the data; default: what the experiment names.
        trained: students trained in full to show beside it, a row a weight: ``adversary_weight, accuracy,
            recall_gap`` and limits, as :meth:`AdversaryWeightPanel.table` returns them.
        weights: the stops of the weight's slider; the experiment's own is added.
    """

    def __init__(
        self,
        experiment: Experiment,
        teacher: TrainedModel,
        student: TrainedModel,
        splits: Splits | None = None,
        *,
        trained: pd.DataFrame | None = None,
        weights: Sequence[float] = WEIGHTS,
    ) -> None:
        self.experiment, self.trained = experiment, trained
        self.splits = splits or load_splits(experiment)
        self.preview: HeadPreview | None = None
        if mitigation_entry(experiment.mitigation).can_be_previewed:
            self.preview = HeadPreview(experiment, teacher, student, self.splits)
        self.chance = 1 / self.splits.num_groups
        self.weights = sorted({0.0, *weights, experiment.adversary_weight})
        self.temperature, self.weight = experiment.temperature, experiment.adversary_weight
        self.scores: dict[tuple[float, float], dict[str, float]] = {}

    @property
    def command(self) -> str:
        changed = self.experiment.replace(temperature=self.temperature, run_name=None)
        if self.weight == 0:
            return changed.replace(mitigation="none").command
        return changed.replace(adversary_weight=self.weight).command

    def table(self) -> pd.DataFrame:
        """Return what was previewed at the present temperature, and the trained students.

        Rows ``source, adversary_weight, accuracy, recall_gap, adversary_balanced_accuracy, chance, selected``.
        """
        rows = [
            {"source": "preview", "adversary_weight": weight, **scores, "selected": weight == self.weight}
            for (temperature, weight), scores in sorted(self.scores.items())
            if temperature == self.temperature
        ]
        table = pd.DataFrame(rows).assign(chance=self.chance)
        if self.trained is None or self.temperature != self.experiment.temperature:
            return table
        trained = self.trained.assign(source="trained", selected=False)
        return pd.concat([table, trained], ignore_index=True)

    def look(self, temperature: float, weight: float) -> dict[str, float]:
        """Preview these values, or return what they gave before, and make them the present ones.

        Raises:
            FairkdError: the mitigation has no weight, or a training is going on.
        """
        if self.preview is None:
            raise FairkdError(self._nothing())
        if (temperature, weight) not in self.scores:
            self.scores[temperature, weight] = self.preview.scores(temperature, weight)
        self.temperature, self.weight = temperature, weight
        return self.scores[temperature, weight]

    def static(self) -> go.Figure:
        """Return the preview of every weight at the present temperature."""
        chosen = self.weight
        for weight in [*self.weights, chosen]:
            self.look(self.temperature, weight)
        return self._figure()

    def describe(self) -> list[str]:
        """Say how the preview orders the weights, and how well such orders agreed with full training."""
        return [self._nothing()] if self.preview is None else describe_preview(self.table())

    def widget(self) -> Any:
        import ipywidgets as w

        from fairkd.widgets.figure import LiveFigure

        if self.preview is None:
            return w.HTML(f"<p>{html.escape(self._nothing())}</p>")
        style, layout = {"description_width": "initial"}, {"width": "420px"}
        temperature = w.FloatSlider(
            value=self.temperature,
            min=min(0.5, self.temperature),
            max=max(20.0, self.temperature),
            step=0.5,
            description="temperature",
            style=style,
            layout=layout,
        )
        weight = w.SelectionSlider(
            options=[(f"{one:g}", one) for one in self.weights],
            value=self.weight,
            description="adversary weight",
            style=style,
            layout=layout,
        )
        # Plain distillation, to compare with.
        self.look(self.temperature, 0.0)
        self.look(value_of(temperature), weight.value)
        message, command = w.HTML(), w.HTML()
        figure = LiveFigure(self._figure())

        def update(_: Any = None) -> None:
            try:
                scores = self.look(value_of(temperature), weight.value)
            except FairkdError as error:
                message.value = f"<p>{html.escape(str(error))}</p>"
                return
            message.value = self._line(scores)
            command.value = command_html(self.command, copy=True)
            figure.show(self._figure())

        temperature.observe(update, names="value")
        weight.observe(update, names="value")
        update()
        agreement = w.HTML("".join(f"<p>{html.escape(line)}</p>" for line in self.describe()[-1:]))
        return w.VBox([w.HTML(_HINT), in_a_row(temperature, weight), message, figure, agreement, command])

    def _nothing(self) -> str:
        return (
            f"The mitigation {self.experiment.mitigation} is no adversary with a weight: nothing to preview."
        )

    def _figure(self) -> go.Figure:
        title = f"Preview by a small head at T = {self.temperature:g}, validation split"
        return plots.preview_curve(self.table(), title=title)

    def _line(self, scores: dict[str, float]) -> str:
        adversary = scores.get("adversary_balanced_accuracy")
        says = f", the adversary {adversary:.3f} (chance {self.chance:.3f})" if adversary is not None else ""
        return (
            f"<p>Preview at T = {self.temperature:g}, weight {self.weight:g}: accuracy {scores['accuracy']:.3f}, "
            f"mean recall gap {scores['recall_gap']:.3f}{says}.</p>"
        )
