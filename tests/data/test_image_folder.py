"""Image folders that work: forms of CSV and root, splits, skew, fingerprints."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairkd.data import check_dataset, dataset_fingerprint, load_dataset
from fairkd.data.images import decode_image
from fairkd.errors import DataError, FairkdWarning


def load(folder, **options):
    root = folder if isinstance(folder, Path) else folder.root
    return load_dataset("image-folder", data_root=root, image_size=8, **options)


def fingerprint(folder, **options):
    return dataset_fingerprint("image-folder", data_root=folder.root, image_size=8, **options)


def table(splits):
    """Every sample with its names, as the CSV would write them."""
    rows = [
        (int(images.unit[i]), splits.class_names[images.labels[i]], splits.group_names[images.groups[i]])
        for images in (splits.train, splits.validation, splits.test)
        for i in range(len(images))
    ]
    return sorted(rows)


def expected(folder):
    return [(i, label, group) for i, (_, label, group) in enumerate(folder.rows)]


def test_rows_images_and_names(make_folder):
    folder = make_folder()
    splits = load(folder)
    assert table(splits) == expected(folder)
    assert splits.class_names == ("cat", "dog")
    assert splits.group_names == ("indoors", "outdoors")
    assert (splits.label_name, splits.group_name, splits.augmentation) == ("label", "group", "crop+flip")
    for images in (splits.train, splits.validation, splits.test):
        assert (images.index == images.unit).all()
        for row, image in zip(images.index, images.images, strict=True):
            assert (image == decode_image((folder.root / folder.rows[row][0]).read_bytes(), 8)).all()


def test_stratified_by_label_and_group(make_folder):
    counts = load(make_folder([(10, 20), (30, 10)])).counts().set_index(["split", "class", "group"])["n"]
    for split, share in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
        assert counts[split].tolist() == [round(share * n) for n in (10, 20, 30, 10)]


def test_default_image_size(make_folder):
    splits = load_dataset("image-folder", data_root=make_folder().root)
    assert splits.image_size == (64, 64)


def test_seed(make_folder):
    folder = make_folder()
    first, again, other = (load(folder, seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    for name, images in first.items():
        assert (images.images == getattr(again, name).images).all()
    assert set(first.test.unit) != set(other.test.unit)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_dialects(make_folder, separator, encoding):
    folder = make_folder(groups=("drinnen", "draußen"))
    folder.write(separator=separator, encoding=encoding)
    assert table(load(folder)) == expected(folder)


def test_windows_paths_spaces_blank_lines_and_quotes(make_folder):
    folder = make_folder(groups=("indoors", "outdoors, wet"))
    wanted = expected(folder)
    folder.rows = [
        [path.replace("/", "\\"), f" {label} ", f' "{group}"', "", ""] for path, label, group in folder.rows
    ]
    folder.rows.insert(3, [])
    folder.write()
    assert table(load(folder)) == wanted


def test_paths_may_start_with_a_dot(make_folder):
    folder = make_folder()
    folder.rows = [[f"./{path}", *rest] for path, *rest in folder.rows]
    folder.write()
    assert table(load(folder)) == expected(folder)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("10", "9", "01"), ("01", "9", "10")),
        (("-1", "2.5", "10"), ("-1", "2.5", "10")),
        (("item10", "item9", "Item1"), ("Item1", "item9", "item10")),
    ],
)
def test_labels_stay_text_in_natural_order(make_folder, names, order):
    splits = load(make_folder([(4, 4), (4, 4), (4, 4)], classes=names))
    assert splits.class_names == order


def test_class_from_the_first_folder(make_folder):
    folder = make_folder()
    wanted = expected(folder)
    folder.header, folder.rows = ["path", "group"], [[path, group] for path, _, group in folder.rows]
    folder.write()
    assert table(load(folder)) == wanted


def test_other_column_names(make_folder):
    folder = make_folder(header=("Datei", "Art", "Ort"))
    splits = load(folder, path_column="Datei", label_column="Art", group_column="Ort")
    assert table(splits) == expected(folder)
    assert (splits.label_name, splits.group_name) == ("Art", "Ort")


@pytest.mark.parametrize("column", ["place*light", "place * light"])
def test_crossed_groups(make_folder, column):
    folder = make_folder([(12, 12), (12, 12)])
    folder.header = ["path", "label", "place", "light"]
    folder.rows = [[*row, "day" if i % 2 else "night"] for i, row in enumerate(folder.rows)]
    folder.write()
    splits = load(folder, group_column=column)
    assert splits.group_name == "place × light"
    assert splits.group_names == ("indoors × day", "indoors × night", "outdoors × day", "outdoors × night")
    wanted = [(i, label, f"{place} × {light}") for i, (_, label, place, light) in enumerate(folder.rows)]
    assert table(splits) == wanted


def test_a_column_may_have_a_star_in_its_name(make_folder):
    assert load(make_folder(header=("path", "label", "a*b")), group_column="a*b").group_name == "a*b"


def with_split_column(folder, words):
    folder.header = ["path", "label", "group", "split"]
    folder.rows = [[*row, words[i % len(words)]] for i, row in enumerate(folder.rows)]
    folder.write()
    return folder


@pytest.mark.parametrize("validation", ["validation", "valid", "VAL"])
def test_split_column(make_folder, validation):
    words = ["train", "Train", validation, "test"]
    splits = load(with_split_column(make_folder(), words))
    assert splits.train.unit.tolist() == [i for i in range(40) if i % 4 < 2]
    assert splits.validation.unit.tolist() == list(range(2, 40, 4))
    assert splits.test.unit.tolist() == list(range(3, 40, 4))


def test_another_split_column_is_other_data(make_folder):
    folder = make_folder()
    folder.header += ["fold_a", "fold_b"]
    words = ["train", "train", "val", "test"]
    folder.rows = [[*row, words[i % 4], words[(i + 1) % 4]] for i, row in enumerate(folder.rows)]
    folder.write()
    prints = {fingerprint(folder, split_column=name) for name in ("fold_a", "fold_b")}
    assert len(prints) == 2


def test_validation_is_taken_from_train_when_the_column_has_none(make_folder):
    folder = with_split_column(make_folder([(32, 32), (32, 32)]), ["train", "test"])
    splits = load(folder)
    assert set(splits.test.unit) == set(range(1, 128, 2))
    counts = splits.counts().set_index(["split", "class", "group"])["n"]
    assert (counts["validation"] == 2).all()
    assert (counts["train"] == 14).all()
    assert "10 %" in splits.facts["split"]


def test_a_column_that_is_binned_twice_is_audited_twice(make_folder):
    folder = make_folder()
    folder.header.append("age")
    folder.rows = [[*row, str(i)] for i, row in enumerate(folder.rows)]
    folder.write()
    coarse, fine = "age:0-19,20-", "age:0-9,10-19,20-"
    plan = check_dataset("image-folder", data_root=folder.root, group=coarse, audit_groups=[coarse, fine])
    assert {name: len(values) for name, values in plan.attributes.items()} == {"age": 2, fine: 3}


@pytest.mark.filterwarnings("ignore:.*too few images:fairkd.errors.FairkdWarning")
def test_values_that_differ_in_writing_alone_are_warned_of(make_folder):
    folder = make_folder()
    folder.rows[3][2], folder.rows[5][2] = "Indoors", "1"
    folder.rows[6][2] = "1.0"
    folder.write()
    with pytest.warns(FairkdWarning, match=r"column 'group' writes.*'1' and '1.0'; 'Indoors' and 'indoors'"):
        check_dataset("image-folder", data_root=folder.root)


@pytest.mark.parametrize("wrapped", [False, True])
def test_zip(make_folder, wrapped):
    folder = make_folder()
    archive = folder.zipped(wrapped=wrapped)
    splits, from_folder = load(archive), load(folder)
    assert table(splits) == expected(folder)
    for name, images in splits.items():
        assert (images.images == getattr(from_folder, name).images).all()
    assert check_dataset("image-folder", data_root=archive, image_size=8).fingerprint == splits.fingerprint


def test_zip_with_finders_metadata(make_folder):
    folder = make_folder()
    archive = folder.zipped(wrapped=True)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("__MACOSX/photos/._labels.csv", "")
    assert table(load(archive)) == expected(folder)


def test_csv_chosen_inside_and_outside(make_folder, tmp_path):
    folder = make_folder()
    folder.write(name="other.csv")
    wanted = table(load(folder, csv="other.csv"))
    (tmp_path / "outside.csv").write_bytes((folder.root / "labels.csv").read_bytes())
    assert table(load(folder, csv=tmp_path / "outside.csv")) == wanted == expected(folder)


def test_subsample_touches_training_only(make_folder):
    folder = make_folder([(100, 100), (100, 100)])
    plain, skewed = load(folder), load(folder, skew=0.9)
    counts = skewed.counts().set_index(["split", "class", "group"])["n"]
    assert counts["train"].tolist() == [70, 8, 8, 70]
    for name in ("validation", "test"):
        assert getattr(plain, name).unit.tolist() == getattr(skewed, name).unit.tolist()
    assert set(skewed.train.unit) < set(plain.train.unit)
    assert skewed.facts["skew"].startswith("156 of 280 training images are kept")


def test_tint_needs_no_group_column(make_folder):
    folder = make_folder([(40, 40), (40, 40)])
    folder.header, folder.rows = ["path", "label"], [row[:2] for row in folder.rows]
    folder.write()
    splits = load(folder, bias="tint", skew=0.75)
    assert (splits.group_names, splits.group_name) == (("red", "green"), "tint")
    counts = splits.counts().set_index(["split", "class", "group"])["n"]
    assert counts["train"].tolist() == [42, 14, 14, 42]
    assert counts["validation"].tolist() == [8] * 4
    assert counts["test"].tolist() == [16] * 4
    for images in (splits.train, splits.validation, splits.test):
        assert len(np.unique(images.index)) == len(images)
        strongest = images.images.mean(axis=(1, 2)).argmax(axis=1)
        assert (strongest == images.groups).all()


def test_no_unit_is_shared_between_splits(make_folder):
    folder = make_folder()
    for options in ({}, {"skew": 0.5}, {"bias": "tint", "skew": 0.9}):
        splits = load(folder, **options)
        units = [set(images.unit.tolist()) for images in (splits.train, splits.validation, splits.test)]
        assert sum(map(len, units)) == len(set.union(*units))


def test_small_cells_are_named_and_fill_train_then_test(make_folder):
    folder = make_folder([(10, 1), (10, 2)])
    with pytest.warns(
        FairkdWarning, match=r"they fill train, then test: cat × outdoors \(1\), dog × outdoors"
    ):
        splits = load(folder)
    counts = splits.counts().pivot_table(index="split", columns=["class", "group"], values="n")
    assert counts["cat", "outdoors"].to_dict() == {"train": 1, "validation": 0, "test": 0}
    assert counts["dog", "outdoors"].to_dict() == {"train": 1, "validation": 0, "test": 1}


def test_an_empty_cell_is_allowed(make_folder):
    assert load(make_folder([(10, 10), (10, 0)])).counts()["n"].min() == 0


def test_copies_across_splits_are_reported(make_folder):
    folder = with_split_column(make_folder(), ["train", "train", "validation", "test"])
    (folder.root / folder.rows[3][0]).write_bytes((folder.root / folder.rows[0][0]).read_bytes())
    message = r"1 images are byte .* same .*'cat/000.png' \(row 2 of labels.csv\) and 'cat/003.png' \(row 5 "
    with pytest.warns(FairkdWarning, match=message):
        load(folder)


def test_fingerprint_needs_no_decoding_and_equals_that_of_the_splits(make_folder):
    folder = make_folder()
    before = fingerprint(folder)
    assert before == load(folder).fingerprint
    (folder.root / folder.rows[0][0]).write_bytes(b"not an image")
    assert fingerprint(folder) != before
    with pytest.raises(DataError):
        load(folder)


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1},
        {"skew": 0.5},
        {"bias": "tint", "skew": 0.5},
        {"label_column": "group", "group_column": "label"},
    ],
)
def test_fingerprint_depends_on_options(make_folder, options):
    folder = make_folder()
    assert fingerprint(folder) != fingerprint(folder, **options)


def test_fingerprint_depends_on_csv_and_time_of_change_but_not_on_the_place(make_folder, tmp_path):
    folder = make_folder()
    before = fingerprint(folder)
    assert fingerprint(folder, bias="subsample", csv="labels.csv") == before
    folder.root = folder.root.rename(tmp_path / "moved")
    assert fingerprint(folder) == before
    os.utime(folder.root / folder.rows[0][0], ns=(1, 1))
    touched = fingerprint(folder)
    assert touched != before
    folder.rows[0][2] = "outdoors"
    folder.write()
    assert fingerprint(folder) != touched


def test_counts_against_pandas(make_folder):
    folder = make_folder([(12, 9), (15, 11)])
    frame = pd.read_csv(folder.root / "labels.csv")
    totals = load(folder).counts().groupby(["class", "group"])["n"].sum()
    assert totals.to_dict() == frame.groupby(["label", "group"]).size().to_dict()
