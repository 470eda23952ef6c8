"""How fast fairkd trains, next to a bare PyTorch loop, torchdistill and torchvision's data pipeline.

    python benchmarks/performance.py --cifar ../shared/data/cifar10.zip [--rounds 5] [--device cuda]

Every comparison runs in turn in this process: one round of the peer, one of fairkd, again and again, so that
a busy machine disturbs both; the ratio is taken within a round. Peers run with the number of loader workers that
is fastest for them here, with fused AdamW, channels-last networks, the same threads, models, images, batch size and
augmentation; see benchmarks/peers.py. Writes docs/results/performance.md and .json.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from method_cost import Silent
from peers import Plain, Torchdistill, bare_epoch, loader, transforms
from performance_checks import agreement, growth
from performance_page import write_page
from torch import Tensor

import fairkd
from fairkd.data.batches import BatchStream
from fairkd.data.splits import Splits
from fairkd.efficiency import macs
from fairkd.models import Network
from fairkd.recipes import setup
from fairkd.reproducibility import version_of
from fairkd.teachers import Teachers
from fairkd.training import CacheFolder, TeacherOutputs, Trainer, distill_step, task_step, training_images

ROOT = Path(__file__).parent.parent
SMALL = ("resnet18", "test_resnet")
#: At one input size a B4 costs four times a B0; each at its own size, as published, eleven times. The first pair
#: has the second ratio.
LARGE = ("efficientnet_b4", "resnet8_cifar")
SAME_FAMILY = ("efficientnet_b4", "efficientnet_b0")
BATCH = 128
SWEEP_EPOCHS = 4
UNLIMITED = 10**15


@dataclass
class Case:
    """A comparison: seconds of each round, of the peer and of fairkd, for the same work."""

    name: str
    peer: str
    goal: str
    images: int
    note: str = ""
    theirs: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    def measure(self, theirs: Callable[[], Any], ours: Callable[[], Any], rounds: int) -> Case:
        """Time both in turn."""
        for _ in range(rounds):
            self.theirs.append(_seconds(theirs))
            self.ours.append(_seconds(ours))
        ratio = statistics.median(t / o for t, o in zip(self.theirs, self.ours, strict=True))
        print(f"{self.name}: {ratio:.2f} times as fast as {self.peer} (goal {self.goal})", flush=True)
        return self


class Bench:
    """The data, and what is made from it."""

    def __init__(self, splits: Splits, rounds: int, device: str, folder: Path) -> None:
        self.splits, self.rounds, self.device, self.folder = splits, rounds, device, folder
        self.images = torch.from_numpy(np.asarray(splits.train.images)).permute(0, 3, 1, 2).contiguous()
        self.labels = torch.from_numpy(splits.train.labels)
        self.mean, self.std = splits.channel_statistics()

    def normalised(self) -> Tensor:
        """Return the images as a network takes them, on the device."""
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return ((self.images / 255 - mean) / std).to(self.device, memory_format=torch.channels_last)

    def part(self, n: int) -> Bench:
        """Return the bench of the first ``n`` images."""
        splits = replace(self.splits, train=self.splits.train.subset(np.arange(n)))
        return Bench(splits, self.rounds, self.device, self.folder)

    def cost_ratio(self, pair: tuple[str, str]) -> str:
        """Say how many multiply-accumulates the teacher needs for each of the student's."""
        large, small = (macs(self.network(name, 0), 32) for name in pair)
        return f"{pair[0]} → {pair[1]}, {large / small:.1f} : 1"

    def network(self, name: str, seed: int) -> Network:
        return fairkd.create_model(
            name, 10, image_size=32, stem=self.splits.stem, mean=self.mean, std=self.std, seed=seed
        ).to(self.device)

    def experiment(self, pair: tuple[str, str], **options: Any) -> fairkd.Experiment:
        values: dict[str, Any] = {"mitigation": "none", "precision": "float32", "augmentation": "crop+flip"}
        values |= {"teacher": pair[0], "student": pair[1], "student_epochs": 1000, "batch_size": BATCH}
        return fairkd.Experiment(**(values | options))

    def trainer(self, experiment: fairkd.Experiment, cache: CacheFolder | None) -> Trainer:
        """Return the trainer of a new student, distilled unless ``distiller="none"``."""
        student = self.network(experiment.student, 1)
        size = int(setup.dry_outputs(student, self.splits).features.shape[1])
        counts = setup.training_counts(self.splits)
        mitigation = setup.make_mitigation(experiment, "student", *counts, feature_size=size)
        mitigation.prepare(student)
        settings = setup.make_settings(experiment, "student", self.splits, self.device)
        images = training_images(self.splits, settings)
        distiller, step = None, task_step(mitigation)
        if experiment.distiller != "none":
            teacher = self.network(experiment.teacher, 0)
            distiller = setup.make_distiller(experiment, student, [teacher], self.splits)
            answers = [TeacherOutputs(teacher, images, distiller.teacher_reads, cache=cache)]
            weights = {"distill_weight": 0.9, "task_weight": 0.1}
            step = distill_step(Teachers([teacher], answers=answers), distiller, mitigation, **weights)
        return Trainer(
            student, step, self.splits, settings, mitigation=mitigation, extra=distiller, images=images
        )

    def epochs(self, trainer: Trainer, first: int = 0) -> Callable[[], None]:
        """Return what trains for the next epoch each time, without validation."""
        numbers = iter(range(first, 10**6))
        return lambda: trainer._train_epoch(next(numbers), Silent())  # type: ignore[func-returns-value]

    def torchdistill(self, pair: tuple[str, str], workers: int, **options: Any) -> Torchdistill:
        teacher, student = Plain(self.network(pair[0], 0)).eval(), Plain(self.network(pair[1], 1)).train()
        transform = transforms(32, self.mean, self.std)
        settings = {"transform": transform, "batch_size": BATCH, "workers": workers, "device": self.device}
        return Torchdistill(teacher, student, self.images, self.labels, **settings, **options)

    def fastest_torchdistill(self, pair: tuple[str, str]) -> tuple[int, Torchdistill]:
        """Return torchdistill with the number of workers that suits it, after an epoch to warm up."""
        boxes = {workers: self.torchdistill(pair, workers) for workers in (0, 1, 2)}
        for box in boxes.values():
            box.epoch()
        times = {workers: _seconds(box.epoch) for workers, box in boxes.items()}
        best = min(times, key=lambda workers: times[workers])
        return best, boxes[best]


