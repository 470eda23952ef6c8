"""The default experiment over several seeds: does it show what the README says?

    python benchmarks/default_run.py --seeds 5 [--weights 1 3 10 30 100]

Trains teacher, student alone, plain KD and KD with the adversary for each seed, chooses the adversary weight on
validation data by the rule of notebook 03 (mean over seeds), and writes docs/results/default_run.md and .json; then
benchmarks/readme_table.py writes the README's table. Finished models are reused, so that it can be stopped and
started again.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import numpy as np
import pandas as pd

import fairkd
from fairkd.evaluation import compare, evaluate
from fairkd.reproducibility import version_of
from fairkd.tables import evaluate_models, overall

ROOT = Path(__file__).parent.parent
METRICS = ("accuracy", "worst_group_accuracy", "recall_gap")
NAMES = {
    "teacher": "teacher",
    "student_scratch": "student alone",
    "student_kd": "student, KD",
    "student_fair": "student, KD + adversary",
}


def validation_scores(predictions: fairkd.Predictions) -> dict[str, float]:
    """Return accuracy and recall gap without intervals."""
    rows = overall(evaluate(predictions, replicates=1), ("accuracy", "recall_gap"))
    return dict(zip(rows["metric"], rows["value"], strict=True))


def run_seed(seed: int, weights: list[float], output_dir: str) -> tuple[pd.DataFrame, list[dict]]:
    """Return the test rows of the four models with paired comparisons, and the validation rows of the weights."""
    experiment = fairkd.Experiment(seed=seed, output_dir=output_dir)
    teacher = fairkd.train_teacher(experiment)
    models = {"teacher": teacher, **fairkd.train_students(experiment, teacher)}
    predictions = {name: model.predictions for name, model in models.items()}
    rows = overall(evaluate_models(predictions, seed=seed), METRICS)
    pairs = (("student_kd", "teacher"), ("student_fair", "student_kd"))
    for model, baseline in pairs:
        table = compare({baseline: predictions[baseline], model: predictions[model]})
        rows = pd.concat([rows, overall(table, METRICS).assign(seed=seed)])
    trials = [{"seed": seed, "weight": 0.0, **validation_scores(models["student_kd"].validation)}]
    for weight in weights:
        student = fairkd.distill_student(experiment.replace(adversary_weight=weight), teacher)
        trials.append({"seed": seed, "weight": weight, **validation_scores(student.validation)})
    print(f"seed {seed} done", flush=True)
    return rows, trials


def spread(values: pd.Series) -> str:
    """Format mean ± standard deviation."""
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"


def models_table(rows: pd.DataFrame) -> str:
    """Return the models' means and spreads."""
    lines = ["| model | accuracy | worst-group accuracy | mean recall gap |", "|---|---|---|---|"]
    for model, name in NAMES.items():
        mine = rows[(rows["model"] == model) & rows["baseline"].isna()]
        cells = [spread(mine[mine["metric"] == metric]["value"]) for metric in METRICS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def comparisons_table(rows: pd.DataFrame) -> str:
    """Return one row a seed and comparison."""
    lines = [
        "| seed | difference of | metric | difference | 95 % interval | excludes 0 |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['seed']} | {NAMES[row['model']]} − {NAMES[row['baseline']]} | {row['metric']} | "
        f"{row['value']:+.3f} | {row['low']:+.3f} to {row['high']:+.3f} | {'yes' if row['supported'] else 'no'} |"
        for row in rows[rows["baseline"].notna() & (rows["metric"] != "worst_group_accuracy")].to_dict(
            "records"
        )
    ]
    return "\n".join(lines)


def weights_table(trials: pd.DataFrame) -> str:
    """Return one row a weight: validation scores over the seeds."""
    lines = ["| adversary weight | accuracy | mean recall gap |", "|---|---|---|"]
    for weight, mine in trials.groupby("weight"):
        lines.append(f"| {weight:g} | {spread(mine['accuracy'])} | {spread(mine['recall_gap'])} |")
    return "\n".join(lines)


def chosen_weight(trials: pd.DataFrame, tolerance: float) -> float:
    """Return the weight with the smallest mean recall gap within the tolerance of the best mean accuracy."""
    means = trials.groupby("weight")[["accuracy", "recall_gap"]].mean()
    near = means[means["accuracy"] >= means["accuracy"].max() - tolerance]
    return float(near["recall_gap"].idxmin())


def main() -> None:
    """Run all seeds and write the pages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--weights", type=float, nargs="*", default=[1.0, 3.0, 10.0, 30.0, 100.0])
    parser.add_argument("--output-dir", default="outputs")
    arguments = parser.parse_args()
    results = [run_seed(seed, arguments.weights, arguments.output_dir) for seed in range(arguments.seeds)]
    rows = pd.concat([rows for rows, _ in results], ignore_index=True)
    trials = pd.DataFrame([trial for _, several in results for trial in several])
    default = fairkd.Experiment()
    versions = ", ".join(f"{name} {version_of(name)}" for name in ("fairkd", "torch", "timm"))
    supported = rows[rows["baseline"].notna() & (rows["metric"] == "recall_gap")]
    counts = {
        model: int((group["supported"] & (np.sign(group["value"]) == sign)).sum())
        for model, sign in (("student_kd", 1), ("student_fair", -1))
        for group in [supported[supported["model"] == model]]
    }
    command = f"--seeds {arguments.seeds} --weights {' '.join(f'{weight:g}' for weight in arguments.weights)}"
    named = chosen_weight(trials, default.selection_tolerance)
    page = f"""# The default run over {arguments.seeds} seeds

Made by `python benchmarks/default_run.py {command}`
on {platform.system()} {platform.machine()} with {versions}, CPU only.
Test split, mean ± standard deviation over the seeds; a seed draws the split, the tints, the initial weights and
the order of the batches.

{models_table(rows)}

In {counts["student_kd"]} of {arguments.seeds} seeds plain distillation has a larger mean recall gap than its
teacher, and in {counts["student_fair"]} of {arguments.seeds} seeds the adversary's student a smaller one than plain
distillation, with a paired 95 % interval that excludes 0:

{comparisons_table(rows)}

## How the adversary weight was chosen

Validation split, mean ± standard deviation over the seeds. The rule: the smallest mean recall gap among the weights
whose mean accuracy is within {default.selection_tolerance:g} of the best. It names weight {named:g};
the default is {default.adversary_weight:g}.

{weights_table(trials)}
"""
    folder = ROOT / "docs" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "default_run.md").write_text(page, encoding="utf-8")
    (folder / "default_run.json").write_text(
        json.dumps(json.loads(rows.to_json(orient="records")), indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
