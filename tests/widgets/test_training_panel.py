"""The training panel without a browser: its buttons, its sliders, what it shows, and where nobody is there to look."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Iterator
from typing import Any

import plotly.io as pio
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from ipywidgets import HTML, Button, FloatSlider, IntProgress, Widget
from panel_parts import command_of, drawn, parts_of

from fairkd.config import Experiment
from fairkd.errors import TrainingError
from fairkd.recipes import TrainedModel, distill_student, is_trained, student_folder, train_teacher
from fairkd.training import Change, Trainer
from fairkd.widgets import TrainingPanel, live
from fairkd.widgets.figure import LiveFigure
from fairkd.widgets.training_panel import UnfinishedError

# So few steps rarely suffice to predict more than one class.
pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")

PLOT = "application/vnd.plotly.v1+json"


@pytest.fixture(autouse=True)
def fresh(monkeypatch) -> Iterator[None]:
    """Nothing trains before or after; news come at once."""
    monkeypatch.setattr(live, "_SECONDS_BETWEEN_NEWS", 0.0)
    live._LIVE.clear()
    yield
    for training in live._LIVE.values():
        training.control.stop()
        training.wait(60)
    Widget.close_all()


@pytest.fixture
def experiment(tiny_experiment: Experiment) -> Experiment:
    return tiny_experiment.replace(teacher_epochs=1, adversary_weight=2.0)


@pytest.fixture
def teacher(experiment, tiny_splits) -> TrainedModel:
    return train_teacher(experiment, tiny_splits)


@pytest.fixture
def panel(experiment, teacher, tiny_splits) -> TrainingPanel:
    return TrainingPanel(experiment, teacher, tiny_splits)


@pytest.fixture
def shell(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(pio.renderers, "default", "plotly_mimetype")
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def displayed(panel: TrainingPanel) -> list[dict[str, Any]]:
    with capture_output() as captured:
        panel._ipython_display_()
        panel.live.wait(60)
    return [output.data for output in captured.outputs]


class Gate:
    """Holds a panel's training before a step, counted from 0, until it is opened."""

    def __init__(self, panel: TrainingPanel, number: int) -> None:
        self.reached, self.opened, self.taken = threading.Event(), threading.Event(), 0
        control, observe = panel.live.control, panel.live.control.on_step
        control.settle_seconds = 0

        def on_step(trainer: Trainer, epoch: int) -> None:
            observe(trainer, epoch)
            if self.taken == number:
                self.reached.set()
                assert self.opened.wait(60)
            self.taken += 1

        control.on_step = on_step

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        assert self.reached.wait(60)
        yield
        self.opened.set()


def buttons_of(box: Any) -> dict[str, Button]:
    return {button.description: button for button in parts_of(box, Button)}


def words_of(box: Any) -> str:
    return " ".join(part.value for part in parts_of(box, HTML))


# Without anybody there


def test_headless_it_trains_in_the_foreground_and_shows_a_figure(
    panel, experiment, teacher, tiny_splits, shell, monkeypatch
):
    monkeypatch.setenv("FAIRKD_HEADLESS", "1")
    monkeypatch.setattr(threading.Thread, "start", None)
    figure, command = displayed(panel)
    assert [trace["name"] for trace in figure[PLOT]["data"]][:3] == [
        "task loss",
        "distillation loss",
        "adversary's loss",
    ]
    assert command["text/html"] == f"<p>Reproduce with <code>{panel.command}</code></p>"
    assert panel.command == experiment.command
    monkeypatch.setattr(Trainer, "fit", None)
    student = distill_student(experiment, teacher, tiny_splits)
    assert panel.student.folder == student.folder == student_folder(experiment, teacher, tiny_splits)
    assert panel.describe()[0].startswith("Finished. ") and len(panel.describe()) == 1


def test_run_returns_the_history_of_every_epoch(panel):
    history = panel.run()
    assert history["epoch"].tolist() == [1, 2, 3] and "changes" not in history
    assert panel.live.state == "finished"


