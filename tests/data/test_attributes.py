"""Expressions over columns: plain, crossed, binned, missing, and what cannot be read."""

import numpy as np
import pandas as pd
import pytest

from fairkd.data.attributes import Columns, read_attribute
from fairkd.errors import DataError, ParameterError

AGES = ["5", "18", "19", "40", "41", "93", "18.5", "", "NaN", "7"]
GENDERS = ["f", "m", "m", "f", "m", "f", "m", "f", "m", ""]


@pytest.fixture
def columns():
    values = {"age": AGES, "gender": GENDERS, "a*b": ["x", "y"] * 5, "k:1": ["p", "q"] * 5}
    return Columns("table.csv", values, lambda rows: f"row {rows[0]}")


def read(columns, expression):
    return read_attribute(columns, expression, "group")


def test_plain(columns):
    attribute = read(columns, "gender")
    assert (attribute.names, attribute.title) == (("f", "m"), "gender")
    assert attribute.codes.tolist() == [0, 1, 1, 0, 1, 0, 1, 0, 1, -1]


@pytest.mark.parametrize("expression", ["age:0-18,19-40,41-", "age: 0-18 , 19-40 , 41-"])
def test_bins_against_pandas(columns, expression):
    attribute = read(columns, expression)
    ages = pd.to_numeric(pd.Series(AGES), errors="coerce")
    expected = np.select([ages.between(0, 18), ages.between(19, 40), ages >= 41], [0, 1, 2], -1)
    assert attribute.codes.tolist() == expected.tolist()
    assert (attribute.names, attribute.title) == (("0-18", "19-40", "41-"), "age")


def test_open_bins_single_values_and_bins_without_a_row(columns):
    attribute = read(columns, "age:-7,18,50-60,93-")
    assert attribute.names == ("-7", "18", "93-")
    assert attribute.codes.tolist() == [0, 1, -1, -1, -1, 2, -1, -1, -1, 0]


def test_crossed_with_bins_and_missing_in_either(columns):
    attribute = read(columns, "gender*age:0-18,19-")
    assert attribute.title == "gender × age"
    names = [None if code < 0 else attribute.names[code] for code in attribute.codes]
    low, high = "0-18", "19-"
    expected = [
        ("f", low),
        ("m", low),
        ("m", high),
        ("f", high),
        ("m", high),
        ("f", high),
        None,
        None,
        None,
        None,
    ]
    assert names == [None if pair is None else f"{pair[0]} × {pair[1]}" for pair in expected]


@pytest.mark.parametrize("name", ["a*b", "k:1"])
def test_a_column_may_have_the_signs_in_its_name(columns, name):
    assert read(columns, name).title == name


@pytest.mark.parametrize(
    ("expression", "kind", "message"),
    [
        (
            "gendre",
            DataError,
            r"table.csv has no column 'gendre': did you mean 'gender'\?.*set group to one of",
        ),
        ("gender*size", DataError, "has no column 'size'"),
        ("size:0-5", DataError, "has no column 'size'"),
        ("gender:0-5", DataError, "column 'gender' holds 'f' in row 0, which is no number"),
        ("age:young", ParameterError, "the bin 'young' cannot be read"),
        ("age:", ParameterError, "the bin '' cannot be read"),
        ("age:0-18,18-40", ParameterError, "the bins '0-18' and '18-40' must ascend without overlap"),
        ("age:19-40,0-18", ParameterError, "must ascend"),
        ("age:40-19", ParameterError, "the bin '40-19' must ascend"),
    ],
)
def test_what_cannot_be_read(columns, expression, kind, message):
    with pytest.raises(kind, match=message) as caught:
        read(columns, expression)
    assert "\n" not in str(caught.value)


def test_a_value_named_all_is_not_taken_for_all_of_them():
    columns = Columns("table.csv", {"who": ["all", "some", "all"]}, lambda rows: f"row {rows[0]}")
    assert read(columns, "who").names == ("all (value)", "some")
