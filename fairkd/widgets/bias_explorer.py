"""The bias explorer: choose how a bias is made and how strong it is, and see the counts and the images at once."""

from __future__ import annotations

import html
import warnings
from typing import TYPE_CHECKING, Any

from fairkd import plots
from fairkd.config import Experiment
from fairkd.data.audit.counts import association
from fairkd.data.effects import EFFECTS
from fairkd.data.splits import Splits
from fairkd.errors import FairkdError, FairkdWarning
from fairkd.recipes import load_splits
from fairkd.widgets.panel import Panel, command_html, in_a_row, value_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Where the slider starts on data whose skew is their own.
_FIRST_SKEW = 0.95


class BiasExplorer(Panel):
    """Training counts and example images of the experiment's data with another injected bias.

    Args:
        experiment: the data set; its ``bias`` and ``skew`` are where the panel starts.
        splits: those data, if they are loaded already.
    """

    def __init__(self, experiment: Experiment, splits: Splits | None = None) -> None:
        self.experiment = experiment
        self.splits = splits or load_splits(experiment)
        self.bias: str = experiment.bias
        self.skew = experiment.skew
        #: What loading the present data warned of.
        self.warnings: list[str] = []

    @property
    def command(self) -> str:
        return self._experiment().command

    def look(self, bias: str, skew: float | None) -> None:
        """Load the data with this bias; ``skew=None``: the data set's own.

        Raises:
            FairkdError: these data cannot have this bias; the panel stays as it is.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", FairkdWarning)
            self.splits = load_splits(self.experiment.replace(bias=bias, skew=skew))
        self.bias, self.skew = bias, skew
        self.warnings = [str(one.message) for one in caught if issubclass(one.category, FairkdWarning)]

    def static(self) -> go.Figure:
        """Return the training split's counts of class and group."""
        return plots.contingency_heatmap(
            self.splits.counts(),
            split="train",
            label_name=self.splits.label_name,
            group_name=self.splits.group_name,
        )

    def images(self) -> go.Figure:
        """Return example images of the training split, a row a group."""
        train = self.splits.train
        return plots.image_grid(
            train.images,
            train.labels,
            train.groups,
            self.splits.class_names,
            self.splits.group_names,
            label_name=self.splits.label_name,
            group_name=self.splits.group_name,
        )

    def describe(self) -> str:
        """Return how strongly class and group go together, and how the bias was made."""
        rows = association(self.splits)
        values = rows[rows["split"] == "train"].set_index("statistic")["value"]
        made = self.splits.facts.get("skew", "as in the data set")
        return (
            f"Cramér's V of {self.splits.label_name} and {self.splits.group_name} in the training split: "
            f"{values['cramers_v']:.2f} (0: none, 1: the class determines the group). Skew: {made}."
        )

    def widget(self) -> Any:
        import ipywidgets as w

        from fairkd.widgets.figure import LiveFigure

        style = {"description_width": "initial"}
        bias = w.Dropdown(
            options=[
                ("the data set's own", "auto"),
                ("thin the training split", "subsample"),
                *((one, one) for one in EFFECTS),
            ],
            value=self.bias,
            description="bias",
            style=style,
            layout={"width": "320px"},
        )
        skew = w.FloatSlider(
            value=self.skew if self.skew is not None else _FIRST_SKEW,
            min=0.5,
            max=1.0,
            step=0.05,
            description="skew",
            # Data are loaded at each value: those on the way would be waited for.
            continuous_update=False,
            style=style,
            layout={"width": "420px"},
        )
        message, command = w.HTML(), w.HTML()
        counts, images = LiveFigure(self.static()), LiveFigure(self.images())

        def show() -> None:
            message.value = "".join(
                f"<p>{html.escape(line)}</p>" for line in [self.describe(), *self.warnings]
            )
            command.value = command_html(self.command, copy=True)

        def update(_: Any) -> None:
            try:
                self.look(bias.value, value_of(skew))
            except FairkdError as error:
                message.value = f"<p>{html.escape(str(error))}</p>"
                return
            counts.show(self.static())
            images.show(self.images())
            show()

        bias.observe(update, names="value")
        skew.observe(update, names="value")
        show()
        return w.VBox([in_a_row(bias, skew), message, counts, images, command])

    def _experiment(self) -> Experiment:
        return self.experiment.replace(bias=self.bias, skew=self.skew, run_name=None)
