"""The report: self-contained, safe whatever the data are called, complete, and the same bytes each time."""

from __future__ import annotations

import html
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from fairkd.config import Experiment
from fairkd.errors import ArtifactError
from fairkd.report import write_report
from fairkd.report.sanitize import clean_html
from fairkd.report.summary import table
from fairkd.store import write_json

PAYLOAD = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\u2028'\"&"
PLOTLY = "application/vnd.plotly.v1+json"


def display(**data: Any) -> Any:
    """Return a display output; ``text_html="..."`` becomes the MIME type ``text/html``."""
    return new_output("display_data", data={name.replace("_", "/", 1): value for name, value in data.items()})


def figure(title: str = "Accuracy") -> Any:
    fig = go.Figure(go.Bar(x=["a", "b"], y=[1, 2])).update_layout(title=title)
    return new_output("display_data", data={PLOTLY: json.loads(fig.to_json())})


def write_notebook(folder: Path, name: str, *cells: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=list(cells)), folder / name)


def metric(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "definition": "the share that is right"}


def write_run(folder: Path, text: str = "plain") -> Path:
    """Write a run whose every free text is ``text``."""
    write_notebook(
        folder,
        "01_data_and_bias.ipynb",
        new_markdown_cell(f"# Data {text}\n\nSee [next](02_teacher_training.ipynb#x).\n\n## Counts {text}"),
        new_code_cell("import fairkd"),
        new_code_cell(
            f"name = {text!r}",
            outputs=[
                new_output("stream", name="stdout", text=f"{text}\n"),
                new_output("error", ename="ValueError", evalue=text, traceback=[f"\x1b[31m{text}\x1b[0m"]),
            ],
        ),
        new_code_cell("fig", outputs=[figure(text)]),
        new_code_cell("table", outputs=[display(text_html=pd.DataFrame({text: [text]}).to_html())]),
    )
    write_notebook(
        folder,
        "02_teacher_training.ipynb",
        new_markdown_cell("# Teacher"),
        new_code_cell("fig", outputs=[figure("Second"), display(text_markdown=f"**{text}**")]),
    )
    models = {"teacher": {"accuracy": metric(0.9, 0.8, 0.95)}, text: {"accuracy": metric(None)}}
    difference = {"difference": 0.1, "low": 0.05, "high": 0.2, "supported": True}
    write_json(
        folder / "metrics.json",
        {
            "models": models,
            "findings": [f"Finding {text}"],
            "comparisons": [{"model": text, "baseline": "teacher", "metric": "accuracy", **difference}],
            "precision": {
                "teacher": None,
                "student_scratch": "bfloat16",
                "student_kd": "bfloat16",
                "student_fair": text,
            },
        },
    )
    write_json(
        folder / "experiment.json",
        {
            "parameters": {**Experiment(temperature=2).model_dump(), "label_column": text},
            "environment": {"python": "3.11", "platform": text, "packages": {"torch": text, "timm": None}},
            "data_fingerprint": text,
            "command": f"fairkd run -p label_column {text}",
        },
    )
    return folder


