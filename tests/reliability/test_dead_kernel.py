"""A kernel that is killed: what it did is done once more, and the steps before it are not."""

from __future__ import annotations

from small_files import make_notebook

from fairkd import pipeline
from fairkd.config import Experiment
from fairkd.pipeline import Event, Step
from fairkd.run_state import read_status

ONCE = "with open(output_dir + '/once', 'a') as file:\n    file.write('x')"
DIE = """
import os, pathlib
died = pathlib.Path(output_dir, "died")
if not died.exists():
    died.touch()
    os.kill(os.getpid(), 9)
"""


def test_a_step_whose_kernel_dies_once_is_done_again_and_the_run_finishes(tmp_path):
    make_notebook(tmp_path / "01_first.ipynb", ONCE)
    make_notebook(tmp_path / "02_second.ipynb", DIE)
    experiment = Experiment(run_name="run", output_dir=str(tmp_path / "outputs"))
    events: list[Event] = []
    pipeline.run(
        experiment,
        notebooks=tmp_path,
        steps=(Step("01_first"), Step("02_second")),
        fingerprint=lambda _: "data",
        check=lambda _: None,
        on_event=events.append,
    )
    assert (tmp_path / "outputs" / "once").read_text() == "x"
    started = [event.step for event in events if event.kind == "start"]
    assert started == ["01_first", "02_second", "02_second"]
    status = read_status(experiment.run_folder)
    assert status["state"] == "finished"
    assert [step["state"] for step in status["steps"].values()] == ["finished", "finished"]
