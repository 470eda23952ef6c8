"""A process that forks victims, and what they work on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Helpers that the training tests have as well.
sys.path.append(str(Path(__file__).parents[1] / "training"))

from forging import Forge, victims
from small_files import make_place

from fairkd.data.splits import Splits


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    """See :mod:`forging`."""
    with victims() as forge:
        yield forge


@pytest.fixture
def place(tmp_path: Path, tiny_splits: Splits) -> Path:
    """A folder with what victims read: splits, image files and notebooks."""
    return make_place(tmp_path, tiny_splits)
