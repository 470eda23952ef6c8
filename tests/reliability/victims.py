"""``python victims.py``: a process that forks others to do small jobs; each may be killed, or get too little.

It reads a line of JSON: a list of jobs that run at once. It answers with a line: what became of each. A job is
``{"work": name, "folder": path}``, and may say ``kill_at`` (kill -9 when so many calls have been made), ``storage``
(count only calls out of the modules that write files), ``open_files`` (how many more than now may be opened) and
``memory`` (how many bytes more than now may be had).
"""

from __future__ import annotations

import importlib
import json
import locale
import os
import pickle
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

# As a script, this file has only its own folder on the path.
sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "training")]

import numpy as np
import torch
from tiny_images import make_image_set
from training_cases import make_network, make_trainer

from fairkd import pipeline
from fairkd.config import Experiment
from fairkd.data import load_dataset
from fairkd.data.splits import Splits
from fairkd.errors import FairkdWarning
from fairkd.pipeline import Step
from fairkd.recipes import distill_student, train_teacher
from fairkd.store import write_atomic

#: Where files are written, each a place at which a kill may leave something half-done.
STORAGE = ("store.py", "checkpoint.py", "teacher_cache.py", "cache.py", "run_state.py", "pipeline.py")
STEPS = (Step("01_first"), Step("02_second", outputs=("metrics.json",)))


def experiment_in(folder: Path) -> Experiment:
    """Two networks that are trained in a second."""
    return Experiment(
        teacher="resnet8_cifar",
        student="resnet8_cifar",
        teacher_epochs=2,
        student_epochs=3,
        batch_size=24,
        precision="float32",
        augmentation="crop",
        run_name="run",
        output_dir=str(folder),
    )


def train(folder: Path) -> None:
    """A teacher and a student: artefacts, checkpoints and the teacher's cached outputs."""
    splits = pickle.loads((folder.parent / "splits.pickle").read_bytes())
    distill_student(experiment_in(folder), train_teacher(experiment_in(folder), splits), splits)


def decode(folder: Path) -> None:
    """Images of a folder: the data cache."""
    load_dataset("image-folder", data_root=folder.parent / "photos", image_size=8, cache_dir=folder)


def run(folder: Path) -> None:
    """Two notebooks without kernels: each is copied and writes a file."""

    def execute(notebook: Path, target: Path, parameters: dict[str, Any], **_: Any) -> None:
        write_atomic(target, lambda path: path.write_bytes(notebook.read_bytes()))
        if notebook.stem == STEPS[1].name:
            write_atomic(target.with_name("metrics.json"), lambda path: path.write_text('{"models": {}}'))

    pipeline.execute_notebook = execute
    pipeline.run(
        experiment_in(folder),
        notebooks=folder.parent / "notebooks",
        steps=STEPS,
        fingerprint=lambda _: "data",
        check=lambda _: None,
    )


def large_batch(folder: Path, micro_batch: int | str | None = None) -> None:
    """One epoch of one step whose 256 images of 64 pixels need about 1 GB."""
    rng = np.random.default_rng(0)
    parts = [make_image_set(rng, n, classes=3, groups=2, size=64) for n in (256, 12, 12)]
    names = {"class_names": ("a", "b", "c"), "group_names": ("red", "green")}
    splits = Splits("large", *parts, **names, label_name="shape", group_name="colour", fingerprint="large")
    settings = {"epochs": 1, "batch_size": 256, "augmentation": "none", "micro_batch": micro_batch}
    trainer = make_trainer(splits, teachers=[make_network(7)], network=make_network(1), **settings)
    history = trainer.fit()
    folder.mkdir()
    (folder / "micro_batch").write_text(str(history.get("micro_batch", [None])[0]))


def large_batch_auto(folder: Path) -> None:
    large_batch(folder, "auto")


WORK = {one.__name__: one for one in (train, decode, run, large_batch, large_batch_auto)}


def count_calls(job: dict[str, Any]) -> Callable[[], int]:
    """Count calls from now on, and kill this process at the one that the job names."""
    calls, last = 0, job.get("kill_at")
    only = STORAGE if job.get("storage") else ("",)

    def called(frame: FrameType, event: str, _: Any) -> None:
        nonlocal calls
        if event in ("call", "c_call") and frame.f_code.co_filename.endswith(only):
            calls += 1
            if calls == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(called)
    return lambda: calls


def limit(job: dict[str, Any]) -> None:
    if "open_files" in job:
        now = max(int(path.name) for path in Path("/proc/self/fd").iterdir()) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (now + job["open_files"], now + job["open_files"]))
    if "memory" in job:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + job["memory"], now + job["memory"]))


def do(job: dict[str, Any], answer: int) -> None:
    """Do a job in this process, and say how it ended."""
    result: dict[str, Any] = {}
    limit(job)
    counted = count_calls(job)
    try:
        WORK[job["work"]](Path(job["folder"]))
    except Exception as error:
        sys.setprofile(None)
        kinds = [kind.__name__ for kind in type(error).__mro__]
        result = {"message": str(error), "kinds": kinds, "trace": traceback.format_exc()}
    sys.setprofile(None)
    os.write(answer, json.dumps({"calls": counted(), **result}).encode())


def start(job: dict[str, Any]) -> tuple[int, int]:
    """Fork a process that does the job; return its number and the pipe with its answer."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        do(job, writing)
        os._exit(0)
    os.close(writing)
    return child, reading


def result_of(child: int, reading: int) -> dict[str, Any]:
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return {"killed": killed, **json.loads(text or b"{}")}


def main() -> None:
    torch.set_num_threads(1)
    locale.setlocale(locale.LC_ALL, "")
    warnings.simplefilter("ignore", FairkdWarning)
    # Loaded here, not in every child.
    importlib.import_module("fairkd.report")
    importlib.import_module("fairkd.report.cells")

    print("ready", flush=True)
    for line in sys.stdin:
        children = [start(job) for job in json.loads(line)]
        print(json.dumps([result_of(*child) for child in children]), flush=True)


if __name__ == "__main__":
    main()
