"""The page of benchmarks/scaling.py: what was measured, and what follows for ImageNet and a thousand trainings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

IMAGENET, SIDE, CLASSES, EPOCHS = 1_281_167, 224, 1000, 90
KINDS = ("logits", "features", "maps")
TYPES = ("float32", "float16")
#: What a worker trains in the computed tables, images a second, and what a network carries, bytes a second.
RATE, NETWORK = 1000, 10e9 / 8


def write_page(record: dict[str, Any], docs: Path) -> None:
    """Write docs/scaling.md."""
    (docs / "scaling.md").write_text(page(record), encoding="utf-8")


def page(record: dict[str, Any]) -> str:
    """Return docs/scaling.md."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    start = (
        f"Made by `benchmarks/scaling.py` on {record['machine']}; {versions}. Measured: what the tables call "
        f"measured, on "
        "this machine. Computed: multiplied from it, for data and clusters that nobody has run fairkd on. "
        "Simulated: the "
        "real scheduler, with trainings that only take their time on a virtual clock."
    )
    parts = ["# How cost grows", _wrapped(start)]
    parts += ["## Storage", *_storage(record), "## Reading, computing, and the network", *_speed(record)]
    parts += ["## Memory", *_memory(record), "## Scheduling", *_scheduling(record["overheads"])]
    parts += [
        "## A thousand trainings",
        *_check(record["sweep"]),
        *_sweep(record["simulation"]),
        "## Not shown",
        *_rest(),
    ]
    return "\n\n".join(parts) + "\n"


def _storage(record: dict[str, Any]) -> Iterable[str]:
    rows, limit = record["outputs"]["rows"], record["limits"]["table"]
    heads = [f"{kind}, {kind_of}" for kind in KINDS for kind_of in TYPES]
    yield "Measured: bytes that an image's outputs take in the teacher's cache, by what the distiller reads."
    yield _table(
        ["teacher", "image", "classes", *heads],
        [
            [
                *(row["teacher"], f"{row['size']} px, {row['image_bytes']:,} B", row["classes"]),
                *(f"{row[f'{kind} {kind_of}']:,.0f}" for kind in KINDS for kind_of in TYPES),
            ]
            for row in rows
        ],
    )
    large = rows[-1]
    yield _wrapped(
        f"Computed for ImageNet ({IMAGENET:,} images, {CLASSES} classes, {large['teacher']} at {SIDE} pixels): "
        f"decoded once, "
        f"the images take {_gb(IMAGENET * SIDE * SIDE * 3)}. Outputs of one epoch, and of {EPOCHS} epochs with "
        "augmentation; without it, one epoch serves all:"
    )
    names = [f"{kind} {kind_of}" for kind in KINDS for kind_of in TYPES]
    epochs = {name: IMAGENET * large[name] for name in names}
    yield _table(
        ["outputs", "one epoch", f"{EPOCHS} epochs", "kept on disk"],
        [
            [
                name,
                _gb(size),
                _gb(EPOCHS * size),
                "yes" if size <= limit else "no: above the limit of an epoch",
            ]
            for name, size in epochs.items()
        ],
    )
    counts = [limit / (CLASSES * size) for size in (4, 2)]
    yield _wrapped(
        f"**A limit.** Outputs of an epoch are kept only up to {_gb(limit)}, since an epoch's table lies in "
        f"memory. With "
        f"{CLASSES} classes that are the logits of {counts[0]:,.0f} images in float32 and of {counts[1]:,.0f} "
        f"in float16; "
        "above, the teacher answers batch by batch in every training, and a sweep saves nothing but the "
        "teacher's own "
        f"training. All teachers' outputs together take at most `teacher_cache_gb` ({record['cache_gb']:g} GB "
        f"by default); "
        "the least recently used make room."
    )


def _speed(record: dict[str, Any]) -> Iterable[str]:
    outputs = record["outputs"]
    yield "Measured: logits of a look of the images, computed by the teacher and read from the cache, images a second."
    yield _table(
        ["teacher", "image", "computed", "read", "times as fast"],
        [
            [
                *(row["teacher"], f"{row['size']} px", f"{row['computed']:,.0f}", f"{row['read']:,.0f}"),
                f"{row['read'] / row['computed']:,.0f}",
            ]
            for row in outputs["rows"]
        ],
    )
    read = outputs["read"]
    speed = read["bytes"] / read["seconds"]
    first, *_, last = outputs["write"]
    yield _wrapped(
        f"A file of {read['bytes'] / 1e6:,.0f} MB, checksum included, is read at {speed / 1e9:.2f} GB/s from "
        f"the system's "
        f"memory. Keeping one more epoch looks at every file of the cache: {1e3 * first['seconds']:.1f} ms beside "
        f"{first['files']:,} files, {1e3 * last['seconds']:.0f} ms beside {last['files']:,} (as "
        f"{last['files'] // EPOCHS} "
        f"teachers with {EPOCHS} epochs leave), once an epoch."
    )
    needs = {"images, uint8": SIDE * SIDE * 3} | {
        f"logits, {t}": CLASSES * s for t, s in zip(TYPES, (4, 2), strict=True)
    }
    workers = (1, 8, 64, 256)
    yield _wrapped(
        f"Computed: what workers that each train on {RATE:,} ImageNet-sized images a second read from a shared "
        f"disk, and how "
        f"many of them {_gb(NETWORK)} a second (10 Gbit/s) feed:"
    )
    yield _table(
        ["read", *(f"{n} worker{'s' * (n > 1)}" for n in workers), "10 Gbit/s feed"],
        [
            [name, *(f"{_gb(n * RATE * size)}/s" for n in workers), f"{NETWORK / (RATE * size):,.0f} workers"]
            for name, size in needs.items()
        ],
    )


