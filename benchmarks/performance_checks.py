"""What goes with the speed: growth of time and memory, start-up, and that the faster training is the same training."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from peers import Plain, Torchdistill, transforms

import fairkd
from fairkd.data.splits import Splits
from fairkd.models import Network
from fairkd.recipes import setup

GROWTH = """
import json, sys, time, warnings
sys.path.insert(0, sys.argv[1])
from performance_bench import *
warnings.simplefilter("ignore")
torch.set_num_threads(int(sys.argv[5]))
n, limit = int(sys.argv[2]), float(sys.argv[3])
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
columns = [rng.integers(0, count, n) for count in (10, 2)]
part = fairkd.data.splits.ImageSet(images, *columns, np.arange(n), np.arange(n))
few = part.subset(np.arange(100))
names = tuple("0123456789")
splits = Splits("random", part, few, few, names, ("a", "b"), "class", "group", f"random-{n}")
bench = Bench(splits, 1, "cpu", Path(sys.argv[4]))
started = time.process_time()
cache = CacheFolder(bench.folder, round(limit))
bench.epochs(bench.trainer(bench.experiment(("test_resnet", "test_resnet")), cache))()
cold = time.process_time() - started
started = time.process_time()
bench.epochs(bench.trainer(bench.experiment(("test_resnet", "test_resnet")), cache))()
warm = time.process_time() - started
used = sum(file.stat().st_size for file in bench.folder.rglob("*") if file.is_file())
status = Path("/proc/self/status").read_text().split()
peak = 1024 * int(status[status.index("VmHWM:") + 1])
print("result", json.dumps({"images": n, "cold": cold, "warm": warm, "cache": used, "peak": peak, "limit": limit}))
"""


def growth() -> list[dict[str, float]]:
    """Return processor seconds of a cold and a warm epoch, cache and memory, for 1, 10 and 100 times the images."""
    rows = []
    for n, limit in ((500, 1e9), (5_000, 1e9), (50_000, 1e9), (50_000, 1e6)):
        with tempfile.TemporaryDirectory() as folder:
            words = [str(Path(__file__).parent), str(n), str(limit), folder, str(torch.get_num_threads())]
            done = subprocess.run(
                [sys.executable, "-c", GROWTH, *words], capture_output=True, text=True, check=True
            )
        rows.append(json.loads(done.stdout.rsplit("result ", 1)[1]))
        print(rows[-1], flush=True)
    return rows


def start_up(rounds: int = 5) -> dict[str, list[float]]:
    """Return the seconds of each round: importing torch, fairkd after it in the same process, and ``fairkd --help``."""
    imports = (
        "import time; a = time.perf_counter(); import torch; b = time.perf_counter(); import fairkd; "
        "print(b - a, time.perf_counter() - b)"
    )
    asked = [str(Path(sys.executable).with_name("fairkd")), "--help"]
    times: dict[str, list[float]] = {"import torch": [], "import fairkd": [], "fairkd --help": []}
    # The first round reads files that the others find in memory.
    for number in range(rounds + 1):
        done = subprocess.run([sys.executable, "-c", imports], capture_output=True, text=True, check=True)
        started = time.perf_counter()
        subprocess.run(asked, stdout=subprocess.DEVNULL, check=True)
        seconds = (*map(float, done.stdout.split()), time.perf_counter() - started)
        if number:
            for name, value in zip(times, seconds, strict=True):
                times[name].append(value)
    print({name: statistics.median(values) for name, values in times.items()}, flush=True)
    return times


WAITING = """
import statistics, time, torch, fairkd
import torch.nn.functional as F
student = fairkd.create_model(fairkd.Experiment().student, 10, image_size=32)
optimizer = torch.optim.AdamW(student.parameters(), fused=True)
images = torch.rand(128, 3, 32, 32).contiguous(memory_format=torch.channels_last)
labels, times, end = torch.zeros(128, dtype=torch.int64), [], time.monotonic() + 8
while time.monotonic() < end:
    started = time.perf_counter()
    F.cross_entropy(student(images).logits, labels).backward()
    optimizer.step()
    optimizer.zero_grad()
    times.append(time.perf_counter() - started)
print(len(images) / statistics.median(times[3:]))
"""


def waiting(rounds: int = 4) -> dict[str, dict[str, list[float]]]:
    """Return a student's images/s by what waiting threads do, alone and where a process keeps a core busy."""
    rates: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for place, busy in (
            ("alone", []),
            ("beside a busy process", [sys.executable, "-c", "while True: pass"]),
        ):
            for policy in ("ACTIVE", "PASSIVE"):
                other = subprocess.Popen(busy) if busy else None
                try:
                    done = subprocess.run(
                        [sys.executable, "-c", WAITING],
                        env={**os.environ, "OMP_WAIT_POLICY": policy},
                        capture_output=True,
                        text=True,
                        check=True,
                    )
                finally:
                    if other:
                        other.kill()
                rates.setdefault(place, {}).setdefault(policy, []).append(float(done.stdout))
        print(rates, flush=True)
    return rates


def agreement(seeds: int = 3, epochs: int = 12) -> dict[str, list[float]]:
    """Return test accuracies after the same KD epochs of the default networks on the default data, by seed."""
    accuracies: dict[str, list[float]] = {"fairkd": [], "torchdistill": []}
    # Batches of 31 cut the 899 images evenly: a small rest as the last batch of an epoch would harm torchdistill.
    experiment = fairkd.Experiment(precision="float32", teacher_cache_gb=0, mitigation="none", batch_size=31)
    splits = fairkd.load_splits(experiment)
    with tempfile.TemporaryDirectory() as folder:
        experiment = experiment.replace(output_dir=folder, selection="last", student_epochs=epochs)
        teacher = fairkd.train_teacher(experiment, splits)
        for seed in range(seeds):
            student = fairkd.distill_student(experiment.replace(seed=seed), teacher, splits)
            predictions = student.predictions
            accuracies["fairkd"].append(float((predictions.predicted == predictions.labels).mean()))
            accuracies["torchdistill"].append(_torchdistill_accuracy(splits, teacher.model, experiment, seed))
            print({name: values[-1] for name, values in accuracies.items()}, flush=True)
    return accuracies


def _torchdistill_accuracy(
    splits: Splits, teacher: Network, experiment: fairkd.Experiment, seed: int
) -> float:
    torch.manual_seed(seed)
    network = setup.make_network(experiment.replace(seed=seed), "student", splits)
    images = torch.from_numpy(np.asarray(splits.train.images)).permute(0, 3, 1, 2).contiguous()
    labels, statistics_ = torch.from_numpy(splits.train.labels), splits.channel_statistics()
    transform = transforms(splits.image_size[0], *statistics_, flip=False)
    steps = -(-len(images) // experiment.batch_size) * experiment.student_epochs
    box = Torchdistill(
        Plain(teacher).eval(),
        Plain(network).train(),
        images,
        labels,
        transform=transform,
        batch_size=experiment.batch_size,
        workers=0,
        schedule=lambda step: fairkd.training.learning_rate_factor(
            (step + 0.5) / steps, 1 / experiment.student_epochs
        ),
    )
    for epoch in range(experiment.student_epochs):
        network.train()
        box.epoch(epoch)
    predicted = fairkd.inference.predicted_classes(network, splits.test.images)
    return float((predicted == splits.test.labels).mean())
