"""benchmarks/reproduce: what is noted is not trained again, and sentences follow from the numbers."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

import fairkd

FOLDER = Path(__file__).parents[1] / "benchmarks" / "reproduce"
PAGES = ("cifar10s", "classwise", "temperature", "utkface")


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in (*PAGES, "study", "tables"):
        sys.modules.pop(name, None)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Make a study of three models that train in a second each."""
    study = importlib.import_module("study")
    monkeypatch.setattr(study, "RESULTS", tmp_path)

    def make(**changes):
        experiment = fairkd.Experiment(
            samples=300,
            image_size=16,
            teacher="test_resnet",
            teacher_epochs=1,
            student_epochs=1,
            mitigation="none",
            precision="float32",
            output_dir=str(tmp_path / "outputs"),
        )
        models = (
            study.Model("teacher"),
            study.Model("KD", {"distiller": "kd", **changes}, "teacher"),
            study.Model("alone", {"distiller": "none"}, "teacher"),
        )
        metrics, extra = (
            ("accuracy", "recall_gap"),
            lambda predictions, splits: {"twice": 2 * len(splits.test)},
        )
        return study.Study("small", experiment, {"digits": {}}, models, metrics, ("teacher",), extra)

    return make


@pytest.fixture
def trained(monkeypatch):
    """Note the parameters of every training that is asked for."""
    seen = []
    for name in ("train_teacher", "distill_student"):
        original = getattr(fairkd, name)

        def spy(experiment, *others, original=original):
            seen.append(experiment)
            return original(experiment, *others)

        monkeypatch.setattr(fairkd, name, spy)
    return seen


@pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")
def test_every_model_is_noted_once_with_its_differences(small, trained):
    study = small()
    study.train(3, ["digits"])
    assert len(trained) == 3 and {one.seed for one in trained} == {3}
    table = study.read()
    assert set(table["model"]) == {"teacher", "KD", "alone"} and set(table["seed"]) == {3}
    compared = table[table["base"] == "teacher"]
    assert set(compared["model"]) == {"KD", "alone"} and (compared["low"] <= compared["high"]).all()

    def value(model: str, base: str) -> float:
        wanted = (table["model"] == model) & (table["metric"] == "accuracy") & (table["split"] == "test")
        (found,) = table[wanted & (table["base"] == base)]["value"]
        return found

    assert value("KD", "teacher") == pytest.approx(value("KD", "") - value("teacher", ""), abs=2e-6)
    assert set(table[table["metric"] == "twice"]["value"]) == {2 * len(fairkd.load_splits(trained[0]).test)}
    trained.clear()
    study.train(3, ["digits"])
    assert trained == []


@pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")
def test_for_a_student_without_a_teacher_none_is_trained_and_it_is_the_same(small, trained):
    study = small()
    study.train(0, ["digits"], ["alone"])
    assert [one.distiller for one in trained] == ["none"]
    numbers = study.read().query("metric != 'seconds'")["value"].tolist()
    study.file.unlink()
    study.train(0, ["digits"])
    beside = study.read().query("model == 'alone' and metric != 'seconds' and base == ''")
    assert beside["value"].tolist() == numbers


@pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")
def test_a_model_with_other_parameters_is_trained_again_and_takes_the_old_one_s_place(small, trained):
    small().train(0, ["digits"])
    trained.clear()
    changed = small(temperature=2.0)
    assert set(changed.read()["model"]) == {"teacher", "alone"}
    changed.train(0, ["digits"])
    # The teacher is loaded, for its predictions and as the one who teaches.
    assert [(one.distiller, one.temperature) for one in trained[1:]] == [("kd", 2.0)]
    noted = json.loads(changed.file.read_text(encoding="utf-8"))
    assert [one["model"] for one in noted] == ["teacher", "KD", "alone"]
    assert set(small().read()["model"]) == {"teacher", "alone"}


@pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")
def test_what_another_machine_noted_is_compared_by_its_numbers_without_training_it_again(
    small, trained, tmp_path
):
    study = replace(small(), bases=("teacher", "alone"))
    study.train(0, ["digits"], ["teacher", "alone"])
    noted = study.read()
    shutil.rmtree(tmp_path / "outputs")
    trained.clear()
    study.train(0, ["digits"])
    # The teacher teaches; the student alone is only compared with.
    assert [one.distiller for one in trained[1:]] == ["kd"]
    table = study.read()
    pd.testing.assert_frame_equal(table[table["model"] != "KD"].reset_index(drop=True), noted)
    kd = table[(table["model"] == "KD") & (table["split"] == "test")].set_index(["base", "metric"])
    assert kd.loc["teacher", "low"].notna().all()
    assert kd.loc["alone", ["low", "high"]].isna().all(axis=None)
    alone = noted[(noted["model"] == "alone") & (noted["split"] == "test") & (noted["base"] == "")]
    expected = kd.loc["", "value"] - alone.set_index("metric")["value"]
    pd.testing.assert_series_equal(kd.loc["alone", "value"], expected[kd.loc["alone"].index], atol=2e-6)


