"""A notebook's prose as safe HTML, with the headings that the contents list shows.

mistune and pygments by themselves: nbconvert, which uses both, takes seconds to import.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from html import escape, unescape
from typing import Any

import mistune
import pygments
from mistune.plugins import import_plugin
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from fairkd.report.sanitize import clean_html

_PLUGINS = ("strikethrough", "table", "url", "task_lists", "def_list", "math")
#: LaTeX that notebooks show as a formula without dollar signs around it.
_ENVIRONMENT = r"^ {0,3}(?P<environment>\\begin\{(?P<of>[a-z]+\*?)\}[\s\S]*?\\end\{(?P=of)\})[ \t]*$"


@dataclass(frozen=True)
class Heading:
    """An entry of the contents list."""

    anchor: str
    text: str
    level: int


@dataclass
class Chapter:
    """One notebook: its anchor, title, HTML, and the headings below the title."""

    anchor: str
    title: str
    titled: bool = False
    html: str = ""
    headings: list[Heading] = field(default_factory=list)


class Prose:
    """Markdown to HTML with headings one level down, anchors that are unique in the page, and safe HTML.

    Args:
        chapter: whose title and headings are noted.
        notebooks: names of the files that are chapters: links to them stay in the page.
    """

    def __init__(self, chapter: Chapter, notebooks: Collection[str]) -> None:
        self._markdown = mistune.Markdown(
            _Renderer(chapter, notebooks),
            plugins=[*(import_plugin(name) for name in _PLUGINS), _environments],
        )

    def render(self, source: str) -> str:
        """Return the HTML of Markdown ``source``."""
        return clean_html(str(self._markdown(source)))


def highlight(source: str, language: str = "python") -> str:
    """Return code as HTML with classes for its colours.

    Raises:
        ClassNotFound: pygments does not know the language.
    """
    formatter = HtmlFormatter(cssclass=f"highlight hl-{language}")
    return str(pygments.highlight(source, get_lexer_by_name(language), formatter))


class _Renderer(mistune.HTMLRenderer):
    def __init__(self, chapter: Chapter, notebooks: Collection[str]) -> None:
        # What is not allowed goes when the HTML is cleaned.
        super().__init__(escape=False, allow_harmful_protocols=True)
        self._chapter, self._notebooks = chapter, notebooks

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        plain = unescape(re.sub(r"<[^>]*>", "", text)).strip()
        if level == 1 and not self._chapter.titled:
            self._chapter.titled, self._chapter.title = True, plain
            return f'<h2 id="{escape(self._chapter.anchor)}">{text}</h2>\n'
        anchor = f"{self._chapter.anchor}-{len(self._chapter.headings) + 1}"
        self._chapter.headings.append(Heading(anchor, plain, level))
        tag = f"h{min(level + 1, 6)}"
        return f'<{tag} id="{escape(anchor)}">{text}</{tag}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        name = url.split("#")[0].rsplit("/", 1)[-1]
        if name in self._notebooks:
            url = f"#{name.removesuffix('.ipynb')}"
        return super().link(text, url, title)

    def block_code(self, code: str, info: str | None = None) -> str:
        words = (info or "").split()
        try:
            return highlight(code, words[0]) if words else super().block_code(code)
        except ClassNotFound:
            return super().block_code(code)

    # A formula renderer would be a second megabyte of JavaScript; a formula's source can be read as it is.
    def inline_math(self, body: str) -> str:
        return f'<code class="math">{escape(body.strip())}</code>'

    def block_math(self, body: str) -> str:
        return f'<pre class="math">{escape(body.strip())}</pre>'


def _environments(md: mistune.Markdown) -> None:
    """A plugin of mistune: LaTeX environments are formulas."""

    def parse(block: mistune.BlockParser, match: re.Match[str], state: mistune.BlockState) -> int:
        state.append_token({"type": "block_math", "raw": match["environment"]})
        return match.end() + 1

    md.block.register("latex", _ENVIRONMENT, parse, before="list")
