"""The epoch that is kept, against a rule that looks at all epochs at once."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from fairkd.training import Score, Selector

# Few distinct values, so that ties, which decide most of the rules' words, are common.
SHARES = st.sampled_from([0.0, 0.25, 0.5, 0.505, 0.51, 0.52, 0.55, 1.0])
EPOCHS = st.lists(st.tuples(SHARES, SHARES | st.just(math.nan), st.booleans()), min_size=1, max_size=12)


def scores_of(epochs: list[tuple[float, float, bool]]) -> list[Score]:
    return [Score(number + 1, *epoch) for number, epoch in enumerate(epochs)]


def choose(rule: str, scores: list[Score], tolerance: float = 0.01) -> Score:
    selector = Selector(rule, tolerance)
    for score in scores:
        selector.offer(score, {"epoch": score.epoch})
    score, state = selector.chosen()
    assert state == {"epoch": score.epoch}, "the weights are those of the chosen epoch"
    return score


def expected(rule: str, scores: list[Score], tolerance: float) -> Score:
    """The rule in words: of the epochs that count, best accuracy, smallest gap, first."""
    pool = [score for score in scores if not score.collapsed] or scores
    if rule == "last":
        return pool[-1]
    best = max(score.accuracy for score in pool)
    margin = tolerance if rule == "fairness" else 0
    pool = [score for score in pool if score.accuracy >= best - margin]
    gaps = [math.inf if math.isnan(score.recall_gap) else score.recall_gap for score in pool]
    pool = [score for score, gap in zip(pool, gaps, strict=True) if gap == min(gaps)]
    accuracy = max(score.accuracy for score in pool)
    return next(score for score in pool if score.accuracy == accuracy)


@settings(deadline=None)
@given(
    EPOCHS, st.sampled_from(["accuracy", "fairness", "last"]), st.sampled_from([0.0, 0.01, 0.05, 0.3, 1.0])
)
def test_the_chosen_epoch_is_that_of_the_rule(epochs, rule, tolerance):
    scores = scores_of(epochs)
    assert choose(rule, scores, tolerance) == expected(rule, scores, tolerance)


@settings(deadline=None)
@given(EPOCHS, st.sampled_from(["accuracy", "fairness", "last"]))
def test_a_collapsed_epoch_is_chosen_only_when_all_are(epochs, rule):
    scores = scores_of(epochs)
    assert choose(rule, scores).collapsed == all(score.collapsed for score in scores)


@settings(deadline=None)
@given(EPOCHS)
def test_weights_are_kept_only_for_epochs_that_may_still_be_chosen(epochs):
    selector = Selector("fairness", tolerance=0.05)
    for score in scores_of(epochs):
        selector.offer(score, {})
        kept = [candidate for candidate, _ in selector.candidates]
        # Between two of them, the fairer one must be the less accurate one.
        kept.sort(key=lambda s: s.accuracy)
        gaps = [math.inf if math.isnan(s.recall_gap) else s.recall_gap for s in kept]
        assert gaps == sorted(set(gaps))
        assert max(s.accuracy for s in kept) - min(s.accuracy for s in kept) <= 0.05 + 1e-9


def test_fairness_gives_up_accuracy_within_the_tolerance_and_no_more():
    scores = scores_of([(0.90, 0.20, False), (0.89, 0.05, False), (0.85, 0.00, False)])
    assert choose("accuracy", scores).epoch == 1
    assert choose("fairness", scores, tolerance=0.02).epoch == 2
    assert choose("fairness", scores, tolerance=0.2).epoch == 3
    assert choose("last", scores).epoch == 3


def test_a_gap_that_is_not_defined_ranks_behind_any_gap():
    scores = scores_of([(0.9, math.nan, False), (0.9, 1.0, False)])
    assert choose("accuracy", scores).epoch == choose("fairness", scores).epoch == 2
    assert choose("fairness", scores[:1]).epoch == 1
