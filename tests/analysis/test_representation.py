"""Distances and geometry of features: against loops, closed forms and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import rbf_kernel

from fairkd.analysis import class_geometry, group_mmd, project
from fairkd.analysis.representation import mmd_squared
from fairkd.errors import DataError, ParameterError

NAMES = ["x", "y"]


def test_the_estimate_equals_its_definition() -> None:
    rng = np.random.default_rng(0)
    kernel = rbf_kernel(rng.normal(size=(9, 3)))
    first = np.arange(9) < 4
    own = np.mean([kernel[i, j] for i in range(4) for j in range(4) if i != j])
    other = np.mean([kernel[i, j] for i in range(4, 9) for j in range(4, 9) if i != j])
    across = np.mean([kernel[i, j] for i in range(4) for j in range(4, 9)])
    assert mmd_squared(kernel, first) == pytest.approx(own + other - 2 * across, abs=1e-12)


def test_the_discrepancy_of_two_normal_distributions_is_the_closed_form() -> None:
    rng = np.random.default_rng(1)
    groups, shift = np.arange(4000) % 2, 1.5
    values = rng.normal(size=(4000, 1)) + shift * groups[:, None]
    row = group_mmd(values, groups, NAMES, permutations=1, max_rows=4000).iloc[0]
    square = row["bandwidth"] ** 2
    # E k(x, y) of N(0, 1) and N(m, 1): √(s² / (s² + 2)) exp(-m² / (2 (s² + 2))).
    expected = 2 * np.sqrt(square / (square + 2)) * (1 - np.exp(-(shift**2) / (2 * (square + 2))))
    assert row["mmd2"] == pytest.approx(expected, rel=0.06)
    pairs = np.abs(values - values.T)[np.triu_indices(4000, 1)]
    assert row["bandwidth"] == pytest.approx(np.median(pairs))


@pytest.mark.parametrize("kind", ["rows", "one group a unit", "both groups a unit"])
def test_the_test_errs_as_seldom_as_it_says(kind: str) -> None:
    rng, found, values = np.random.default_rng(2), [], []
    for trial in range(150):
        units = np.arange(40) if kind == "rows" else np.arange(40) // 2
        groups = np.arange(40) % 2 if kind != "one group a unit" else rng.permutation(20)[units] % 2
        # Rows of a unit are alike.
        features = rng.normal(size=(40, 3))[units] + 0.3 * rng.normal(size=(40, 3))
        row = group_mmd(features, groups, NAMES, units=units, permutations=99, seed=trial).iloc[0]
        found.append(row["p_value"])
        values.append(row["mmd2"])
    share = np.mean(np.array(found) <= 0.1)
    assert share == pytest.approx(0.1, abs=3 * np.sqrt(0.09 / 150))
    if kind == "rows":
        assert np.mean(values) == pytest.approx(0, abs=3 * np.std(values) / np.sqrt(150))


def test_a_group_of_one_unit_cannot_be_told_apart() -> None:
    rng = np.random.default_rng(5)
    groups = np.array([0, 0, *[1] * 60])
    units = np.array([0, 0, *range(1, 61)])
    features = rng.normal(size=(62, 3))
    features[:2] += 9
    assert group_mmd(features, groups, NAMES, units=units, permutations=99).iloc[0]["p_value"] > 0.9


def test_a_difference_within_one_class_is_found_there() -> None:
    rng = np.random.default_rng(3)
    labels, groups = np.arange(200) % 2, np.arange(200) // 2 % 2
    features = rng.normal(size=(200, 4))
    features[(labels == 1) & (groups == 1)] += 2
    options = {"labels": labels, "class_names": ["a", "b"], "permutations": 200}
    table = group_mmd(features, np.where(np.arange(200) < 5, -1, groups), NAMES, **options).set_index("class")
    assert list(table.index) == ["all", "a", "b"]
    assert table.loc["b", "p_value"] == pytest.approx(1 / 201)
    assert table.loc["a", "p_value"] > 0.05
    assert table.loc["all", ["n", "n_other"]].sum() == 195
    assert np.isnan(group_mmd(features, groups * 0, NAMES).iloc[0]["mmd2"])
    with pytest.raises(ParameterError, match="labels need class_names"):
        group_mmd(features, groups, NAMES, labels=groups)


def test_geometry_of_means_that_are_known() -> None:
    # Two classes at ±(4, 0), whose groups are moved by (0, ±d).
    labels, groups = np.repeat([0, 1], 8), np.tile(np.repeat([0, 1], 4), 2)
    corners = np.tile([[1, 1], [1, -1], [-1, 1], [-1, -1]], (4, 1))
    moved = np.array([0.0, 3.0])[labels] * np.array([1, -1])[groups]
    features = corners + np.stack([np.where(labels == 0, 4, -4), moved], axis=1)
    table = class_geometry(features, labels, groups, ["a", "b"], NAMES).set_index("class")
    assert table.loc["a", ["within_scatter", "between_scatter"]].tolist() == [2, 16]
    assert table.loc["a", "mean_distance"] == 0 and table.loc["a", "mean_cosine"] == pytest.approx(1)
    # The mean squared distance is that within the groups and that of their means.
    assert table.loc["b", "within_scatter"] == 2 + 9
    assert table.loc["b", "mean_distance"] == pytest.approx(6 / np.sqrt(11))
    assert table.loc["b", "mean_cosine"] == pytest.approx((16 - 9) / (16 + 9))
    assert table.loc["b", ["n", "n_other"]].tolist() == [4, 4]


def test_geometry_of_an_empty_cell_is_nan() -> None:
    features, labels, groups = np.eye(4), np.array([0, 0, 1, 1]), np.array([0, 1, 0, -1])
    table = class_geometry(features, labels, groups, ["a", "b", "c"], NAMES).set_index("class")
    assert table.loc[["b", "c"], ["mean_distance", "mean_cosine"]].isna().all().all()
    assert table.loc["b", "within_scatter"] == 0.5 and np.isnan(table.loc["c", "between_scatter"])


def test_the_projection_is_scikit_learns_up_to_sign() -> None:
    features = np.random.default_rng(4).normal(size=(50, 6)) * np.arange(1, 7)
    table, pca = project(features), PCA(2, svd_solver="full")
    np.testing.assert_allclose(np.abs(table.to_numpy()), np.abs(pca.fit_transform(features)), atol=1e-9)
    assert [table.attrs["x_share"], table.attrs["y_share"]] == pytest.approx(pca.explained_variance_ratio_)
    # The order of the rows turns no axis.
    np.testing.assert_allclose(project(features[::-1]).to_numpy()[::-1], table.to_numpy(), atol=1e-9)
    np.testing.assert_allclose(project(np.arange(3.0)[:, None])["y"], 0)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(DataError, match=r"shape \(4, 4\) and their codes the lengths 3"):
        group_mmd(np.eye(4), np.zeros(3), NAMES)
    with pytest.raises(DataError, match="not finite"):
        project(np.full((3, 2), np.nan))
    with pytest.raises(DataError, match="at least 2 rows, got 1"):
        project(np.ones((1, 2)))
    with pytest.raises(ParameterError, match="permutations=0"):
        group_mmd(np.eye(4), np.zeros(4), NAMES, permutations=0)
