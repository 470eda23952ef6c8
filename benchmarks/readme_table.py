"""The README's table: accuracy, disparity, size and latency of every result file that it names.

    python benchmarks/readme_table.py [--measure]

Reads docs/results/default_run.json and the files of the studies; ``--measure`` times the networks first, on an idle
machine, into docs/results/costs.json. A mark says that the gap differs from plain KD's beyond the seeds. The rows of a
data set are the same whatever they show.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import fairkd
from fairkd.efficiency import measure

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
sys.path.insert(0, str(Path(__file__).parent / "reproduce"))
import cifar10s  # noqa: E402
import default_run  # noqa: E402
import utkface  # noqa: E402
from study import Study  # noqa: E402
from tables import FEWEST, relation, values  # noqa: E402

DIGITS = {
    "teacher": "teacher",
    "student_scratch": "student alone",
    "student_kd": "KD",
    "student_fair": "KD + gradient reversal, weight 10",
    "student_resampling": "KD + resampling",
    "alone_resampling": "student alone + resampling",
}
FACES = "age by gender, skewed"
#: The students of the studies that the README has room for.
SHOWN = {
    "cifar10s": (
        "student alone",
        "KD",
        "KD + gradient reversal, weight 10",
        "KD + projection, weight 3",
        "KD + resampling",
        "MFD",
        f"student alone, {cifar10s.DI}",
        f"{cifar10s.DI} teacher → KD + resampling",
    ),
    "utkface": (
        "student alone",
        "KD",
        "KD + gradient reversal, 10",
        "KD + recall-gap critic",
        "KD + resampling",
        "student alone + resampling",
    ),
}
#: A network as it was trained: its name, the images' size, the number of classes and the stem.
Built = tuple[str, int, int, str]
Row = tuple[str, str, pd.Series, pd.Series, Built]


def studies() -> list[tuple[str, Study, str, int, int]]:
    """Return title, study, setting, image size and number of classes of what is shown beside the default run."""
    nowhere = Path("data")
    ages = utkface.AGES.count(",") + 1
    return [
        ("CIFAR-10S", cifar10s.study(nowhere, "outputs"), cifar10s.SMALL, 32, 10),
        (f"UTKFace, {FACES}", utkface.study(nowhere, "outputs"), FACES, 64, ages),
    ]


def rows() -> Iterator[Row]:
    """Return data, model, accuracies and mean recall gaps by seed, and the network."""
    noted, _, _ = default_run.read(json.loads((RESULTS / "default_run.json").read_text(encoding="utf-8")))
    noted = noted[noted["baseline"].isna()]
    default = fairkd.Experiment()
    digits = fairkd.load_splits(default)
    for model, name in DIGITS.items():
        found = (
            noted[(noted["model"] == model) & (noted["metric"] == metric)].set_index("seed")["value"]
            for metric in ("accuracy", "recall_gap")
        )
        network = default.teacher if model == "teacher" else default.student
        built = (network, digits.image_size[0], digits.num_classes, digits.stem)
        yield "colored-digits", name, *found, built
    for title, study, setting, size, classes in studies():
        table = study.read()
        chosen = study.parameters(setting, study.models[0], 0)
        for model in study.models:
            if model.teacher and model.name not in SHOWN[study.name]:
                continue
            found = (
                values(table, model.name, metric, setting=setting) for metric in ("accuracy", "recall_gap")
            )
            network = chosen.student if model.teacher else chosen.teacher
            yield title, model.name, *found, (network, size, classes, chosen.stem)


def key(built: Built) -> str:
    """Name a network in the file of costs."""
    name, size, classes, stem = built
    return f"{name} at {size}, {classes} classes, stem {stem}"


def costs(again: bool) -> dict[str, dict[str, Any]]:
    """Return parameters and latency of one image by network, as noted or measured now."""
    file = RESULTS / "costs.json"
    if again:
        networks = dict.fromkeys(network for *_, network in rows())
        torch.manual_seed(0)
        kept = ("param_count", "weights_mb", "latency_ms", "latency_p95_ms", "hardware", "runtime")
        noted = {}
        for built in networks:
            name, size, classes, stem = built
            found = measure(fairkd.create_model(name, classes, image_size=size, stem=stem).eval(), size)
            noted[key(built)] = {one: found[one] for one in kept} | {"threads": torch.get_num_threads()}
        file.write_text(json.dumps(noted, indent=1) + "\n", encoding="utf-8")
    return dict(json.loads(file.read_text(encoding="utf-8")))


def table(noted: dict[str, dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    lines = [
        "| data | model | seeds | accuracy | mean recall gap | parameters | latency, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    before = ""
    # What has fewer seeds stands on the study's own page.
    shown = [row for row in rows() if len(row[2]) >= FEWEST]
    plain = {data: gap for data, model, _, gap, _ in shown if model == "KD"}
    for data, model, accuracy, gap, built in shown:
        cost = noted[key(built)]
        mark = {1: " ▲", -1: " ▼", 0: ""}[relation((gap - plain[data]).dropna()) if model != "KD" else 0]
        cells = [
            data if data != before else "",
            model,
            str(len(accuracy)),
            _spread(accuracy),
            _spread(gap) + mark,
        ]
        cells += [f"{cost['param_count'] / 1e6:.2f} M", f"{cost['latency_ms']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
        before = data
    return "\n".join(lines)


def _spread(found: pd.Series) -> str:
    return f"{found.mean():.3f} ± {found.std(ddof=1):.3f}"


def main() -> None:
    """Write the table into the README."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true", help="time the networks")
    noted = costs(parser.parse_args().measure)
    readme = ROOT / "README.md"
    block = f"<!-- results: made by benchmarks/readme_table.py -->\n{table(noted)}\n<!-- end -->"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(
        re.sub(r"<!-- results.*?<!-- end -->", lambda _: block, text, flags=re.DOTALL), encoding="utf-8"
    )
    print(block)


if __name__ == "__main__":
    main()
