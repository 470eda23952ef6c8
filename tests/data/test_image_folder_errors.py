"""Bad input: each gives one line that names the thing, the place and the way out, before any decoding."""

import warnings
import zipfile

import pytest

from fairkd.data import check_dataset, load_dataset
from fairkd.errors import DataError, FairkdError, ParameterError


def refuse(root, message, kind=DataError, **options):
    """The check raises already, and loading raises the same."""
    texts = []
    for call in (check_dataset, load_dataset):
        with pytest.raises(kind, match=message) as caught:
            call("image-folder", data_root=root, image_size=8, **options)
        assert "\n" not in str(caught.value)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


def test_missing_group_column(make_folder):
    folder = make_folder(header=("path", "label", "gruop"))
    message = (
        r"labels.csv has no column 'group': did you mean 'gruop'\? its columns: path, label, gruop; "
        "set group_column to one of them"
    )
    refuse(folder.root, message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path_column": "file"}, "no column 'file'.*its columns: path, label, group; set path_column"),
        ({"label_column": "lable"}, "no column 'lable': did you mean 'label'.*set label_column"),
        ({"split_column": "fold"}, "no column 'fold'.*set split_column"),
        ({"group_column": "group*age"}, "no column 'age'.*set group_column"),
        ({"csv": "lables.csv"}, "csv='lables.csv' is neither in .*; CSV files there: labels.csv"),
    ],
)
def test_missing_columns_and_files(make_folder, options, message):
    refuse(make_folder().root, message, **options)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (1, "", "labels.csv: column 'label' is empty in row 4; fill in the values or remove the rows"),
        (1, "NaN", "column 'label' is empty in row 4"),
        (0, "", "column 'path' is empty in row 4"),
        (0, "/etc/passwd", "labels.csv, row 4: the path '/etc/passwd' is absolute; write it relative"),
        (0, "C:\\x.png", r"row 4: the path 'C:\\\\x.png' is absolute"),
        (0, "cat/../../x.png", "row 4: the path 'cat/../../x.png' leaves the data root by '..'"),
        (0, "..\\x.png", "leaves the data root"),
        (0, "a\0.png", "holds a NUL character"),
        (0, "cat/000.png", "row 4: the path 'cat/000.png' is already in row 2; keep one of them"),
        (0, "./cat//000.png", "row 4: the path './cat//000.png' is already in row 2"),
        (0, "cat/gone.png", "lacks the images named in row 4 of labels.csv, first 'cat/gone.png'"),
        (0, "cat", "lacks the images named in row 4 of labels.csv, first 'cat'"),
    ],
)
def test_bad_cell_names_its_row(make_folder, column, value, message):
    folder = make_folder()
    folder.rows[2][column] = value
    folder.write()
    refuse(folder.root, message)


def test_many_empty_labels_are_counted(make_folder):
    folder = make_folder()
    for row in folder.rows[3:13]:
        row[1] = ""
    folder.write()
    refuse(folder.root, r"column 'label' is empty in 10 rows \(5, 6, 7, 8, 9, \.\.\.\)")


def test_an_empty_label_folder_fallback(make_folder):
    folder = make_folder()
    folder.add_image("flat.png", 99)
    folder.header, folder.rows = ["path", "group"], [[row[0], row[2]] for row in folder.rows]
    folder.rows[5][0] = "flat.png"
    folder.write()
    refuse(folder.root, "no column 'label', and the path has no folder to name the class in row 7")


@pytest.mark.parametrize("options", [{"label_column": "group"}, {"group": "label"}, {"target": "group"}])
def test_a_class_that_is_the_group_is_refused(make_folder, options):
    message = "the class and the group are both '(label|group)', .* set target or group"
    refuse(make_folder().root, message, ParameterError, **options)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (1, "'label' gives the one class 'same', and at least two are needed; set label_column"),
        (2, "column 'group' holds the one group 'same', and at least two groups are needed"),
    ],
)
def test_one_class_or_group(make_folder, column, message):
    folder = make_folder()
    for row in folder.rows:
        row[column] = "same"
    folder.write()
    refuse(folder.root, message)


def test_columns_that_look_like_what_is_missing_are_not_overlooked(make_folder):
    folder = make_folder()
    folder.header = ["path", "label", "group", "Fold"]
    folder.rows = [[*row, ("train", "VAL", "test")[i % 3]] for i, row in enumerate(folder.rows)]
    folder.write()
    refuse(folder.root, "no column 'split', but 'Fold' looks like it: set split_column='Fold'")
    folder.header[1:] = ["Label", "group", "x"]
    folder.rows = [[*row[:3], str(i)] for i, row in enumerate(folder.rows)]
    folder.write()
    refuse(folder.root, "no column 'label', but 'Label' looks like it: set label_column='Label'")


def test_folders_of_splits_are_no_classes(make_folder):
    folder = make_folder(header=("path", "kind", "group"), classes=("train", "test"))
    refuse(
        folder.root,
        "the first folder of the paths names the split .test, train., not the class; set label_column",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train", "validation", "tset"],
            "row 4: split 'tset' is not allowed: did you mean 'test'.*train, valid",
        ),
        (["train", "validation", ""], r"column 'split' is empty in 13 rows \(4, "),
        (["train", "validation"], r"leaves no image for test \(as the split column says\)"),
        (["test", "validation"], "leaves no image for train"),
    ],
)
def test_bad_split_column(make_folder, words, message):
    folder = make_folder()
    folder.header = ["path", "label", "group", "split"]
    folder.rows = [[*row, words[i % len(words)]] for i, row in enumerate(folder.rows)]
    folder.write()
    refuse(folder.root, message)


