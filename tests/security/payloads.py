"""Payloads that would really do something: leave a file behind. What they do is shown before it is refused."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch

IMAGE = "<img src=x onerror=alert(1)>"
SCRIPT = '"><script>alert(1)</script>'


class Trap:
    """A file that exists if something was executed. Unpickled, the trap makes it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (self.shell,)

    @property
    def shell(self) -> str:
        """A shell command that springs it."""
        return f"touch {self.marker}"

    @property
    def python(self) -> str:
        """A Python expression, with double quotes in it, that springs it."""
        return f'open("{self.marker}", "w").close()'

    @property
    def sprung(self) -> bool:
        return self.marker.exists()

    def proves(self, naive: Callable[[], object]) -> None:
        """Show that a payload is live: read without care it springs the trap, which is then set again."""
        naive()
        assert self.sprung, "this payload does nothing: refusing it shows nothing"
        self.marker.unlink()


def pickled(content: Any) -> bytes:
    return pickle.dumps(content)


def in_torch_zip(content: Any) -> bytes:
    """What ``torch.save`` writes: a zip with a pickle in it."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    assert zipfile.is_zipfile(buffer)
    return buffer.getvalue()


def in_old_torch_file(content: Any) -> bytes:
    """What ``torch.save`` wrote before there were zips: several pickles, one after the other."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def hidden_in_torch_zip(trap: Trap) -> Callable[[Any], bytes]:
    """Return how to write good weights in whose zip another pickle has taken the place of the own one."""

    def write(content: Any) -> bytes:
        good, bad = io.BytesIO(in_torch_zip({"weight": torch.ones(2)})), io.BytesIO()
        with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
            for member in source.infolist():
                own = member.filename.endswith("/data.pkl")
                target.writestr(member.filename, pickled(trap) if own else source.read(member))
        return bad.getvalue()

    return write


def unpickle(data: bytes) -> object:
    """Load without care what torch or pickle wrote."""
    return torch.load(io.BytesIO(data), weights_only=False)


class Page(HTMLParser):
    """What a browser would make of a page: its elements with attributes, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data

    @property
    def live(self) -> list[str]:
        """What of the payloads a browser would run: images, handlers of events, scripts with an alert in them."""
        found = [tag for tag, _ in self.elements if tag == "img"]
        return found + [
            name for _, attributes in self.elements for name in attributes if name.startswith("on")
        ]