def test_an_interrupt_returns_the_partial_history_and_running_again_goes_on(panel, tiny_splits):
    gate = Gate(panel, 4)
    gate.opened.set()
    observe = panel.live.control.on_step
    interrupts = iter([4])

    def interrupt(trainer: Trainer, epoch: int) -> None:
        observe(trainer, epoch)
        if gate.taken == 5 and next(interrupts, None):
            signal.raise_signal(signal.SIGINT)

    panel.live.control.on_step = interrupt
    history = panel.run()
    assert history["epoch"].tolist() == pytest.approx([1, 1 + 2 / 3])
    assert panel.live.state == "stopped" and gate.taken == 5
    with pytest.raises(
        UnfinishedError, match=r"stopped in epoch 2 of 3; a checkpoint is kept\. Press Resume"
    ):
        panel.student  # noqa: B018
    assert panel.run()["epoch"].tolist() == [1, 2, 3] and gate.taken == 9


def test_the_second_interrupt_leaves_and_what_it_left_can_go_on(panel, monkeypatch):
    fit = Trainer.fit

    def interrupted(self: Trainer) -> Any:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return fit(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "fit", interrupted)
        panel.run()
    assert panel.live.state == "stopped"
    assert panel.run()["epoch"].tolist() == [1, 2, 3]


def test_before_a_training_the_figure_is_empty_and_says_so(panel):
    figure = panel.static()
    assert figure.layout.title.text and figure.layout.xaxis.range == (0, 3 * 1.02)
    assert panel.describe() == ["Mitigated student: not trained yet. Display the panel, or call .run()."]
    assert "not started" in words_of(panel.widget())
    assert panel.history.empty and panel.live.state == "waiting"


# In the background


def test_in_a_live_notebook_it_trains_in_the_background_and_leaves_a_static_figure(panel, shell, monkeypatch):
    monkeypatch.setenv("FAIRKD_HEADLESS", "0")
    view, figure = displayed(panel)
    assert "application/vnd.jupyter.widget-view+json" in view
    assert figure[PLOT]["data"] == json.loads(panel.static().to_json())["data"]
    assert list(panel.static().data[0].x) == [1, 2, 3]
    box = panel.widget()
    assert parts_of(box, LiveFigure) == []
    assert "✓ finished" in words_of(box) and "Finished. " in words_of(box)
    assert command_of(box) == panel.command
    buttons, (bar,) = buttons_of(box), parts_of(box, IntProgress)
    assert all(button.disabled for button in buttons.values()) and bar.value == bar.max == 9
    # Shown again, it shows the same.
    view, figure = displayed(panel)
    assert figure[PLOT]["data"] == json.loads(panel.static().to_json())["data"]


def test_the_live_figure_shows_what_is_done(panel):
    box, gate = panel.widget(), Gate(panel, 4)
    (figure,), (bar,) = parts_of(box, LiveFigure), parts_of(box, IntProgress)
    panel.live.start()
    with gate.held():
        assert drawn(figure) == drawn(panel.static())
        # Three steps an epoch, of which the second has one.
        assert list(figure.shown.data[0].x) == pytest.approx([1, 4 / 3]) and bar.value == 4
        assert "▶ epoch 2 of 3, about " in words_of(box)
        with pytest.raises(UnfinishedError) as caught:
            panel.student  # noqa: B018
        message = (
            "Mitigated student: in training, epoch 2 of 3. Wait until the panel says that it has finished. Then run "
            "this cell again, and those below."
        )
        assert str(caught.value) == message and caught.value._render_traceback_() == [message]
    panel.live.wait(60)
    assert list(figure.shown.data[0].x) == [1, 2, 3]


