"""``Experiment``: one-line errors, scopes, names of runs, and the command that reproduces it."""

from __future__ import annotations

import math
import re
import shlex
import types
from pathlib import Path

import pytest

from fairkd.arguments import read_experiment
from fairkd.config import OTHER_NAMES, Experiment, project_root, resolve_path, suggest
from fairkd.errors import ParameterError

SCOPES = ("data", "training", "teacher", "student", "distillation", "mitigation", "evaluation", "run")


def message_of(**values) -> str:
    with pytest.raises(ParameterError) as caught:
        Experiment(**values)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_unknown_parameter_is_answered_with_a_suggestion_and_all_names():
    message = message_of(temprature=3)
    assert message.startswith(
        "unknown parameter 'temprature': did you mean 'temperature'? allowed: dataset, "
    )
    assert set(message.split("allowed: ")[1].split(", ")) == set(Experiment.model_fields)


def test_an_unknown_parameter_without_a_close_name_is_answered_with_the_names_alone():
    message = message_of(xyzzy=1)
    assert "did you mean" not in message and "allowed: dataset" in message


@pytest.mark.parametrize(
    ("name", "value", "bound"),
    [
        ("temperature", -1, "greater than 0"),
        ("temperature", 100.5, "less than or equal to 100"),
        ("skew", 0.4, "greater than or equal to 0.5"),
        ("seed", 2**31, "less than 2147483648"),
        ("batch_size", 1, "greater than or equal to 2"),
        ("adversary_weight", math.nan, "finite number"),
        ("adversary_weight", math.inf, "finite number"),
        ("temperature", "hot", "valid number"),
        ("student_epochs", 1.5, "valid integer"),
        ("adversary_sees_label", "perhaps", "valid boolean"),
        ("teacher", 18, "valid string"),
        ("optimizer", "adam", "'adamw' or 'sgd'"),
        ("micro_batch", 1, "greater than or equal to 2, or input should be 'auto'"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed_and_what_the_parameter_means(name, value, bound):
    message = message_of(**{name: value})
    assert message.startswith(f"{name}={value!r} is not allowed: ") and bound in message
    assert message.endswith(f"({name}: {Experiment.model_fields[name].description})")


def test_several_bad_values_are_all_named_in_one_line():
    message = message_of(temperature=-1, seed=-1)
    assert "temperature=-1 is not allowed" in message and "seed=-1 is not allowed" in message
    assert message_of(temperatures=(0, 4, -1)).startswith(
        "temperatures=0 and -1 is not allowed: input should be"
    )


def test_the_error_stays_one_short_line_for_any_object_a_notebook_may_hold():
    message = message_of(teacher=[f"line {row}\n" for row in range(1000)])
    assert message.startswith("teacher=['line 0\\n', ") and len(message) < 200

    class Table:
        def __repr__(self):
            return "a  b\n1  2"

    assert message_of(teacher=Table()).startswith("teacher=a b 1 2 is not allowed")


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a b", ".hidden", "x" * 121, "a\n"])
def test_a_run_name_that_cannot_name_a_folder_is_refused(name):
    assert "cannot name a folder" in message_of(run_name=name)


def test_an_experiment_is_frozen_and_replace_validates_again():
    experiment = Experiment(seed=3)
    with pytest.raises(
        ValueError, match=r"an experiment does not change; experiment\.replace\(.*=\.\.\.\) gives"
    ):
        experiment.seed = 4
    assert experiment.replace(temperature=2).values("data")["seed"] == 3
    with pytest.raises(ParameterError, match="temperature=0 is not allowed"):
        experiment.replace(temperature=0)


# A notebook's variables


def test_from_variables_takes_the_fields_and_the_options_and_leaves_the_rest():
    variables = {
        "temperature": 2.0,
        "np": math,
        "_": 1,
        "splits": object(),
        "options": {"batch_size": 32, "temperature": 3},
    }
    experiment = Experiment.from_variables(variables)
    assert experiment.changed() == {"temperature": 3.0, "batch_size": 32}


@pytest.mark.parametrize("variables", [{}, {"options": None}, {"options": {}}, {"other": 1}])
def test_from_variables_without_parameters_is_the_default(variables):
    assert Experiment.from_variables(variables) == Experiment()


def test_from_variables_refuses_an_option_that_is_no_parameter_and_options_that_are_no_dict():
    with pytest.raises(ParameterError, match=r"unknown parameter 'lr': .*allowed: dataset"):
        Experiment.from_variables({"options": {"lr": 1}})
    with pytest.raises(ParameterError, match=r"options=\[1\] must be a dict"):
        Experiment.from_variables({"options": [1]})


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [("temperture", 2, "temperature"), ("adversary_weigth", 0.5, "adversary_weight"), ("Seed", "1", "seed")],
)
def test_from_variables_refuses_a_misspelt_name(name, value, meant):
    with pytest.raises(
        ParameterError, match=f"^{name}={value!r} is no parameter: did you mean '{meant}'\\?$"
    ):
        Experiment.from_variables({"temperature": 3.0, name: value})
    # What a notebook holds besides: tables, models, and names that only remind of a parameter.
    Experiment.from_variables(
        {name: object(), f"_{name}": value, "students": {}, "weight": 1.0, "mitigated": True}
    )


def test_paths_become_text(tmp_path):
    experiment = Experiment(data_root=tmp_path, output_dir=tmp_path / "outputs")
    assert (experiment.data_root, experiment.output_dir) == (str(tmp_path), str(tmp_path / "outputs"))


@pytest.mark.parametrize(("name", "meant"), [("image_folder", "image-folder"), ("UTKFace", "utkface")])
def test_capitals_and_dashes_do_not_count_in_suggestions(name, meant):
    assert suggest(name, ["imagefolder", "image-folder", "utkface"]) == f"did you mean {meant!r}? "


def test_values_as_papermill_passes_them_are_converted():
    variables = {"adversary_sees_label": "false", "temperature": "2", "seed": "3", "skew": None}
    experiment = Experiment.from_variables(variables)
    assert experiment.adversary_sees_label is False
    assert (experiment.temperature, experiment.seed) == (2.0, 3)


# Scopes


def test_the_scopes_part_the_fields():
    names = [name for scope in SCOPES for name in Experiment.names([scope])]
    assert sorted(names) == sorted(Experiment.model_fields)
    assert Experiment.names() == list(Experiment.model_fields)


def test_every_field_is_described_and_its_default_is_valid():
    assert Experiment(**Experiment().model_dump()) == Experiment()
    assert all(field.description for field in Experiment.model_fields.values())


def test_values_of_scopes_and_changed_fields():
    experiment = Experiment(temperature=2, output_dir="elsewhere", device="cpu")
    values = experiment.values("distillation")
    assert values["distiller"] == "kd" and values["temperature"] == 2.0
    assert values["task_weight"] == Experiment.default("task_weight")
    assert set(values) == set(Experiment.names(["distillation"]))
    assert experiment.changed() == {"temperature": 2.0}


# The run's name and paths


def test_the_run_s_name_is_given_or_default_or_readable_or_hashed():
    assert Experiment(run_name="mine", seed=1).run == "mine"
    assert Experiment(output_dir="x", device="cpu").run == "default"
    assert Experiment(seed=1, temperature=2).run == "seed-1_temperature-2.0"
    hashed = Experiment(dataset="image-folder", data_root="/my data/faces").run
    assert hashed.startswith("image-folder-") and len(hashed) == len("image-folder-") + 12
    assert hashed != Experiment(dataset="image-folder", data_root="/my data/cats").run
    long = Experiment(learning_rate=0.00123456789, weight_decay=0.123456789, temperature=3.33333333333333).run
    assert long.startswith("colored-digits-")
    every = [Experiment(run_name="mine").run, hashed, long]
    assert all(Path(name).name == name for name in every)


def test_paths_are_taken_from_the_nearest_project(tmp_path: Path, monkeypatch):
    (tmp_path / "pyproject.toml").touch()
    inner = tmp_path / "notebooks" / "deep"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert project_root() == tmp_path
    assert resolve_path("outputs") == tmp_path / "outputs"
    assert resolve_path(tmp_path / "x") == tmp_path / "x"
    assert Experiment(run_name="r").run_folder == tmp_path / "outputs" / "r"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert resolve_path("~/x") == tmp_path / "home" / "x"


def test_outside_a_project_paths_are_taken_from_the_current_folder(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if project_root() != tmp_path:
        pytest.skip("the temporary folder is inside a project")
    assert resolve_path("outputs") == tmp_path / "outputs"


# The command


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"temperature": 2, "adversary_weight": 0.1, "seed": 7},
        {"learning_rate": 1e-05, "adversary_sees_label": False, "skew": 0.9},
        {"dataset": "image-folder", "data_root": '/my data/it\'s; $HOME `x` "y".zip', "group_column": "a*b"},
        {"run_name": "123", "output_dir": "/some where", "device": "cpu"},
        {"label_column": "true", "path_column": "1e3", "csv": "=a=b.csv"},
        {"adversary_weights": [0.1, 3]},
        {"adversary_weights": []},
    ],
    ids=lambda values: "-".join(values) or "default",
)
def test_the_command_gives_the_same_experiment_when_a_shell_splits_it(values):
    experiment = Experiment(**values)
    words = shlex.split(experiment.command)
    assert words[:2] == ["fairkd", "run"]
    flags, names, texts = words[2::3], words[3::3], words[4::3]
    assert set(flags) <= {"-p"} and set(names) == set(values)
    pairs = [f"{name}={text}" for name, text in zip(names, texts, strict=True)]
    assert read_experiment(pairs, None) == experiment


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("adversary_weights", "0.3, 3", (0.3, 3.0)),
        ("adversary_weights", "3", (3.0,)),
        ("temperatures", "[2, 5]", (2.0, 5.0)),
        ("distillers", "kd,dkd", ("kd", "dkd")),
        ("mitigations", "laftr:3", ("laftr:3",)),
        ("co_teachers", '["test_vit"]', ("test_vit",)),
        ("co_teachers", '"test_vit"', ("test_vit",)),
        ("distillers", "[kd, dkd]", ("kd", "dkd")),
        ("mitigations", "[]", ()),
        # An expression has commas of its own.
        ("audit_groups", "age:0-18,19-40", ("age:0-18,19-40",)),
    ],
)
def test_a_list_is_written_with_commas_or_as_json(name, text, value):
    assert getattr(read_experiment([f"{name}={text}"], None), name) == value


