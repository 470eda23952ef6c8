"""Text from elsewhere that a spreadsheet, a kernel, a shell or a browser would run. It stays text."""

from __future__ import annotations

import ast
import csv
import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from payloads import IMAGE, SCRIPT, Page, Trap
from run_folders import write_run

import fairkd
from fairkd.arguments import join_pairs, read_experiment
from fairkd.comparison.methods import save_comparison
from fairkd.config import Experiment
from fairkd.errors import ParameterError
from fairkd.execute import execute_notebook, select_parameters
from fairkd.predictions import Predictions
from fairkd.report.predictions_report import predictions_report
from fairkd.results import save_exemplars
from fairkd.store import write_csv
from fairkd.sweeps import Question
from fairkd.sweeps.space import read_space
from fairkd.widgets import DisagreementBrowser, ParetoExplorer
from fairkd.widgets.panel import command_html

ROOT = Path(__file__).parents[2]

# Spreadsheets

FORMULAS = [
    *(
        "=cmd|' /C calc'!A0",
        "+1+cmd|' /C calc'!A0",
        "-1+cmd|' /C calc'!A0",
        "@SUM(1)",
        "\t=1+1",
        "\r=1+1",
        "\n=1+1",
    ),
    *("a\r=1+1", "a\r\n=1+1", "＝1+1", "＋1+1", "－1+1", "＠SUM(1)", '=HYPERLINK("http://a.b","c")'),
]
#: What a spreadsheet takes for the beginning of something to compute.
COMPUTED = re.compile(r"[\t\r\n]*[=+\-@＝＋－＠](?![\d.]+$)")


def table() -> pd.DataFrame:
    """Formulas as values, as categories and as the name of a column, beside numbers below zero."""
    n = len(FORMULAS)
    frame = pd.DataFrame({"model": ["student_kd"] * n, "outcome": ["lost: the teacher was right"] * n})
    frame["label"] = pd.Categorical(FORMULAS)
    return frame.assign(group=FORMULAS, margin_change=-1.5, **{"=1+1": 1})


def cells_of(path: Path) -> list[str]:
    """The cells as a spreadsheet reads them."""
    with path.open(newline="", encoding="utf-8") as file:
        return [cell for row in csv.reader(file) for cell in row]


def by_browser(experiment: Experiment, exemplars: pd.DataFrame) -> Path:
    chosen = DisagreementBrowser(experiment, exemplars, np.zeros((1, 8, 8, 3), np.uint8))
    chosen.outcome = exemplars["outcome"][0]
    return chosen.save()


EXPORTS: dict[str, Callable[[Experiment, pd.DataFrame], Path | None]] = {
    "write_csv": lambda experiment, rows: write_csv(experiment.run_folder / "any.csv", rows),
    "exemplars.csv": save_exemplars,
    "the disagreement browser": by_browser,
    "methods.csv": save_comparison,
}


@pytest.mark.parametrize("export", EXPORTS)
def test_no_cell_of_an_export_is_computed(tmp_path, export):
    experiment = Experiment(output_dir=str(tmp_path), run_name="run")
    EXPORTS[export](experiment, table())
    (path,) = experiment.run_folder.glob("*.csv")
    cells = cells_of(path)
    assert not [cell for cell in cells if COMPUTED.match(cell)]
    assert "'=cmd|' /C calc'!A0" in cells and cells.count("-1.5") == len(FORMULAS), "text and numbers stay"
    assert len(cells) == (len(FORMULAS) + 1) * len(table().columns), "no cell is torn in two"
    table().to_csv(tmp_path / "naive.csv", index=False)
    assert [cell for cell in cells_of(tmp_path / "naive.csv") if COMPUTED.match(cell)], (
        "the payloads are live"
    )