class Page(HTMLParser):
    """What a browser would see: elements with attributes, and the text outside scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.elements if name == tag and attributes.items() <= found.items()]

    def figures(self) -> list[dict[str, Any]]:
        found = re.findall(r'<script type="application/json">(.*?)</script>', self.source, re.DOTALL)
        return [json.loads(text) for text in found]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(write_report(write_run(tmp_path_factory.mktemp("hostile") / "run", PAYLOAD)))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(write_report(write_run(tmp_path_factory.mktemp("plain") / "run")))


def test_text_from_data_runs_nothing(hostile: Page) -> None:
    scripts = [attributes for attributes in hostile.all("script") if "type" not in attributes]
    assert len(scripts) == 2  # plotly.js and the page's own
    assert hostile.all("img") == []
    assert not [name for _, attributes in hostile.elements for name in attributes if name.startswith("on")]


@pytest.mark.parametrize(
    "place",
    ["Finding {}", "fairkd run -p label_column {}"],
)
def test_text_from_data_is_shown_as_it_is(hostile: Page, place: str) -> None:
    assert place.format(PAYLOAD) in hostile.text


def test_text_from_data_is_shown_wherever_it_stands(hostile: Page) -> None:
    # Model, parameter, platform, version, fingerprint, stdout, error, table head and body, code.
    assert hostile.text.count("<img src=x onerror=alert(1)></script>") >= 10


def test_figure_data_survive_the_way_through_the_script_element(hostile: Page) -> None:
    first, second = hostile.figures()
    assert first["layout"]["title"]["text"] == PAYLOAD
    assert first["data"][0]["y"] == [1, 2]
    assert second["layout"]["title"]["text"] == "Second"


def test_nothing_is_loaded_from_elsewhere(plain: Page) -> None:
    for tag, attributes in plain.elements:
        for name in ("src", "srcset", "data", "poster", "action"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    assert plain.all("link") == []
    policy = plain.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"] or ""
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert "unsafe-eval" not in policy
    for css in re.findall(r"<style>(.*?)</style>", plain.source, re.DOTALL):
        assert "url(" not in css
        assert "@import" not in css


def test_plotly_is_embedded_once_and_only_for_figures(plain: Page, tmp_path: Path) -> None:
    assert plain.source.count("plotly.js v") == 1
    write_notebook(tmp_path, "01_only_text.ipynb", new_markdown_cell("# Words"))
    assert "plotly.js v" not in write_report(tmp_path).read_text()


def test_traces_that_compile_shaders_are_allowed_to(tmp_path: Path) -> None:
    fig = go.Figure(go.Scattergl(x=[1], y=[1])).to_json()
    cell = new_code_cell("", outputs=[new_output("display_data", data={PLOTLY: json.loads(fig)})])
    write_notebook(tmp_path, "01_gl.ipynb", cell)
    policy = Page(write_report(tmp_path)).all("meta", **{"http-equiv": "Content-Security-Policy"})[0][
        "content"
    ]
    assert "'unsafe-eval'" in (policy or "")


def test_figures_are_numbered_through_the_notebooks_and_have_a_text_alternative(plain: Page) -> None:
    assert [attributes["id"] for attributes in plain.all("figure")] == ["figure-1", "figure-2"]
    assert "Figure 1" in plain.text
    assert "Figure 2" in plain.text
    assert [attributes["aria-label"] for attributes in plain.all("div", role="img")] == ["plain", "Second"]


def test_contents_lead_to_every_chapter_and_section(plain: Page) -> None:
    ids = [attributes["id"] for _, attributes in plain.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = [
        attributes["href"] for attributes in plain.all("a") if (attributes["href"] or "").startswith("#")
    ]
    assert {
        f"#{name}" for name in ("summary", "01_data_and_bias", "01_data_and_bias-1", "02_teacher_training")
    } <= set(targets)
    assert {str(target)[1:] for target in targets} <= set(ids)
    assert "Data plain" in plain.text
    assert "Counts plain" in plain.text


def test_contents_leave_out_the_headings_that_every_chapter_has(tmp_path: Path) -> None:
    for name in ("01_a", "02_b"):
        write_notebook(
            tmp_path, f"{name}.ipynb", new_markdown_cell(f"# {name}\n## Own {name}\n## Parameters")
        )
    source = write_report(tmp_path).read_text()
    contents = source[source.index("<nav") : source.index("</nav>")]
    assert "Own 01_a" in contents
    assert "Own 02_b" in contents
    assert "Parameters" not in contents


def test_the_first_page_has_numbers_findings_changed_parameters_and_versions(plain: Page) -> None:
    assert "0.900" in plain.text
    assert "[0.800, 0.950]" in plain.text
    assert "n/a" in plain.text
    assert "Finding plain" in plain.text
    changed = plain.source[
        plain.source.index("Parameters that differ") : plain.source.index("All parameters,")
    ]
    assert re.findall(r"<code>(\w+)</code>", changed) == ["label_column", "temperature"]
    assert "not installed" in plain.text
    assert "bfloat16, plain" in plain.text
    assert "of one training seed; ● the interval excludes 0" in plain.text
    assert (
        "over several seeds: fairkd compare -p label_column plain -p temperature 2.0 -p distillers '[]' "
        """-p mitigations '["gradient_reversal"]' -p seeds 5"""
    ) in plain.text


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_report(write_run(tmp_path / "a" / "run")).read_bytes()
    assert first == write_report(write_run(tmp_path / "b" / "run")).read_bytes()


def test_progress_bars_and_widgets_go_but_warnings_stay(tmp_path: Path) -> None:
    stderr = (
        "  0%|          | 0/3 [00:00<?]\r100%|##########| 3/3 [00:01<00:00]\n"
        "/home/me/fairkd/metrics.py:12: FairkdWarning: class 3, group <red>: no samples\n"
        "  warnings.warn(message)\n"
        "a plain line\n"
    )
    widget = {
        "application/vnd.jupyter.widget-view+json": {"model_id": "1"},
        "text/plain": "HBox(children=())",
    }
    cell = new_code_cell(
        "train()",
        outputs=[
            new_output("stream", name="stderr", text=stderr[:100]),
            new_output("stream", name="stderr", text=stderr[100:]),
            new_output("display_data", data=widget),
        ],
    )
    write_notebook(tmp_path, "01_train.ipynb", cell)
    text = Page(write_report(tmp_path)).text
    assert "FairkdWarning class 3, group <red>: no samples" in text
    assert "a plain line" in text
    for gone in ("3/3", "warnings.warn", "/home/me", "HBox"):
        assert gone not in text


def test_code_is_folded_and_cells_without_output_share_a_fold(tmp_path: Path) -> None:
    output = new_output("stream", name="stdout", text="two")
    write_notebook(
        tmp_path,
        "01_code.ipynb",
        new_code_cell("a = 1"),
        new_code_cell("print('two')", outputs=[output]),
        new_markdown_cell("Prose with $x^2$."),
        new_code_cell("b = 3"),
    )
    page = Page(write_report(tmp_path))
    assert len(page.all("details", **{"class": "code"})) == 2
    assert (
        page.text.index("a = ")
        < page.text.index("print(")
        < page.text.index("Prose")
        < page.text.index("b = ")
    )
    assert '<code class="math">x^2</code>' in page.source


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    write_notebook(tmp_path, "01_data.ipynb", new_markdown_cell("# Data"))
    steps = {"02_teacher_training": {"state": "failed", "error": "ValueError: <nan>"}}
    write_json(tmp_path / "status.json", {"state": "failed", "steps": steps})
    assert "not finished: 02_teacher_training failed (ValueError: <nan>)" in Page(write_report(tmp_path)).text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no executed notebook"),
        ({"01_a.ipynb": "{"}, r"01_a\.ipynb"),
        ({"01_a.ipynb": '{"cells": []}', "metrics.json": "[]"}, r"metrics\.json has no object 'models'"),
    ],
)
def test_damaged_runs_are_named(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ArtifactError, match=message):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("html", "clean"),
    [
        ("<p onclick=steal()>safe<script>alert(1)</script>", "<p>safe</p>"),
        ("</div></main><b>x", "<b>x</b>"),
        ("<b><i>x</b>y", "<b><i>x</i></b>y"),
        ("<a href='java\tscript:alert(1)'>a</a>", "<a>a</a>"),
        ("<a href='https://a.b/?c&d'>a</a>", '<a href="https://a.b/?c&amp;d">a</a>'),
        ("<img src='https://a.b/c.png' alt='<c>'>", "&lt;c&gt;"),
        ("<img src='data:image/png;base64,QQ=='>", '<img src="data:image/png;base64,QQ==">'),
        ("<svg><style><img src=x onerror=alert(1)></style></svg>", "<svg><style></style></svg>"),
        ("<p style='background:u\\72l(//a.b)'>x</p>", "<p>x</p>"),
        ("<p style='color:red'>x</p>", '<p style="color:red">x</p>'),
        ("<style>@import '//a.b';</style>", "<style></style>"),
        ("<style>#T_1 td > b {color: red}</style>", "<style>#T_1 td > b {color: red}</style>"),
        ("<svg><rect fill='url(//a.b)'/></svg>", "<svg><rect></rect></svg>"),
        ("<iframe src=x>in</iframe>out", "out"),
        ("<form action=x><input value=y>text</form>", "text"),
        ("a < b &lt;c&gt;", "a &lt; b &lt;c&gt;"),
    ],
)
def test_clean_html(html: str, clean: str) -> None:
    assert clean_html(html) == clean


def test_summary_places_values_between_the_smallest_the_largest_and_zero() -> None:
    metrics = {
        "models": {
            "teacher": {"recall_gap": metric(0.1, 0.05, 0.2), "accuracy": metric(0.9), "own": metric(5000.0)},
            "student_kd": {"recall_gap": metric(0.2, 0.1, 0.4), "accuracy": metric(None)},
        }
    }
    headline = table(metrics)
    assert [column.name for column in headline.columns] == ["accuracy", "recall_gap"]
    accuracy, gap = headline.columns
    assert (accuracy.better, gap.better) == ("higher", "lower")
    assert [cell.text for cell in accuracy.cells] == ["0.900", "n/a"]
    assert [cell.interval for cell in gap.cells] == ["[0.050, 0.200]", "[0.100, 0.400]"]
    assert [gap.percent(number) for number in (0.0, 0.1, 0.4)] == [0.0, 25.0, 100.0]
    everything = {column.name: column for column in table(metrics, None).columns}
    assert everything["own"].cells[0].text == "5,000"
    assert everything["own"].cells[1].value is None


def test_the_output_folder_is_written_by_its_name_alone(tmp_path):
    folder = tmp_path / "somebody's & <b>" / "outputs"
    code = f"output_dir = {str(folder)!r}\nother = {str(folder) + '2'!r}"
    write_notebook(
        folder / "run", "01_data.ipynb", new_markdown_cell("# Data"), new_code_cell(code, outputs=[figure()])
    )
    write_json(folder / "run" / "experiment.json", {"parameters": {"output_dir": str(folder)}})
    page = write_report(folder / "run").read_text(encoding="utf-8")
    shown = html.unescape(re.sub(r"<[^>]*>", "", page))
    assert 'output_dir = "outputs"' in shown.replace("'", '"') and "outputs2" in shown
    write_json(
        folder / "run" / "experiment.json",
        {
            "parameters": {"skew": 0.9},
            "command": f"fairkd run -p skew 0.9 -p output_dir {shlex.quote(str(folder))}",
        },
    )
    page_of_a_run = write_report(folder / "run").read_text(encoding="utf-8")
    # The name alone would be another folder, beside whoever copies the command.
    assert "fairkd run -p skew 0.9<" in page_of_a_run
    assert f"{folder}\n" not in shown and f"{folder}'" not in shown and shown.count(str(folder)) == 1
