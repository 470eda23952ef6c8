"""Small generated image folders."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Decoded images go to a folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("FAIRKD_CACHE", str(folder))
    return folder


def png(seed: int, size: tuple[int, int] = (10, 12)) -> bytes:
    """A random image: no two seeds give the same bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class ImageFolder:
    """A folder with a CSV ``labels.csv``; ``rows`` are its lines, cell by cell, and can be edited."""

    def __init__(self, root: Path, header: Sequence[str], rows: list[list[str]]) -> None:
        self.root, self.header, self.rows = root, list(header), rows
        for seed, row in enumerate(rows):
            self.add_image(row[0], seed)
        self.write()

    def add_image(self, name: str, seed: int) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(seed))

    def write(self, *, separator: str = ",", encoding: str = "utf-8", name: str = "labels.csv") -> None:
        lines = [separator.join(cells) for cells in (self.header, *self.rows)]
        (self.root / name).write_bytes("\n".join(lines).encode(encoding))

    def zipped(self, *, wrapped: bool = False) -> Path:
        base = self.root.parent if wrapped else self.root
        folder = self.root.name if wrapped else "."
        return Path(shutil.make_archive(str(self.root) + "-archive", "zip", base, folder))


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., ImageFolder]:
    """Make a folder of two classes and two groups; ``sizes`` are images a class and group."""

    def make(
        sizes: Sequence[Sequence[int]] = ((10, 10), (10, 10)),
        *,
        header: Sequence[str] = ("path", "label", "group"),
        classes: Sequence[str] = ("cat", "dog", "bird"),
        groups: Sequence[str] = ("indoors", "outdoors", "unknown"),
    ) -> ImageFolder:
        cells = [(c, g) for c, row in enumerate(sizes) for g, n in enumerate(row) for _ in range(n)]
        rows = [[f"{classes[c]}/{i:03}.png", classes[c], groups[g]] for i, (c, g) in enumerate(cells)]
        return ImageFolder(tmp_path / "photos", header, rows)

    return make
