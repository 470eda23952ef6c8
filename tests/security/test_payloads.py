"""Files from elsewhere that would run something: weights, checkpoints, arrays, archives, parameters. Nothing runs.

Each payload, read without care, leaves a file behind; that is shown first. Text from elsewhere is in
``test_payloads_as_text.py``.
"""

from __future__ import annotations

import ast
import io
import pickle
import re
import stat
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from click.testing import CliRunner
from payloads import Trap, hidden_in_torch_zip, in_old_torch_file, in_torch_zip, pickled, unpickle
from PIL import Image
from safetensors.torch import save
from training_cases import make_trainer

import fairkd
from fairkd.cli import main
from fairkd.data import check_dataset, load_dataset
from fairkd.data.files import MAX_FILE_BYTES
from fairkd.errors import ArtifactError, DataError, FairkdWarning
from fairkd.models import create_model, load_state
from fairkd.predictions import Predictions
from fairkd.recipes import train_teacher
from fairkd.report.predictions_report import read_models
from fairkd.store import write_sealed
from fairkd.training import CacheFolder

FORMS = ["torch zip", "hidden in a torch zip", "old torch file", "bare pickle"]


@pytest.fixture(params=FORMS)
def content(request: pytest.FixtureRequest, trap: Trap) -> bytes:
    """A state dict that runs something, in every form that ``torch.load`` reads."""
    write: Callable[[Any], bytes] = {
        "torch zip": in_torch_zip,
        "hidden in a torch zip": hidden_in_torch_zip(trap),
        "old torch file": in_old_torch_file,
        "bare pickle": pickled,
    }[request.param]
    data = write({"weight": trap, "epochs_done": trap})
    trap.proves(lambda: pickle.loads(data) if request.param == "bare pickle" else unpickle(data))
    return data


# Weights and checkpoints


def test_weights_that_run_something_are_refused(content, trap, tmp_path):
    for name in ("weights.pth", "weights.pt", "weights.bin", "weights.safetensors", "weights"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ArtifactError, match=rf"cannot read weights from .*{name}: "):
            load_state(tmp_path / name)
        with pytest.raises(ArtifactError, match="cannot read weights"):
            create_model("resnet8_cifar", 2, weights=tmp_path / name)
    assert not trap.sprung


def test_a_teacher_that_starts_from_such_weights_is_not_trained(
    content, trap, tmp_path, tiny_splits, tiny_experiment
):
    (tmp_path / "teacher.pth").write_bytes(content)
    experiment = tiny_experiment.replace(teacher_weights=str(tmp_path / "teacher.pth"))
    with pytest.raises(ArtifactError, match=r"cannot read weights from .*teacher\.pth"):
        train_teacher(experiment, tiny_splits)
    assert not trap.sprung and not list(tmp_path.glob("artifacts/*/model.safetensors"))


def test_a_checkpoint_that_runs_something_is_refused_though_its_seal_is_whole(
    content, trap, tmp_path, tiny_splits
):
    write_sealed(tmp_path / "checkpoint.pt", content)
    with pytest.raises(ArtifactError, match=r"cannot continue from .*checkpoint\.pt: .*delete it to train"):
        make_trainer(tiny_splits, folder=tmp_path).fit()
    assert not trap.sprung


def test_the_teacher_s_stored_outputs_are_never_unpickled(content, trap, tmp_path):
    cache = CacheFolder(tmp_path, 10**9)
    write_sealed(tmp_path / "key" / "outputs", save({"logits": torch.ones(2)}))
    assert cache.read("key", "outputs") is not None
    write_sealed(tmp_path / "key" / "outputs", content)
    with pytest.warns(FairkdWarning, match="is damaged: .*the teacher's outputs are computed again"):
        assert cache.read("key", "outputs") is None
    assert not trap.sprung


# Arrays and tables


