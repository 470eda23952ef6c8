"""How cost grows: teachers' outputs, memory, and sweeps of a thousand trainings.

    python benchmarks/scaling.py [outputs memory overheads sweep simulation]

Measures the parts that are named, or all, on this machine; the others are taken from docs/results/scaling.json. Writes
that file and docs/scaling.md. What the page says of ImageNet is computed from these numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scaling_page import write_page
from scaling_sweep import against_real, makespans, overheads, searches

import fairkd
from fairkd.data.batches import AugmentedImages
from fairkd.data.lazy import IN_MEMORY_BYTES
from fairkd.data.splits import ImageSet
from fairkd.reproducibility import version_of
from fairkd.training.teacher_cache import TABLE_BYTES, CacheFolder, TeacherOutputs

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "scaling.json"
KINDS = ("logits", "features", "maps")
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

MEMORY = """
import json, sys, tempfile
from pathlib import Path
import numpy as np
from fairkd.data.batches import AugmentedImages, BatchStream
from fairkd.data.lazy import LazyImages
from fairkd.data.splits import ImageSet

n, size = int(sys.argv[1]), int(sys.argv[2])

def anonymous():
    words = Path("/proc/self/status").read_text().split()
    return 1024 * int(words[words.index("RssAnon:") + 1])

with tempfile.TemporaryFile() as file:
    file.truncate(n * size * size * 3)
    store = np.memmap(file, np.uint8, "r", shape=(n, size, size, 3))
    zeros = np.zeros(n, np.int64)
    images = LazyImages(store, np.arange(n), groups=zeros, keys=np.arange(n))
    few = ImageSet(images, zeros, zeros, np.arange(n), np.arange(n))
    before = anonymous()
    stream = BatchStream(AugmentedImages(few, augmentation="crop+flip"), 128, shuffle=True)
    peak = anonymous()
    for number, batch in enumerate(stream.epoch(0)):
        peak = max(peak, anonymous())
        if number == 300:
            break
print(json.dumps({"images": n, "bytes": store.nbytes, "peak": peak - before}))
"""


def outputs() -> dict[str, Any]:
    """Return the bytes and the speed of a teacher's outputs, computed and read."""
    rows = [_outputs("resnet18", 32, 10, 512), _outputs("resnet18", 224, 1000, 48)]
    return {"rows": rows, "read": _read_speed(), "write": [_write_seconds(n) for n in (10, 1000, 10_000)]}


def _outputs(name: str, size: int, classes: int, n: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    labels, index = np.zeros(n, np.int64), np.arange(n)
    part = ImageSet(rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8), labels, labels, index, index)
    images = AugmentedImages(part, augmentation="crop+flip", fingerprint="random")
    network = fairkd.create_model(name, classes, image_size=size, seed=0)
    row: dict[str, Any] = {"teacher": name, "size": size, "classes": classes, "image_bytes": size * size * 3}
    for kind in KINDS:
        for output_type in ("float32", "float16"):
            made = TeacherOutputs(network, images, (kind,), output_type=output_type)
            row[f"{kind} {output_type}"] = made.size(1).epoch / n
    with tempfile.TemporaryDirectory() as folder:
        batch = images.batch(torch.arange(n), 0)
        for name_ in ("computed", "read"):
            answers = TeacherOutputs(network, images, cache=CacheFolder(Path(folder), 10**12))
            row[name_] = n / _seconds(lambda answers=answers: answers(batch))
    print(row, flush=True)
    return row


def _read_speed() -> dict[str, float]:
    """Read the logits of an epoch, checksum and all, from a file that the system has in memory."""
    table = torch.rand(20_000, 1000)
    with tempfile.TemporaryDirectory() as folder:
        cache = CacheFolder(Path(folder), 10**12)
        cache.write("a", "b", {"logits": table})
        seconds = min(_seconds(lambda: cache.read("a", "b")) for _ in range(3))
        size = (Path(folder) / "a" / "b").stat().st_size
    return {"bytes": size, "seconds": seconds, "overhead": size / table.nbytes - 1}


def _write_seconds(files: int) -> dict[str, float]:
    """Return the seconds of keeping one more small file beside so many: of 90 epochs each, as teachers leave them."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(files):
            place = Path(folder) / f"teacher-{number // 90}"
            place.mkdir(exist_ok=True)
            (place / str(number)).touch()
        cache = CacheFolder(Path(folder), 10**12)
        numbers = iter(range(10))
        seconds = min(
            _seconds(lambda: cache.write("new", f"{next(numbers)}", {"logits": torch.zeros(1)}))
            for _ in range(3)
        )
    return {"files": files, "seconds": seconds}


def memory() -> list[dict[str, float]]:
    """Return what batches of memory-mapped images take, each size in a process of its own."""
    rows = []
    for n in (20_000, 80_000, 320_000):
        command = [sys.executable, "-c", MEMORY, str(n), "64"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout))
        print(rows[-1], flush=True)
    return rows


def simulation() -> dict[str, Any]:
    """Return the simulation of sweeps of a thousand trainings."""
    # An hour a student; a teacher, larger and trained for as long, three.
    hours = {"teacher": 3 * 3600.0, "kd": 3600.0, "student": 3600.0}
    return {"hours": hours, "spread": 0.2, "rows": makespans(hours, 0.2, WORKERS)}


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


PARTS: dict[str, Callable[[], Any]] = {
    "outputs": outputs,
    "memory": memory,
    "overheads": lambda: {"rows": overheads((10, 100, 1000)), "search": searches((10, 100, 300))},
    "sweep": against_real,
    "simulation": simulation,
}


def main() -> None:
    """Measure what is asked for, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="default: all")
    chosen = parser.parse_args().parts or list(PARTS)
    warnings.simplefilter("ignore")
    record: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        # Progress goes to a file instead of bars.
        os.environ["FAIRKD_PROGRESS_FILE"] = str(Path(folder) / "progress.json")
        record |= {name: PARTS[name]() for name in chosen}
    record |= {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, no GPU",
        "limits": {"table": TABLE_BYTES, "images": IN_MEMORY_BYTES},
        "cache_gb": fairkd.Experiment.default("teacher_cache_gb"),
        "versions": {name: version_of(name) for name in ("fairkd", "torch", "timm", "optuna")},
    }
    # JSON has no numbers as keys: as it will be read.
    record = json.loads(json.dumps(record))
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if set(PARTS) <= set(record):
        write_page(record, RESULTS.parents[1])


if __name__ == "__main__":
    main()
