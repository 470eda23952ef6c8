"""The cache of decoded images: found again, never half-written, never believed when it cannot be right."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from full_disk import full_disk

from fairkd.data import load_dataset
from fairkd.data.cache import cache_folder
from fairkd.errors import DataError, FairkdWarning


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that are decoded from now on."""
    from fairkd.data import decode

    names, original = [], decode.decode_chunk

    def counting(chunk, read, size):
        names.extend(chunk)
        return original(chunk, read, size)

    monkeypatch.setattr(decode, "decode_chunk", counting)
    return names


def load(folder, **options):
    return load_dataset("image-folder", data_root=folder.root, image_size=8, **options)


def same(one, other):
    return all((images.images == getattr(other, name).images).all() for name, images in one.items())


def test_the_second_load_decodes_nothing_and_gives_the_same(make_folder, decoded, own_cache):
    folder = make_folder()
    first = load(folder)
    assert len(decoded) == 40
    assert [file.suffix for file in own_cache.iterdir()] == [".npy"]
    assert same(first, load(folder)) and len(decoded) == 40


def test_skew_seed_bias_and_group_share_it_and_image_size_does_not(make_folder, decoded):
    folder = make_folder()
    load(folder)
    load(folder, skew=0.7, seed=4)
    load(folder, bias="grey", skew=0.7)
    load(folder, label_column="group", group_column="label")
    assert len(decoded) == 40
    load_dataset("image-folder", data_root=folder.root, image_size=16)
    assert len(decoded) == 80


def test_a_moved_source_is_known_and_a_changed_file_is_not(make_folder, decoded, tmp_path):
    folder = make_folder()
    first = load(folder)
    folder.root = folder.root.rename(tmp_path / "moved")
    assert same(first, load(folder)) and len(decoded) == 40
    folder.add_image(folder.rows[0][0], 999)
    assert not same(first, load(folder)) and len(decoded) == 80


def test_a_folder_and_its_zip_have_their_own(make_folder, decoded):
    folder = make_folder()
    first = load(folder)
    folder.root = folder.zipped()
    assert same(first, load(folder)) and len(decoded) == 80
    load(folder)
    assert len(decoded) == 80


def test_samples_decode_only_what_they_need_and_use_the_whole_cache_if_it_is_there(make_folder, decoded):
    folder = make_folder()
    few = load(folder, samples=12)
    assert len(decoded) == 12 == sum(few.facts["sizes"].values())
    load(folder, samples=12)
    assert len(decoded) == 12
    whole = load(folder)
    assert len(decoded) == 52
    load(folder, samples=16)
    assert len(decoded) == 52
    rows = np.searchsorted(whole.train.unit, few.train.unit)
    assert (whole.train.images[rows] == few.train.images).all()


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.delenv("FAIRKD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder(None) == tmp_path / "xdg" / "fairkd"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder(None) == Path.home() / ".cache" / "fairkd"
    monkeypatch.setenv("FAIRKD_CACHE", str(tmp_path / "env"))
    assert cache_folder(None) == tmp_path / "env"
    assert cache_folder(str(tmp_path / "chosen")) == tmp_path / "chosen"


def test_cache_dir_moves_it_and_changes_no_fingerprint(make_folder, own_cache, tmp_path):
    folder = make_folder()
    first = load(folder, cache_dir=tmp_path / "elsewhere")
    assert not own_cache.exists() and len(list((tmp_path / "elsewhere").iterdir())) == 1
    assert first.fingerprint == load(folder).fingerprint


@pytest.mark.parametrize("damage", ["truncated", "longer", "other", "no hashes", "empty"])
def test_a_file_that_cannot_be_right_is_made_again(make_folder, decoded, own_cache, damage):
    folder = make_folder()
    first = load(folder)
    (file,) = own_cache.iterdir()
    data = file.read_bytes()
    file.unlink()  # another file in its place: the one that is open is as it was
    if damage == "other":
        np.save(file, np.zeros((40, 8, 8, 3), dtype=np.uint8))
    else:
        pixels = data[: -(128 + 40 * 16)]  # less the header and the hashes
        damaged = {"truncated": data[:-1], "longer": data + b"x", "no hashes": pixels, "empty": b""}
        file.write_bytes(damaged[damage])
    with pytest.warns(FairkdWarning, match=rf"{file.name} cannot be used \(it is damaged: .* decoded again"):
        assert same(first, load(folder)) and len(decoded) == 80
    assert file.read_bytes() == data


def test_a_folder_that_cannot_be_written_is_told_and_gone_without(make_folder, own_cache):
    folder = make_folder()
    first = load(folder)
    blocker = own_cache / "file"
    blocker.write_text("not a folder")
    message = "cannot be kept in .*file.*: they are decoded into memory.*set cache_dir to a folder with space"
    with pytest.warns(FairkdWarning, match=message):
        assert same(first, load(folder, cache_dir=blocker))
    assert blocker.read_text() == "not a folder"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(make_folder, own_cache):
    own_cache.mkdir()
    own_cache.chmod(0o500)
    with pytest.warns(FairkdWarning, match="Permission denied"):
        load(make_folder())


def test_a_full_disk_leaves_nothing_half_written(make_folder, own_cache):
    folder = make_folder()
    with full_disk(4000), pytest.warns(FairkdWarning, match=r"cannot be kept in .* \(File too large\)"):
        first = load(folder)
    assert list(own_cache.iterdir()) == []
    assert same(first, load(folder))


def test_a_disk_without_space_is_noticed_before_decoding(make_folder, own_cache, decoded, monkeypatch):
    import shutil

    usage = shutil.disk_usage("/")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=1000))
    with pytest.warns(FairkdWarning, match=r"No space left on device"):
        load(make_folder())
    assert len(decoded) == 40 and list(own_cache.iterdir()) == []


