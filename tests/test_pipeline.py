"""The chain of notebooks: what is passed, what is left alone, and what a failure leaves behind."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from fairkd import pipeline
from fairkd.config import Experiment
from fairkd.errors import ArtifactError, DataError, FairkdError, ParameterError
from fairkd.execute import execute_notebook, parameter_names, select_parameters
from fairkd.pipeline import Event, Step
from fairkd.run_state import locked

CELL = "seed: int = 0  # seed\nrun_name: str | None = None\noutput_dir = 'outputs'\noptions: dict = {}"
STEPS = (Step("01_first"), Step("02_second"), Step("03_third", outputs=("metrics.json",)))


def write_notebook(path: Path, *sources: str, parameters: str | None = CELL) -> Path:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    if parameters is not None:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


# Parameters


def test_parameter_names_reads_annotated_and_plain_assignments_of_the_tagged_cell(tmp_path: Path) -> None:
    notebook = write_notebook(
        tmp_path / "n.ipynb", "other = 1", parameters="seed: int = 0\ntemperature = 4.0  # T"
    )
    assert parameter_names(notebook) == ["seed", "temperature"]


@pytest.mark.parametrize(
    ("cell", "error"), [(None, ParameterError), ("seed = = 1", ArtifactError)], ids=["no cell", "no Python"]
)
def test_parameter_names_names_the_notebook_when_its_cell_cannot_be_used(
    tmp_path: Path, cell: str | None, error: type[FairkdError]
) -> None:
    notebook = write_notebook(tmp_path / "n.ipynb", "x = 1", parameters=cell)
    with pytest.raises(error, match=r"n\.ipynb"):
        parameter_names(notebook)


def test_select_parameters_passes_named_fields_and_changed_others_in_options(tmp_path: Path) -> None:
    notebook = write_notebook(
        tmp_path / "n.ipynb", parameters="temperature = 4.0\nskew = None\nrun_name = None\noptions = {}"
    )
    experiment = Experiment(
        temperature=2, batch_size=32, adversary_weights=(1, 2), run_name="mine", output_dir=str(tmp_path)
    )
    assert select_parameters(experiment, notebook) == {
        "temperature": 2.0,
        "skew": None,
        "run_name": "mine",
        "options": {"batch_size": 32, "adversary_weights": [1.0, 2.0], "output_dir": str(tmp_path)},
    }


def test_select_parameters_always_passes_the_resolved_run_name(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path / "n.ipynb")
    experiment = Experiment(seed=3)
    passed = select_parameters(experiment, notebook)
    assert passed["run_name"] == experiment.run == "seed-3"
    assert passed["seed"] == 3


def test_select_parameters_refuses_a_cell_without_a_place_for_a_changed_parameter(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path / "n.ipynb", parameters="run_name = None\noutput_dir = ''")
    with pytest.raises(ParameterError, match=r"n\.ipynb.*takes neither 'temperature' nor 'options'"):
        select_parameters(Experiment(temperature=2), notebook)


def test_select_parameters_refuses_a_cell_that_names_no_parameter(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path / "n.ipynb", parameters="temprature = 2\noptions = {}")
    with pytest.raises(ParameterError, match=r"'temprature'.*did you mean 'temperature'.*allowed: dataset"):
        select_parameters(Experiment(), notebook)


# What is done and what is left alone, without kernels


class Chain:
    """A chain of three notebooks in ``tmp_path``; kernels are replaced by a recorder."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.notebooks = tmp_path / "notebooks"
        for step in STEPS:
            write_notebook(self.notebooks / step.notebook)
        self.outputs = tmp_path / "outputs"
        self.executed: list[str] = []
        self.checks = 0
        self.data = "data-1"
        monkeypatch.setattr(pipeline, "execute_notebook", self._execute)

    def _execute(self, notebook: Path, target: Path, parameters: dict[str, Any], **_: Any) -> None:
        self.executed.append(notebook.stem[:2])
        target.write_bytes(notebook.read_bytes())
        if notebook.stem == "03_third":
            target.with_name("metrics.json").write_text('{"models": {}}')

    def _check(self, experiment: Experiment) -> None:
        self.checks += 1

    def run(self, values: dict[str, Any] | None = None, **options: Any) -> list[str]:
        """Run, and return which steps were executed."""
        self.executed.clear()
        experiment = Experiment(**{"output_dir": str(self.outputs), "run_name": "run", **(values or {})})
        options = {"steps": STEPS, "fingerprint": lambda _: self.data, "check": self._check, **options}
        self.result = pipeline.run(experiment, notebooks=self.notebooks, **options)
        return list(self.executed)

    @property
    def folder(self) -> Path:
        return self.outputs / "run"

    def files(self) -> dict[str, tuple[int, bytes]]:
        return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in self.folder.iterdir() if p.is_file()}


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    return Chain(tmp_path, monkeypatch)


