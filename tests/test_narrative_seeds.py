"""Sentences about several seeds follow the numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fairkd.narrative_seeds import compare_seeds, describe_seeds
from fairkd.predictions import Predictions


def table(
    value: float, half: float, *, seeds: int = 5, parts: tuple[float, ...] = (0.6, 0.3, 0.1)
) -> pd.DataFrame:
    variances = dict(zip(("seed_variance", "sample_variance", "interaction_variance"), parts, strict=True))
    row = {
        "metric": "recall_gap",
        "class": "all",
        "group": "all",
        "value": value,
        "seeds": seeds,
        **variances,
    }
    other = row | {"group": "red", "value": 99.0}
    return pd.DataFrame([row, other]).assign(
        low=lambda t: t["value"] - half, high=lambda t: t["value"] + half
    )


@pytest.mark.parametrize(
    ("value", "half", "verdict"),
    [(0.05, 0.02, "**more** than"), (-0.05, 0.02, "**less** than"), (0.05, 0.06, "**not settled**")],
)
def test_the_verdict_is_the_interval_s(value, half, verdict):
    (sentence,) = describe_seeds(table(value, half), ["recall_gap"])
    assert verdict in sentence
    assert f"{value:+.3f}".replace("-", "−") in sentence
    assert "60% the seed's, 30% the test sample's, 10% that of both" in sentence


def test_one_seed_is_told_what_it_takes():
    rng, rows = np.random.default_rng(0), np.arange(40)
    pair = [
        Predictions.from_arrays(
            labels=rows % 2,
            groups=rows // 2 % 2,
            probabilities=rng.dirichlet([1, 1], 40),
            class_names=["a", "b"],
            group_names=["red", "green"],
            index=rows,
            unit=rows,
            split="test",
        )
        for _ in range(2)
    ]
    (sentence,) = compare_seeds(pair[:1], pair[1:], confidence=0.95)
    assert "more with `seeds`" in sentence
    assert "2 seeds" in compare_seeds(pair, pair[::-1], confidence=0.95)[0]


def test_few_seeds_are_called_few():
    assert describe_seeds(table(0.1, 0.01, seeds=2), ["recall_gap"])[-1].startswith("2 seeds say little")


def test_no_variance_has_no_shares_and_no_value_no_verdict():
    (sentence,) = describe_seeds(table(0.0, 0.0, parts=(0.0, 0.0, 0.0)), ["recall_gap"])
    assert "variance" not in sentence and "not settled" in sentence
    (sentence,) = describe_seeds(table(np.nan, 0.1), ["recall_gap"])
    assert "undefined" in sentence
