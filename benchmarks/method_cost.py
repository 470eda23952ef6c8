"""What every distiller and every mitigation costs: seconds per 1,000 training images, relative to plain training.

    python benchmarks/method_cost.py --repetitions 5

A measurement is one epoch of the default networks on a part of the default data, without validation, on one thread,
compared with an epoch of plain training (labels alone) right before it. The networks are untrained, which the time
does not depend on. Writes docs/results/method_cost.md and .json, and the costs in docs/methods/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import textwrap
import time
from pathlib import Path
from typing import Any

import torch

import fairkd
from fairkd.data.splits import Splits
from fairkd.distillers import distiller_entries, list_distillers
from fairkd.mitigation import list_mitigations
from fairkd.models import Network
from fairkd.progress import ProgressBar
from fairkd.recipes import setup
from fairkd.reproducibility import version_of
from fairkd.teachers import Teachers
from fairkd.training import Trainer, distill_step, task_step

ROOT = Path(__file__).parent.parent
METHODS = ROOT / "docs" / "methods"
RESULTS = ROOT / "docs" / "results"
KINDS = {
    "distiller": ("logits", "features", "relations", "several_teachers", "teacher_options"),
    "mitigation": ("adversaries", "weighting", "domains"),
}
PLAIN = ("none", "none")
Key = tuple[str, str]  # distiller, mitigation
Pairs = dict[Key, list[tuple[float, float]]]
MARKERS = ("<!-- cost:start -->", "<!-- cost:end -->")


def make_trainer(experiment: fairkd.Experiment, splits: Splits, networks: list[Network]) -> Trainer:
    """Return a trainer of a new student; ``networks`` are the teacher and the co-teachers."""
    student = setup.make_network(experiment, "student", splits)
    size = int(setup.dry_outputs(student, splits).features.shape[1])
    counts = setup.training_counts(splits)
    mitigation = setup.make_mitigation(experiment, "student", *counts, feature_size=size)
    mitigation.prepare(student)
    distiller, step = None, task_step(mitigation)
    if experiment.distiller != "none":
        several = any(entry.several_teachers for _, entry in distiller_entries(experiment.distiller))
        teachers = networks if several else networks[:1]
        distiller = setup.make_distiller(experiment, student, teachers, splits)
        distiller.prepare(student)
        weights = {"distill_weight": experiment.distill_weight, "task_weight": experiment.task_weight}
        step = distill_step(Teachers(teachers), distiller, mitigation, **weights)
    settings = setup.make_settings(experiment, "student", splits, "cpu")
    return Trainer(student, step, splits, settings, mitigation=mitigation, extra=distiller)


def make_trainers(experiment: fairkd.Experiment, splits: Splits) -> dict[Key, Trainer]:
    """Return a trainer for plain training, for each distiller and, with plain KD, for each mitigation."""
    names = (experiment.teacher, *experiment.co_teachers)
    networks = [setup.make_network(experiment.replace(teacher=name), "teacher", splits) for name in names]
    pairs = [(name, "none") for name in list_distillers()["name"]]
    pairs += [("kd", name) for name in list_mitigations()["name"] if name != "none"]
    return {
        (distiller, mitigation): make_trainer(
            experiment.replace(distiller=distiller, mitigation=mitigation), splits, networks
        )
        for distiller, mitigation in pairs
    }


class Silent(ProgressBar):
    """A bar that shows nothing."""

    def __init__(self) -> None:
        pass

    def update(self, steps: int = 1, **values: float | str) -> None:
        """Show nothing."""


def seconds_of_epoch(trainer: Trainer) -> float:
    """Return the processor seconds of the training steps of one epoch, without validation."""
    began = time.process_time()
    trainer._train_epoch(0, Silent())  # fit() would validate as well
    return time.process_time() - began


def measure(trainers: dict[Key, Trainer], repetitions: int) -> Pairs:
    """Return, a method, pairs of seconds: of plain training right before it, and its own."""
    plain = trainers[PLAIN]
    for trainer in trainers.values():
        seconds_of_epoch(trainer)
    pairs: Pairs = {key: [] for key in trainers}
    for _ in range(repetitions):
        for key, trainer in trainers.items():
            pairs[key].append((seconds_of_epoch(plain), seconds_of_epoch(trainer)))
    return pairs


def summarize(pairs: Pairs, images: int) -> list[dict[str, Any]]:
    """Return a row a method: seconds per 1,000 images and the ratio to plain training, median and range."""
    rows = []
    for (distiller, mitigation), seconds in pairs.items():
        # Plain training is measured more often than anything else; against itself its ratio is 1.
        alone = (distiller, mitigation) == PLAIN
        taken = (
            [pair[0] for each in pairs.values() for pair in each] if alone else [own for _, own in seconds]
        )
        ratios = [1.0] if alone else [own / plain for plain, own in seconds]
        row: dict[str, Any] = {"distiller": distiller, "mitigation": mitigation}
        for name, values in (("seconds", [1000 * s / images for s in taken]), ("ratio", ratios)):
            row |= {name: statistics.median(values), f"{name}_low": min(values), f"{name}_high": max(values)}
        rows.append({key: value if isinstance(value, str) else round(value, 4) for key, value in row.items()})
    return rows


def cost_sentence(rows: list[dict[str, Any]], kind: str, name: str) -> str:
    """Return what a method's section says of its cost."""
    kd = next(row for row in rows if (row["distiller"], row["mitigation"]) == ("kd", "none"))
    if kind == "mitigation" and name == "none":
        return f"Nothing: plain KD takes {_ratio(kd)} the time of plain training."
    key = (name, "none") if kind == "distiller" else ("kd", name)
    row = next(row for row in rows if (row["distiller"], row["mitigation"]) == key)
    seconds = f"{row['seconds']:.2f} s per 1,000 images ({_range(row, 'seconds')})"
    if key == PLAIN:
        return f"{seconds}; this is the plain training that the others are compared with."
    with_kd = f"; plain KD alone {_ratio(kd)}" if kind == "mitigation" else ""
    return f"{_ratio(row)} the time of plain training{with_kd}; {seconds}."


