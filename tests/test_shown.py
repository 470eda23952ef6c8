"""The main objects show themselves: a line in a terminal, a small table in a notebook, with every text escaped."""

from __future__ import annotations

import numpy as np
import pytest

from fairkd.config import Experiment
from fairkd.data import check_dataset, load_dataset
from fairkd.data.audit import audit
from fairkd.predictions import Predictions
from fairkd.shown import decimals, facts_html, first_of, signed

HOSTILE = "<script>alert(1)</script>"


def predictions(name: str = "cat", n: int = 4) -> Predictions:
    codes = np.arange(n) % 2
    return Predictions.from_arrays(
        labels=codes,
        groups=codes,
        probabilities=np.tile([0.9, 0.1], (n, 1)),
        class_names=[name, "dog"],
        group_names=["red", "green"],
    )


def test_an_experiment_is_what_was_changed():
    experiment = Experiment(temperature=2.0, adversary_weights=(0.5, 3.0), output_dir="elsewhere")
    assert repr(Experiment()) == "Experiment()"
    assert (
        repr(experiment)
        == "Experiment(temperature=2.0, adversary_weights=(0.5, 3.0), output_dir='elsewhere')"
    )
    assert eval(repr(experiment)) == experiment
    assert "nothing: the defaults" in Experiment()._repr_html_()
    shown = Experiment(data_root=HOSTILE)._repr_html_()
    assert "data_root" in shown and HOSTILE not in shown


@pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")
def test_data_are_counts_and_names_and_not_pixels():
    splits, plan = load_dataset("colored-digits"), check_dataset("colored-digits")
    assert plan.summary() == splits.summary() and "array" not in repr(plan)
    assert "images: 899 train, 538 validation, 1,258 test" in repr(splits) and len(repr(splits)) < 300
    assert "899" in repr(splits.train) and len(repr(splits.train)) < 100
    for text in ("32 x 32 pixels", "2: red, green"):
        assert text in splits._repr_html_()
    assert "Cramér&#x27;s V of class and group, training" in audit(splits)._repr_html_()


def test_predictions_tell_their_size_and_accuracy():
    assert repr(predictions()) == (
        "<Predictions samples: 4, split: test, classes: 2: cat, dog, groups: 2: red, green, accuracy: 0.500>"
    )
    shown = predictions(HOSTILE)._repr_html_()
    assert HOSTILE not in shown and "&lt;script&gt;" in shown
    assert "none: no sample" in repr(predictions(n=0))


def test_long_lists_of_names_are_cut():
    assert first_of(map(str, range(12)), most=3) == "12: 0, 1, 2 and 9 more"
    assert HOSTILE not in facts_html({HOSTILE: HOSTILE})


@pytest.mark.parametrize(
    ("value", "plain", "with_sign"),
    [
        (0.1234, "0.123", "+0.123"),
        (-0.1234, "−0.123", "−0.123"),
        (0.0, "0.000", "0.000"),
        (-0.0004, "0.000", "0.000"),
        (0.0004, "0.000", "0.000"),
        (float("nan"), "n/a", "n/a"),
        (None, "n/a", "n/a"),
    ],
)
def test_zero_has_no_sign_and_nothing_is_n_a(value: float | None, plain: str, with_sign: str):
    assert (decimals(value), signed(value)) == (plain, with_sign)