def test_where_data_lie_is_no_part_of_a_model_s_identity():
    module = importlib.import_module("utkface")
    one, other = (module.study(Path(name), "outputs") for name in ("here", "there"))
    for setting in one.settings:
        identities = [one.identity(setting, model) for model in one.models]
        assert identities == [other.identity(setting, model) for model in other.models]
        assert len(set(identities)) == len(identities)


def test_student_s_interval_over_the_seeds_is_scipy_s():
    tables = importlib.import_module("tables")
    found = pd.Series([0.01, 0.03, 0.02, 0.05])
    mean, low, high = tables.seed_interval(found)
    expected = ttest_1samp(found, 0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((0.0275, expected.low, expected.high))
    assert tables.relation(found) == 1 and tables.relation(-found) == -1
    assert tables.relation(pd.Series([0.01, -0.01])) == 0 and tables.relation(found[:1]) == 0
    # Two seeds that happen to agree settle nothing.
    assert np.isnan(tables.seed_interval(found[:2])[1]) and tables.relation(pd.Series([0.01, 0.01])) == 0


def a_study_table(
    setting: str, metric: str, of_models: dict[str, list[float]], base: str = ""
) -> pd.DataFrame:
    """Rows of a metric on the test split, a value a seed."""
    rows = [
        {
            "setting": setting,
            "model": model,
            "metric": metric,
            "seed": seed,
            "split": "test",
            "base": base,
            "value": value,
        }
        for model, found in of_models.items()
        for seed, value in enumerate(found)
    ]
    return pd.DataFrame(rows).assign(low=np.nan, high=np.nan)


@pytest.mark.parametrize(
    ("differences", "text"),
    [
        ([0.01], "gap +1.0 points (one seed; no interval)"),
        (
            [0.01, -0.02],
            "gap −0.5 points (2 seeds: +1.0 and −2.0; settled over the test images: 0 up, 0 down, of 0)",
        ),
        (
            [0.01, 0.02, 0.03],
            "gap +2.0 points (over 3 seeds −0.5 to +4.5; settled over the test images: 0 up, 0 down, of 0)",
        ),
    ],
)
def test_a_difference_says_how_many_seeds_it_rests_on(differences, text):
    tables = importlib.import_module("tables")
    table = a_study_table("digits", "recall_gap", {"KD": differences}, base="teacher")
    assert tables.say_difference(table, "KD", "teacher", "recall_gap", "gap", setting="digits") == text


def test_models_that_are_no_bases_are_compared_over_the_seeds_that_both_have():
    tables = importlib.import_module("tables")
    table = a_study_table("faces", "recall_gap", {"KD": [0.2, 0.3, 0.4, 0.9], "alone": [0.1, 0.1, 0.1]})
    said = tables.say_pair(table, "KD", "alone", "recall_gap", "gap", setting="faces")
    low, high = (100 * end for end in ttest_1samp([0.1, 0.2, 0.3], 0).confidence_interval())
    assert said == f"gap +20.0 points (over 3 seeds −{-low:.1f} to +{high:.1f})"
    assert tables.say_pair(table, "KD", "other", "recall_gap", "gap", setting="faces") == "gap: not run"


def test_the_gap_of_a_model_without_differences_is_that_of_too_few_images():
    module = importlib.import_module("utkface")
    table = a_study_table("one", "accuracy", {"KD": [0.5]})
    few, many = (module._floor(table, {"test": [[n, n], [n, n]]}, "one") for n in (1, 1_000_000))
    # Of two coins that are thrown once each, every second pair differs.
    assert "of about 50." in few.replace("\n", " ") and "of about 0.1 %" in many.replace("\n", " ")


def test_temperature_s_order_counts_only_what_the_seeds_settle():
    module = importlib.import_module("temperature")
    published = sorted(module.PUBLISHED, key=lambda name: module.PUBLISHED[name])
    spread = np.array([-1e-5, 0.0, 1e-5])
    same = a_study_table(
        "d", module.SENSITIVITY, {n: list(i + np.roll(spread, i) * (1 + i)) for i, n in enumerate(published)}
    )
    assert "10 have the published order in the means. Beyond the seeds" in module._order(same, "d")
    assert "adjusted for 10 pairs, 10 have it, 0 the opposite one, 0 neither." in module._order(same, "d")
    opposite = same.assign(value=-same["value"])
    assert "0 have the published order in the means" in module._order(opposite, "d")
    assert module._order(opposite, "d").endswith("0 have it, 10 the opposite one, 0 neither.")
    few = same[same["seed"] < 2]
    assert module._order(few, "d").endswith("0 have it, 0 the opposite one, 10 neither.")


def test_of_many_differences_fewer_are_beyond_the_seeds_than_each_alone():
    tables = importlib.import_module("tables")
    # Student's p of each is 0.013: of one it is below 5 %, of five times as many it is not.
    found = pd.Series([0.8, 1.0, 1.2])
    assert (
        tables.seed_p_value(found)
        == pytest.approx(ttest_1samp(found, 0).pvalue)
        == pytest.approx(0.013, abs=1e-3)
    )
    assert tables.relations([found]) == [1] and tables.relations([-found] * 3) == [-1] * 3
    assert tables.relations([found] * 5) == [0] * 5
    assert tables.relations([found, found[:2]]) == [0, 0]


def test_the_best_student_is_chosen_over_the_seeds_that_all_have():
    module = importlib.import_module("cifar10s")
    # Of a second seed the first has only one more number, and a worse one.
    found = {"KD": [0.8, 0.2], "MFD": [0.7], "student alone": [0.6, 0.9]}
    scores = a_study_table("d", "accuracy", found)
    sizes = a_study_table("d", "param_count", found).assign(split="", value=1000.0)
    amplification = a_study_table("d", "bias_amplification", found)
    table = pd.concat([scores, scores.assign(split="validation"), amplification, sizes])
    (said,) = module._closest(table, "d")
    assert said.startswith("The best student by validation accuracy over the seeds that all have, KD (1,000 ")
    assert module._closest(table[table["seed"] > 5], "d") == []


def test_where_models_were_trained_is_what_was_noted():
    tables = importlib.import_module("tables")
    rows = a_study_table("faces", "seconds", {"KD": [3600.0, 1800.0]})
    one = rows.assign(precision="float32", machine="A, torch 1")
    two = rows.assign(precision=["bfloat16", "float32"], machine=["A, torch 1", "B, torch 2"])
    text = " ".join(tables.training(one, "x").split())
    assert "1.5 hours" in text and text.endswith(": 2 models, seeds 0, 1, in float32 on A, torch 1.")
    text = " ".join(tables.training(two, "x").split())
    assert "1 model, seed 0, in bfloat16 on A, torch 1; 1 model, seed 1, in float32 on B, torch 2." in text


@pytest.mark.parametrize(
    ("found", "text"),
    [([0.5], "50.0"), ([0.5, 0.6], "55.0 (50.0 and 60.0)"), ([0.5, 0.6, 0.7], "60.0 ± 10.0")],
)
def test_a_spread_takes_three_seeds(found, text):
    assert importlib.import_module("tables").mean_and_spread(pd.Series(found)) == text


def test_a_relative_change_is_the_geometric_mean_of_the_seeds():
    module = importlib.import_module("utkface")
    gaps = {"KD": [0.2, 0.2], "teacher": [0.1, 0.4]}
    table = a_study_table("one", "recall_gap", gaps)
    assert module._change(table, "KD", "teacher", "one") == "+0 %"
    three = a_study_table("one", "recall_gap", {"KD": [0.2] * 3, "teacher": [0.1] * 3})
    assert module._change(three, "KD", "teacher", "one") == "+100 %"


def test_a_best_class_that_falls_makes_no_recalls_closer_together():
    module = importlib.import_module("classwise")
    recalls = {
        "student alone": (0.6, 0.8, 0.9),
        "KD": (0.55, 0.8, 0.85),
        "semantic features (hint)": (0.7, 0.8, 0.8),
    }
    table = pd.concat(
        a_study_table(
            "s", f"recall of {name}", {model: [of_class[i]] * 3 for model, of_class in recalls.items()}
        )
        for i, name in enumerate("abc")
    )
    accuracy = a_study_table("s", "accuracy", {"student alone": [0.7] * 3})
    # A tenth of a point tells the seeds apart.
    jitter = table["seed"] * 0.001 * (table["metric"] == "recall of a")
    said = module._answers(pd.concat([table.assign(value=table["value"] - jitter), accuracy]), "s")[-1]
    assert said.endswith("beyond the seeds: semantic features (hint).")


@pytest.mark.parametrize(("share", "text"), [(0.0123, "+1.2"), (-0.0123, "−1.2"), (-0.0001, "+0.0")])
def test_points_are_signed_and_never_minus_zero(share, text):
    assert importlib.import_module("tables").signed(share) == text


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_its_numbers_say(name):
    module = importlib.import_module(name)
    study = module.study(Path("data"), "outputs")
    page = (FOLDER.parents[1] / "docs" / "results" / f"{name}.md").read_text(encoding="utf-8")
    # The line that names this machine and its versions is another one elsewhere.
    own, committed = (
        [part for part in text.split("\n\n") if "Made by" not in part] for text in (module.page(study), page)
    )
    assert own == committed
