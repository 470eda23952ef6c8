"""What one trained model scores: on the test split with intervals, against a baseline, and on validation data."""

from __future__ import annotations

from typing import Any

import numpy as np

from fairkd.comparison.summary import METRICS
from fairkd.config import Experiment
from fairkd.evaluation import compare, evaluate
from fairkd.recipes import TrainedModel
from fairkd.results import bootstrap_options
from fairkd.tables import overall


def score_model(
    experiment: Experiment, model: TrainedModel, baseline: TrainedModel | None
) -> list[dict[str, Any]]:
    """Score a model.

    Args:
        experiment: says how the intervals are computed.
        model: what is scored.
        baseline: plain KD of the same data and seed; ``None``: no differences.

    Returns:
        A row a metric of :data:`~fairkd.comparison.summary.METRICS`: ``metric, value, low, high, difference,
        difference_low, difference_high, supported, validation, collapsed, param_count, seconds``, as
        :func:`~fairkd.comparison.compare_methods` explains them.
    """
    options = bootstrap_options(experiment)
    scores = overall(evaluate(model.predictions, **options), METRICS).set_index("metric")
    validation = overall(evaluate(model.validation, replicates=1), METRICS).set_index("metric")
    differences = None
    if baseline is not None:
        pair = {"model": model.predictions, "baseline": baseline.predictions}
        table = compare(pair, baseline="baseline", **options)
        differences = overall(table, METRICS).set_index("metric")
    rows = []
    for metric in METRICS:
        against = None if differences is None else differences.loc[metric]
        rows.append(
            {
                "metric": metric,
                **{key: float(scores.loc[metric, key]) for key in ("value", "low", "high")},
                "difference": np.nan if against is None else float(against["value"]),
                "difference_low": np.nan if against is None else float(against["low"]),
                "difference_high": np.nan if against is None else float(against["high"]),
                "supported": against is not None and bool(against["supported"]),
                "validation": float(validation.loc[metric, "value"]),
                "collapsed": model.collapsed,
                "param_count": int(model.model.param_count),
                "seconds": float(model.history["seconds"].sum()),
            }
        )
    return rows
