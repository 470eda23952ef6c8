"""The panels: their static twins, the command of their state, and what moving a slider does."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from ipywidgets import HTML, Button, FloatSlider, SelectionSlider, SelectMultiple, Widget
from panel_parts import command_of, drawn, parts_of
from scipy import stats

from fairkd.config import Experiment
from fairkd.errors import FairkdError, ParameterError, TrainingError
from fairkd.inference import outputs_of, softmax
from fairkd.models import create_model
from fairkd.recipes import distill_student, train_teacher
from fairkd.training import Trainer
from fairkd.widgets import AdversaryWeightPanel, TemperaturePanel
from fairkd.widgets.figure import LiveFigure

# So few steps rarely suffice to predict more than one class.
pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")


@pytest.fixture(autouse=True)
def close_widgets():
    yield
    Widget.close_all()


@pytest.fixture
def shell(monkeypatch):
    """An IPython shell, as in a notebook's kernel."""
    monkeypatch.setattr(pio.renderers, "default", "plotly_mimetype")
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def displayed(panel: Any) -> list[dict[str, Any]]:
    with capture_output() as captured:
        panel._ipython_display_()
    return [output.data for output in captured.outputs]


# Temperature


@pytest.fixture
def temperature_panel(tiny_splits) -> TemperaturePanel:
    network = create_model("resnet8_cifar", 3, image_size=16, seed=1)
    return TemperaturePanel(Experiment(temperature=4), network, tiny_splits)


def test_the_static_figure_shows_the_softened_labels_of_the_chosen_images(temperature_panel):
    figure = temperature_panel.static()
    assert isinstance(figure, go.Figure) and figure.data and figure.layout.title.text
    rows, logits = temperature_panel.rows, temperature_panel.logits
    shown = np.concatenate(
        [np.ravel(trace.x if trace.orientation == "h" else trace.y) for trace in figure.data]
    )
    for temperature in (1.0, 4.0, 10.0):
        for value in softmax(logits[rows], temperature).ravel():
            assert np.isclose(shown.astype(float), value).any()


def test_the_images_at_the_start_are_the_least_certain_two_of_each_group(temperature_panel, tiny_splits):
    data = tiny_splits.validation
    ranked = np.sort(temperature_panel.logits, axis=1)
    margin = ranked[:, -1] - ranked[:, -2]
    for group in (0, 1):
        chosen = [row for row in temperature_panel.rows if data.groups[row] == group]
        assert len(chosen) == 2
        assert sorted(margin[chosen]) == sorted(margin[data.groups == group])[:2]
    chosen = TemperaturePanel(Experiment(), _network(), tiny_splits, rows=[3, 5]).rows
    assert chosen == [3, 5]


def _network():
    return create_model("resnet8_cifar", 3, image_size=16, seed=1)


def test_the_temperature_s_command_is_the_experiment_with_that_temperature(temperature_panel):
    assert shlex.split(temperature_panel.command) == ["fairkd", "run"], "the default"
    temperature_panel.temperature = 2.5
    assert shlex.split(temperature_panel.command) == ["fairkd", "run", "-p", "temperature", "2.5"]


def test_moving_the_temperature_changes_the_labels_and_the_command(temperature_panel):
    box = temperature_panel.widget()
    (slider,) = parts_of(box, FloatSlider)
    bars, images, entropy = parts_of(box, LiveFigure)
    before = [drawn(bars), drawn(images)]
    assert drawn(entropy)["layout"]["shapes"][-1]["x0"] == 4.0
    slider.value = 10.0
    assert drawn(bars) != before[0] and drawn(images) == before[1]
    (line,) = (shape for shape in drawn(entropy)["layout"]["shapes"] if shape["x0"] == 10.0)
    assert line["x1"] == 10.0
    assert any("At T = 10 the " in part.value for part in parts_of(box, HTML))
    assert drawn(bars) == drawn(temperature_panel._softened([10.0]))
    assert command_of(box) == temperature_panel.command == "fairkd run -p temperature 10.0"
    slider.value = 4.0
    assert [drawn(bars), drawn(images)] == before
    # What a page makes of a step back from 4.
    slider.value = 3.5000000000000004
    assert command_of(box) == "fairkd run -p temperature 3.5"


