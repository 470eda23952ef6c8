"""CIFAR-10 and CIFAR-10S: every form on disk, the published counts and construction, pickles that run nothing."""

import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from fairkd.data import check_dataset, load_dataset
from fairkd.data.cifar10 import CLASSES
from fairkd.data.pickles import load_arrays
from fairkd.errors import DataError, ParameterError

TRAIN, TEST = 20, 4
COLOUR_CLASSES = {"automobile", "cat", "dog", "horse", "truck"}


def make_pixels(seed, n):
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def arrays():
    """Images and labels of a small CIFAR-10: 20 + 4 a class."""
    train, test = (np.tile(np.arange(10), n) for n in (TRAIN, TEST))
    return {"train": (make_pixels(0, len(train)), train), "test": (make_pixels(1, len(test)), test)}


@pytest.fixture(scope="module")
def folder(arrays, tmp_path_factory):
    root = tmp_path_factory.mktemp("cifar") / "cifar10"
    for split, (pixels, labels) in arrays.items():
        for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            file = root / split / CLASSES[label] / f"{i:05}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
    (root / "not_exact.csv").write_text("path\n")
    return root


def write_batches(root, arrays, protocol=2):
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    train, labels = arrays["train"]
    parts = [(f"data_batch_{i + 1}", train[i::5], labels[i::5]) for i in range(5)]
    for name, pixels, codes in [*parts, ("test_batch", *arrays["test"])]:
        flat = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
        batch = {
            b"batch_label": name.encode(),
            b"labels": codes.tolist(),
            b"data": np.ascontiguousarray(flat),
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASSES)}, protocol=protocol))
    return root


def images_of(splits):
    """Every source image of training and validation, and of test, sorted: independent of file order."""
    kept = [splits.train, splits.validation] if splits.group_names == ("every image",) else []
    train = np.concatenate([part.images for part in kept])
    labels = np.concatenate([part.labels for part in kept])
    return sorted((int(label), image.tobytes()) for label, image in zip(labels, train, strict=True))


def test_class_folders(folder, arrays):
    splits = load_dataset("cifar10", data_root=folder)
    pixels, labels = arrays["train"]
    assert images_of(splits) == sorted((int(c), i.tobytes()) for c, i in zip(labels, pixels, strict=True))
    assert splits.class_names == CLASSES
    assert (splits.group_names, splits.group_name, splits.image_size) == (("every image",), "none", (32, 32))
    assert {name: len(images) for name, images in splits.items()} == {
        "train": 180,
        "validation": 20,
        "test": 40,
    }
    assert (splits.counts()["n"] == [18] * 10 + [2] * 10 + [4] * 10).all()
    assert splits.facts["split"] == "the data's own; validation, which it lacks, is 10 % of training"


@pytest.mark.parametrize("inner", [False, True])
def test_zip_and_inner_folder_give_the_same(folder, tmp_path, inner):
    base, top = (folder.parent, folder.name) if inner else (folder, ".")
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", base, top)
    expected = load_dataset("cifar10", data_root=folder)
    for root in (archive, folder.parent):
        splits = load_dataset("cifar10", data_root=root)
        for name, images in splits.items():
            assert (images.images == getattr(expected, name).images).all()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("zipped", [False, True])
def test_original_python_version(arrays, tmp_path, protocol, zipped):
    root = write_batches(tmp_path, arrays, protocol)
    if zipped:
        root = shutil.make_archive(str(tmp_path.parent / f"python{protocol}"), "zip", root)
    splits = load_dataset("cifar10", data_root=root)
    pixels, labels = arrays["train"]
    assert images_of(splits) == sorted((int(c), i.tobytes()) for c, i in zip(labels, pixels, strict=True))
    assert (splits.test.images == arrays["test"][0]).all()
    assert (splits.test.labels == arrays["test"][1]).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"\x80\x02}q", "cannot be read"),
        (pickle.dumps([1, 2]), "cannot be read"),
        (pickle.dumps({b"data": [1], b"labels": [1]}), "'data' is not an array of 3,072 bytes"),
        (
            pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}),
            "not one number from 0 to 9",
        ),
        (
            pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}),
            "not one number from 0 to 9",
        ),
    ],
)
def test_damaged_pickles(arrays, tmp_path, content, message):
    root = write_batches(tmp_path, arrays)
    (root / "cifar-10-batches-py" / "data_batch_2").write_bytes(content)
    with pytest.raises(DataError, match=f"data_batch_2.*{message}"):
        check_dataset("cifar10", data_root=root)