def _memory(record: dict[str, Any]) -> Iterable[str]:
    limit = record["limits"]["images"]
    yield _wrapped(
        "Measured: batches of 128 shuffled, augmented images of 64 pixels from a memory-mapped file, each size "
        "in a process "
        f"of its own. Up to {_gb(limit)} the images are read into memory; above, they stay in the file. The "
        f"rest grows by "
        "the numbers that say how each image is augmented, its label and its group."
    )
    yield _table(
        ["images", "file", "memory added"],
        [
            [f"{row['images']:,}", _gb(row["bytes"]), f"{row['peak'] / 1e6:,.0f} MB"]
            for row in record["memory"]
        ],
    )
    last = record["memory"][-1]
    each = last["peak"] / last["images"]
    yield _wrapped(
        f"Computed: the last row's {each:,.0f} bytes an image come to {IMAGENET * each / 1e6:,.0f} MB for ImageNet, "
        "whatever the images' size."
    )


def _scheduling(overheads: dict[str, Any]) -> Iterable[str]:
    rows = overheads["rows"]
    yield _wrapped(
        "Measured: the sweep's own process, processor seconds, with trainings that end at once. Running "
        "includes the live "
        "table and a record on disk for each; resuming reads the records of a finished sweep. "
        "The first plan includes what is imported on first use."
    )
    yield _table(
        [
            "trials",
            "plan",
            "run",
            "run, ms a trial",
            "resume",
            "table, front",
            "files",
            "report",
            "report, MB",
        ],
        [
            [f"{row['trials']:,}", *(f"{row[name]:.2f}" for name in ("plan", "run"))]
            + [f"{1e3 * row['run'] / row['trials']:.1f}"]
            + [f"{row[name]:.2f}" for name in ("resume", "results", "files", "report")]
            + [f"{row['report_bytes'] / 1e6:.1f}"]
            for row in rows
        ],
    )
    search = "; ".join(f"{row['known']:,}: {1e3 * row['seconds']:.0f} ms" for row in overheads["search"])
    yield _wrapped(
        "Optuna (TPE, two parameters, two objectives) needs for one more proposal, with its journal, by the number of "
        f"proposals that it knows: {search}."
    )


def _check(real: dict[str, Any]) -> Iterable[str]:
    yield _wrapped(
        f"**Is the simulation right?** A real sweep of {real['trials']} small trainings, local workers, was "
        f"measured with one "
        "and with two workers. The simulation gets the durations by kind and the start of a worker from the run "
        "with one "
        f"(start {real['startup']:.1f} s; "
        + ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in real["seconds"].items())
        + "). Simulated workers do not slow each other down."
    )
    runs = [(n, real["measured"][n], real["simulated"][n]) for n in real["measured"]]
    yield _table(
        ["workers", "measured, s", "simulated, s", "difference"],
        [
            [workers, f"{measured:.1f}", f"{simulated:.1f}", f"{100 * (simulated / measured - 1):+.0f} %"]
            for workers, measured, simulated in runs
        ],
    )
    yield _wrapped(
        f"The measured sweep left {real['bytes'] / 1e6 / real['trials']:.1f} MB a training: weights, "
        f"predictions, history and "
        "the teachers' outputs."
    )


def _sweep(sweep: dict[str, Any]) -> Iterable[str]:
    hours = sweep["hours"]
    total = {row["seeds"]: row["trials"] for row in sweep["rows"]}
    yield _wrapped(
        "Simulated: "
        + " and ".join(f"{n:,} trainings with {seeds} seeds" for seeds, n in total.items())
        + f". A teacher takes {hours['teacher'] / 3600:g} hours, a student {hours['student'] / 3600:g}, each with a "
        f"spread of {100 * sweep['spread']:.0f} %. Teachers are trained first, then plain KD, then the rest, as in "
        "every sweep."
    )
    few, many = ([row for row in sweep["rows"] if row["seeds"] == seeds] for seeds in total)
    heads = [f"{part[0]['seeds']} seeds: {what}" for part in (few, many) for what in ("hours", "efficiency")]
    pairs = zip(few, many, strict=True)
    yield _table(
        ["workers", *heads], [[one["workers"], *_outcome(one), *_outcome(other)] for one, other in pairs]
    )
    yield _wrapped(_reading(few, many, hours))


def _outcome(row: dict[str, float]) -> list[str]:
    return [f"{row['hours']:,.1f}", f"{row['efficiency']:.0%}"]


def _reading(
    few: Sequence[dict[str, float]], many: Sequence[dict[str, float]], hours: dict[str, float]
) -> str:
    path = (hours["teacher"] + hours["kd"] + hours["student"]) / 3600
    ends = []
    for part in (few, many):
        good = max(row["workers"] for row in part if row["efficiency"] >= 0.8)
        ends.append(f"up to {good} workers with {part[0]['seeds']} seeds")
    return (
        "Until the teachers and plain KD are there, no more workers than seeds have work. Efficiency (speed-up "
        "over workers) "
        f"is 80 % or more {', '.join(ends)}. However many there are, teacher, plain KD and a student come one "
        f"after the other: "
        f"{path:g} hours on average. More seeds, or teachers trained beforehand, help; more workers do not."
    )


def _rest() -> Iterable[str]:
    yield _wrapped(
        "No GPU and no network drive was used; ImageNet itself was not. Two real workers are few: the "
        "simulation knows no "
        "shared disk, no network and no lost machines. Processor seconds are of this machine."
    )


def _table(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _gb(size: float) -> str:
    if size < 1e8:
        return f"{size / 1e6:.0f} MB"
    return f"{size / 1e9:,.{0 if size >= 1e11 else 1 if size >= 1e10 else 2}f} GB"


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(paragraph, 115, break_on_hyphens=False, break_long_words=False)
