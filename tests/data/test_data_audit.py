"""The audit against written-out formulas and known values."""

import dataclasses
import warnings

import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats.contingency import association as scipy_association
from sklearn.metrics import mutual_info_score

from fairkd.data import ImageSet, Splits, load_dataset
from fairkd.data.audit import association, audit, group_predictability
from fairkd.data.audit.probe import fitted_probe, inputs_of
from fairkd.errors import DataError, FairkdWarning
from fairkd.metrics.proportions import wilson_interval


def make_splits(train, test=None, *, cue=True, seed=0):
    """Splits with the given contingency tables; noise images that show the group if ``cue``."""
    rng = np.random.default_rng(seed)

    def images(table):
        table = np.array(table)
        labels, groups = np.repeat(np.array([*np.ndindex(*table.shape)]), table.ravel(), axis=0).T
        pixels = rng.integers(0, 200, (len(labels), 16, 16, 3), dtype=np.uint8)
        if cue:
            pixels[..., 0] += (40 * groups[:, None, None]).astype(np.uint8)
        index = np.arange(len(labels))
        return ImageSet(pixels, labels, groups, index, index)

    test = train if test is None else test
    shape = np.array(train).shape
    return Splits(
        name="made",
        train=images(train),
        validation=images(test),
        test=images(test),
        class_names=tuple(f"c{i}" for i in range(shape[0])),
        group_names=tuple(f"g{i}" for i in range(shape[1])),
        label_name="class",
        group_name="group",
        fingerprint="",
    )


def values(splits, split="train"):
    table = association(splits)
    return table[table["split"] == split].set_index("statistic")["value"]


TABLES = [
    [[90, 10], [10, 90]],
    [[30, 5, 7], [12, 40, 3], [9, 9, 9], [1, 2, 60]],
    [[50, 50], [50, 50]],
    [[5, 0], [0, 7]],
]


@pytest.mark.parametrize("table", TABLES)
def test_association_against_the_formulas(table):
    found = values(make_splits(table))
    p = np.array(table) / np.sum(table)
    rows, columns = p.sum(axis=1, keepdims=True), p.sum(axis=0, keepdims=True)
    chi_squared = ((p - rows * columns) ** 2 / (rows * columns)).sum()
    seen = p > 0
    information = (p[seen] * np.log(p[seen] / (rows * columns)[seen])).sum()
    assert found["cramers_v"] == pytest.approx(np.sqrt(chi_squared / (min(p.shape) - 1)), abs=1e-12)
    assert found["mutual_information"] == pytest.approx(information, abs=1e-12)
    entropy = -(columns * np.log(columns)).sum()
    assert found["normalized_mutual_information"] == pytest.approx(information / entropy, abs=1e-12)


@pytest.mark.parametrize("table", TABLES)
def test_association_against_other_libraries(table):
    splits = make_splits(table)
    found = values(splits)
    assert found["cramers_v"] == pytest.approx(scipy_association(np.array(table), method="cramer"))
    expected = mutual_info_score(splits.train.labels, splits.train.groups)
    assert found["mutual_information"] == pytest.approx(expected)


@pytest.mark.parametrize("skew", [0.5, 0.8, 0.95, 1.0])
def test_skew_of_two_balanced_groups_in_known_numbers(skew):
    n = round(100 * skew)
    found = values(make_splits([[n, 100 - n], [100 - n, n]]))
    entropy = -sum(p * np.log2(p) for p in (skew, 1 - skew) if p > 0)
    assert found["cramers_v"] == pytest.approx(2 * skew - 1)
    assert found["normalized_mutual_information"] == pytest.approx(1 - entropy, abs=1e-12)


def test_association_ignores_absent_classes_and_is_nan_without_two_groups():
    found = values(make_splits([[90, 10], [0, 0], [10, 90]]))
    assert found["cramers_v"] == pytest.approx(0.8)
    assert values(make_splits([[5, 0], [7, 0]])).isna().all()


