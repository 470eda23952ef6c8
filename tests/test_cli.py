"""The command line: parameters, exit codes, one-line errors, and a run that dies and goes on."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import nbformat
import pytest
from rich.console import Console

import fairkd.doctor
from fairkd import pipeline
from fairkd.arguments import parse_value, read_experiment
from fairkd.cli import main
from fairkd.config import Experiment
from fairkd.display import show_events
from fairkd.doctor import Check, run_checks
from fairkd.errors import FairkdWarning, ParameterError
from fairkd.pipeline import Event
from fairkd.store import write_json

PARAMETERS = "run_name = None\noutput_dir = ''\noptions = {}"
RESULTS = """
import json, pathlib
folder = pathlib.Path(output_dir) / run_name
value = {"value": 0.9, "low": 0.8, "high": 0.95, "definition": "share"}
(folder / "metrics.json").write_text(json.dumps({"models": {"teacher": {"accuracy": value}}}))
(folder / "predictions.parquet").touch()
"""


def run_main(*arguments: str) -> int:
    """Return the exit code of the command line, run in this process."""
    return main(arguments)


def write_notebooks(folder: Path, **sources: str) -> Path:
    """Write the four notebooks; ``second="..."`` gives the second one a cell."""
    folder.mkdir()
    cells = [sources.get(name, "") for name in ("first", "second", "third")] + [RESULTS]
    for step, source in zip(pipeline.STEPS, cells, strict=True):
        parameters = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(source)])
        nbformat.write(notebook, folder / step.notebook)
    return folder


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave data and recipes out: their own tests cover them."""
    monkeypatch.setattr(pipeline, "_check", lambda experiment: None)
    monkeypatch.setattr(pipeline, "_fingerprint", lambda experiment: "data")


# Parameters


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "2", 2),
        ("temperature", "1e-3", 0.001),
        ("temperature", "-1", -1),
        ("temperature", "true", "true"),
        ("seed", "010", "010"),
        ("adversary_sees_label", "false", False),
        ("adversary_sees_label", "1", "1"),
        ("skew", "none", None),
        ("skew", "0.9", 0.9),
        ("csv", "None", None),
        ("csv", "a.csv", "a.csv"),
        ("run_name", "5", "5"),
        ("dataset", "none", "none"),
        ("label_column", "true", "true"),
        ("temprature", "3", "3"),
    ],
)
def test_parse_value(name: str, text: str, value: Any) -> None:
    parsed = parse_value(name, text)
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("pairs", "field", "value"),
    [
        (["seed=010"], "seed", 10),
        (["adversary_sees_label=no"], "adversary_sees_label", False),
        (["teacher=a=b"], "teacher", "a=b"),
    ],
)
def test_words_get_the_type_of_their_parameter(pairs: list[str], field: str, value: Any) -> None:
    assert getattr(read_experiment(pairs, None), field) == value


def test_a_wrong_type_is_refused() -> None:
    with pytest.raises(ParameterError, match="temperature='true' is not allowed"):
        read_experiment(["temperature=true"], None)


def test_a_file_of_parameters_is_overruled_by_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("temperature: 3\nbatch_size: 32\nskew: null\n")
    experiment = read_experiment(["temperature=2"], file)
    assert (experiment.temperature, experiment.batch_size, experiment.skew) == (2.0, 32, None)


def test_an_empty_file_of_parameters_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("# nothing\n")
    assert read_experiment([], tmp_path / "p.yaml") == Experiment()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b", "found list"),
        ("1: a", "'name: value'"),
        ("a: [", "p.yaml"),
        ("temprature: 1", "did you mean 'temperature'"),
        (None, "No such file"),
    ],
)
def test_a_wrong_file_of_parameters_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "p.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ParameterError, match=message):
        read_experiment([], file)


