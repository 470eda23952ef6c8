"""Image files and notebooks that take no time."""

from __future__ import annotations

import pickle
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image

from fairkd.data.splits import Splits


def make_place(folder: Path, splits: Splits) -> Path:
    """Splits, image files and notebooks: what the jobs of ``victims.py`` read."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "splits.pickle").write_bytes(pickle.dumps(splits))
    make_photos(folder / "photos")
    (folder / "notebooks").mkdir()
    for name in ("01_first", "02_second"):
        make_notebook(folder / "notebooks" / f"{name}.ipynb")
    return folder


def make_photos(folder: Path) -> Path:
    """40 images of two classes and two groups, with ``labels.csv``."""
    rng, lines = np.random.default_rng(0), ["path,label,group"]
    folder.mkdir()
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{'cat' if i % 2 else 'dog'},{'in' if i % 4 < 2 else 'out'}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def make_notebook(path: Path, *sources: str) -> Path:
    """A notebook that takes the run's parameters."""
    cell = "run_name: str | None = None\noutput_dir = 'outputs'\noptions: dict = {}"
    # Ids that are not drawn: the same notebook is the same file.
    cells = [nbformat.v4.new_code_cell(cell, id="parameters", metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source, id=f"{i}") for i, source in enumerate(sources or ("1 + 1",))]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path
