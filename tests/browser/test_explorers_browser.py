"""The explorers of bias, of runs and of disagreements in a real JupyterLab: by keyboard, by mouse, by a click."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from jupyter_lab import CHROMIUM, DRAWN, copy_notebook, drag, notebook_page, panel_with, shows, until_changed
from nbformat.v4 import new_code_cell, new_notebook
from run_folders import write_run

from fairkd.config import Experiment

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'fairkd[test]'")
pytest.importorskip("jupyterlab", reason="needs JupyterLab: pip install 'fairkd[notebooks]'")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian package chromium)"),
]

EXPLORERS = """\
import numpy as np
import pandas as pd
import fairkd
from fairkd.analysis.disagreement import OUTCOMES
experiment = fairkd.Experiment(output_dir="outputs", run_name="mine")
rows = range(60)
exemplars = pd.DataFrame({"model": "student_kd", "row": rows, "index": rows, "label": list("abc") * 20,
    "group": ["red", "green"] * 30, "teacher_prediction": "a", "student_prediction": "b",
    "outcome": OUTCOMES[0], "margin_change": -np.arange(60) / 10})
images = np.random.default_rng(1).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
"""


def test_the_bias_explorer_follows_keyboard_mouse_and_choice(tmp_path: Path) -> None:
    name = "01_data_and_bias.ipynb"
    copy_notebook(name, tmp_path, {}, output_dir=str(tmp_path / "outputs"))
    with notebook_page(tmp_path, name) as page:
        panel = panel_with(page, "skew")
        counts, images = panel.locator(".js-plotly-plot").nth(0), panel.locator(".js-plotly-plot").nth(1)
        counts.locator(".gtitle").wait_for()
        images.locator(".gtitle").wait_for()
        drawn = [str(figure.evaluate(DRAWN)) for figure in (counts, images)]
        handle = panel.locator(".widget-slider .noUi-handle")

        handle.focus()
        page.keyboard.press("ArrowLeft")
        shows(panel, "-p skew 0.9")
        drawn = [until_changed(page, *pair) for pair in zip((counts, images), drawn, strict=True)]

        drag(page, handle, -80)
        drawn = [until_changed(page, *pair) for pair in zip((counts, images), drawn, strict=True)]
        panel.screenshot(path=tmp_path / "skew.png")

        panel.locator("select").select_option(label="grey")
        shows(panel, "-p bias grey")
        for pair in zip((counts, images), drawn, strict=True):
            until_changed(page, *pair)
        shows(counts, "grey")
        panel.screenshot(path=tmp_path / "grey.png")


def test_a_click_on_a_point_shows_its_run_and_a_selection_is_saved(tmp_path: Path) -> None:
    outputs = str(tmp_path / "outputs")
    for weight, accuracy in ((1.0, 0.95), (3.0, 0.91)):
        write_run(Experiment(adversary_weight=weight, output_dir=outputs), student_fair=(accuracy, 0.1))
    panels = ["fairkd.widgets.ParetoExplorer(experiment)"]
    panels += ["fairkd.widgets.DisagreementBrowser(experiment, exemplars, images)"]
    cells = [new_code_cell(EXPLORERS.replace('"outputs"', repr(outputs))), *map(new_code_cell, panels)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), tmp_path / "explorers.ipynb")
    with notebook_page(tmp_path, "explorers.ipynb") as page:
        runs = panel_with(page, "accuracy tolerance")
        for weight in ("1.0", "3.0"):
            click_point(page, runs, f"student, mitigated · adversary_weight={weight}")
            shows(runs.locator("h4"), f"adversary_weight={weight}")
            shows(runs, f"-p adversary_weight {weight}")
            shows(runs, "Accuracy by group")
        runs.screenshot(path=tmp_path / "runs.png")

        samples = panel_with(page, "Save as CSV")
        samples.get_by_role("button", name="Next page").click()
        shows(samples, "page 2 of 5")
        samples.locator("select").nth(3).select_option(label="red")
        shows(samples, "30 of 60 samples")
        samples.get_by_role("button", name="Save as CSV").click()
        shows(samples, "exemplars-selected.csv")
        samples.screenshot(path=tmp_path / "samples.png")
    saved = pd.read_csv(tmp_path / "outputs" / "mine" / "exemplars-selected.csv")
    assert set(saved["group"]) == {"red"} and len(saved) == 30


def click_point(page: Any, panel: Any, label: str) -> None:
    """Click on the point of the Pareto explorer that the list calls ``label``."""
    figure = panel.locator(".js-plotly-plot")
    options = panel.locator("select").last.locator("option")
    options.filter(has_text=label).wait_for(state="attached")
    # ipywidgets makes the spaces of its lists non-breaking ones.
    row = [text.replace("\xa0", " ") for text in options.all_text_contents()].index(label)
    figure.scroll_into_view_if_needed()
    x, y = figure.evaluate(
        """(figure, row) => {
            const box = figure.getBoundingClientRect(), layout = figure._fullLayout;
            for (const trace of figure._fullData) {
                const at = Array.from(trace.customdata ?? []).indexOf(row);
                if (at < 0) continue;
                return [box.left + layout.xaxis._offset + layout.xaxis.d2p(trace.x[at]),
                        box.top + layout.yaxis._offset + layout.yaxis.d2p(trace.y[at])];
            }
        }""",
        row,
    )
    # plotly takes a click for the point over which the mouse rests.
    page.mouse.move(x - 3, y)
    page.mouse.move(x, y)
    figure.locator(".hoverlayer .hovertext").first.wait_for()
    page.mouse.click(x, y)