def test_relative_paths_start_at_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = read_experiment(["data_root=photos", "output_dir=out", "teacher_weights=/w.pth"], None)
    assert experiment.data_root == str(tmp_path / "photos")
    assert experiment.run_folder.parent == tmp_path / "out"
    assert experiment.teacher_weights == "/w.pth"
    assert experiment.student_weights is None


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (
            ("-p", "temprature", "3"),
            2,
            "error: unknown parameter 'temprature': did you mean 'temperature'? allowed: dataset, ",
        ),
        (
            ("-p", "temperature", "-1"),
            2,
            "error: temperature=-1 is not allowed: input should be greater than 0 (temperature: softens ",
        ),
        (("-p", "temperature"), 2, "error: -p needs a name and a value"),
        (("-p",), 2, "error: -p needs a name and a value"),
        (("-p", "seeds", "5"), 2, "error: seeds does nothing in `fairkd run`: use `fairkd compare`"),
        (("--from", "09", "--dry-run"), 2, "error: --from '09' names no step; allowed: 01_data_and_bias, "),
        (("--notebooks", "/nowhere"), 1, "error: cannot read the notebook /nowhere/01_data_and_bias.ipynb"),
    ],
)
@pytest.mark.usefixtures("no_library")
def test_a_mistake_is_one_line_on_stderr(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    error: str,
) -> None:
    notebooks = write_notebooks(tmp_path / "notebooks")
    folder = () if "--notebooks" in arguments else ("--notebooks", str(notebooks))
    assert run_main("run", *folder, *arguments) == code
    out, err = capsys.readouterr()
    assert err.startswith(error)
    assert err.count("\n") == 1
    assert out == ""


