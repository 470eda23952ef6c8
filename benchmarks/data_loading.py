"""How fast are 60,000 small JPEGs read, the first time and the next?

    python benchmarks/data_loading.py --cifar ../shared/data/cifar10.zip [--repeats 3]

Writes CIFAR-10 as JPEG files (quality 95) in class folders to a temporary folder, and as a zip archive (stored) of the
same files, and measures, in turn and with warm file caches of the operating system:

- the reference: one pass of ``torchvision.datasets.ImageFolder`` with ``PILToTensor`` through
  ``DataLoader(batch_size=256, num_workers=2)``, folder only;
- the floor: a bare loop of ``os.scandir`` and ``stat`` over the same folder, about what noticing a
  changed file costs;
- cold: ``fairkd.load_dataset("cifar10", data_root=...)`` with an empty cache, of the folder and of the archive;
- warm: the same call again; images stay in the memory-mapped cache until they are asked for;
- read: a warm load, and then every image of the three splits in memory, as arrays.

Each measurement is a process of its own; the fastest of the repeats counts. Goals: cold at least 1.5 times, warm at
least 50 times as fast as the reference. Writes docs/results/data_loading.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from fairkd.reproducibility import version_of

ROOT = Path(__file__).parent.parent
GOALS = {"cold": 1.5, "warm": 50.0}
REFERENCE = """
import sys, time
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import PILToTensor
start, n = time.perf_counter(), 0
for split in ("train", "test"):
    data = ImageFolder(f"{sys.argv[1]}/{split}", PILToTensor())
    n += sum(len(labels) for _, labels in DataLoader(data, batch_size=256, num_workers=2))
assert n == 60_000
print("seconds", time.perf_counter() - start)
"""
OURS = """
import sys, time
import numpy as np
import fairkd.data.registry
start = time.perf_counter()
splits = fairkd.data.load_dataset("cifar10", data_root=sys.argv[1], cache_dir=sys.argv[2])
arrays = [np.asarray(images.images) for _, images in splits.items()] if sys.argv[3:] else []
seconds = time.perf_counter() - start
assert sum(len(images.images) for _, images in splits.items()) == 60_000
assert sum(len(array) for array in arrays) == (60_000 if sys.argv[3:] else 0)
print("seconds", seconds)
"""
FLOOR = """
import os, sys, time
def stats(folder):
    with os.scandir(folder) as entries:
        return sum(stats(entry.path) if entry.is_dir() else bool(entry.stat()) for entry in entries)
start = time.perf_counter()
assert stats(sys.argv[1]) == 60_000
print("seconds", time.perf_counter() - start)
"""
#: What is measured, and what of it has a goal.
WAYS = {
    "reference": "`ImageFolder` + `DataLoader(num_workers=2)`, one pass",
    "floor": "bare `os.scandir` and `stat` of every file",
    "folder cold": "`fairkd.load_dataset`, folder, empty cache",
    "folder warm": "`fairkd.load_dataset`, folder, again",
    "folder read": "the same, and all images as arrays",
    "zip cold": "`fairkd.load_dataset`, zip, empty cache",
    "zip warm": "`fairkd.load_dataset`, zip, again",
    "zip read": "the same, and all images as arrays",
}


def write_jpegs(archive: Path, folder: Path) -> None:
    """Write every image of CIFAR-10 as ``<split>/<class>/<index>.jpg``."""
    from PIL import Image

    import fairkd

    splits = fairkd.load_dataset("cifar10", data_root=archive)
    for name, images in splits.items():
        split = "test" if name == "test" else "train"
        for label, unit, pixels in zip(images.labels, images.unit, images.images, strict=True):
            file = folder / split / splits.class_names[label] / f"{unit:05}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file, quality=95)


def seconds(code: str, *arguments: Path) -> float:
    """Run a measurement in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.rsplit("seconds ", 1)[1])


def write_zip(folder: Path, archive: Path) -> None:
    """Write all files to an archive, as they are."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for path in sorted(folder.rglob("*.jpg")):
            file.write(path, path.relative_to(folder.parent))


def measure(folder: Path, archive: Path, repeats: int) -> dict[str, list[float]]:
    """Return the times of each way, seconds; the ways take turns, so that a busy machine disturbs all."""
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    cache = folder.parent / "cache"
    for _ in range(repeats):
        times["reference"].append(seconds(REFERENCE, folder))
        times["floor"].append(seconds(FLOOR, folder))
        for form, root in (("folder", folder), ("zip", archive)):
            shutil.rmtree(cache, ignore_errors=True)
            times[f"{form} cold"].append(seconds(OURS, root, cache))
            times[f"{form} warm"].append(seconds(OURS, root, cache))
            times[f"{form} read"].append(seconds(OURS, root, cache, Path("read")))
        print({name: f"{values[-1]:.2f} s" for name, values in times.items()}, flush=True)
    return times


def report(times: dict[str, list[float]]) -> str:
    """Return the page of results."""
    best = {name: min(values) for name, values in times.items()}
    lines = [
        "# Reading 60,000 JPEGs of CIFAR-10",
        "",
        "| | seconds, fastest (all) | times as fast as the reference | goal |",
        "|---|---|---|---|",
    ]
    for name, text in WAYS.items():
        every = ", ".join(f"{value:.2f}" for value in times[name])
        goal = GOALS.get(name.rpartition(" ")[2])
        ratio = f"{best['reference'] / best[name]:.1f}"
        lines.append(f"| {text} | {best[name]:.2f} ({every}) | {ratio} | {f'{goal:g}' if goal else '–'} |")
    versions = ", ".join(
        f"{name} {version_of(name)}" for name in ("fairkd", "torch", "torchvision", "pillow", "numpy")
    )
    ceiling = best["reference"] / best["floor"]
    lines += [
        "",
        f"{os.cpu_count()} CPU cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}; "
        f"{versions}. The machine was shared with other work; imports are not counted.",
        "",
        "Loading again leaves the images in the memory-mapped cache, and the goal of 50 is set against that; the "
        "reference delivers pixels, so the fair comparison with it is the line that ends with all images as arrays.",
        "",
        "Loading a folder again asks for the size and time of all 60,000 files, so that a changed one is noticed. A "
        f"plain loop that does nothing else is {ceiling:.0f} times as fast as the reference here. (fairkd lists a "
        "folder by its descriptor, which is somewhat faster, so this is no strict limit.) Of an archive, only its own "
        "size and times are looked at.",
        "",
        "Made by `benchmarks/data_loading.py`, which says how it measures.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifar", type=Path, default=ROOT.parent / "shared" / "data" / "cifar10.zip")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "cifar10"
        write_jpegs(arguments.cifar, folder)
        archive = folder.with_suffix(".zip")
        write_zip(folder, archive)
        time.sleep(4)  # the listing of an archive that has just changed is not kept
        text = report(measure(folder, archive, arguments.repeats))
    print(text)
    page = ROOT / "docs" / "results" / "data_loading.md"
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
