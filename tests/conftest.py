"""Fixtures that several folders of tests share: tiny data and experiments that train in seconds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_images import make_image_set

from fairkd.config import Experiment
from fairkd.data.splits import Splits

# Decoded images of tests do not belong in the user's cache.
_CACHE = tempfile.TemporaryDirectory(prefix="fairkd-tests-")
os.environ.setdefault("FAIRKD_CACHE", _CACHE.name)

# Networks this small gain nothing from a second thread, and on a busy machine they wait for it.
torch.set_num_threads(1)


@pytest.fixture
def tiny_splits() -> Splits:
    """Three classes, two groups, 16-pixel images; 48 + 24 + 24 samples."""
    rng = np.random.default_rng(0)
    parts = [make_image_set(rng, n, classes=3, groups=2, size=16) for n in (48, 24, 24)]
    return Splits(
        name="tiny",
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        class_names=("a", "b", "c"),
        group_names=("red", "green"),
        label_name="shape",
        group_name="colour",
        fingerprint="tiny",
        augmentation="crop",
    )


@pytest.fixture
def tiny_experiment(tmp_path: Path) -> Experiment:
    """Networks and epochs small enough for a test."""
    return Experiment(
        teacher="resnet8_cifar",
        student="resnet8_cifar",
        teacher_epochs=2,
        student_epochs=3,
        batch_size=16,
        precision="float32",
        bootstrap_replicates=100,
        output_dir=str(tmp_path),
    )


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return the path of a file of real data, or skip: ``FAIRKD_DATA``, else ``../shared/data``."""
    folder = Path(os.environ.get("FAIRKD_DATA") or Path(__file__).parents[2] / "shared" / "data")

    def find(name: str) -> Path:
        if not (folder / name).is_file():
            pytest.skip(f"there is no {folder / name}; FAIRKD_DATA can name another folder")
        return folder / name

    return find


@pytest.fixture
def whole_data(real_data: Callable[[str], Path]) -> Callable[[str], Path]:
    """As ``real_data``, for tests that decode everything: skipped unless ``FAIRKD_WHOLE_DATA`` is set."""
    if not os.environ.get("FAIRKD_WHOLE_DATA"):
        pytest.skip("decodes a whole data set; set FAIRKD_WHOLE_DATA=1")
    return real_data
