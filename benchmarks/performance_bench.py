"""What the comparisons of benchmarks/performance.py are made of: the data, the trainings, and a clock."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from method_cost import Silent
from peers import Plain, Torchdistill, transforms
from torch import Tensor

import fairkd
from fairkd.data.splits import Splits
from fairkd.efficiency import macs
from fairkd.models import Network
from fairkd.recipes import setup
from fairkd.teachers import Teachers
from fairkd.training import (
    CacheFolder,
    Precision,
    TeacherOutputs,
    Trainer,
    distill_step,
    task_step,
    training_images,
)

SMALL = ("resnet18", "test_resnet")
#: At one input size a B4 costs four times a B0; each at its own size, as published, eleven times. The first pair
#: has the second ratio.
LARGE = ("efficientnet_b4", "resnet8_cifar")
SAME_FAMILY = ("efficientnet_b4", "efficientnet_b0")
BATCH = 128
UNLIMITED = 10**15
Pair = tuple[str, str]


@dataclass
class Case:
    """A comparison: seconds of each round, of the peer and of fairkd, for the same work."""

    name: str
    peer: str
    goal: str
    images: int
    #: Number formats, the peer's and fairkd's.
    precision: str = "float32"
    note: str = ""
    theirs: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    def add(self, theirs: float, ours: float) -> None:
        """Note the seconds of a round."""
        self.theirs.append(theirs)
        self.ours.append(ours)

    def measure(self, theirs: Callable[[], Any], ours: Callable[[], Any], rounds: int) -> Case:
        """Time both in turn."""
        for _ in range(rounds):
            self.add(seconds(theirs), seconds(ours))
        return self

    def say(self) -> None:
        """Print the ratio."""
        ratio = statistics.median(t / o for t, o in zip(self.theirs, self.ours, strict=True))
        print(
            f"{self.name}, {self.precision}: {ratio:.2f} times as fast as {self.peer} (goal {self.goal})",
            flush=True,
        )


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

    def cost_ratio(self, pair: Pair) -> str:
        """Say how many multiply-accumulates the teacher needs for each of the student's."""
        large, small = (macs(self.network(name, 0), 32) for name in pair)
        return f"{pair[0]} → {pair[1]}, {large / small:.1f} : 1"

    def network(self, name: str, seed: int) -> Network:
        return fairkd.create_model(
            name, 10, image_size=32, stem=self.splits.stem, mean=self.mean, std=self.std, seed=seed
        ).to(self.device)

    def experiment(self, pair: Pair, **options: Any) -> fairkd.Experiment:
        values: dict[str, Any] = {"mitigation": "none", "precision": "float32", "augmentation": "crop+flip"}
        values |= {"teacher": pair[0], "student": pair[1], "student_epochs": 1000, "batch_size": BATCH}
        return fairkd.Experiment(**(values | options))

    def chosen(self, pair: Pair) -> Precision:
        """Return the number format that fairkd chooses by itself for the student."""
        return setup.precision(self.experiment(pair, precision="auto"), "student", self.splits, self.device)

    def formats(self, pair: Pair) -> list[Precision]:
        """Return float32, and what fairkd chooses for the student if it is another."""
        return list(dict.fromkeys(("float32", self.chosen(pair))))

    def trainer(
        self, experiment: fairkd.Experiment, cache: CacheFolder | None, teacher: Network | None = None
    ) -> Trainer:
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
            teacher = teacher or self.network(experiment.teacher, 0)
            distiller = setup.make_distiller(experiment, student, [teacher], self.splits)
            kept = {"cache": cache, "output_type": experiment.teacher_outputs}
            answers = [TeacherOutputs(teacher, images, distiller.teacher_reads, **kept)]
            weights = {"distill_weight": 0.9, "task_weight": 0.1}
            step = distill_step(Teachers([teacher], answers=answers), distiller, mitigation, **weights)
        return Trainer(
            student, step, self.splits, settings, mitigation=mitigation, extra=distiller, images=images
        )

    def epochs(self, trainer: Trainer) -> Callable[[], None]:
        """Return what trains for the next epoch each time, without validation."""
        numbers = itertools.count()
        return lambda: trainer._train_epoch(next(numbers), Silent())  # type: ignore[func-returns-value]

    def filled_cache(self, pair: Pair) -> CacheFolder:
        """Return a cache with the teacher's outputs for a warm-up and all rounds."""
        cache = CacheFolder(self.folder / pair[0], UNLIMITED)
        epoch = self.epochs(self.trainer(self.experiment(pair), cache))
        for _ in range(self.rounds + 1):
            epoch()
        return cache

    def torchdistill(
        self,
        pair: Pair,
        workers: int,
        precision: Precision = "float32",
        teacher: Network | None = None,
        **options: Any,
    ) -> Torchdistill:
        teacher = teacher or self.network(pair[0], 0)
        networks = Plain(teacher).eval(), Plain(self.network(pair[1], 1)).train()
        transform = transforms(32, self.mean, self.std)
        settings = {"transform": transform, "batch_size": BATCH, "workers": workers, "device": self.device}
        return Torchdistill(*networks, self.images, self.labels, precision=precision, **settings, **options)

    def fastest_torchdistill(self, pair: Pair, precision: Precision = "float32") -> tuple[int, Torchdistill]:
        """Return torchdistill with the number of workers that suits it, after an epoch to warm up."""
        boxes = {workers: self.torchdistill(pair, workers, precision) for workers in (0, 1, 2)}
        best = fastest({workers: box.epoch for workers, box in boxes.items()})
        return best, boxes[best]


def fastest(works: dict[int, Callable[[], Any]]) -> int:
    """Return the key of what takes least time, of two times after one to warm up."""
    for work in works.values():
        work()
    times = {key: min(seconds(work), seconds(work)) for key, work in works.items()}
    return min(times, key=lambda key: times[key])


def seconds(work: Callable[[], Any]) -> float:
    """Return the seconds that something takes, on the GPU too."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started
