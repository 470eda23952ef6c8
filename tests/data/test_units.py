"""Images of one person: in one split, resampled together."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from fairkd.data import dataset_fingerprint, load_dataset
from fairkd.data.split import stratified_split, stratified_unit_split
from fairkd.errors import DataError, FairkdWarning


def load(folder, **options):
    return load_dataset("image-folder", data_root=folder.root, image_size=8, **options)


def with_people(folder, people, **columns):
    """Add a column ``person``, and further ones, whose values repeat."""
    folder.header = [*folder.header, "person", *columns]
    lists = [people, *columns.values()]
    folder.rows = [
        [*row, *(values[i % len(values)] for values in lists)] for i, row in enumerate(folder.rows)
    ]
    folder.write()
    return folder


def people_of(folder, images):
    place = folder.header.index("person")
    return [folder.rows[item][place] for item in images.index]


def test_images_of_one_person_stay_in_one_split_and_share_their_unit(make_folder):
    # Four consecutive images show one person, within one class and group.
    folder = with_people(make_folder([(40, 80), (80, 40)]), [f"p{i // 4}" for i in range(240)])
    splits = load(folder, unit_column="person")
    people = {name: people_of(folder, images) for name, images in splits.items()}
    assert len(set(people["train"])) + len(set(people["validation"])) + len(set(people["test"])) == 60
    for name, images in splits.items():
        assert_array_equal(pd.factorize(images.unit)[0], pd.factorize(np.array(people[name]))[0])
    counts = splits.counts().set_index(["split", "class", "group"])["n"]
    assert counts["train"].tolist() == [28, 56, 56, 28] and counts["test"].tolist() == [8, 16, 16, 8]
    assert splits.facts["units"] == "person: 42 in train, 6 in validation, 12 in test"
    assert "of the values of 'person', each whole" in splits.facts["split"]
    assert len(set(load(folder).test.unit)) == len(load(folder).test), "without it each image is its own"


def test_validation_that_is_taken_from_training_takes_whole_persons(make_folder):
    folder = make_folder([(40, 40), (40, 40)])
    folder.header.append("split")
    folder.rows = [[*row, "test" if i % 40 < 8 else "train"] for i, row in enumerate(folder.rows)]
    splits = load(with_people(folder, [f"p{i // 4}" for i in range(160)]), unit_column="person")
    assert not set(people_of(folder, splits.validation)) & set(people_of(folder, splits.train))
    assert len(splits.validation) == 16 and len(splits.test) == 32


def test_a_split_that_divides_persons_is_warned_of_by_rows(make_folder):
    folder = make_folder()
    folder.header.append("split")
    folder.rows = [[*row, ("train", "validation", "test")[i % 3]] for i, row in enumerate(folder.rows)]
    # The persons 2 to 4 have an image in training and one in validation.
    people = [str(i) if i not in (12, 6, 9) else str({12: 1, 6: 4, 9: 7}[i]) for i in range(40)]
    folder = with_people(folder, people)
    with pytest.warns(
        FairkdWarning, match=r"labels.csv: 3 units have images in several splits, first 2 rows \(6, 8\)"
    ):
        load(folder, unit_column="person")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FairkdWarning)
        load(folder)


def test_two_columns_cross_and_an_empty_cell_is_a_person_of_its_own(make_folder):
    people = [("1", "2", "")[i % 3] for i in range(40)]
    folder = with_people(make_folder(), people, site=["north", "south"])
    units = np.concatenate([images.unit for _, images in load(folder, unit_column="site*person").items()])
    filled = sum(bool(person) for person in people)
    assert len(set(units)) == 4 + 40 - filled
    with pytest.raises(DataError, match=r"no column 'persn'.*person.*set unit_column"):
        load(folder, unit_column="persn")


def test_injected_groups_show_each_person_in_both(make_folder):
    folder = with_people(make_folder([(40, 40), (40, 40)]), [f"p{i // 4}" for i in range(160)])
    test = load(folder, unit_column="person", bias="tint", skew=0.9).test
    assert len(test) == 2 * len(set(test.index // 2)) and len(set(test.unit)) == len(test) // 8


def test_the_column_is_part_of_what_the_data_are_only_where_it_is_set(make_folder):
    folder = with_people(make_folder([(40, 40), (40, 40)]), [f"p{i // 4}" for i in range(160)])
    prints = {
        dataset_fingerprint("image-folder", data_root=folder.root, **options)
        for options in ({}, {"unit_column": "person"}, {"unit_column": "path"})
    }
    assert len(prints) == 3


def test_each_image_its_own_unit_is_the_plain_split():
    rng = np.random.default_rng(0)
    strata, shares, order = rng.integers(0, 5, 500), (0.7, 0.1, 0.2), (0, 2, 1)
    plain = stratified_split(strata, shares, np.random.default_rng(1), fill_order=order)
    units = stratified_unit_split(strata, np.arange(500), shares, np.random.default_rng(1), fill_order=order)
    assert_array_equal(plain, units)


def test_a_unit_counts_for_the_stratum_of_most_of_its_samples():
    # Units of three samples, two of stratum 0 and one of stratum 1, and units the other way round.
    strata = np.tile([0, 1, 0, 1, 0, 1], 50)
    units = np.repeat(np.arange(100), 3)
    parts = stratified_unit_split(strata, units, (0.5, 0.5), np.random.default_rng(0), fill_order=(0, 1))
    assert (parts.reshape(100, 3) == parts.reshape(100, 3)[:, :1]).all()
    first = parts[::3]
    assert np.bincount(first[::2]).tolist() == np.bincount(first[1::2]).tolist() == [25, 25]
