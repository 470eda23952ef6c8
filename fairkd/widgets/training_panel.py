"""The training panel: the mitigated student's training as it goes on, with its brakes and its settings."""

from __future__ import annotations

import contextvars
import html
import math
import threading
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd

from fairkd import plots
from fairkd.config import Experiment
from fairkd.data.splits import Splits
from fairkd.distillers import distiller_entries
from fairkd.errors import TrainingError
from fairkd.mitigation import mitigation_entry
from fairkd.narrative import describe_history
from fairkd.progress import is_headless
from fairkd.recipes import TrainedModel
from fairkd.shown import duration
from fairkd.training.control import Setting
from fairkd.widgets.live import live_training
from fairkd.widgets.panel import Panel, command_html, in_a_row, value_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

_NAME = "Mitigated student"


class UnfinishedError(TrainingError):
    """The student is asked for before it is trained."""

    def _render_traceback_(self) -> list[str]:
        """Let a notebook show the message alone: nothing went wrong."""
        return [str(self)]


class TrainingPanel(Panel):
    """Trains a student with the experiment's mitigation and shows it: in the background in JupyterLab.

    Settings that are changed on the way make another model of it, stored under a hash of its own; see
    :mod:`fairkd.training.control`. Run again, the cell shows the training that is going on instead of starting a
    second one, and after a change, once it has finished, the student without changes.

    Args:
        experiment: parameters.
        teacher: what the student learns from.
        splits: the data; default: what the experiment names.
        processes: how many processes train the student together, one a GPU, started as ``fairkd train student`` by
            ``torchrun``: they load what the experiment names. They can be stopped, but not paused, and no setting
            can be changed. If the kernel dies, they go on to the end.
    """

    def __init__(
        self,
        experiment: Experiment,
        teacher: TrainedModel,
        splits: Splits | None = None,
        *,
        processes: int = 1,
    ) -> None:
        self.experiment = experiment
        self.live = live_training(experiment, teacher, splits, processes)
        self._box: Any = None
        self._figure: Any = None
        self._cell: contextvars.Context | None = None
        self._lock = threading.RLock()

    @property
    def student(self) -> TrainedModel:
        """The trained student; trained in the foreground if no training has begun.

        Raises:
            UnfinishedError: its training is still going on, or was stopped; says what to do.
            FairkdError: what made the training fail.
        """
        if self.live.state == "waiting":
            self.run()
        if self.live.error is not None:
            raise self.live.error
        if self.live.student is None:
            raise UnfinishedError(f"{self.describe()[0]} Then run this cell again, and those below.")
        return self.live.student

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch, as :attr:`TrainedModel.history` has it; the last one may be of an unfinished epoch."""
        return self.live.table

    @property
    def command(self) -> str:
        return self.experiment.replace(run_name=None).command

    def run(self) -> pd.DataFrame:
        """Train in the foreground and return the history: after a keyboard interrupt, that of what is done.

        The training then goes on, here or elsewhere, from the step after the last.
        """
        self.live.run()
        if self.live.error is not None:
            raise self.live.error
        return self.history

    def static(self) -> go.Figure:
        """Return the training so far as a figure; where no training has begun, an empty one."""
        table = self.live.table
        if table.empty:
            table = pd.DataFrame([{"epoch": 0.0, "train_loss": math.nan}])
        title = f"{_NAME}: {self.experiment.mitigation}"
        return plots.training_monitor(table, epochs=self.experiment.student_epochs, title=title)

    def describe(self) -> list[str]:
        """Say how far the training is, or what it ended with; and whether it is another model than asked for."""
        live, epochs = self.live, self.experiment.student_epochs
        if live.state == "finished":
            sentences = [f"Finished. {describe_history(live.table, _NAME)}"]
        else:
            words = {
                "waiting": f"{_NAME}: not trained yet. Display the panel, or call .run().",
                "running": f"{_NAME}: in training, epoch {self._epoch} of {epochs}. Wait until the panel says "
                "that it has finished.",
                "stopped": f"{_NAME}: stopped in epoch {self._epoch} of {epochs}; a checkpoint is kept. Press "
                "Resume in the panel and wait until it has finished.",
                "failed": f"{_NAME}: {live.error}",
            }
            sentences = [words[live.state]]
        if live.control.changes:
            changes = ", ".join(
                f"Change({one.step}, {one.setting!r}, {one.value})" for one in live.control.changes
            )
            sentences.append(
                "Its settings were changed on the way, so that it is another model than the parameters name, stored "
                "under a hash of its own; fairkd.distill_student(experiment, teacher, control="
                f"TrainingControl([{changes}])) trains it again."
            )
        return sentences

    def widget(self) -> Any:
        """Return the panel; asked again, the same one."""
        if self._box is None:
            self._box = self._make()
        return self._box

    def _ipython_display_(self) -> None:
        # One that is there already is loaded at once: the cells below ask for it.
        if is_headless() or (self.live.state == "waiting" and self.live.is_trained):
            self.run()
        super()._ipython_display_()
        if not is_headless():
            # What the training thread displays later belongs to this cell.
            self._cell = contextvars.copy_context()
            self.live.start()
            self._leave_figure()

    def _leave_figure(self) -> None:
        """Once the training has finished, display a figure that stays in the notebook for the live one."""
        from IPython.display import display

        with self._lock:
            if self.live.state == "finished" and self._cell is not None:
                cell, self._cell = self._cell, None
                self._box.children = [part for part in self._box.children if part is not self._figure]
                cell.run(display, self.static())

    @property
    def _epoch(self) -> int:
        """The number of the present epoch, from 1."""
        epochs = self.experiment.student_epochs
        return min(epochs, 1 + (self.live.done * epochs) // max(1, self.live.total))

    def _make(self) -> Any:
        import ipywidgets as w

        from fairkd.widgets.figure import LiveFigure

        live = self.live
        stop, pause, resume = (
            w.Button(description=name, icon=icon, tooltip=hint, layout={"width": "110px"})
            for name, icon, hint in (
                ("Stop", "stop", "write a checkpoint and end; Resume goes on from there"),
                ("Pause", "pause", "wait, with everything in memory"),
                ("Resume", "play", "go on after a pause or a stop"),
            )
        )
        bar = w.IntProgress(max=1, layout={"width": "220px"})
        state, words, command = w.HTML(), w.HTML(), w.HTML(command_html(self.command, copy=True))
        self._figure = figure = LiveFigure(self.static())
        sliders = [self._slider(setting) for setting in self._settings()]

        def update() -> None:
            with self._lock:
                stop.disabled = live.state != "running" or live.control.stopping
                pause.disabled = stop.disabled or live.control.paused or live.processes > 1
                resume.disabled = not (live.control.paused or live.state in ("stopped", "failed"))
                bar.max = max(1, live.total)
                bar.value = bar.max if live.state == "finished" else live.done
                for slider in sliders:
                    slider.disabled = live.state == "finished"
                # Not each second that passes is to be read out.
                loud = "off" if live.seconds_left is not None else "polite"
                state.value = f'<span role="status" aria-live="{loud}">{html.escape(self._state())}</span>'
                words.value = "".join(f"<p>{html.escape(text)}</p>" for text in self.describe())
                # Somebody who has zoomed in, or hidden a line, does not lose that with the next step.
                figure.show(self.static().update_layout(uirevision=True))
                self._leave_figure()

        stop.on_click(lambda _: live.stop())
        pause.on_click(lambda _: live.pause())
        resume.on_click(lambda _: live.resume())
        live.listener = update
        update()
        return w.VBox([in_a_row(stop, pause, resume, bar, state), in_a_row(*sliders), figure, words, command])

    def _state(self) -> str:
        live = self.live
        if live.control.stopping:
            return "■ stopping after this step"
        if live.control.paused:
            return "❚❚ paused"
        if live.state != "running":
            return {"waiting": "not started", "stopped": "■ stopped", "finished": "✓ finished"}.get(
                live.state, "✗ failed"
            )
        left = live.seconds_left
        if left is None:
            return f"▶ {live.activity}"
        return f"▶ epoch {self._epoch} of {self.experiment.student_epochs}, about {duration(left)} left"

    def _settings(self) -> list[Setting]:
        """What this training reads, and a slider can therefore change; other processes cannot be told.

        Where a method of the user's keeps what it has read is not known.
        """
        if self.live.processes > 1:
            return []
        mitigation = mitigation_entry(self.experiment.mitigation)
        read = set() if mitigation.code else {*mitigation.options}
        for entry in (one for _, one in distiller_entries(self.experiment.distiller) if not one.code):
            # CTKD learns its temperature.
            read |= {*entry.options} - ({"temperature"} if entry.name == "ctkd" else set())
        return [setting for setting in get_args(Setting) if setting in read]

    def _slider(self, setting: Setting) -> Any:
        import ipywidgets as w

        value = getattr(self.experiment, setting)
        low, high, step = 0.5, 20.0, 0.5
        if setting == "adversary_weight":
            # A twentieth of the weight, in one digit.
            step = float(f"{(value or 10) / 20:.0e}")
            low, high = 0.0, min(1000.0, 100 * step)
        for change in self.live.control.changes:
            value = change.value if change.setting == setting else value
        slider = w.FloatSlider(
            value=value,
            min=min(low, value),
            max=max(high, value),
            step=step,
            description=setting.replace("_", " "),
            tooltip="from the next step on; logged in the history and marked in the figure",
            continuous_update=False,
            style={"description_width": "initial"},
            layout={"width": "420px"},
        )
        slider.observe(lambda _: self.live.control.change(setting, value_of(slider)), names="value")
        return slider
