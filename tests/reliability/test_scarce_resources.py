"""A full or read-only disk, no file handles left, no memory: a clear error, and what is finished stays."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from left_behind import check_artifacts

from fairkd.errors import ArtifactError
from fairkd.recipes import distill_student, train_teacher

# So few steps rarely suffice to predict more than one class.
pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")


@contextlib.contextmanager
def small_disk(folder: Path, size_kb: int) -> Iterator[None]:
    """Mount a file system of its own, or skip where that is not allowed."""
    folder.mkdir(exist_ok=True)
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder)]
    if mount is None or os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def finished(outputs: Path) -> dict[str, bytes]:
    """Check every finished artefact; return their files."""
    folders = check_artifacts(outputs)
    return {str(file): file.read_bytes() for folder in folders for file in folder.iterdir()}


@pytest.mark.filterwarnings("ignore:the teacher's outputs are not kept:fairkd.errors.FairkdWarning")
def test_a_full_disk_is_named_what_is_finished_stays_and_with_more_space_it_goes_on(
    tiny_splits, tiny_experiment, tmp_path
):
    whole = tiny_experiment.replace(output_dir=str(tmp_path / "roomy"))
    expected = distill_student(whole, train_teacher(whole, tiny_splits), tiny_splits)
    ended_with_teacher = 0
    for size_kb in (500, 2000, 3000, 4000):
        outputs = tmp_path / f"{size_kb}"
        experiment = tiny_experiment.replace(output_dir=str(outputs))
        with small_disk(outputs, size_kb):
            with pytest.raises(
                ArtifactError, match=r"^cannot [^\n]*: No space left on device; free space or"
            ):
                distill_student(experiment, train_teacher(experiment, tiny_splits), tiny_splits)
            before = finished(outputs)
            ended_with_teacher += bool(before)
            remount(outputs, "size=100m")
            student = distill_student(experiment, train_teacher(experiment, tiny_splits), tiny_splits)
            assert finished(outputs).items() >= before.items()
            assert student.predictions.frame.equals(expected.predictions.frame)
    assert ended_with_teacher, "the disk was full after the teacher, too"


def test_a_read_only_disk_is_named_and_what_is_finished_can_be_used(tiny_splits, tiny_experiment, tmp_path):
    outputs = tmp_path / "outputs"
    experiment = tiny_experiment.replace(output_dir=str(outputs))
    with small_disk(outputs, 100_000):
        teacher = train_teacher(experiment, tiny_splits)
        remount(outputs, "ro")
        again = train_teacher(experiment, tiny_splits)
        assert again.predictions.frame.equals(teacher.predictions.frame)
        with pytest.raises(
            ArtifactError, match=r"cannot create .*: Read-only file system; .*another output_dir"
        ):
            distill_student(experiment, again, tiny_splits)


def test_without_file_handles_the_error_says_so_and_the_rerun_ends_as_if_nothing_had_been(forge, place):
    forge("train", place / "undisturbed")
    expected = finished(place / "undisturbed")
    errors = set()
    for open_files in range(5):
        (ended,) = forge("train", place / "outputs", open_files=open_files)
        if "message" in ended:
            errors.add(ended["message"])
            assert "FairkdError" in ended["kinds"], ended["trace"]
            assert "\n" not in ended["message"]
        finished(place / "outputs")
    assert any("Too many open files; close files, or allow more of them (ulimit -n)" in one for one in errors)
    (rerun,) = forge("train", place / "outputs")
    assert "message" not in rerun
    names = {Path(path).name: content for path, content in expected.items() if path.endswith(".safetensors")}
    found = {Path(path).name: content for path, content in finished(place / "outputs").items()}
    assert names.items() <= found.items()


def test_too_large_a_batch_is_told_with_its_size_an_estimate_and_the_way_out(forge, place):
    (ended,) = forge("large_batch", place / "plain", memory=400 * 2**20)
    assert "TrainingError" in ended["kinds"], ended
    message = r"student fair: a batch of 256 images does not fit into memory, about \d"
    assert re.match(message, ended["message"]), ended["message"]
    assert "set micro_batch=auto or micro_batch=128, or lower batch_size" in ended["message"]


def test_micro_batch_auto_goes_on_with_smaller_parts(forge, place):
    (ended,) = forge("large_batch_auto", place / "auto", memory=400 * 2**20)
    assert "message" not in ended, ended
    assert (place / "auto" / "micro_batch").read_text() in {"128", "64", "32", "16"}
