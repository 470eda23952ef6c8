"""One folder a class: with and without folders for the splits, in any surrounding folders."""

import shutil

import numpy as np
import pytest

from fairkd.data import check_dataset, load_dataset
from fairkd.errors import DataError


@pytest.fixture
def tree(tmp_path, make_folder):
    """Write images under the given folders, so many each; returns the root."""
    maker = make_folder()

    def make(folders):
        root = tmp_path / "tree"
        maker.root = root
        for seed, (folder, n) in enumerate(folders.items()):
            for i in range(n):
                maker.add_image(f"{folder}/{i:02}.png", 1000 * seed + i)
        return root

    return make


def table(root, **options):
    plan = check_dataset("imagefolder", data_root=root, **options)
    return plan, {split: np.bincount(rows.labels).tolist() for split, rows in plan.rows.items()}


def test_classes_alone_are_split_here(tree):
    plan, counts = table(tree({"cat": 20, "dog": 10}))
    assert plan.class_names == ("cat", "dog") and plan.group_names == ("every image",)
    assert counts == {"train": [14, 7], "validation": [2, 1], "test": [4, 2]}
    assert "stratified by class: 70 % training" in plan.facts["split"]


def test_folders_name_the_splits(tree):
    folders = {"train/cat": 20, "train/dog": 10, "val/cat": 3, "val/dog": 3, "test/cat": 4, "test/dog": 5}
    plan, counts = table(tree(folders))
    assert counts == {"train": [20, 10], "validation": [3, 3], "test": [4, 5]}
    assert plan.facts["split"] == "the data's own"


def test_a_class_may_be_called_train(tree):
    assert load_dataset("imagefolder", data_root=tree({"bus": 9, "train": 9}), image_size=8).class_names == (
        "bus",
        "train",
    )


@pytest.mark.parametrize("held_out", ["val", "test", "Validation"])
def test_two_folders_are_training_and_test(tree, held_out):
    plan, counts = table(tree({"train/cat": 20, "train/dog": 10, f"{held_out}/cat": 3, f"{held_out}/dog": 3}))
    assert counts == {"train": [18, 9], "validation": [2, 1], "test": [3, 3]}
    assert ("test" in plan.facts) == (held_out != "test")


@pytest.mark.parametrize("zipped", [False, True])
def test_surrounding_folders_and_other_files_are_no_classes(tree, tmp_path, zipped):
    root = tree(
        {"data/v2/train/cat/a": 20, "data/v2/train/dog/b": 10, "data/v2/test/cat": 3, "data/v2/test/dog": 3}
    )
    (root / "data" / "readme.txt").write_text("x")
    (root / ".git").mkdir()
    (root / ".git" / "x.png").write_bytes(b"x")
    if zipped:
        root = shutil.make_archive(str(tmp_path / "tree-archive"), "zip", root)
    plan, counts = table(root)
    assert plan.class_names == ("cat", "dog") and counts["test"] == [3, 3]
    assert sum(counts["train"] + counts["validation"]) == 30


def test_pixels_are_those_of_the_files(tree):
    from fairkd.data.images import decode_image

    root = tree({"cat": 6, "dog": 6})
    splits = load_dataset("imagefolder", data_root=root, image_size=12)
    names = sorted(file.relative_to(root).as_posix() for file in root.rglob("*.png"))
    for images in (splits.train, splits.validation, splits.test):
        for unit, label, image in zip(images.unit, images.labels, images.images, strict=True):
            assert names[unit].startswith(splits.class_names[label])
            assert (image == decode_image((root / names[unit]).read_bytes(), 12)).all()


def test_the_class_can_be_the_group(tree):
    plan, _ = table(tree({"cat": 20, "dog": 10}), group="class")
    assert (plan.group_names, plan.group_name) == (("cat", "dog"), "class")


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            {".": 3},
            "is no folder of classes: expected images as class/name.jpg or train/class/name.jpg, for example",
        ),
        ({"train": 3, "test": 3}, "is no folder of classes.*for example 'test/00.png'"),
        ({"cat": 9}, "is no folder of classes"),
        ({"only/cat": 9, "only/cat/inner": 2}, "is no folder of classes"),
        ({"train/cat": 9, "train/dog": 9, "test/bird": 3}, "class 'bird' is in test but not in train"),
        (
            {"Train/cat": 9, "Train/dog": 9, "dev/cat": 3},
            "the folder 'Train' names a split, and 'dev' beside it",
        ),
    ],
)
def test_what_is_no_folder_of_classes(tree, folders, message):
    with pytest.raises(DataError, match=message):
        table(tree(folders))