def test_every_csv_is_written_by_the_one_function():
    """``sweeps/`` writes ``trials.csv``, ``results`` ``efficiency.csv``; a history has numbers and settings alone."""
    found = set()
    for path in Path(fairkd.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name.endswith(".to_csv") or name in ("csv.writer", "csv.DictWriter"):
                found.add((path.parent.name, path.name, name))
    assert found == {("fairkd", "store.py", "safe.to_csv"), ("recipes", "kept.py", "history.to_csv")}


# Kernels


def code_payloads(trap: Trap) -> dict[str, str]:
    """Values of text parameters: each closes the string that it would be pasted into, in another way."""
    return {
        "data_root": f'"; {trap.python} #',
        "csv": f"'; {trap.python} #",
        "label_column": f'\\"; {trap.python} #',
        "group_column": f'"""\n{trap.python}\n"""',
        "path_column": f'x"\n!{trap.shell}\n%%bash\n{trap.shell}\n"',
        "split_column": f"{{__import__('os').system('{trap.shell}')}}",
    }


def test_code_in_a_parameter_reaches_the_kernel_as_text(trap, tmp_path):
    values = code_payloads(trap)
    trap.proves(lambda: exec(f'value = "{values["data_root"]}"'))
    experiment = Experiment(**values, run_name="run", output_dir=str(tmp_path / "outputs"))
    cell = "run_name = None\noutput_dir = ''\ndata_root = ''\ncsv = ''\noptions = {}"
    seen = f"import json, pathlib\nseen = {{'data_root': data_root, 'csv': csv, **options}}\n\
pathlib.Path({str(tmp_path / 'seen')!r}).write_text(json.dumps(seen))"
    cells = [
        nbformat.v4.new_code_cell(cell, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(seen),
    ]
    notebook, target = tmp_path / "01_first.ipynb", tmp_path / "{outputs}" / "01_first.ipynb"
    target.parent.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
    parameters = select_parameters(experiment, notebook)
    execute_notebook(notebook, target, parameters, on_cell=lambda *_: None, on_progress=lambda _: None)
    received = json.loads((tmp_path / "seen").read_text())
    assert {name: received[name] for name in values} == values
    assert not trap.sprung


@pytest.mark.notebooks
def test_code_in_the_name_of_a_data_set_is_an_unknown_data_set(trap, tmp_path):
    """By way of papermill alone, as someone runs a notebook by hand."""
    command = [
        sys.executable,
        "-m",
        "papermill",
        ROOT / "notebooks" / "01_data_and_bias.ipynb",
        tmp_path / "out.ipynb",
    ]
    command += ["-p", "dataset", f'"; {trap.python} #', "-p", "output_dir", tmp_path / "outputs"]
    environment = {**os.environ, "FAIRKD_HEADLESS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode and "ParameterError: unknown data set" in done.stderr, done.stderr[-2000:]
    assert not trap.sprung


def test_code_in_the_name_of_a_parameter_is_an_unknown_parameter(trap):
    with pytest.raises(ParameterError, match="unknown parameter"):
        read_experiment([f"temperature\n{trap.shell}\nx=1"], None)
    assert not trap.sprung


def test_the_code_of_a_selection_selects_and_runs_nothing_else(trap, tmp_path):
    """What the disagreement browser offers to copy: names of classes stand in it twice quoted."""
    label = f"' or @os.system('{trap.shell}') == 0 or label == '"
    rows = table().head(2).assign(label=[label, "other"], group="red")
    experiment = Experiment(output_dir=str(tmp_path), run_name="run")
    chosen = DisagreementBrowser(experiment, rows, np.zeros((1, 8, 8, 3), np.uint8))
    chosen.outcome, chosen.label = rows["outcome"][0], label
    save_exemplars(experiment, rows)
    trap.proves(
        lambda: eval(f"'{label}'.strip()", {"__builtins__": __builtins__}) if False else os.system(trap.shell)
    )
    assert eval(chosen.selection_code, {"pandas": pd})["label"].tolist() == [label]
    assert not trap.sprung


# Shells

SHELL = [
    "$({})",
    "`{}`",
    "'; {}; '",
    '"; {}; "',
    "x\n{}\n",
    "x & {} #",
    "| {}",
    "a  b\\",
    "*",
    "~",
    "!x",
    "-p",
    "a=b",
    "",
]


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str], list[str]]:
    """Run a command line in bash, where ``fairkd`` only notes its arguments; return them."""
    noted = tmp_path / "arguments"
    program = tmp_path / "bin" / "fairkd"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\njson.dump(sys.argv[1:], open({str(noted)!r}, 'w'))\n"
    )
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"

    def run(line: str) -> list[str]:
        noted.unlink(missing_ok=True)
        for options in (["-n"], []):
            command = ["bash", *options, "-c", line]
            subprocess.run(command, env={**os.environ, "PATH": path}, check=True, capture_output=True)
        arguments: list[str] = json.loads(noted.read_text())
        return arguments

    return run


