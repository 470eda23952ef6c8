"""The data card: complete, computed, self-contained, and literal about whatever the data are called."""

from __future__ import annotations

import dataclasses
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fairkd
from fairkd.data import Splits
from fairkd.data.audit import audit
from fairkd.errors import ParameterError
from fairkd.report.data_card import OWNER_FIELDS, DataCard, data_card
from fairkd.report.sanitize import clean_html

PAYLOAD = "<img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    """All elements with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def hostile(splits: Splits) -> Splits:
    """The splits with markup in every name and fact, a further attribute, and missing groups."""
    ages = {name: np.arange(len(images)) % 3 - 1 for name, images in splits.items()}
    parts = {
        name: dataclasses.replace(images, attributes={PAYLOAD: ages[name]}) for name, images in splits.items()
    }
    groups = parts["train"].groups.copy()
    groups[:5] = -1
    parts["train"] = dataclasses.replace(parts["train"], groups=groups)
    return dataclasses.replace(
        splits,
        **parts,
        name=PAYLOAD,
        class_names=tuple(f"{PAYLOAD}{c}" for c in range(3)),
        group_names=tuple(f"{PAYLOAD}{g}" for g in range(2)),
        label_name=f"label {PAYLOAD}",
        group_name=f"group {PAYLOAD}",
        facts={"licence": PAYLOAD, f"fact {PAYLOAD}": PAYLOAD, "list": [PAYLOAD], "path": Path(PAYLOAD)},
        attributes={PAYLOAD: (f"young {PAYLOAD}", f"old {PAYLOAD}")},
    )


def card_of(splits: Splits, **options: Any) -> DataCard:
    return data_card(splits, audit(splits), **options)


@pytest.mark.parametrize("form", ["page", "notebook"])
def test_text_from_data_is_shown_literally(tiny_splits: Splits, form: str) -> None:
    card = card_of(hostile(tiny_splits), owner=dict.fromkeys(OWNER_FIELDS, PAYLOAD))
    html = card.to_html() if form == "page" else card._repr_html_()
    page = Elements(html)
    assert not page.open
    assert not {"img", "script"} & {tag for tag, _ in page.elements}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert "".join(page.text).count(PAYLOAD) > 40


def test_the_page_loads_nothing(tiny_splits: Splits) -> None:
    page = Elements(card_of(tiny_splits).to_html())
    assert not {"link", "iframe", "object", "script", "img"} & {tag for tag, _ in page.elements}
    assert not {"src", "href", "srcset"} & {name for _, attributes in page.elements for name in attributes}
    policies = [attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes]
    assert policies[0].startswith("default-src 'none'")


def test_headings_go_down_one_level_at_a_time(tiny_splits: Splits) -> None:
    card = card_of(tiny_splits)
    for html, top in ((card.to_html(), "h1"), (card._repr_html_(), "h3")):
        levels = [tag for tag, _ in Elements(html).elements if tag in ("h1", "h2", "h3", "h4")]
        assert levels[0] == top
        assert set(levels[1:]) == {f"h{int(top[1]) + 1}"}


def test_the_report_s_sanitizer_keeps_all_of_it(tiny_splits: Splits) -> None:
    html = card_of(tiny_splits)._repr_html_()
    kept = Elements(clean_html(html))
    assert "".join(kept.text).split() == "".join(Elements(html).text).split()
    assert {"table", "dl", "details"} <= {tag for tag, _ in kept.elements}


def test_the_card_holds_what_was_counted(tiny_splits: Splits) -> None:
    splits = hostile(tiny_splits)
    content = json.loads(card_of(splits).to_json())
    assert content["splits"] == [
        {"split": "train", "images": 48, "missing_group": 5},
        {"split": "validation", "images": 24, "missing_group": 0},
        {"split": "test", "images": 24, "missing_group": 0},
    ]
    assert sum(row["n"] for row in content["counts"] if row["split"] == "train") == 43
    missing = [row for row in content["attributes"] if row["value"] is None and row["split"] == "train"]
    assert [row["n"] for row in missing] == [5, 16]
    assert content["licence"] == PAYLOAD
    assert content["provenance"]["path"] == PAYLOAD
    assert "licence" not in content["provenance"]


def test_limits_are_computed_from_the_audit(tiny_splits: Splits) -> None:
    images = tiny_splits.test.images.copy()
    images[3] = tiny_splits.train.images[0]
    images[4] = 7
    splits = hostile(
        dataclasses.replace(tiny_splits, test=dataclasses.replace(tiny_splits.test, images=images))
    )
    limits = card_of(splits).content["limits"]
    text = "\n".join(limits)
    assert "Cells with fewer than 20 test images:" in text
    assert "1 of 24 test images have an identical image in train: scores on them are optimistic." in text
    assert "1 constant images were found: 1 in test." in text
    assert "The group is missing: 5 of 48 in train." in text
    assert "licence" not in text


def test_an_unknown_licence_is_a_limit(tiny_splits: Splits) -> None:
    card = card_of(tiny_splits)
    assert card.content["licence"] is None
    assert any("licence is not known" in sentence for sentence in card.content["limits"])
    assert "to be filled in by the owner" in card.to_html()


def test_what_only_the_owner_knows_stays_open_until_it_is_given(tiny_splits: Splits) -> None:
    found = audit(tiny_splits)
    empty, filled = (data_card(tiny_splits, found, owner=o) for o in (None, {"intended use": "benchmarks"}))
    assert set(empty.content["owner"].values()) == {None}
    assert empty.to_html().count("only the owner of the data can say") == len(OWNER_FIELDS)
    assert filled.content["owner"]["intended use"] == "benchmarks"
    assert filled.to_html().count("only the owner of the data can say") == len(OWNER_FIELDS) - 1
    with pytest.raises(ParameterError, match=r"no field 'use': allowed: intended use, "):
        data_card(tiny_splits, found, owner={"use": "x"})


def test_it_is_written_as_json_and_as_a_page_and_is_the_same_each_time(
    tiny_splits: Splits, tmp_path: Path
) -> None:
    card = card_of(tiny_splits)
    path = card.save(tmp_path / "run")
    assert path.name == "data_card.html"
    assert path.read_text(encoding="utf-8") == card.to_html() == card_of(tiny_splits).to_html()
    assert json.loads((tmp_path / "run" / "data_card.json").read_text(encoding="utf-8")) == card.content
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == ["data_card.html", "data_card.json"]


def test_the_package_offers_it() -> None:
    assert fairkd.data_card is data_card
