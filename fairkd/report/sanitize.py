"""Make HTML from notebook outputs safe to embed: it runs nothing and loads nothing."""

from __future__ import annotations

import re
from html import escape
from html.parser import HTMLParser


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


_ALLOWED = _words(
    "a abbr b bdi blockquote br caption center cite code col colgroup dd del details dfn div dl dt em",
    "figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li mark meter ol p pre q s samp",
    "section small span strong style sub summary sup table tbody td tfoot th thead time tr tt u ul var wbr",
    "svg circle clippath defs ellipse g line lineargradient path polygon polyline radialgradient rect stop",
    "text tspan",
)
#: Their content is not text for the reader, so it goes with them.
_DROPPED_WHOLE = _words(
    "script iframe object embed applet noscript noembed noframes template textarea select title head xmp"
)
_VOID = _words("br col hr img wbr")
_LOADING = _words("src srcset href xlink:href background poster data action formaction ping srcdoc")
_NAME = re.compile(r"[a-z_][\w:.-]*")
_LOADING_CSS = re.compile(r"url\s*\(|image-set|@import|expression\s*\(|\\|<", re.IGNORECASE)


def clean_html(html: str) -> str:
    """Return ``html`` with well-formed, allowed elements only.

    Scripts, event handlers, forms and frames go; so does everything that would load something: an image stays
    if it is a ``data:`` URL (else its alternative text does), a link if it is a web address or an anchor.
    Elements are closed in their order, so that no output can break out of its place in the page.

    Example:
        >>> clean_html("<p onclick=steal()>safe<script>alert(1)</script>")
        '<p>safe</p>'
    """
    cleaner = _Cleaner()
    cleaner.feed(html)
    cleaner.close()
    return cleaner.result()


class _Cleaner(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._open: list[str] = []
        self._dropping: list[str] = []

    def result(self) -> str:
        return "".join(self._out) + "".join(f"</{tag}>" for tag in reversed(self._open))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED_WHOLE:
            self._dropping.append(tag)
        elif tag in _ALLOWED and not self._dropping:
            kept = {name: value or "" for name, value in attrs if _allowed(tag, name, value or "")}
            if tag == "img" and "src" not in kept:
                self._out.append(escape(kept.get("alt", "")))
                return
            attributes = "".join(f' {name}="{escape(value)}"' for name, value in kept.items())
            self._out.append(f"<{tag}{attributes}>")
            if tag not in _VOID:
                self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # In HTML, a slash closes only void elements and SVG shapes; closing all is the harmless reading.
        if tag not in _DROPPED_WHOLE:
            self.handle_starttag(tag, attrs)
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._dropping:
            del self._dropping[self._dropping.index(tag) :]
        elif tag in self._open and not self._dropping:
            while (closed := self._open.pop()) != tag:
                self._out.append(f"</{closed}>")
            self._out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._dropping:
            return
        if self._open and self._open[-1] == "style":
            self._out.append("" if _LOADING_CSS.search(data) else data)
        else:
            self._out.append(escape(data, quote=False))


def _allowed(tag: str, name: str, value: str) -> bool:
    if not _NAME.fullmatch(name) or name.startswith(("on", "data-")):
        return False
    if name == "style":
        return not _LOADING_CSS.search(value)
    if name not in _LOADING:
        return "url(" not in value.lower() or value.lower().startswith("url(#")
    target = "".join(value.split()).lower()
    if tag == "a" and name == "href":
        return target.startswith(("#", "http://", "https://", "mailto:"))
    return tag == "img" and name == "src" and target.startswith("data:image/")
