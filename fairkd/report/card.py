"""What the cards share: plain content, written as JSON and as one HTML page that loads nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from fairkd.report import render_page
from fairkd.store import write_text


@dataclass(frozen=True)
class Card:
    """A card. ``content`` holds plain values only: dicts, lists, text, numbers, None."""

    content: dict[str, Any]
    #: Names the template ``<kind>.html.j2`` and, by default, the files.
    kind: ClassVar[str]

    def to_json(self) -> str:
        """Return the card as JSON text."""
        return json.dumps(self.content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_html(self) -> str:
        """Return the card as one page that loads nothing; every text from data is escaped."""
        return self._render("card.html.j2", level=1)

    def save(self, folder: Path | str, name: str | None = None) -> Path:
        """Write ``<name>.json`` and ``<name>.html`` into ``folder`` and return the page's path.

        Args:
            folder: made if it is not there.
            name: default: the kind of card, for example ``data_card``.

        Raises:
            ArtifactError: a file cannot be written.
        """
        place = Path(folder, name or self.kind)
        write_text(place.with_name(f"{place.name}.json"), self.to_json())
        page = place.with_name(f"{place.name}.html")
        write_text(page, self.to_html())
        return page

    def _repr_html_(self) -> str:
        return self._render(f"{self.kind}.html.j2", level=3)

    def _render(self, template: str, *, level: int) -> str:
        return render_page(template, card=self.content, kind=self.kind, level=level)


def plain(content: dict[str, Any]) -> dict[str, Any]:
    """Return content with plain values: whatever JSON does not know becomes text."""
    values: dict[str, Any] = json.loads(json.dumps(content, default=str))
    return values


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows with plain values; NaN becomes None."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return rows
