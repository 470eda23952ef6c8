"""The audit against written-out formulas and known values."""

import warnings

import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats.contingency import association as scipy_association
from sklearn.metrics import mutual_info_score

from fairkd.data import ImageSet, Splits, load_dataset
from fairkd.data.audit import association, audit, group_predictability, wilson_interval
from fairkd.errors import FairkdWarning


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


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_against_scipy(confidence):
    successes, trials = np.array([0, 1, 5, 9, 10, 500]), np.array([10, 10, 10, 10, 10, 1000])
    low, high = wilson_interval(successes, trials, confidence)
    for i in range(len(trials)):
        expected = binomtest(int(successes[i]), int(trials[i])).proportion_ci(confidence, method="wilson")
        assert (low[i], high[i]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_without_trials():
    low, high = wilson_interval(np.array([0]), np.array([0]))
    assert np.isnan(low[0])
    assert np.isnan(high[0])


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
    from fairkd.data import audit as module

    splits = make_splits([[200, 40], [200, 40]], [[80, 10], [80, 10]], seed=3)
    row = group_predictability(splits).iloc[0]
    predicted = module._probe(splits.train, splits.test)
    hits = [(predicted == g)[splits.test.groups == g] for g in (0, 1)]
    limits = [binomtest(int(h.sum()), len(h)).proportion_ci(0.95, method="wilson") for h in hits]
    assert row["balanced_accuracy"] == pytest.approx(np.mean([h.mean() for h in hits]))
    assert row["low"] == pytest.approx(np.mean([limit.low for limit in limits]))
    assert row["high"] == pytest.approx(np.mean([limit.high for limit in limits]))


def test_rows_of_the_probe_are_capped(monkeypatch):
    monkeypatch.setattr("fairkd.data.audit.PROBE_ROWS", 50)
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
