"""Pages of numbers that are not a study's: each says what its file of numbers says."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
MODULES = ("default_run", "methods", "readme_table")


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    for folder in ("benchmarks", "benchmarks/reproduce"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    yield
    for name in (*MODULES, "cifar10s", "utkface", "study", "tables"):
        sys.modules.pop(name, None)


def noted(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def paragraphs(text, without):
    """Split a page; the paragraph that names this machine and its versions is another one elsewhere."""
    return [part for part in text.split("\n\n") if without not in part]


@pytest.mark.parametrize(
    ("name", "table", "without"),
    [("default_run", dict, "Made by"), ("methods", pd.DataFrame, "trainings took")],
)
def test_a_page_is_what_its_numbers_say(name, table, without):
    page = importlib.import_module(name).page(table(noted(name)))
    committed = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
    assert paragraphs(page, without) == paragraphs(committed, without)


def test_the_readme_s_table_is_what_the_numbers_say():
    table = importlib.import_module("readme_table").table(noted("costs"))
    assert f"\n{table}\n" in (ROOT / "README.md").read_text(encoding="utf-8")
