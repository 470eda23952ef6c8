"""Distillers, mitigations and networks that users register are known by name, in every process, and by their text."""

from __future__ import annotations

import linecache
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
from fairkd.export import load_run
from fairkd.narrative import describe_choice
from fairkd.pipeline import COMPARISON, STEPS, _jobs
from fairkd.recipes import setup
from fairkd.report import write_report
from fairkd.store import write_json
from fairkd.sweeps.execute import Question
from fairkd.training import Trainer
from fairkd.widgets import ParetoExplorer

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "own_methods.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"<!-- my_methods.py -->\n```python\n([\s\S]*?)```", PAGE)
OTHER = EXAMPLE.replace("return losses.mean() +", "return 2 * losses.mean() +")
assert OTHER != EXAMPLE

pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts")


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    """Forget what a test registers."""
    for module in (distillers, mitigation):
        monkeypatch.setattr(module, "_BY_NAME", dict(module._BY_NAME))
    monkeypatch.setattr(plugin, "_loaded", {})


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
    # Group means 2 and 6, whose variance is 4.
    assert made.reduce(losses, batch).item() == pytest.approx(4 + 3 * 4)
    unknown = Batch(batch.images, batch.labels, torch.full((4,), -1), rows)
    assert made.reduce(losses, unknown).item() == 4


def test_changed_code_is_another_model_and_changed_back_the_first(file, tiny_experiment, tiny_splits):
    experiment = tiny_experiment.replace(mitigation="risk_variance", student_epochs=1)
    teacher = fairkd.train_teacher(experiment.replace(mitigation="none"), tiny_splits)
    folders = []
    for code in (EXAMPLE, OTHER, EXAMPLE):
        file.write_text(code, encoding="utf-8")
        folders.append(fairkd.distill_student(experiment.replace(plugin=file), teacher, tiny_splits).folder)
    assert folders[0] == folders[2] != folders[1]
    without = {"distiller": "kd", "mitigation": "none"}
    folders = [
        fairkd.distill_student(experiment.replace(**without, **more), teacher, tiny_splits).folder
        for more in ({}, {"plugin": file})
    ]
    assert folders[0] == folders[1]


def test_code_that_changes_during_a_training_is_not_what_was_trained(
    file, tiny_experiment, tiny_splits, monkeypatch
):
    experiment = tiny_experiment.replace(plugin=file, mitigation="risk_variance", student_epochs=1)
    teacher = fairkd.train_teacher(experiment.replace(mitigation="none"), tiny_splits)
    fit = Trainer.fit

    def edited_meanwhile(trainer: Trainer) -> object:
        file.write_text(OTHER, encoding="utf-8")
        experiment.replace(seed=1)
        return fit(trainer)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "fit", edited_meanwhile)
        during = fairkd.distill_student(experiment, teacher, tiny_splits).folder
    after = fairkd.distill_student(experiment.replace(seed=0), teacher, tiny_splits).folder
    file.write_text(EXAMPLE, encoding="utf-8")
    assert fairkd.distill_student(experiment.replace(seed=0), teacher, tiny_splits).folder == during != after


def test_a_run_is_done_again_when_its_plugin_has_changed(file, tiny_experiment):
    def keys() -> list[str]:
        experiment = tiny_experiment.replace(plugin=file)
        return [job.key for job in _jobs(experiment, ROOT / "notebooks", (*STEPS, *COMPARISON), "data")]

    first = keys()
    asked = Question(tiny_experiment.replace(plugin=file), ()).asked
    file.write_text(OTHER, encoding="utf-8")
    assert not set(first) & set(keys())
    assert asked != Question(tiny_experiment.replace(plugin=file), ()).asked
    file.write_text(EXAMPLE, encoding="utf-8")
    assert first == keys()


def test_what_a_failed_edit_registered_is_forgotten(file):
    fairkd.Experiment(plugin=file)
    first = distillers.distiller_entries("l1")[0][1]
    file.write_text(EXAMPLE + "\n1 / 0\n", encoding="utf-8")
    with pytest.raises(ParameterError, match="ZeroDivisionError"):
        fairkd.Experiment(plugin=file)
    with pytest.raises(ParameterError, match="'l1' is unknown"):
        distillers.distiller_entries("l1")
    file.write_text(EXAMPLE, encoding="utf-8")
    fairkd.Experiment(plugin=file)
    again = distillers.distiller_entries("l1")[0][1]
    assert again.code == first.code and again.kind is not first.kind
    file.write_text(EXAMPLE.replace('"l1"', '"l2"'), encoding="utf-8")
    fairkd.Experiment(plugin=file)
    assert {"l1", "l2"} & set(fairkd.list_distillers()["name"]) == {"l2"}