def test_a_pickle_in_place_of_cifar10_s_is_refused(trap, tmp_path):
    """The files are pickles by nature; what they may hold is a list of names."""
    data = pickled({b"labels": [0], b"data": trap})
    trap.proves(lambda: pickle.loads(data))
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        (folder / name).write_bytes(data)
    with zipfile.ZipFile(tmp_path / "cifar.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"{folder.name}/{file.name}")
    message = r"data_batch_1 cannot be read as CIFAR-10's Python version: it asks for (posix|nt)\.system"
    for root in (tmp_path, tmp_path / "cifar.zip"):
        with pytest.raises(DataError, match=message):
            load_dataset("cifar10", data_root=root)
    assert not trap.sprung


def test_a_name_that_a_pickle_may_ask_for_leads_to_no_other(trap, tmp_path):
    """From protocol 4 on, names have dots: ``numpy`` is allowed, what it has imported is not."""
    name = "ctypeslib._ctypeslib.os.system"
    data = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in ("numpy", name))
    data += b"\x93\x8c" + bytes([len(trap.shell)]) + trap.shell.encode() + b"\x85R."
    trap.proves(lambda: pickle.loads(data))
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for file in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        (folder / file).write_bytes(data)
    with pytest.raises(DataError, match=re.escape(f"it asks for numpy.{name}")):
        load_dataset("cifar10", data_root=tmp_path)
    assert not trap.sprung


def test_an_array_of_objects_in_mnist_npz_is_refused(trap, tmp_path):
    """As in ``mnist.npz``: arrays of objects are pickles."""
    file = tmp_path / "mnist.npz"
    good = {name: np.zeros((2, 28, 28), np.uint8) for name in ("x_train", "x_test")}
    good |= {name: np.zeros(2, np.uint8) for name in ("y_train", "y_test")}
    np.savez(file, **{**good, "x_train": np.array([trap], dtype=object)})
    trap.proves(lambda: np.load(file, allow_pickle=True)["x_train"])
    with pytest.raises(DataError, match=r"mnist\.npz is no archive of the arrays .*allow_pickle=False"):
        check_dataset("mnist", data_root=file)
    assert not trap.sprung


@pytest.mark.parametrize("save_array", [np.save, np.savez])
def test_an_array_of_objects_in_the_cache_of_decoded_images_is_made_anew(trap, tmp_path, save_array):
    photos = make_photos(tmp_path / "photos")
    first = np.array(load_dataset("image-folder", data_root=photos, image_size=8).train.images)
    (cached,) = (tmp_path / "cache").glob("images-*.npy")
    cached.unlink()
    with cached.open("wb") as file:
        save_array(file, np.array([trap], dtype=object))

    def read() -> None:
        loaded = np.load(cached, allow_pickle=True)
        loaded["arr_0"] if save_array is np.savez else None

    trap.proves(read)
    with pytest.warns(FairkdWarning, match=r"its header is another one.*the images are decoded again"):
        again = load_dataset("image-folder", data_root=photos, image_size=8)
    assert (again.train.images == first).all()
    assert not trap.sprung


def test_a_pickle_in_the_schema_of_a_parquet_file_is_left_alone(trap, tmp_path):
    """As pyarrow unpickled it until CVE-2023-47248: an extension type that is written as a pickle."""
    data = pickled(trap)
    trap.proves(lambda: pickle.loads(data))
    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": data,
    }
    field = pa.field("label", pa.int64(), metadata=metadata)
    columns = [pa.array([0, 1]), pa.array(["a", "b"]), pa.array([0, 1])]
    schema = pa.schema([field, pa.field("group", pa.string()), pa.field("prediction", pa.int64())])
    path = tmp_path / "predictions.parquet"
    pq.write_table(pa.table(columns, schema=schema), path)
    assert read_models(path)["model"]["label"].tolist() == [0, 1], "it is a number all the same"
    with pytest.raises(fairkd.errors.FairkdError):
        Predictions.from_parquet(path)
    assert not trap.sprung


# Archives


