"""How fast are 60,000 small JPEGs read, the first time and the next?

    python benchmarks/data_loading.py --cifar ../shared/data/cifar10.zip [--repeats 3]

Writes CIFAR-10 as JPEG files (quality 95) in class folders to a temporary folder and measures, in turn and with warm
file caches of the operating system:

- the reference: one pass of ``torchvision.datasets.ImageFolder`` with ``PILToTensor`` through
  ``DataLoader(batch_size=256, num_workers=2)``;
- cold: ``fairkd.load_dataset("cifar10", data_root=...)`` with an empty cache, all three splits in memory at the end;
- warm: the same call again.

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
import fairkd.data.registry
start = time.perf_counter()
splits = fairkd.data.load_dataset("cifar10", data_root=sys.argv[1], cache_dir=sys.argv[2])
assert sum(len(images.images) for _, images in splits.items()) == 60_000
print("seconds", time.perf_counter() - start)
"""


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


def measure(folder: Path, repeats: int) -> dict[str, list[float]]:
    """Return the times of each way, seconds; the ways take turns, so that a busy machine disturbs all."""
    times: dict[str, list[float]] = {"reference": [], "cold": [], "warm": []}
    cache = folder.parent / "cache"
    for _ in range(repeats):
        times["reference"].append(seconds(REFERENCE, folder))
        shutil.rmtree(cache, ignore_errors=True)
        times["cold"].append(seconds(OURS, folder, cache))
        times["warm"].append(seconds(OURS, folder, cache))
        print({name: f"{values[-1]:.2f} s" for name, values in times.items()}, flush=True)
    return times


def report(times: dict[str, list[float]]) -> str:
    """Return the page of results."""
    best = {name: min(values) for name, values in times.items()}
    names = {
        "reference": "`ImageFolder` + `DataLoader(num_workers=2)`, one pass",
        "cold": "`fairkd.load_dataset`, empty cache",
        "warm": "`fairkd.load_dataset` again",
    }
    lines = [
        "# Reading 60,000 JPEGs of CIFAR-10",
        "",
        "| | seconds, fastest (all) | times as fast as the reference | goal |",
        "|---|---|---|---|",
    ]
    for name, text in names.items():
        every = ", ".join(f"{value:.2f}" for value in times[name])
        ratio = f"{best['reference'] / best[name]:.1f}" if name in GOALS else "1"
        goal = f"{GOALS[name]:g}" if name in GOALS else "–"
        lines.append(f"| {text} | {best[name]:.2f} ({every}) | {ratio} | {goal} |")
    versions = ", ".join(
        f"{name} {version_of(name)}" for name in ("fairkd", "torch", "torchvision", "pillow", "numpy")
    )
    lines += [
        "",
        f"{os.cpu_count()} CPU cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}; "
        f"{versions}. The machine was shared with other work; imports are not counted. The warm load still lists all "
        "60,000 files and compares their sizes and times with the cache's.",
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
        text = report(measure(folder, arguments.repeats))
    print(text)
    page = ROOT / "docs" / "results" / "data_loading.md"
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
