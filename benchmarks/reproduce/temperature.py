"""Temperature: how accuracy, disparity and individual fairness of plain KD change from T = 1 to 20.

    python benchmarks/reproduce/temperature.py --data ../shared/data/cifar10.zip --seeds 3

On colored-digits and CIFAR-10S, beside the published curve on CelebA. Writes docs/results/temperature.json and .md; see
study.py for how it goes on after an interruption.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import cifar10s
import pandas as pd
from study import Model, Study, main
from tables import (
    FEWEST,
    INTERVALS,
    SHARED_IMAGES,
    definitions,
    mean_and_spread,
    protocol,
    relation,
    relations,
    rows_table,
    say_difference,
    seed_interval,
    training,
    values,
    wrapped,
)

import fairkd
from fairkd.analysis import prediction_sensitivity
from fairkd.data.splits import Splits

TEMPERATURES = (1, 2, 4, 7, 10, 15, 20)
DIGITS, CIFAR = "colored-digits", "CIFAR-10S"
METRICS = {
    "accuracy": "accuracy, %",
    "recall_gap": "mean recall gap, %",
    "worst_group_accuracy": "worst-group accuracy, %",
}
SENSITIVITY = "prediction_sensitivity"
#: Half of the images and a lighter teacher than in the study of CIFAR-10S, so that a seed takes an hour of one core.
SMALLER = {"teacher": "airbench_cifar", "teacher_epochs": 16, "samples": 30_000}
#: Mohammadshahi & Ioannou 2025 (arXiv 2410.08407), CelebA, individual fairness, lower is fairer.
PUBLISHED = {
    "teacher": 0.0407,
    "student alone": 0.1240,
    "KD, T = 1": 0.1130,
    "KD, T = 4": 0.0906,
    "KD, T = 10": 0.0697,
}
STUDENTS = {f"KD, T = {t}": float(t) for t in TEMPERATURES}
MODELS = (
    Model("teacher"),
    Model("student alone", {"distiller": "none"}, "teacher"),
    *(Model(name, {"temperature": t}, "teacher") for name, t in STUDENTS.items()),
)


def study(data: Path, output_dir: str) -> Study:
    """Return what is trained and measured."""
    experiment = fairkd.Experiment(mitigation="none", output_dir=output_dir, teacher_cache_gb=20)
    settings = {DIGITS: {}, CIFAR: cifar10s.setting(data) | SMALLER}
    return Study(
        "temperature", experiment, settings, MODELS, tuple(METRICS), ("teacher", "KD, T = 1"), _sensitivity
    )


def _sensitivity(predictions: fairkd.Predictions, splits: Splits) -> Mapping[str, float]:
    table = prediction_sensitivity(predictions, splits.test.images / 255, max_rows=1000)
    return {SENSITIVITY: table.set_index("pairs").loc["all", "value"]}


def page(study: Study) -> str:
    """Return docs/results/temperature.md."""
    table = study.read()
    how = (
        f"Plain KD, without mitigation, at seven temperatures. Mean ± standard deviation over the seeds. {INTERVALS} "
        "Where several temperatures or pairs are asked about at once, their p-values are adjusted by Holm. "
        "Prediction sensitivity: mean over pairs of 1,000 test images of the distance of the predicted "
        "probabilities over the distance of the pixels (0 to 1), in thousandths. Lower is called fairer, but a "
        "confident model has a higher one than an unsure one, and a model that cannot tell images apart has 0."
    )
    parts = [
        "# Temperature from 1 to 20: what becomes of accuracy, recall gap and prediction sensitivity",
        wrapped(how),
        training(table, "temperature"),
    ]
    for setting in study.settings:
        parts += [f"## {setting}", _networks(study, setting)]
        done = (table["setting"] == setting).any()
        parts += [_sentences(table, setting), _table(table, setting)] if done else ["Not run yet."]
    return "\n\n".join([*parts, "## Published, CelebA", _published(table), definitions(METRICS)]) + "\n"


def _networks(study: Study, setting: str) -> str:
    chosen = study.parameters(setting, MODELS[0], 0)
    images = (
        f"Wang's variant, 95 % skew, test images in colour and in grey; {chosen.samples:,} of the 60,000 images."
        if chosen.samples
        else "The default data, 95 % skew."
    )
    return wrapped(
        f"{chosen.teacher} ({chosen.teacher_epochs} epochs) teaches {chosen.student} ({chosen.student_epochs} "
        f"epochs); {protocol(chosen).replace(f'T = {chosen.temperature:g}', 'T')} {images} {SHARED_IMAGES}"
    )


def _table(table: pd.DataFrame, setting: str) -> str:
    """Return the metrics in percent and the sensitivity in thousandths."""
    names = [model.name for model in MODELS]
    lines = rows_table(table, names, METRICS, setting=setting).splitlines()
    cells = ["prediction sensitivity, 1/1000", "---"]
    for name in names:
        found = values(table, name, SENSITIVITY, setting=setting)
        if found.empty:
            continue
        cells.append(mean_and_spread(10 * found, 2))
    return "\n".join(f"{line} {cell} |" for line, cell in zip(lines, cells, strict=True))


def _sentences(table: pd.DataFrame, setting: str) -> str:
    lines = []
    for name in ("KD, T = 4", "KD, T = 10", "KD, T = 20"):
        differences = [
            say_difference(table, name, "KD, T = 1", metric, title, setting=setting)
            for metric, title in (("accuracy", "accuracy"), ("recall_gap", "mean recall gap"))
        ]
        lines.append(f"{name} − KD, T = 1: {'; '.join(differences)}; {_less(table, setting, name)}.")
    if len(_sensitivities(table, setting, "KD, T = 20", "KD, T = 1")) < FEWEST:
        lines.append(f"Whether the published order holds takes {FEWEST} seeds.")
    else:
        lines += [
            _against(table, setting, "student alone"),
            _beyond_ten(table, setting),
            _order(table, setting),
        ]
    return "\n".join(wrapped(line, "- ") for line in lines)


def _sensitivities(table: pd.DataFrame, setting: str, one: str, other: str) -> pd.Series:
    """Return the differences of the prediction sensitivity by seed."""
    first, second = (values(table, name, SENSITIVITY, setting=setting) for name in (one, other))
    return (first - second).dropna()


def _less(table: pd.DataFrame, setting: str, name: str) -> str:
    """Say how the prediction sensitivity differs from that at a temperature of 1."""
    found = 1000 * _sensitivities(table, setting, name, "KD, T = 1")
    if found.empty:
        return "prediction sensitivity: not run"
    mean, low, high = seed_interval(found)
    if len(found) >= FEWEST:
        over = f" (over {len(found)} seeds {low:+.1f} to {high:+.1f})"
    elif len(found) == 1:
        over = " (one seed; no interval)"
    else:
        over = f" ({len(found)} seeds: {' and '.join(f'{one:+.1f}' for one in found)})"
    return f"prediction sensitivity {mean:+.1f} thousandths{over}".replace("-", "−")


def _against(table: pd.DataFrame, setting: str, base: str) -> str:
    """Name the temperatures whose prediction sensitivity differs from a base's beyond the seeds."""
    found = relations([_sensitivities(table, setting, name, base) for name in STUDENTS])
    signs = dict(zip((f"{temperature:g}" for temperature in STUDENTS.values()), found, strict=True))
    found_at = ([t for t, sign in signs.items() if sign == wanted] for wanted in (-1, 1))
    lower, higher = (f"at T = {', '.join(which)}" if which else "at none" for which in found_at)
    return (
        f"Beyond the seeds, adjusted for {len(signs)} temperatures, the prediction sensitivity is lower than that of "
        f"the {base} {lower}, and higher {higher}; published: lower at T = 1, 4 and 10."
    )


