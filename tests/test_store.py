"""Files are written whole or not at all; an artefact is finished, verified, and made again when damaged."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from full_disk import full_disk

from fairkd.errors import ArtifactError
from fairkd.store import (
    SEAL_BYTES,
    ArtifactFolder,
    check_writable,
    digest,
    file_digest,
    read_json,
    read_sealed,
    write_atomic,
    write_json,
    write_sealed,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Atomic writes


def test_a_file_appears_whole_in_folders_that_are_made(tmp_path: Path):
    path = tmp_path / "a" / "b" / "file.txt"
    seen = []

    def write(temporary: Path) -> None:
        temporary.write_text("half")
        seen.append((path.exists(), temporary.parent == path.parent))
        temporary.write_text("whole")

    write_atomic(path, write)
    assert seen == [(False, True)]
    assert path.read_text() == "whole" and names_in(path.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_nothing_half_written_stays_and_the_old_file_too_when_writing_stops(tmp_path: Path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write(temporary: Path) -> None:
        temporary.write_text("half")
        raise error

    with pytest.raises(type(error)):
        write_atomic(path, write)
    assert path.read_text() == "old" and names_in(tmp_path) == ["file.txt"]


def test_a_full_disk_names_the_file_and_the_way_out(tmp_path: Path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with (
        full_disk(10_000),
        pytest.raises(ArtifactError, match=r"cannot write .*file\.bin: File too large; free space"),
    ):
        write_atomic(path, lambda temporary: temporary.write_bytes(bytes(50_000)))
    assert path.read_bytes() == b"old" and names_in(tmp_path) == ["file.bin"]


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=r"cannot write .*file/inner/x\.json: .*another output_dir"):
        write_json(tmp_path / "file" / "inner" / "x.json", {})
    with pytest.raises(ArtifactError, match=r"cannot create .*another output_dir"):
        ArtifactFolder(tmp_path / "file", "teacher", {}).begin()


def test_a_place_that_cannot_be_written_to_shows_before_anything_is_made(tmp_path: Path):
    check_writable(tmp_path / "new" / "inner")
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        ArtifactError, match=r"cannot write to .*inner: .*file is not a folder; move what is in the way"
    ):
        check_writable(tmp_path / "file" / "inner")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_error_of_the_system_without_words_is_still_named(tmp_path: Path):
    def write(temporary: Path) -> None:
        raise OSError("pyarrow's own words")

    with pytest.raises(ArtifactError, match="pyarrow's own words"):
        write_atomic(tmp_path / "x", write)


# JSON


def test_json_holds_nan_as_null_and_numpy_as_plain_values(tmp_path: Path):
    value = {
        "nan": math.nan,
        "nested": [np.float64("nan"), (np.float32(0.5), {"deep": float("nan")})],
        "numpy": [np.int64(3), np.bool_(True)],
        "text": "é<b>",
        1: None,
    }
    write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert "NaN" not in text and "é<b>" in text and text.endswith("}\n")
    assert read_json(tmp_path / "x.json") == {
        "nan": None,
        "nested": [None, [0.5, {"deep": None}]],
        "numpy": [3, True],
        "text": "é<b>",
        "1": None,
    }


def test_json_that_cannot_be_read_is_named_with_the_way_out(tmp_path: Path):
    (tmp_path / "half.json").write_text('{"a": ')
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    for name, way_out in (
        ("half", "delete it"),
        ("binary", "delete it"),
        ("missing", "repeat what makes it"),
    ):
        with pytest.raises(ArtifactError, match=rf"cannot read .*{name}\.json: .*; {way_out}"):
            read_json(tmp_path / f"{name}.json")


# Sealed files


@pytest.mark.parametrize("content", [b"", b"abc", bytes(100_000)], ids=len)
def test_a_sealed_file_is_the_sha_256_and_the_content(tmp_path: Path, content):
    path = tmp_path / "a" / "file"
    write_sealed(path, content)
    assert path.read_bytes() == hashlib.sha256(content).digest() + content
    assert read_sealed(path) == content and names_in(path.parent) == ["file"]
    assert path.stat().st_size == SEAL_BYTES + len(content)


def test_any_changed_or_missing_byte_of_a_sealed_file_is_found(tmp_path: Path):
    path = tmp_path / "file"
    write_sealed(path, b"some content")
    whole = path.read_bytes()
    damaged = [whole[:n] for n in range(len(whole))] + [whole + b"\0"]
    damaged += [whole[:n] + bytes([whole[n] ^ 4]) + whole[n + 1 :] for n in range(len(whole))]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match=r"file is damaged \(its SHA-256 is not the recorded one\)"):
            read_sealed(path)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"cannot read .*file: No such file"):
        read_sealed(path)


def test_a_sealed_file_stays_as_it_was_when_the_disk_is_full(tmp_path: Path):
    path = tmp_path / "file"
    write_sealed(path, b"old")
    with full_disk(10_000), pytest.raises(ArtifactError, match=r"cannot write .*file: .*free space"):
        write_sealed(path, bytes(50_000))
    assert read_sealed(path) == b"old" and names_in(tmp_path) == ["file"]


# Digests


def test_a_digest_is_the_sha_256_of_canonical_json():
    expected = hashlib.sha256(b'{"a":[1,"\\u00e9"],"b":null}').hexdigest()
    assert digest({"b": None, "a": (1, "é")}) == expected[:12]
    assert digest({"a": [1, "é"], "b": None}, length=64) == expected
    assert digest({"a": 1}) != digest({"a": 1.0}) != digest({"a": "1"})


def test_a_file_s_digest_is_the_sha_256_of_its_bytes(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_digest(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


# Artefacts


@pytest.fixture
def finished(tmp_path: Path) -> ArtifactFolder:
    folder = ArtifactFolder(tmp_path, "teacher", {"seed": 1})
    (folder.begin() / "model.bin").write_bytes(b"weights")
    (folder.partial / "history.csv").write_text("epoch\n1\n")
    folder.finish({"role": "teacher"})
    return folder


def test_an_artefact_is_made_aside_and_then_moved_into_place(tmp_path: Path):
    folder = ArtifactFolder(tmp_path, "teacher", {"seed": 1})
    assert folder.path == tmp_path / "artifacts" / f"teacher-{digest({'seed': 1})}"
    work = folder.begin()
    (work / "model.bin").write_bytes(b"weights")
    assert not folder.finished and not folder.path.exists()
    assert folder.begin() == work and (work / "model.bin").exists(), "an interrupted attempt is kept"
    folder.finish({"role": "teacher"})
    assert folder.finished and not work.exists()
    assert json.loads((folder.path / "config.json").read_text()) == {
        "determined_by": {"seed": 1},
        "sha256": {"model.bin": hashlib.sha256(b"weights").hexdigest()},
        "role": "teacher",
    }
    assert folder.check()["role"] == "teacher"


def test_what_a_killed_process_left_half_written_does_not_become_part_of_the_artefact(tmp_path: Path):
    folder = ArtifactFolder(tmp_path, "teacher", {})
    (folder.begin() / ".checkpoint.pt.4711.tmp").write_bytes(b"half")
    folder.finish({})
    assert names_in(folder.path) == ["config.json"] and folder.check()["sha256"] == {}


def test_another_hash_is_another_folder(tmp_path: Path):
    one, other = (ArtifactFolder(tmp_path, "teacher", {"seed": seed}) for seed in (1, 2))
    assert one.path != other.path
    assert ArtifactFolder(tmp_path, "student", {"seed": 1}).path != one.path


def flip_a_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")


@pytest.mark.parametrize("damage", [flip_a_byte, Path.unlink], ids=["changed", "missing"])
@pytest.mark.parametrize("name", ["model.bin", "history.csv"])
def test_damage_is_found_and_the_file_and_the_folder_to_delete_are_named(finished, name, damage):
    damage(finished.path / name)
    assert finished.finished
    with pytest.raises(ArtifactError, match=rf"{name} is missing or damaged .*; delete {finished.path} to"):
        finished.check()


@pytest.mark.parametrize("text", ['{"sha', "{}", "[]", '{"sha256": 3}'])
def test_a_damaged_config_is_named(finished, text):
    (finished.path / "config.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"config\.json.*delete .* to have it made again"):
        finished.check()


def test_a_damaged_artefact_can_be_removed_and_made_again(finished):
    flip_a_byte(finished.path / "model.bin")
    (finished.begin() / "model.bin").write_bytes(b"again")
    finished.remove()
    assert not finished.path.exists() and not finished.partial.exists() and not finished.finished
    finished.remove()
    (finished.begin() / "model.bin").write_bytes(b"again")
    finished.finish({})
    assert (finished.path / "model.bin").read_bytes() == b"again" and finished.check()


def test_finishing_replaces_a_folder_without_its_config(finished):
    (finished.path / "config.json").unlink()
    assert not finished.finished
    (finished.begin() / "model.bin").write_bytes(b"again")
    finished.finish({})
    assert names_in(finished.path) == ["config.json", "model.bin"]
    assert (finished.path / "model.bin").read_bytes() == b"again"


@pytest.mark.skipif(os.geteuid() == 0, reason="the super-user may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(ArtifactError, match=os.strerror(errno.EACCES)):
        ArtifactFolder(tmp_path, "teacher", {}).begin()
