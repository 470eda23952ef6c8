"""What the pages of the studies share: means over seeds, paired differences, and sentences computed from them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t

import fairkd
from fairkd.analysis.inflation import holm
from fairkd.comparison.summary import seed_p_value
from fairkd.metrics import METRICS

#: Fewer seeds say next to nothing about their spread: of two, Student's interval is 12.7 standard errors wide.
FEWEST = 3
#: What the intervals on the pages are.
INTERVALS = (
    "Differences are paired by seed and by test image, with the 95 % t interval over the seeds where there are "
    f"{FEWEST} or more; of two seeds both differences are given; of a single seed the interval over the test images, "
    "where both models were trained in one run. 'Beyond the seeds' means that this interval excludes 0; where nothing "
    "differs, one in twenty still does."
)
#: What an interval over the seeds does not cover.
SAME_TEST = (
    "All seeds have the same test images, so that an interval over the seeds says nothing of other images."
)
SHARED_IMAGES = (
    "The seeds draw training and test images anew from the same ones and share many: an interval over the seeds is "
    "that of other splits of these images and other trainings, and too narrow for other images (Nadeau and Bengio "
    "2003)."
)


def values(
    table: pd.DataFrame, model: str, metric: str, split: str = "test", *, setting: str, base: str = ""
) -> pd.Series:
    """Return a model's values of a metric by seed; with a base, the differences to it."""
    chosen = rows(table, model, metric, split, setting=setting, base=base)
    return chosen.set_index("seed")["value"].sort_index()


def rows(
    table: pd.DataFrame, model: str, metric: str, split: str = "test", *, setting: str, base: str = ""
) -> pd.DataFrame:
    """Return a model's rows of a metric, one a seed."""
    wanted = {
        "model": model,
        "metric": metric,
        "split": split,
        "setting": setting,
        "base": base,
    }
    chosen = np.ones(len(table), dtype=bool)
    for column, value in wanted.items():
        chosen &= (table[column] == value).to_numpy()
    return table[chosen]


def mean_and_spread(found: pd.Series, digits: int = 1) -> str:
    """Write percent, mean ± standard deviation over the seeds; of two seeds the mean and both."""
    if found.empty:
        return "not run"
    mean, *each = (f"{100 * value:.{digits}f}" for value in (found.mean(), *found))
    if len(found) < FEWEST:
        return mean if len(found) == 1 else f"{mean} ({' and '.join(each)})"
    return f"{mean} ± {100 * found.std(ddof=1):.{digits}f}"


def seed_interval(differences: pd.Series) -> tuple[float, float, float]:
    """Return the mean of paired differences with Student's 95 % limits over the seeds; NaN for fewer than three."""
    found = differences.to_numpy()
    mean = float(found.mean())
    if len(found) < FEWEST:
        return mean, np.nan, np.nan
    half = float(t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found)))
    return mean, mean - half, mean + half


def say_difference(
    table: pd.DataFrame, model: str, base: str, metric: str, title: str, *, setting: str
) -> str:
    """Say a difference in percentage points: over the seeds, and how often the test images settle its sign."""
    found = rows(table, model, metric, setting=setting, base=base)
    if found.empty:
        return f"{title}: not run"
    mean = float(found["value"].mean())
    known = found.dropna(subset=["low", "high"])
    if len(found) == 1:
        intervals = [
            f"{signed(low)} to {signed(high)}" for low, high in zip(known["low"], known["high"], strict=True)
        ]
        images = f"over the images {intervals[0]}" if intervals else "no interval"
        return f"{title} {signed(mean)} points (one seed; {images})"
    rise, fall = int((known["low"] > 0).sum()), int((known["high"] < 0).sum())
    images = f"settled over the test images: {rise} up, {fall} down, of {len(known)}"
    return f"{title} {signed(mean)} points ({_over_seeds(found['value'])}; {images})"


def say_pair(table: pd.DataFrame, model: str, other: str, metric: str, title: str, *, setting: str) -> str:
    """Say the difference of two models, neither of them a base, over the seeds that both have."""
    found = (
        values(table, model, metric, setting=setting) - values(table, other, metric, setting=setting)
    ).dropna()
    if found.empty:
        return f"{title}: not run"
    return f"{title} {signed(found.mean())} points ({_over_seeds(found)})"


def _over_seeds(differences: pd.Series) -> str:
    if len(differences) < FEWEST:
        return "one seed" if len(differences) == 1 else f"{len(differences)} seeds: {_each(differences)}"
    _, low, high = seed_interval(differences)
    return f"over {len(differences)} seeds {signed(low)} to {signed(high)}"


def _each(differences: pd.Series) -> str:
    return " and ".join(signed(one) for one in differences)


