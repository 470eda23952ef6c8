"""The page of benchmarks/performance.py."""

from __future__ import annotations

import json
import statistics
import textwrap
from pathlib import Path
from typing import Any


def write_page(record: dict[str, Any], folder: Path | None) -> None:
    """Print the page, and write it with the numbers behind it."""
    text = page(record)
    print(text)
    if folder is not None:
        (folder / "performance.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        (folder / "performance.md").write_text(text, encoding="utf-8")


def page(record: dict[str, Any]) -> str:
    """Return docs/results/performance.md."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    where = (
        f"{record['machine']}, {record['threads']} threads, device {record['device']}; {versions}. Load average "
        f"when it started: {record['load_average']:.1f}."
    )
    how = (
        f"Made by `benchmarks/performance.py`. Batches of {record['batch_size']}, {record['rounds']} rounds after one "
        "to warm up; in each round the peer and fairkd in turn, in one process. The ratio is the peer's seconds over "
        "fairkd's in the same round, median (minimum to maximum). Peers have the fastest of 0, 1 and 2 loader workers, "
        "fused AdamW and channels-last networks; benchmarks/peers.py shows their code."
    )
    parts = ["# How fast fairkd trains", _wrapped(where), _wrapped(how), _cases(record["cases"])]
    parts += ["## Growth", _growth(record["growth"]), "## The same accuracy", _accuracy(record["accuracy"])]
    return "\n\n".join(parts) + "\n"


def _cases(cases: list[dict[str, Any]]) -> str:
    lines = [
        "| what | compared with | times as fast | goal | images/s, peer | images/s, fairkd |",
        "|---|---|---|---|---|---|",
    ]
    for case in cases:
        ratios = [theirs / ours for theirs, ours in zip(case["theirs"], case["ours"], strict=True)]
        rates = (case["images"] / statistics.median(case[who]) for who in ("theirs", "ours"))
        lines.append(
            f"| {case['name']} | {case['peer']} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to "
            f"{max(ratios):.2f}) | {case['goal']} | " + " | ".join(f"{rate:,.0f}" for rate in rates) + " |"
        )
    notes = [_wrapped(f"{case['name']}: {case['note']}.") for case in cases if case["note"]]
    return "\n\n".join(["\n".join(lines), *notes])


def _growth(rows: list[dict[str, float]]) -> str:
    lines = [
        "| images | limit of the cache, MB | cold epoch, processor s | warm epoch, processor s | cache, MB | peak "
        "memory, MB |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['images']:,.0f} | {row['limit'] / 1e6:,.0f} | {row['cold']:.2f} | {row['warm']:.2f} | "
        f"{row['cache'] / 1e6:.2f} | {row['peak'] / 1e6:,.0f} |"
        for row in rows
    ]
    what = (
        "One epoch of KD, test_resnet to test_resnet, random images of 32 pixels, each size in a process of its own. "
        "Processor seconds of all threads, which other work on the machine hardly changes. Peak memory is that of the "
        "whole process, libraries included."
    )
    return _wrapped(what) + "\n\n" + "\n".join(lines)


def _accuracy(accuracies: dict[str, list[float]]) -> str:
    lines = ["| | test accuracy, mean | by seed |", "|---|---|---|"]
    lines += [
        f"| {name} | {statistics.mean(values):.3f} | {', '.join(f'{value:.3f}' for value in values)} |"
        for name, values in accuracies.items()
    ]
    difference = statistics.mean(accuracies["fairkd"]) - statistics.mean(accuracies["torchdistill"])
    spread = max(statistics.stdev(values) for values in accuracies.values())
    relation = "within" if abs(difference) <= 2 * spread else "beyond"
    what = (
        "KD of the default teacher into the default student on colored-digits, the same epochs, learning-rate schedule "
        f"and initial weights; batch order and augmentation differ. The means differ by {difference:+.3f}, {relation} "
        f"two standard deviations of the seeds ({spread:.3f})."
    )
    return _wrapped(what) + "\n\n" + "\n".join(lines)


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(paragraph, 115, break_on_hyphens=False)
