"""CIFAR-10, large to small, class by class: are the classes' recalls closer together after distillation?

    python benchmarks/reproduce/classwise.py --data ../shared/data/cifar10.zip --seeds 3
    python benchmarks/reproduce/classwise.py --settings "EfficientNet-B4 → B0"     # the published one, for a GPU

Writes docs/results/classwise.json and .md; see study.py for how it goes on after an interruption. Without --settings,
the twin for a CPU: small networks on half of the images.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.typing import SeriesGroupBy
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score
from study import Model, Study, main
from tables import (
    FEWEST,
    INTERVALS,
    SAME_TEST,
    SHARED_IMAGES,
    definitions,
    has_run,
    mean_and_spread,
    protocol,
    relation,
    rows_table,
    say_difference,
    say_missing,
    training,
    values,
    wrapped,
)

import fairkd
from fairkd.data.splits import Splits

STUDY = "https://github.com/gautamHCSCV/Bias-Mitigation-using-Knowledge-Distillation"
METRICS = {
    "accuracy": "accuracy, %",
    "class_recall_ratio": "class recall ratio, %",
    "auroc": "AUROC, %",
    "precision": "mean precision, %",
    "f1": "mean F1, %",
    "expected_calibration_error": "calibration error, %",
}
RECALL = "recall of "
COMPARED = ("accuracy", "class_recall_ratio", "expected_calibration_error")
SMALL, PAPER = "small networks", "EfficientNet-B4 → B0"
SETTINGS: dict[str, dict[str, Any]] = {
    SMALL: {"teacher": "airbench_cifar", "student": "airbench_small_cifar", "samples": 30_000}
    | {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4, "batch_size": 128}
    # The transformer needs more epochs than the student has; all teachers get the same.
    | {"teacher_epochs": 16, "student_epochs": 10},
    PAPER: {"teacher": "efficientnet_b4", "student": "efficientnet_b0", "image_size": 132, "stem": "original"}
    | {"teacher_pretrained": True, "student_pretrained": True, "teacher_epochs": 8, "student_epochs": 8}
    | {"co_teachers": ("deit_small_patch16_224",)},
}
TEACHER = "teacher"
NOBODY = {"distiller": "none"}
WEIGHTED = "student alone, class-weighted"
MODELS = (
    Model(TEACHER),
    Model("student alone", NOBODY, TEACHER),
    Model("KD", {"distiller": "kd"}, TEACHER),
    Model(WEIGHTED, NOBODY | {"mitigation": "class_weighted"}, TEACHER),
    Model("KD, calibrated teacher", {"distiller": "kd", "teacher_calibration": "global"}, TEACHER),
    Model("co-advise, convolution and attention", {"distiller": "co_advise"}, TEACHER),
    Model("semantic features (hint)", {"distiller": "hint"}, TEACHER),
)
#: The class-wise study, 132 pixels, ImageNet weights, 8 epochs: accuracy and class recall ratio.
PUBLISHED = {
    "B0 alone": (0.9142, 0.9376),
    "B0 alone, augmentation": (0.9334, 0.9573),
    "B0 alone, reweighted cross-entropy": (0.9345, 0.9565),
    "B4, the teacher": (0.9524, None),
    'the "B0 student", which is the B4 itself': (0.9525, 0.9669),
}


def study(data: Path, output_dir: str) -> Study:
    """Return what is trained and measured."""
    experiment = fairkd.Experiment(
        dataset="cifar10",
        data_root=str(data),
        mitigation="none",
        augmentation="crop+flip",
        output_dir=output_dir,
        teacher_cache_gb=20,
    )
    return Study(
        "classwise", experiment, SETTINGS, MODELS, COMPARED, (TEACHER, "student alone", "KD"), by_class
    )


def by_class(predictions: fairkd.Predictions, _: Splits) -> Mapping[str, float]:
    """Return AUROC (each class against the rest), and precision, recall and F1: means over the classes, and each."""
    labels, names = predictions.labels, predictions.class_names
    found = {"auroc": float(roc_auc_score(labels, predictions.probabilities, multi_class="ovr"))}
    scores = precision_recall_fscore_support(
        labels, predictions.predicted, labels=range(len(names)), zero_division=0
    )
    for metric, of_class in zip(("precision", "recall", "f1"), scores, strict=False):
        found[metric] = float(of_class.mean())
        found |= {f"{metric} of {name}": float(value) for name, value in zip(names, of_class, strict=True)}
    return found


def page(study: Study) -> str:
    """Return docs/results/classwise.md."""
    table = study.read()
    what = (
        "CIFAR-10 without groups. The class recall ratio is the mean recall of the classes over the best "
        f"class's; the study that this one repeats ({STUDY}) prints it as disparate impact, and there is no "
        "group in it. AUROC, precision and "
        "F1 are means over the classes. Mean ± standard deviation over the seeds. The ratio rises, too, where the best "
        f"class falls, so the spread of the class recalls (their standard deviation) stands beside it. {INTERVALS}"
    )
    parts = [
        "# CIFAR-10 class by class: does distillation make classes more alike?",
        wrapped(what),
        training(table, "classwise"),
    ]
    for one in study.settings:
        if (table["setting"] == one).any():
            parts += [f"## {one.capitalize() if one == SMALL else one}", _deviations(study, one)]
            parts += ["\n".join(wrapped(line, "- ") for line in _answers(table, one)), _table(table, one)]
            parts += [say_missing(table, [model.name for model in MODELS], setting=one)]
            parts += ["### By class", _by_class(table, one)]
        else:
            reason = "not run yet" if one == SMALL else "not run, since no GPU was there"
            parts += [f"## {one}", f"These networks were {reason}."]
    parts += ["## Published", _published(), definitions(METRICS)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _deviations(study: Study, one: str) -> str:
    chosen = study.parameters(one, MODELS[0], 0)
    images = f"{chosen.samples:,} of the 60,000 images, training and test alike, " if chosen.samples else ""
    return wrapped(
        f"{chosen.teacher} ({chosen.teacher_epochs} epochs) teaches {chosen.student} ({chosen.student_epochs} "
        f"epochs); {images}{chosen.image_size or 32} pixels; "
        f"{'ImageNet' if chosen.teacher_pretrained else 'no pretrained'} weights; the further teacher of "
        f'co-advise is {", ".join(chosen.co_teachers)}. {protocol(chosen)} All models augment, as the published "B0 '
        'alone, augmentation" does; the published epochs are 8. '
        f"{SHARED_IMAGES if chosen.samples else SAME_TEST}"
    )


def _answers(table: pd.DataFrame, one: str) -> list[str]:
    said = []
    for model in (model.name for model in MODELS[2:]):
        if not has_run(table, model, "student alone", setting=one):
            continue
        parts = [
            say_difference(table, model, "student alone", metric, title, setting=one)
            for metric, title in (("accuracy", "accuracy"), ("class_recall_ratio", "class recall ratio"))
        ]
        extremes = [
            f"{which} {mean_and_spread(_extreme(table, model, which, one))} %, "
            f"{mean_and_spread(_extreme(table, 'student alone', which, one))} % alone"
            for which in ("lowest", "highest")
        ]
        spreads = (mean_and_spread(_spread(table, name, one)) for name in (model, "student alone"))
        extremes.append("spread {} points, {} alone".format(*spreads))
        said.append(f"{model} − student alone: {'; '.join(parts)}. Class recalls: {'; '.join(extremes)}.")
    weighted = values(table, WEIGHTED, "accuracy", setting=one, base="student alone")
    if len(weighted) and (weighted == 0).all():
        said.append(
            "Class weights change nothing here: there are as many images of each class, so every weight is 1."
        )
    flatter = [
        model.name
        for model in MODELS[2:]
        if relation((_spread(table, model.name, one) - _spread(table, "student alone", one)).dropna()) < 0
    ]
    levelled = [
        model.name
        for model in MODELS[2:]
        if values(table, model.name, "class_recall_ratio", setting=one, base="student alone").mean() > 0
        and (
            _extreme(table, model.name, "lowest", one) - _extreme(table, "student alone", "lowest", one)
        ).mean()
        < 0
    ]
    if levelled:
        said.append(
            f"A higher ratio is not always a better worst class: higher ratio and lower "
            f"lowest class recall than the student alone, in the means over the seeds: {', '.join(levelled)}."
        )
    known = values(table, "student alone", "accuracy", setting=one)
    settled = (
        "More seeds are needed to say" if len(known) < FEWEST else f"{', '.join(flatter) or 'none of them'}"
    )
    return [
        *said,
        f"Whose class recalls have a smaller spread than the student's alone, beyond the seeds: {settled}.",
    ]


def _extreme(table: pd.DataFrame, model: str, which: str, one: str) -> pd.Series:
    """Return the lowest or highest recall of a class by seed."""
    recalls = _recalls(table, model, one)
    return recalls.min() if which == "lowest" else recalls.max()


def _spread(table: pd.DataFrame, model: str, one: str) -> pd.Series:
    """Return the standard deviation of the class recalls by seed."""
    return _recalls(table, model, one).std(ddof=0)


def _recalls(table: pd.DataFrame, model: str, one: str) -> SeriesGroupBy:
    mine = table[(table["setting"] == one) & (table["model"] == model)]
    return mine[mine["metric"].str.startswith(RECALL)].groupby("seed")["value"]


def _table(table: pd.DataFrame, one: str) -> str:
    """Return the models, and the teacher once more under the name that the published code gives it."""
    own = rows_table(table, [model.name for model in MODELS], METRICS, setting=one)
    teacher = rows_table(table, [TEACHER], METRICS, setting=one).splitlines()[-1]
    as_published = teacher.replace(
        f"| {TEACHER} |", '| the "student" as published: the variable holds the teacher |'
    )
    about = (
        f"The last row is what the published code ({STUDY}) evaluates: its variable for the student holds the "
        "teacher, so that every number is the teacher's."
    )
    return f"{own}\n{as_published}\n\n{wrapped(about)}"


def _by_class(table: pd.DataFrame, one: str) -> str:
    """Return precision, recall and F1 of each class, means over the seeds in percent."""
    recalls = table[(table["setting"] == one) & table["metric"].str.startswith(RECALL)]
    names = recalls["metric"].str.removeprefix(RECALL).drop_duplicates()
    models = [model.name for model in MODELS if model.name in set(recalls["model"])]
    lines = [f"| class | {' | '.join(models)} |", f"|---|{'---|' * len(models)}"]
    for name in names:
        cells = []
        for model in models:
            found = (
                values(table, model, f"{metric} of {name}", setting=one).mean()
                for metric in ("precision", "recall", "f1")
            )
            cells.append(" / ".join(f"{100 * value:.1f}" for value in found))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "Precision / recall / F1, %, means over the seeds.\n\n" + "\n".join(lines)


def _published() -> str:
    lines = [
        "| 132 pixels, ImageNet weights, 8 epochs | accuracy, % | class recall ratio, % |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name} | {100 * accuracy:.2f} | {'–' if ratio is None else f'{100 * ratio:.2f}'} |"
        for name, (accuracy, ratio) in PUBLISHED.items()
    ]
    return "\n".join(lines) + "\n\nA correct run of B4 to B0 has not been published there."


if __name__ == "__main__":
    main(study, page, "cifar10.zip", 3, (SMALL,))