def test_a_missing_batch_is_named(arrays, tmp_path):
    root = write_batches(tmp_path, arrays)
    (root / "cifar-10-batches-py" / "data_batch_4").unlink()
    with pytest.raises(DataError, match="lacks cifar-10-batches-py/data_batch_4"):
        check_dataset("cifar10", data_root=root)


def test_arrays_and_text_are_what_a_pickle_may_hold():
    values = {b"a": np.arange(3), "b": [b"x", "y"], "c": {"d": 1.5}}
    assert load_arrays(pickle.dumps(values, 2), "file")["a"].tolist() == [0, 1, 2]
    assert load_arrays(pickle.dumps(values, 2), "file")["c"] == {"d": 1.5}


def test_other_classes_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other" / "train" / "frog").rename(tmp_path / "other" / "train" / "toad")
    with pytest.raises(DataError, match=r"is no CIFAR-10: expected train/ and test/ .*frog.*found .*toad"):
        check_dataset("cifar10", data_root=tmp_path / "other")


def test_download_needs_a_folder_and_tells_what_went_wrong(tmp_path, monkeypatch):
    with pytest.raises(ParameterError, match="download=True needs data_root"):
        check_dataset("cifar10", download=True)

    def offline(root, download):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", offline)
    message = "CIFAR-10 cannot be downloaded into .*: no network; copy it there by other means"
    with pytest.raises(DataError, match=message):
        check_dataset("cifar10", data_root=tmp_path, download=True)


def test_download_calls_torchvision_and_reads_what_it_left(arrays, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "torchvision.datasets.CIFAR10", lambda root, download: write_batches(tmp_path, arrays)
    )
    assert check_dataset("cifar10", data_root=tmp_path, download=True).sizes["test"] == 40


# CIFAR-10S


@pytest.mark.parametrize(
    ("options", "share", "colour"),
    [
        ({}, 0.95, COLOUR_CLASSES),
        ({"variant": "wang"}, 0.95, COLOUR_CLASSES),
        ({"variant": "mfd"}, 0.8, set(CLASSES[5:])),
        ({"variant": "mfd", "skew": 0.9}, 0.9, set(CLASSES[5:])),
        ({"skew": 0.6}, 0.6, COLOUR_CLASSES),
    ],
)
def test_shares_of_each_class(folder, options, share, colour):
    splits = load_dataset("cifar10s", data_root=folder, **options)
    assert (splits.group_names, splits.group_name) == (("colour", "grey"), "domain")
    # Training as published is training and validation here: of the 20 images a class, 2 or 3 go to validation.
    counts = splits.counts().set_index(["split", "class", "group"])["n"]["train"]
    for name in CLASSES:
        majority = "colour" if name in colour else "grey"
        assert counts[name].sum() in (17, 18)
        assert abs(counts[name, majority] - share * 18) <= 1