@pytest.mark.parametrize("value", ["true", "[true, 3]", [True, 3.0], True])
def test_yes_is_no_number_in_a_list(value):
    assert "true and false are no value" in message_of(adversary_weights=value)


@pytest.mark.parametrize("name", ["temperature", "seed", "samples", "micro_batch", "adversary_weights"])
def test_yes_is_no_number(name, tmp_path):
    file = tmp_path / "parameters.yaml"
    file.write_text(f"{name}: yes\n", encoding="utf-8")
    with pytest.raises(ParameterError, match=rf"{name}=True is not allowed: true and false are no value"):
        read_experiment([], file)


@pytest.mark.parametrize(
    ("name", "meant"), [("lr", "'learning_rate'"), ("epochs", "'teacher_epochs' or"), ("T", "'temperature'")]
)
def test_what_others_call_a_parameter_is_understood(name, meant):
    assert f"did you mean {meant}" in message_of(**{name: 1})


def test_the_other_names_lead_to_parameters():
    meant = {name for text in OTHER_NAMES.values() for name in re.findall(r"'(\w+)'", text)}
    assert meant <= set(Experiment.names()) and not set(OTHER_NAMES) & set(Experiment.names())


def test_a_parameter_with_two_values_is_refused():
    with pytest.raises(ParameterError, match="temperature is given twice: 2 and 3"):
        read_experiment(["temperature=2", "seed=1", "temperature=3"], None)
    assert read_experiment(["temperature=2", "temperature=2"], None).temperature == 2


