"""From predictions to tidy rows with intervals, and to paired differences between models.

Intervals come from :mod:`fairkd.metrics.bootstrap`: units are resampled within class x group cells, with the
same resamples for both models of a comparison. A model's interval does not depend on which other models
there are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fairkd.errors import ParameterError
from fairkd.frames import from_frames
from fairkd.metrics import METRICS, measurement
from fairkd.metrics.bootstrap import Resampled
from fairkd.metrics.encoding import warn_empty_cells
from fairkd.metrics.intervals import paired_interval, value_interval
from fairkd.metrics.measurement import BootstrapOptions
from fairkd.metrics.proportions import wilson_interval
from fairkd.predictions import Predictions, align
from fairkd.shown import decimals

#: With fewer samples than this in a cell, :func:`findings` says so.
FEW_SAMPLES = 10

_ROW = ["metric", "class", "group", "value", "low", "high"]
_EVALUATION_COLUMNS = ["run", "seed", "model", *_ROW, "noise_floor", "n", "definition"]
_COMPARISON_COLUMNS = [
    *("model", "baseline", *_ROW, "model_value", "baseline_value"),
    *("n", "better", "supported", "definition", "confidence"),
]


def evaluate(
    predictions: Predictions | pd.DataFrame,
    *,
    model: str = "model",
    run: str = "",
    seed: int | None = None,
    replicates: int = 2000,
    confidence: float = 0.95,
    bootstrap_seed: int = 0,
) -> pd.DataFrame:
    """Compute every metric of one model, with intervals.

    Args:
        predictions: the model's predictions on one split; or a table of any tool's, with the columns that
            :mod:`fairkd.frames` describes: ``label``, ``group``, ``prediction`` or ``prob_<class>``.
        model: the model's name in the table.
        run: the run's name in the table.
        seed: the training seed, for the table.
        replicates: bootstrap resamples, at least 1; the tails of a 95 % interval want 1000 or more. They keep how many
            samples every class × group cell has: intervals are of other samples in the same proportions.
        confidence: nominal coverage of the intervals, in (0, 1).
        bootstrap_seed: seed of the resamples.

    Returns:
        Tidy rows ``run, seed, model, metric, class, group, value, low, high, noise_floor, n, definition``: every
        metric in ``METRICS`` with class and group ``"all"``, then ``accuracy`` by group, ``recall_gap`` by class
        and ``recall`` by class and group. ``n`` counts samples, for what compares groups only those that
        have one; for a class's recall gap, those of its smallest group. ``noise_floor`` is what sampling alone would
        give a model of the same accuracy whose errors favour no group, 0 for what sampling error does not bias.
        Undefined values are NaN. The interval is the bootstrap's, which allows for a bias of up to the noise floor
        (:func:`fairkd.metrics.intervals.value_interval`); a proportion of exactly 0 or 1, which no resample
        changes, has Wilson's instead (Wilson 1927), with the number of units as its trials. The order of the rows of
        ``predictions`` has no effect.

    Raises:
        DataError: no samples, or a malformed table.
        ParameterError: ``replicates`` or ``confidence`` out of range.

    Warns:
        FairkdWarning: naming the empty class x group cells.
    """
    options = BootstrapOptions(replicates, confidence, bootstrap_seed)
    predictions = align(from_frames({model: predictions}))[model]
    _warn(predictions)
    table = _evaluation(predictions, model, options)
    seeds = pd.array([seed] * len(table), dtype="Int64")
    return table.assign(run=run, seed=seeds)[_EVALUATION_COLUMNS]


def compare(
    models: Mapping[str, Predictions | pd.DataFrame],
    *,
    baseline: str | None = None,
    replicates: int = 2000,
    confidence: float = 0.95,
    bootstrap_seed: int = 0,
) -> pd.DataFrame:
    """Compute paired differences between models on the same samples, with intervals.

    With the teacher as the baseline, the difference of a disparity (such as ``recall_gap``) is the *bias
    inflation* of the student.

    Args:
        models: predictions, or tables as :func:`evaluate` takes them, by name; all on the same samples, in
            any order.
        baseline: the model that the others are compared with; default: the first.
        replicates: as :func:`evaluate`.
        confidence: as :func:`evaluate`.
        bootstrap_seed: as :func:`evaluate`.

    Returns:
        Tidy rows ``model, baseline, metric, class, group, value, low, high, model_value, baseline_value, n,
        better, supported, definition, confidence``: for each model but the baseline every metric in
        ``METRICS``, then ``recall_gap`` by class (with ``n`` the samples of its smallest group). ``value``
        is the model's minus the baseline's, ``better`` says which direction of the metric is better, and
        ``supported`` whether the interval excludes 0; where no resample differs, so that it has no width, the
        randomisation test of :func:`fairkd.analysis.inflation` decides.

    Raises:
        DataError: a malformed table, or models that do not cover the same samples; says what differs.
        ParameterError: fewer than two models, an unknown baseline, or an option out of range.

    Warns:
        FairkdWarning: naming the empty class x group cells.
    """
    options = BootstrapOptions(replicates, confidence, bootstrap_seed)
    baseline = choose_baseline(models, baseline, "compare")
    aligned = align(from_frames(models))
    _warn(aligned[baseline])
    pairs = [(name, baseline) for name in models if name != baseline]
    return pd.concat([_comparison(aligned, *pair, options) for pair in pairs], ignore_index=True)


def choose_baseline(models: Collection[str], baseline: str | None, place: str) -> str:
    """Return the model that others are compared with: ``baseline``, by default the first.

    Raises:
        ParameterError: fewer than two models, or a baseline that is not among them.
    """
    chosen = next(iter(models), "") if baseline is None else baseline
    if chosen not in models or len(models) < 2:
        raise ParameterError(
            f"{place} needs at least two models and a baseline among them; got the baseline {chosen!r} "
            f"and the models {', '.join(models) or 'none'}"
        )
    return chosen


def summarize(
    models: Mapping[str, Predictions],
    comparisons: Sequence[tuple[str, str]] = (),
    *,
    replicates: int = 2000,
    confidence: float = 0.95,
    bootstrap_seed: int = 0,
) -> dict[str, Any]:
    """Compute what ``metrics.json`` holds of models and comparisons.

    Args:
        models: predictions by name; all on the same samples, in any order.
        comparisons: pairs ``(model, baseline)``.
        replicates: as :func:`evaluate`.
        confidence: as :func:`evaluate`.
        bootstrap_seed: as :func:`evaluate`.

    Returns:
        ``{"models": {name: {metric: {"value", "low", "high", "definition"}}}, "comparisons": [{"model",
            "baseline",
        "metric", "difference", "low", "high", "supported"}]}`` with plain Python values; undefined ones are
        NaN.

    Raises:
        DataError: the models do not cover the same samples; says what differs.
        ParameterError: a comparison names an unknown model, or an option is out of range.

    Warns:
        FairkdWarning: naming the empty class x group cells.
    """
    options = BootstrapOptions(replicates, confidence, bootstrap_seed)
    unknown = [name for pair in comparisons for name in pair if name not in models]
    if unknown:
        raise ParameterError(f"comparisons name {unknown[0]!r}; the models are {', '.join(models)}")
    aligned = align(models)
    if aligned:
        _warn(next(iter(aligned.values())))
    tables = {name: _overall(_evaluation(one, name, options)) for name, one in aligned.items()}
    differences = [_overall(_comparison(aligned, *pair, options)) for pair in comparisons]
    fields = ["model", "baseline", "metric", "difference", "low", "high", "supported"]
    return {
        "models": {
            name: table.set_index("metric")[["value", "low", "high", "definition"]].to_dict("index")
            for name, table in tables.items()
        },
        "comparisons": [
            row
            for table in differences
            for row in table.rename(columns={"value": "difference"})[fields].to_dict("records")
        ],
    }


def findings(
    comparison: pd.DataFrame,
    metrics: str | Sequence[str] = ("accuracy", "worst_group_accuracy", "recall_gap"),
) -> list[str]:
    """Put a comparison into neutral sentences, computed from its numbers.

    Args:
        comparison: what :func:`compare` returned.
        metrics: names of metrics, in the order of the sentences.

    Returns:
        One sentence a model and metric, and one each that names the classes with too few samples and counts
        the samples without a group, if any. Names come from the data and are not escaped.

    Raises:
        ParameterError: a metric that the table does not hold, or no comparison.
    """
    if not isinstance(comparison, pd.DataFrame) or "baseline" not in comparison:
        raise ParameterError("this is no comparison of models; pass what fairkd.compare returns")
    metrics = (metrics,) if isinstance(metrics, str) else metrics
    overall = _overall(comparison)
    sentences = []
    for metric in metrics:
        rows = overall[overall["metric"] == metric]
        if rows.empty:
            known = ", ".join(overall["metric"].unique())
            raise ParameterError(f"no rows for the metric {metric!r}; the table has {known}")
        sentences += [_sentence(row) for row in rows.to_dict("records")]
    by_class = comparison[(comparison["metric"] == "recall_gap") & (comparison["class"] != "all")]
    few = by_class[by_class["n"] < FEW_SAMPLES].drop_duplicates("class")
    if len(few):
        named = ", ".join(f"{name} ({n})" for name, n in zip(few["class"], few["n"], strict=True))
        sentences.append(
            f"Too few samples, fewer than {FEW_SAMPLES} in the smallest group, to compare groups within "
            f"these classes: {named}."
        )
    return [*sentences, *missing_groups(overall)]


def missing_groups(table: pd.DataFrame) -> list[str]:
    """Say how many samples have no group, if any, from what :func:`compare` or :func:`evaluate` returned."""
    sizes = _overall(table).drop_duplicates("metric").set_index("metric")["n"]
    if not {"accuracy", "recall_gap"} <= set(sizes.index):
        return []
    counted, missing = int(sizes["accuracy"]), int(sizes["accuracy"] - sizes["recall_gap"])
    if not missing:
        return []
    return [f"{missing:,} of {counted:,} samples have no group: what compares groups leaves them out."]


def few_samples(samples: Sequence[int]) -> list[str]:
    """Say how many class x group cells hold too few samples, if any do, from the samples in each."""
    few = sum(n < FEW_SAMPLES for n in samples)
    if not few:
        return []
    return [
        f"{few} of {len(samples)} class x group cells hold fewer than {FEW_SAMPLES} samples: too few to say anything "
        "of them."
    ]


def _evaluation(predictions: Predictions, model: str, options: BootstrapOptions) -> pd.DataFrame:
    values = measurement.values(predictions)
    (resampled,) = measurement.resample([predictions], options.replicates, options.seed)
    low, high = value_interval(values, resampled, options.confidence)
    # For n of n and for 0 of n successes, the only proportions whose limits the bootstrap cannot give.
    trials = measurement.trials(predictions)
    wilson_low, wilson_high = wilson_interval(values * trials, trials, options.confidence)
    is_proportion = ~np.isnan(trials)
    return measurement.layout(predictions).assign(
        model=model,
        value=values,
        low=np.where(is_proportion & (values == 1), wilson_low, low),
        high=np.where(is_proportion & (values == 0), wilson_high, high),
        noise_floor=resampled.floor,
    )


def paired_table(
    models: Mapping[str, Predictions], model: str, baseline: str, options: BootstrapOptions
) -> tuple[pd.DataFrame, tuple[Resampled, Resampled]]:
    """Return a row a metric, group, class and cell with both values, difference and interval, and the resamples."""
    pair = models[model], models[baseline]
    value, baseline_value = (measurement.values(one) for one in pair)
    resampled, baseline_resampled = measurement.resample(pair, options.replicates, options.seed)
    difference = value - baseline_value
    low, high = paired_interval(difference, resampled, baseline_resampled, options.confidence)
    table = measurement.layout(pair[1]).assign(
        model=model,
        baseline=baseline,
        value=difference,
        low=low,
        high=high,
        model_value=value,
        baseline_value=baseline_value,
        confidence=options.confidence,
    )
    return table, (resampled, baseline_resampled)


def _comparison(
    models: Mapping[str, Predictions], model: str, baseline: str, options: BootstrapOptions
) -> pd.DataFrame:
    table, _ = paired_table(models, model, baseline, options)
    supported = ((table["low"] > 0) | (table["high"] < 0)).to_numpy()
    # Where no resample differs, as where a cell is all right or all wrong, the width of 0 is no certainty.
    stuck = supported & (table["low"] == table["high"]).to_numpy()
    if stuck.any():
        swapped = measurement.swap_tests((models[model], models[baseline]), options.replicates, options.seed)
        supported = np.where(stuck, swapped <= 1 - options.confidence, supported)
    table = table.assign(supported=supported)
    return table[table["level"].isin(["overall", "class"])][_COMPARISON_COLUMNS]


def _warn(predictions: Predictions) -> None:
    samples = measurement.count(predictions).samples
    warn_empty_cells(samples, predictions.class_names, predictions.group_names, stacklevel=4)


def _overall(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["class"] == "all") & (table["group"] == "all")]


def _sentence(row: Mapping[str, Any]) -> str:
    title, pair = METRICS[row["metric"]].title, f"{row['model']} and {row['baseline']}"
    if np.isnan(row["value"]):
        return f"The {title} of {pair} cannot be compared: it is undefined on these samples."
    if row["value"] == row["low"] == row["high"] == 0:
        return f"The {title} of {row['model']} is the same as that of {row['baseline']}."
    low, high = (decimals(row[limit]) for limit in ("low", "high"))
    relation = f"{abs(row['value']):.3f} {'above' if row['value'] > 0 else 'below'} that of {row['baseline']}"
    if abs(row["value"]) < 0.0005:
        relation = f"that of {row['baseline']} to three decimals"
    if row["low"] == row["high"]:
        verdict = f"no resample differs; by a randomisation test {'' if row['supported'] else 'not '}settled"
    else:
        verdict = "the interval excludes 0" if row["supported"] else "the data do not settle the sign"
    percent = f"{100 * row['confidence']:g} %"
    return f"The {title} of {row['model']} is {relation} ({percent} interval {low} to {high}): {verdict}."
