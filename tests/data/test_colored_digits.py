"""The default data set: exact counts, exact skew, balanced tests, nothing shared between splits."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from fairkd.data import check_dataset, dataset_fingerprint, load_dataset
from fairkd.data.bias import TINTS
from fairkd.errors import ParameterError


@pytest.fixture(scope="module")
def digits():
    return load_dataset("colored-digits")


def test_names_and_shapes(digits):
    assert digits.class_names == tuple("0123456789")
    assert digits.group_names == ("red", "green")
    assert (digits.label_name, digits.group_name, digits.augmentation) == ("digit", "tint", "crop")
    assert digits.image_size == (32, 32)
    assert {images.images.dtype for _, images in digits.items()} == {np.dtype("uint8")}


def test_every_scan_is_used_once_and_no_split_shares_one(digits):
    units = [set(images.unit.tolist()) for _, images in digits.items()]
    assert set.union(*units) == set(range(1797))
    assert sum(map(len, units)) == 1797
    assert [len(part) / 1797 for part in units] == pytest.approx([0.5, 0.15, 0.35], abs=0.003)


def test_labels_are_those_of_the_scans(digits):
    target = load_digits().target
    for images in (digits.train, digits.validation, digits.test):
        assert (images.labels == target[images.unit]).all()


def test_index_is_unique_over_the_whole_set(digits):
    index = np.concatenate([images.index for _, images in digits.items()])
    assert len(np.unique(index)) == len(index)


@pytest.mark.parametrize("skew", [0.5, 0.9, 0.95, 1.0])
def test_training_skew_is_exact_in_every_class(skew):
    train = load_dataset(skew=skew).train
    for digit in range(10):
        groups = train.groups[train.labels == digit]
        assert np.sum(groups == (digit >= 5)) == round(skew * len(groups))


def test_default_skew_is_that_of_the_list(digits):
    assert digits.fingerprint == dataset_fingerprint(skew=0.95)
    assert "95 %" in digits.facts["skew"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_held_out_scan_has_both_tints(digits, split):
    images = getattr(digits, split)
    for unit in np.unique(images.unit):
        rows = np.flatnonzero(images.unit == unit)
        assert sorted(images.groups[rows]) == [0, 1]
        # The same scan: where red is at its full strength in one, green is in the other.
        red, green = (images.images[rows[images.groups[rows] == g][0]] for g in (0, 1))
        scan = red[..., 0].astype(float)
        assert np.abs(green[..., 1] - scan * TINTS["green"][1]).max() <= 0.5


def test_images_are_the_scans_enlarged(digits):
    """Averaging blocks of 4 x 4 pixels gives back the 8 x 8 scan, about."""
    scans = load_digits().images / 16
    train = digits.train
    brightest = train.images.max(axis=-1) / 255 / np.array([1.0, 0.8])[train.groups][:, None, None]
    small = brightest.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4))
    correlation = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(small, scans[train.unit], strict=True)
    ]
    assert min(correlation) > 0.98


def test_seed_determines_everything(digits):
    again, other = load_dataset(seed=0), load_dataset(seed=1)
    for name, images in digits.items():
        assert (images.images == getattr(again, name).images).all()
        assert (images.index == getattr(again, name).index).all()
    assert again.fingerprint == digits.fingerprint
    assert other.fingerprint != digits.fingerprint
    assert set(other.test.unit) != set(digits.test.unit)


def test_another_skew_keeps_the_split(digits):
    other = load_dataset(skew=0.5)
    for name, images in digits.items():
        assert (images.unit == getattr(other, name).unit).all()


@pytest.mark.parametrize("size", [8, 28, 64])
def test_image_size(size):
    assert load_dataset(image_size=size).image_size == (size, size)


def test_plan_agrees_with_what_is_loaded(digits):
    plan = check_dataset()
    assert plan.fingerprint == dataset_fingerprint() == digits.fingerprint
    assert plan.sizes == {name: len(images) for name, images in digits.items()} == digits.facts["sizes"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_root": "photos"}, "data_root='photos' is not used by colored-digits; .*dataset=image-folder"),
        ({"csv": "labels.csv"}, "csv='labels.csv' is not used by colored-digits"),
        (
            {"bias": "subsample"},
            "bias='subsample' is not allowed: colored-digits has no groups of its own; set group, or bias",
        ),
    ],
)
def test_options_that_do_not_apply(options, message):
    with pytest.raises(ParameterError, match=message):
        load_dataset(**options)