def test_the_summary_of_a_comparison_has_its_command():
    assert Experiment(temperature=2).summary()["command"] == "fairkd run -p temperature 2.0"
    assert Experiment(seeds=5).summary()["command"] == "fairkd compare -p seeds 5"


def test_a_command_has_what_it_reads_and_leads_to_the_same_folder():
    experiment = Experiment(seeds=5, distillers=["dkd"], temperature=2)
    one = read_experiment(["temperature=2", f"run_name={experiment.run}"], None)
    assert experiment.command == f"fairkd run -p temperature 2.0 -p run_name {experiment.run}" == one.command
    assert one.run_folder == experiment.run_folder
    assert "-p seeds 5 -p run_name" in experiment.command_of("sweep")
    assert "distillers" not in experiment.command_of("sweep")
    assert "run_name" not in experiment.command_of("compare")


def test_suggest_names_one_close_name_or_nothing():
    assert suggest("projektion", ["none", "projection"]) == "did you mean 'projection'? "
    assert suggest("", ["none"]) == suggest("zzz", ["none"]) == ""


def test_a_module_that_shadows_a_parameter_is_named():
    with pytest.raises(ParameterError, match=r"csv=<module 'csv'> is not allowed: .*valid string"):
        Experiment.from_variables({"csv": types.ModuleType("csv")})


@pytest.mark.parametrize(
    ("value", "bound"), [([0.1, -1], "greater than"), ("[1,", "number"), (["x"], "number")]
)
def test_a_bad_list_is_named_like_any_other_value(value, bound):
    message = message_of(adversary_weights=value)
    assert message.startswith("adversary_weights=") and bound in message
