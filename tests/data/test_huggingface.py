"""Hugging Face data sets, on local copies written by the library itself."""

import sys

import numpy as np
import pytest

from fairkd.data import check_dataset, load_dataset
from fairkd.errors import DataError, ParameterError


@pytest.fixture
def datasets(monkeypatch):
    library = pytest.importorskip("datasets", reason="the extra huggingface is not installed")
    library.disable_progress_bars()
    return library


def make_part(datasets, n, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "place": datasets.Value("string"),
            "age": datasets.Value("int64"),
        }
    )
    from PIL import Image

    columns = {
        "picture": [Image.fromarray(image) for image in pixels],
        "label": [i % 2 for i in range(n)],
        "place": [None if i == 3 else ("in", "out")[i // 2 % 2] for i in range(n)],
        "age": list(range(n)),
    }
    return datasets.Dataset.from_dict(columns, features=features), pixels


@pytest.fixture
def saved(datasets, tmp_path):
    parts = {name: make_part(datasets, n, n) for name, n in (("train", 40), ("validation", 12), ("test", 20))}
    datasets.DatasetDict({name: part for name, (part, _) in parts.items()}).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved", {name: pixels for name, (_, pixels) in parts.items()}


@pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")
def test_a_saved_copy(saved):
    root, pixels = saved
    splits = load_dataset("hf:someone/pets", data_root=root, group_column="place", image_size=16)
    assert (splits.class_names, splits.group_names) == (("cat", "dog"), ("in", "out"))
    for name, images in splits.items():
        assert (images.images == pixels[name]).all()
        assert images.labels.tolist() == [i % 2 for i in range(len(images))]
        expected = [-1 if i == 3 else i // 2 % 2 for i in range(len(images))]
        assert images.groups.tolist() == expected
    assert splits.name == "hf:someone/pets" and splits.facts["split"] == "the data's own"


@pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")
def test_other_columns_bins_and_no_group(saved):
    root, _ = saved
    plain = check_dataset("hf:pets", data_root=root)
    assert plain.group_names == ("every image",)
    binned = check_dataset("hf:pets", data_root=root, group="age:0-9,10-", path_column="picture")
    assert binned.group_names == ("0-9", "10-")
    assert binned.fingerprint != plain.fingerprint == check_dataset("hf:pets", data_root=root).fingerprint


@pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")
def test_another_column_of_images_is_other_data(datasets, tmp_path):
    (part, first), (other, second) = (make_part(datasets, 40, seed) for seed in (0, 1))
    scans = other.select_columns("picture").rename_column("picture", "scan")
    datasets.concatenate_datasets([part, scans], axis=1).save_to_disk(tmp_path / "both")
    found = {
        name: load_dataset("hf:a/b", data_root=tmp_path / "both", path_column=name, image_size=16)
        for name in ("picture", "scan")
    }
    assert len({splits.fingerprint for splits in found.values()}) == 2
    for splits, pixels in zip(found.values(), (first, second), strict=True):
        assert (splits.train.images[0] == pixels[splits.train.index[0]]).all()


def test_one_part_is_split_here(datasets, tmp_path):
    part, _ = make_part(datasets, 40, 0)
    part.save_to_disk(tmp_path / "one")
    assert check_dataset("hf:pets", data_root=tmp_path / "one").sizes == {
        "train": 28,
        "validation": 4,
        "test": 8,
    }


def test_other_names_of_parts_and_columns(datasets, tmp_path, saved):
    part, _ = make_part(datasets, 20, 0)
    datasets.DatasetDict({"train": part, "fold2": part}).save_to_disk(tmp_path / "folds")
    with pytest.raises(DataError, match="the parts train, fold2 are not all of train, validation, test"):
        check_dataset("hf:pets", data_root=tmp_path / "folds")
    with pytest.raises(
        DataError, match=r"path_column='image' is no column of images; .*: picture; all columns: pict"
    ):
        check_dataset("hf:pets", data_root=saved[0], path_column="image")
    with pytest.raises(DataError, match=r"has no column 'colour'.*set group to one of them"):
        check_dataset("hf:pets", data_root=saved[0], group="colour")


def test_a_folder_with_something_else(datasets, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="hf:pets cannot be loaded: "):
        check_dataset("hf:pets", data_root=tmp_path)


def test_nothing_is_fetched_unasked(datasets):
    with pytest.raises(ParameterError, match=r"hf:pets needs data_root, .* or download=True for the hub"):
        check_dataset("hf:pets")


def test_without_the_extra_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        ParameterError, match="needs the package datasets; install fairkd with the extra huggingface"
    ):
        check_dataset("hf:pets", download=True)