def test_a_class_that_training_lacks(make_folder):
    folder = make_folder([(5, 5), (5, 5), (5, 5)])
    folder.header = ["path", "label", "group", "split"]
    words = ["train", "validation", "test"]
    folder.rows = [
        [*row, "test" if row[1] == "bird" else words[i % len(words)]] for i, row in enumerate(folder.rows)
    ]
    folder.write()
    refuse(folder.root, "labels.csv: class 'bird' is in test but not in train")


@pytest.mark.filterwarnings("ignore:.*too few images:fairkd.errors.FairkdWarning")
def test_too_few_images_for_three_splits(make_folder):
    refuse(
        make_folder([(1, 1), (1, 1)]).root, "leaves no image for validation .*at least 3 a class and group"
    )


def test_skew_that_the_data_cannot_give(make_folder):
    folder = make_folder([(10, 0), (10, 10)])
    refuse(folder.root, "class 'cat' has no training sample of any group but indoors", skew=0.9)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "labels.csv holds no rows"),
        (b"path,label,group\n", "labels.csv holds no rows"),
        (b"path,label,group\na.png,x,y,z\n", "labels.csv, row 2: 4 cells under 3 column names"),
        (b"path,group,group\na.png,x,y\n", "has the column 'group' more than once"),
        (b'path,label\na.png,"x"y\n', "labels.csv, line 2: .*correct the quotes"),
        ("path,label,group\nä.png,x,y\n".encode("cp1252"), "labels.csv is neither UTF-8 nor UTF-16"),
    ],
)
def test_csv_that_is_no_table(make_folder, content, message):
    folder = make_folder()
    (folder.root / "labels.csv").write_bytes(content)
    refuse(folder.root, message)


def test_short_row_is_an_empty_cell(make_folder):
    folder = make_folder()
    folder.rows[2] = folder.rows[2][:1]
    folder.write()
    refuse(folder.root, "column 'label' is empty in row 4")


def test_no_csv_and_several(make_folder):
    folder = make_folder()
    folder.write(name="second.csv")
    refuse(folder.root, "has 2 CSV files: set csv to one of labels.csv, second.csv")
    for file in folder.root.glob("*.csv"):
        file.unlink()
    refuse(folder.root, "has no CSV file beside the images; add one, or set csv to its path")


def test_root_that_is_not_there_or_no_archive(tmp_path):
    refuse(tmp_path / "nowhere", r"data_root .*nowhere does not exist")
    (tmp_path / "photos.rar").write_bytes(b"Rar!")
    refuse(tmp_path / "photos.rar", r"photos.rar is neither a folder nor a zip archive that can be read")


def test_encrypted_zip(make_folder):
    archive = make_folder().zipped()
    data = bytearray(archive.read_bytes())
    # Bit 0 of a member's flags, in the central directory, says that it is encrypted.
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 8] |= 1
    archive.write_bytes(bytes(data))
    refuse(archive, "is encrypted; repack the archive without a password")


def test_images_that_do_not_decode_are_reported_together(make_folder):
    folder = make_folder()
    for row, content in (
        (4, b"not an image"),
        (7, b""),
        (30, (folder.root / folder.rows[30][0]).read_bytes()[:60]),
    ):
        (folder.root / folder.rows[row][0]).write_bytes(content)
    check_dataset("image-folder", data_root=folder.root)
    message = (
        r"3 of 40 images in .*photos cannot be decoded, named in 3 rows \(6, 9, 32\) of labels.csv, "
        r"first 'cat/004.png': cannot identify image file.*; replace the files or remove the rows"
    )
    filters = list(warnings.filters)
    with pytest.raises(DataError, match=message) as caught:
        load_dataset("image-folder", data_root=folder.root)
    assert "\n" not in str(caught.value)
    assert list(warnings.filters) == filters, (
        "the decoding's own filter went with it, while the error is still held"
    )


def test_damaged_member_of_a_zip(make_folder):
    folder = make_folder()
    archive = folder.root.parent / "stored.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for path in sorted(folder.root.rglob("*.*")):
            file.write(path, path.relative_to(folder.root))
    data = archive.read_bytes()
    content = (folder.root / "cat/005.png").read_bytes()
    assert data.count(content) == 1
    archive.write_bytes(data.replace(content, content[:-20] + bytes(20)))
    with pytest.raises(
        DataError, match=r"1 of 40 images .* row 7 of labels.csv, first 'cat/005.png': Bad CRC"
    ):
        load_dataset("image-folder", data_root=archive)


def test_huge_file_is_refused(make_folder, monkeypatch):
    folder = make_folder()
    (folder.root / folder.rows[0][0]).write_bytes(bytes(3000))
    for root in (folder.root, folder.zipped()):
        monkeypatch.setattr("fairkd.data.files.MAX_FILE_BYTES", 2500)
        with pytest.raises(FairkdError, match=r"row 2 of labels.csv.*the file has 3,000 bytes, more than"):
            load_dataset("image-folder", data_root=root)