def _ratio(row: dict[str, Any]) -> str:
    return f"{row['ratio']:.2f} times ({_range(row, 'ratio')})"


def _range(row: dict[str, Any], name: str) -> str:
    return f"{row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f}"


def fill_page(text: str, kind: str, rows: list[dict[str, Any]]) -> str:
    """Write the cost between the markers of every section ``## `name` `` of a page."""
    return "".join(
        _filled(section, kind, rows) for section in re.split(r"^(?=## )", text, flags=re.MULTILINE)
    )


def _filled(section: str, kind: str, rows: list[dict[str, Any]]) -> str:
    heading = re.match(r"## `(\w+)`\n", section)
    if heading is None:
        return section
    (start, end), sentence = MARKERS, cost_sentence(rows, kind, heading[1])
    return re.sub(rf"{start}.*?{end}", lambda _: f"{start}{sentence}{end}", section)


def results_page(record: dict[str, Any]) -> str:
    """Return docs/results/method_cost.md."""
    busy = " The machine was busy with other work as well." if record["load_average"] >= 2.5 else ""
    larger = record["teacher_parameters"] / record["student_parameters"]
    positions = record["map_positions"]
    how = (
        f"One epoch of {record['images']} images of {record['image_size']} × {record['image_size']} pixels in batches "
        f"of {record['batch_size']}, {record['teacher']} → {record['student']}, training steps without validation. "
        f"Median (minimum to maximum) of {record['repetitions']} repetitions after one to warm up, all methods in turn "
        "in one process. Each epoch's ratio is that to an epoch of plain training (labels alone, no mitigation) right "
        "before it. Seconds are processor time of one thread: other work on the machine lengthens them less than it "
        "does the time that passes."
    )
    where = (
        f"{record['machine']}, {record['cores']} cores, of which one is used; {record['versions']}. Load average when "
        f"it started: {record['load_average']:.1f}.{busy}"
    )
    what = (
        "Every distiller asks the teacher for every batch; what that costs depends on the two networks: here the "
        f"teacher has {larger:.0f} times the student's parameters. co_advise and ensemble ask "
        f"{1 + len(record['co_teachers'])} teachers. The last maps of these networks have {positions} "
        f"position{'s' * (positions != 1)} at this size; with larger ones attention and nst cost more."
    )
    table = [
        "| distiller | mitigation | times plain training | seconds per 1,000 images |",
        "|---|---|---|---|",
        *(
            f"| {row['distiller']} | {row['mitigation']} | {row['ratio']:.2f} ({_range(row, 'ratio')}) | "
            f"{row['seconds']:.2f} ({_range(row, 'seconds')}) |"
            for row in record["rows"]
        ),
    ]
    paragraphs = [f"Made by `{record['command']}`.", how, where]
    parts = ["# What every method costs", *map(_wrapped, paragraphs), "\n".join(table), _wrapped(what)]
    return "\n\n".join(parts) + "\n"


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(paragraph, 115, break_on_hyphens=False)


def describe(
    arguments: argparse.Namespace, experiment: fairkd.Experiment, splits: Splits, trainers: dict[Key, Trainer]
) -> dict[str, Any]:
    """Return what was measured and on what."""
    teacher = setup.make_network(experiment, "teacher", splits)
    student = trainers[PLAIN].network
    return {
        "command": f"python benchmarks/method_cost.py --repetitions {arguments.repetitions} "
        f"--samples {arguments.samples}",
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "versions": ", ".join(
            [
                f"Python {platform.python_version()}",
                *(f"{name} {version_of(name)}" for name in ("fairkd", "torch", "timm")),
            ]
        ),
        "load_average": round(os.getloadavg()[0], 2),
        "repetitions": arguments.repetitions,
        "images": len(splits.train.labels),
        "image_size": splits.image_size[0],
        "batch_size": experiment.batch_size,
        "teacher": experiment.teacher,
        "student": experiment.student,
        "co_teachers": list(experiment.co_teachers),
        "teacher_parameters": teacher.param_count,
        "student_parameters": student.param_count,
        "map_positions": setup.dry_outputs(student, splits).maps[0, 0].numel(),
    }


def write_costs(record: dict[str, Any]) -> None:
    """Write the results, and the costs into the pages of the methods."""
    (RESULTS / "method_cost.md").write_text(results_page(record), encoding="utf-8")
    (RESULTS / "method_cost.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for kind, pages in KINDS.items():
        for page in pages:
            path = METHODS / f"{page}.md"
            path.write_text(
                fill_page(path.read_text(encoding="utf-8"), kind, record["rows"]), encoding="utf-8"
            )


def main() -> None:
    """Measure all methods and write the pages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--samples", type=int, default=600, help="source images; half of them are trained on")
    parser.add_argument("--trial", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    experiment = fairkd.Experiment(samples=arguments.samples, student_epochs=1, warmup_epochs=0)
    splits = setup.load_splits(experiment)
    trainers = make_trainers(experiment, splits)
    record = describe(arguments, experiment, splits, trainers)
    record["rows"] = summarize(measure(trainers, arguments.repetitions), record["images"])
    print(results_page(record))
    if not arguments.trial:
        write_costs(record)


if __name__ == "__main__":
    main()