def test_counts_have_shares_of_the_class():
    with pytest.warns(FairkdWarning):
        counts = audit(make_splits([[90, 10], [0, 50]])).counts
    train = counts[counts["split"] == "train"]
    assert train["n"].tolist() == [90, 10, 0, 50]
    assert train["share"].tolist() == [0.9, 0.1, 0.0, 1.0]
    assert (train["low"] <= train["share"]).all()
    assert (train["share"] <= train["high"]).all()


def test_empty_cells_are_named_once():
    splits = make_splits([[90, 10], [20, 50]], [[10, 10], [0, 10]])
    message = r"no samples in validation: c1 × g0; test: c1 × g0; measures of these cells are NaN"
    with pytest.warns(FairkdWarning, match=message) as caught:
        found = audit(splits)
    assert len(caught) == 1
    assert found.empty_cells.to_dict("records") == [
        {"split": "validation", "class": "c1", "group": "g0"},
        {"split": "test", "class": "c1", "group": "g0"},
    ]


def test_class_without_samples_has_no_share():
    with pytest.warns(FairkdWarning, match="c0 × g0; test: c0 × g1"):
        counts = audit(make_splits([[9, 9], [9, 9]], [[0, 0], [9, 9]])).counts
    assert counts.loc[(counts["split"] == "test") & (counts["class"] == "c0"), "share"].isna().all()


def test_a_visible_group_is_predicted_and_an_invisible_one_is_not():
    table, held_out = [[300, 300], [300, 300]], [[100, 100], [100, 100]]
    visible, hidden = (
        group_predictability(make_splits(table, held_out, cue=cue)).iloc[0] for cue in (True, False)
    )
    assert visible["balanced_accuracy"] > 0.95
    assert hidden["low"] < 0.5 < hidden["high"]
    assert visible["chance"] == hidden["chance"] == 0.5
    assert visible["n"] == 400
    assert visible["target"] == "group"


def test_predictability_is_the_mean_of_the_groups_recalls():
    """A rare group counts as much as a frequent one; limits are the means of Wilson's."""
    splits = make_splits([[200, 40], [200, 40]], [[80, 10], [80, 10]], seed=3)
    row = group_predictability(splits).iloc[0]
    train, test = (
        inputs_of(splits, name, np.arange(len(one)), None) for name, one in list(splits.items())[::2]
    )
    predicted = fitted_probe(train, splits.train.groups).predict(test)
    hits = [(predicted == g)[splits.test.groups == g] for g in (0, 1)]
    limits = [binomtest(int(h.sum()), len(h)).proportion_ci(0.95, method="wilson") for h in hits]
    assert row["balanced_accuracy"] == pytest.approx(np.mean([h.mean() for h in hits]))
    assert row["low"] == pytest.approx(np.mean([limit.low for limit in limits]))
    assert row["high"] == pytest.approx(np.mean([limit.high for limit in limits]))


def test_rows_of_the_probe_are_capped(monkeypatch):
    monkeypatch.setattr("fairkd.data.audit.probe.PROBE_ROWS", 50)
    splits = make_splits([[100, 100], [100, 100]])
    first, again = (group_predictability(splits) for _ in range(2))
    assert first["n"].item() == 50
    assert first.equals(again)


def test_a_single_group_cannot_be_probed():
    splits = make_splits([[10, 0], [10, 0]], [[10, 10], [10, 10]])
    with pytest.warns(FairkdWarning, match=r"the group \(group\) cannot be probed"):
        row = group_predictability(splits).iloc[0]
    assert np.isnan(row["balanced_accuracy"])


def test_default_data():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = audit(load_dataset())
    table = found.association.set_index(["split", "statistic"])["value"]
    assert table["train", "cramers_v"] == pytest.approx(0.9, abs=0.01)
    assert table["test", "cramers_v"] == table["validation", "cramers_v"] == 0
    assert found.predictability["balanced_accuracy"].item() > 0.99
    assert found.empty_cells.empty
    assert found.odd_images.empty
    assert found.duplicates.loc[found.duplicates["kind"] == "exact", "pairs"].sum() == 0


# Further attributes, and samples without a group


def with_attributes(splits, codes, *, missing=()):
    """The splits with the attribute "age" in every split, and no group in the given rows of the training split."""
    parts = {}
    for name, images in splits.items():
        groups = images.groups.copy()
        if name == "train":
            groups[list(missing)] = -1
        ages = np.resize(codes, len(images))
        parts[name] = dataclasses.replace(images, groups=groups, attributes={"age": ages})
    return dataclasses.replace(splits, **parts, attributes={"age": ("young", "old")})


