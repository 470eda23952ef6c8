"""The report in a real browser without a network: figures drawn, in both colour schemes, wide and narrow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from plotly.subplots import make_subplots

from fairkd import plots
from fairkd.report import write_report
from fairkd.store import write_json

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'fairkd[test]'")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian package chromium)"),
]

HOSTILE = "<img src=x onerror='window.attacked=true'><script>window.attacked=true</script>"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
DRAWN = "figure[data-figure=drawn] .main-svg:first-child"


def figures() -> list[go.Figure]:
    """A bar with a hostile title, a heat map, five panels side by side, a black line of fixed width."""
    panels = make_subplots(rows=1, cols=5)
    for column in range(1, 6):
        panels.add_trace(go.Scatter(x=[0, 1], y=[column, 1]), row=1, col=column)
    line = go.Figure(
        go.Scatter(x=[1, 2], y=[2, 1], line={"color": "black"}, name="a long name in the legend")
    )
    return [
        go.Figure(go.Bar(x=["a", HOSTILE], y=[1, 2])).update_layout(title=HOSTILE),
        go.Figure(go.Heatmap(z=[[0.1, 0.9], [0.7, 0.3]], texttemplate="%{z}")),
        panels,
        line.update_layout(width=1800, template="plotly_white", showlegend=True),
    ]


def code_cell(fig: go.Figure) -> Any:
    data = {"application/vnd.plotly.v1+json": json.loads(fig.to_json())}
    return new_code_cell("fig", outputs=[new_output("display_data", data=data)])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    html = f"<table><tr>{'<td>a wide table</td>' * 40}</tr></table><p onclick='x()'>{HOSTILE}</p>"
    wide = new_code_cell("table", outputs=[new_output("display_data", data={"text/html": html})])
    cells = [code_cell(fig) for fig in figures()]
    first = [new_markdown_cell(f"# One {'long' * 30}\n\n## Part\n\n`{'x' * 200}`"), *cells[:2], wide]
    second = [new_markdown_cell("# Two"), *cells[2:], new_code_cell(f"text = '{'y' * 300}'")]
    for name, content in (("01_one", first), ("02_two", second)):
        nbformat.write(new_notebook(cells=content), folder / f"{name}.ipynb")
    value = {"value": 0.9, "low": 0.8, "high": 0.95, "definition": HOSTILE}
    models = {name: {"accuracy": value, "recall_gap": value} for name in ("teacher", "student_kd", HOSTILE)}
    write_json(folder / "metrics.json", {"models": models, "findings": [HOSTILE, "z" * 200]})
    return write_report(folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


class Visit:
    """A page that notes everything that goes wrong."""

    def __init__(self, browser: Any, report: Path, **options: Any) -> None:
        self.context = browser.new_context(offline=True, **options)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("requestfailed", lambda request: self.problems.append(request.url))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self._console(message))
        self.page.goto(report.as_uri())
        # Not wait_for_function: it evaluates strings, which the page's own policy forbids.
        # Thirty figures are drawn one after another, longer than the default patience on a busy machine.
        playwright.expect(self.page.locator("figure[data-figure='']")).to_have_count(0, timeout=60_000)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_drawn_and_nothing_goes_wrong(
    browser: Any, report: Path, width: int, scheme: str
) -> None:
    visit = Visit(browser, report, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = visit.page
    assert page.locator(DRAWN).count() == 4
    assert page.locator(".trace.bars .point path").count() == 2
    assert page.locator(".hm image").count() == 1
    assert visit.problems == []
    assert [url for url in visit.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.evaluate("window.attacked") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.get_by_text(HOSTILE, exact=True).count() >= 2
    visit.context.close()


def test_figures_take_the_colours_of_the_page_and_follow_a_change(browser: Any, report: Path) -> None:
    visit = Visit(browser, report, color_scheme="light")
    ticks = visit.page.locator(".xtick text").first
    for scheme in ("light", "dark", "light"):
        visit.page.emulate_media(color_scheme=scheme)
        ink = visit.page.evaluate("getComputedStyle(document.body).color")
        playwright.expect(ticks).to_have_css("fill", ink)
        black_line = visit.page.locator(".scatterlayer .js-line").last
        expected = "rgb(0, 0, 0)" if scheme == "light" else "rgb(230, 230, 230)"
        playwright.expect(black_line).to_have_css("stroke", expected)
    visit.context.close()


def test_a_figure_with_a_width_of_its_own_fits_and_many_panels_scroll_in_their_frame(
    browser: Any, report: Path
) -> None:
    visit = Visit(browser, report, viewport={"width": 390, "height": 900})
    widths = visit.page.evaluate(
        "[...document.querySelectorAll('figure')].map(figure => ["
        "figure.clientWidth, figure.querySelector('.main-svg').clientWidth])"
    )
    (frame, bar), (_, heat), (_, panels), (_, line) = widths
    assert frame <= 390
    assert bar == heat == line == frame
    assert panels > 2 * frame
    visit.context.close()


def test_contents_mark_the_chapter_that_is_read(browser: Any, report: Path) -> None:
    visit = Visit(browser, report, viewport={"width": 1280, "height": 900})
    current = visit.page.locator("nav a[aria-current]")
    playwright.expect(current).to_have_text("Summary")
    visit.page.locator("nav").get_by_text("Two", exact=True).click()
    playwright.expect(current).to_have_text("Two")
    visit.context.close()


def test_hostile_names_of_classes_and_groups_are_shown_and_run_nothing(browser: Any, tmp_path: Path) -> None:
    image, script = "<img src=x onerror=alert(1)>", '"><script>'
    counts = pd.DataFrame(
        {
            "class": [image, "cat", image, "cat"],
            "group": [script, script, "other", "other"],
            "split": "train",
            "n": [5, 6, 7, 8],
        }
    )
    entropy = pd.DataFrame(
        {
            "temperature": [1.0, 4.0] * 2,
            "group": [script] * 2 + ["other"] * 2,
            "entropy": [0.5, 0.6, 0.7, 0.8],
        }
    )
    codes = np.array([0, 1, 0, 1])
    grid = plots.image_grid(
        np.zeros((4, 8, 8, 3), dtype=np.uint8), codes, codes, (image, "cat"), (script, "other"), title=image
    )
    figures = [
        plots.temperature_entropy(entropy, title=script),
        plots.contingency_heatmap(counts, split="train", label_name=image, group_name=script),
        grid,
    ]
    said = new_code_cell(
        "print(name)", outputs=[new_output("stream", name="stdout", text=f"{image}\n{script}")]
    )
    cells = [new_markdown_cell("# Names"), *map(code_cell, figures), said]
    nbformat.write(new_notebook(cells=cells), tmp_path / "01_names.ipynb")
    write_json(tmp_path / "metrics.json", {"models": {}, "findings": [f"{image} of {script} is worse"]})
    visit = Visit(browser, write_report(tmp_path), viewport={"width": 1280, "height": 900})
    page, opened = visit.page, []
    page.on("dialog", lambda dialog: opened.append(dialog.message) or dialog.dismiss())
    playwright.expect(page.get_by_text(f"{image} of {script} is worse")).to_have_count(1)
    playwright.expect(page.locator("pre.output")).to_contain_text([f"{image}\n{script}"])
    line = page.locator("figure").first
    playwright.expect(line.locator(".legendtext").first).to_have_text(script)
    for point in (line.locator(".point").first, page.locator(".hm image")):
        point.scroll_into_view_if_needed()
        box = point.bounding_box()
        # A quarter into the heat map: the first class and group.
        page.mouse.move(box["x"] + box["width"] / 4 - 1, box["y"] + box["height"] / 2)
        page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2 + 1)
        playwright.expect(page.locator(".hovertext").first).to_contain_text(script)
    for text in (image, script):
        assert page.locator("svg text", has_text=text).count(), f"{text} is on no axis"
        assert page.locator(f"[aria-label*={json.dumps(text)}]").count(), f"{text} names no figure"
    assert page.locator("figure img").count() == 0
    assert (visit.problems, opened) == ([], [])
    visit.context.close()


def test_the_sample_report_shows_all_its_figures(browser: Any) -> None:
    sample = Path(__file__).parents[2] / "docs" / "sample_report.html"
    visit = Visit(browser, sample, viewport={"width": 1280, "height": 900})
    count = visit.page.locator("figure").count()
    assert count > 30 and visit.page.locator(DRAWN).count() == count
    assert visit.problems == []
    visit.context.close()
