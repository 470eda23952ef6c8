"""Variance components in simulations whose components are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from analysis_cases import balanced, predictions

from fairkd.analysis import across_seeds
from fairkd.analysis.seeds import components
from fairkd.errors import DataError
from fairkd.predictions import Predictions

LABELS, GROUPS = balanced(classes=2, groups=2, cell=100)
N = len(LABELS)
#: Spread of the accuracy between seeds, and of the samples' difficulty.
SEED, DIFFICULTY = 0.03, 0.15
TRUTH = {
    "seed_variance": SEED**2,
    "sample_variance": DIFFICULTY**2 / N,
    "interaction_variance": (0.7 * 0.3 - SEED**2 - DIFFICULTY**2) / N,
}


def trained(rng: np.random.Generator, seeds: int) -> list[Predictions]:
    """Models with accuracy 0.7: a sample is right with 0.7 + its own ease + the seed's."""
    ease = rng.choice([-DIFFICULTY, DIFFICULTY], size=N)
    seed_effects = rng.choice([-SEED, SEED], size=seeds)
    chances = 0.7 + ease[None] + seed_effects[:, None]
    return [predictions(LABELS, GROUPS, right) for right in rng.random((seeds, N)) < chances]


def accuracy(table) -> dict:
    return table[(table["metric"] == "accuracy") & (table["level"] == "overall")].iloc[0].to_dict()


def test_components_and_coverage_of_a_known_simulation() -> None:
    rng = np.random.default_rng(0)
    rows = [accuracy(across_seeds(trained(rng, 6), replicates=100, bootstrap_seed=s)) for s in range(110)]
    for name, truth in TRUTH.items():
        found = [row[name] for row in rows]
        error = np.std(found) / np.sqrt(len(found))
        # Cutting at 0 lifts the mean a little.
        assert np.mean(found) == pytest.approx(truth, abs=3 * error + 0.15 * truth), name
    total = TRUTH["sample_variance"] + (TRUTH["seed_variance"] + TRUTH["interaction_variance"]) / 6
    assert np.mean([row["standard_error"] ** 2 for row in rows]) == pytest.approx(total, rel=0.15)
    assert np.var([row["value"] for row in rows]) == pytest.approx(total, rel=0.25)
    covered = np.mean([row["low"] <= 0.7 <= row["high"] for row in rows])
    assert 0.91 <= covered <= 0.99


def test_components_of_normal_effects() -> None:
    # 400 replicates of 60 statistics that share sizes: seed 4, sample 9, interaction 1.
    rng = np.random.default_rng(1)
    seeds, statistics = 40, 60
    sampled, crossed = (
        rng.normal(0, 3, size=(1, 400, statistics)),
        rng.normal(0, 1, size=(seeds, 400, statistics)),
    )
    values = rng.normal(0, 2, size=(seeds, statistics)) + rng.normal(0, 1, size=(seeds, statistics))
    found = [part.mean() for part in components(values, sampled + crossed)]
    assert found == pytest.approx([4, 9, 1], rel=0.1)


def test_differences_are_paired_by_seed() -> None:
    rng = np.random.default_rng(2)
    teachers, students = trained(rng, 4), trained(rng, 4)
    row = accuracy(across_seeds(students, teachers, replicates=100))
    hits = [[(one.predicted == LABELS).mean() for one in models] for models in (students, teachers)]
    assert row["value"] == pytest.approx(np.mean(hits[0]) - np.mean(hits[1]))
    assert row["seeds"] == 4
    same = across_seeds(teachers, teachers, replicates=50)
    np.testing.assert_allclose(
        same[["value", "low", "high", "seed_variance", "sample_variance"]], 0, atol=1e-15
    )


def test_models_without_seed_spread_have_none() -> None:
    one = trained(np.random.default_rng(3), 1)[0]
    row = accuracy(across_seeds([one, one, one], replicates=400))
    assert row["seed_variance"] == row["interaction_variance"] == pytest.approx(0, abs=1e-18)
    assert row["standard_error"] == pytest.approx(np.sqrt(0.7 * 0.3 / N), rel=0.2)


def test_wrong_numbers_of_models_are_named() -> None:
    models = trained(np.random.default_rng(4), 3)
    with pytest.raises(DataError, match="got 1 models and 0 baselines"):
        across_seeds(models[:1])
    with pytest.raises(DataError, match="got 3 models and 2 baselines"):
        across_seeds(models, models[:2])


def test_limits_end_where_the_metric_does_and_two_seeds_that_agree_are_not_taken_for_certain():
    rng = np.random.default_rng(0)
    labels, groups = np.arange(200) % 2, np.arange(200) // 2 % 2
    seeds = [
        pd.DataFrame(
            {
                "label": labels,
                "group": groups,
                "prediction": np.where(rng.random(200) < 0.06, 1 - labels, labels),
            }
        )
        for _ in range(2)
    ]
    table = across_seeds(seeds, replicates=200)
    assert table["low"].dropna().ge(0).all() and table["high"].dropna().le(1).all()
    least = np.sqrt(table["sample_variance"] + table["interaction_variance"] / 2)
    known = least.notna()
    assert (table["standard_error"] >= least - 1e-9)[known].all() and known.any()