def test_what_fits_neither_on_disk_nor_into_memory_is_refused(make_folder, own_cache, monkeypatch):
    monkeypatch.setattr("fairkd.data.cache._free_memory", lambda: 1000)
    message = r"40 images of 8 x 8 pixels need .* GiB: they cannot be kept .* set cache_dir .* or samples"
    own_cache.write_text("not a folder")
    with pytest.warns(FairkdWarning), pytest.raises(DataError, match=message):
        load(make_folder())


def test_images_that_do_not_decode_leave_no_cache(make_folder, own_cache):
    folder = make_folder()
    (folder.root / folder.rows[5][0]).write_bytes(b"broken")
    with pytest.raises(DataError, match="1 of 40 images"):
        load(folder)
    assert list(own_cache.iterdir()) == []


def test_an_interrupted_decoding_leaves_no_cache(make_folder, own_cache, monkeypatch):
    def interrupt(chunk, read, size):
        raise KeyboardInterrupt

    monkeypatch.setattr("fairkd.data.decode.decode_chunk", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load(make_folder())
    assert list(own_cache.iterdir()) == []


def test_two_processes_at_once(make_folder, own_cache):
    folder = make_folder()
    code = (
        "import sys, hashlib; from fairkd.data import load_dataset\n"
        "splits = load_dataset('image-folder', data_root=sys.argv[1], image_size=8)\n"
        "print(hashlib.sha256(splits.train.images.tobytes()).hexdigest())"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(folder.root)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1] != ""
    assert [file.suffix for file in own_cache.iterdir()] == [".npy"]


def test_data_that_exceed_the_memory_limit_stay_on_disk(make_folder, monkeypatch):
    folder = make_folder()
    for options in ({}, {"skew": 0.7}, {"bias": "grey", "skew": 0.9}, {"samples": 12}):
        monkeypatch.setattr("fairkd.data.plan.IN_MEMORY_BYTES", 2**31)
        small = load(folder, **options)
        monkeypatch.setattr("fairkd.data.plan.IN_MEMORY_BYTES", 1000)
        large = load(folder, **options)
        for name, images in large.items():
            # What is kept is given out again, what is not is made anew.
            assert images.images[:].base is None
            assert getattr(small, name).images[:].base is getattr(small, name).images[0:].base is not None
            assert (images.images[:] == getattr(small, name).images).all()
        assert small.channel_statistics() == large.channel_statistics()
