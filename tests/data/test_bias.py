"""Injected bias: exact shares, and errors that name class and group."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairkd.data.bias import TINTS, assign_groups, majority_group, subsample_to_skew, tint
from fairkd.errors import DataError, ParameterError


def contingency(labels, groups, num_classes, num_groups):
    return np.array(
        [[np.sum((labels == c) & (groups == g)) for g in range(num_groups)] for c in range(num_classes)]
    )


@pytest.mark.parametrize(
    ("classes", "groups", "expected"),
    [(10, 2, [0] * 5 + [1] * 5), (5, 2, [0, 0, 0, 1, 1]), (2, 5, [0, 2]), (3, 3, [0, 1, 2])],
)
def test_first_classes_have_the_first_group(classes, groups, expected):
    assert majority_group(classes, groups).tolist() == expected


@pytest.mark.parametrize("skew", [0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("num_groups", [2, 3])
def test_assigned_share_is_exact_in_every_class(skew, num_groups):
    labels = np.random.default_rng(0).integers(0, 6, size=1000)
    groups = assign_groups(labels, skew, 6, num_groups, np.random.default_rng(1))
    table = contingency(labels, groups, 6, num_groups)
    for c, row in enumerate(table):
        majority = c * num_groups // 6
        assert row[majority] == round(skew * row.sum())
        others = np.delete(row, majority)
        assert others.max() - others.min() <= 1


def test_assignment_is_random_but_a_function_of_the_generator():
    labels = np.zeros(100, dtype=int)
    first, again, other = (assign_groups(labels, 0.5, 1, 2, np.random.default_rng(s)) for s in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("skew", [0.3, 1.01, float("nan")])
def test_skew_outside_its_range(skew):
    with pytest.raises(ParameterError, match=r"with 2 groups it lies in \[0\.5, 1\]"):
        assign_groups(np.zeros(3, dtype=int), skew, 1, 2, np.random.default_rng(0))


def subsample(labels, groups, skew, seed=0):
    names = {"class_names": ("cat", "dog"), "group_names": ("indoors", "outdoors")}
    return subsample_to_skew(labels, groups, skew, **names, rng=np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("cell_sizes", "skew", "expected"),
    [
        # class 0: 90 + 10 already at 0.9; class 1: 30 + 70, kept 70 in the majority and 70 / 9 = 7.8 others.
        ([[90, 10], [30, 70]], 0.9, [[90, 10], [8, 70]]),
        # too skewed: the majority is thinned to 10 * 0.8 / 0.2 = 40.
        ([[90, 10], [10, 90]], 0.8, [[40, 10], [10, 40]]),
        ([[90, 10], [10, 90]], 1.0, [[90, 0], [0, 90]]),
        ([[90, 10], [10, 20]], 0.5, [[10, 10], [10, 10]]),
        ([[7, 0], [0, 9]], 1.0, [[7, 0], [0, 9]]),
    ],
)
def test_subsample_keeps_as_many_as_the_share_allows(cell_sizes, skew, expected):
    cells = [(c, g) for c in range(2) for g in range(2) for _ in range(cell_sizes[c][g])]
    labels, groups = np.array(cells).T
    kept = subsample(labels, groups, skew)
    assert contingency(labels[kept], groups[kept], 2, 2).tolist() == expected
    assert (np.diff(kept) > 0).all()


@given(major=st.integers(1, 60), minor=st.integers(1, 60), skew=st.sampled_from([0.5, 0.6, 0.75, 0.9, 0.95]))
def test_one_side_is_kept_whole_and_the_other_is_nearest_to_the_share(major, minor, skew):
    groups = np.repeat([0, 1], [major, minor])
    names = {"class_names": ("cat",), "group_names": ("a", "b")}
    rng = np.random.default_rng(0)
    kept = groups[subsample_to_skew(np.zeros_like(groups), groups, skew, **names, rng=rng)]
    kept_major, kept_minor = np.bincount(kept, minlength=2)
    if major / (major + minor) > skew:
        assert kept_minor == minor
        assert abs(kept_major - minor * skew / (1 - skew)) <= 0.5 + 1e-6
    else:
        assert kept_major == major
        assert abs(kept_minor - major * (1 - skew) / skew) <= 0.5 + 1e-6


def test_subsample_is_a_function_of_the_generator():
    labels = np.zeros(200, dtype=int)
    groups = np.repeat([0, 1], 100)
    labels[:1], groups[:1] = 1, 1
    labels[1:2], groups[1:2] = 1, 0
    first, again, other = (subsample(labels, groups, 0.8, seed) for seed in (0, 0, 1))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


@pytest.mark.parametrize(
    ("cells", "skew", "message"),
    [
        ([(0, 0), (1, 1), (1, 0)], 0.9, "class 'cat' has no training sample of any group but indoors"),
        ([(0, 0), (0, 1), (1, 0)], 0.9, "class 'dog' has no training sample of outdoors"),
        ([(0, 1), (1, 1)], 1.0, "class 'cat' has no training sample of indoors"),
    ],
)
def test_impossible_skew_names_class_and_group(cells, skew, message):
    labels, groups = np.array(cells).T
    with pytest.raises(DataError, match=message):
        subsample(labels, groups, skew)


def test_tint_multiplies_channels():
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16).repeat(2, axis=0)
    tinted = tint(grey, np.array([0, 1]))
    for image, colour in zip(tinted, TINTS.values(), strict=True):
        product = np.arange(256).reshape(16, 16, 1) * np.array(colour)
        assert np.abs(image - product).max() <= 0.5 + 1e-9
    assert tinted.dtype == np.uint8
    assert (tinted[:, 0, 0] == 0).all()


def test_tint_of_colour_images_and_strength():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    groups = np.array([1, 0, 1])
    assert (tint(images, groups, strength=0.0) == images).all()
    half = tint(images, groups, ((0.0, 1.0, 1.0), (1.0, 0.0, 0.5)), strength=0.5)
    multipliers = np.array([(0.5, 1.0, 1.0), (1.0, 0.5, 0.75)])[groups][:, None, None, :]
    assert (half == np.rint(images * multipliers)).all()
