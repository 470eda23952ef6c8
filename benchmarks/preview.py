"""Does the what-if preview order weights and temperatures as full training does, and how fast is it?

    python benchmarks/preview.py --seeds 5

Trains a student for each weight, each temperature and each seed on the default data, previews the same values, and
compares the orders by Spearman's rank correlation. Writes docs/results/preview.md and .json, and
fairkd/recipes/preview_agreement.json, which the panel quotes. Trained models are found again.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import fairkd
from fairkd.narrative_preview import rank_agreement
from fairkd.recipes import HeadPreview
from fairkd.reproducibility import version_of

ROOT = Path(__file__).parent.parent
WEIGHTS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
#: Full trainings collapse here in some seeds.
COLLAPSE = 30.0
TEMPERATURES = (1.0, 2.0, 4.0, 10.0, 20.0)
METRICS = ("accuracy", "recall_gap", "worst_group_accuracy")


def measure_seed(experiment: fairkd.Experiment) -> list[dict[str, Any]]:
    """Return a row a value: what full training and the preview score on the validation split."""
    splits = fairkd.load_splits(experiment)
    teacher = fairkd.train_teacher(experiment, splits)
    plain = fairkd.distill_student(experiment.replace(mitigation="none"), teacher, splits)
    started = time.perf_counter()
    preview = HeadPreview(experiment, teacher, plain, splits)
    made = time.perf_counter() - started
    weight, temperature = experiment.adversary_weight, experiment.temperature
    preview.scores(temperature, weight)  # To warm up.
    tried = [("weight", temperature, value) for value in (*WEIGHTS, COLLAPSE)]
    tried += [("temperature", value, weight) for value in TEMPERATURES]
    rows = []
    for what, t, w in tried:
        changed = experiment.replace(temperature=t, adversary_weight=w)
        changed = changed.replace(mitigation="none") if w == 0 else changed
        history = fairkd.distill_student(changed, teacher, splits).history
        full = history[history["selected"]].iloc[0]
        started = time.perf_counter()
        scores = preview.scores(t, w)
        seconds = time.perf_counter() - started
        row = {"seed": experiment.seed, "varied": what, "temperature": t, "adversary_weight": w}
        row |= {f"{name}_full": float(full[f"validation_{name}"]) for name in METRICS}
        row |= {f"{name}_preview": scores[name] for name in METRICS}
        rows.append(row | {"seconds": seconds, "made_seconds": made})
    return rows


def agreement(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return mean, minimum and maximum over the seeds of each metric's rank correlation."""
    found = {}
    for name in METRICS:
        by_seed = [
            rank_agreement(part, f"{name}_preview", f"{name}_full") for _, part in rows.groupby("seed")
        ]
        found[name] = {"mean": float(np.nanmean(by_seed)), "min": min(by_seed), "max": max(by_seed)}
    return found


def summarize(rows: pd.DataFrame, experiment: fairkd.Experiment) -> dict[str, Any]:
    """Return what the panel quotes."""
    weights = rows[rows["varied"] == "weight"]
    seconds = rows["seconds"]
    return {
        "dataset": experiment.dataset,
        "seeds": int(rows["seed"].nunique()),
        "tried": list(WEIGHTS),
        "collapse": COLLAPSE,
        "temperatures": list(TEMPERATURES),
        "weights": agreement(weights[weights["adversary_weight"] != COLLAPSE]),
        "with_collapse": agreement(weights),
        "temperature": agreement(rows[rows["varied"] == "temperature"]),
        "seconds": {"median": float(seconds.median()), "p95": float(seconds.quantile(0.95))},
        "made_seconds": float(rows["made_seconds"].median()),
    }


def page(rows: pd.DataFrame, found: dict[str, Any], experiment: fairkd.Experiment) -> str:
    """Return docs/results/preview.md."""
    versions = ", ".join(f"{name} {version_of(name)}" for name in ("fairkd", "torch", "timm"))
    setting = (
        f"{experiment.dataset}, {experiment.teacher} → {experiment.student}, {experiment.mitigation}, "
        f"{found['seeds']} seeds from {rows['seed'].min()} on (the preview was made on earlier ones); validation data. "
        f"{platform.machine()}, {torch.get_num_threads()} thread(s), {versions}."
    )
    speed = (
        f"A preview takes {1000 * found['seconds']['median']:.0f} ms (median; 95th percentile "
        f"{1000 * found['seconds']['p95']:.0f} ms) whichever slider moved, after {found['made_seconds']:.1f} s to "
        "compute the features."
    )
    how = (
        "Made by `python benchmarks/preview.py`. Spearman's rank correlation between what the preview (a two-layer "
        "head on the plain student's frozen features) and a full training score, mean over the seeds (minimum to "
        "maximum)."
    )
    tables = [
        ("adversary weight " + ", ".join(f"{one:g}" for one in WEIGHTS), "weights"),
        (f"the same with {COLLAPSE:g}, where full trainings can collapse", "with_collapse"),
        ("temperature " + ", ".join(f"{one:g}" for one in TEMPERATURES), "temperature"),
    ]
    lines = ["| varied | accuracy | mean recall gap | worst-group accuracy |", "|---|---|---|---|"]
    for name, key in tables:
        cells = " | ".join(
            f"{one['mean']:.2f} ({one['min']:.2f} to {one['max']:.2f})".replace("-", "−")
            for one in (found[key][metric] for metric in METRICS)
        )
        lines.append(f"| {name} | {cells} |")
    weak = [name for name, key in tables if found[key]["recall_gap"]["mean"] < 0.7]
    verdict = (
        "The preview's order by mean recall gap agrees with full training at 0.7 or more in every row."
        if not weak
        else f"Below 0.7 by mean recall gap, so that the preview does not order these: {'; '.join(weak)}. A full "
        f"training changes the features, and can collapse; a head cannot show either."
    )
    means = rows.groupby(["varied", "temperature", "adversary_weight"], sort=False).mean(numeric_only=True)
    detail = [
        "| varied | T | weight | accuracy, full | preview | mean recall gap, full | preview |",
        "|---|---|---|---|---|---|---|",
    ]
    for (what, t, w), one in means.iterrows():
        cells = " | ".join(
            f"{one[f'{name}_{kind}']:.3f}" for name in METRICS[:2] for kind in ("full", "preview")
        )
        detail.append(f"| {what} | {t:g} | {w:g} | {cells} |")
    parts = ["# The what-if preview against full training", *map(_wrapped, (setting, how, speed))]
    parts += ["\n".join(lines), _wrapped(verdict), "## Means over the seeds", "\n".join(detail)]
    return "\n\n".join(parts) + "\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 118)


def main() -> None:
    """Train, preview, compare, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--first", type=int, default=5, help="first seed; the preview was made on those before 5"
    )
    parser.add_argument("--output-dir", default=str(ROOT / "outputs"))
    arguments = parser.parse_args()
    experiment = fairkd.Experiment(output_dir=arguments.output_dir)
    rows = []
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        rows += measure_seed(experiment.replace(seed=seed))
        part = [row["seconds"] for row in rows if row["seed"] == seed]
        print(f"seed {seed}: a preview takes {statistics.median(part):.2f} s", flush=True)
    table = pd.DataFrame(rows)
    found = summarize(table, experiment)
    text = page(table, found, experiment)
    results = ROOT / "docs" / "results"
    (results / "preview.md").write_text(text, encoding="utf-8")
    (results / "preview.json").write_text(
        json.dumps({"summary": found, "rows": rows}, indent=1) + "\n", encoding="utf-8"
    )
    quoted = ROOT / "fairkd" / "recipes" / "preview_agreement.json"
    quoted.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
