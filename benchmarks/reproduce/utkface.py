"""UTKFace: does distillation inflate the bias on real faces, and does an adversary reduce it?

    python benchmarks/reproduce/utkface.py --data ../shared/data/utkface64.zip --seeds 3

Gender by race and age band by gender, each as the data are and thinned to a skew of 90 %. Only aggregate numbers leave
the machine. Writes docs/results/utkface.json and .md; see study.py for how it goes on after an interruption.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from study import Model, Study, main
from tables import (
    INTERVALS,
    SHARED_IMAGES,
    definitions,
    differences_table,
    has_run,
    protocol,
    rows_table,
    say_difference,
    say_missing,
    say_pair,
    training,
    values,
    wrapped,
)

import fairkd
from fairkd.data.splits import ImageSet, Splits

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
    "WIDER Attribute, EfficientNet-B3 to B0, 16 classes, groups by gender, one run (Berkeley MIDS capstone 2023, "
    "https://lindseyejbang.wixsite.com/fairlearnkd, second-hand): mean recall gap of the teacher .084, of plain "
    "KD .123 (+46 %), with the critic .075 (−39 %) at −0.36 % accuracy. UTKFace, gender skewed by race to 90 %, "
    "ResNet-18, Yang et al. 2024 (arXiv 2401.03695), with groups and a metric of its own (accuracy / mean "
    "one-vs-rest difference of equalized odds): domain-independent .8875 / .0159, bias mimicking .9023 / .0241, "
    "BC+BB .9034 / .0398, undersampling .8680 / .0212, adversarial .8197 / .2340, MFD .8337 / .0490."
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
    Model(
        "student alone + gradient reversal, 10",
        {"distiller": "none", "mitigation": "gradient_reversal", "adversary_weight": 10.0},
        "teacher",
    ),
    Model("student alone + resampling", {"distiller": "none", "mitigation": "resampling"}, "teacher"),
)
#: Students without a teacher, by their counterparts with one.
UNTAUGHT = {
    "KD + gradient reversal, 10": "student alone + gradient reversal, 10",
    "KD + resampling": "student alone + resampling",
}


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
    table, counts = study.read(), _counts(study)
    what = (
        "UTKFace (Zhang, Song and Qi 2017, https://arxiv.org/abs/1702.08423), 64 pixels, without redundant copies. "
        f"Skewed: the training images are thinned until {100 * SKEW:g} % of each class are in one group; validation "
        "and test images are not. Which group that is goes by the classes' order, not by the data, and thinning "
        "changes the shares of the classes too: the tables of training images show both. Mean ± standard "
        f"deviation over the seeds, each with a teacher, a split and initial weights of its own. {INTERVALS} "
        f"{SHARED_IMAGES} Relative changes of the gap, the form of the capstone's claim, are geometric means "
        "of the seeds' own; the differences say how sure they are."
    )
    parts = [
        "# UTKFace: is the bias of real faces inflated, and reduced?",
        wrapped(what),
        training(table, "utkface"),
    ]
    for one in study.settings:
        parts += [
            f"## {one.capitalize()}",
            _deviations(study, one),
            _images(counts[one]),
            _floor(table, counts[one], one),
        ]
        if (table["setting"] == one).any():
            parts += ["\n".join(wrapped(line, "- ") for line in _answers(table, one))]
            names = [model.name for model in MODELS]
            parts += [rows_table(table, names, METRICS, setting=one), _differences(table, one)]
            parts += [say_missing(table, names, setting=one)]
        else:
            parts += ["Not run yet."]
    parts += ["## Published", wrapped(PUBLISHED), wrapped(LIMITS), definitions(METRICS)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _deviations(study: Study, one: str) -> str:
    chosen = study.parameters(one, MODELS[0], 0)
    critic = next(model for model in MODELS if "critic" in model.name)
    longer = (
        "; more epochs than in the other settings, since few images are left"
        if "teacher_epochs" in SETTINGS[one]
        else ""
    )
    return wrapped(
        f"{chosen.teacher} ({chosen.teacher_epochs} epochs) teaches {chosen.student} ({chosen.student_epochs} "
        f"epochs), both from random weights; {protocol(chosen)} A tenth of the images is the validation split, a fifth "
        f"the test split{longer}. The critic's weight is {critic.changes['adversary_weight']:g}."
    )


def _counts(study: Study) -> dict[str, Any]:
    """Return how many training and test images of seed 0 each class has in each group: noted, or counted now."""
    file = study.file.with_name("utkface_counts.json")
    if not file.is_file():
        counts = {
            one: _count(fairkd.load_splits(study.parameters(one, MODELS[0], 0))) for one in study.settings
        }
        text = ",\n".join(f"{json.dumps(one)}: {json.dumps(found)}" for one, found in counts.items())
        file.write_text(f"{{\n{text}\n}}\n", encoding="utf-8")
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _count(splits: Splits) -> dict[str, Any]:
    shape = (len(splits.class_names), len(splits.group_names))

    def cells(part: ImageSet) -> list[list[int]]:
        places = np.ravel_multi_index((part.labels, part.groups), shape)
        return np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape).tolist()

    names = {"classes": list(splits.class_names), "groups": list(splits.group_names)}
    return names | {"train": cells(splits.train), "test": cells(splits.test)}


def _images(counts: Mapping[str, Any]) -> str:
    """Return a table of the training images, and of the classes' shares in training and test."""
    train, test = np.array(counts["train"]), np.array(counts["test"])
    lines = [
        f"| training images (seed 0) | {' | '.join(counts['groups'])} | share of training | share of test |",
        f"|---|{'---|' * len(counts['groups'])}---|---|",
    ]
    for name, row, all_test in zip(counts["classes"], train, test, strict=True):
        shares = (
            f"{100 * part.sum() / whole.sum():.0f} %" for part, whole in ((row, train), (all_test, test))
        )
        lines.append(f"| {name} | {' | '.join(f'{n:,}' for n in row)} | {' | '.join(shares)} |")
    return "\n".join(lines)