def test_two_files_cannot_have_one_name(file, tmp_path):
    fairkd.Experiment(plugin=file)
    other = tmp_path / "other.py"
    other.write_text(EXAMPLE, encoding="utf-8")
    with pytest.raises(
        ParameterError, match=r"other.py', line \d+: the distiller 'l1' is registered by .*my_methods"
    ):
        fairkd.Experiment(plugin=other)
    assert distillers.distiller_entries("l1")


def test_own_layers_start_from_the_seed_and_what_is_not_named_cannot_be_read(file, tiny_splits):
    file.write_text(
        """
import torch
import fairkd

class Layered(fairkd.mitigation.Mitigation):
    def __init__(self, setup):
        super().__init__(setup)
        self.layer = torch.nn.Linear(4, 1)

@fairkd.register_mitigation("layered")
class Made(Layered):
    def losses(self, outputs, batch, progress):
        return {}

@fairkd.register_mitigation("curious")
def make(setup):
    return setup.options["adversary_weight"]

@fairkd.register_distiller("curious", options=["dkd_beta"])
def make_term(context):
    return context.options["dkd_beta"] or context.options["temperature"]

fairkd.register_mitigation("plain")(fairkd.mitigation.Mitigation)
""",
        encoding="utf-8",
    )
    experiment = fairkd.Experiment(plugin=file, mitigation="layered")
    counts = torch.ones(2, 2, dtype=torch.int64)

    def made(name: str, seed: int = 0) -> mitigation.Mitigation:
        options = {"adversary_weight": 1.0}
        return mitigation.create_mitigation(name, mitigation.Setup(counts, 1, options, seed))

    before = torch.get_rng_state()
    first, same, other = (made("layered", seed).layer.weight for seed in (0, 0, 1))
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())
    assert type(made("plain")) is mitigation.Mitigation
    with pytest.raises(
        ParameterError, match="mitigation 'curious' reads 'adversary_weight': name it in options"
    ):
        made("curious")
    network = fairkd.create_model(experiment.student, 3, image_size=16)
    outputs = setup.dry_outputs(network, tiny_splits)
    for beta, said in ((0.0, "distiller 'curious' reads 'temperature'"), (1.0, "must not be of type float")):
        options = {"dkd_beta": beta, "temperature": 4.0}
        context = distillers.Context(outputs, (outputs,), 3, 2, lambda: outputs.features, options)
        with pytest.raises(ParameterError, match=said):
            distillers.create_distiller("curious", context)


def test_a_cell_s_methods_are_told_by_the_cell(tiny_experiment):
    def register(number: int, text: str) -> str:
        name = f"<cell {number}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), {})
        return mitigation.mitigation_entry("celled").code

    text = "import fairkd\nfairkd.register_mitigation('celled')(fairkd.mitigation.Mitigation)\n"
    first = register(1, text)
    assert first and first == register(2, text) != register(3, text + "BETA = 2\n")
    with pytest.raises(ParameterError, match="the text of the mitigation 'celled' is not known"):
        exec(text, {})


