"""The adversary-weight panel: what each weight does, from trained students or one trained on the spot."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from fairkd import plots
from fairkd.config import Experiment
from fairkd.data.splits import Splits
from fairkd.errors import FairkdError
from fairkd.evaluation import evaluate
from fairkd.mitigation import mitigation_entry
from fairkd.narrative import describe_weights
from fairkd.recipes import TrainedModel, distill_student, is_trained
from fairkd.widgets.panel import Panel, command_html, in_a_row

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: The stops of a slider over weights.
WEIGHTS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)


class AdversaryWeightPanel(Panel):
    """Accuracy and mean recall gap on the validation split along the adversary's weight.

    Args:
        experiment: the mitigation and everything else but the weight.
        teacher: what the students learn from.
        weights: the slider's stops; weight 0 is plain distillation. The experiment's own weight is added.
        splits: the data; default: what the experiment names.
    """

    def __init__(
        self,
        experiment: Experiment,
        teacher: TrainedModel,
        weights: Sequence[float] = WEIGHTS,
        splits: Splits | None = None,
    ) -> None:
        self.experiment, self.teacher, self.splits = experiment, teacher, splits
        self.has_weight = "adversary_weight" in mitigation_entry(experiment.mitigation).options
        if not self.has_weight:
            weights = ()
        self.weights = sorted({0.0, *weights, experiment.adversary_weight})
        self.weight = experiment.adversary_weight
        self.scores: dict[float, dict[str, Any]] = {}
        for weight in self.weights:
            if is_trained(self.variant(weight), teacher, splits):
                self.train(weight)

    @property
    def command(self) -> str:
        return self.variant(self.weight).replace(run_name=None).command

    def variant(self, weight: float) -> Experiment:
        """Return the experiment with another weight; 0 is plain distillation."""
        if weight == 0:
            return self.experiment.replace(mitigation="none")
        return self.experiment.replace(adversary_weight=weight)

    def train(self, weight: float) -> None:
        """Train the student with this weight, or load it, and add it to the curve.

        A mitigation without a weight has one student beside plain distillation, whatever weight is asked for.
        """
        if weight and not self.has_weight:
            weight = self.experiment.adversary_weight
        experiment = self.variant(weight)
        student = distill_student(experiment, self.teacher, self.splits)
        table = evaluate(
            student.validation,
            replicates=experiment.bootstrap_replicates,
            confidence=experiment.confidence,
        )
        overall = table[(table["class"] == "all") & (table["group"] == "all")].set_index("metric")
        self.scores[weight] = {
            f"{metric}{suffix}": float(overall.loc[metric, column])
            for metric in ("accuracy", "recall_gap")
            for suffix, column in (("", "value"), ("_low", "low"), ("_high", "high"))
        }
        self.scores[weight]["collapsed"] = student.collapsed

    def table(self) -> pd.DataFrame:
        """Return a row a trained weight: ``adversary_weight``, scores, limits, ``collapsed``, ``selected``."""
        rows = [
            {"adversary_weight": weight, **scores, "selected": weight == self.weight}
            for weight, scores in sorted(self.scores.items())
        ]
        return pd.DataFrame(rows)

    def static(self) -> go.Figure:
        if not self.scores:
            raise FairkdError("no student is trained yet: call .train(weight) first")
        what = (
            f"the weight of {self.experiment.mitigation}" if self.has_weight else self.experiment.mitigation
        )
        return plots.adversary_weight_curve(self.table(), title=f"What {what} trades, validation split")

    def describe(self) -> list[str]:
        """Say which weight the selection rule names; or that the mitigation has none."""
        if self.experiment.mitigation == "none":
            return ["Without a mitigation there is no weight to choose: every point is plain distillation."]
        if not self.has_weight:
            return [
                f"The mitigation {self.experiment.mitigation} has no weight: 0 is plain distillation, "
                f"{self.experiment.adversary_weight:g} stands for the mitigated student."
            ]
        return describe_weights(
            self.table(), self.experiment.adversary_weight, self.experiment.selection_tolerance
        )

    def widget(self) -> Any:
        import ipywidgets as w

        from fairkd.widgets.figure import LiveFigure

        if not self.scores:
            self.train(self.weight)
        slider = w.SelectionSlider(
            options=[(f"{weight:g}", weight) for weight in self.weights],
            value=self.weight,
            description="adversary weight",
            continuous_update=True,
            style={"description_width": "initial"},
            layout={"width": "420px"},
        )
        button = w.Button(
            description="Train this student",
            tooltip="trains one student with this weight; takes as long as one student",
        )
        message, command, progress = w.HTML(), w.HTML(), w.Output()
        figure = LiveFigure(self.static())

        def update(_: Any = None) -> None:
            self.weight = slider.value
            trained = self.weight in self.scores
            button.disabled = trained
            message.value = self._describe() if trained else "<p>No student has this weight yet.</p>"
            command.value = command_html(self.command, copy=True)
            figure.show(self.static())

        def train(_: Any) -> None:
            button.disabled = True
            failure = ""
            with progress:
                try:
                    self.train(self.weight)
                except FairkdError as error:
                    failure = f"<p>{html.escape(str(error))}</p>"
            progress.clear_output()
            update()
            message.value = failure or message.value

        slider.observe(update, names="value")
        button.on_click(train)
        update()
        return w.VBox([in_a_row(slider, button), message, progress, figure, command])

    def _describe(self) -> str:
        scores = self.scores[self.weight]
        collapsed = " It has collapsed: it predicts at most half of the classes, and its gap means nothing."
        return (
            f"<p>Weight {self.weight:g}: accuracy {scores['accuracy']:.3f} "
            f"({scores['accuracy_low']:.3f} to {scores['accuracy_high']:.3f}), mean recall gap "
            f"{scores['recall_gap']:.3f} ({scores['recall_gap_low']:.3f} to {scores['recall_gap_high']:.3f}), "
            f"validation split.{collapsed if scores['collapsed'] else ''}</p>"
        )
