"""Distillers, mitigations and networks that users register are known by name, in every process, and by their code."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from run_folders import write_run

import fairkd
from fairkd import distillers, mitigation, plugin
from fairkd.data.batches import Batch
from fairkd.errors import ParameterError
from fairkd.narrative import describe_choice
from fairkd.report import write_report
from fairkd.store import write_json
from fairkd.widgets import ParetoExplorer

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "own_methods.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"<!-- my_methods.py -->\n```python\n([\s\S]*?)```", PAGE)

pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts")


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    """Forget what a test registers."""
    for module in (distillers, mitigation):
        monkeypatch.setattr(module, "_BY_NAME", dict(module._BY_NAME))
    monkeypatch.setattr(plugin, "_loaded", {})
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_methods.py"
    path.write_text(EXAMPLE, encoding="utf-8")
    return path


def test_the_page_s_methods_are_listed_described_and_trained(file, tiny_experiment, tiny_splits):
    experiment = tiny_experiment.replace(
        plugin=file, distiller="kd+0.5*l1", mitigation="risk_variance", teacher_mitigation="risk_variance"
    )
    fairkd.check_experiment(experiment)
    assert "l1" in set(fairkd.list_distillers()["name"])
    row = fairkd.list_mitigations().set_index("name").loc["risk_variance"]
    assert row["options"] == "adversary_weight" and row["source"].endswith("2003.00688")
    said = describe_choice(experiment)
    assert any("**l1** (× 0.5): absolute distance" in line for line in said)
    assert any("arXiv 2003.00688; it reads adversary_weight" in line for line in said)
    student = fairkd.distill_student(experiment, fairkd.train_teacher(experiment, tiny_splits), tiny_splits)
    assert torch.tensor(student.history["train_l1_loss"]).isfinite().all()


def test_the_page_s_mitigation_is_its_formula(file):
    fairkd.Experiment(plugin=file)
    setup = mitigation.Setup(torch.ones(2, 2, dtype=torch.int64), 1, {"adversary_weight": 3.0})
    made = mitigation.create_mitigation("risk_variance", setup)
    rows = torch.arange(4)
    batch = Batch(torch.zeros(4, 3, 8, 8), rows // 4, rows // 2, rows)
    losses = torch.tensor([1.0, 3.0, 4.0, 8.0])
    # Group means 2 and 6 around 4.
    assert made.reduce(losses, batch).item() == pytest.approx(4 + 3 * 4)


def test_changed_code_is_another_model_and_changed_back_the_first(file, tiny_experiment, tiny_splits):
    experiment = tiny_experiment.replace(mitigation="risk_variance", student_epochs=1)
    teacher = fairkd.train_teacher(experiment.replace(mitigation="none"), tiny_splits)
    folders = []
    for old, new in (("", ""), ("** 2", "** 4"), ("# reduce()", "# It says that reduce()")):
        file.write_text(EXAMPLE.replace(old, new), encoding="utf-8")
        folders.append(fairkd.distill_student(experiment.replace(plugin=file), teacher, tiny_splits).folder)
    assert folders[0] == folders[2] != folders[1]
    without = {"distiller": "kd", "mitigation": "none"}
    folders = [
        fairkd.distill_student(experiment.replace(**without, **more), teacher, tiny_splits).folder
        for more in ({}, {"plugin": file})
    ]
    assert folders[0] == folders[1]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = 1\nprint(y)\n", r"my_methods.py', line 2: NameError: name 'y' is not defined"),
        ("x = 1\n\nx = = 2\n", r"my_methods.py', line 3: SyntaxError"),
        ("import nothing_of_that_name\n", r"line 1: ModuleNotFoundError"),
        ("import fairkd\nfairkd.register_distiller('kd')", r"'kd' is a distiller of fairkd"),
        ("import fairkd\nfairkd.register_mitigation('2x')", r"cannot be called '2x': use letters"),
        (
            "import fairkd\nfairkd.register_mitigation('x', options=['temperature'])",
            r"temperature is no parameter of scope 'mitigation'; allowed: .*adversary_weight",
        ),
        ("import fairkd\nfairkd.register_distiller('x', reference_weight=-1)", r"reference_weight=-1 of 'x'"),
    ],
)
def test_a_file_with_a_fault_is_told_in_one_line(file, code, said):
    file.write_text(code, encoding="utf-8")
    for _ in range(2):
        with pytest.raises(ParameterError, match=said) as caught:
            fairkd.Experiment(plugin=file)
        assert "\n" not in str(caught.value)


def test_what_is_no_python_file_is_refused(tmp_path):
    for name in ("missing.py", "", "."):
        with pytest.raises(ParameterError, match="is not a Python file"):
            fairkd.Experiment(plugin=tmp_path / name)


def test_an_unknown_name_says_where_one_s_own_are_registered(tiny_experiment):
    for changes in ({"distiller": "l1"}, {"mitigation": "risk_variance"}):
        with pytest.raises(ParameterError, match=r"is unknown: .*the file named in plugin registers"):
            fairkd.check_experiment(tiny_experiment.replace(**changes))


def test_a_file_imports_its_neighbour_and_hides_no_package(file):
    (file.parent / "my_helper.py").write_text("VALUE = 5\n", encoding="utf-8")
    (file.parent / "torch.py").write_text("raise RuntimeError\n", encoding="utf-8")
    file.write_text("import my_helper, torch\ntorch.tensor(my_helper.VALUE)\n", encoding="utf-8")
    fairkd.Experiment(plugin=file)


def test_the_command_line_runs_the_file_and_the_printed_command_names_it(file, tmp_path):
    (line,) = re.findall(r"^fairkd run -p plugin.*$", PAGE, flags=re.MULTILINE)
    words = shlex.split(line)[1:]
    out = subprocess.run(
        [sys.executable, "-m", "fairkd", *words, "--dry-run", "-p", "output_dir", str(tmp_path / "out")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stderr
    experiment = fairkd.Experiment(plugin=file, distiller="l1", mitigation="risk_variance")
    assert f"-p plugin {shlex.quote(str(file))}" in experiment.command
    unknown = [word for word in words if word not in ("plugin", "my_methods.py")]
    unknown.remove("-p")
    out = subprocess.run(
        [sys.executable, "-m", "fairkd", *unknown, "--dry-run"], cwd=tmp_path, capture_output=True, text=True
    )
    assert out.returncode == 2 and "'l1' is unknown" in out.stderr


def test_nothing_that_a_run_s_folder_names_is_run_by_those_who_look_at_it(file, tiny_experiment):
    experiment = tiny_experiment.replace(plugin=file, run_name="theirs")
    folder = write_run(experiment)
    write_json(folder / "experiment.json", {"parameters": experiment.model_dump(mode="json")})
    nbformat.write(nbformat.v4.new_notebook(), folder / "01_data.ipynb")
    file.write_text("raise SystemExit('was run')\n", encoding="utf-8")
    write_report(folder)
    explorer = ParetoExplorer(tiny_experiment)
    assert explorer.chosen and "fairkd run" in explorer.command
    with pytest.raises(SystemExit):
        fairkd.Experiment(plugin=file)
