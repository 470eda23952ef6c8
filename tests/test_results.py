"""The tables of a finished run, from four networks that need no training to be written about."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save_file

from fairkd.data.audit import audit
from fairkd.data.splits import Splits
from fairkd.errors import FairkdWarning
from fairkd.evaluation import evaluate
from fairkd.metrics import METRICS, recall_gap
from fairkd.models import create_model
from fairkd.predictions import Predictions
from fairkd.recipes import ROLES, TrainedModel
from fairkd.results import (
    bootstrap_options,
    efficiency,
    run_findings,
    save_audit,
    save_models,
    save_results,
)
from fairkd.store import write_json


def guesses(splits: Splits, split: str, seed: int) -> Predictions:
    """Predictions that are right more often than not, and differ from seed to seed."""
    images, rng = dict(splits.items())[split], np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(3), size=len(images))
    probabilities[np.arange(len(images)), images.labels] += 0.3
    return Predictions.from_arrays(
        labels=images.labels,
        groups=images.groups,
        probabilities=probabilities / probabilities.sum(axis=1, keepdims=True),
        class_names=splits.class_names,
        group_names=splits.group_names,
        index=images.index,
        unit=images.unit,
        split=split,
    )


@pytest.fixture
def trained(tiny_splits, tmp_path) -> dict[str, TrainedModel]:
    models = {}
    for seed, role in enumerate(ROLES):
        network = create_model("resnet8_cifar", 3, image_size=16, seed=seed)
        folder = tmp_path / "artifacts" / role
        folder.mkdir(parents=True)
        state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        save_file(state, folder / "model.safetensors")
        determined = {} if role == "teacher" else {"precision": "float32"}
        write_json(folder / "config.json", {"determined_by": determined})
        predictions = [guesses(tiny_splits, split, seed) for split in ("test", "validation")]
        models[role] = TrainedModel(network, pd.DataFrame(), *predictions, folder=folder)
    return models


@pytest.fixture
def costs(trained, tiny_splits) -> pd.DataFrame:
    return efficiency(trained, tiny_splits)


def test_efficiency_has_a_row_a_model_with_the_size_of_its_file(trained, costs):
    assert costs["model"].tolist() == list(ROLES)
    for row in costs.itertuples():
        file = trained[row.model].folder / "model.safetensors"
        assert row.weights_mb == pytest.approx(file.stat().st_size / 1e6)
        assert row.param_count == trained[row.model].model.param_count


def test_metrics_json_has_the_documented_keys(tiny_experiment, trained, costs):
    path = save_results(tiny_experiment, trained, costs)
    assert path == tiny_experiment.run_folder / "metrics.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert set(content) == {"models", "comparisons", "efficiency", "precision", "findings", "experiment"}
    assert content["precision"] == {"teacher": None} | dict.fromkeys(ROLES[1:], "float32")
    assert list(content["models"]) == ["teacher", "student_scratch", "student_kd", "student_fair"]
    for metrics in content["models"].values():
        assert set(metrics) == set(METRICS)
        assert {"accuracy", "recall_gap", "recall_gap_max", "worst_group_accuracy"} <= set(metrics)
        for name, entry in metrics.items():
            assert set(entry) == {"value", "low", "high", "definition"}
            assert entry["definition"] == METRICS[name].definition
    accuracy = content["models"]["teacher"]["accuracy"]
    predictions = trained["teacher"].predictions
    assert accuracy["value"] == pytest.approx((predictions.predicted == predictions.labels).mean())
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]


def test_metrics_json_compares_and_describes_the_run(tiny_experiment, trained, costs):
    content = json.loads(save_results(tiny_experiment, trained, costs).read_text(encoding="utf-8"))
    pairs = {(row["model"], row["baseline"]) for row in content["comparisons"]}
    assert pairs == {
        ("student_kd", "teacher"),
        ("student_kd", "student_scratch"),
        ("student_fair", "student_kd"),
        ("student_fair", "teacher"),
        ("student_scratch", "teacher"),
    }
    values = {role: content["models"][role]["recall_gap"]["value"] for role in ROLES}
    for row in content["comparisons"]:
        assert set(row) == {"model", "baseline", "metric", "difference", "low", "high", "supported"}
        assert isinstance(row["supported"], bool)
        if row["metric"] == "recall_gap":
            assert row["difference"] == pytest.approx(values[row["model"]] - values[row["baseline"]])
    parameters = content["experiment"]
    assert parameters["teacher"] == "resnet8_cifar" and parameters["temperature"] == 4.0
    assert not {"output_dir", "run_name", "device"} & set(parameters), "they do not change a number"
    assert set(content["efficiency"]["teacher"]) == {"param_count", "macs", "weights_mb"}, "and no times"
    assert content["findings"] == run_findings(
        {role: model.predictions for role, model in trained.items()}, tiny_experiment
    )


def test_findings_speak_of_distillation_first_and_then_of_the_mitigation(tiny_experiment, trained):
    predictions = {role: model.predictions for role, model in trained.items()}
    text = " ".join(run_findings(predictions, tiny_experiment))
    assert 0 <= text.index("distilled student") < text.index("mitigation")
    assert "**" not in text, "plain text, for JSON"
    for role in ROLES:
        one = predictions[role]
        gap = recall_gap(one.labels, one.predicted, sensitive_features=one.groups)
        assert f"{gap:.3f}" in text


def test_findings_without_a_mitigation_claim_nothing_of_one(tiny_experiment, trained):
    predictions = {role: model.predictions for role, model in trained.items()}
    told = run_findings(predictions, tiny_experiment)
    del predictions["student_fair"]
    found = run_findings(predictions, tiny_experiment.replace(mitigation="none"))

    def without_data(sentences: list[str]) -> list[str]:
        return [one for one in sentences if "collapsed" not in one and "cells hold fewer" not in one]

    first = without_data(found)
    assert first[:2] == without_data(told)[:2], "what distillation changed is told as ever"
    assert first[2:] == ["No mitigation was asked for (mitigation=none)."]


def test_findings_name_what_has_collapsed_and_cells_of_a_few_samples(tiny_experiment):
    rng = np.random.default_rng(0)
    labels, groups = np.tile(np.arange(4), 20), np.repeat([0, 1], [8, 72])
    options = {"class_names": tuple("abcd"), "group_names": ("red", "green")}

    def predicting(classes: np.ndarray) -> Predictions:
        probabilities = np.eye(4)[classes] * 0.8 + 0.05
        return Predictions.from_arrays(labels=labels, groups=groups, probabilities=probabilities, **options)

    good, poor = predicting(labels), predicting(rng.integers(2, size=80))
    roles = dict.fromkeys(ROLES, good) | {"student_fair": poor}
    found = run_findings(roles, tiny_experiment)
    assert found[0].startswith("The mitigated student has collapsed: it predicts at most half of the classes")
    said = " ".join(found)
    assert (
        "as biased as its teacher" in said
        and "The mitigation" not in said
        and "With the mitigation" not in said
    )
    alone = " ".join(run_findings(roles | {"student_fair": good, "student_scratch": poor}, tiny_experiment))
    assert (
        "With the teacher" not in alone
        and "The mitigation left" in alone
        and "accuracy is unchanged" in alone
    )
    assert "4 of 8 class x group cells hold fewer than 10 samples: too few to say anything of them." in found
    del roles["student_fair"]
    plain = run_findings(roles, tiny_experiment.replace(mitigation="none"))
    assert not any("collapsed" in sentence for sentence in plain)


def test_the_same_models_write_the_same_bytes_whatever_the_times(tiny_experiment, trained, costs, tmp_path):
    slower = costs.assign(latency_ms=costs["latency_ms"] * 2, throughput=1.0, device="cuda")
    paths = [
        save_results(tiny_experiment.replace(output_dir=str(tmp_path / name)), trained, table)
        for name, table in (("a", costs), ("b", slower))
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    parquets = [path.with_name("predictions.parquet").read_bytes() for path in paths]
    assert parquets[0] == parquets[1]
    before = paths[0].read_bytes()
    save_results(tiny_experiment.replace(output_dir=str(tmp_path / "a")), trained, costs)
    assert paths[0].read_bytes() == before
    assert sorted(file.name for file in paths[0].parent.iterdir()) == [
        "efficiency.csv",
        "metrics.json",
        "predictions.parquet",
    ]


def test_the_predictions_of_every_model_can_be_read_back(tiny_experiment, trained, costs):
    folder = save_results(tiny_experiment, trained, costs).parent
    table = pd.read_parquet(folder / "predictions.parquet")
    assert len(table) == 4 * 24
    for role in ROLES:
        rows = table[table["model"] == role].drop(columns="model").reset_index(drop=True)
        pd.testing.assert_frame_equal(Predictions(rows).frame, trained[role].predictions.frame)
    stored = pd.read_csv(folder / "efficiency.csv")
    pd.testing.assert_frame_equal(stored, costs)


@pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")
def test_what_is_undefined_is_null(tiny_experiment, tiny_splits, trained, costs):
    one_group = dataclasses.replace(
        tiny_splits, test=tiny_splits.test.subset(np.flatnonzero(tiny_splits.test.groups == 0))
    )
    models = {
        role: dataclasses.replace(model, predictions=guesses(one_group, "test", seed))
        for seed, (role, model) in enumerate(trained.items())
    }
    text = save_results(tiny_experiment, models, costs).read_text(encoding="utf-8")
    assert "NaN" not in text
    content = json.loads(text)
    assert content["models"]["teacher"]["recall_gap"]["value"] is None
    assert content["models"]["teacher"]["accuracy"]["value"] is not None


def test_an_empty_cell_is_warned_of_by_name(tiny_experiment, tiny_splits, trained, costs):
    test = tiny_splits.test
    rows = np.flatnonzero(~((test.labels == 1) & (test.groups == 1)))
    lacking = dataclasses.replace(tiny_splits, test=test.subset(rows))
    models = {
        role: dataclasses.replace(model, predictions=guesses(lacking, "test", seed))
        for seed, (role, model) in enumerate(trained.items())
    }
    with pytest.warns(FairkdWarning, match=r"\bb\b.*green"):
        save_results(tiny_experiment, models, costs)


def test_options_of_the_bootstrap_are_the_experiment_s(tiny_experiment):
    experiment = tiny_experiment.replace(confidence=0.8)
    assert bootstrap_options(experiment) == {"replicates": 100, "confidence": 0.8}


def test_the_audit_is_written_with_the_data_s_facts(tiny_experiment, tiny_splits):
    splits = dataclasses.replace(tiny_splits, facts={"licence": "none"})
    content = json.loads(save_audit(tiny_experiment, splits, audit(splits)).read_text(encoding="utf-8"))
    assert content["dataset"] == "tiny" and content["facts"] == {"licence": "none"}
    assert len(content["counts"]) == 3 * 3 * 2 and content["empty_cells"] == []
    assert sum(row["n"] for row in content["counts"]) == 48 + 24 + 24
    assert content["missing_groups"] == {"train": 0, "validation": 0, "test": 0}
    assert {"duplicates", "label_suspects", "image_statistics", "attributes"} <= set(content)


def test_results_count_samples_whose_group_is_missing(tiny_experiment, trained):
    gone = {"index": 3, "group": None}
    models = {}
    for name, one in trained.items():
        frame = one.predictions.frame.copy()
        frame.loc[frame["index"] == gone["index"], "group"] = gone["group"]
        models[name] = dataclasses.replace(one, predictions=Predictions(frame))
    costs = pd.DataFrame({"model": list(models), "param_count": 1, "macs": 1, "weights_mb": 1.0})
    content = json.loads(save_results(tiny_experiment, models, costs).read_text(encoding="utf-8"))
    for name, one in models.items():
        values = content["models"][name]
        frame = one.predictions.frame
        assert values["accuracy"]["value"] == pytest.approx((frame["label"] == frame["prediction"]).mean())
        grouped = frame[frame["group"].notna()]
        gap = recall_gap(grouped["label"], grouped["prediction"], sensitive_features=grouped["group"])
        assert values["recall_gap"]["value"] == pytest.approx(gap)
        assert "missing" in values["recall_gap"]["definition"]
        assert "missing" not in values["accuracy"]["definition"]
    assert content["findings"][-1].startswith("1 of 24 samples have no group")
    table = pd.read_parquet(tiny_experiment.run_folder / "predictions.parquet")
    assert table["group"].isna().sum() == len(models)


def test_the_pointers_to_models_name_their_artefacts_and_headline_numbers(tiny_experiment, trained):
    chosen = {"student_kd": trained["student_kd"]}
    table = evaluate(trained["student_kd"].validation, model="student_kd", replicates=100)
    path = save_models(tiny_experiment, "students.json", chosen, table)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["student_kd"]["artifact"] == "student_kd"
    accuracy = next(row for row in content["student_kd"]["metrics"] if row["metric"] == "accuracy")
    predictions = trained["student_kd"].validation
    assert accuracy["value"] == pytest.approx((predictions.predicted == predictions.labels).mean())