def test_the_entropy_figure_has_a_curve_a_group(temperature_panel, tiny_splits):
    curves = {trace.name: trace for trace in temperature_panel.entropy().data if trace.name}
    for code, name in enumerate(tiny_splits.group_names):
        (curve,) = (trace for label, trace in curves.items() if name in label)
        rows = tiny_splits.validation.groups == code
        highest = softmax(temperature_panel.logits[rows], float(curve.x[-1]))
        assert curve.y[-1] == pytest.approx(stats.entropy(highest, axis=1).mean())


def test_choosing_other_images_changes_what_is_shown(temperature_panel):
    box = temperature_panel.widget()
    (chosen,) = parts_of(box, SelectMultiple)
    bars, images, _ = parts_of(box, LiveFigure)
    chosen.value = (0, 7)
    assert temperature_panel.rows == [0, 7]
    assert drawn(bars) == drawn(temperature_panel._softened([4.0]))
    assert drawn(images) == drawn(temperature_panel.images())
    chosen.value = tuple(range(10))
    assert temperature_panel.rows == list(range(6)), "six at most"
    assert any("The first 6 of them are shown." in part.value for part in parts_of(box, HTML))
    chosen.value = ()
    assert temperature_panel.rows == list(range(6)), "and never none"


@pytest.mark.parametrize("temperature", [0.1, 50.0])
def test_a_temperature_outside_the_slider_s_usual_range_is_kept(tiny_splits, temperature):
    panel = TemperaturePanel(Experiment(temperature=temperature), _network(), tiny_splits)
    (slider,) = parts_of(panel.widget(), FloatSlider)
    assert slider.value == panel.temperature == temperature


def test_the_panel_describes_its_state_and_calibrates_on_validation(temperature_panel, tiny_splits):
    assert temperature_panel.describe() and all(
        isinstance(text, str) for text in temperature_panel.describe()
    )
    expected = outputs_of(_network(), tiny_splits.validation.images).logits
    np.testing.assert_allclose(temperature_panel.logits, expected)
    assert 0.05 <= temperature_panel.calibration <= 100


def test_an_empty_validation_split_is_named(tiny_splits):
    empty = dataclasses.replace(
        tiny_splits, validation=tiny_splits.validation.subset(np.array([], dtype=int))
    )
    with pytest.raises(ParameterError, match="the validation split is empty"):
        TemperaturePanel(Experiment(), _network(), empty)


# Adversary weight


@pytest.fixture
def experiment(tiny_experiment) -> Experiment:
    return tiny_experiment.replace(
        teacher_epochs=1, student_epochs=1, adversary_weight=0.5, adversary_weights=[]
    )


@pytest.fixture
def weight_panel(experiment, tiny_splits) -> AdversaryWeightPanel:
    """Plain distillation and weight 0.5 are trained, weight 2 is not."""
    teacher = train_teacher(experiment, tiny_splits)
    for variant in (experiment.replace(mitigation="none"), experiment):
        distill_student(variant, teacher, tiny_splits)
    return AdversaryWeightPanel(experiment, teacher, weights=(0.5, 2.0), splits=tiny_splits)


def test_the_panel_finds_the_students_that_exist(weight_panel, tiny_splits, experiment):
    assert weight_panel.weights == [0.0, 0.5, 2.0] and sorted(weight_panel.scores) == [0.0, 0.5]
    table = weight_panel.table()
    assert table["adversary_weight"].tolist() == [0.0, 0.5] and table["selected"].tolist() == [False, True]
    student = distill_student(experiment, weight_panel.teacher, tiny_splits)
    labels, predicted = student.validation.labels, student.validation.predicted
    assert table["accuracy"][1] == pytest.approx((labels == predicted).mean())
    assert (table["accuracy_low"] <= table["accuracy"]).all()


def test_training_a_weight_adds_it_to_the_curve_and_only_the_first_time_trains(weight_panel, monkeypatch):
    before = drawn(weight_panel.static())
    weight_panel.train(2.0)
    assert weight_panel.table()["adversary_weight"].tolist() == [0.0, 0.5, 2.0]
    assert drawn(weight_panel.static()) != before
    monkeypatch.setattr(Trainer, "fit", None)
    weight_panel.train(2.0)