METHODS = """import fairkd
from fairkd.distillers import Term
from fairkd.mitigation import Mitigation
import torch
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "@fairkd.register_distiller('odd')\nclass Odd(Term):\n"
            "    def forward(self, student, teacher):\n        pass\n",
            r"distiller 'odd': forward\(self, student, teacher\) cannot be called as fairkd does; needed: "
            r"forward\(self, student, teachers, batch, progress, reduction\)",
        ),
        (
            "@fairkd.register_distiller('odd')\ndef odd(student, teachers):\n    pass\n",
            r"distiller 'odd': fairkd calls odd with one argument, a Context, and needs a Term from it",
        ),
        (
            "@fairkd.register_distiller('odd')\nclass Odd(torch.nn.Module):\n    pass\n",
            r"distiller 'odd': derive Odd from fairkd's Term",
        ),
        (
            "@fairkd.register_mitigation('odd')\nclass Odd(Mitigation):\n"
            "    def loss(self, outputs, batch):\n        pass\n",
            r"mitigation 'odd' changes nothing: Odd overrides none of prepare, sampling_weights, task_loss, reduce",
        ),
        (
            "@fairkd.register_mitigation('odd')\nclass Odd(Mitigation):\n"
            "    def sampling_weights(self):\n        pass\n",
            r"mitigation 'odd': sampling_weights\(self\) cannot be called as fairkd does; needed: .*labels, groups",
        ),
    ],
)
def test_a_method_that_cannot_work_is_refused_when_it_is_registered(tmp_path, code, said):
    file = tmp_path / "odd.py"
    file.write_text(METHODS + code, encoding="utf-8")
    with pytest.raises(ParameterError, match=said):
        fairkd.Experiment(plugin=file)


def test_a_reduce_that_would_never_be_called_is_refused_before_training(tmp_path):
    file = tmp_path / "odd.py"
    code = "class Odd(Mitigation):\n    def reduce(self, losses, batch):\n        return losses.max()\n"
    file.write_text(f"{METHODS}@fairkd.register_mitigation('odd')\n{code}", encoding="utf-8")
    with pytest.raises(ParameterError, match="its reduce is never called; set weighs_samples = True in Odd"):
        fairkd.check_experiment(fairkd.Experiment(plugin=file, mitigation="odd"))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = 1\nprint(y)\n", r"my_methods.py', line 2: NameError: name 'y' is not defined"),
        ("x = 1\n\nx = = 2\n", r"my_methods.py', line 3: SyntaxError"),
        ("import nothing_of_that_name\n", r"line 1: ModuleNotFoundError"),
        ("raise SystemExit('bye')\n", r"line 1: SystemExit: bye"),
        ("import fairkd\nfairkd.register_distiller('half')", r"'half' is taken"),
        ("import fairkd\nfairkd.register_distiller('distill')", r"cannot be called 'distill'"),
        ("import fairkd\nfairkd.register_distiller('x2e')", r"cannot be called 'x2e'"),
        ("import fairkd\nfairkd.register_distiller('kd')", r"line 2: 'kd' is taken"),
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
    for name, said in (
        ("missing.py", "does not exist"),
        ("", "is not a Python file"),
        (".", "is not a Python"),
    ):
        with pytest.raises(ParameterError, match=said):
            fairkd.Experiment(plugin=tmp_path / name)


@pytest.mark.parametrize(
    ("base", "method", "returned", "message"),
    [
        (
            "Term",
            "forward(self, student, teachers, batch, progress, reduction='mean')",
            "student.logits.mean(1)",
            r"distiller 'odd' with reduction='mean' returned a tensor of shape \(16,\); needed: a tensor, a scalar$",
        ),
        (
            "Term",
            "forward(self, student, teachers, batch, progress, reduction='mean')",
            "0.5",
            r"distiller 'odd' with reduction='mean' returned float; needed: a tensor",
        ),
        (
            "Mitigation",
            "task_loss(self, outputs, batch, **options)",
            "outputs.logits.mean(1)",
            r"the task_loss of Odd with reduction='mean' returned a tensor of shape \(16,\)",
        ),
    ],
)
def test_a_loss_of_the_wrong_shape_is_said_with_the_method_s_name(
    tmp_path, tiny_experiment, tiny_splits, base, method, returned, message
):
    kind = "distiller" if base == "Term" else "mitigation"
    file = tmp_path / "odd.py"
    file.write_text(
        f"import fairkd\nfrom fairkd.distillers import Term\nfrom fairkd.mitigation import Mitigation\n"
        f"@fairkd.register_{kind}('odd')\nclass Odd({base}):\n    def {method}:\n        return {returned}\n",
        encoding="utf-8",
    )
    plain = tiny_experiment.replace(mitigation="none")
    teacher = fairkd.train_teacher(plain, tiny_splits)
    with pytest.raises(ParameterError, match=message):
        fairkd.distill_student(plain.replace(plugin=file, **{kind: "odd"}), teacher, tiny_splits)


def test_an_unknown_name_says_where_one_s_own_are_registered(tiny_experiment):
    for changes in ({"distiller": "l1"}, {"mitigation": "risk_variance"}):
        with pytest.raises(ParameterError, match=r"is unknown: .*the file named in plugin registers"):
            fairkd.check_experiment(tiny_experiment.replace(**changes))


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
    assert explorer.chosen and explorer.command.endswith(f" -p plugin {file}")
    assert load_run(folder).plugin is None
    with pytest.raises(ParameterError, match="SystemExit: was run"):
        load_run(folder, plugin=file)
