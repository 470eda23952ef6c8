"""The default experiment over several seeds: does it show what the README says?

    python benchmarks/default_run.py --seeds 5 [--weights 1 3 10 30 100]

Trains teacher, student alone, plain KD, and both students with resampling and with the adversary for each seed, chooses
the adversary weight and plain KD's temperature on validation data by the rule of notebook 03 (mean over seeds), and
writes docs/results/default_run.md and .json; then benchmarks/readme_table.py writes the README's table. Finished models
are reused, so that it can be stopped and started again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import fairkd
from fairkd.evaluation import compare, evaluate
from fairkd.pareto import fairest_near_best
from fairkd.recipes.setup import precision
from fairkd.shown import signed
from fairkd.tables import evaluate_models, overall

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(Path(__file__).parent / "reproduce"))
from study import machine  # noqa: E402
from tables import SHARED_IMAGES, relations, seed_interval, wrapped  # noqa: E402

METRICS = ("accuracy", "worst_group_accuracy", "recall_gap")
NAMES = {
    "teacher": "teacher",
    "student_scratch": "student alone",
    "student_kd": "KD",
    "student_resampling": "KD + resampling",
    "student_fair": "KD + adversary",
    "alone_resampling": "student alone + resampling",
    "alone_fair": "student alone + adversary",
}
#: Students without a teacher tell what a mitigation does from what it does during distillation. For them, too, the
#: adversary's weight is chosen.
ALONE, ALONE_WEIGHTED = "alone_fair", "alone_fair, weight {:g}"
#: Plain KD is tuned as the adversary is.
TEMPERATURES = (1.0, 2.0, 4.0, 10.0)
TEMPERED = "student_kd, T = {:g}"
#: Compared on the test images of each seed, model and baseline.
PAIRS = (
    ("student_kd", "teacher"),
    ("student_kd", "student_scratch"),
    ("student_fair", "student_kd"),
    ("student_fair", "student_scratch"),
    ("student_fair", "teacher"),
    ("student_fair", "student_resampling"),
    ("student_resampling", "student_kd"),
    ("student_fair", "alone_fair"),
    ("student_resampling", "alone_resampling"),
    ("alone_fair", "student_scratch"),
    ("alone_resampling", "student_scratch"),
)
#: Those of which every seed is shown.
SHOWN = (PAIRS[0], PAIRS[2])


def validation_scores(predictions: fairkd.Predictions) -> dict[str, float]:
    """Return accuracy and recall gap without intervals."""
    rows = overall(evaluate(predictions, replicates=1), ("accuracy", "recall_gap"))
    return dict(zip(rows["metric"], rows["value"], strict=True))


def run_seed(seed: int, weights: list[float], output_dir: str) -> tuple[pd.DataFrame, list[dict]]:
    """Return the test rows of the models with paired comparisons, and the validation rows of the weights."""
    experiment = fairkd.Experiment(seed=seed, output_dir=output_dir)
    teacher = fairkd.train_teacher(experiment)
    models = {"teacher": teacher, **fairkd.train_students(experiment, teacher)}
    resampling = experiment.replace(mitigation="resampling")
    models["student_resampling"] = fairkd.distill_student(resampling, teacher)
    models["alone_resampling"] = fairkd.distill_student(resampling.replace(distiller="none"), teacher)
    alone = experiment.replace(distiller="none")
    for weight in weights:
        student = fairkd.distill_student(alone.replace(adversary_weight=weight), teacher)
        models[ALONE_WEIGHTED.format(weight)] = student
    plain = experiment.replace(mitigation="none")
    for heat in TEMPERATURES:
        models[TEMPERED.format(heat)] = fairkd.distill_student(plain.replace(temperature=heat), teacher)
    predictions = {name: model.predictions for name, model in models.items()}
    rows = overall(evaluate_models(predictions, seed=seed), METRICS)
    for model, baseline in PAIRS:
        if ALONE in (model, baseline):
            continue
        table = compare({baseline: predictions[baseline], model: predictions[model]})
        rows = pd.concat([rows, overall(table, METRICS).assign(seed=seed)])
    trials = [
        {"seed": seed, "temperature": heat, **validation_scores(models[TEMPERED.format(heat)].validation)}
        for heat in TEMPERATURES
    ]
    trials += [
        {"seed": seed, "alone": weight, **validation_scores(models[ALONE_WEIGHTED.format(weight)].validation)}
        for weight in weights
    ]
    trials.append({"seed": seed, "weight": 0.0, **validation_scores(models["student_kd"].validation)})
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


def pairs_table(rows: pd.DataFrame) -> str:
    """Return mean differences with Student's interval over the seeds."""
    lines = ["| difference of | accuracy | mean recall gap |", "|---|---|---|"]
    for model, baseline in PAIRS:
        mine = rows[(rows["model"] == model) & (rows["baseline"] == baseline)].set_index("metric")["value"]
        intervals = [seed_interval(mine.loc[[metric]]) for metric in ("accuracy", "recall_gap")]
        cells = [f"{signed(mean)} ({signed(low)} to {signed(high)})" for mean, low, high in intervals]
        lines.append(f"| {difference(model, baseline)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def difference(model: str, baseline: str) -> str:
    """Name a difference of two models, whose own names may hold a plus."""
    return " − ".join(f"({NAMES[one]})" if "+" in NAMES[one] else NAMES[one] for one in (model, baseline))


def settled(rows: pd.DataFrame) -> str:
    """Say which differences of the mean recall gap are settled over the seeds, adjusted for their number."""
    words = {1: "is larger than", -1: "is smaller than", 0: "is not shown to differ from"}
    gaps = rows[rows["metric"] == "recall_gap"]
    differences = [
        gaps[(gaps["model"] == model) & (gaps["baseline"] == baseline)]["value"] for model, baseline in PAIRS
    ]
    said = [f"Adjusted for {len(PAIRS)} comparisons by Holm's method:", ""]
    for (model, baseline), sign in zip(PAIRS, relations(differences), strict=True):
        said.append(f"- The mean recall gap of {NAMES[model]} {words[sign]} that of {NAMES[baseline]}.")
    return "\n".join(said)


def seeds_table(rows: pd.DataFrame) -> str:
    """Return one row a seed and comparison that is shown."""
    lines = [
        "| seed | difference of | metric | difference | 95 % interval | excludes 0 |",
        "|---|---|---|---|---|---|",
    ]
    shown = np.array([pair in SHOWN for pair in zip(rows["model"], rows["baseline"], strict=True)])
    lines += [
        f"| {row['seed']} | {difference(row['model'], row['baseline'])} | {row['metric']} | "
        f"{signed(row['value'])} | {signed(row['low'])} to {signed(row['high'])} | "
        f"{'yes' if row['supported'] else 'no'} |"
        for row in rows[shown & (rows["metric"] != "worst_group_accuracy")].to_dict("records")
    ]
    return "\n".join(lines)


def weights_table(trials: pd.DataFrame, parameter: str) -> str:
    """Return one row a weight: validation scores over the seeds."""
    lines = ["| adversary weight | accuracy | mean recall gap |", "|---|---|---|"]
    for weight, mine in trials.groupby(parameter):
        lines.append(f"| {weight:g} | {spread(mine['accuracy'])} | {spread(mine['recall_gap'])} |")
    return "\n".join(lines)


def temperatures_table(rows: pd.DataFrame, trials: pd.DataFrame) -> str:
    """Return one row a temperature of plain KD: validation and test scores over the seeds."""
    lines = [
        "| T | accuracy, validation | mean recall gap, validation | accuracy, test | mean recall gap, test |",
        "|---|---|---|---|---|",
    ]
    for heat, mine in trials.groupby("temperature"):
        test = (test_values(rows, TEMPERED.format(heat), metric) for metric in ("accuracy", "recall_gap"))
        cells = [spread(found) for found in (mine["accuracy"], mine["recall_gap"], *test)]
        lines.append(f"| {heat:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_values(rows: pd.DataFrame, model: str, metric: str) -> pd.Series:
    """Return a model's test scores by seed."""
    chosen = rows[(rows["model"] == model) & rows["baseline"].isna() & (rows["metric"] == metric)]
    return chosen.set_index("seed")["value"]


def chosen(trials: pd.DataFrame, parameter: str, tolerance: float) -> float:
    """Return the value with the smallest mean recall gap within the tolerance of the best mean accuracy."""
    means = trials.groupby(parameter)[["accuracy", "recall_gap"]].mean()
    place = fairest_near_best(means["accuracy"].to_numpy(), means["recall_gap"].to_numpy(), tolerance)
    assert place is not None
    return float(means.index[place])


def read(noted: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """Return the rows, the validation trials, and the weight that is chosen for the student alone.

    The rows of that weight's student are those of the model ``alone_fair``, its differences included.
    """
    rows, trials = pd.DataFrame(noted["rows"]), pd.DataFrame(noted["trials"])
    weight = chosen(trials, "alone", fairkd.Experiment().selection_tolerance)
    rows = rows.replace({"model": {ALONE_WEIGHTED.format(weight): ALONE}})
    rows["baseline"] = rows["baseline"].astype(object).where(rows["baseline"].notna(), None)
    pairs = [pair for pair in PAIRS if ALONE in pair]
    differences = [
        (test_values(rows, model, metric) - test_values(rows, baseline, metric))
        .reset_index()
        .assign(model=model, baseline=baseline, metric=metric)
        for model, baseline in pairs
        for metric in METRICS
    ]
    return pd.concat([rows, *differences], ignore_index=True), trials, weight


def page(noted: dict[str, Any]) -> str:
    """Return docs/results/default_run.md."""
    rows, trials, alone = read(noted)
    seeds, default = rows["seed"].nunique(), fairkd.Experiment()
    counts = []
    for (model, baseline), sign in zip(SHOWN, (1, -1), strict=True):
        mine = rows[
            (rows["model"] == model) & (rows["baseline"] == baseline) & (rows["metric"] == "recall_gap")
        ]
        counts.append(int((mine["supported"].astype(bool) & (np.sign(mine["value"]) == sign)).sum()))
    named = chosen(trials, "weight", default.selection_tolerance)
    heat = chosen(trials, "temperature", default.selection_tolerance)
    gaps = (test_values(rows, model, "recall_gap") for model in ("student_fair", TEMPERED.format(heat)))
    mean, low, high = (signed(one) for one in seed_interval(next(gaps) - next(gaps)))
    return f"""# The default run over {seeds} seeds

Made by `python benchmarks/default_run.py {noted["command"]}`
on {noted["machine"]},
CPU only, networks in {noted["precision"]}.
Test split, mean ± standard deviation over the seeds; a seed draws the split, the tints, the initial weights and
the order of the batches. The same seed gives other numbers on another processor or in another number format, so
this page and those of other studies differ.
{wrapped(SHARED_IMAGES)}

{models_table(rows)}

Paired differences, with the 95 % t interval over the seeds:

{pairs_table(rows)}

{settled(rows)}

In {counts[0]} of {seeds} seeds plain distillation has a larger mean recall gap than its
teacher, and in {counts[1]} of {seeds} seeds the adversary's student a smaller one than plain
distillation, with an interval over the test images that excludes 0:

{seeds_table(rows)}

## How the adversary weight was chosen

Validation split of the same seeds, mean ± standard deviation. The rule: the smallest mean recall gap among the weights
whose mean accuracy is within {default.selection_tolerance:g} of the best. It names weight {named:g};
the default is {default.adversary_weight:g}. A scan that took part in the choice of one seed is tested in another: the
choice is not independent of the test.

{weights_table(trials, "weight")}

For the student alone it names weight {alone:g}, which it has above:

{weights_table(trials, "alone")}

## Plain KD at other temperatures

Plain KD has the default T = {default.temperature:g}, which was not chosen in this way. By the same rule it would
have T = {heat:g}; against plain KD at that temperature, the mean recall gap of KD + adversary differs by {mean}
({low} to {high}).

{temperatures_table(rows, trials)}
"""


def main() -> None:
    """Run all seeds and write the numbers and the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--weights", type=float, nargs="*", default=[1.0, 3.0, 10.0, 30.0, 100.0])
    parser.add_argument("--output-dir", default="outputs")
    parser.add_argument("--page", action="store_true", help="train nothing: write the page from the numbers")
    arguments = parser.parse_args()
    file = ROOT / "docs" / "results" / "default_run.json"
    if not arguments.page:
        weights, default = arguments.weights, fairkd.Experiment()
        results = [run_seed(seed, weights, arguments.output_dir) for seed in range(arguments.seeds)]
        rows = pd.concat([rows for rows, _ in results], ignore_index=True)
        noted = {
            "command": f"--seeds {arguments.seeds} --weights {' '.join(f'{weight:g}' for weight in weights)}",
            "machine": machine("cpu"),
            "precision": precision(default, "student", fairkd.load_splits(default), "cpu"),
            "rows": json.loads(rows.drop(columns="definition").to_json(orient="records")),
            "trials": [trial for _, several in results for trial in several],
        }
        file.write_text(json.dumps(noted, indent=1) + "\n", encoding="utf-8")
    noted = json.loads(file.read_text(encoding="utf-8"))
    file.with_suffix(".md").write_text(page(noted), encoding="utf-8")


if __name__ == "__main__":
    main()