def differences_table(
    table: pd.DataFrame,
    models: Sequence[str],
    columns: Sequence[tuple[str, str]],
    titles: Mapping[str, str],
    *,
    setting: str,
    last: Mapping[str, Callable[[str], str]],
) -> str:
    """Return a Markdown table of differences in percentage points, of the models that have run.

    With the intervals that ``INTERVALS`` names.

    Args:
        table: what :meth:`Study.read` returns.
        models: a row each.
        columns: pairs of metric and base.
        titles: of the metrics.
        setting: of the study.
        last: further columns, by title; each gives a model's text.
    """
    heads = [*(f"{titles[metric]} − {base}'s, points" for metric, base in columns), *last]
    lines = [f"| model | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for model in models:
        cells = [
            _difference(rows(table, model, metric, setting=setting, base=base)) for metric, base in columns
        ]
        if any(cells):
            texts = [*(cell or "–" for cell in cells), *(text(model) for text in last.values())]
            lines.append(f"| {model} | {' | '.join(texts)} |")
    return "\n".join(lines)


def _difference(found: pd.DataFrame) -> str:
    if found.empty:
        return ""
    mean, low, high = seed_interval(found["value"])
    if len(found) == 1:
        low, high = found["low"].iloc[0], found["high"].iloc[0]
    elif len(found) < FEWEST:
        return f"{signed(mean)} ({_each(found['value'])})"
    return signed(mean) if np.isnan(low) else f"{signed(mean)} ({signed(low)} to {signed(high)})"


def relation(differences: pd.Series) -> int:
    """Return the sign of a difference where Student's interval over the seeds excludes 0, and 0 otherwise."""
    if len(differences) < FEWEST:
        return 0
    _, low, high = seed_interval(differences)
    return int(low > 0) - int(high < 0)


def relations(differences: Sequence[pd.Series]) -> list[int]:
    """Return the signs of several differences of which Student's test over the seeds, adjusted by Holm, excludes 0."""
    if any(len(one) < FEWEST for one in differences):
        return [0] * len(differences)
    p_values = np.array([seed_p_value(one) for one in differences])
    return [
        int(np.sign(one.mean())) * int(p < 0.05) for one, p in zip(differences, holm(p_values), strict=True)
    ]


def signed(share: float) -> str:
    """Write a share as signed percentage points, never as minus zero."""
    return f"{100 * share:+.1f}".replace("-0.0", "+0.0").replace("-", "−")


def rows_table(
    table: pd.DataFrame, models: Sequence[str], metrics: Mapping[str, str], *, setting: str
) -> str:
    """Return a Markdown table of what has run: a row a model, a column a metric of the test split in percent."""
    lines = [
        f"| model | seeds | {' | '.join(metrics.values())} | parameters |",
        f"|---|---|{'---|' * len(metrics)}---|",
    ]
    for model in models:
        cells = [mean_and_spread(values(table, model, metric, setting=setting)) for metric in metrics]
        counts = values(table, model, "param_count", "", setting=setting)
        if counts.empty:
            continue
        lines.append(f"| {model} | {len(counts)} | {' | '.join(cells)} | {counts.iloc[0]:,.0f} |")
    return "\n".join(lines)


def has_run(table: pd.DataFrame, model: str, base: str, *, setting: str) -> bool:
    """Return whether a model has been compared with a base."""
    return not rows(table, model, "accuracy", setting=setting, base=base).empty


def say_missing(table: pd.DataFrame, models: Sequence[str], *, setting: str) -> str:
    """Name the models that have not run yet; nothing where all have."""
    missing = [model for model in models if values(table, model, "seconds", "", setting=setting).empty]
    return wrapped(f"Not run yet: {'; '.join(missing)}.") if missing else ""


def definitions(columns: Mapping[str, str], further: Mapping[str, str] | None = None) -> str:
    """Return what the columns of the tables mean, from their metrics; further ones by their titles."""
    known = {
        title.removesuffix(", %"): METRICS[metric].definition
        for metric, title in columns.items()
        if metric in METRICS
    }
    lines = [wrapped(f"{title}: {text}", "- ") for title, text in {**known, **(further or {})}.items()]
    return "\n".join(["## Definitions", "", *lines])


def training(table: pd.DataFrame, name: str) -> str:
    """Return the paragraph on how long, where and in which number format the models of a study were trained."""
    trained = table[table["metric"] == "seconds"]
    lines = []
    for (machine, precision), part in trained.groupby(["machine", "precision"], sort=False):
        seeds, settings = sorted(set(part["seed"])), part["setting"].unique()
        of = f" of {', '.join(settings)}" if len(settings) < trained["setting"].nunique() else ""
        which = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
        lines.append(f"{len(part)} model{'s' * (len(part) != 1)}{of}, {which}, in {precision} on {machine}")
    formats = (
        " Rounding differs between the formats: where they differ, so do the seeds by that."
        if len(set(trained["precision"])) > 1
        else ""
    )
    said = (
        f"Made by `python benchmarks/reproduce/{name}.py --data FILE`; the numbers are in {name}.json. "
        f"{trained['value'].sum() / 3600:.1f} hours of training by the clock, beside other work, in the number format "
        f"that is faster on the machine: {'; '.join(lines) or 'no model yet'}.{formats}"
    )
    return wrapped(said)


def protocol(experiment: fairkd.Experiment) -> str:
    """Say in a sentence how the models of a setting are trained; KD's temperature and weights where it has them."""
    augmentation = "" if experiment.augmentation == "auto" else f", {experiment.augmentation}"
    stem = "" if experiment.stem == "auto" else f", stem={experiment.stem}"
    return (
        f"{experiment.optimizer}, learning rate {experiment.learning_rate:g} (cosine), weight decay "
        f"{experiment.weight_decay:g}, batches of {experiment.batch_size}{augmentation}{stem}; KD: "
        f"{experiment.distill_weight:g} of the softened labels at T = {experiment.temperature:g} and "
        f"{experiment.task_weight:g} of the cross-entropy."
    )


def wrapped(text: str, bullet: str = "") -> str:
    """Wrap a paragraph, or an item of a list."""
    return textwrap.fill(
        text, 118, initial_indent=bullet, subsequent_indent=" " * len(bullet), break_on_hyphens=False
    )
