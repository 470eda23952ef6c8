"""CIFAR-10S (Wang et al. 2020, 95 % skew): does distillation inflate the bias, and what reduces it?

    python benchmarks/reproduce/cifar10s.py --data ../shared/data/cifar10.zip --seeds 3

Trains the teachers, then every row, seed by seed, and writes docs/results/cifar10s.md and .csv. Finished models are
found again and half-done ones go on, so that it can be stopped and started; ``--page`` writes the page from what
is there. A CPU twin of the published protocol: smaller networks, fewer epochs (see the page).
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

import fairkd

ROOT = Path(__file__).parents[2]
METRICS = ("accuracy", "bias_amplification", "recall_gap", "worst_group_accuracy")
EPOCHS = 30
FAIR_TEACHER = {"teacher_mitigation": "domain_independent"}
ALONE = {"distiller": "none", "mitigation": "none"}
KD = {"distiller": "kd", "mitigation": "none"}
#: What each student changes of :func:`base`. The teacher rows have no student.
STUDENTS: dict[str, dict[str, Any]] = {
    "student alone": ALONE,
    "student alone, domain-independent": ALONE | {"mitigation": "domain_independent"},
    "KD": KD,
    "KD + gradient reversal": KD | {"mitigation": "gradient_reversal", "adversary_weight": 1.0},
    "KD + projection": KD | {"mitigation": "projection", "adversary_weight": 1.0},
    "KD + resampling": KD | {"mitigation": "resampling"},
    "KD + domain-independent": KD | {"mitigation": "domain_independent"},
    "MFD": {"distiller": "mfd", "mitigation": "none"},
    "domain-independent teacher → KD": KD | FAIR_TEACHER,
    "domain-independent teacher → KD + resampling": KD | FAIR_TEACHER | {"mitigation": "resampling"},
    "domain-independent teacher → KD + domain-independent": KD
    | FAIR_TEACHER
    | {"mitigation": "domain_independent"},
    "domain-independent teacher → KD + gradient reversal": KD
    | FAIR_TEACHER
    | {"mitigation": "gradient_reversal", "adversary_weight": 1.0},
}
TEACHERS: dict[str, dict[str, Any]] = {"teacher": {}, "teacher, domain-independent": FAIR_TEACHER}


def base(data: Path, output_dir: str) -> fairkd.Experiment:
    """Return the setting that all rows share."""
    return fairkd.Experiment(
        dataset="cifar10s",
        data_root=str(data),
        variant="wang",
        skew=0.95,
        teacher="wrn16_2_cifar",
        student="resnet8_cifar",
        teacher_epochs=EPOCHS,
        student_epochs=EPOCHS,
        batch_size=128,
        optimizer="sgd",
        learning_rate=0.1,
        weight_decay=5e-4,
        augmentation="crop+flip",
        output_dir=output_dir,
        # Halves the time on this kind of processor; fixed, so that another one repeats the same computation.
        precision="bfloat16",
        teacher_cache_gb=20,
    )


def train_seed(experiment: fairkd.Experiment, folder: Path) -> None:
    """Train, or find again, every row of one seed, and note its scores as soon as it is there."""
    splits = fairkd.load_splits(experiment)
    teachers = {}
    for name, changes in TEACHERS.items():
        teachers[name] = fairkd.train_teacher(experiment.replace(**changes), splits)
        note(folder, name, experiment.seed, teachers[name])
    for name, changes in STUDENTS.items():
        fair = "teacher_mitigation" in changes
        teacher = teachers["teacher, domain-independent" if fair else "teacher"]
        note(
            folder,
            name,
            experiment.seed,
            fairkd.distill_student(experiment.replace(**changes), teacher, splits),
        )


def note(folder: Path, row: str, seed: int, model: fairkd.TrainedModel) -> None:
    """Write a model's scores to a file of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tables = {
            split: fairkd.evaluate(predictions, replicates=100)
            for split, predictions in (("validation", model.validation), ("test", model.predictions))
        }
    rows = [
        {"row": row, "seed": seed, "split": split, "metric": one.metric, "value": one.value}
        for split, table in tables.items()
        for one in table.itertuples()
        if one.metric in METRICS and (one.group, one[table.columns.get_loc("class") + 1]) == ("all", "all")
    ]
    details = {"param_count": model.model.param_count, "seconds": model.history["seconds"].sum()}
    folder.mkdir(parents=True, exist_ok=True)
    name = row.replace(" ", "-").replace(",", "").replace("→", "to")
    pd.DataFrame(rows).assign(**details).to_csv(folder / f"{name}-{seed}.csv", index=False)
    test = {one["metric"]: round(one["value"], 4) for one in rows if one["split"] == "test"}
    print(time.strftime("%H:%M"), seed, row, test, flush=True)


def main() -> None:
    """Train all seeds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "cifar10.zip")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--output-dir", default="outputs/reproduce")
    arguments = parser.parse_args()
    experiment = base(arguments.data.resolve(), arguments.output_dir)
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        train_seed(experiment.replace(seed=seed), Path(arguments.output_dir) / "cifar10s")


if __name__ == "__main__":
    main()
