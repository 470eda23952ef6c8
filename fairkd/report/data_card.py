"""The data card: what a data set is, how it was made, and what it cannot answer, as JSON and as one HTML page.

After "Datasheets for Datasets" (Gebru et al. 2021, arXiv 1803.09010) and "Data Cards" (Pushkarna et al. 2022,
arXiv 2204.01075), restricted to what can be computed; what only the owner knows is left open, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fairkd.data.audit import Audit
from fairkd.data.splits import Splits
from fairkd.errors import ParameterError
from fairkd.narrative_data import (
    describe_duplicates,
    describe_images,
    describe_label_noise,
    describe_limits,
    describe_odd_images,
)
from fairkd.store import write_atomic

#: What no program can know; ``data_card(..., owner={...})`` fills it in.
OWNER_FIELDS = ("intended use", "uses to avoid", "how the data were collected", "consent", "contact")
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class DataCard:
    """A data set's card. ``content`` holds plain values only: dicts, lists, text, numbers, None."""

    content: dict[str, Any]

    def to_json(self) -> str:
        """Return the card as JSON text."""
        return json.dumps(self.content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_html(self) -> str:
        """Return the card as one page that loads nothing; every text from data is escaped."""
        return self._render("data_card.html.j2", level=1)

    def save(self, folder: Path) -> Path:
        """Write ``data_card.json`` and ``data_card.html`` into ``folder`` and return the page's path.

        Raises:
            ArtifactError: a file cannot be written.
        """
        _write(folder / "data_card.json", self.to_json())
        _write(folder / "data_card.html", self.to_html())
        return folder / "data_card.html"

    def _repr_html_(self) -> str:
        return self._render("data_card_body.html.j2", level=3)

    def _render(self, template: str, *, level: int) -> str:
        import jinja2

        environment = jinja2.Environment(
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
            loader=jinja2.FileSystemLoader(_TEMPLATES),
        )
        return environment.get_template(template).render(card=self.content, level=level)


def data_card(splits: Splits, audit: Audit, *, owner: Mapping[str, str] | None = None) -> DataCard:
    """Make the card of a data set from its facts and its audit.

    Args:
        splits: the data.
        audit: what :func:`fairkd.audit` returned for them.
        owner: what only the data's owner knows, by the names in ``OWNER_FIELDS``; what is not given stays open.

    Raises:
        ParameterError: an unknown field of the owner's.

    Example:
        >>> data_card(splits, fairkd.audit(splits)).save(folder)
    """
    owner = dict(owner or {})
    unknown = [name for name in owner if name not in OWNER_FIELDS]
    if unknown:
        raise ParameterError(f"owner has no field {unknown[0]!r}: allowed: {', '.join(OWNER_FIELDS)}")
    facts = {name: value for name, value in splits.facts.items() if name not in ("licence", "sizes")}
    height, width = splits.image_size
    content = {
        "name": splits.name,
        "fingerprint": splits.fingerprint,
        "licence": splits.facts.get("licence"),
        "provenance": facts,
        "image_size": {"height": height, "width": width},
        "label": {"name": splits.label_name, "values": list(splits.class_names)},
        "group": {"name": splits.group_name, "values": list(splits.group_names)},
        "further_attributes": {name: list(values) for name, values in splits.attributes.items()},
        "splits": _sizes(splits),
        "counts": _records(audit.counts),
        "attributes": _records(audit.attributes),
        "association": _records(audit.attribute_association),
        "predictability": _records(audit.predictability),
        "image_statistics": _records(audit.image_statistics),
        "duplicates": _records(audit.duplicates),
        "odd_images": _records(audit.odd_images),
        "label_noise": _records(audit.label_noise),
        "findings": [
            *describe_images(audit),
            *describe_duplicates(audit),
            describe_odd_images(audit),
            *describe_label_noise(audit),
        ],
        "limits": describe_limits(splits, audit),
        "owner": {name: owner.get(name) for name in OWNER_FIELDS},
    }
    # Facts are the loaders' own: whatever is in them reaches the card as text.
    return DataCard(json.loads(json.dumps(content, default=str)))


def _write(path: Path, text: str) -> None:
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))


def _sizes(splits: Splits) -> list[dict[str, Any]]:
    missing = splits.missing_groups()
    return [
        {"split": split, "images": len(images), "missing_group": missing[split]}
        for split, images in splits.items()
    ]


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows with plain values; NaN becomes None."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return rows
