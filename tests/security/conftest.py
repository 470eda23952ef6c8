"""The trap that every payload sets, and a shell in which ``fairkd`` only says what it was called with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Helpers that the training tests have as well.
sys.path.append(str(Path(__file__).parents[1] / "training"))

from payloads import Trap


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a payload or a test writes by a relative name, and decoded images, go to a folder of the test's own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("FAIRKD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    """See :class:`payloads.Trap`."""
    return Trap(tmp_path / "owned")
