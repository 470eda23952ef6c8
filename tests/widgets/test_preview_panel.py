"""The what-if panel and its figure: what moving a slider shows, beside students trained in full."""

from __future__ import annotations

import threading

import pandas as pd
import pytest
from ipywidgets import HTML, FloatSlider, SelectionSlider, Widget
from panel_parts import command_of, drawn, parts_of

from fairkd import plots
from fairkd.config import Experiment
from fairkd.errors import FairkdError
from fairkd.recipes import HeadPreview, distill_student, train_teacher
from fairkd.training import one_training
from fairkd.widgets import AdversaryWeightPanel, PreviewPanel
from fairkd.widgets.figure import LiveFigure

# So few steps rarely suffice to predict more than one class.
pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")


@pytest.fixture
def panel(tiny_experiment: Experiment, tiny_splits):
    experiment = tiny_experiment.replace(adversary_weight=3.0, temperature=4.0)
    teacher = train_teacher(experiment, tiny_splits)
    student = distill_student(experiment.replace(mitigation="none"), teacher, tiny_splits)
    trained = AdversaryWeightPanel(experiment, teacher, weights=(), splits=tiny_splits).table()
    yield PreviewPanel(experiment, teacher, student, tiny_splits, trained=trained, weights=(0.0, 1.0, 3.0))
    Widget.close_all()


def test_moving_a_slider_previews_its_values_and_shows_them(panel):
    box = panel.widget()
    (temperature,), (weight,) = parts_of(box, FloatSlider), parts_of(box, SelectionSlider)
    (figure,) = parts_of(box, LiveFigure)
    assert set(panel.scores) == {(4.0, 0.0), (4.0, 3.0)}, "plain distillation and the run's own weight"
    before = drawn(figure)
    weight.value = 1.0
    assert drawn(figure) != before
    scores = panel.scores[4.0, 1.0]
    (said,) = [part.value for part in parts_of(box, HTML) if "weight 1:" in part.value]
    assert f"accuracy {scores['accuracy']:.3f}, mean recall gap {scores['recall_gap']:.3f}" in said
    assert f"the adversary {scores['adversary_balanced_accuracy']:.3f} (chance 0.500)" in said
    assert "-p adversary_weight 1.0" in command_of(box)
    temperature.value = 10.0
    assert "-p temperature 10.0" in command_of(box) and (10.0, 1.0) in panel.scores
    assert "T = 10" in figure.shown.layout.title.text
    weight.value = 0.0
    assert "-p mitigation none" in command_of(box)


def test_it_says_that_it_is_a_preview_and_how_well_previews_agreed(panel):
    texts = " ".join(part.value for part in parts_of(panel.widget(), HTML))
    assert "<b>Preview.</b>" in texts and "not a student" in texts
    assert "rank correlation with full training" in texts


def test_the_static_figure_has_every_weight_and_the_trained_students(panel):
    figure = panel.static()
    previewed = [trace for trace in figure.data if trace.legendgroup == "preview"]
    assert len(previewed) == 3 and all(len(trace.x) == 3 for trace in previewed)
    assert [round(value, 6) for value in previewed[0].y] == [
        round(panel.scores[4.0, weight]["accuracy"], 6) for weight in (0.0, 1.0, 3.0)
    ]
    (accuracy, *_) = [trace for trace in figure.data if trace.legendgroup == "trained"]
    assert list(accuracy.y) == panel.trained["accuracy"].tolist()
    assert panel.weight == 3.0, "the panel stays where it was"


def test_at_another_temperature_the_trained_students_are_not_compared(panel):
    panel.look(10.0, 3.0)
    assert set(panel.table()["source"]) == {"preview"}


def test_while_a_training_goes_on_the_panel_says_so_and_stays(panel):
    box = panel.widget()
    (weight,) = parts_of(box, SelectionSlider)
    before = dict(panel.scores)
    held, done = threading.Event(), threading.Event()

    def train() -> None:
        with one_training():
            held.set()
            done.wait(10)

    thread = threading.Thread(target=train)
    thread.start()
    held.wait(10)
    try:
        weight.value = 1.0
    finally:
        done.set()
        thread.join()
    assert panel.scores == before and panel.weight == 3.0
    assert any("another training is going on" in part.value for part in parts_of(box, HTML))


def test_the_same_values_give_the_same_head_and_others_another(panel, tiny_splits):
    again = HeadPreview(panel.experiment, *_models(panel, tiny_splits), tiny_splits)
    assert again.scores(4.0, 3.0) == panel.preview.scores(4.0, 3.0)
    strong, none = panel.preview.scores(4.0, 30.0), panel.preview.scores(4.0, 0.0)
    assert strong != none


def _models(panel, tiny_splits):
    teacher = train_teacher(panel.experiment, tiny_splits)
    return teacher, distill_student(panel.experiment.replace(mitigation="none"), teacher, tiny_splits)


def test_the_chance_line_and_the_ring_are_where_the_table_says(panel):
    figure = panel.static()
    assert [shape.y0 for shape in figure.layout.shapes] == [0.5]
    rings = [
        trace for trace in figure.data if trace.marker.symbol == "circle-open" and trace.legendgroup is None
    ]
    assert {trace.x[0] for trace in rings} == {2}, "weight 3 is the third of 0, 1 and 3"


def test_a_table_without_adversary_has_two_panels():
    table = pd.DataFrame(
        {
            "source": "preview",
            "adversary_weight": [0.0, 1.0],
            "accuracy": [0.9, 0.8],
            "recall_gap": [0.2, 0.1],
        }
    )
    figure = plots.preview_curve(table)
    assert len(figure.data) == 2 and not figure.layout.shapes


def test_a_mitigation_without_a_weight_has_a_sentence_instead_of_a_panel(tiny_experiment, tiny_splits):
    panel = PreviewPanel(tiny_experiment.replace(mitigation="resampling"), None, None, tiny_splits)
    said = "The mitigation resampling is no adversary with a weight: nothing to preview."
    assert panel.describe() == [said] and said in panel.widget().value
    with pytest.raises(FairkdError, match=said):
        panel.static()
