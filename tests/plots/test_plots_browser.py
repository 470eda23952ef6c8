"""Figures as a browser draws them, from a phone's width to a desktop's: literal text, nothing cut or overlapping."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plot_tables import FIGURES, HOSTILE, MODELS, Tables, draw

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.browser

#: Every drawn text of a figure with its box relative to the figure's.
BOXES = r"""
() => [...document.querySelectorAll('.js-plotly-plot')].map(figure => {
  const frame = figure.getBoundingClientRect();
  const kinds = {title: '.gtitle', heading: '.annotation-text', tick: '[class$=tick] text',
                 axis: 'text[class$=title]:not(.gtitle)', legend: '.legendtext'};
  return Object.entries(kinds).flatMap(([kind, selector]) =>
    [...figure.querySelectorAll(selector)].map(e => {
      const box = e.getBoundingClientRect();
      const turned = /rotate\((?!0[,)])/.test(e.getAttribute('transform') || '') && kind == 'tick';
      return {kind, turned, text: e.textContent, left: box.left - frame.left, top: box.top - frame.top,
              right: box.right - frame.left, bottom: box.bottom - frame.top, width: frame.width,
              height: frame.height};
    }));
})
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.is_file():
        pytest.skip(f"no {CHROMIUM}")
    with api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=options)
        yield chromium
        chromium.close()


#: A window's width, classes, groups, models.
PAGES = {
    "phone": (390, 10, 2, MODELS),
    "desktop": (1100, 10, 2, MODELS),
    "phone-smallest": (390, 1, 1, MODELS[:1]),
    "phone-large": (390, 20, 8, MODELS),
    "desktop-large": (1100, 20, 8, MODELS),
}


@pytest.fixture(scope="module", params=PAGES.values(), ids=PAGES.keys())
def boxes(
    request: pytest.FixtureRequest, browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Texts and boxes of every figure, and what the page complained of."""
    from plotly.io import to_html
    from plotly.offline import get_plotlyjs

    width, *sizes = request.param
    figures = [draw(name, Tables.sized(*sizes)) for name in FIGURES]
    bodies = [to_html(fig, include_plotlyjs=False, full_html=False, validate=False) for fig in figures]
    page_file = tmp_path_factory.mktemp("figures") / "figures.html"
    page_file.write_text(
        f"<meta charset=utf-8><script>{get_plotlyjs()}</script><body style='margin:0'>{''.join(bodies)}",
        encoding="utf-8",
    )
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("requestfailed", lambda failed: problems.append(failed.url))
    page.goto(page_file.as_uri())
    page.wait_for_function(f"document.querySelectorAll('.js-plotly-plot .gtitle').length == {len(FIGURES)}")
    page.evaluate("() => document.fonts.ready")
    drawn = page.evaluate(BOXES)
    context.close()
    return {"problems": problems, "figures": dict(zip(FIGURES, drawn, strict=True))}


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    width = min(one["right"], other["right"]) - max(one["left"], other["left"])
    height = min(one["bottom"], other["bottom"]) - max(one["top"], other["top"])
    return width > 2 and height > 3


def test_the_page_draws_without_a_complaint_and_without_the_network(boxes: dict[str, Any]) -> None:
    assert boxes["problems"] == []


def test_names_from_data_appear_literally(boxes: dict[str, Any]) -> None:
    ticks = [box["text"] for box in boxes["figures"]["contingency_heatmap"] if box["kind"] == "tick"]
    assert HOSTILE in ticks


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_off(boxes: dict[str, Any], name: str) -> None:
    for box in boxes["figures"][name]:
        inside = box["left"] > -4 and box["top"] > -4
        inside &= box["right"] < box["width"] + 4 and box["bottom"] < box["height"] + 4
        assert inside, box


@pytest.mark.parametrize("name", FIGURES)
def test_no_two_texts_overlap(boxes: dict[str, Any], name: str) -> None:
    # The box of a slanted label says little about where its ink is.
    drawn = [box for box in boxes["figures"][name] if box["text"].strip() and not box["turned"]]
    collisions = [
        (one["text"], other["text"])
        for place, one in enumerate(drawn)
        for other in drawn[place + 1 :]
        if overlap(one, other)
    ]
    assert collisions == []
