"""The Pareto explorer: all finished runs by accuracy and disparity, and what is behind each point."""

from __future__ import annotations

import html
import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fairkd import plots
from fairkd.config import Experiment
from fairkd.errors import FairkdError, ParameterError
from fairkd.evaluation import evaluate
from fairkd.metrics import METRICS
from fairkd.plots.text import metric, model_label, quantity
from fairkd.predictions import Predictions, read_predictions
from fairkd.runs import COSTS, DISPARITIES, as_settings, choose, list_runs
from fairkd.shown import facts_html
from fairkd.store import read_json
from fairkd.widgets.panel import Panel, command_html, in_a_row, value_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

_TOLERANCES = (0.0, 0.05)
_CELL = 'style="text-align: left; padding: 2px 12px 2px 0"'


class ParetoExplorer(Panel):
    """All runs of one data set; a point is a model of a setting, over its seeds.

    Args:
        experiment: its output folder is searched, its run is the point that is looked at first, its
            ``selection_tolerance`` where the rule starts.
        disparity: the metric against the accuracy, one of :data:`fairkd.runs.DISPARITIES`.

    Raises:
        ParameterError: an unknown disparity.
    """

    def __init__(self, experiment: Experiment, disparity: str = "recall_gap") -> None:
        if disparity not in DISPARITIES:
            raise ParameterError(f"disparity={disparity!r} is unknown; allowed: {', '.join(DISPARITIES)}")
        self.experiment, self.disparity = experiment, disparity
        self.size = ""
        self.tolerance = experiment.selection_tolerance
        self.runs = list_runs(experiment.output_path)
        self.datasets = sorted(self.runs["dataset"].unique())
        own = self.runs.loc[self.runs["run"] == experiment.run, "dataset"]
        self.dataset = own.iloc[0] if len(own) else (self.datasets or [""])[0]
        #: The label of the point that is looked at.
        self.chosen = ""
        self._compute()

    @property
    def command(self) -> str:
        """The command of the chosen point's first run; of this experiment, where there is no run."""
        if not self.chosen:
            return self.experiment.command
        run = self._row()["runs"][0]
        return self._experiment_of(run).command + self._plugin_of(run)

    def static(self) -> go.Figure:
        return self._figure(chosen=False)

    def _figure(self, *, chosen: bool) -> go.Figure:
        if self.points.empty:
            raise FairkdError(
                f"{self.experiment.output_path} holds no finished run: `fairkd run` makes one, "
                "`fairkd run -p adversary_weight 3` another"
            )
        rule = choose(self.points, self.tolerance)
        title = f"Runs on {self.dataset}"
        note = "Bars: ± one standard deviation over the seeds; of one seed, its interval."
        if rule is not None:
            note += " Ring: the student that the rule names on validation data."
        return plots.pareto_front(
            self.points.assign(
                selected=self.points.index == rule, chosen=chosen & (self.points["model"] == self.chosen)
            ),
            disparity=self.disparity,
            size=self.size or None,
            title=title,
            note=note,
        )

    def describe(self) -> list[str]:
        """Say how many runs there are, which student the rule names on validation data, and what it scores."""
        if self.points.empty:
            return ["There is no finished run yet: `fairkd run` makes one."]
        name = METRICS[self.disparity].title
        runs = self.runs.loc[self.runs["dataset"] == self.dataset, "run"].nunique()
        sentences = [
            f"{runs} {'run' if runs == 1 else 'runs'} on {self.dataset}, {len(self.points)} different models."
        ]
        rule = choose(self.points, self.tolerance)
        if rule is None:
            students = self.points[self.points["role"] != "teacher"]
            if len(students) and students["collapsed"].all():
                return [*sentences, "Every student has collapsed, so that none can be chosen."]
            return [
                *sentences,
                f"No run has noted its {name} on validation data, by which a student is chosen.",
            ]
        row = self.points.iloc[rule]
        return [
            *sentences,
            f"Of the students within {self.tolerance:g} of the best validation accuracy, {model_label(row['model'])} "
            f"has the smallest {name} on validation data ({row['validation_disparity']:.3f}); on test data it has "
            f"{row['disparity']:.3f} at an accuracy of {row['accuracy']:.3f}.",
        ]

    def details(self) -> str:
        """Return HTML on the chosen point: scores, costs, accuracy by group and what was changed."""
        if not self.chosen:
            return "<p>Choose a point: click on it, or take it from the list.</p>"
        row = self._row()
        facts = {
            "accuracy": _estimate(row, "accuracy"),
            METRICS[self.disparity].title: _estimate(row, "disparity"),
            **(
                {"collapsed": "predicts at most half of the classes: its gap means nothing"}
                if row["collapsed"]
                else {}
            ),
            "seeds": f"{row['seeds']}",
            **{
                metric(name).label: f"{quantity(row[name])} {metric(name).unit}".removesuffix(" count")
                for name in COSTS
                if name in row and pd.notna(row[name])
            },
            "changed": row["setting"] or "nothing: the default parameters",
            "runs": ", ".join(row["runs"][:5]) + (" …" if len(row["runs"]) > 5 else ""),
        }
        return f"<h4>{html.escape(model_label(row['model']))}</h4>{facts_html(facts)}{self._by_group(row)}"

    def widget(self) -> Any:
        import ipywidgets as w

        from fairkd.widgets.figure import LiveFigure

        if self.points.empty:
            return w.HTML("".join(f"<p>{html.escape(line)}</p>" for line in self.describe()))
        style, layout = {"description_width": "initial"}, {"width": "380px"}
        dataset = w.Dropdown(
            options=self.datasets, value=self.dataset, description="data set", style=style, layout=layout
        )
        disparity = w.Dropdown(
            options=[(METRICS[name].title, name) for name in DISPARITIES],
            value=self.disparity,
            description="disparity",
            style=style,
            layout=layout,
        )
        size = w.Dropdown(
            options=[("none", ""), *((metric(name).label, name) for name in COSTS if name in self.points)],
            value=self.size,
            description="area of the symbols",
            style=style,
            layout=layout,
        )
        tolerance = w.FloatSlider(
            value=self.tolerance,
            min=_TOLERANCES[0],
            max=max(_TOLERANCES[1], self.tolerance),
            step=0.005,
            readout_format=".3f",
            description="accuracy tolerance of the rule",
            style=style,
            layout=layout,
        )
        point = w.Dropdown(description="point", style=style, layout={"width": "780px"})
        message, details, command = w.HTML(), w.HTML(), w.HTML()
        figure = LiveFigure(self.static())

        def look(_: Any = None) -> None:
            self.chosen = point.value or ""
            figure.show(self._figure(chosen=True))
            details.value = self.details()
            command.value = command_html(self.command, copy=True)

        def click(row: int | None) -> None:
            if row is not None:
                point.value = self.points.loc[row, "model"]

        def update(_: Any) -> None:
            self.dataset, self.disparity = dataset.value, disparity.value
            self.size, self.tolerance = size.value, value_of(tolerance)
            self._compute()
            show()

        def show() -> None:
            # New options choose the first of them.
            point.unobserve(look, names="value")
            point.options = [(model_label(name), name) for name in self.points["model"]]
            point.value = self.chosen
            point.observe(look, names="value")
            message.value = "".join(f"<p>{html.escape(line)}</p>" for line in self.describe())
            look()

        for control in (dataset, disparity, size, tolerance):
            control.observe(update, names="value")
        point.observe(look, names="value")
        figure.on_click(click)
        show()
        controls = [in_a_row(dataset, disparity), in_a_row(size, tolerance)]
        return w.VBox([*controls, message, figure, point, details, command])

    def _compute(self) -> None:
        runs = self.runs[self.runs["dataset"] == self.dataset]
        self.points = as_settings(runs, self.disparity) if len(runs) else pd.DataFrame()
        labels = [] if self.points.empty else list(self.points["model"])
        if self.chosen not in labels:
            rule = choose(self.points, self.tolerance) if labels else None
            self.chosen = labels[rule if rule is not None else 0] if labels else ""

    def _row(self) -> pd.Series:
        return self.points[self.points["model"] == self.chosen].iloc[0]

    def _experiment_of(self, run: str) -> Experiment:
        folder: Path = self.experiment.output_path / run
        values = read_json(folder / "metrics.json")["experiment"]
        known = {name: value for name, value in values.items() if name in Experiment.model_fields}
        known.pop("plugin", None)
        return Experiment(**known, output_dir=self.experiment.output_dir)

    def _plugin_of(self, run: str) -> str:
        """Return the words of a command that name the run's plugin, which is not run here."""
        path = self.experiment.output_path / run / "experiment.json"
        values = read_json(path).get("parameters", {}) if path.is_file() else {}
        return f" -p plugin {shlex.quote(str(values['plugin']))}" if values.get("plugin") else ""

    def _by_group(self, row: pd.Series) -> str:
        """Return the accuracy by group of the point's first run as an HTML table."""
        path = self.experiment.output_path / row["runs"][0] / "predictions.parquet"
        try:
            frame = read_predictions(path)
            frame = frame[frame["model"] == row["role"]].reset_index(drop=True)
            with warnings.catch_warnings():
                # Small groups: their intervals say so.
                warnings.simplefilter("ignore")
                table = evaluate(Predictions(frame.drop(columns="model")), replicates=200)
        except (KeyError, FairkdError) as error:
            return f"<p>{html.escape(f'No table by group: {error}')}</p>"
        groups = table[
            (table["metric"] == "accuracy") & (table["class"] == "all") & (table["group"] != "all")
        ]
        rows = "".join(
            f'<tr><th scope="row" {_CELL}>{html.escape(str(one.group))}</th><td {_CELL}>{one.value:.3f}</td>'
            f"<td {_CELL}>{one.low:.3f} to {one.high:.3f}</td><td {_CELL}>{one.n}</td></tr>"
            for one in groups.itertuples()
        )
        names = ("group", "accuracy", "95 % interval", "n")
        head = "".join(f'<th scope="col" {_CELL}>{name}</th>' for name in names)
        return f"<p>Accuracy by group, run {html.escape(row['runs'][0])}:</p><table><tr>{head}</tr>{rows}</table>"


def _estimate(row: pd.Series, name: str) -> str:
    return f"{row[name]:.3f} ({row[f'{name}_low']:.3f} to {row[f'{name}_high']:.3f})"