def test_construction_of_the_images(folder, arrays):
    splits = load_dataset("cifar10s", data_root=folder)
    plain = load_dataset("cifar10", data_root=folder)
    assert splits.facts["sizes"] == {"train": 180, "validation": 40, "test": 80}
    for name, images in splits.items():
        source = dict(
            zip(getattr(plain, name).unit.tolist(), getattr(plain, name).images, strict=True)
        ) | dict(zip(plain.train.unit.tolist(), plain.train.images, strict=True))
        source |= dict(zip(plain.validation.unit.tolist(), plain.validation.images, strict=True))
        for unit, group, image in zip(images.unit.tolist(), images.groups, images.images, strict=True):
            expected = source[unit]
            if group == 1:
                expected = np.asarray(Image.fromarray(expected).convert("L").convert("RGB"))
            assert (image == expected).all()
    for unit in np.unique(splits.test.unit):
        assert sorted(splits.test.groups[splits.test.unit == unit]) == [0, 1]
    assert len(np.unique(splits.test.unit)) == len(arrays["test"][0])


def test_another_variant_or_skew_is_other_data(folder):
    options = ({}, {"variant": "mfd"}, {"skew": 0.8}, {"variant": "mfd", "skew": 0.95})
    prints = [check_dataset("cifar10s", data_root=folder, **more).fingerprint for more in options]
    assert len(set(prints)) == 4
    assert check_dataset("cifar10s", data_root=folder, variant="wang", skew=0.95).fingerprint == prints[0]
    assert "MFD" in check_dataset("cifar10s", data_root=folder, variant="mfd").facts["variant"]


def test_any_data_set_can_be_skewed_in_the_same_way(folder):
    splits = load_dataset("cifar10", data_root=folder, bias="grey", variant="wang", skew=0.95)
    skewed = load_dataset("cifar10s", data_root=folder)
    for name, images in splits.items():
        assert (images.images == getattr(skewed, name).images).all()
    noisy = load_dataset("cifar10s", data_root=folder, bias="noise")
    assert noisy.group_names == ("clean", "noisy")


# The real data


def test_real_counts(real_data):
    plan = check_dataset("cifar10", data_root=real_data("cifar10.zip"))
    assert plan.sizes == {"train": 45_000, "validation": 5_000, "test": 10_000}
    for split, n in (("train", 4500), ("validation", 500), ("test", 1000)):
        assert np.bincount(plan.rows[split].labels).tolist() == [n] * 10


def test_real_counts_of_the_skewed_variant(real_data):
    plan = check_dataset("cifar10s", data_root=real_data("cifar10.zip"))
    rows = plan.rows
    assert plan.sizes == {"train": 45_000, "validation": 10_000, "test": 20_000}
    for label, name in enumerate(CLASSES):
        majority = 0 if name in COLOUR_CLASSES else 1
        mine = rows["train"].groups[rows["train"].labels == label]
        # 4,750 of 5,000 as published, less the tenth that became validation.
        assert (np.sum(mine == majority), np.sum(mine != majority)) == (4275, 225)
    for split, n in (("validation", 500), ("test", 1000)):
        cells = np.bincount(rows[split].labels * 2 + rows[split].groups)
        assert cells.tolist() == [n] * 20


def test_a_few_hundred_real_images(real_data, own_cache):
    splits = load_dataset("cifar10s", data_root=real_data("cifar10.zip"), samples=300)
    assert splits.train.images.shape[1:] == (32, 32, 3)
    assert len(np.unique(np.concatenate([images.unit for _, images in splits.items()]))) == 300
    grey = splits.test.images[splits.test.groups == 1]
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 0] == grey[..., 2]).all()
    assert next(own_cache.glob("images-*.npy")).stat().st_size < 2_000_000


@pytest.mark.realdata
def test_all_real_images(whole_data):
    splits = load_dataset("cifar10", data_root=whole_data("cifar10.zip"))
    pixels = np.concatenate([splits.train.images, splits.validation.images]) / np.float32(255)
    assert pixels.mean(axis=(0, 1, 2), dtype=np.float64) == pytest.approx(
        [0.49140, 0.48216, 0.44653], abs=2e-4
    )
    assert pixels.std(axis=(0, 1, 2), dtype=np.float64) == pytest.approx(
        [0.24703, 0.24349, 0.26159], abs=2e-4
    )
