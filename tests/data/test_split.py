"""Stratified splits: sizes against the method of largest remainders, written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairkd.data.split import part_sizes, stratified_split

SHARES, ORDER = (0.7, 0.1, 0.2), (0, 2, 1)


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, [1, 0, 0]),
        (2, [1, 0, 1]),
        (3, [1, 1, 1]),
        (5, [3, 1, 1]),
        (10, [7, 1, 2]),
        (1000, [700, 100, 200]),
    ],
)
def test_sizes(n, expected):
    assert part_sizes(n, SHARES, ORDER).tolist() == expected


@given(n=st.integers(10, 500))
def test_sizes_are_largest_remainders_where_no_minimum_binds(n):
    exact = [round(share * n, 9) for share in SHARES]
    sizes = [int(value) for value in exact]
    # Ties go to the earlier part: sorted() is stable.
    remainders = sorted(range(3), key=lambda part: -round(exact[part] - sizes[part], 9))
    for part in remainders[: n - sum(sizes)]:
        sizes[part] += 1
    assert part_sizes(n, SHARES, ORDER).tolist() == sizes


@given(n=st.integers(0, 60), shares=st.sampled_from([(0.7, 0.1, 0.2), (0.5, 0.15, 0.35), (0.98, 0.01, 0.01)]))
def test_nothing_is_lost_and_no_part_is_empty_from_three(n, shares):
    sizes = part_sizes(n, shares, ORDER)
    assert sizes.sum() == n
    assert (sizes > 0).sum() == min(n, 3)


def test_every_stratum_is_divided_alike_and_reproducibly():
    strata = np.random.default_rng(0).permutation(np.repeat([3, 5, 9], [100, 10, 40]))
    first, again, other = (
        stratified_split(strata, SHARES, np.random.default_rng(seed), fill_order=ORDER) for seed in (0, 0, 1)
    )
    for stratum, expected in ((3, [70, 10, 20]), (5, [7, 1, 2]), (9, [28, 4, 8])):
        assert np.bincount(first[strata == stratum], minlength=3).tolist() == expected
    assert (first == again).all()
    assert (first != other).any()
