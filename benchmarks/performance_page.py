"""The page of benchmarks/performance.py."""

from __future__ import annotations

import statistics
import textwrap
from typing import Any

from scipy.stats import ttest_1samp

#: Why a part's goals may be missed; shown where they are.
REASONS = {
    "pipeline": (
        "What is left is memory traffic: an image is gathered, padded, cropped and mirrored in passes of its own."
    ),
    "student": (
        "Besides the network, the step augments, normalises and computes the teacher's loss, which the bare "
        "loop does not; in bfloat16 that is a larger share of a shorter step."
    ),
    "cold": (
        "In a cold epoch both run the same two networks with the same kernels, and the networks are nearly all of it "
        "(see the profile): a faster loop or data path cannot change more than the rest."
    ),
    "sweep": (
        "The teacher runs once instead of eight times; what is left is eight students' own training. With a teacher "
        "that costs t times its student's training step, eight students save a factor of at most 8(t + 1) / (t + 8)."
    ),
}


def page(record: dict[str, Any]) -> str:
    """Return docs/results/performance.md, of the parts that were measured."""
    comparisons = [entry for entry in record.values() if "cases" in entry]
    parts = ["# How fast fairkd trains", *_where(record), *_how(comparisons)]
    for date in sorted({entry["date"] for entry in comparisons}, reverse=True):
        cases = [case for entry in comparisons if entry["date"] == date for case in entry["cases"]]
        parts += [f"Measured on {date}:", _cases(cases)]
    parts += _missed(record)
    checks = {
        "profile": ("## What the profile shows", _profile),
        "start": ("## Start-up", _start_up),
        "waiting": ("## Beside other work", _waiting),
        "growth": ("## Growth", _growth),
        "accuracy": ("## Accuracy beside torchdistill", _accuracy),
    }
    for name, (title, text) in checks.items():
        if name in record:
            parts += [title, text(record[name]["result"]), f"Measured on {record[name]['date']}."]
    return "\n\n".join(parts) + "\n"


def _where(record: dict[str, Any]) -> list[str]:
    """Say where it was measured; parts measured elsewhere are named, in a paragraph of their own."""
    places: dict[str, dict[str, float]] = {}
    for name, entry in record.items():
        versions = ", ".join(f"{name} {version}" for name, version in entry["versions"].items())
        place = f"{entry['machine']}, {entry['threads']} threads, device {entry['device']}; {versions}."
        places.setdefault(place, {})[name] = entry["load_average"]
    paragraphs = []
    for place, loads in places.items():
        named = f"`--part {'`, `--part '.join(loads)}`: " if paragraphs else ""
        span = f"{min(loads.values()):.1f} to {max(loads.values()):.1f}"
        paragraphs.append(_wrapped(f"{named}{place} Load average when a part started: {span}."))
    return paragraphs


def _how(comparisons: list[dict[str, Any]]) -> list[str]:
    if not comparisons:
        return []
    size = comparisons[0]["batch_size"]
    return [
        _wrapped(
            f"Made by `benchmarks/performance.py`. Batches of {size}; rounds after one to warm up, in each the "
            "peer and fairkd in turn, in one process. The ratio is the peer's seconds over fairkd's in the "
            "same round, median (minimum to maximum). Peers have the fastest number of loader workers, fused "
            "AdamW and channels-last networks; benchmarks/peers.py shows their code. By itself torchdistill "
            "computes in float32: its way to mixed precision asks Accelerate for `use_fp16`, which Accelerate "
            "no longer has. Where both compute in bfloat16, its forward pass is run under torch's autocast "
            "here."
        )
    ]


