"""The panels of notebook 03 on a finished run in a real JupyterLab: each slider by keyboard and by mouse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_lab import CHROMIUM, DRAWN, copy_notebook, drag, notebook_page, panel_with, shows, until_changed

import fairkd

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'fairkd[test]'")
pytest.importorskip("jupyterlab", reason="needs JupyterLab: pip install 'fairkd[notebooks]'")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian package chromium)"),
]

PANEL = """
import fairkd
from fairkd.widgets import TemperaturePanel

experiment = fairkd.Experiment(samples=300)
splits = fairkd.load_splits(experiment)
network = fairkd.create_model("test_resnet", splits.num_classes, image_size=splits.image_size[0])
TemperaturePanel(experiment, network, splits)
"""
#: anywidget gives a page two seconds until it has run a widget's code; here it gives up at once.
GIVEN_UP = "const timeout = AbortSignal.timeout.bind(AbortSignal); AbortSignal.timeout = () => timeout(0);"
NOTEBOOK = "03_adversarial_distillation.ipynb"
SMALL: dict[str, Any] = {"teacher_epochs": 4, "student_epochs": 4, "adversary_weights": [1.0]}
#: The precision is not left to a measurement: the kernel, which is to find the students, might choose another.
FURTHER: dict[str, Any] = {"bootstrap_replicates": 100, "precision": "float32"}


@pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")
def test_sliders_answer_to_keyboard_and_mouse(tmp_path: Path) -> None:
    outputs = str(tmp_path / "outputs")
    experiment = fairkd.Experiment(output_dir=outputs, **SMALL, **FURTHER)
    fairkd.train_students(experiment, fairkd.train_teacher(experiment))
    copy_notebook(NOTEBOOK, tmp_path, {}, output_dir=outputs, options=FURTHER, **SMALL)
    with notebook_page(tmp_path, NOTEBOOK) as page:
        # What the last cell leaves: everything before it has run.
        page.locator(".jp-OutputArea-output").filter(has_text="students.json").first.wait_for()
        assert page.locator("[data-mime-type*=error]").count() == 0

        labels = panel_with(page, "images")
        move_each_way(page, labels, labels.locator(".js-plotly-plot").first, "temperature")
        images = labels.locator(".js-plotly-plot").nth(1)
        before = str(images.evaluate(DRAWN))
        labels.locator("select").select_option(index=[3, 5])
        until_changed(page, images, before)
        labels.screenshot(path=tmp_path / "labels.png")

        weights = panel_with(page, "Train this student")
        move_each_way(page, weights, weights.locator(".js-plotly-plot"), "adversary weight")
        weights.screenshot(path=tmp_path / "weights.png")

        preview = panel_with(page, "Preview.")
        for setting in ("temperature", "adversary weight"):
            move_each_way(page, preview, preview.locator(".js-plotly-plot"), setting)
        shows(preview, "rank correlation")
        preview.screenshot(path=tmp_path / "preview.png")


def test_figures_of_a_slow_page_follow_the_sliders(tmp_path: Path) -> None:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(PANEL)], metadata=kernel)
    nbformat.write(notebook, tmp_path / "panel.ipynb")
    complaints: list[str] = []
    with notebook_page(tmp_path, "panel.ipynb", slowdown=6, script=GIVEN_UP) as page:
        page.on("pageerror", lambda error: complaints.append(str(error)))
        labels = panel_with(page, "images")
        figure = labels.locator(".js-plotly-plot").first
        figure.wait_for()
        assert figure.locator(".point").count()
        move_each_way(page, labels, figure, "temperature")
    assert "[anywidget] Failed to initialize model." in complaints


def move_each_way(page: Any, panel: Any, figure: Any, setting: str) -> None:
    """Move a slider by a key, then by the mouse to its start: figure and command follow each time."""
    handle = panel.locator(".widget-hslider").filter(has_text=setting).locator(".noUi-handle")
    command = panel.locator("code").last
    for move in (
        lambda: (handle.focus(), page.keyboard.press("ArrowLeft")),
        lambda: drag(page, handle, -400),
    ):
        drawn, said = str(figure.evaluate(DRAWN)), command.inner_text()
        move()
        until_changed(page, figure, drawn)
        playwright.expect(command).not_to_have_text(said)
