"""A run's model as a file: the audit of the file, its card, the command, and what is said when it cannot be made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import nbformat
import numpy as np
import pandas as pd
import pytest
from export_cases import train_run
from run_folders import code_of_page

from fairkd import pipeline
from fairkd.cli import main
from fairkd.config import Experiment
from fairkd.data.splits import Splits
from fairkd.errors import ArtifactError, DataError, ParameterError
from fairkd.evaluation import compare
from fairkd.export import (
    FORMATS,
    audit_export,
    changed_decisions,
    changes_by_group,
    costs_table,
    describe_export,
    differences,
    evaluations,
    export_model,
    export_run,
    files_table,
    load_run,
    load_trained,
    predict_exported,
    save_exports,
)
from fairkd.metrics.proportions import wilson_interval
from fairkd.pipeline import OPTIONAL_STEPS, STEPS, Step, steps_with
from fairkd.predictions import Predictions
from fairkd.store import read_json, write_json

pytestmark = pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")
PAYLOAD = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    # This mitigation leaves a network with several heads and a readout.
    return train_run(tmp_path_factory.mktemp("outputs"), mitigation="domain_discriminative")


@pytest.fixture(scope="module")
def exports(run, tmp_path_factory):
    _, splits, models = run
    folder = tmp_path_factory.mktemp("files")
    return {
        name: export_model(
            models["student_fair"], splits, folder, format_name=name, name="student_fair", replicates=100
        )
        for name in ("onnx", "onnx-int8")
    }


def decided(labels: str, decisions: str, groups: str, unit: list[int] | None = None) -> Predictions:
    """Predictions of classes a, b, c and groups x, y; a missing group is ``-``."""
    codes = {
        name: np.array(["abc".index(one) for one in text]) for name, text in (("l", labels), ("d", decisions))
    }
    return Predictions.from_arrays(
        labels=codes["l"],
        groups=np.array(["xy".find(one) for one in groups]),
        probabilities=np.eye(3)[codes["d"]],
        class_names="abc",
        group_names="xy",
        unit=None if unit is None else np.array(unit),
    )


# The audit


def test_changed_decisions_are_counted_by_group():
    #                      lost ^  gained ^ other ^ wrong to wrong
    original = decided("aabbcc-".replace("-", "a"), "aabacba", "xxxyyy-")
    exported = decided("aabbcca", "abbbcaa", "xxxyyy-")
    table = changed_decisions(original, exported).set_index("group")
    assert table[["n", "changed", "lost", "gained"]].values.tolist() == [
        [7, 3, 1, 1],
        [3, 1, 1, 0],
        [3, 2, 0, 1],
    ]
    assert table.loc["y", "share"] == pytest.approx(2 / 3)
    low, high = wilson_interval(np.array([2]), np.array([3]))
    assert table.loc["y", ["low", "high"]].tolist() == pytest.approx([low[0], high[0]])


def test_the_interval_of_changes_takes_units_for_trials():
    twice = [decided("aabb", "aabb", "xyxy", [0, 0, 1, 1]), decided("aabb", "bbbb", "xyxy", [0, 0, 1, 1])]
    row = changed_decisions(*twice).iloc[0]
    low, high = wilson_interval(np.array([1]), np.array([2]))
    assert (row["share"], row["low"], row["high"]) == pytest.approx((0.5, low[0], high[0]))


def test_a_group_without_samples_has_no_share():
    same = decided("ab", "ab", "xx")
    row = changed_decisions(same, same).set_index("group").loc["y"]
    assert row["n"] == 0 and np.isnan(row["share"]) and np.isnan(row["low"])


def test_sentences_are_those_of_the_numbers():
    many = 40
    original = decided("ab" * many, "ab" * many, "xy" * many)
    hit = decided("ab" * many, "aa" * many, "xy" * many)
    (first, one, other, apart, *rest) = describe_export(audit_export(original, hit, replicates=50))
    assert first.startswith("The exported file decides 40 of 80 test images otherwise")
    assert first.endswith("right before and wrong now: 40, wrong before and right now: 0.")
    assert one.startswith("x: 0 of 40") and other.startswith("y: 40 of 40 decisions changed, 100.0 %")
    assert apart == "Decisions changed more often in y than in x: the intervals are apart."
    assert any(
        "accuracy of the exported file is 0.500 below that of the original" in sentence for sentence in rest
    )
    same = describe_export(audit_export(original, original, replicates=50))
    assert same[1:] == ["What depends on decisions alone is the same."]


def test_the_file_s_own_predictions_are_audited(run, exports):
    _, splits, models = run
    one = exports["onnx-int8"]
    predictions = {
        "original": models["student_fair"].predictions,
        "exported": predict_exported(one.path, splits),
    }
    expected = compare(predictions, baseline="original", replicates=100)
    assert one.audit.comparison.equals(expected)
    changed = (predictions["original"].predicted != predictions["exported"].predicted).sum()
    assert one.audit.changes["changed"].iloc[0] == changed


def test_a_float_file_agrees_and_a_quantised_one_is_near(exports):
    assert exports["onnx"].agrees and exports["onnx"].audit.changes["changed"].eq(0).all()
    quantised = exports["onnx-int8"]
    assert not quantised.agrees
    values = quantised.audit.evaluation
    accuracy = values[(values["metric"] == "accuracy") & (values["group"] == "all")]["value"].to_numpy()
    assert accuracy[1] == pytest.approx(accuracy[0], abs=0.03)


def test_costs_are_those_of_the_network_and_of_the_file(exports):
    table = exports["onnx-int8"].efficiency.set_index("model")
    path = exports["onnx-int8"].path
    assert table.loc["exported", "weights_mb"] == pytest.approx(path.stat().st_size / 1e6)
    assert table.loc["exported", "weights_mb"] < 0.35 * table.loc["original", "weights_mb"]
    assert table["param_count"].nunique() == table["macs"].nunique() == 1
    assert table.loc["exported", "runtime"].startswith("onnxruntime ")
    assert (table[["latency_ms", "batch64_latency_ms", "throughput"]] > 0).all(axis=None)


# The card


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attributes]

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile(splits: Splits) -> Splits:
    """The splits with markup in every name."""
    return dataclasses.replace(
        splits,
        name=PAYLOAD,
        class_names=tuple(f"{PAYLOAD}{c}" for c in range(splits.num_classes)),
        group_names=tuple(f"{PAYLOAD}{g}" for g in range(splits.num_groups)),
        label_name=f"label {PAYLOAD}",
        group_name=f"group {PAYLOAD}",
        facts={"licence": PAYLOAD},
    )


def test_the_card_lies_beside_the_file_and_holds_its_numbers(run, exports):
    _, splits, models = run
    one = exports["onnx-int8"]
    assert sorted(path.name for path in one.path.parent.iterdir() if "int8" in path.name) == [
        "student_fair-int8.onnx",
        "student_fair-int8.onnx.html",
        "student_fair-int8.onnx.json",
    ]
    content = json.loads(one.card_path.with_suffix(".json").read_text(encoding="utf-8"))
    assert content == one.card.content
    assert content["file"]["SHA-256"] == hashlib.sha256(one.path.read_bytes()).hexdigest()
    assert content["data"]["fingerprint"] == splits.fingerprint and content["data"]["images"]["test"] == len(
        splits.test
    )
    assert content["training"] == read_json(models["student_fair"].folder / "config.json")["determined_by"]
    (accuracy,) = (row for row in content["metrics"] if row["metric"] == "accuracy")
    predictions = models["student_fair"].predictions
    assert accuracy["original"]["value"] == pytest.approx(
        (predictions.predicted == predictions.labels).mean()
    )
    difference = accuracy["exported"]["value"] - accuracy["original"]["value"]
    assert accuracy["difference"]["value"] == pytest.approx(difference)
    for name in ("original", "exported"):
        assert accuracy[name]["low"] <= accuracy[name]["value"] <= accuracy[name]["high"]
    assert [row["group"] for row in content["by_group"]] == ["all", *splits.group_names]
    assert all(row["exported"] is not None for row in content["by_group"])
    assert len(content["cells"]) == splits.num_classes * splits.num_groups
    assert any("validation images" in sentence for sentence in content["limits"])
    assert content["findings"][1:] == describe_export(one.audit)


def test_text_from_data_is_shown_literally_and_the_page_loads_nothing(run, tmp_path):
    _, splits, models = run
    splits, student = hostile(splits), models["student_fair"]
    frame = student.predictions.frame.copy()
    for column, names in (
        ("label", splits.class_names),
        ("prediction", splits.class_names),
        ("group", splits.group_names),
    ):
        frame[column] = frame[column].cat.rename_categories(list(names))
    student = dataclasses.replace(student, predictions=Predictions(frame))
    one = export_model(student, splits, tmp_path, format_name="pt2", name="a", replicates=50)
    for html in (one.card_path.read_text(encoding="utf-8"), one.card._repr_html_()):
        page = Page(html)
        assert not {"img", "script", "link", "iframe"} & set(page.tags)
        assert not any(name.startswith("on") or name in ("src", "href") for name in page.attributes)
        assert page.text.count(PAYLOAD) > 40


@pytest.mark.parametrize("format_name", ["onnx-int8", "pt2"])
def test_the_card_s_code_runs_and_names_the_class(run, tmp_path, format_name):
    from PIL import Image

    _, splits, models = run
    student = models["student_fair"]
    one = export_model(student, splits, tmp_path, format_name=format_name, replicates=10)
    row = int(student.predictions.probabilities.max(axis=1).argmax())
    pixels = splits.test.images[row]
    # As in the loader, what is transparent is black, whatever colour hides there.
    hidden = (pixels == 0).all(axis=2)
    layered = np.dstack([np.where(hidden[..., None], 255, pixels), np.where(hidden, 0, 255)]).astype(np.uint8)
    Image.fromarray(layered).save(tmp_path / "image.png")
    code = one.card.content["how_to_run"]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(student.predictions.frame["prediction"][row])


# Several files


def test_tables_of_several_files_have_a_row_a_file(run, exports):
    assert list(files_table(exports).index) == ["onnx", "onnx-int8"]
    assert files_table(exports)["agrees but for rounding"].tolist() == ["yes", "no"]
    assert costs_table(exports)["model"].tolist() == ["original", "onnx", "onnx-int8"]
    assert evaluations(exports)["model"].unique().tolist() == ["original", "onnx", "onnx-int8"]
    table = differences(exports)
    assert len(table) == 6 and (table[table["model"] == "onnx"]["value"] == 0).all()
    assert changes_by_group(exports)["model"].unique().tolist() == ["onnx-int8"]
    experiment = run[0]
    content = json.loads(save_exports(experiment, exports).read_text(encoding="utf-8"))
    assert content["onnx-int8"]["file"]["name"] == "student_fair-int8.onnx"
    assert content["onnx"]["logit_difference"] < 1e-4


# Runs


def test_a_run_s_models_are_found_wherever_the_folder_has_been_moved(run, tmp_path):
    experiment, splits, models = run
    shutil.copytree(experiment.output_path, tmp_path / "moved")
    moved = load_run(tmp_path / "moved" / "run")
    assert moved.output_path == tmp_path / "moved"
    for role in ("teacher", "student_fair"):
        found = load_trained(moved, role, splits)
        assert found.folder.is_relative_to(tmp_path) and not found.model.training
        for key, tensor in models[role].model.state_dict().items():
            assert found.model.state_dict()[key].equal(tensor)
        assert found.predictions.frame.equals(models[role].predictions.frame)


def test_a_model_that_is_missing_or_damaged_is_named_with_the_way_out(run, tmp_path):
    experiment, splits, models = run
    shutil.copytree(experiment.output_path, tmp_path / "o")
    folder = tmp_path / "o" / "run"
    moved = load_run(str(folder))
    with pytest.raises(
        ParameterError, match=r"model='student' is unknown: .*allowed: teacher, student_scratch"
    ):
        export_run(folder, model="student")
    with pytest.raises(
        ArtifactError, match=r"run 'run' has no student_kd yet .*not finished.*`fairkd run .*goes on"
    ):
        load_trained(moved, "student_kd", splits)
    write_json(folder / "status.json", {"state": "finished", "steps": {}})
    with pytest.raises(
        ArtifactError, match=r"run 'run' holds no student_kd: only runs of `fairkd run` have one"
    ):
        load_trained(moved, "student_kd", splits)
    with pytest.raises(
        DataError, match=r"is not what student_fair of run was trained on: the fingerprint is other"
    ):
        load_trained(moved, "student_fair", dataclasses.replace(splits, fingerprint="other"))
    artifact = moved.output_path / "artifacts" / models["student_fair"].folder.name
    weights = artifact / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match=r"model\.safetensors is missing or damaged"):
        load_trained(moved, "student_fair", splits)
    config = read_json(artifact / "config.json")
    write_json(artifact / "config.json", {**config, "determined_by": {**config["determined_by"], "seed": 7}})
    with pytest.raises(ArtifactError, match=r"config\.json is of student-\w+; delete it"):
        load_trained(moved, "student_fair", splits)
    shutil.rmtree(artifact)
    with pytest.raises(ArtifactError, match=r"the student_fair of run 'run', is gone; `fairkd run "):
        load_trained(moved, "student_fair", splits)
    write_json(folder / "experiment.json", {"parameters": None})
    with pytest.raises(ArtifactError, match=r"experiment\.json holds no parameters"):
        load_run(folder)


def test_a_run_without_a_mitigation_exports_its_distilled_student(tmp_path):
    experiment, splits, _ = train_run(tmp_path, mitigation="none", student_epochs=1, teacher_epochs=1)
    made = export_run(experiment.run_folder)
    assert made.path.name == "student_kd.onnx"
    with pytest.raises(
        ArtifactError, match=r"has no mitigation, and so no student_fair: its student is student_kd"
    ):
        load_trained(experiment, "student_fair", splits)


# The command


def test_the_command_writes_file_and_card_and_says_what_changed(run, capsys, tmp_path):
    experiment = run[0]
    arguments = ["export", "run", "--output-dir", str(experiment.output_path), "--format", "onnx"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    path = experiment.run_folder / "export" / "student_fair.onnx"
    assert (
        out.startswith("The exported file decides 0 of ")
        and f"file: {path} (" in out
        and f"card: {path}.html" in out
    )
    assert path.is_file()
    arguments = ["export", str(experiment.run_folder), "--format", "pt2", "--model", "teacher"]
    assert main([*arguments, "--output", str(tmp_path / "mine")]) == 0
    assert {file.name for file in (tmp_path / "mine").iterdir()} == {
        "teacher.pt2",
        "teacher.pt2.html",
        "teacher.pt2.json",
    }


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none"], 1, "error: no run 'none' in "),
        (["empty"], 1, "is no run: it has no experiment.json; `fairkd run` makes one"),
        (["run", "--model", "student_kd"], 1, "run 'run' has no student_kd yet"),
        (["run", "--model", "pupil"], 2, "model='pupil' is unknown: "),
        (["run", "--format", "tflite"], 2, f"format='tflite' is unknown: allowed: {', '.join(FORMATS)}"),
    ],
)
def test_a_mistake_is_one_line(run, capsys, arguments, code, message):
    outputs = run[0].output_path
    (outputs / "empty").mkdir(exist_ok=True)
    assert main(["export", *arguments, "--output-dir", str(outputs)]) == code
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and out == ""


def test_a_missing_extra_is_said_before_anything_is_read(run, capsys, monkeypatch):
    import importlib.util

    plain = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "onnxruntime" else plain(name)
    )
    monkeypatch.setattr("fairkd.export.deploy.load_run", lambda folder: pytest.fail("read the run first"))
    assert main(["export", "run", "--output-dir", str(run[0].output_path)]) == 1
    assert capsys.readouterr().err == "error: export needs onnxruntime: pip install 'fairkd[export]'\n"


def test_the_page_on_runs_loads_a_trained_model(run, monkeypatch):
    experiment, splits, models = run
    code = code_of_page(1)
    monkeypatch.chdir(experiment.output_path.parent)
    found: dict[str, object] = {}
    exec(code.replace("outputs/default", f"{experiment.output_path.name}/run"), found)
    assert found["experiment"] == experiment and found["splits"].fingerprint == splits.fingerprint
    student = found["student"]
    pd.testing.assert_frame_equal(student.predictions.frame, models["student_fair"].predictions.frame)


def test_the_chapter_on_deployment_is_added_where_it_is_asked_for(capsys, tmp_path):
    assert steps_with(()) == STEPS and steps_with(["edge"]) == (*STEPS, OPTIONAL_STEPS["edge"])
    folder = ["-p", "output_dir", str(tmp_path), "--dry-run"]
    assert main(["run", *folder, "--with", "edge"]) == 0
    assert capsys.readouterr().out.splitlines()[-2] == "06_edge_deployment: would run"
    assert main(["run", *folder, "--with", "cloud"]) == 2
    assert "--with 'cloud' names no chapter; allowed: edge" in capsys.readouterr().err


def test_a_repeated_run_without_the_chapter_leaves_no_old_one_behind(tmp_path, monkeypatch):
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    first, last = (Step(name) for name in ("01_first", "06_edge_deployment"))
    for step in (first, last):
        cell = nbformat.v4.new_code_cell(
            "run_name = None\noutput_dir = ''\noptions = {}", metadata={"tags": ["parameters"]}
        )
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), notebooks / step.notebook)
    monkeypatch.setattr(pipeline, "OPTIONAL_STEPS", {"edge": last})
    experiment = Experiment(output_dir=str(tmp_path), run_name="run")
    options = {"notebooks": notebooks, "fingerprint": lambda _: "data", "check": lambda _: None}
    pipeline.run(experiment, steps=[first, last], **options)
    assert (experiment.run_folder / last.notebook).is_file()
    assert pipeline.run(experiment, steps=[first], **options).executed == ()
    assert (experiment.run_folder / last.notebook).is_file()
    pipeline.run(experiment, steps=[first], force=True, **options)
    assert not (experiment.run_folder / last.notebook).exists()


def test_help_of_export_loads_nothing_heavy():
    code = (
        "import sys\nfrom fairkd.cli import main\nmain(['export', '--help'])\n"
        "print(sorted({'torch', 'pandas', 'onnx', 'onnxruntime', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--format" in done.stdout and done.stdout.splitlines()[-1] == "[]"


def test_the_exported_formats_are_those_that_the_help_names(capsys):
    assert main(["export", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert all(name in shown for name in FORMATS)
