"""How fast fairkd trains, next to a bare PyTorch loop, torchdistill and torchvision's data pipeline.

    python benchmarks/performance.py --cifar ../shared/data/cifar10.zip [--part cold] [--rounds 4] [--device cuda]

Every comparison runs in turn in one process: one round of the peer, one of fairkd, again and again, so that
a busy machine disturbs both; the ratio is taken within a round. Peers run with the number of loader workers that
is fastest for them here, with fused AdamW, channels-last networks, the same threads, models, images, batch size and
augmentation; see benchmarks/peers.py. Each part runs in a process of its own, for at most some minutes, and writes
its rows into docs/results/performance.json, from which performance.md is made; ``--part`` runs one of them alone.
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

import torch
from performance_bench import BATCH, Bench, Case
from performance_cases import adversary, cold, data_pipeline, sweep, warm, warm_student
from performance_checks import agreement, growth, start_up, waiting
from performance_page import page
from performance_profile import profile

import fairkd
from fairkd.reproducibility import version_of

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "docs" / "results" / "performance.json"
#: Measured with the bench: comparisons, and the profile.
MEASURED: dict[str, Callable[[Bench], Any]] = {
    "pipeline": data_pipeline,
    "student": warm_student,
    "cold": cold,
    "warm": warm,
    "adversary": adversary,
    "sweep": sweep,
    "profile": profile,
}
CHECKS: dict[str, Callable[[], Any]] = {
    "growth": growth,
    "accuracy": agreement,
    "start": start_up,
    "waiting": waiting,
}


def measured(part: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one part and return its entry of the record."""
    started, load = time.perf_counter(), os.getloadavg()[0]
    result = CHECKS[part]() if part in CHECKS else _with_bench(MEASURED[part], arguments)
    entry: dict[str, Any] = {"result": result}
    if isinstance(result, list) and isinstance(result[0], Case):
        for case in result:
            case.say()
        entry = {"cases": [vars(case) for case in result], "batch_size": BATCH}
    return entry | {
        "date": time.strftime("%Y-%m-%d"),
        "device": arguments.device,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores "
        f"({torch.backends.cpu.get_cpu_capability()})",
        "load_average": round(load, 2),
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "versions": {
            name: version_of(name) for name in ("fairkd", "torch", "torchvision", "timm", "torchdistill")
        },
    }


def _with_bench(measure: Callable[[Bench], Any], arguments: argparse.Namespace) -> Any:
    splits = fairkd.load_dataset("cifar10s", data_root=str(arguments.cifar))
    with tempfile.TemporaryDirectory() as folder:
        # Progress goes to a file instead of bars.
        os.environ["FAIRKD_PROGRESS_FILE"] = str(Path(folder) / "progress.json")
        bench = Bench(splits, arguments.rounds, arguments.device, Path(folder))
        return measure(bench if measure is data_pipeline else bench.part(arguments.images))


def keep(part: str, entry: dict[str, Any]) -> None:
    """Put a part's entry in place of its last one, and make the page of all parts again."""
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    known = [*MEASURED, *CHECKS]
    record = {
        name: entry if name == part else record[name] for name in known if name == part or name in record
    }
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    RECORD.with_suffix(".md").write_text(page(record), encoding="utf-8")


def main() -> None:
    """Measure one part, or all of them, each in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifar", type=Path, default=ROOT.parent / "shared" / "data" / "cifar10.zip")
    parser.add_argument("--part", choices=[*MEASURED, *CHECKS, "page"], help="page: of what was measured")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--images", type=int, default=1536)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--trial", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.part == "page":
        keep("page", {})
    elif arguments.part:
        entry = measured(arguments.part, arguments)
        if not arguments.trial:
            keep(arguments.part, entry)
    else:
        for part in [*MEASURED, *CHECKS]:
            subprocess.run([sys.executable, *sys.argv, "--part", part], check=True)


if __name__ == "__main__":
    main()