def data_pipeline(bench: Bench) -> Case:
    """Crop and flip, batch by batch, without a model."""
    everything = {
        workers: loader(bench.images, bench.labels, BATCH, workers, transforms(32)) for workers in (0, 2)
    }
    times = {workers: _seconds(lambda one=one: _drain(one)) for workers, one in everything.items()}
    best = min(times, key=lambda workers: times[workers])
    stream = BatchStream(
        bench.splits.train, BATCH, shuffle=True, augmentation="crop+flip", device=bench.device
    )
    numbers = iter(range(10**6))
    peer = f"torchvision v2 + DataLoader(num_workers={best})"
    _drain(stream.epoch(next(numbers)))
    return Case("data pipeline alone, crop + flip", peer, "≥ 20", len(bench.images)).measure(
        lambda: _drain(everything[best]), lambda: _drain(stream.epoch(next(numbers))), bench.rounds
    )


def warm_student(bench: Bench, pair: tuple[str, str] = SMALL) -> Case:
    """Distillation with cached teacher outputs, and the same student alone in a bare loop."""
    cache = CacheFolder(bench.folder / pair[0], UNLIMITED)
    filled = bench.trainer(bench.experiment(pair), cache)
    fill = bench.epochs(filled)
    for _ in range(bench.rounds + 1):
        fill()
    student = Plain(bench.network(pair[1], 1))
    normalised, labels = bench.normalised(), bench.labels.to(bench.device)
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3, weight_decay=0.05, fused=True)
    ours = bench.epochs(bench.trainer(bench.experiment(pair), cache))

    def theirs() -> None:
        bare_epoch(student, optimizer, normalised, labels, BATCH)

    theirs()
    ours()
    name = f"student epoch, warm teacher cache ({pair[1]})"
    case = Case(name, "a bare PyTorch loop, labels only, no augmentation", "≥ 0.95", len(bench.images))
    return case.measure(theirs, ours, bench.rounds)


def cold(bench: Bench, pair: tuple[str, str], goal: str) -> Case:
    """Distillation whose teacher answers for the first time, against torchdistill."""
    workers, peer = bench.fastest_torchdistill(pair)
    ours = bench.epochs(bench.trainer(bench.experiment(pair), None))
    ours()
    name = f"KD epoch, cold ({bench.cost_ratio(pair)})"
    case = Case(name, f"torchdistill, {workers} workers", goal, len(bench.images)).measure(
        peer.epoch, ours, bench.rounds
    )
    teacher, student = Plain(bench.network(pair[0], 0)).eval(), Plain(bench.network(pair[1], 1))
    optimizer = torch.optim.AdamW(student.parameters(), fused=True)
    images = bench.normalised()

    def networks_alone() -> None:
        with torch.inference_mode():
            for batch in images.split(BATCH):
                teacher(batch)
        bare_epoch(student, optimizer, images, bench.labels.to(bench.device), BATCH)

    networks_alone()
    alone = statistics.median(_seconds(networks_alone) for _ in range(bench.rounds))
    case.note = (
        "the two networks alone, without data, augmentation and teacher's loss, are "
        f"{statistics.median(case.theirs) / alone:.2f} times as fast as torchdistill"
    )
    return case