def make_photos(folder: Path) -> Path:
    """20 images of two classes and two groups, with ``labels.csv``."""
    rng, lines = np.random.default_rng(0), ["path,label,group"]
    folder.mkdir()
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{'cat' if i % 2 else 'dog'},{'in' if i % 4 < 2 else 'out'}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def zipped(folder: Path, **members: bytes) -> Path:
    """The folder as an archive, and further members."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def unpack(archive: Path, folder: Path, separator: str = "/") -> None:
    """Unpack without care: every name as it is written, links as links."""
    with zipfile.ZipFile(archive) as source:
        for member in source.infolist():
            target = folder / member.filename.replace(separator, "/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if stat.S_ISLNK(member.external_attr >> 16):
                target.symlink_to(source.read(member).decode())
            else:
                target.write_bytes(source.read(member))


@pytest.mark.parametrize("member", ["../owned", "{}", "a/../../owned", "..\\owned", "a\\..\\..\\owned"])
def test_an_archive_whose_member_leaves_the_root_is_refused(trap, tmp_path, member):
    name = member.format(trap.marker)
    archive = zipped(make_photos(tmp_path / "photos"), **{name: b"x"})
    trap.proves(lambda: unpack(archive, tmp_path / "unpacked", "\\" if "\\" in name else "/"))
    message = rf"the member {re.escape(repr(name))} (is absolute|leaves the data root).*; repack the archive"
    with pytest.raises(DataError, match=message):
        load_dataset("image-folder", data_root=archive)
    assert not trap.sprung


def test_an_archive_with_a_drive_in_a_name_is_refused(tmp_path):
    archive = zipped(make_photos(tmp_path / "photos"), **{"C:\\owned": b"x"})
    with pytest.raises(DataError, match="is absolute; repack the archive"):
        load_dataset("image-folder", data_root=archive)


def test_a_link_in_an_archive_leads_nowhere(tmp_path):
    """It would show what lies outside of the archive: here, an image."""
    photos = make_photos(tmp_path / "photos")
    secret = tmp_path / "secret.png"
    (photos / "0.png").rename(secret)
    archive = zipped(photos)
    link = zipfile.ZipInfo("0.png")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(link, str(secret))
    unpack(archive, tmp_path / "unpacked")
    assert (tmp_path / "unpacked" / "0.png").read_bytes() == secret.read_bytes(), "the link is live"
    with pytest.raises(DataError, match=r"1 of 20 images .* first '0\.png': cannot identify image file"):
        load_dataset("image-folder", data_root=archive, image_size=8)


BOMB = MAX_FILE_BYTES + 1
#: Names of one length: each can take the other's place in an archive.
BOMB_NAME = "x_train.npy"


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An archive of 2 MB with a file of more than 512 MiB, which can really be unpacked."""
    path = tmp_path_factory.mktemp("bomb") / "bomb.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(BOMB_NAME, "w") as file,
    ):
        for size in [2**20] * (BOMB // 2**20) + [BOMB % 2**20]:
            file.write(bytes(size))
    assert path.stat().st_size < BOMB / 200
    with zipfile.ZipFile(path) as archive, archive.open(BOMB_NAME) as file:
        assert sum(len(part) for part in iter(lambda: file.read(2**22), b"")) == BOMB, "the bomb is live"
    return path.read_bytes()


def with_bomb(bomb: bytes, folder: Path, name: str, declared: int = BOMB) -> Path:
    """An archive of images, and the bomb under a name, which its CSV lists."""
    photos, path = make_photos(folder / "photos"), folder / "photos.zip"
    entry = bomb.rindex(b"PK\x01\x02") + 24
    data = bomb[:entry] + declared.to_bytes(4, "little") + bomb[entry + 4 :]
    path.write_bytes(data.replace(BOMB_NAME.encode(), name.encode()))
    with (photos / "labels.csv").open("a") as file:
        file.write(f"\n{name},cat,in")
    with zipfile.ZipFile(path, "a") as archive:
        for file in photos.iterdir():
            if not name.endswith(".csv") or file.suffix != ".csv":
                archive.write(file, file.name)
    return path


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "bomb_00.png",
            "image-folder",
            r"row 22 of labels\.csv, first 'bomb_00\.png': the file has 536,870,913",
        ),
        ("labels2.csv", "image-folder", r"labels2\.csv.* 536,870,913 bytes, more than the 536,870,912 that"),
        ("x_train.npy", "mnist", r"x_train\.npy unpacks to 536,870,913 bytes"),
    ],
)
def test_a_zip_bomb_is_refused_by_the_size_that_it_declares(bomb, tmp_path, name, data, message):
    archive = with_bomb(bomb, tmp_path, name)
    assert memory_of(lambda: refuse(data, archive, message)) < 50_000_000


