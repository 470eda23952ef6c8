"""The table of all runs, and one point a setting and model."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_folders import code_of_page, write_run

from fairkd import runs
from fairkd.config import Experiment
from fairkd.errors import ArtifactError, ParameterError
from fairkd.runs import as_settings, choose, list_runs
from fairkd.store import read_json, write_json, write_sealed


def written(folder: Path, **changes) -> Experiment:
    scores = changes.pop("scores", {})
    experiment = Experiment(output_dir=str(folder), **changes)
    write_run(experiment, **scores)
    return experiment


def test_a_row_a_model_of_each_run_with_scores_costs_and_what_was_changed(tmp_path):
    written(tmp_path)
    written(tmp_path, adversary_weight=3.0, seed=2, scores={"student_fair": (0.9, 0.05)})
    runs = list_runs(str(tmp_path))
    assert runs["run"].unique().tolist() == sorted(path.name for path in tmp_path.iterdir())
    row = runs[(runs["seed"] == 2) & (runs["model"] == "student_fair")].iloc[0]
    assert (row["accuracy"], row["recall_gap"], row["accuracy_low"]) == (0.9, 0.05, pytest.approx(0.88))
    assert row["setting"] == "adversary_weight=3.0" and row["validation_recall_gap"] == 0.05
    assert row["latency_ms"] == 1.2 and row["param_count"] == 1000
    assert np.isnan(runs.loc[runs["model"] == "teacher", "validation_accuracy"]).all()


def test_the_page_on_runs_reads_a_run(tmp_path, monkeypatch, capsys):
    written(tmp_path / "outputs", run_name="default")
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(code_of_page(0), found)
    assert set(found["models"]) == set(found["metrics"]["models"]) == set(found["runs"]["model"])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"models": {}}', '{"experiment": {"seed": 0}}', "\x00"])
def test_folders_that_hold_something_else_are_left_out(tmp_path, content):
    written(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.json").write_text(content)
    assert set(list_runs(tmp_path)["run"]) == {"default"}


@pytest.mark.parametrize(
    "content",
    ["", "model\nteacher\n", "model,latency_ms\nteacher\n", "model,latency_ms\nteacher," + "9" * 200_000],
)
def test_costs_that_cannot_be_read_are_unknown(tmp_path, content):
    written(tmp_path)
    (tmp_path / "default" / "efficiency.csv").write_text(content)
    assert list_runs(tmp_path)["latency_ms"].isna().all()


def age(folder: Path, seconds: float = 60) -> None:
    """Let a run's files be as old as those of a run that ended a while ago."""
    for path in (folder / "metrics.json", folder):
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The names of the runs whose files are read."""
    names: list[str] = []
    original = runs._rows
    monkeypatch.setattr(runs, "_rows", lambda folder: (names.append(folder.name), original(folder))[1])
    return names


def test_an_unchanged_run_is_read_once(tmp_path, read):
    for seed in (0, 1):
        age(written(tmp_path, seed=seed).run_folder)
    first = list_runs(tmp_path)
    assert len(read) == 2
    pd.testing.assert_frame_equal(list_runs(tmp_path), first)
    assert len(read) == 2


def test_a_changed_a_new_and_a_deleted_run_are_noticed(tmp_path, read):
    kept, changed, deleted = (written(tmp_path, seed=seed) for seed in (0, 1, 2))
    for one in (kept, changed, deleted):
        age(one.run_folder)
    list_runs(tmp_path)
    read.clear()
    written(tmp_path, seed=1, scores={"student_fair": (0.5, 0.5)})
    new = written(tmp_path, seed=3)
    shutil.rmtree(deleted.run_folder)
    found = list_runs(tmp_path)
    assert sorted(read) == sorted([changed.run, new.run])
    assert found["seed"].unique().tolist() == [0, 1, 3]
    row = found[(found["seed"] == 1) & (found["model"] == "student_fair")].iloc[0]
    assert row["accuracy"] == 0.5


@pytest.mark.parametrize("ago", [0, -3600], ids=["just now", "the clock was set back since"])
def test_what_has_changed_just_now_is_read_again(tmp_path, read, ago):
    # A second change within the resolution of the file system's clock would not be noticed.
    age(written(tmp_path).run_folder, ago)
    pd.testing.assert_frame_equal(list_runs(tmp_path), list_runs(tmp_path))
    assert len(read) == 2


def damage(index: Path) -> None:
    content = bytearray(index.read_bytes())
    content[len(content) // 2] ^= 1
    index.write_bytes(content)


def truncate(index: Path) -> None:
    index.write_bytes(index.read_bytes()[:100])


def replace(index: Path) -> None:
    write_sealed(index, pd.DataFrame({"run": ["default"]}).to_parquet())


@pytest.mark.parametrize("spoil", [damage, truncate, replace, Path.unlink])
def test_an_index_that_is_not_one_is_made_again(tmp_path, read, spoil):
    age(written(tmp_path).run_folder)
    first = list_runs(tmp_path)
    spoil(tmp_path / runs.INDEX)
    pd.testing.assert_frame_equal(list_runs(tmp_path), first)
    list_runs(tmp_path)
    assert len(read) == 2


def test_an_index_of_other_code_is_not_used(tmp_path, read, monkeypatch):
    age(written(tmp_path).run_folder)
    list_runs(tmp_path)
    monkeypatch.setattr(runs, "_reader", lambda: "other")
    list_runs(tmp_path)
    assert len(read) == 2


@pytest.mark.parametrize("number", ["1e999", "1" + 400 * "0"])
@pytest.mark.parametrize("place", ['"seed": 0', '"value": 0.94', '"param_count": 1000'])
def test_a_run_with_a_number_that_no_file_can_hold_does_not_spoil_the_index(tmp_path, read, number, place):
    foreign = written(tmp_path, seed=0).run_folder
    age(written(tmp_path, seed=1).run_folder)
    text = (foreign / "metrics.json").read_text()
    assert place in text
    (foreign / "metrics.json").write_text(text.replace(place, f"{place.split(':')[0]}: {number}"))
    age(foreign)
    assert 1 in set(list_runs(tmp_path)["seed"])
    read.clear()
    list_runs(tmp_path)
    assert "seed-1" not in " ".join(read) and len(read) <= 1


def test_a_folder_whose_name_is_no_unicode_is_left_out(tmp_path):
    folder = written(tmp_path, seed=1).run_folder
    other = folder.with_name(os.fsdecode(b"caf\xe9"))
    try:
        shutil.copytree(folder, other)
    except OSError:
        pytest.skip("this file system takes no such name")
    age(other)
    age(folder)
    assert set(list_runs(tmp_path)["run"]) == set(list_runs(tmp_path)["run"]) == {folder.name}


def test_where_nothing_can_be_written_the_runs_are_read_again(tmp_path, read, monkeypatch):
    age(written(tmp_path).run_folder)

    def refuse(*_):
        raise ArtifactError("cannot write")

    monkeypatch.setattr(runs, "write_sealed", refuse)
    pd.testing.assert_frame_equal(list_runs(tmp_path), list_runs(tmp_path))
    assert len(read) == 2


def test_without_runs_the_table_is_empty(tmp_path):
    assert list_runs(tmp_path / "nowhere").empty


def test_seeds_of_one_setting_are_one_point_and_unchanged_models_are_shown_once(tmp_path):
    for seed, accuracy in ((0, 0.90), (1, 0.94)):
        written(tmp_path, seed=seed, scores={"student_fair": (accuracy, 0.1)})
        written(tmp_path, seed=seed, adversary_weight=3.0, scores={"student_fair": (accuracy - 0.2, 0.2)})
    points = as_settings(list_runs(tmp_path)).set_index("model")
    assert sorted(points.index) == sorted(
        ["teacher", "student_scratch", "student_kd", "student_fair", "student_fair · adversary_weight=3.0"]
    )
    one = points.loc["student_fair"]
    assert one["seeds"] == 2 and one["accuracy"] == pytest.approx(0.92)
    spread = np.std([0.90, 0.94], ddof=1)
    assert one["accuracy_low"] == pytest.approx(0.92 - spread) and len(one["runs"]) == 2
    assert one["on_front"] and not points.loc["student_fair · adversary_weight=3.0", "on_front"]
    assert not points.loc["teacher", "on_front"], "the choice is between students"


def test_a_single_seed_keeps_its_own_interval(tmp_path):
    written(tmp_path)
    row = as_settings(list_runs(tmp_path)).set_index("model").loc["student_kd"]
    assert (row["accuracy_low"], row["accuracy_high"]) == (pytest.approx(0.87), pytest.approx(0.91))


def test_the_rule_never_names_what_has_collapsed(tmp_path):
    written(tmp_path, adversary_weight=3.0, scores={"student_fair": (0.945, 0.10)})
    folder = written(tmp_path, adversary_weight=30.0, scores={"student_fair": (0.945, 0.01)}).run_folder
    points = as_settings(list_runs(tmp_path))
    assert points["model"][choose(points, 0.01)] == "student_fair · adversary_weight=30.0"
    students = read_json(folder / "students.json")
    students["student_fair"]["collapsed"] = True
    write_json(folder / "students.json", students)
    points = as_settings(list_runs(tmp_path))
    assert points["model"][choose(points, 0.01)] == "student_fair · adversary_weight=3.0"


def test_a_run_without_a_mitigation_has_three_models(tmp_path):
    folder = written(tmp_path, mitigation="none").run_folder
    for name in ("metrics.json", "students.json"):
        content = read_json(folder / name)
        (content["models"] if name == "metrics.json" else content).pop("student_fair")
        write_json(folder / name, content)
    assert list_runs(tmp_path)["model"].tolist() == ["teacher", "student_scratch", "student_kd"]


def test_the_rule_reads_validation_data_alone(tmp_path):
    written(tmp_path, scores={"student_fair": (0.95, 0.20)})
    written(tmp_path, adversary_weight=3.0, scores={"student_fair": (0.945, 0.10)})
    written(tmp_path, adversary_weight=30.0, scores={"student_fair": (0.80, 0.01)})
    points = as_settings(list_runs(tmp_path))
    assert points["model"][choose(points, 0.01)] == "student_fair · adversary_weight=3.0"
    assert points["model"][choose(points, 0.0)] == "student_fair"
    swapped = points.assign(accuracy=0.5, disparity=points["disparity"].iloc[::-1].to_numpy())
    assert choose(swapped, 0.01) == choose(points, 0.01)
    assert choose(points.assign(validation_disparity=np.nan), 0.01) is None


def test_data_sets_are_not_mixed(tmp_path):
    written(tmp_path)
    written(tmp_path, skew=0.8)
    runs = list_runs(tmp_path)
    assert sorted(runs["dataset"].unique()) == ["colored-digits", "colored-digits, skew 0.8"]
    with pytest.raises(ParameterError, match="runs of 2 data sets cannot be compared"):
        as_settings(runs)
    with pytest.raises(ParameterError, match="disparity='accuracy' is not one of"):
        as_settings(runs[runs["dataset"] == "colored-digits"], "accuracy")


def test_data_of_one_s_own_are_told_apart_by_all_that_makes_them(tmp_path):
    own = {"dataset": "image-folder", "data_root": "/here/faces.zip", "group_column": "gender"}
    written(tmp_path, **own, run_name="a")
    written(tmp_path, **own | {"data_root": "/there/faces.zip", "cache_dir": "c"}, run_name="b")
    for number, other in enumerate(({"data_root": "birds.zip"}, {"group_column": "age"}, {"image_size": 64})):
        written(tmp_path, **own | other, run_name=f"other{number}")
    runs = list_runs(tmp_path).drop_duplicates("run").set_index("run")["dataset"]
    assert runs["a"] == runs["b"] == "image-folder, data_root faces.zip, group_column gender"
    assert runs.nunique() == 4


def test_hundreds_of_runs_are_found_once_each(tmp_path):
    for seed in range(300):
        written(tmp_path, seed=seed)
    runs = list_runs(tmp_path)
    assert len(runs) == 1200 and runs["seed"].nunique() == 300
    assert isinstance(as_settings(runs), pd.DataFrame)
