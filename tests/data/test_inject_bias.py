"""Bias injected into any data set: exact shares, held-out images in every group, the old group still there."""

import numpy as np
import pytest

from fairkd.data import inject_bias, load_dataset
from fairkd.data.bias import majority_of_classes
from fairkd.data.effects import EFFECTS, grey
from fairkd.errors import FairkdWarning, ParameterError


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (None, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]),
        # Wang et al. 2020: odd classes in colour (0), even ones grey (1).
        ("wang", [1, 0, 1, 0, 1, 0, 1, 0, 1, 0]),
        # Jung et al. 2021: classes 0 to 4 grey, 5 to 9 in colour.
        ("mfd", [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]),
    ],
)
def test_which_group_a_class_prefers(variant, expected):
    assert majority_of_classes(10, variant).tolist() == expected


@pytest.mark.parametrize("kind", EFFECTS)
def test_shares_doubling_and_the_old_group(tiny_splits, kind):
    splits = inject_bias(tiny_splits, kind=kind, skew=0.75, variant="wang")
    effect = EFFECTS[kind]
    assert (splits.group_names, splits.group_name) == (effect.group_names, effect.attribute)
    majority = [1, 0, 1]
    for label in range(3):
        groups = splits.train.groups[splits.train.labels == label]
        assert np.sum(groups == majority[label]) == round(0.75 * len(groups)) == 12
    for name in ("validation", "test"):
        images, before = getattr(splits, name), getattr(tiny_splits, name)
        assert len(images) == 2 * len(before)
        assert images.unit.tolist() == np.repeat(before.unit, 2).tolist()
        assert images.groups.tolist() == [0, 1] * len(before)
        assert images.attributes["colour"].tolist() == np.repeat(before.groups, 2).tolist()
        assert len(np.unique(images.index)) == len(images)
    assert splits.attributes == {"colour": ("red", "green")}
    assert splits.facts["sizes"] == {"train": 48, "validation": 48, "test": 48}


def test_the_pixels_are_those_of_the_effect(tiny_splits):
    splits = inject_bias(tiny_splits, kind="grey")
    before = tiny_splits.train.images
    expected = np.where((splits.train.groups == 1)[:, None, None, None], grey(before), before)
    assert (splits.train.images == expected).all()
    assert (splits.test.images[0::2] == tiny_splits.test.images).all()
    assert (splits.test.images[1::2] == grey(tiny_splits.test.images)).all()


def test_the_fingerprint_depends_on_every_argument(tiny_splits):
    options = [{}, {"skew": 0.9}, {"seed": 1}, {"variant": "wang"}, {"variant": "mfd"}]
    prints = [inject_bias(tiny_splits, **{"kind": "grey", **more}).fingerprint for more in options]
    prints.append(inject_bias(tiny_splits, kind="blur").fingerprint)
    assert len({*prints, tiny_splits.fingerprint}) == len(prints) + 1


def test_loading_with_another_bias_than_the_data_sets_own():
    loaded = load_dataset("colored-digits", bias="noise", skew=0.9)
    assert loaded.group_names == ("clean", "noisy")
    plain = loaded.test.images[loaded.test.groups == 0]
    assert (plain[..., 0] == plain[..., 1]).all()
    train = loaded.train
    for digit in range(10):
        groups = train.groups[train.labels == digit]
        assert np.sum(groups == (digit >= 5)) == round(0.9 * len(groups))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"kind": "paint"},
            "kind='paint' is unknown: allowed: tint, grey, noise, blur, contrast, brightness",
        ),
        ({"kind": "grey", "variant": "x"}, "variant='x' is unknown: allowed: wang, mfd"),
        ({"kind": "grey", "skew": 0.3}, "skew=0.3 is not allowed"),
    ],
)
def test_bad_arguments(tiny_splits, options, message):
    with pytest.raises(ParameterError, match=message):
        inject_bias(tiny_splits, **options)


def test_a_bias_that_changes_nothing_is_said():
    with pytest.warns(FairkdWarning, match="bias='grey' changes none of the first 64 training images"):
        load_dataset("colored-digits", bias="grey", skew=0.9)