def _cases(cases: list[dict[str, Any]]) -> str:
    lines = [
        "| what | compared with | number format | times as fast | goal | rounds | images/s, peer | images/s, "
        "fairkd |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        ratios = [theirs / ours for theirs, ours in zip(case["theirs"], case["ours"], strict=True)]
        rates = (case["images"] / statistics.median(case[who]) for who in ("theirs", "ours"))
        words = (
            case["name"],
            case["peer"],
            case["precision"],
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            case["goal"],
            str(len(ratios)),
            *(f"{rate:,.0f}" for rate in rates),
        )
        lines.append(f"| {' | '.join(words)} |")
    notes = [_wrapped(f"{case['name']}: {case['note']}.") for case in cases if case["note"]]
    return "\n\n".join(["\n".join(lines), *notes])


def _missed(record: dict[str, Any]) -> list[str]:
    """Name the goals that are not reached, and why."""
    lines = []
    for part, entry in record.items():
        missed = [
            case for case in entry.get("cases", []) if case["goal"] != "–" and _ratio(case) < _goal(case)
        ]
        lines += [
            f"- {case['name']}, {case['precision']}: {_ratio(case):.3g} instead of {case['goal']}."
            for case in missed
        ]
        if missed and part in REASONS:
            lines[-1] += f" {REASONS[part]}"
    if "start" in record and (taken := statistics.median(record["start"]["result"]["fairkd --help"])) >= 0.5:
        alone = statistics.median(record["start"]["result"]["import torch"])
        lines.append(
            f"- `fairkd --help`: {taken:.2f} s instead of under 0.5 s, where `import torch` takes {alone:.2f} s."
        )
    not_measured = (
        "The GPU row of the benchmark was not measured: there was no GPU. `--device cuda` measures on one."
    )
    on_gpu = any(entry["device"] != "cpu" for entry in record.values())
    head = [
        "## Goals that are not reached",
        "\n".join(_item(line) for line in lines) or "None of those above.",
    ]
    return head if on_gpu else [*head, _wrapped(not_measured)]


def _ratio(case: dict[str, Any]) -> float:
    return statistics.median(theirs / ours for theirs, ours in zip(case["theirs"], case["ours"], strict=True))


def _goal(case: dict[str, Any]) -> float:
    return float(case["goal"].removeprefix("≥ "))


def _profile(found: dict[str, Any]) -> str:
    shares = found["operations"]
    tables = [
        [
            f"| operations of a cold epoch (resnet18 → test_resnet), both networks in | {' | '.join(shares)} |",
            f"|---|{'---|' * len(shares)}",
        ],
        ["| a teacher's forward pass (resnet18) | times as fast as float32 |", "|---|---|"],
    ]
    tables[0] += [
        f"| {kind} | {' | '.join(f'{shares[name][kind]:.0%}' for name in shares)} |"
        for kind in shares["float32"]
    ]
    tables[1] += [f"| {name} | {ratio:.2f} |" for name, ratio in found["forward"].items()]
    student = found["student"]
    words = (
        f"Eight students, one teacher (efficientnet_b4 → resnet8_cifar): a student's trainer is made in "
        f"{student['making']:.2f} s, in {student['with teacher']:.2f} s where the teacher is made as well; its warm "
        f"epoch of {student['images']} images takes {student['epoch']:.2f} s. The benchmark makes the teacher once, "
        "for both sides."
    )
    how = "Shares of the time within torch's operations, by torch.profiler, in an epoch of its own."
    return "\n\n".join([_wrapped(how), *("\n".join(table) for table in tables), _wrapped(words)])


def _start_up(times: dict[str, list[float]]) -> str:
    torch_s, help_s = (statistics.median(times[name]) for name in ("import torch", "fairkd --help"))
    added = times["import fairkd"]
    return _wrapped(
        f"`import fairkd` after `import torch` adds {statistics.median(added):.2f} s ({min(added):.2f} to "
        f"{max(added):.2f}; goal: at most 0.3 s) to {torch_s:.2f} s; `fairkd --help` answers in {help_s:.2f} s "
        f"({min(times['fairkd --help']):.2f} to {max(times['fairkd --help']):.2f}; goal: under 0.5 s). Processes in "
        f"turn, {len(added)} rounds, medians; fairkd is imported in the process that has imported torch."
    )


def _waiting(rates: dict[str, dict[str, list[float]]]) -> str:
    lines = [
        "| where | ACTIVE, images/s | PASSIVE, images/s | PASSIVE, times as fast |",
        "|---|---|---|---|",
    ]
    for place, found in rates.items():
        ratios = [passive / active for active, passive in zip(found["ACTIVE"], found["PASSIVE"], strict=True)]
        lines.append(
            f"| {place} | {statistics.median(found['ACTIVE']):,.0f} | {statistics.median(found['PASSIVE']):,.0f} | "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )
    what = (
        "A student's training step on the CPU, with the environment variable `OMP_WAIT_POLICY`: threads that wait for "
        "each other keep their cores (ACTIVE, and OpenMP's default for some time) or leave them to other processes "
        "(PASSIVE). Processes in turn, medians; the busy process keeps one core. fairkd leaves the variable as it is: "
        "where a machine is shared with other work, set it to PASSIVE before `fairkd` or JupyterLab is started."
    )
    return _wrapped(what) + "\n\n" + "\n".join(lines)


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
        "One epoch of KD, test_resnet to test_resnet, random images of 32 pixels, each size in a process of "
        "its own. Processor seconds of all threads. Peak memory is that of the whole process, libraries "
        "included."
    )
    return _wrapped(what) + "\n\n" + "\n".join(lines)


def _accuracy(accuracies: dict[str, list[float]]) -> str:
    lines = ["| | test accuracy, mean | by seed |", "|---|---|---|"]
    lines += [
        f"| {name} | {statistics.mean(values):.3f} | {', '.join(f'{value:.3f}' for value in values)} |"
        for name, values in accuracies.items()
    ]
    ours, theirs = accuracies["fairkd"], accuracies["torchdistill"]
    test = ttest_1samp([one - other for one, other in zip(ours, theirs, strict=True)], 0)
    low, high = test.confidence_interval(0.95)
    what = (
        "KD of the default teacher into the default student on colored-digits, the same epochs, learning-rate "
        "schedule and initial weights; batch order and augmentation differ. fairkd less torchdistill, paired by seed: "
        f"{statistics.mean(ours) - statistics.mean(theirs):+.3f}, Student's 95 % interval over {len(ours)} seeds "
        f"{low:+.3f} to {high:+.3f}.".replace("-", "−")
    )
    return _wrapped(what) + "\n\n" + "\n".join(lines)


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(paragraph, 115, break_on_hyphens=False)


def _item(line: str) -> str:
    return textwrap.fill(line, 115, break_on_hyphens=False, subsequent_indent="  ")
