"""Imports go downward, level by level; and a machine without the optional packages can train."""

from __future__ import annotations

import ast
import graphlib
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import fairkd

PACKAGE = Path(fairkd.__file__).parent
LEVELS = {
    0: {"config", "errors", "parameters", "plugin", "progress", "reproducibility", "shown", "store"},
    1: {
        *("cifar_models", "data", "efficiency", "heads", "losses", "metrics", "mitigation", "models"),
        "own_networks",
        *("frames", "pareto", "predictions"),
    },
    2: {"distillers", "inference", "soft_labels", "teachers", "training"},
    3: {
        *(
            "analysis",
            "evaluation",
            "narrative",
            "narrative_analysis",
            "narrative_conclusions",
            "narrative_data",
        ),
        *(
            "narrative_preview",
            "narrative_saliency",
            "narrative_seeds",
            "narrative_temperature",
            "plots",
            "recipes",
            "results",
            "runs",
            "tables",
        ),
        "tables_analysis",
    },
    4: {
        *(
            "arguments",
            "command_options",
            "comparison",
            "display",
            "doctor",
            "execute",
            "export",
            "pipeline",
            "report",
        ),
        *("interrupts", "run_state", "sweeps", "widgets"),
    },
    5: {"__main__", "cli", "sweep_command", "list_commands", "train_command"},
}
LEVEL_OF = {name: level for level, names in LEVELS.items() for name in names}
OPTIONAL = (
    *(
        "IPython",
        "accelerate",
        "anywidget",
        "captum",
        "fairlearn",
        "ipykernel",
        "ipywidgets",
        "jupyterlab",
        "mistune",
        "nbclient",
        "nbconvert",
    ),
    *("nbformat", "onnx", "onnxruntime", "onnxscript", "optuna", "papermill", "plotly", "ray", "rich"),
    "typer",
)


class Import(NamedTuple):
    """``importer`` imports ``target``, a module; ``for_types``: only under ``TYPE_CHECKING``."""

    importer: str
    target: str
    line: int
    for_types: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(module: str, source: str) -> Iterator[Import]:
    """All imports from fairkd, those inside functions too."""
    tree = ast.parse(source)
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        for target in _targets(node):
            if target.split(".")[0] == "fairkd":
                yield Import(module, target, node.lineno, id(node) in for_types)


def _targets(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, f"line {node.lineno}: write imports in full"
        for alias in node.names:
            submodule = f"{node.module}.{alias.name}"
            yield submodule if submodule in SOURCES else str(node.module)


def part(module: str) -> str:
    """``fairkd.data.audit`` -> ``data``."""
    return module.split(".")[1] if "." in module else ""


def faults(module: str, source: str) -> list[str]:
    """Say which imports of a module are not allowed."""
    found = []
    for one in imports_of(module, source):
        place = f"{one.importer}, line {one.line}, imports {one.target}"
        if not part(one.target):
            found.append(f"{place}: name the module that the thing is in")
        elif part(one.target) not in LEVEL_OF:
            found.append(f"{place}: {part(one.target)} has no level in this test")
        elif LEVEL_OF[part(one.target)] > LEVEL_OF[part(one.importer)]:
            found.append(f"{place}: that is upward")
    return found


MODULES = sorted(set(SOURCES) - {"fairkd"})


def test_every_module_has_a_level_and_every_level_s_module_is_one_file_or_folder():
    assert {part(module) for module in MODULES} - set(LEVEL_OF) == set()
    assert sum(len(names) for names in LEVELS.values()) == len(LEVEL_OF)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downward(module):
    assert faults(module, SOURCES[module]) == []


def test_the_package_itself_imports_nothing_until_a_name_is_used():
    assert [one.target for one in imports_of("fairkd", SOURCES["fairkd"]) if not one.for_types] == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("from fairkd.recipes import train_teacher", "that is upward"),
        ("def f():\n    import fairkd.pipeline", "that is upward"),
        ("def f():\n    from fairkd import widgets", "that is upward"),
        ("if TYPE_CHECKING:\n    from fairkd.cli import app", "that is upward"),
        ("from fairkd.forgotten import x", "forgotten has no level"),
        ("from fairkd import Experiment", "name the module"),
        ("import fairkd", "name the module"),
        ("from fairkd.models import Network\nfrom fairkd.losses import kd_loss\nimport torch", None),
    ],
)
def test_the_check_itself_finds_what_is_not_allowed(source, fault):
    found = faults("fairkd.distillers", source)
    assert (fault in found[0] and len(found) == 1) if fault else found == []


def test_no_imports_go_round_in_circles():
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        needs = graph.setdefault(module, set())
        for one in imports_of(module, SOURCES[module]):
            if not one.for_types:
                # Importing a.b.c also runs a.b, unless the importer lies inside it.
                parents = [one.target.rsplit(".", depth)[0] for depth in range(1, one.target.count("."))]
                needs |= {one.target, *(name for name in parents if not f"{module}.".startswith(f"{name}."))}
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


TRAINING = """
import json, pickle, sys
from pathlib import Path

for name in sys.argv[3:]:
    sys.modules[name] = None  # importing it raises ImportError

import fairkd

at_import = sorted({"torch", "timm", "pandas", "sklearn"} & set(sys.modules))

import fairkd.metrics
import fairkd.recipes
import fairkd.training
import torch

torch.set_num_threads(1)
splits = pickle.loads(Path(sys.argv[1]).read_bytes())
experiment = fairkd.Experiment(**json.loads(Path(sys.argv[2]).read_text()))
teacher = fairkd.train_teacher(experiment, splits)
student = fairkd.distill_student(experiment, teacher, splits)
table = fairkd.evaluate(student.predictions, replicates=20)
print(json.dumps({"at_import": at_import, "epochs": len(student.history), "metrics": list(table["metric"])}))
"""


def test_a_machine_without_the_optional_packages_can_train_and_evaluate(
    tiny_experiment, tiny_splits, tmp_path
):
    (tmp_path / "splits").write_bytes(pickle.dumps(tiny_splits))
    (tmp_path / "experiment").write_text(tiny_experiment.replace(teacher_epochs=1).model_dump_json())
    arguments = [tmp_path / "splits", tmp_path / "experiment", *OPTIONAL]
    done = subprocess.run([sys.executable, "-c", TRAINING, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["at_import"] == [], "import fairkd is to be instant"
    assert result["epochs"] == 3 and "recall_gap" in result["metrics"]
