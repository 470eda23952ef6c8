"""Prose of a report: formulas, code and links as notebooks write them, without the imports of nbconvert."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fairkd.report.markdown import Chapter, Heading, Prose


@pytest.mark.parametrize(
    ("source", "html"),
    [
        ("with $x^2 < 3$", '<p>with <code class="math">x^2 &lt; 3</code></p>\n'),
        ("costs $5 and $10", "<p>costs $5 and $10</p>\n"),
        ("as `$x$`", "<p>as <code>$x$</code></p>\n"),
        ("a\n\n$$\nx_1 + x_2\n$$\n\nb", '<p>a</p>\n<pre class="math">x_1 + x_2</pre><p>b</p>\n'),
        (
            "\\begin{align}\nx_1 &= x_2\n\\end{align}\n\n*b*",
            '<pre class="math">\\begin{align}\nx_1 &amp;= x_2\n\\end{align}</pre><p><em>b</em></p>\n',
        ),
        ("```\nx < 1\n```", "<pre><code>x &lt; 1\n</code></pre>\n"),
        ("```unheard-of\nx\n```", "<pre><code>x\n</code></pre>\n"),
        ("~~x~~", "<p><del>x</del></p>\n"),
        ("[x](javascript:alert(1))", "<p><a>x</a></p>\n"),
        ("![picture](attachment:x.png)", "<p>picture</p>\n"),
        ("[next](./02_b.ipynb#top)", '<p><a href="#02_b">next</a></p>\n'),
    ],
)
def test_prose(source: str, html: str) -> None:
    assert Prose(Chapter("01_a", ""), {"02_b.ipynb"}).render(source) == html


def test_code_has_its_colours() -> None:
    html = Prose(Chapter("01_a", ""), ()).render("```python\nx = 1\n```")
    assert html.startswith('<div class="highlight hl-python">') and '<span class="o">=</span>' in html


def test_headings_are_noted_one_level_down() -> None:
    chapter = Chapter("01_a", "01 a")
    html = Prose(chapter, ()).render("# The *title*\n\n## A & b\n\n# Another")
    assert (chapter.title, chapter.titled) == ("The title", True)
    assert chapter.headings == [Heading("01_a-1", "A & b", 2), Heading("01_a-2", "Another", 1)]
    assert '<h2 id="01_a">The <em>title</em></h2>' in html and '<h3 id="01_a-1">A &amp; b</h3>' in html


def test_a_report_imports_nothing_that_takes_seconds_and_is_not_needed() -> None:
    program = "import sys, fairkd.cli, fairkd.report.cells; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"nbconvert", "nbformat", "jsonschema", "papermill", "torch"}.isdisjoint(done.stdout.split())
