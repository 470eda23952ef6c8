"""Sentences on an audit say what its tables hold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fairkd.data import Splits
from fairkd.data.audit import Audit, audit
from fairkd.narrative_data import (
    describe_attributes,
    describe_duplicates,
    describe_images,
    describe_label_noise,
    describe_limits,
    describe_odd_images,
)


@pytest.fixture
def found(tiny_splits: Splits) -> Audit:
    return audit(tiny_splits)


def statistics(*rows: tuple[str, float, float, float]) -> pd.DataFrame:
    columns = ["group", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns).assign(split="train", statistic="contrast", n=9)


def test_attributes_name_shares_and_missing_values(found: Audit) -> None:
    rows = [
        ("age", "train", "old", 2, 0.2),
        ("age", "train", "young", 5, 0.5),
        ("age", "train", None, 3, 0.3),
    ]
    table = pd.DataFrame(rows, columns=["attribute", "split", "value", "n", "share"])
    sentences = describe_attributes(dataclasses.replace(found, attributes=table))
    assert sentences == ["age, training split: young 50 %, old 20 %; missing in 3 images."]


@pytest.mark.parametrize(("low", "words"), [(0.31, "do not overlap"), (0.29, "overlap")])
def test_images_say_whether_intervals_overlap(found: Audit, low: float, words: str) -> None:
    table = statistics(("red", 0.2, 0.1, 0.3), ("blue", 0.4, low, 0.5), ("empty", np.nan, np.nan, np.nan))
    (sentence,) = describe_images(dataclasses.replace(found, image_statistics=table))
    assert sentence.startswith("Mean contrast is highest for blue (0.400) and lowest for red (0.200)")
    assert sentence.endswith(f"their intervals {words}.")


def test_one_group_cannot_be_compared(found: Audit) -> None:
    one = dataclasses.replace(found, image_statistics=statistics(("red", 0.2, 0.1, 0.3)))
    assert describe_images(one) == ["The train split has fewer than two groups with images to compare."]


def test_duplicates_name_places_contradictions_and_leaks(found: Audit) -> None:
    rows = [
        ("exact", "train", "train", 4, 4, 1, 0, 100),
        ("exact", "train", "test", 3, 2, 0, 2, 50),
        ("near", "train", "test", 0, 0, 0, 0, 50),
    ]
    columns = ["kind", "split", "other_split", "pairs", "images", "labels_differ", "groups_differ", "n"]
    sentences = describe_duplicates(
        dataclasses.replace(found, duplicates=pd.DataFrame(rows, columns=columns))
    )
    assert sentences == [
        "Pairs of identical images: 4 within train, 3 between train and test. The label differs within 1 of them, "
        "the group within 2.",
        "No near duplicates (candidates: look at them) were found.",
        "2 of 50 test images have an identical image in train: scores on them are optimistic.",
    ]


def test_odd_images_are_counted_by_finding_and_split(found: Audit) -> None:
    assert describe_odd_images(found) == "No constant or nearly constant image was found."
    odd = pd.DataFrame(
        {"split": ["train", "test", "train"], "finding": ["constant", "constant", "nearly constant"]}
    )
    sentence = describe_odd_images(dataclasses.replace(found, odd_images=odd))
    assert sentence == "2 constant, 1 nearly constant images were found: 2 in train, 1 in test."


@pytest.mark.parametrize(("accuracy", "words"), [(0.95, "worth a look"), (0.4, "its own mistakes")])
def test_label_noise_says_how_far_the_probe_can_be_trusted(found: Audit, accuracy: float, words: str) -> None:
    table = found.label_noise.assign(n=40, suspects=4, share=0.1, low=0.04, high=0.2, probe_accuracy=accuracy)
    first, second, third = describe_label_noise(dataclasses.replace(found, label_noise=table))
    assert first.startswith("4 of 40 training labels examined (10.0 %, interval 4.0 % to 20.0 %)")
    assert words in second
    assert third == "Share of suspects by group: red 10.0 %, green 10.0 %."


def test_label_noise_that_was_not_looked_for(found: Audit) -> None:
    (sentence,) = describe_label_noise(dataclasses.replace(found, label_noise=found.label_noise.assign(n=0)))
    assert sentence.startswith("Label noise was not looked for")


def test_association_in_test_is_a_limit_of_its_own(tiny_splits: Splits, found: Audit) -> None:
    strong = found.association.assign(value=0.9)
    text = "\n".join(describe_limits(tiny_splits, dataclasses.replace(found, association=strong)))
    assert "a model can use the group as a shortcut" in text
    assert "does not tell a shortcut from the real thing" in text


@pytest.mark.parametrize(
    ("accuracy", "words"),
    [(0.9, "None of them was checked by a person."), (0.3, "agrees with 30 % of them, too few")],
)
def test_suspects_of_a_weak_probe_are_no_limit_of_the_data(
    tiny_splits: Splits, found: Audit, accuracy: float, words: str
) -> None:
    table = found.label_noise.assign(n=40, suspects=4, probe_accuracy=accuracy)
    limits = describe_limits(tiny_splits, dataclasses.replace(found, label_noise=table))
    assert [words in sentence for sentence in limits].count(True) == 1
    assert any("examined" in sentence for sentence in limits) == (accuracy > 0.8)


def test_nothing_to_report_is_said(tiny_splits: Splits, found: Audit) -> None:
    clean = dataclasses.replace(
        found,
        counts=found.counts.assign(n=100),
        association=found.association.assign(value=0.0),
        duplicates=found.duplicates.assign(pairs=0, images=0, labels_differ=0),
        label_noise=found.label_noise.assign(suspects=0, probe_accuracy=0.9),
    )
    splits = dataclasses.replace(tiny_splits, facts={"licence": "CC0"})
    assert describe_limits(splits, clean) == [
        "The audit found nothing to report here; it sees only what it was made to look for."
    ]
