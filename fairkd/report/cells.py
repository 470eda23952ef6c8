"""An executed notebook as HTML: prose, folded code, figures as data for one plotly.js, tables, warnings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from html import escape, unescape
from pathlib import Path
from typing import Any

from fairkd.errors import ArtifactError
from fairkd.report.markdown import Chapter, Prose, highlight
from fairkd.report.sanitize import clean_html

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"

_ANSI = re.compile("\x1b\\[.*?[@-~]")
_PROGRESS_BAR = re.compile(r"\d+%\|.*\||\d+it \[")
_WARNING = re.compile(r"^(?:.*?:\d+: )?(?P<kind>\w*Warning): (?P<text>.*)$")
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")


class ChapterRenderer:
    """Renders notebooks one after the other and numbers their figures throughout."""

    def __init__(self, notebooks: Iterable[Path]) -> None:
        self._notebooks = list(notebooks)
        self.figures = 0
        self.trace_types: set[str] = set()

    def chapters(self) -> list[Chapter]:
        """Return a chapter for each notebook."""
        return [self._chapter(path) for path in self._notebooks]

    def _chapter(self, path: Path) -> Chapter:
        chapter = Chapter(anchor=path.stem, title=path.stem.replace("_", " "))
        prose = Prose(chapter, {f"{other.stem}.ipynb" for other in self._notebooks})
        chapter.html = "\n".join(self._parts(_read_cells(path), prose))
        return chapter

    def _parts(self, cells: list[dict[str, Any]], prose: Prose) -> Iterator[str]:
        """Yield HTML; code cells that nothing stands between share one fold."""
        code: list[str] = []
        for cell in cells:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code":
                code.append(source)
                outputs = "\n".join(self._outputs(cell.get("outputs", []), prose))
                if outputs:
                    yield self._fold(code)
                    yield outputs
                    code = []
            elif cell["cell_type"] == "markdown" and not _is_error_marker(cell):
                yield self._fold(code)
                yield f'<div class="prose">{prose.render(source)}</div>'
                code = []
        yield self._fold(code)

    def _fold(self, sources: list[str]) -> str:
        text = "\n\n".join(source.strip() for source in sources if source.strip())
        if not text:
            return ""
        return f'<details class="code"><summary>code</summary>{highlight(text)}</details>'

    def _outputs(self, outputs: list[dict[str, Any]], prose: Prose) -> Iterator[str]:
        for output in _join_streams(outputs):
            kind = output["output_type"]
            if kind == "stream":
                yield from _stream(output["name"], "".join(output["text"]))
            elif kind == "error":
                traceback = _plain("\n".join(output["traceback"]))
                yield (
                    f'<details class="error"><summary>{escape(output["ename"])}: {escape(output["evalue"])}'
                    f"</summary><pre>{escape(traceback)}</pre></details>"
                )
            else:
                yield self._display(output.get("data", {}), prose)

    def _display(self, data: dict[str, Any], prose: Prose) -> str:
        """Render the richest form that a file without a server can show."""
        if PLOTLY in data:
            return self._figure(data[PLOTLY])
        if WIDGET in data:  # Its other forms only say that a widget was here.
            return ""
        if "text/html" in data:
            html = clean_html("".join(data["text/html"])).strip()
            return f'<div class="output html">{html}</div>' if html else ""
        if "text/markdown" in data:
            return f'<div class="prose">{prose.render("".join(data["text/markdown"]))}</div>'
        if "image/svg+xml" in data:
            return f'<div class="output">{clean_html("".join(data["image/svg+xml"]))}</div>'
        for kind in _IMAGES:
            if kind in data:
                encoded = escape("".join("".join(data[kind]).split()))
                return f'<div class="output"><img src="data:{kind};base64,{encoded}" alt=""></div>'
        text = "".join(data.get("text/plain", ""))
        return f'<pre class="output">{escape(_plain(text))}</pre>' if text.strip() else ""

    def _figure(self, figure: dict[str, Any]) -> str:
        self.figures += 1
        self.trace_types.update(str(trace.get("type", "scatter")) for trace in figure.get("data", []))
        return figure_html(figure, self.figures)


def figure_html(figure: dict[str, Any], number: int) -> str:
    """Return a plotly figure as data for the page's script to draw, with its number below it."""
    layout = figure.get("layout", {})
    title = layout.get("title", "")
    text = title.get("text", "") if isinstance(title, dict) else title
    label = escape(" ".join(unescape(re.sub(r"<[^>]*>", " ", str(text))).split()))
    height = layout.get("height")
    pixels = int(height) if isinstance(height, int | float) else 420
    data = {"data": figure.get("data", []), "layout": layout}
    return (
        f'<figure id="figure-{number}" data-figure>'
        f'<div class="scroll"><div class="plot" role="img" aria-label="{label}" '
        f'style="min-height:{pixels}px;min-width:{_least_width(layout)}px"></div></div>'
        f'<script type="application/json">{json_for_script(data)}</script>'
        f'<figcaption><a href="#figure-{number}">Figure {number}</a></figcaption></figure>'
    )


def _least_width(layout: dict[str, Any]) -> int:
    """Return the pixels below which many panels side by side could not be read: the figure then scrolls."""
    starts = {tuple(axis.get("domain", ()))[:1] for name, axis in layout.items() if name.startswith("xaxis")}
    return 80 + 160 * len(starts) if len(starts) > 2 else 0


def json_for_script(value: Any) -> str:
    """Return ``value`` as JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    # Without "<", neither the element can end nor a comment begin.
    for character in "<\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _read_cells(path: Path) -> list[dict[str, Any]]:
    try:
        cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"cannot read {path}: {error}; run its step again") from error
    return cells


def _is_error_marker(cell: dict[str, Any]) -> bool:
    """Whether papermill put the cell there to point at a failed one; the report says so itself."""
    return "papermill-error-cell-tag" in cell.get("metadata", {}).get("tags", [])


def _join_streams(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join neighbouring pieces of one stream: a kernel cuts them anywhere, even within a line."""
    joined: list[dict[str, Any]] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            joined[-1] = {**last, "text": "".join(last["text"]) + "".join(output["text"])}
        else:
            joined.append(output)
    return joined


def _stream(name: str, text: str) -> Iterator[str]:
    lines = [line for line in _plain(text).split("\n") if not _is_progress(line)]
    rest: list[str] = []
    after_warning = False
    for line in lines:
        warning = _WARNING.match(line) if name == "stderr" else None
        if warning:
            kind, message = escape(warning["kind"]), escape(warning["text"])
            yield f'<p class="warning"><strong>{kind}</strong> {message}</p>'
        elif not (
            after_warning and line.startswith("  ")
        ):  # Python repeats the line of code below a warning.
            rest.append(line)
        after_warning = warning is not None
    remaining = "\n".join(rest).strip("\n")
    if remaining.strip():
        yield f'<pre class="output {escape(name)}">{escape(remaining)}</pre>'


def _plain(text: str) -> str:
    """Return a terminal's text without its colours."""
    return _ANSI.sub("", text)


def _is_progress(line: str) -> bool:
    return "\r" in line or _PROGRESS_BAR.search(line) is not None