def test_while_steps_are_taken_all_news_are_of_more_of_them(panel):
    seen: list[float] = []
    panel.live.listener = lambda: seen.append(panel.live.table["epoch"].iloc[-1] if panel.live.done else 0.0)
    panel.live.start()
    panel.live.wait(60)
    steps = [epoch for epoch in seen if epoch][:-1]
    assert steps == pytest.approx([number / 3 for number in range(1, 9)])


def test_the_buttons_pause_stop_and_resume(panel, experiment, teacher, tiny_splits):
    box, gate = panel.widget(), Gate(panel, 4)
    buttons = buttons_of(box)
    assert all(button.disabled for button in buttons.values()) and all(b.tooltip for b in buttons.values())
    panel.live.start()
    with gate.held():
        assert not buttons["Stop"].disabled and not buttons["Pause"].disabled and buttons["Resume"].disabled
        buttons["Pause"].click()
        assert buttons["Pause"].disabled and not buttons["Resume"].disabled and not buttons["Stop"].disabled
        assert "❚❚ paused" in words_of(box)
    panel.live.wait(0.2)
    assert panel.live.state == "running" and gate.taken == 5
    buttons["Stop"].click()
    panel.live.wait(60)
    assert panel.live.state == "stopped" and gate.taken == 5
    assert "■ stopped" in words_of(box) and not buttons["Resume"].disabled and buttons["Stop"].disabled
    folder = student_folder(experiment, teacher, tiny_splits)
    assert (folder.with_name(f"{folder.name}.partial") / "checkpoint.pt").is_file()
    assert panel.history["epoch"].tolist() == pytest.approx([1, 1 + 2 / 3])

    buttons["Resume"].click()
    panel.live.wait(60)
    assert panel.live.state == "finished" and gate.taken == 9
    assert panel.student.folder == folder


def test_stop_says_that_it_was_heard(panel):
    box, gate = panel.widget(), Gate(panel, 1)
    panel.live.start()
    with gate.held():
        buttons_of(box)["Stop"].click()
        assert "■ stopping after this step" in words_of(box)
        assert all(button.disabled for button in buttons_of(box).values())
    panel.live.wait(60)
    assert panel.live.state == "stopped" and gate.taken == 2


def test_run_again_the_cell_shows_the_training_that_goes_on(panel, experiment, teacher, tiny_splits):
    panel.widget()
    gate = Gate(panel, 4)
    panel.live.start()
    with gate.held():
        again = TrainingPanel(experiment.replace(run_name="other"), teacher, tiny_splits)
        threads = threading.active_count()
        again.live.start()
        again.run()
        assert again.live is panel.live and threading.active_count() == threads
        box = again.widget()
        assert list(parts_of(box, LiveFigure)[0].shown.data[0].x) == pytest.approx([1, 4 / 3])
    panel.live.wait(60)
    assert "✓ finished" in words_of(box) and gate.taken == 9
    assert again.student is panel.student
    # Once it has finished, the cell loads the student.
    third = TrainingPanel(experiment, teacher, tiny_splits)
    assert third.live is not panel.live and third.run()["epoch"].tolist() == [1, 2, 3] and gate.taken == 9


def test_another_training_meanwhile_is_refused_in_words(panel, experiment, teacher, tiny_splits):
    panel.widget()
    gate = Gate(panel, 1)
    panel.live.start()
    with gate.held(), pytest.raises(TrainingError, match="another training is going on in this process"):
        distill_student(experiment.replace(seed=1), teacher, tiny_splits)
    panel.live.wait(60)
    assert panel.live.state == "finished"


def test_a_training_that_fails_says_so_and_can_be_tried_again(panel, monkeypatch):
    def fail(self):
        raise TrainingError("the loss is not finite at epoch 1 <b>")

    box = panel.widget()
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", fail)
        panel.live.start()
        panel.live.wait(60)
    assert "✗ failed" in words_of(box) and "not finite at epoch 1 &lt;b&gt;" in words_of(box)
    with pytest.raises(TrainingError, match="not finite at epoch 1 <b>"):
        panel.student  # noqa: B018
    buttons_of(box)["Resume"].click()
    panel.live.wait(60)
    assert panel.live.state == "finished" and panel.student.history["epoch"].tolist() == [1, 2, 3]


