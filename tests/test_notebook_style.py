"""Notebooks read like a report: short cells, prose, parameters that are those of ``Experiment``."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import nbformat
import pytest

from fairkd.config import Experiment
from fairkd.pipeline import STEPS

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_LINES, MOST_LINES_OF_A_CELL = 150, 25
WORDS = 600, 1200


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request) -> nbformat.NotebookNode:
    return nbformat.read(request.param, as_version=4)


def code_of(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def prose_of(notebook: nbformat.NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def lines_of(source: str) -> list[str]:
    return [line for line in source.splitlines() if line.strip()]


def parameters_cell(notebook: nbformat.NotebookNode) -> str:
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1 and tagged[0].cell_type == "code"
    return tagged[0].source


def comments_of(source: str) -> dict[int, str]:
    """The comment of each line that has one."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.removeprefix("#").strip()
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def test_the_four_notebooks_of_the_main_job_exist():
    assert [step.notebook for step in STEPS] == [path.name for path in NOTEBOOKS][:4]
    assert [path.name[:2] for path in NOTEBOOKS][:4] == ["01", "02", "03", "04"]


def test_it_is_a_valid_notebook_of_a_kernel_that_everyone_has(notebook):
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"


# Parameters


def test_parameters_are_experiment_s_with_its_defaults(notebook):
    defaults = {}
    for statement in ast.parse(parameters_cell(notebook)).body:
        assert isinstance(statement, ast.AnnAssign), "write each as `name: type = value  # meaning`"
        assert isinstance(statement.target, ast.Name) and statement.value is not None
        defaults[statement.target.id] = ast.literal_eval(statement.value)
    assert defaults.pop("options") == {}
    for name, value in defaults.items():
        assert name in Experiment.model_fields, f"{name} is not a parameter"
        expected = Experiment.default(name)
        assert value == (list(expected) if isinstance(expected, tuple) else expected), name
        assert type(value) is type(list(expected) if isinstance(expected, tuple) else expected), name


def test_every_parameter_s_comment_is_its_description(notebook):
    source = parameters_cell(notebook)
    comments = comments_of(source)
    for statement in ast.parse(source).body:
        name, comment = statement.target.id, comments.get(statement.lineno)
        assert comment, f"{name} has no comment"
        if name != "options":
            assert comment == Experiment.model_fields[name].description, name


def test_the_parameters_are_validated_by_the_next_code_cell(notebook):
    cells = code_of(notebook)
    following = cells[cells.index(parameters_cell(notebook)) + 1]
    assert "Experiment.from_variables(globals())" in lines_of(following)[0]


# Code


def test_code_is_short_and_its_logic_lives_in_the_library(notebook):
    cells = code_of(notebook)
    assert sum(len(lines_of(source)) for source in cells) <= MOST_LINES
    assert max(len(lines_of(source)) for source in cells) <= MOST_LINES_OF_A_CELL
    nodes = [node for source in cells for node in ast.walk(ast.parse(source))]
    assert not any(isinstance(node, ast.ClassDef) for node in nodes)
    assert sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes) <= 1


def test_the_last_code_cell_saves_the_results(notebook):
    assert re.search(r"\b(?:save|write)_?\w*\(", code_of(notebook)[-1])


def test_imports_come_first_and_versions_are_shown(notebook):
    first = code_of(notebook)[0]
    assert "import fairkd" in first and "environment()" in first
    for source in code_of(notebook)[1:]:
        assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(ast.parse(source)))


# Prose


def test_it_begins_with_a_title_and_a_question(notebook):
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and re.match(r"# \d\d · \S", first.source)
    assert re.search(r"\?\*{0,2}\s*$", first.source), "a one-line question"


def test_the_prose_is_between_600_and_1200_words(notebook):
    words = re.findall(r"\w[\w'’.-]*", prose_of(notebook))
    assert WORDS[0] <= len(words) <= WORDS[1]


def test_every_figure_or_table_comes_after_prose(notebook):
    kinds = [cell.cell_type for cell in notebook.cells]
    assert "code code code code" not in " ".join(kinds), "three code cells in a row at most"


@pytest.mark.parametrize("heading", ["Limitations", "References", "What you will see", "Parameters"])
def test_it_has_the_sections_that_every_notebook_has(notebook, heading):
    assert re.search(rf"^## .*{heading}", prose_of(notebook), re.MULTILINE)


def test_no_claim_of_being_free_of_bias(notebook):
    assert not re.search(r"\b(?:unbiased|debiased|bias-free)\b", prose_of(notebook), re.IGNORECASE)


# What is committed


def test_outputs_are_cleared_and_no_widget_state_is_stored(notebook):
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
        assert not {"execution", "papermill"} & set(cell.metadata)
    assert "papermill" not in notebook.metadata