def test_a_second_run_changes_nothing_and_checks_nothing(chain: Chain) -> None:
    assert chain.run() == ["01", "02", "03"]
    before = chain.files()
    assert chain.run() == []
    assert chain.files() == before
    assert chain.checks == 1
    assert chain.result.skipped == ("01_first", "02_second", "03_third")
    assert {"experiment.json", "metrics.json", "report.html", "status.json"} <= set(before)


def test_a_changed_parameter_changed_data_or_another_version_repeats_every_step(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.run()
    assert chain.run({"temperature": 2}) == ["01", "02", "03"]
    chain.data = "data-2"
    assert chain.run({"temperature": 2}) == ["01", "02", "03"]
    monkeypatch.setattr(pipeline, "version_of", lambda package: "9.9")
    assert chain.run({"temperature": 2}) == ["01", "02", "03"]


def test_a_parameter_of_scope_run_repeats_nothing(chain: Chain) -> None:
    chain.run()
    assert chain.run({"device": "cpu"}) == []


def test_a_changed_notebook_repeats_its_step_and_the_later_ones(chain: Chain) -> None:
    chain.run()
    write_notebook(chain.notebooks / "02_second.ipynb", "new = 1")
    assert chain.run() == ["02", "03"]


@pytest.mark.parametrize(("lost", "repeated"), [("02_second.ipynb", ["02", "03"]), ("metrics.json", ["03"])])
def test_a_lost_output_is_made_again(chain: Chain, lost: str, repeated: list[str]) -> None:
    chain.run()
    (chain.folder / lost).unlink()
    assert chain.run() == repeated


@pytest.mark.parametrize("pointers", ['{"teacher": {"artifact": "teacher-1"}}', "{", "[]", '{"teacher": 1}'])
def test_a_step_whose_models_are_gone_is_done_again(chain: Chain, pointers: str) -> None:
    steps = (STEPS[0], dataclasses.replace(STEPS[1], models="teacher.json"), STEPS[2])
    chain.run(steps=steps)
    assert chain.run(steps=steps) == []
    artifact = chain.outputs / "artifacts" / "teacher-1"
    artifact.mkdir(parents=True)
    (artifact / "config.json").touch()
    (chain.folder / "teacher.json").write_text('{"teacher": {"artifact": "teacher-1"}}')
    assert chain.run(steps=steps) == []
    (artifact / "config.json").unlink()
    (chain.folder / "teacher.json").write_text(pointers)
    assert chain.run(steps=steps) == ["02", "03"]


def test_a_lost_report_is_written_again_without_a_step(chain: Chain) -> None:
    chain.run()
    chain.result.report.unlink()
    assert chain.run() == []
    assert chain.result.report.is_file()
    assert chain.checks == 1


def test_a_damaged_status_counts_as_nothing_done(chain: Chain) -> None:
    chain.run()
    (chain.folder / "status.json").write_text("{")
    assert chain.run() == ["01", "02", "03"]


def test_force_repeats_all_and_start_repeats_from_there(chain: Chain) -> None:
    chain.run()
    assert chain.run(force=True) == ["01", "02", "03"]
    for start in ("02", "2", "02_second", "02_second.ipynb"):
        assert chain.run(start=start) == ["02", "03"]


def test_start_still_makes_what_is_missing_before_it(chain: Chain) -> None:
    assert chain.run(start="03") == ["01", "02", "03"]


@pytest.mark.parametrize("start", ["04", "0", "", "second"])
def test_an_unknown_start_names_the_steps(chain: Chain, start: str) -> None:
    with pytest.raises(ParameterError, match="allowed: 01_first, 02_second, 03_third"):
        chain.run(start=start)


def test_dry_run_checks_and_says_what_there_is_to_do_but_writes_nothing(chain: Chain) -> None:
    assert chain.run(dry_run=True) == []
    assert chain.result.executed == ("01_first", "02_second", "03_third")
    assert chain.checks == 1
    assert not chain.outputs.exists()
    chain.run()
    chain.run(dry_run=True, start="03")
    assert (chain.result.skipped, chain.result.executed) == (("01_first", "02_second"), ("03_third",))


def test_a_failed_check_stops_before_anything_is_written(chain: Chain) -> None:
    def check(experiment: Experiment) -> None:
        raise DataError("photos.csv has no column 'group'")

    with pytest.raises(DataError, match="no column 'group'"):
        chain.run(check=check)
    assert not chain.outputs.exists()


def test_experiment_json_holds_parameters_environment_data_and_command(chain: Chain) -> None:
    chain.run({"temperature": 2})
    stored = json.loads((chain.folder / "experiment.json").read_text())
    experiment = Experiment(temperature=2, run_name="run", output_dir=str(chain.outputs))
    assert Experiment(**stored["parameters"]) == experiment
    assert stored["data_fingerprint"] == "data-1"
    assert "-p temperature 2.0" in stored["command"]
    assert "python" in stored["environment"]


def test_a_step_that_leaves_an_output_out_fails_by_name_even_if_an_old_one_is_there(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.run()
    monkeypatch.setattr(pipeline, "execute_notebook", lambda source, target, *a, **k: target.write_text("{}"))
    with pytest.raises(FairkdError, match=r"03_third: finished, but did not write metrics\.json"):
        chain.run(start="03")
    status = json.loads((chain.folder / "status.json").read_text())
    assert (status["state"], status["steps"]["03_third"]["state"]) == ("failed", "failed")
    assert not chain.result.report.exists()


def test_a_report_that_cannot_be_written_leaves_the_run_unfinished(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fairkd.report

    with monkeypatch.context() as patch:

        def fail(folder: Path) -> Path:
            raise ArtifactError("disk full")

        patch.setattr(fairkd.report, "write_report", fail)
        with pytest.raises(ArtifactError, match="disk full"):
            chain.run()
    assert json.loads((chain.folder / "status.json").read_text())["state"] == "failed"
    assert chain.run() == []
    assert json.loads((chain.folder / "status.json").read_text())["state"] == "finished"


def test_an_interrupted_step_is_recorded_and_repeated(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(notebook: Path, *_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "execute_notebook", interrupt)
        with pytest.raises(KeyboardInterrupt):
            chain.run()
    status = json.loads((chain.folder / "status.json").read_text())
    assert (status["state"], status["steps"]["01_first"]["state"]) == ("interrupted", "interrupted")
    assert chain.run() == ["01", "02", "03"]


def test_a_second_process_is_kept_out_by_name_and_let_in_when_the_first_has_died(chain: Chain) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib, fairkd.run_state as s\n"
            f"with s.locked(pathlib.Path({str(chain.folder)!r})):\n"
            "    print('held', flush=True)\n"
            "    sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FairkdError, match=f"in use by process {holder.pid};"):
            chain.run()
        assert chain.executed == []
        holder.kill()
    assert chain.run() == ["01", "02", "03"]


def test_a_place_without_locks_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "run"), locked(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").read_text() == f"{os.getpid()}\n"


def test_a_run_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="choose another output_dir"), locked(tmp_path / "file" / "run"):
        pass


def test_the_real_steps_have_their_notebooks_in_one_folder() -> None:
    assert [step.name[:2] for step in pipeline.STEPS] == ["01", "02", "03", "04"]
    assert pipeline.notebooks_folder().name == "notebooks"


# With real kernels


def run_real(tmp_path: Path, *names: str, **options: Any) -> Path:
    """Run the notebooks ``names`` in ``tmp_path`` and return the run folder."""
    experiment = Experiment(seed=7, run_name="run", output_dir=str(tmp_path / "out{puts"))
    pipeline.run(
        experiment,
        notebooks=tmp_path,
        steps=[Step(name) for name in names],
        fingerprint=lambda _: "data",
        check=lambda _: None,
        **options,
    )
    return experiment.run_folder


def status_of(tmp_path: Path) -> dict[str, Any]:
    status: dict[str, Any] = json.loads((tmp_path / "out{puts" / "run" / "status.json").read_text())
    return status


def test_a_killed_kernel_is_recorded_and_the_next_run_goes_on_from_there(tmp_path: Path) -> None:
    count = "with open(output_dir + '/count', 'a') as file:\n    file.write(f'{run_name}-{seed} ')"
    write_notebook(tmp_path / "01_first.ipynb", count)
    write_notebook(
        tmp_path / "02_second.ipynb",
        "import os, pathlib\nif not pathlib.Path(output_dir, 'well').exists(): os.kill(os.getpid(), 9)",
    )
    with pytest.raises(FairkdError, match=r"^02_second: the kernel died"):
        run_real(tmp_path, "01_first", "02_second")
    status = status_of(tmp_path)
    assert status["state"] == "failed"
    assert status["steps"]["01_first"]["state"] == "finished"
    assert status["steps"]["02_second"]["state"] == "failed"
    assert "kernel died" in status["steps"]["02_second"]["error"]
    assert not (tmp_path / "out{puts" / "run" / "report.html").exists()

    (tmp_path / "out{puts" / "well").touch()
    events: list[Event] = []
    folder = run_real(tmp_path, "01_first", "02_second", on_event=events.append)
    assert (tmp_path / "out{puts" / "count").read_text() == "run-7 "
    assert [event.kind for event in events if event.step == "01_first"] == ["skip"]
    assert [event.kind for event in events][-2:] == ["finish", "report"]
    assert status_of(tmp_path)["state"] == "finished"
    assert (folder / "report.html").is_file()


def test_a_cell_error_is_one_line_with_step_class_message_and_notebook(tmp_path: Path) -> None:
    write_notebook(tmp_path / "01_first.ipynb", "raise ValueError('first line\\nsecond line')")
    with pytest.raises(FairkdError) as caught:
        run_real(tmp_path, "01_first")
    message = str(caught.value)
    partial = tmp_path / "out{puts" / "run" / "01_first.ipynb"
    assert message == f"01_first: ValueError: first line second line (the notebook up to there: {partial})"
    assert partial.is_file()
    assert status_of(tmp_path)["steps"]["01_first"]["error"].startswith("ValueError: first line second line")


def test_an_error_of_fairkd_in_a_cell_is_its_message(tmp_path: Path) -> None:
    write_notebook(
        tmp_path / "01_first.ipynb", "from fairkd.errors import DataError\nraise DataError('no column group')"
    )
    with pytest.raises(FairkdError, match=r"^01_first: no column group$"):
        run_real(tmp_path, "01_first")


def test_execute_notebook_reports_cells_and_training_and_leaves_the_environment_alone(tmp_path: Path) -> None:
    notebook = write_notebook(
        tmp_path / "n.ipynb",
        "from fairkd.progress import ProgressBar\nimport time\n"
        "with ProgressBar('teacher', 3) as bar:\n    bar.update(3, accuracy=0.5)\ntime.sleep(1)",
    )
    before = dict(os.environ)
    cells: list[tuple[int, int]] = []
    states: list[dict[str, Any]] = []
    execute_notebook(
        notebook,
        tmp_path / "done.ipynb",
        {"seed": 5},
        on_cell=lambda done, total: cells.append((done, total)),
        on_progress=states.append,
    )
    assert dict(os.environ) == before
    assert cells == [(0, 3), (1, 3), (2, 3)]  # the injected cell is one of them
    assert states == [{"description": "teacher", "done": 3, "total": 3, "values": {"accuracy": 0.5}}]
    executed = nbformat.read(tmp_path / "done.ipynb", as_version=4)
    assert "widgets" not in executed.metadata
    assert any("seed = 5" in cell.source for cell in executed.cells)