def parameters_in(arguments: list[str]) -> dict[str, str]:
    """What the command line reads in them."""
    joined = join_pairs(arguments)
    pairs = [joined[i + 1] for i, word in enumerate(joined) if word == "-p"]
    return dict(pair.split("=", 1) for pair in pairs)


@pytest.mark.parametrize("text", SHELL)
def test_a_reproducing_command_is_read_by_a_shell_as_it_was_meant(shell, trap, text):
    value = text.format(trap.shell)
    experiment = Experiment(label_column=value, data_root=value, split_column="split")
    arguments = shell(experiment.command)
    assert arguments[0] == "run"
    expected = {name: value for name in ("label_column", "data_root") if value != Experiment.default(name)}
    assert parameters_in(arguments) == expected
    assert not trap.sprung


def test_a_command_without_quotes_would_run_something(shell, trap):
    command = f"fairkd run -p label_column $({trap.shell})"
    trap.proves(lambda: shell(command))


@pytest.mark.parametrize("text", SHELL[:7])
def test_a_sweep_s_command_is_read_by_a_shell_as_it_was_meant(shell, trap, tmp_path, text):
    value = text.format(trap.shell)
    base = Experiment(run_name="sweep", output_dir=f"{tmp_path}/{value.replace('/', '-')}")
    space = read_space({"label_column": ["label", value], "temperature": "1,2"})
    question = Question(base, tuple(space))
    arguments = shell(question.command)
    assert arguments[:5] == [
        "sweep",
        "--param",
        f"label_column=label,{value}",
        "--param",
        "temperature=1,2",
    ]
    assert parameters_in(arguments[5:])["output_dir"] == base.output_dir
    assert not trap.sprung


# Browsers


def predictions() -> Predictions:
    codes = np.arange(40) % 2
    return Predictions.from_arrays(
        labels=codes,
        groups=np.arange(40) // 2 % 2,
        probabilities=np.tile([0.6, 0.4], (40, 1)),
        class_names=[IMAGE, "dog"],
        group_names=[SCRIPT, "green"],
    )


def explorer(folder: Path) -> str:
    experiment = Experiment(output_dir=str(folder))
    write_run(experiment, group=SCRIPT).rename(folder / IMAGE)
    return ParetoExplorer(experiment).details()


def selection(folder: Path) -> str:
    rows = table().head(2).assign(label=[IMAGE, "other"], group=SCRIPT)
    chosen = DisagreementBrowser(Experiment(output_dir=str(folder)), rows, np.zeros((1, 8, 8, 3), np.uint8))
    chosen.label, chosen.group = IMAGE, SCRIPT
    return command_html(chosen.selection_code)


#: HTML that is made of names, without a browser; reports and cards are in their own tests.
PAGES: dict[str, Callable[[Path], Any]] = {
    "predictions": lambda _: predictions()._repr_html_(),
    "report on predictions": lambda _: predictions_report(
        {IMAGE: predictions(), SCRIPT: predictions()}, name=SCRIPT, replicates=100
    ).to_html(),
    "experiment": lambda _: Experiment(data_root=IMAGE, label_column=SCRIPT)._repr_html_(),
    "command of a panel": lambda _: command_html(Experiment(data_root=IMAGE, csv=SCRIPT).command),
    "Pareto explorer": explorer,
    "selection of the disagreement browser": selection,
}


@pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")
@pytest.mark.parametrize("page", PAGES)
def test_names_with_markup_are_shown_and_do_nothing(page, tmp_path):
    source = PAGES[page](tmp_path)
    shown = Page(source)
    assert not shown.live
    assert not [attributes for tag, attributes in shown.elements if tag == "script"]
    assert IMAGE in shown.text.replace("\\", "") and "<script>alert(1)</script>" in shown.text


def test_names_with_markup_that_are_not_escaped_would_do_something():
    assert Page(f"<p>{IMAGE}</p>").live == ["img", "onerror"]
    assert [tag for tag, _ in Page(f'<p title="{SCRIPT}">').elements] == ["p", "script"]
    assert Page(f"<p>{html.escape(IMAGE)}</p>").live == []
