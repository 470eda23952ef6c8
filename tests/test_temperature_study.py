"""The temperature study against the students and comparisons that it is made of, and the sentences about it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fairkd.analysis import prediction_sensitivity
from fairkd.config import Experiment
from fairkd.errors import ParameterError
from fairkd.evaluation import compare, evaluate
from fairkd.narrative_temperature import describe_temperature_study
from fairkd.recipes import distill_student, is_trained, temperature_study, train_teacher

#: A student of one epoch may collapse.
pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")
METRICS = ["accuracy", "recall_gap", "worst_group_accuracy", "prediction_sensitivity"]


@pytest.fixture
def experiment(tiny_experiment) -> Experiment:
    return tiny_experiment.replace(
        teacher_epochs=1, student_epochs=1, temperature=4, temperatures=(10, 1, 4), distiller="dkd"
    )


def test_the_study_is_plain_kd_at_each_temperature(experiment, tiny_splits):
    teacher = train_teacher(experiment, tiny_splits)
    table = temperature_study(experiment, teacher, tiny_splits)
    places = [(t, s, m) for t in (1, 4, 10) for s in ("validation", "test") for m in METRICS]
    assert list(table[["temperature", "split", "metric"]].itertuples(index=False, name=None)) == places
    assert (table["own"] == (table["temperature"] == 4)).all() and set(table["seed"]) == {0}
    rows = table.set_index(["temperature", "split", "metric"]).sort_index()
    plain = experiment.replace(distiller="kd", mitigation="none")
    students = {}
    for temperature in (1, 4, 10):
        one = plain.replace(temperature=temperature)
        assert is_trained(one, teacher, tiny_splits)
        students[temperature] = distill_student(one, teacher, tiny_splits)
        for split, images in (("validation", tiny_splits.validation), ("test", tiny_splits.test)):
            student = students[temperature]
            predictions = student.predictions if split == "test" else student.validation
            expected = evaluate(predictions, replicates=100)
            expected = expected[(expected["class"] == "all") & (expected["group"] == "all")].set_index(
                "metric"
            )
            for metric in METRICS[:3]:
                row = rows.loc[(temperature, split, metric)]
                for name in ("value", "low", "high", "n"):
                    assert row[name] == pytest.approx(expected.loc[metric, name], nan_ok=True)
            pairs = prediction_sensitivity(predictions, images.images / 255).set_index("pairs").loc["all"]
            row = rows.loc[(temperature, split, METRICS[3])]
            assert row[["value", "low", "high"]].tolist() == pytest.approx(
                pairs[["value", "low", "high"]].tolist()
            )
            assert row["n"] == 24
    models = {"own": students[4].predictions, "other": students[10].predictions}
    difference = compare(models, replicates=100).query("`class` == 'all'").set_index("metric").loc["accuracy"]
    row = rows.loc[(10, "test", "accuracy")]
    assert (
        row["difference"]
        == difference["value"]
        == pytest.approx(row["value"] - rows.loc[(4, "test", "accuracy")]["value"])
    )
    assert [row["difference_low"], row["difference_high"]] == [difference["low"], difference["high"]]
    assert row["supported"] == difference["supported"]
    assert rows.loc[4, "difference"].isna().all() and not rows.loc[4, "supported"].any()


def test_without_further_temperatures_the_run_s_own_is_measured(experiment, tiny_splits):
    one = experiment.replace(temperatures=())
    table = temperature_study(one, train_teacher(one, tiny_splits), tiny_splits)
    assert set(table["temperature"]) == {4} and table["own"].all() and table["difference"].isna().all()
    assert table["value"].notna().any()
    (sentence,) = describe_temperature_study(table)
    assert sentence.startswith("T = 4 alone was tried")


@pytest.mark.parametrize(
    ("value", "read"), [("[2, 8]", (2.0, 8.0)), ("2, 8", (2.0, 8.0)), ("8", (8.0,)), ([], ()), ("[]", ())]
)
def test_temperatures_can_be_written_as_a_list(value, read):
    assert Experiment(temperatures=value).temperatures == read


@pytest.mark.parametrize("value", [[0], [101], "[4, -1]", "4, -1", "[4, 8"])
def test_temperatures_out_of_range_are_refused(value):
    with pytest.raises(ParameterError, match=r"^temperatures="):
        Experiment(temperatures=value)


# Sentences


def study(
    gaps: dict[float, float],
    *,
    own: float = 4,
    difference: tuple[float, float, float] = (-0.05, -0.08, -0.01),
) -> pd.DataFrame:
    """A table with the given recall gaps on both splits, and one difference."""
    value, low, high = difference
    rows = [
        {
            "temperature": t,
            "split": split,
            "metric": metric,
            "value": gap,
            "low": gap - 0.01,
            "high": gap + 0.01,
        }
        for split in ("validation", "test")
        for t, gap in gaps.items()
        for metric in METRICS
    ]
    table = pd.DataFrame(rows).assign(seed=3, confidence=0.9, n=50)
    table["own"] = table["temperature"] == own
    known = ~table["own"] & (table["metric"] != "prediction_sensitivity")
    table["difference"], table["difference_low"] = (
        np.where(known, value, np.nan),
        np.where(known, low, np.nan),
    )
    table["difference_high"] = np.where(known, high, np.nan)
    return table.assign(supported=known & ((low > 0) | (high < 0)))


def test_the_smallest_gap_is_named_and_its_difference_judged():
    text = describe_temperature_study(study({1: 0.3, 4: 0.2, 10: 0.1}))
    assert "Of T = 1, 4, 10" in text[0] and "**T = 10**: 0.100 (0.090 to 0.110), against 0.200" in text[0]
    assert text[1] == (
        "On test data the mean recall gap at T = 10 differs from that at T = 4 by −0.050 (90 % interval −0.080 to "
        "−0.010): it is **smaller**."
    )
    assert text[2].startswith("On test data the accuracy at T = 10")
    assert "arXiv 2410.08407" in text[3]
    assert "mean recall gap falls at every step, the published order: 0.300 at T = 1" in text[4]
    assert text[4].endswith("; 2 of 2 paired differences to T = 4 exclude 0.") and "paired" not in text[5]
    assert "prediction sensitivity falls at every step" in text[5] and "seed (3)" in text[6]


def test_an_open_difference_and_another_order_are_called_so():
    text = describe_temperature_study(
        study({1: 0.1, 4: 0.3, 10: 0.2, 20: 0.01}, difference=(-0.02, -0.05, 0.01))
    )
    assert "**T = 20**" in text[0] and "**not settled**" in text[1]
    assert "neither falls nor rises throughout" in text[4] and "T = 20" not in text[4]
    assert text[4].endswith("; 0 of 3 paired differences to T = 4 exclude 0.")
    rising = describe_temperature_study(study({1: 0.1, 4: 0.2, 10: 0.3}))
    assert "rises at every step, the reverse of the published order" in rising[4]


def test_where_the_run_s_own_is_smallest_it_is_compared_with_the_next():
    text = describe_temperature_study(study({1: 0.3, 4: 0.1, 10: 0.2}, difference=(0.1, 0.05, 0.2)))
    assert "**T = 4**, which is this run's" in text[0]
    assert "at T = 10 differs from that at T = 4 by +0.100" in text[1] and text[1].endswith(
        "it is **larger**."
    )
    same = describe_temperature_study(study({1: 0.3, 4: 0.1, 10: 0.2}, difference=(0, 0, 0)))
    assert same[1] == "On test data the mean recall gap at T = 10 is the same as at T = 4."


def test_an_undefined_gap_is_said_in_one_sentence():
    (sentence,) = describe_temperature_study(study({1: np.nan, 4: np.nan}))
    assert "is undefined on these data" in sentence


def test_too_few_temperatures_up_to_ten_are_not_called_an_order():
    text = describe_temperature_study(study({4: 0.2, 20: 0.1}))
    assert text[4] == "Here too few temperatures up to 10 have a mean recall gap to compare."
