"""The comparisons of benchmarks/performance.py, by part."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from peers import Plain, bare_epoch, loader, transforms
from performance_bench import (
    BATCH,
    LARGE,
    SAME_FAMILY,
    SMALL,
    UNLIMITED,
    Bench,
    Case,
    Pair,
    fastest,
    seconds,
)

from fairkd.data.batches import AugmentedImages, BatchStream
from fairkd.training import CacheFolder, Precision

SWEEP_EPOCHS = 4
SWEEP = [(weight, temperature) for weight in (0.0, 0.3, 1.0, 3.0) for temperature in (1.0, 4.0)]

#: The number formats of a row that compares both sides at their fastest.
EACH_FASTEST = "each at its fastest: float32; fairkd {0} (`teacher_outputs={0}`)"


def data_pipeline(bench: Bench) -> list[Case]:
    """Crop and flip, batch by batch, without a model."""
    few = bench.part(20_000)
    loaders = {n: loader(few.images, few.labels, BATCH, n, transforms(32)) for n in (0, 2)}
    best = fastest({workers: lambda one=one: _drain(one) for workers, one in loaders.items()})
    images = AugmentedImages(few.splits.train, augmentation="crop+flip", device=few.device)
    stream = BatchStream(images, BATCH, shuffle=True)
    numbers = itertools.count()
    peer = f"torchvision v2 + DataLoader(num_workers={best})"
    _drain(stream.epoch(next(numbers)))
    theirs, ours = lambda: _drain(loaders[best]), lambda: _drain(stream.epoch(next(numbers)))
    alone, beside = (
        Case("data pipeline alone, crop + flip", peer, goal, len(few.images), text)
        for goal, text in (("≥ 20", "uint8"), ("–", "uint8; another process keeps a core busy"))
    )
    alone.measure(theirs, ours, 3 * bench.rounds)
    # Two threads wait for each other: where they share their cores, a batch takes several times as long.
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            beside.measure(theirs, ours, bench.rounds)
        finally:
            busy.kill()
    return [alone, beside]


def warm_student(bench: Bench) -> list[Case]:
    """Distillation with cached teacher outputs, and the same student alone in a bare loop."""
    pair = SMALL if bench.device == "cpu" else SAME_FAMILY
    cache = bench.filled_cache(pair)
    return [_warm_student(bench, pair, cache, precision) for precision in bench.formats(pair)]


def _warm_student(bench: Bench, pair: Pair, cache: CacheFolder, precision: Precision) -> Case:
    student = Plain(bench.network(pair[1], 1))
    normalised, labels = bench.normalised(), bench.labels.to(bench.device)
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3, weight_decay=0.05, fused=True)
    theirs = lambda: bare_epoch(student, optimizer, normalised, labels, BATCH, precision)  # noqa: E731
    ours = bench.epochs(bench.trainer(bench.experiment(pair, precision=precision), cache))
    theirs()
    ours()
    name, peer = (
        f"student epoch, warm teacher cache ({pair[1]})",
        "a bare PyTorch loop, labels only, no augmentation",
    )
    case = Case(name, peer, "≥ 0.95", len(bench.images), _both(precision))
    return case.measure(theirs, ours, bench.rounds)


def cold(bench: Bench) -> list[Case]:
    """Distillation whose teacher answers for the first time, against torchdistill, in each number format."""
    pair, chosen = SMALL, bench.chosen(SMALL)
    workers, peer = bench.fastest_torchdistill(pair)
    works: dict[str, Callable[[], Any]] = {
        "peer, float32": peer.epoch,
        "float32": bench.epochs(bench.trainer(bench.experiment(pair), None)),
        "networks": _networks_alone(bench, pair),
    }
    comparisons = [("≥ 1.5", "float32, both", "peer, float32", "float32")]
    if chosen != "float32":
        mixed = bench.experiment(pair, precision=chosen)
        short = bench.experiment(pair, precision=chosen, teacher_outputs=chosen)
        works |= {
            f"peer, {chosen}": bench.torchdistill(pair, workers, chosen).epoch,
            "chosen": bench.epochs(bench.trainer(mixed, None)),
            chosen: bench.epochs(bench.trainer(short, None)),
        }
        own = f"fairkd's own choice: {chosen}, teacher float32"
        comparisons += [
            ("≥ 1.5", f"{chosen}, both (`teacher_outputs={chosen}`)", f"peer, {chosen}", chosen),
            ("–", f"float32; {own}", "peer, float32", "chosen"),
            ("–", f"{chosen}; {own}", f"peer, {chosen}", "chosen"),
            ("≥ 1.5", EACH_FASTEST.format(chosen), "peer, float32", chosen),
        ]
    for work in works.values():
        work()
    rounds = [{name: seconds(work) for name, work in works.items()} for _ in range(bench.rounds)]
    name, against = f"KD epoch, cold ({bench.cost_ratio(pair)})", f"torchdistill, {workers} workers"
    cases = []
    for goal, text, theirs, ours in comparisons:
        cases.append(Case(name, against, goal, len(bench.images), text))
        for one in rounds:
            cases[-1].add(one[theirs], one[ours])
    ratio = statistics.median(one["peer, float32"] / one["networks"] for one in rounds)
    cases[0].note = (
        f"the two networks alone in float32, without data, augmentation and teacher's loss, are {ratio:.2f} times as "
        "fast as torchdistill"
    )
    return cases


def _networks_alone(bench: Bench, pair: Pair) -> Callable[[], None]:
    teacher, student = Plain(bench.network(pair[0], 0)).eval(), Plain(bench.network(pair[1], 1))
    optimizer = torch.optim.AdamW(student.parameters(), fused=True)
    images, labels = bench.normalised(), bench.labels.to(bench.device)

    def run() -> None:
        with torch.inference_mode():
            for batch in images.split(BATCH):
                teacher(batch)
        bare_epoch(student, optimizer, images, labels, BATCH)

    return run


def warm(bench: Bench) -> list[Case]:
    """Distillation whose teacher's outputs are read from disk, against torchdistill."""
    few = bench.part(len(bench.images) // 4)
    pairs = ((bench, SMALL, "≥ 2"), (few, LARGE, "≥ 4"), (few, SAME_FAMILY, "–"))
    return [case for some, pair, goal in pairs for case in _warm(some, pair, goal)]


def _warm(bench: Bench, pair: Pair, goal: str) -> list[Case]:
    cache, cases = bench.filled_cache(pair), []
    workers, peer = bench.fastest_torchdistill(pair)
    for precision in bench.formats(pair):
        theirs = peer if precision == "float32" else bench.torchdistill(pair, workers, precision)
        ours = bench.epochs(bench.trainer(bench.experiment(pair, precision=precision), cache))
        theirs.epoch()
        ours()
        name, against = f"KD epoch, warm ({bench.cost_ratio(pair)})", f"torchdistill, {workers} workers"
        case = Case(name, against, goal, len(bench.images), _both(precision))
        cases.append(case.measure(theirs.epoch, ours, bench.rounds))
    return cases


def adversary(bench: Bench) -> list[Case]:
    """KD with and without the adversary, both with cached teacher outputs."""
    cache, cases = bench.filled_cache(SMALL), []
    for precision in bench.formats(SMALL):
        plain, fair = (
            bench.epochs(bench.trainer(bench.experiment(SMALL, precision=precision, mitigation=name), cache))
            for name in ("none", "gradient_reversal")
        )
        plain()
        fair()
        name, peer = "KD + adversary step, warm", "fairkd's own KD step, warm"
        case = Case(name, peer, "≥ 0.87", len(bench.images), _both(precision))
        cases.append(case.measure(plain, fair, bench.rounds))
    return cases


def sweep(bench: Bench) -> list[Case]:
    """Eight students of one teacher, a few epochs each, from an empty cache."""
    # Both sides gain by the teacher's: the format is what the hardware is fast in, not what suits a tiny student.
    formats = bench.formats(SMALL)
    cases = [_sweep(bench, LARGE, precision) for precision in formats]
    if len(cases) > 1:
        cases.append(replace(cases[0], precision=EACH_FASTEST.format(formats[1]), ours=cases[1].ours))
    return cases


def _sweep(bench: Bench, pair: Pair, precision: Precision) -> Case:
    workers, _ = bench.part(384).fastest_torchdistill(pair, precision)
    teacher = bench.network(pair[0], 0)

    def theirs() -> None:
        for _, temperature in SWEEP:
            box = bench.torchdistill(pair, workers, precision, teacher, temperature=temperature)
            for epoch in range(SWEEP_EPOCHS):
                box.epoch(epoch)

    def ours() -> None:
        cache = CacheFolder(bench.folder / f"sweep-{precision}", UNLIMITED)
        options = {"mitigation": "gradient_reversal", "precision": precision, "teacher_outputs": precision}
        for weight, temperature in SWEEP:
            values = {"adversary_weight": weight, "temperature": temperature}
            epoch = bench.epochs(bench.trainer(bench.experiment(pair, **options, **values), cache, teacher))
            for _ in range(SWEEP_EPOCHS):
                epoch()

    name = f"eight students (4 weights × 2 temperatures), {SWEEP_EPOCHS} epochs, one teacher ({bench.cost_ratio(pair)})"
    peer = f"eight torchdistill runs without adversary, {workers} workers"
    images = len(SWEEP) * SWEEP_EPOCHS * len(bench.images)
    # Many trainings: one round of them says as much as many rounds of one.
    return Case(name, peer, "≥ 4", images, _both(precision)).measure(theirs, ours, 1)


def _both(precision: Precision) -> str:
    return "float32, both" if precision == "float32" else f"{precision}, both"


def _drain(batches: Any) -> None:
    for _ in batches:
        pass