def test_attributes_are_counted_with_their_missing_values():
    splits = with_attributes(make_splits([[4, 4], [4, 4]]), [0, 0, 1, -1], missing=[0, 5])
    table = audit(splits).attributes
    train = table[table["split"] == "train"]
    train = train.assign(value=train["value"].fillna("?"))
    found = [tuple(row) for row in train[["attribute", "value", "n", "share"]].itertuples(index=False)]
    assert found == [
        ("group", "g0", 7, 7 / 16),
        ("group", "g1", 7, 7 / 16),
        ("group", "?", 2, 2 / 16),
        ("age", "young", 8, 0.5),
        ("age", "old", 4, 0.25),
        ("age", "?", 4, 0.25),
    ]
    low, high = wilson_interval(train["n"].to_numpy(), np.full(6, 16))
    np.testing.assert_allclose(train["low"], low)
    np.testing.assert_allclose(train["high"], high)
    tests = table[(table["split"] == "test") & (table["attribute"] == "group")]
    assert tests["n"].tolist() == [8, 8, 0]


def test_association_of_each_attribute():
    splits = with_attributes(make_splits([[10, 10], [10, 10]]), [0] * 20 + [1] * 20)
    table = audit(splits).attribute_association
    v = table[table["statistic"] == "cramers_v"].set_index(["attribute", "split"])["value"]
    assert v["group", "train"] == 0
    assert v["age", "train"] == pytest.approx(1)


def test_rows_without_a_group_change_nothing_but_the_counts_of_missing():
    """Known-answer: the association of what is left, and never the last group's."""
    splits = make_splits([[30, 10], [10, 30]])
    incomplete = with_attributes(splits, [0, 1], missing=range(5))
    left = dataclasses.replace(splits, train=splits.train.subset(np.arange(5, 80)))
    assert values(incomplete).equals(values(left))
    assert association(incomplete).iloc[0]["n"] == 75
    assert audit(incomplete).counts.equals(audit(left).counts)


def test_the_probe_leaves_rows_without_a_group_out():
    splits = make_splits([[60, 60], [60, 60]])
    groups = np.where(np.arange(240) % 3 == 0, -1, splits.test.groups)
    row = group_predictability(
        dataclasses.replace(splits, test=dataclasses.replace(splits.test, groups=groups))
    ).iloc[0]
    assert row["n"] == 160
    assert row["balanced_accuracy"] > 0.9


def test_predictability_of_attributes_and_from_features():
    splits = with_attributes(make_splits([[60, 60], [60, 60]], cue=False), [0, 1])
    features = {name: np.eye(2)[images.groups] for name, images in splits.items()}
    table = audit(splits, features=features).predictability
    assert table[["target", "source"]].to_numpy().tolist() == [
        ["group", "pixels (8 × 8)"],
        ["group", "features (2)"],
        ["age", "pixels (8 × 8)"],
        ["age", "features (2)"],
    ]
    assert table.loc[1, "balanced_accuracy"] == 1
    assert table.loc[0, "low"] < 0.5 < table.loc[0, "high"]


def test_features_may_be_a_function_of_images():
    splits = make_splits([[60, 60], [60, 60]])
    called = []

    def redness(images):
        called.append(len(images))
        return images[..., 0].mean(axis=(1, 2))[:, None]

    row = group_predictability(splits, features=redness).iloc[0]
    assert row["source"] == "features (1)"
    assert row["balanced_accuracy"] > 0.95
    assert called == [240, 240]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            {"train": np.zeros((3, 2))},
            r"features of the train split have shape \(3, 2\); needed: \(240, dim\)",
        ),
        ({}, r"have shape \(0, 0\)"),
        (lambda images: np.zeros(len(images)), r"have shape \(240,\)"),
    ],
)
def test_features_that_do_not_fit_are_named(features, message):
    with pytest.raises(DataError, match=message):
        group_predictability(make_splits([[60, 60], [60, 60]]), features=features)
