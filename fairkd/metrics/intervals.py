"""From resamples to intervals and p-values, of one model's values and of the difference between two models."""

from __future__ import annotations

import numpy as np

from fairkd.metrics.bootstrap import Resampled
from fairkd.metrics.confusion import Floats, mean_defined


def interval(values: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Return the percentile interval over the first axis, the replicates.

    Args:
        values: ``(replicates, ...)``; a replicate that is NaN (an undefined metric) is left out.
        confidence: nominal coverage, in (0, 1).

    Returns:
        The lower and upper limits ``(...)``; NaN where no replicate is defined.
    """
    tail = (1 - confidence) / 2
    limits = np.full((2, *values.shape[1:]), np.nan)
    missing = np.isnan(values)
    complete, partly = ~missing.any(axis=0), missing.any(axis=0) & ~missing.all(axis=0)
    for chosen, quantile in ((complete, np.quantile), (partly, np.nanquantile)):
        if chosen.any():
            limits[:, chosen] = quantile(values[:, chosen], [tail, 1 - tail], axis=0)
    return limits[0], limits[1]


def value_interval(value: Floats, model: Resampled, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Return the interval of one model's values.

    Of what sampling error does not bias, the percentile interval. A gap, an extreme or a calibration error is
    biased on the data, and its resamples once more on top: around the value, less any bias from 0 to the noise
    floor, lie the deviations of the resamples from their mean, or those of the group-blind resamples where these
    are wider (a cell of a few samples hardly varies). Simulated with two and with five groups of 40 to 300 samples
    a cell, it contains the truth in 93 to 100 % of the trials, and in 71 to 100 % with one group of one to five; the
    percentile interval does in none of some. Every metric lies in [0, 1], and so the limits are cut there.

    Args:
        value: on the data ``(...)``.
        model: the model's resamples.
        confidence: nominal coverage, in (0, 1).

    Returns:
        The lower and upper limits ``(...)``; NaN where undefined.
    """
    low, high = _deviations(value, model, _nothing_like(model), confidence)
    return (
        np.clip(value - np.maximum(model.floor, 0) + low, 0, 1),
        np.clip(value - np.minimum(model.floor, 0) + high, 0, 1),
    )


def paired_interval(
    difference: Floats, model: Resampled, baseline: Resampled, confidence: float = 0.95
) -> tuple[Floats, Floats]:
    """Return the interval of a difference between two models that were resampled together.

    Around the difference, less any bias from 0 to the difference of the noise floors, lie the deviations that
    :func:`value_interval` names; without noise floors this is the percentile interval. Simulated for the mean
    recall gap (ten classes, 18 to 1,000 samples a cell), it contains the true difference in 94 to 100 % of the
    trials where both gaps are clear or both are 0, and excludes 0 in at most 5 % where the true difference is 0.
    Where one gap is 0 and the other large, it errs towards 0 and contains the truth in as few as 65 %. Every
    metric lies in [0, 1], and so the limits are cut at -1 and 1.

    Args:
        difference: the model's value minus the baseline's ``(...)``.
        model: the model's resamples.
        baseline: the baseline's resamples.
        confidence: nominal coverage, in (0, 1).

    Returns:
        The lower and upper limits ``(...)``; NaN where undefined.
    """
    deviations = _deviations(difference, model, baseline, confidence)
    bias = model.floor - baseline.floor
    low = difference - np.maximum(bias, 0) + deviations[0]
    high = difference - np.minimum(bias, 0) + deviations[1]
    return np.clip(low, -1, 1), np.clip(high, -1, 1)


def paired_p_value(difference: Floats, model: Resampled, baseline: Resampled) -> Floats:
    """Return the smallest significance level at which :func:`paired_interval` excludes 0.

    ``2 min_s (1 + #{r: s δ_r >= |d_s|}) / (R + 1)`` over both sides s, with δ the deviations of the R resampled
    differences from their mean and ``d_s`` the difference less the bias that favours that side, if it still has
    that sign; or the same with the group-blind resamples' deviations, if that is larger. The one that is added keeps
    it from 0 (Davison & Hinkley 1997, Bootstrap Methods and their Application, section 4.4); so it is at least
    2 / (R + 1).

    Args:
        difference: as :func:`paired_interval`.
        model: as there.
        baseline: as there.

    Returns:
        Values in (0, 1] ``(...)``; NaN where undefined.
    """
    bias = model.floor - baseline.floor
    excess = difference - np.maximum(bias, 0), difference - np.minimum(bias, 0)
    # Both intervals together exclude 0 on a side where each does.
    tails = [_tails(each, excess) for each in _each_deviation(difference, model, baseline)]
    p_value = 2 * np.minimum(*np.fmax.reduce(tails))
    return np.where(np.isnan(difference), np.nan, np.minimum(p_value, 1.0))


def _tails(deviations: Floats, excess: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Return the share of deviations that reach from an excess above 0 to it, and from one below; NaN without any."""
    defined = ~np.isnan(deviations)
    above = (defined & (deviations <= -excess[0])).sum(axis=0)
    below = (defined & (deviations >= -excess[1])).sum(axis=0)
    whole = np.where(defined.any(axis=0), 1.0 + defined.sum(axis=0), np.nan)
    return (1 + above) / whole, (1 + below) / whole


def _deviations(
    value: Floats, model: Resampled, baseline: Resampled, confidence: float
) -> tuple[Floats, Floats]:
    """Return how far below and above its centre the values may lie."""
    limits = [interval(each, confidence) for each in _each_deviation(value, model, baseline)]
    return np.fmin.reduce([low for low, _ in limits]), np.fmax.reduce([high for _, high in limits])


def _each_deviation(value: Floats, model: Resampled, baseline: Resampled) -> list[Floats]:
    """Return the deviations of the resamples from their centre, and those of the group-blind resamples from theirs.

    Without a noise floor a statistic is linear in the counts: its resamples' mean is its value, and no group-blind
    centre is another. The random mean instead would put limits at an exact 0, which a few samples often have, to one
    side of it by chance.
    """
    linear = (np.abs(model.floor) < 1e-12) & (np.abs(baseline.floor) < 1e-12)
    resampled, blind = model.values - baseline.values, model.blind - baseline.blind
    centred = resampled - np.where(linear, value, mean_defined(resampled, axis=0))
    return [centred, np.where(linear, np.nan, blind - mean_defined(blind, axis=0))]


def _nothing_like(model: Resampled) -> Resampled:
    """Return resamples that are 0 throughout: the difference to them is the model itself."""
    zeros = np.zeros_like(model.values)
    return Resampled(zeros, np.zeros_like(model.floor), zeros)