def _order(table: pd.DataFrame, setting: str) -> str:
    """Say which of the published order holds here beyond the seeds, and what is reversed."""
    order = sorted(PUBLISHED, key=lambda name: PUBLISHED[name])
    pairs = [_sensitivities(table, setting, higher, lower) for lower, higher in combinations(order, 2)]
    signs = relations(pairs)
    held, reversed_ = (sum(sign == wanted for sign in signs) for wanted in (1, -1))
    means = sum(pair.mean() > 0 for pair in pairs)
    return (
        f"Of the {len(pairs)} pairs of published models, {means} have the published order in the means. Beyond the "
        f"seeds, adjusted for {len(pairs)} pairs, {held} have it, {reversed_} the opposite one, "
        f"{len(pairs) - held - reversed_} neither."
    )


def _beyond_ten(table: pd.DataFrame, setting: str) -> str:
    """Compare with the published statement that accuracy and fairness fall beyond a temperature of about 10."""
    said = []
    for metric, title in (("accuracy", "accuracy"), (SENSITIVITY, "prediction sensitivity")):
        high, ten = (values(table, f"KD, T = {t}", metric, setting=setting) for t in (20, 10))
        sign = relation((high - ten).dropna())
        verdict = {-1: "falls", 1: "rises", 0: "is not shown to change"}[sign]
        said.append(f"{title} {verdict}")
    return (
        f"From T = 10 to 20 {' and '.join(said)}; published for CelebA: beyond about 10 accuracy falls and the "
        "sensitivity rises."
    )


def _published(table: pd.DataFrame) -> str:
    lines = [
        "| model | the same, CelebA, published, 1/1000 | "
        + " | ".join(f"prediction sensitivity, {setting}, 1/1000" for setting in (DIGITS, CIFAR))
        + " |",
        "|---|---|---|---|",
    ]
    for name, value in PUBLISHED.items():
        own = [
            mean_and_spread(10 * values(table, name, SENSITIVITY, setting=setting), 2)
            for setting in (DIGITS, CIFAR)
        ]
        lines.append(f"| {name} | {1000 * value:.1f} | {' | '.join(own)} |")
    about = (
        "Mohammadshahi & Ioannou 2025 (https://arxiv.org/abs/2410.08407). Their inputs have another scale and "
        "size, so only the order of the rows can be compared."
    )
    return "\n".join(lines) + "\n\n" + wrapped(about)


if __name__ == "__main__":
    main(study, page, "cifar10.zip", 3)
