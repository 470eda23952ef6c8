"""A training in two processes that a notebook starts: followed, stopped, resumed, and what it says when it fails."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from ipywidgets import Button, FloatSlider, Widget
from panel_parts import parts_of

from fairkd.config import Experiment
from fairkd.errors import ParameterError, TrainingError
from fairkd.recipes import TrainedModel, is_trained, student_folder, train_teacher
from fairkd.train_command import train
from fairkd.widgets import TrainingPanel, live

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning"),
]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    live._LIVE.clear()
    yield
    for training in live._LIVE.values():
        training.control.stop()
        training.wait(120)
    live._LIVE.clear()
    Widget.close_all()


@pytest.fixture
def experiment(tmp_path) -> Experiment:
    return Experiment(
        samples=600,
        teacher="test_resnet",
        teacher_epochs=1,
        student_epochs=3,
        output_dir=str(tmp_path),
        device="cpu",
    )


@pytest.fixture
def teacher(experiment) -> TrainedModel:
    return train_teacher(experiment)


def until(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def test_the_panel_follows_stops_and_resumes_two_processes(experiment, teacher):
    longer = experiment.replace(student_epochs=20)
    panel = TrainingPanel(longer, teacher, processes=2)
    box = panel.widget()
    assert parts_of(box, FloatSlider) == []
    buttons = {button.description: button for button in parts_of(box, Button)}
    panel.live.start()
    until(lambda: panel.live.done > 5)
    assert panel.history["train_loss"].notna().all() and panel.live.seconds_left is not None
    assert buttons["Pause"].disabled and not buttons["Stop"].disabled
    buttons["Stop"].click()
    panel.live.wait(120)
    assert panel.live.state == "stopped", panel.live.error
    partial = student_folder(longer, teacher).with_suffix(".partial")
    assert (partial / "checkpoint.pt").is_file()
    done = panel.live.done
    buttons["Resume"].click()
    panel.live.wait(240)
    assert panel.live.state == "finished", panel.live.error
    assert panel.history["epoch"].tolist() == list(range(1, 21)) and done > 0
    assert is_trained(longer, teacher)
    settings = json.loads((panel.student.folder / "config.json").read_text())
    assert settings["processes"] == 2


def test_what_the_processes_said_last_is_told(experiment, teacher):
    panel = TrainingPanel(experiment.replace(batch_size=2), teacher, processes=3)
    with pytest.raises(
        TrainingError, match=r"(?s)the 3 processes ended with 1.*cannot be shared by 3 processes"
    ):
        panel.run()
    assert panel.live.state == "failed"


def test_metrics_are_of_one_training(tmp_path):
    with pytest.raises(
        ParameterError, match="--metrics follows one training: `fairkd train student`, not students"
    ):
        train(metrics=tmp_path / "metrics.json")
