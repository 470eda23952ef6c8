"""Methods side by side: which are compared, what their rows hold, and what several seeds say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from fairkd.cli import main
from fairkd.comparison import (
    as_differences,
    as_points,
    best_method,
    compare_methods,
    list_methods,
    methods_table,
    pareto_methods,
    seed_predictions,
    summarize_methods,
)
from fairkd.config import Experiment
from fairkd.distillers import list_distillers
from fairkd.errors import FairkdWarning, ParameterError
from fairkd.evaluation import compare
from fairkd.mitigation import list_mitigations
from fairkd.narrative import describe_methods
from fairkd.pareto import fairest_near_best, not_beaten
from fairkd.recipes import distill_student, train_teacher


def names(**parameters: object) -> list[str]:
    return [method.name for method in list_methods(Experiment(**parameters))]


def test_plain_kd_comes_first_and_once():
    found = names(distillers=["dkd", "kd", "kd+0.5*rkd"], mitigations=["laftr:3", "reweighting"])
    assert found == ["kd", "dkd", "kd+0.5*rkd", "kd + laftr:3", "kd + reweighting"]


def test_a_weight_after_the_colon_is_the_adversary_s():
    methods = list_methods(Experiment(distillers=[], mitigations=["laftr:3", "projection"]))
    assert [method.experiment.adversary_weight for method in methods[1:]] == [3.0, 10.0]
    assert [method.family for method in methods] == ["baseline", "mitigation", "mitigation"]


def test_all_stands_for_every_name_that_is_not_named_beside_it():
    found = names(distillers=["all"], mitigations=["all", "laftr:3"])
    assert set(list_distillers()["name"]) - {"none"} <= set(found)
    mitigations = [name for name in list_mitigations()["name"] if name not in ("none", "laftr")]
    assert {f"kd + {name}" for name in mitigations} | {"kd + laftr:3"} <= set(found)
    assert "kd + laftr" not in found


def test_every_pair_leaves_out_what_cannot_be_and_says_why():
    options = {"distillers": ["mfd", "co_advise"], "mitigations": ["domain_independent"]}
    with pytest.warns(FairkdWarning, match="co_advise \\+ domain_independent is left out: .*heads"):
        found = names(**options, every_pair=True)
    assert found == ["kd", "mfd", "co_advise", "kd + domain_independent", "mfd + domain_independent"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"distillers": ["dkdd"]}, "did you mean 'dkd'"),
        ({"mitigations": ["laftr:much"]}, "has no number after the colon"),
        ({"mitigations": ["reweighting:3"]}, "reweighting has no weight"),
        ({"mitigations": ["domain_independent"], "distiller": "co_advise"}, "cannot be combined"),
    ],
)
def test_what_cannot_be_compared_is_refused(parameters, message):
    with pytest.raises(ParameterError, match=message):
        names(**parameters)


@pytest.fixture
def experiment(tiny_experiment: Experiment) -> Experiment:
    return tiny_experiment.replace(
        teacher_epochs=1, student_epochs=1, distillers=["rkd"], mitigations=["reweighting"], seeds=2
    )


@pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")
def test_rows_are_the_models_own_and_their_paired_differences(experiment, tiny_splits):
    table = compare_methods(experiment, tiny_splits)
    models = ["teacher", "student alone", "kd", "rkd", "kd + reweighting"]
    assert list(dict.fromkeys(table["method"])) == models
    assert len(table) == len(models) * 2 * 3 and set(table["seed"]) == {0, 1}
    here = experiment.replace(seed=1)
    teacher = train_teacher(here, tiny_splits)
    kd, rkd = (
        distill_student(here.replace(distiller=name, mitigation="none"), teacher, tiny_splits)
        for name in ("kd", "rkd")
    )
    expected = compare({"kd": kd.predictions, "rkd": rkd.predictions}, replicates=100)
    expected = expected[(expected["metric"] == "recall_gap") & (expected["class"] == "all")].iloc[0]
    row = table[(table["method"] == "rkd") & (table["seed"] == 1) & (table["metric"] == "recall_gap")].iloc[0]
    assert row["value"] == expected["model_value"]
    assert row[["difference", "difference_low", "difference_high"]].tolist() == pytest.approx(
        expected[["value", "low", "high"]].tolist(), nan_ok=True
    )
    assert table.loc[table["method"] == "kd", "difference"].isna().all()
    assert (table["param_count"] > 0).all()


@pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")
def test_a_further_teacher_has_a_row_and_is_no_student(experiment, tiny_splits):
    here = experiment.replace(distillers=["ensemble"], mitigations=[], co_teachers=["test_resnet"], seeds=1)
    table = compare_methods(here, tiny_splits)
    name = "co-teacher test_resnet"
    assert list(dict.fromkeys(table["method"])) == ["teacher", name, "student alone", "kd", "ensemble"]
    mine = table[table["method"] == name].set_index("metric")
    expected = train_teacher(here.replace(teacher="test_resnet"), tiny_splits).predictions
    assert mine.loc["accuracy", "value"] == (expected.predicted == expected.labels).mean()
    assert mine["difference"].isna().all() and not mine["supported"].any()
    summary = summarize_methods(table)
    assert name in methods_table(summary).index
    assert name not in set(as_points(summary)["model"]) | pareto_methods(summary)
    assert not any(name in sentence for sentence in describe_methods(summary, "kd", ["kd"]))


def rows(method: str, accuracy: list[float], gap: list[float], difference: list[float]) -> list[dict]:
    return [
        {
            **{
                "method": method,
                "distiller": "",
                "mitigation": "",
                "family": "",
                "seed": seed,
                "metric": metric,
            },
            **{"value": value, "low": value, "high": value, "difference": change},
            **{
                "difference_low": change - 0.1,
                "difference_high": change + 0.1,
                "supported": abs(change) > 0.1,
            },
            **{"validation": value, "param_count": 7, "seconds": 2.0},
        }
        for metric, values, changes in (
            ("accuracy", accuracy, [0.0] * len(gap)),
            ("recall_gap", gap, difference),
        )
        for seed, (value, change) in enumerate(zip(values, changes, strict=True))
    ]


@pytest.fixture
def summary() -> pd.DataFrame:
    nan = [np.nan] * 3
    table = pd.DataFrame(
        rows("teacher", [0.95] * 3, [0.01] * 3, nan)
        + rows("kd", [0.90, 0.92, 0.94], [0.2, 0.3, 0.4], nan)
        + rows("better", [0.90, 0.92, 0.94], [0.1, 0.1, 0.1], [-0.1, -0.2, -0.3])
        + rows("fair but poor", [0.5] * 3, [0.05] * 3, [-0.15, -0.25, -0.35])
    )
    return summarize_methods(table)


def test_the_interval_over_the_seeds_is_student_s(summary):
    row = summary[(summary["method"] == "better") & (summary["metric"] == "recall_gap")].iloc[0]
    low, high = stats.t.interval(0.95, 2, loc=-0.2, scale=0.1 / np.sqrt(3))
    assert row[["difference", "low", "high"]].tolist() == pytest.approx([-0.2, low, high])
    assert row["seeds"] == 3 and row["supported_seeds"] == 2
    kd = summary[(summary["method"] == "kd") & (summary["metric"] == "accuracy")].iloc[0]
    assert kd[["mean", "std"]].tolist() == pytest.approx([0.92, 0.02])


def test_the_p_value_is_that_of_student_s_test(summary):
    row = summary[(summary["method"] == "better") & (summary["metric"] == "recall_gap")].iloc[0]
    assert row["p_value"] == pytest.approx(stats.ttest_1samp([-0.1, -0.2, -0.3], 0).pvalue)
    same = summary[(summary["method"] == "better") & (summary["metric"] == "accuracy")].iloc[0]
    assert same["p_value"] == 1


def test_seeds_that_agree_by_chance_settle_nothing():
    table = pd.DataFrame(
        rows("kd", [0.9] * 2, [0.2] * 2, [np.nan] * 2) + rows("same", [0.9] * 2, [0.15] * 2, [-0.05, -0.05])
    )
    row = summarize_methods(table).query("method == 'same' and metric == 'recall_gap'").iloc[0]
    # Each seed's own interval reaches 0.1 to both sides.
    assert row[["difference", "low", "high"]].tolist() == pytest.approx([-0.05, -0.15, 0.05])
    assert row["p_value"] == 1 and row["supported_seeds"] == 0


def test_what_several_seeds_settle_is_adjusted_for_the_number_of_methods():
    # Student's p of each is 0.013.
    names, changes = [f"method {i}" for i in range(5)], [-0.08, -0.10, -0.12]
    table = rows("teacher", [0.95] * 3, [0.01] * 3, [np.nan] * 3) + rows(
        "kd", [0.9] * 3, [0.2] * 3, [np.nan] * 3
    )
    one, all_five = (
        summarize_methods(
            pd.DataFrame([*table, *(row for n in some for row in rows(n, [0.9] * 3, [0.1] * 3, changes))])
        )
        for some in (names[:1], names)
    )
    (said,) = [s for s in describe_methods(one, "kd", ["kd"]) if "a smaller" in s]
    assert said == (
        "1 of 1 other students have a smaller recall gap than plain KD, adjusted for 1 comparison by Holm's method: "
        "method 0."
    )
    (said,) = [s for s in describe_methods(all_five, "kd", ["kd"]) if "a smaller" in s]
    assert said.startswith("0 of 5 other students have a smaller recall gap than plain KD, adjusted for 5 ")
    (said,) = [s for s in describe_methods(all_five, "kd", ["kd"], level=0.1) if "a smaller" in s]
    assert said.startswith("5 of 5")


def test_of_one_seed_the_interval_is_the_bootstrap_s():
    reference = rows("teacher", [0.95], [0.01], [np.nan]) + rows("kd", [0.9], [0.2], [np.nan])
    one = summarize_methods(
        pd.DataFrame(reference + rows("a", [0.9], [0.1], [-0.2]) + rows("b", [0.9], [0.1], [-0.1]))
    )
    row = one[(one["method"] == "b") & (one["metric"] == "recall_gap")].iloc[0]
    assert row[["difference", "low", "high"]].tolist() == pytest.approx([-0.1, -0.2, 0.0])
    assert np.isnan(row["std"]) and np.isnan(row["p_value"])
    (said,) = [s for s in describe_methods(one, "kd", ["kd"]) if "a smaller" in s]
    assert said.endswith("a smaller recall gap than plain KD, with an interval that excludes 0: a.")


def test_the_rule_and_the_front_leave_the_teacher_out(summary):
    assert best_method(summary, tolerance=0.01) == "better"
    assert best_method(summary, tolerance=0.5) == "fair but poor"
    assert pareto_methods(summary) == {"better", "fair but poor"}


def test_what_has_collapsed_is_named_and_takes_no_part(summary):
    fallen = summary.assign(collapsed=summary["method"] == "better")
    assert best_method(fallen, tolerance=0.01) == "kd"
    assert pareto_methods(fallen) == {"kd", "fair but poor"}
    sentences = describe_methods(fallen, "kd", ["kd"])
    assert sentences[-1].startswith(
        "better has collapsed: it predicts at most half of the classes with some seed"
    )
    every = summary.assign(collapsed=True)
    assert best_method(every, tolerance=0.01) is None and pareto_methods(every) == set()
    assert all("has collapsed" in sentence for sentence in describe_methods(every, None, []))


def test_without_a_recall_gap_the_rule_names_nothing(summary):
    gaps = summary["metric"] == "recall_gap"
    undefined = summary.assign(**{name: summary[name].mask(gaps) for name in ("mean", "validation")})
    assert best_method(undefined, tolerance=0.01) is None and pareto_methods(undefined) == set()
    sentences = describe_methods(undefined, None, [])
    assert sentences[0] == "Over 3 seeds plain KD has an accuracy of 0.920, its teacher 0.950."
    assert len(sentences) == 2 and not any("nan" in sentence for sentence in sentences)
    one = summary["validation"].mask(gaps & (summary["method"] == "better"))
    assert best_method(summary.assign(validation=one), tolerance=0.01) == "kd"


def test_what_the_figures_take(summary):
    differences = as_differences(summary)
    assert set(differences["baseline"]) == {"kd"} and "kd" not in set(differences["model"])
    points = as_points(summary).set_index("model")
    assert points.loc["student_kd", ["accuracy", "accuracy_low", "accuracy_high"]].tolist() == pytest.approx(
        [0.92, 0.90, 0.94]
    )
    assert points["on_front"].to_dict() == {
        "teacher": False,
        "student_kd": False,
        "better": True,
        "fair but poor": True,
    }


def test_the_table_to_read(summary):
    worst = summary[summary["metric"] == "accuracy"].assign(metric="worst_group_accuracy")
    table = methods_table(pd.concat([summary, worst]))
    assert list(table.index) == ["teacher", "kd", "better", "fair but poor"]
    assert table.loc["kd", "accuracy"] == "0.920 ± 0.020" and table.loc["kd", "Δ mean recall gap"] == ""
    assert table.loc["better", "Δ mean recall gap"].startswith("−0.200 (−0.448 to ")


@pytest.mark.filterwarnings("ignore:the test split of imagefolder")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--mitigations", ""], 0),
        (["--mitigations", "reweighting"], 0),
        (["--mitigations", "laftr"], 2),
        ([], 2),
    ],
)
def test_a_comparison_checks_the_methods_that_it_compares(words, code, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for path in (tmp_path / "images" / name / f"{i}.png" for name in ("cat", "dog") for i in range(12)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    places = {
        "data_root": tmp_path / "images",
        "output_dir": tmp_path / "outputs",
        "cache_dir": tmp_path / "cache",
    }
    common = [word for name, value in places.items() for word in ("-p", name, str(value))]
    command = [
        "compare",
        "--dry-run",
        "-p",
        "dataset",
        "imagefolder",
        *common,
        "--distillers",
        "kd,dkd",
        *words,
    ]
    assert main(command) == code
    # Without a group, what tells groups apart is refused, where it is compared.
    assert ("tells groups apart" in capsys.readouterr().err) == bool(code)


def test_the_command_line_lists_the_methods_and_trains_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["compare", "--distillers", "dkd,kd+rkd", "--mitigations", "laftr:3", "--seeds", "3", "--dry-run"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "05_method_comparison: would run" in shown
    assert [line for line in shown.splitlines() if line.endswith(": 3 seeds")] == [
        *("kd: 3 seeds", "dkd: 3 seeds", "kd+rkd: 3 seeds", "kd + laftr:3: 3 seeds")
    ]
    assert main(["compare", "--distillers", "dkdd"]) == 2
    assert main(["compare", "-p", "mitigation", "laftr"]) == 2
    assert "mitigation does nothing in `fairkd compare`: name it in --mitigations" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")
def test_seeds_on_one_split_predict_the_same_samples_with_other_models(experiment, tiny_splits):
    found = seed_predictions(experiment, tiny_splits)
    assert {name: len(seeds) for name, seeds in found.items()} == {"teacher": 2, "student_kd": 2}
    for first, second in found.values():
        assert (first.frame["index"] == second.frame["index"]).all()
        assert not np.array_equal(first.probabilities, second.probabilities)
    teacher = train_teacher(experiment.replace(seed=1), tiny_splits)
    student = distill_student(experiment.replace(seed=1, mitigation="none"), teacher, tiny_splits)
    assert np.array_equal(found["student_kd"][1].probabilities, student.predictions.probabilities)


@given(
    st.lists(
        st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, float("nan")])] * 2), min_size=1, max_size=12
    )
)
def test_the_front_is_that_of_the_definition(points):
    accuracy, disparity = np.array(points).T
    expected = [
        not (np.isnan(a) or np.isnan(d))
        and not any(b >= a and e <= d and (b > a or e < d) for b, e in points)
        for a, d in points
    ]
    assert not_beaten(accuracy, disparity).tolist() == expected


@given(
    st.lists(
        st.tuples(st.sampled_from([0.5, 0.6, 0.9]), st.sampled_from([0.0, 0.1, 0.2, np.nan])), max_size=6
    ),
    st.sampled_from([0.0, 0.15, 1.0]),
)
def test_the_rule_names_the_first_of_the_smallest_gaps_near_the_best(points, tolerance):
    known = [(accuracy, gap, place) for place, (accuracy, gap) in enumerate(points) if gap == gap]
    best = max((accuracy for accuracy, _, _ in known), default=0)
    near = [(gap, place) for accuracy, gap, place in known if accuracy >= best - tolerance]
    accuracy, disparity = np.array([*points, (0, np.nan)]).T
    assert fairest_near_best(accuracy, disparity, tolerance) == min(near, default=(0, None))[1]