# Sliders


def test_a_slider_changes_the_training_marks_the_figure_and_names_the_student_otherwise(
    panel, experiment, teacher, tiny_splits
):
    box, gate = panel.widget(), Gate(panel, 4)
    temperature, weight = parts_of(box, FloatSlider)
    assert (temperature.description, temperature.value) == ("temperature", 4.0)
    assert (weight.description, weight.value, weight.step, weight.max) == ("adversary weight", 2.0, 0.1, 10.0)
    (figure,) = parts_of(box, LiveFigure)
    panel.live.start()
    with gate.held():
        weight.value = 5.0
    panel.live.wait(60)
    assert panel.live.control.changes == [Change(5, "adversary_weight", 5.0)]
    assert panel.history["changes"].dropna().tolist() == ["adversary_weight=5.0@1.667"]
    assert [note.text for note in figure.shown.layout.annotations].count("adversary weight 5") == 1
    assert {shape.x0 for shape in figure.shown.layout.shapes if shape.type == "line"} == {1.667}
    assert not is_trained(experiment, teacher, tiny_splits)
    assert panel.student.folder != student_folder(experiment, teacher, tiny_splits)
    (said,) = panel.describe()[1:]
    assert "another model" in said and "TrainingControl([Change(5, 'adversary_weight', 5.0)])" in said
    assert temperature.disabled and weight.disabled


def test_a_change_is_still_marked_where_the_training_stopped(panel):
    box, gate = panel.widget(), Gate(panel, 1)
    panel.live.start()
    with gate.held():
        parts_of(box, FloatSlider)[0].value = 2.0
        buttons_of(box)["Stop"].click()
        panel.live.resume()
        buttons_of(box)["Pause"].click()
    panel.live.wait(0.2)
    panel.live.control.on_step = lambda trainer, epoch: panel.live.control.stop()
    panel.live.resume()
    panel.live.wait(60)
    assert panel.live.state == "stopped" and panel.live.control.changes == [Change(2, "temperature", 2.0)]
    assert panel.history["changes"].tolist() == ["temperature=2.0@0.667"]
    # The cell, run again, shows the slider where it was left.
    again = TrainingPanel(panel.experiment, panel.live.teacher, panel.live.splits)
    assert parts_of(again.widget(), FloatSlider)[0].value == 2.0


@pytest.mark.parametrize(
    ("changed", "sliders"),
    [
        ({"distiller": "hint"}, ["adversary weight"]),
        ({"distiller": "ctkd"}, ["adversary weight"]),
        ({"distiller": "ctkd+rkd"}, ["adversary weight"]),
        ({"distiller": "ctkd+dkd"}, ["temperature", "adversary weight"]),
        ({"mitigation": "reweighting"}, ["temperature"]),
        ({"mitigation": "group_dro", "distiller": "none"}, []),
    ],
)
def test_only_what_the_training_reads_has_a_slider(experiment, teacher, tiny_splits, changed, sliders):
    box = TrainingPanel(experiment.replace(**changed), teacher, tiny_splits).widget()
    assert [slider.description for slider in parts_of(box, FloatSlider)] == sliders


@pytest.mark.parametrize(
    ("weight", "step", "end"), [(10.0, 0.5, 50), (0.3, 0.01, 1), (0.0, 0.5, 50), (500, 20, 1000)]
)
def test_the_weight_s_slider_is_as_fine_as_the_weight(experiment, teacher, tiny_splits, weight, step, end):
    changed = experiment.replace(adversary_weight=weight)
    slider = parts_of(TrainingPanel(changed, teacher, tiny_splits).widget(), FloatSlider)[1]
    assert (slider.value, slider.min, slider.step, slider.max) == (weight, 0, step, end)