def _floor(table: pd.DataFrame, counts: Mapping[str, Any], one: str) -> str:
    """Say which gap a model without any difference between groups would show, for want of test images."""
    accuracy = values(table, "KD", "accuracy", setting=one).mean()
    if np.isnan(accuracy):
        return ""
    test = np.array(counts["test"])
    drawn = np.random.default_rng(0).binomial(test, accuracy, size=(10_000, *test.shape)) / test
    gap = (drawn.max(axis=-1) - drawn.min(axis=-1)).mean()
    return wrapped(
        f"Even a model of KD's accuracy with equal recall in all groups would show a mean recall gap of about "
        f"{100 * gap:.1f} % by sampling error: the smallest cell has {test.min():,} test images."
    )


def _answers(table: pd.DataFrame, one: str) -> list[str]:
    said = []
    for base in ("teacher", "student alone"):
        if not has_run(table, "KD", base, setting=one):
            continue
        parts = [say_difference(table, "KD", base, m, title, setting=one) for m, title in TITLES.items()]
        said.append(f"KD − {base}: {'; '.join(parts)}. {_relative(table, base, one)}")
    for model, without in UNTAUGHT.items():
        if not values(table, without, "accuracy", setting=one).empty:
            parts = [say_pair(table, model, without, m, title, setting=one) for m, title in TITLES.items()]
            said.append(
                f"The same mitigation with and without a teacher, {model} − {without}: {'; '.join(parts)}."
            )
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
    """Return the change of the gap as a share of the base's, the form of the capstone's claim.

    Without an interval: that of the difference already answers whether there is a change.
    """
    gap, before = (values(table, name, "recall_gap", setting=one) for name in (model, base))
    return _percent(np.log((gap / before).dropna()).mean())


def _percent(log_ratio: float) -> str:
    return f"{100 * np.expm1(log_ratio):+.0f} %".replace("-0 %", "+0 %").replace("-", "−")


if __name__ == "__main__":
    main(study, page, "utkface64.zip", 3)