def test_text_of_an_error_is_not_taken_for_markup(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run_main("report", "[red]x[/red]", "--output-dir", str(tmp_path)) == 1
    assert f"no run '[red]x[/red]' in {tmp_path}; there: none yet" in capsys.readouterr().err


# Commands


@pytest.mark.usefixtures("no_library")
def test_dry_run_says_what_there_is_to_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    notebooks, outputs = write_notebooks(tmp_path / "notebooks"), tmp_path / "outputs"
    assert run_main("run", "--notebooks", str(notebooks), "-p", "output_dir", str(outputs), "--dry-run") == 0
    *steps, folder = capsys.readouterr().out.splitlines()
    assert steps == [f"{step.name}: would run" for step in pipeline.STEPS]
    assert folder == f"folder: {outputs / 'default'}"
    assert not outputs.exists()


@pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")
def test_train_names_the_models_and_says_when_interrupted_that_it_goes_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ("samples", "400", "teacher", "resnet8_cifar", "student", "resnet8_cifar", "teacher_epochs", "1")
    values = (*small, "student_epochs", "1", "precision", "float32", "output_dir", str(tmp_path))
    words = [w for pair in zip(values[::2], values[1::2], strict=True) for w in ("-p", *pair)]
    with monkeypatch.context() as patched:
        patched.setattr("fairkd.recipes.distill_student", _interrupted)
        assert run_main("train", "student", *words) == 130
        assert capsys.readouterr().err.endswith("interrupted; the same command goes on from here\n")
    assert run_main("train", "student", *words) == 0
    assert re.fullmatch(
        r"processes: 1\nteacher: \S+teacher-\w{12}\nstudent_fair: \S+student-\w{12}\n",
        capsys.readouterr().out,
    )


def _interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("no_library")
def test_dry_run_sees_an_output_folder_that_cannot_be_written_to(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebooks, outputs = write_notebooks(tmp_path / "notebooks"), tmp_path / "outputs"
    command = ("run", "--notebooks", str(notebooks), "-p", "output_dir", str(outputs), "--dry-run")
    outputs.write_text("a file", encoding="utf-8")
    assert run_main(*command) == 1
    assert "move what is in the way, or choose another output_dir" in capsys.readouterr().err
    outputs.unlink()
    # As for a user to whom the folder does not belong; the super-user may write anywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    assert run_main(*command) == 1
    assert (
        f"cannot write to {outputs / 'default'}: {tmp_path} must not be written to" in capsys.readouterr().err
    )


def test_report_takes_one_table_of_predictions(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("report", "--predictions", "a.csv", "--predictions", "b.csv") == 2
    assert "several models go into one table, with a column `model`" in capsys.readouterr().err


def test_report_takes_a_name_or_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    nbformat.write(nbformat.v4.new_notebook(), folder / "01_data.ipynb")
    for arguments in (("mine", "--output-dir", str(tmp_path)), (str(folder),)):
        (folder / "report.html").unlink(missing_ok=True)
        assert run_main("report", *arguments) == 0
        assert capsys.readouterr().out == f"report: {folder / 'report.html'}\n"
        assert (folder / "report.html").is_file()


@pytest.mark.parametrize("arguments", [[], ["--output-dir", "outputs"]])
def test_a_relative_output_dir_starts_where_you_are_and_the_default_at_the_project_s_root(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    below = tmp_path / "below"
    below.mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(below)
    assert run_main("report", "mine", *arguments) == 1
    assert f"no run 'mine' in {(below if arguments else tmp_path) / 'outputs'};" in capsys.readouterr().err
    pairs = ["output_dir=outputs"] if arguments else []
    assert read_experiment(pairs, None).output_path == (below if arguments else tmp_path) / "outputs"


def test_report_names_the_runs_that_there_are(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_json(tmp_path / "mine" / "status.json", {})
    assert run_main("report", "yours", "--output-dir", str(tmp_path)) == 1
    assert "no run 'yours'" in (error := capsys.readouterr().err)
    assert "there: mine" in error


def test_datasets_lists_names_and_licences(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("datasets") == 0
    out = capsys.readouterr().out
    for word in ("colored-digits", "image-folder", "licence"):
        assert word in out


def test_the_page_of_the_parameters_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("parameters", "--markdown") == 0
    page = Path(__file__).parents[1] / "docs" / "parameters.md"
    assert capsys.readouterr().out == page.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page.read_text(encoding="utf-8") for name in Experiment.names())


@pytest.mark.parametrize(
    ("word", "found", "other"),
    [("smooth", "label_smoothing", "batch_size"), ("lr", "learning_rate", "batch_size")],
)
def test_parameters_are_found_by_a_word_or_by_what_others_call_them(
    word: str, found: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("parameters", word) == 0
    out = capsys.readouterr().out
    assert found in out and other not in out
    assert run_main("parameters", "xyzzy") == 2
    assert "no parameter has 'xyzzy'" in capsys.readouterr().err


def test_a_warning_is_one_line_and_said_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn() -> list[Check]:
        for text in ("few samples", "few samples", "no group"):
            warnings.warn(text, FairkdWarning, stacklevel=1)
        warnings.warn("theirs", UserWarning, stacklevel=1)
        return []

    monkeypatch.setattr(fairkd.doctor, "run_checks", warn)
    with pytest.warns(UserWarning) as others:
        assert run_main("doctor") == 0
    assert capsys.readouterr().err.splitlines() == ["warning: few samples", "warning: no group"]
    assert [str(one.message) for one in others] == ["theirs"]


def test_an_unknown_option_is_an_error_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("run", "--fast") == 2
    assert "--fast" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("--version") == 0
    assert capsys.readouterr().out.startswith("fairkd ")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom fairkd.cli import main\n"
        "main(['run', '--help'])\n"
        "print(sorted({'torch', 'pandas', 'plotly', 'papermill', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--dry-run" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


# Doctor


def test_doctor_is_content_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("doctor") == 0
    out = capsys.readouterr().out
    for word in ("Python", "torch threads", "device", "[notebooks]", "outputs"):
        assert word in out


@pytest.mark.parametrize(
    ("load", "threads", "told"), [(0.2, 4, False), (1.0, 4, True), (1.0, 2, False), (9.0, 1, False)]
)
def test_doctor_tells_what_helps_beside_other_work(
    load: float, threads: int, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    (check,) = [check for check in run_checks() if check.name == "torch threads"]
    assert ("OMP_WAIT_POLICY" in check.way_out) is told and check.found.startswith(str(threads))
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    assert not any("OMP_WAIT_POLICY" in check.way_out for check in run_checks())


def test_doctor_fails_only_for_the_core(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {"fairkd": "0.1", "torch": "2.11"}
    requirements = [
        "timm>=1",
        "torch>=2.11",
        "plotly; extra == 'all'",
        "ray[default]>=2.40; extra == 'all'",
        "plotly>=6.1; extra == 'notebooks'",
        "ray[default]>=2.40; extra == 'sweep'",
        "plotly>=6.1; extra == 'test'",
        "pytest>=8; extra == 'test'",
    ]
    monkeypatch.setattr(fairkd.doctor, "version_of", versions.get)
    monkeypatch.setattr("importlib.metadata.requires", lambda name: requirements)
    checks = {check.name: check for check in run_checks()}
    assert checks["torch"] == Check("torch", "2.11", True)
    assert checks["timm"] == Check("timm", "missing", False, "pip install timm")
    assert checks["[sweep]"] == Check("[sweep]", "missing: ray", None, "pip install 'fairkd[sweep]'")
    assert checks["[notebooks]"].found == "missing: plotly"
    assert checks["[test]"].found == "missing: pytest"
    assert "[all]" not in checks
    assert run_main("doctor") == 1
    assert "pip install timm" in capsys.readouterr().out
    versions["timm"] = "1.0"
    assert run_main("doctor") == 0


def test_doctor_sees_an_output_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = run_checks(str(tmp_path / "file" / "outputs"))[-1]
    assert (check.name, check.ok) == ("outputs", False)


# What is shown while a run goes on


EVENTS = [
    Event("skip", "01_data", 1, 2),
    Event("start", "02_teacher", 2, 2),
    Event("cell", "02_teacher", 2, 2, done=0, total=3),
    Event("progress", "02_teacher", 2, 2, done=1, total=4, text="teacher [x]", values={"accuracy": 0.91234}),
    Event("progress", "02_teacher", 2, 2, done=2, total=4, text="teacher [x]"),
    Event("progress", "02_teacher", 2, 2, done=1, total=9, text="teacher [x]"),
    Event("finish", "02_teacher", 2, 2, seconds=75.2),
    Event("report", "report", 2, 2),
]


def show(terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100, color_system=None)
    with show_events(console) as on_event:
        for event in EVENTS:
            on_event(event)
    return stream.getvalue()


def test_a_log_gets_plain_lines() -> None:
    assert show(terminal=False).splitlines() == [
        "[1/2] 01_data: done before",
        "[2/2] 02_teacher: started",
        "[2/2] 02_teacher: teacher [x] 1/4, accuracy 0.912",
        "[2/2] 02_teacher: teacher [x] 1/9",
        "[2/2] 02_teacher: done in 1 min 15 s",
        "[2/2] report: written from the executed notebooks",
    ]


def test_a_terminal_gets_marks_for_what_is_done() -> None:
    shown = show(terminal=True)
    for line in ("· 01_data done before", "✓ 02_teacher done in 1 min 15 s", "✓ report"):
        assert line in shown


# The whole, with real kernels


def run_process(tmp_path: Path, *program: str) -> subprocess.Popen[str]:
    command = [sys.executable, *(program or ("-m", "fairkd")), "run"]
    notebooks = ["--notebooks", str(tmp_path / "notebooks")]
    values = ["-p", "output_dir", str(tmp_path / "outputs"), "-p", "run_name", "run"]
    return subprocess.Popen(
        [*command, *notebooks, *values], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def status_of(tmp_path: Path) -> dict[str, Any]:
    status: dict[str, Any] = json.loads((tmp_path / "outputs" / "run" / "status.json").read_text())
    return status


def test_a_killed_kernel_exits_with_an_error_and_the_next_run_goes_on(tmp_path: Path) -> None:
    die = "import os, pathlib\nif not pathlib.Path(output_dir, 'well').exists(): os.kill(os.getpid(), 9)"
    write_notebooks(tmp_path / "notebooks", third=die)

    first = run_process(tmp_path)
    _, err = first.communicate()
    assert first.returncode == 1
    assert err.splitlines()[-1].startswith("error: 03_adversarial_distillation: the kernel died")
    status = status_of(tmp_path)
    assert status["state"] == "failed"
    states = [status["steps"][step.name]["state"] for step in pipeline.STEPS[:3]]
    assert states == ["finished", "finished", "failed"]

    (tmp_path / "outputs" / "well").touch()
    second = run_process(tmp_path)
    out, err = second.communicate()
    assert (second.returncode, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "[1/4] 01_data_and_bias: done before"
    assert lines[2] == "[3/4] 03_adversarial_distillation: started"
    assert "Teacher" in out
    assert "0.900" in out
    assert "[0.800, 0.950]" in out
    assert lines[-1] == f"report: {tmp_path / 'outputs' / 'run' / 'report.html'}"

    assert status_of(tmp_path)["state"] == "finished"
    # With nothing to do, nothing slow is loaded.
    code = "import sys\nfrom fairkd.cli import main\nmain(sys.argv[1:])\nprint('torch' in sys.modules)"
    third = run_process(tmp_path, "-c", code)
    out, _ = third.communicate()
    assert third.returncode == 0
    assert out.startswith("everything was done before\n")
    assert out.endswith("\nFalse\n")


def test_a_termination_signal_stops_the_kernel_and_is_recorded(tmp_path: Path) -> None:
    say = "import os, pathlib, time\npathlib.Path(output_dir, 'pid').write_text(str(os.getpid()))"
    write_notebooks(tmp_path / "notebooks", first=f"{say}\ntime.sleep(600)")
    process, pid = run_process(tmp_path), tmp_path / "outputs" / "pid"
    deadline = time.monotonic() + 120
    while not (pid.is_file() and pid.read_text()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on from here" in err
    assert status_of(tmp_path)["state"] == "interrupted"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