def warm(bench: Bench, pair: tuple[str, str], goal: str) -> Case:
    """Distillation whose teacher's outputs are read from disk, against torchdistill."""
    cache = CacheFolder(bench.folder / pair[0], UNLIMITED)
    fill = bench.epochs(bench.trainer(bench.experiment(pair), cache))
    for _ in range(bench.rounds + 1):
        fill()
    workers, peer = bench.fastest_torchdistill(pair)
    ours = bench.epochs(bench.trainer(bench.experiment(pair), cache))
    ours()
    name = f"KD epoch, warm ({bench.cost_ratio(pair)})"
    return Case(name, f"torchdistill, {workers} workers", goal, len(bench.images)).measure(
        peer.epoch, ours, bench.rounds
    )


def adversary(bench: Bench) -> Case:
    """KD with and without the adversary, both with cached teacher outputs."""
    cache = CacheFolder(bench.folder / SMALL[0], UNLIMITED)
    plain = bench.epochs(bench.trainer(bench.experiment(SMALL), cache))
    fair = bench.epochs(bench.trainer(bench.experiment(SMALL, mitigation="gradient_reversal"), cache))
    plain()
    fair()
    case = Case("KD + adversary step, warm", "fairkd's own KD step, warm", "≥ 0.87", len(bench.images))
    return case.measure(plain, fair, bench.rounds)


def sweep(bench: Bench, pair: tuple[str, str], goal: str) -> Case:
    """Eight students of one teacher, four weights and two temperatures, a few epochs each, from an empty cache."""
    pairs = [(weight, temperature) for weight in (0.0, 0.3, 1.0, 3.0) for temperature in (1.0, 4.0)]
    workers, _ = bench.fastest_torchdistill(pair)
    rounds = iter(range(10**6))

    def theirs() -> None:
        for _, temperature in pairs:
            box = bench.torchdistill(pair, workers, temperature=temperature)
            for epoch in range(SWEEP_EPOCHS):
                box.epoch(epoch)

    def ours() -> None:
        cache = CacheFolder(bench.folder / f"sweep-{next(rounds)}", UNLIMITED)
        for weight, temperature in pairs:
            options = {
                "mitigation": "gradient_reversal",
                "adversary_weight": weight,
                "temperature": temperature,
            }
            epoch = bench.epochs(bench.trainer(bench.experiment(pair, **options), cache))
            for _ in range(SWEEP_EPOCHS):
                epoch()

    name = f"eight students (4 weights × 2 temperatures), {SWEEP_EPOCHS} epochs, one teacher ({bench.cost_ratio(pair)})"
    peer = f"eight torchdistill runs without adversary, {workers} workers"
    return Case(name, peer, goal, 8 * SWEEP_EPOCHS * len(bench.images)).measure(
        theirs, ours, min(bench.rounds, 2)
    )


def _drain(batches: Any) -> None:
    for _ in batches:
        pass


def _seconds(work: Callable[[], Any]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifar", type=Path, default=ROOT.parent / "shared" / "data" / "cifar10.zip")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--trial", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    threads = torch.get_num_threads()
    splits = fairkd.load_dataset("cifar10s", data_root=str(arguments.cifar))
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        # Progress goes to a file instead of bars.
        os.environ["FAIRKD_PROGRESS_FILE"] = str(Path(folder) / "progress.json")
        whole = Bench(splits, arguments.rounds, arguments.device, Path(folder))
        bench, few = whole.part(arguments.images), whole.part(arguments.images // 4)
        cases = [
            data_pipeline(whole.part(20_000)),
            warm_student(bench),
            *([warm_student(whole, SAME_FAMILY)] if arguments.device != "cpu" else []),
            cold(bench, SMALL, "≥ 1.5"),
            warm(bench, SMALL, "≥ 2"),
            warm(few, LARGE, "≥ 4"),
            warm(few, SAME_FAMILY, "–"),
            adversary(bench),
            sweep(few, LARGE, "≥ 4"),
            sweep(few, SMALL, "–"),
        ]
    record = {
        "cases": [vars(case) for case in cases],
        "growth": growth(threads),
        "accuracy": agreement(3, 12),
        "device": arguments.device,
        "threads": threads,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
        "load_average": round(load, 2),
        "batch_size": BATCH,
        "rounds": arguments.rounds,
        "versions": {
            name: version_of(name) for name in ("fairkd", "torch", "torchvision", "timm", "torchdistill")
        },
    }
    write_page(record, None if arguments.trial else ROOT / "docs" / "results")


if __name__ == "__main__":
    main()