def test_the_weight_s_command_is_the_student_s_experiment(weight_panel, experiment):
    assert weight_panel.command == experiment.command
    weight_panel.weight = 2.0
    assert "-p adversary_weight 2.0" in weight_panel.command
    weight_panel.weight = 0.0
    assert "-p mitigation none" in weight_panel.command


def test_moving_the_weight_changes_the_figure_the_words_and_the_command(weight_panel):
    box = weight_panel.widget()
    (slider,), (button,) = parts_of(box, SelectionSlider), parts_of(box, Button)
    (figure,) = parts_of(box, LiveFigure)
    before = drawn(figure)
    assert button.disabled and "Weight 0.5: accuracy" in parts_of(box, HTML)[0].value
    slider.value = 0.0
    assert drawn(figure) != before and drawn(figure) == drawn(weight_panel.static())
    assert "Weight 0: accuracy" in parts_of(box, HTML)[0].value
    assert command_of(box) == weight_panel.command
    slider.value = 2.0
    assert not button.disabled and "No student has this weight yet" in parts_of(box, HTML)[0].value


def test_the_button_trains_the_student_of_the_chosen_weight(weight_panel):
    box = weight_panel.widget()
    (slider,), (button,) = parts_of(box, SelectionSlider), parts_of(box, Button)
    slider.value = 2.0
    button.click()
    assert button.disabled and "Weight 2: accuracy" in parts_of(box, HTML)[0].value
    assert drawn(parts_of(box, LiveFigure)[0]) == drawn(weight_panel.static())
    assert 2.0 in weight_panel.scores


def test_a_training_that_fails_says_so_beside_the_button(weight_panel, monkeypatch):
    def fail(self):
        raise TrainingError("the loss is not finite at epoch 1 <b>")

    monkeypatch.setattr(Trainer, "fit", fail)
    box = weight_panel.widget()
    (slider,), (button,) = parts_of(box, SelectionSlider), parts_of(box, Button)
    slider.value = 2.0
    button.click()
    assert "the loss is not finite at epoch 1 &lt;b&gt;" in parts_of(box, HTML)[0].value
    assert not button.disabled and 2.0 not in weight_panel.scores


def test_without_a_student_the_static_figure_says_what_to_do_and_the_widget_trains_one(
    experiment, tiny_splits
):
    panel = AdversaryWeightPanel(experiment, train_teacher(experiment, tiny_splits), splits=tiny_splits)
    assert panel.scores == {}
    with pytest.raises(FairkdError, match=r"call \.train\(weight\) first"):
        panel.static()
    panel.widget()
    assert list(panel.scores) == [0.5]


def test_without_a_mitigation_the_panel_has_no_weight_to_choose(experiment, tiny_splits):
    plain = experiment.replace(mitigation="none")
    panel = AdversaryWeightPanel(plain, train_teacher(plain, tiny_splits), splits=tiny_splits)
    assert panel.describe() == [
        "Without a mitigation there is no weight to choose: every point is plain distillation."
    ]


# Where nobody can move a slider


def test_headless_display_is_a_plotly_figure_and_the_command(temperature_panel, shell, monkeypatch):
    monkeypatch.setenv("FAIRKD_HEADLESS", "1")
    temperature_panel.temperature = 2.0
    figure, command = displayed(temperature_panel)
    expected = temperature_panel.static().to_plotly_json()
    shown = figure["application/vnd.plotly.v1+json"]
    assert len(shown["data"]) == len(expected["data"])
    assert "text/html" not in figure, "plotly.js would be repeated for each figure"
    assert command["text/html"] == "<p>Reproduce with <code>fairkd run -p temperature 2.0</code></p>"


def test_in_a_live_notebook_the_widget_is_displayed(temperature_panel, shell, monkeypatch):
    monkeypatch.setenv("FAIRKD_HEADLESS", "0")
    (view,) = displayed(temperature_panel)
    assert "application/vnd.jupyter.widget-view+json" in view
