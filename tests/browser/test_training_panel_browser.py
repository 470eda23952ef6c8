"""Notebook 03 in a real JupyterLab: the training is watched, paused, changed, stopped, resumed and used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_lab import (
    ARGUMENTS,
    CHROMIUM,
    PATIENCE_MS,
    be_patient,
    copy_notebook,
    drag,
    run_menu,
    running_lab,
)

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'fairkd[test]'")
pytest.importorskip("jupyterlab", reason="needs JupyterLab: pip install 'fairkd[notebooks]'")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian package chromium)"),
]

NOTEBOOK = "03_adversarial_distillation.ipynb"
SMALL: dict[str, Any] = {
    "teacher_epochs": 1,
    "student_epochs": 150,
    "adversary_weights": [],
    "options": {"samples": 600, "bootstrap_replicates": 100},
}
#: Only the student in the panel is to take its time.
BRIEF = {
    "train_student_alone(experiment)": "train_student_alone(experiment.replace(student_epochs=1))",
    '.replace(mitigation="none")': '.replace(mitigation="none", student_epochs=1)',
}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    copy_notebook(NOTEBOOK, tmp_path, BRIEF, output_dir=str(tmp_path / "outputs"), **SMALL)
    with running_lab(tmp_path) as address, playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = chromium.new_page(viewport={"width": 1280, "height": 1400})
        be_patient(page)
        page.goto(address.format(path=NOTEBOOK))
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        yield page
        page.screenshot(path=tmp_path / "end.png")
        chromium.close()


#: A figure that no widget holds has its numbers packed until they are drawn.
_DRAWN = "Array.from(figure._fullData?.[0]?.x ?? [])"


class PanelPage:
    """The training panel on the page."""

    def __init__(self, page: Any, shots: Path) -> None:
        self.page, self.shots = page, shots
        has_pause = {"has": page.get_by_role("button", name="Pause")}
        self.box = page.locator(".jp-OutputArea-output").filter(**has_pause).first
        self.state = self.box.get_by_role("status")
        #: The live one, and once the training has finished the one that stays.
        self.figure = page.locator(".jp-CodeCell").filter(**has_pause).locator(".js-plotly-plot")

    def button(self, name: str) -> Any:
        return self.box.get_by_role("button", name=name)

    def handle(self, setting: str) -> Any:
        return self.box.locator(".widget-slider").filter(has_text=setting).locator(".noUi-handle")

    def until(self, state: str) -> None:
        playwright.expect(self.state).to_contain_text(state, timeout=2 * PATIENCE_MS)

    def marked(self, text: str) -> None:
        """Wait until the figure has a line with this label."""
        self.figure.locator(".annotation-text").filter(has_text=text).first.wait_for()

    def drawn(self) -> list[float]:
        """The places, in epochs, of what is drawn of the first loss."""
        return self.figure.evaluate(f"figure => {_DRAWN}")

    def goes_on_after(self, epoch: float) -> None:
        """Wait until something later than ``epoch`` is drawn."""
        later = f"([figure, epoch]) => {_DRAWN}.at(-1) > epoch"
        self.page.wait_for_function(later, arg=[self.figure.element_handle(), epoch])

    def shoot(self, name: str) -> None:
        self.box.scroll_into_view_if_needed()
        self.page.screenshot(path=self.shots / f"{name}.png")


def test_a_training_is_watched_paused_changed_stopped_and_resumed(page: Any, tmp_path: Path) -> None:
    run_menu(page, "Run All Cells")
    panel = PanelPage(page, tmp_path)
    panel.until("left")
    panel.goes_on_after(0)
    playwright.expect(panel.figure.locator(".gtitle")).to_contain_text("Mitigated student")

    # A pause and a setting by the keyboard, another setting by the mouse; they change when the pause ends.
    panel.button("Pause").focus()
    page.keyboard.press("Enter")
    panel.until("paused")
    panel.shoot("paused")
    panel.handle("adversary weight").focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    drag(page, panel.handle("temperature"), 60)
    panel.button("Resume").click()
    panel.marked("adversary weight 8.5")
    panel.marked("temperature")

    panel.button("Stop").click()
    panel.until("stopped")
    panel.shoot("stopped")
    artifacts = tmp_path / "outputs" / "artifacts"
    assert len(list(artifacts.glob("student-*.partial/checkpoint.pt"))) >= 1
    assert panel.button("Resume").is_enabled() and not panel.button("Stop").is_enabled()
    refused = page.locator(".jp-OutputArea-output").filter(has_text="Then run this cell again")
    assert "Traceback" not in refused.first.inner_text()

    panel.button("Resume").click()
    panel.until("finished")
    playwright.expect(panel.box.locator(".js-plotly-plot")).to_have_count(0)
    panel.marked("adversary weight 8.5")
    assert panel.drawn()[-1] == SMALL["student_epochs"]
    panel.shoot("finished")
    page.locator(".jp-CodeCell").filter(has_text="training_panel.student").locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    page.locator(".jp-RenderedHTMLCommon").filter(has_text="student_fair").first.wait_for()

    page.keyboard.press("Control+s")
    playwright.expect(page.locator(".jp-mod-dirty")).to_have_count(0)
    saved = nbformat.read(tmp_path / NOTEBOOK, as_version=4)
    (cell,) = (cell for cell in saved.cells if cell.source.endswith("\ntraining_panel"))
    (figure,) = (
        output.data for output in cell.outputs if "application/vnd.plotly.v1+json" in output.get("data", {})
    )
    assert figure["application/vnd.plotly.v1+json"]["data"][0]["name"] == "task loss"