def test_a_zip_bomb_that_declares_less_than_it_holds_is_not_unpacked(bomb, tmp_path):
    """Reading stops at the declared size, and the checksum of that much is wrong."""
    archive = with_bomb(bomb, tmp_path, "bomb_00.png", declared=1000)
    with zipfile.ZipFile(archive) as file:
        assert memory_of(lambda: unzip(file, "bomb_00.png")) > BOMB, "the bomb is live"
    message = r"row 22 of labels\.csv, first 'bomb_00\.png': Bad CRC"
    assert memory_of(lambda: refuse("image-folder", archive, message)) < 50_000_000


def test_an_array_that_declares_more_than_there_is_memory_is_refused(tmp_path):
    """Its header alone would have a terabyte be allocated."""
    good = {name: np.zeros((2, 28, 28), np.uint8) for name in ("x_train", "x_test")}
    np.savez(tmp_path / "mnist.npz", **good, y_train=np.zeros(2, np.uint8), y_test=np.zeros(2, np.uint8))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (2**50, 28, 28)}
    )
    with zipfile.ZipFile(tmp_path / "mnist.npz") as source:
        members = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(tmp_path / "mnist.npz", "w") as target:
        for name, content in members.items():
            target.writestr(name, header.getvalue() if name == "x_train.npy" else content)
    with pytest.raises(MemoryError), np.load(tmp_path / "mnist.npz") as arrays:
        arrays["x_train"]
    refuse("mnist", tmp_path / "mnist.npz", r"mnist\.npz is no archive of the arrays")


def refuse(data: str, archive: Path, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(data, data_root=archive, image_size=8)


def unzip(archive: zipfile.ZipFile, name: str) -> None:
    """Read a member with Python's own means: all of it is unpacked before its size is looked at."""
    with pytest.raises(zipfile.BadZipFile):
        archive.read(name)


def memory_of(action: Callable[[], object]) -> int:
    """Return the most memory, in bytes, that Python took for an action, whether it raised or not."""
    tracemalloc.start()
    try:
        action()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


# Parameters in YAML


@pytest.fixture
def hostile_yaml(trap: Trap) -> str:
    text = f"temperature: !!python/object/apply:os.system ['{trap.shell}']\n"
    trap.proves(lambda: yaml.unsafe_load(text))
    return text


@pytest.mark.parametrize(
    "command", [["run"], ["train"], ["compare"], ["sweep", "--param", "temperature=1,2"]], ids=lambda c: c[0]
)
def test_a_file_of_parameters_with_a_python_object_is_refused(hostile_yaml, trap, capsys, command):
    Path("p.yaml").write_text(hostile_yaml)
    assert main([*command, "--params", "p.yaml"]) == 2
    assert "--params p.yaml: could not determine a constructor for the tag" in capsys.readouterr().err
    assert not trap.sprung


def test_a_space_of_a_sweep_with_a_python_object_is_refused(trap, capsys):
    words = f"temperature=!!python/object/apply:os.system ['{trap.shell}']"
    assert main(["sweep", "--param", words]) == 2
    assert "!!python/object/apply:os.system" in (shown := capsys.readouterr().err) and "not allowed" in shown
    assert not trap.sprung


@pytest.mark.parametrize("option", ["-y", "-f"])
def test_papermill_s_own_yaml_is_refused(hostile_yaml, trap, option):
    from papermill.__main__ import papermill

    Path("p.yaml").write_text(hostile_yaml)
    words = ["in.ipynb", "out.ipynb", option, hostile_yaml if option == "-y" else "p.yaml"]
    done = CliRunner().invoke(papermill, words)
    assert isinstance(done.exception, yaml.constructor.ConstructorError)
    assert not trap.sprung


# The library's own doors


def test_nothing_else_in_the_library_reads_pickles_or_yaml_or_runs_text():
    """What is called by these names anywhere in it: a new one is to be looked at, and then listed here."""
    calls = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads"}
    calls |= {"pickle.Unpickler", "torch.export.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
    found = set()
    for path in Path(fairkd.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            keywords = {one.arg: ast.unparse(one.value) for one in node.keywords}
            trusting = (
                (name == "torch.load" and keywords.get("weights_only") != "True")
                or keywords.get("allow_pickle", "False") != "False"
                or keywords.get("shell", "False") != "False"
            )
            if trusting or name in calls:
                found.add((path.name, name))
    assert found == {("runtime.py", "torch.export.load")}, (
        "docs/export.md says to open only trusted .pt2 files"
    )
