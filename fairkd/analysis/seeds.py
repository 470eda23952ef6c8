"""Differences over several training seeds: how much is the seed's doing, and how much the test sample's.

A value that is measured with S trained pairs on one test sample varies for three reasons: the seed of the training
(A), the test sample, which all seeds share (B), and their interaction (AB: which samples this very network gets
wrong). By the law of total variance, for independent seeds and samples,

    Var(value of one seed)  = A + B + AB
    Var(mean over S seeds)  = B + (A + AB) / S

The spread of the values over the seeds estimates A + AB. Resampling the test units, the same for all seeds, gives the
values' mean variance B + AB and the mean's variance B + AB / S, and so both B and AB.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fairkd.errors import DataError
from fairkd.frames import AnyPredictions, from_frames
from fairkd.metrics import measurement
from fairkd.metrics.confusion import Floats
from fairkd.metrics.measurement import BootstrapOptions
from fairkd.predictions import Predictions, align


def across_seeds(
    models: Sequence[AnyPredictions],
    baselines: Sequence[AnyPredictions] | None = None,
    *,
    replicates: int = 2000,
    confidence: float = 0.95,
    bootstrap_seed: int = 0,
) -> pd.DataFrame:
    """Split the variance of each metric, or of its paired difference, into seed, test sample and interaction.

    The interval of the mean is for new seeds and new test samples: ``mean ± t √(B + (A + AB) / S)``, t with
    Satterthwaite's degrees of freedom (Satterthwaite 1946, doi 10.2307/3002019). For what sampling error biases, such
    as gaps, the interval allows for any bias between 0 and the mean noise floor, of a difference between 0 and the
    difference of both, as :mod:`fairkd.metrics.intervals`, and ends where the metric does. Components are estimates:
    with few seeds A is a rough one.

    Args:
        models: predictions of one method by seed, at least two, all on the same samples.
        baselines: the predictions that each is compared with, seed by seed (its teacher); ``None``: the metric
            itself instead of a difference.
        replicates: resamples of the test units.
        confidence: nominal coverage, (0, 1).
        bootstrap_seed: seed of the resamples.

    Returns:
        Tidy rows ``level, metric, class, group, value, low, high, seeds, seed_variance, sample_variance,
        interaction_variance, standard_error, n, definition``; ``value`` is the mean over the seeds. Variances are those
        of one seed's value: A, B and AB, none below 0.

    Raises:
        DataError: fewer than two seeds, other numbers of models and baselines, or other samples in one than in another.
        ParameterError: an option out of range.
    """
    options = BootstrapOptions(replicates, confidence, bootstrap_seed)
    everything = _aligned(models, baselines)
    values = np.stack([measurement.values(one) for one in everything])
    resampled = measurement.resample(everything, options.replicates, options.seed)
    draws = np.stack([one.values for one in resampled])
    floors = np.stack([one.floor for one in resampled])
    if baselines is not None:
        half = len(models)
        values, draws = values[:half] - values[half:], draws[:half] - draws[half:]
        floors = floors[:half] - floors[half:]
    bias = floors.mean(axis=0)
    seed, sample, both = components(values, draws)
    # By chance few seeds may lie closer together than the test samples' part of their spread alone would have them.
    mean, between = values.mean(axis=0), np.maximum(values.var(axis=0, ddof=1), both) / len(values)
    error = np.sqrt(sample + between)
    reach = _quantile(sample, between, len(values), options.confidence) * error
    # Metrics lie in [0, 1].
    smallest = 0 if baselines is None else -1
    columns = {
        "value": mean,
        "low": np.clip(mean - np.maximum(bias, 0) - reach, smallest, 1),
        "high": np.clip(mean - np.minimum(bias, 0) + reach, smallest, 1),
        "seeds": len(values),
        "seed_variance": seed,
        "sample_variance": sample,
        "interaction_variance": both,
        "standard_error": error,
    }
    table = measurement.layout(everything[0]).assign(**columns)
    return table[["level", "metric", "class", "group", *columns, "n", "definition"]]


def components(values: Floats, draws: Floats) -> tuple[Floats, Floats, Floats]:
    """Estimate the variances of seed, test sample and interaction.

    Args:
        values: of each seed on the test sample ``(seeds, ...)``, at least two.
        draws: the same on resamples of the test sample, the same for all seeds ``(seeds, replicates, ...)``.

    Returns:
        Three arrays ``(...)``, none below 0: an estimate that is becomes 0, and what it takes with it.
    """
    seeds = len(values)
    each = draws.var(axis=1, ddof=1).mean(axis=0)
    of_mean = draws.mean(axis=0).var(axis=0, ddof=1)
    interaction = np.maximum((each - of_mean) * seeds / (seeds - 1), 0)
    sample = np.maximum(of_mean - interaction / seeds, 0)
    seed = np.maximum(values.var(axis=0, ddof=1) - interaction, 0)
    return seed, sample, interaction


def _quantile(sample: Floats, between: Floats, seeds: int, confidence: float) -> Floats:
    """Return the quantile of t with Satterthwaite's degrees of freedom; only the seeds' spread has few."""
    from scipy.stats import t

    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (seeds - 1) * ((sample + between) / between) ** 2
    # No spread: nothing is estimated from few seeds.
    freedom = np.where(between > 0, freedom, np.inf)
    return np.asarray(t.ppf(0.5 + confidence / 2, freedom))


def _aligned(
    models: Sequence[AnyPredictions], baselines: Sequence[AnyPredictions] | None
) -> list[Predictions]:
    others = [] if baselines is None else list(baselines)
    if len(models) < 2 or (baselines is not None and len(others) != len(models)):
        raise DataError(
            f"across_seeds got {len(models)} models and {len(others)} baselines; needed: at least two models, and a "
            "baseline for each or none"
        )
    names = [f"model {seed}" for seed in range(len(models))] + [
        f"baseline {seed}" for seed in range(len(others))
    ]
    return list(align(from_frames(dict(zip(names, [*models, *others], strict=True)))).values())
