"""What is varied: lists and ranges, as text or as values, and what cannot be."""

from __future__ import annotations

import pytest

from fairkd.errors import ParameterError
from fairkd.sweeps.space import Range, Values, corners, grid, read_space, show_value, split_pairs


def read(**space: object) -> list[Values | Range]:
    return read_space(space)  # type: ignore[arg-type]


def test_words_are_read_as_the_parameter_s_own_type():
    assert read(adversary_weight="0,0.3,1") == [Values("adversary_weight", (0.0, 0.3, 1.0))]
    assert read(student_epochs="3,5") == [Values("student_epochs", (3, 5))]
    assert read(student="test_resnet, resnet10t") == [Values("student", ("test_resnet", "resnet10t"))]
    assert read(adversary_balanced="true,false") == [Values("adversary_balanced", (True, False))]
    assert read(skew="none,0.9") == [Values("skew", (None, 0.9))]


def test_commas_inside_brackets_separate_nothing():
    (one,) = read(co_teachers='["test_vit","resnet10t"],["test_vit"]')
    assert one == Values("co_teachers", (("test_vit", "resnet10t"), ("test_vit",)))


def test_values_given_as_values_are_the_same_and_occur_once():
    assert read(temperature=[1, 4, 1.0]) == read(temperature="1,4,1")
    assert read(temperature=[1, 4, 1.0])[0].ends == (1.0, 4.0)


def test_ranges():
    assert read(adversary_weight="0.1..30:log") == [Range("adversary_weight", 0.1, 30.0, True, False)]
    assert read(student_epochs="2..9") == [Range("student_epochs", 2, 9, False, True)]
    assert read(learning_rate="1e-4..1e-2:log")[0].ends == (1e-4, 1e-2)


def test_a_space_written_out_is_read_again_as_the_same_space():
    teams = '["test_vit","resnet10t"],["test_vit"],[]'
    numbers = {"adversary_weight": "0.1..30:log", "temperature": "1,2.5", "skew": "none,0.9"}
    for one in read(**numbers, student="a..b", co_teachers=teams):
        assert read(**{one.name: str(one).partition("=")[2]}) == [one]


def test_the_grid_is_every_combination():
    points = grid(read(adversary_weight="0,1", temperature="2,4"))
    assert [tuple(point.values()) for point in points] == [(0, 2), (0, 4), (1, 2), (1, 4)]


def test_the_corners_hold_every_value_and_both_ends_but_not_every_combination():
    points = corners(read(temperature="1..9", adversary_input="features,logits"))
    assert [point["temperature"] for point in points] == [1, 9, 1, 1]
    assert [point["adversary_input"] for point in points] == ["features", "features", "features", "logits"]


def test_no_two_values_look_the_same():
    assert [show_value(value) for value in (4.0, 0.1234567, 0.1234568, ("a", "b"), None)] == [
        *("4", "0.1234567", "0.1234568", '["a","b"]', "None")
    ]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "a sweep varies something"),
        ({"temprature": "1,2"}, "did you mean 'temperature'"),
        ({"seed": "0,1"}, "--param seed cannot be swept; use --seeds"),
        (
            {"every_pair": "true,false"},
            "--param every_pair cannot be swept; it is of `fairkd compare`: vary dist",
        ),
        ({"distillers": [["kd"], ["dkd"]]}, "--param distillers cannot be swept; it is of `fairkd compare`"),
        ({"temperatures": [[1], [2]]}, "--param temperatures cannot be swept; .*vary temperature"),
        ({"device": "cpu,cuda"}, "--param device cannot be swept; use -p"),
        ({"output_dir": "a,b"}, "--param output_dir cannot be swept; use -p output_dir"),
        ({"temperature": "1,0"}, "temperature=0 is not allowed"),
        ({"temperature": "hot"}, "temperature='hot' is not allowed"),
        ({"temperature": "0..4"}, "temperature=0 is not allowed"),
        ({"temperature": "4..4"}, "is no range"),
        ({"adversary_weight": "0..4:log"}, "is no range"),
        ({"student": "1..2"}, "is no range"),
        ({"temperature": []}, "has no values"),
        ({"temperature": " , "}, "has no values"),
    ],
)
def test_what_cannot_be_swept_is_refused(space, message):
    with pytest.raises(ParameterError, match=message):
        read_space(space)


def test_a_range_is_not_for_a_grid():
    with pytest.raises(ParameterError, match=r"temperature=1\.0\.\.4\.0: a range needs --search optuna"):
        grid(read(temperature="1..4"))


@pytest.mark.parametrize(
    ("words", "message"),
    [(["temperature"], "has no values"), (["temperature="], "has no values"), (["a=1", "a=2"], "twice")],
)
def test_words_of_the_command_line_that_are_no_pairs(words, message):
    with pytest.raises(ParameterError, match=message):
        split_pairs(words)
    assert split_pairs(["a=1,2", "b=x=y"]) == {"a": "1,2", "b": "x=y"}
