"""UTKFace: does distillation inflate the bias on real faces, and does an adversary reduce it?

    python benchmarks/reproduce/utkface.py --data ../shared/data/utkface64.zip --seeds 3

Gender by race and age band by gender, each as the data are and thinned to a skew of 90 %. Only aggregate numbers leave
the machine. Writes docs/results/utkface.json and .md; see study.py for how it goes on after an interruption.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from study import Model, Study, machine, main
from tables import (
    differences_table,
    has_run,
    rows_table,
    say_difference,
    say_missing,
    training,
    values,
    wrapped,
)

import fairkd

METRICS = {
    "accuracy": "accuracy, %",
    "recall_gap": "mean recall gap, %",
    "worst_group_accuracy": "worst-group accuracy, %",
    "equalized_odds_difference": "equalized odds difference, %",
}
TITLES = {"recall_gap": "mean recall gap", "accuracy": "accuracy"}
AGES = "age:0-19,20-39,40-59,60-"
SKEW = 0.9
SETTINGS = {
    "gender by race": {"target": "gender", "group": "race"},
    # Thinning leaves a fifth of the images: three times the epochs, not to stop far too early.
    "gender by race, skewed": {
        "target": "gender",
        "group": "race",
        "skew": SKEW,
        "teacher_epochs": 24,
        "student_epochs": 18,
    },
    "age by gender": {"target": AGES, "group": "gender"},
    "age by gender, skewed": {"target": AGES, "group": "gender", "skew": SKEW},
}
PUBLISHED = (
    "WIDER Attribute, EfficientNet-B3 to B0, 16 classes, groups by gender, one run (MIDS capstone, "
    "second-hand): mean recall gap of the teacher .084, of plain KD .123 (+46 %), with the critic .075 (−39 "
    "%) at −0.36 % accuracy. UTKFace, gender skewed by race to 90 %, ResNet-18, other metric (accuracy / DEO, "
    "ISSTA 2024): domain-independent .8875 / .0159, adversarial .8197 / .2340, MFD .8337 / .0490."
)
LIMITS = (
    "Gender, race and age are what UTKFace's annotations say, mostly estimated by a model and checked by "
    "people; they are not what people say of themselves. No face is shown, and a model that reads these "
    "attributes is no product of this study."
)
ALONE = {"distiller": "none", "mitigation": "none"}
KD = {"distiller": "kd", "mitigation": "none"}
MODELS = (
    Model("teacher"),
    Model("student alone", ALONE, "teacher"),
    Model("KD", KD, "teacher"),
    Model(
        "KD + gradient reversal, 1", {"mitigation": "gradient_reversal", "adversary_weight": 1.0}, "teacher"
    ),
    Model(
        "KD + gradient reversal, 10", {"mitigation": "gradient_reversal", "adversary_weight": 10.0}, "teacher"
    ),
    Model("KD + recall-gap critic", {"mitigation": "recall_gap_critic", "adversary_weight": 1.0}, "teacher"),
    Model("KD + resampling", {"mitigation": "resampling"}, "teacher"),
)


def study(data: Path, output_dir: str) -> Study:
    """Return what is trained and measured."""
    experiment = fairkd.Experiment(
        dataset="utkface",
        data_root=str(data),
        teacher="resnet10t",
        student="test_resnet",
        stem="original",
        teacher_epochs=8,
        student_epochs=6,
        output_dir=output_dir,
        teacher_cache_gb=20,
    )
    return Study("utkface", experiment, SETTINGS, MODELS, tuple(METRICS), ("teacher", "student alone", "KD"))


def page(study: Study) -> str:
    """Return docs/results/utkface.md."""
    table = study.read()
    what = (
        "UTKFace (Zhang, Song and Qi 2017, https://arxiv.org/abs/1702.08423), 64 pixels, without redundant copies. "
        f"Skewed: the training images are thinned until {100 * SKEW:g} % of each class are in its majority group; "
        "validation and test images are not. Mean ± standard deviation over the seeds, each with a teacher, a split "
        "and initial weights of its own; differences are paired by seed and by test image, with Student's 95 % "
        "interval over the seeds; of a single seed with the interval over the test images, where both models were "
        "trained on one machine."
    )
    where = (
        f"{machine()}, shared with other work; {training(table)}. Made by `python "
        "benchmarks/reproduce/utkface.py`; the numbers are in utkface.json."
    )
    parts = ["# UTKFace: is the bias of real faces inflated, and reduced?", wrapped(what), wrapped(where)]
    for one in study.settings:
        parts += [f"## {one.capitalize()}", _deviations(study, one)]
        if (table["setting"] == one).any():
            parts += ["\n".join(wrapped(line, "- ") for line in _answers(table, one))]
            names = [model.name for model in MODELS]
            parts += [rows_table(table, names, METRICS, setting=one), _differences(table, one)]
            parts += [say_missing(table, names, setting=one)]
        else:
            parts += ["Not run yet."]
    return "\n\n".join(filter(None, [*parts, "## Published", wrapped(PUBLISHED), wrapped(LIMITS)])) + "\n"


def _deviations(study: Study, one: str) -> str:
    chosen = study.parameters(one, MODELS[0], 0)
    return wrapped(
        f"{chosen.teacher} ({chosen.teacher_epochs} epochs) teaches {chosen.student} ({chosen.student_epochs} "
        "epochs), both from random weights; a tenth of the images is the validation split, a fifth the test "
        "split."
    )


def _answers(table: pd.DataFrame, one: str) -> list[str]:
    said = []
    for base in ("teacher", "student alone"):
        if not has_run(table, "KD", base, setting=one):
            continue
        parts = [say_difference(table, "KD", base, m, title, setting=one) for m, title in TITLES.items()]
        said.append(f"KD less {base}: {'; '.join(parts)}. {_relative(table, base, one)}")
    return said


def _relative(table: pd.DataFrame, base: str, one: str) -> str:
    return f"Relative to the gap of {base} that is {_change(table, 'KD', base, one)}."


def _differences(table: pd.DataFrame, one: str) -> str:
    columns = [(metric, "KD") for metric in TITLES]
    last = {"gap, relative to KD's": lambda model: _change(table, model, "KD", one)}
    return differences_table(
        table, [model.name for model in MODELS[3:]], columns, TITLES, setting=one, last=last
    )


def _change(table: pd.DataFrame, model: str, base: str, one: str) -> str:
    """Return the change of the mean gap as a share of the base's, the form of the capstone's claim."""
    gap, before = (values(table, name, "recall_gap", setting=one).mean() for name in (model, base))
    return f"{100 * (gap / before - 1):+.0f} %".replace("-0 %", "+0 %").replace("-", "−")


if __name__ == "__main__":
    main(study, page, "utkface64.zip", 3)
