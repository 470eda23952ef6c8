"""Odd and hostile data: a clear message, or a behaviour that is written down here. The CSV's own are in
``test_image_folder_errors.py``, the cache's in ``test_cache.py``, modes and orientation in ``test_decode_images.py``,
payloads and zip bombs in ``tests/security``.
"""

import io
import os
import zlib

import numpy as np
import pytest
from PIL import Image

from fairkd.data import check_dataset, load_dataset
from fairkd.errors import DataError, FairkdWarning, ParameterError


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, data):
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def huge_png(width, height):
    """A PNG of so many grey pixels, black: a few hundred kilobytes on disk."""
    compressor = zlib.compressobj(9)
    rows = b"".join(compressor.compress(bytes(1 + width)) for _ in range(height)) + compressor.flush()
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def load(folder, **options):
    return load_dataset("image-folder", data_root=folder.root, image_size=8, **options)


def replace_image(folder, row, data):
    (folder.root / folder.rows[row][0]).write_bytes(data)


def test_an_image_of_20000_by_20000_pixels_is_refused_without_being_decoded(make_folder):
    folder = make_folder()
    data = huge_png(20_000, 20_000)
    assert len(data) < 2_000_000
    replace_image(folder, 3, data)
    message = (
        r"1 of 40 images .* row 5 of labels.csv, first 'cat/003.png': .*400000000 pixels.* exceeds limit"
    )
    with pytest.raises(DataError, match=message):
        load(folder)


def test_a_symlink_loop_ends(make_folder):
    folder = make_folder()
    (folder.root / "cat" / "loop").symlink_to(folder.root, target_is_directory=True)
    (folder.root / "self").symlink_to("self")
    (folder.root / "nowhere").symlink_to("gone")
    splits = load_dataset("imagefolder", data_root=folder.root, image_size=8)
    assert sum(splits.facts["sizes"].values()) == 40
    assert splits.class_names == ("cat", "dog")


def test_a_link_to_itself_listed_in_the_csv_is_a_missing_image(make_folder):
    folder = make_folder()
    (folder.root / "self.png").symlink_to("self.png")
    folder.rows[2][0] = "self.png"
    folder.write()
    with pytest.raises(DataError, match="lacks the images named in row 4"):
        check_dataset("image-folder", data_root=folder.root)


def test_links_inside_the_root_are_followed(make_folder, tmp_path):
    """They are the owner's own doing, unlike the paths of a CSV or an archive that came from elsewhere."""
    folder = make_folder()
    (folder.root / "cat").rename(tmp_path / "elsewhere")
    (folder.root / "cat").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    splits = load_dataset("imagefolder", data_root=folder.root, image_size=8)
    assert sum(splits.facts["sizes"].values()) == 40


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGB", (1, 1), (9, 80, 200)), (9, 80, 200)),
        (Image.new("L", (30, 20), 77), (77, 77, 77)),
        (Image.new("RGBA", (20, 20), (100, 200, 50, 128)), (50, 100, 25)),
        (Image.fromarray(np.full((20, 20), 25700, dtype=np.uint16)), (100, 100, 100)),
        (Image.new("RGB", (1, 300), (9, 80, 200)), (9, 80, 200)),
    ],
)
def test_odd_images_among_others(make_folder, image, expected):
    folder = make_folder()
    replace_image(folder, 3, encoded(image))
    splits = load(folder)
    (pixels,) = [images.images[images.unit == 3][0] for _, images in splits.items() if 3 in images.unit]
    assert np.abs(pixels.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_a_cmyk_image_among_others(make_folder, kind):
    folder = make_folder()
    replace_image(folder, 3, encoded(Image.new("CMYK", (20, 20), (255, 0, 0, 0)), kind))
    splits = load(folder)
    (pixels,) = [images.images[images.unit == 3][0] for _, images in splits.items() if 3 in images.unit]
    assert np.abs(pixels.astype(int) - (0, 255, 255)).max() <= 2


def test_a_truncated_jpeg_is_named(make_folder):
    folder = make_folder()
    replace_image(folder, 3, encoded(Image.effect_noise((64, 64), 90).convert("RGB"), "JPEG")[:-700])
    with pytest.raises(
        DataError, match=r"1 of 40 images .* row 5 of labels.csv, first 'cat/003.png': .*truncated"
    ):
        load(folder)


@pytest.mark.parametrize("missing", ["", "NaN", "nan", "<NA>", "n/a"])
def test_a_missing_group_keeps_its_row_for_the_task(make_folder, missing):
    folder = make_folder()
    for row in (2, 25):
        folder.rows[row][2] = missing
    folder.write()
    message = (
        r"labels.csv: no group in 2 rows \(4, 27\): these images serve the task and are left out of group"
    )
    with pytest.warns(FairkdWarning, match=message):
        splits = load(folder)
    assert splits.group_names == ("indoors", "outdoors")
    groups = {
        int(unit): int(group)
        for _, images in splits.items()
        for unit, group in zip(images.unit, images.groups, strict=True)
    }
    assert {unit for unit, group in groups.items() if group == -1} == {2, 25}
    assert len(groups) == 40 and splits.counts()["n"].sum() == 38
    assert sum(splits.missing_groups().values()) == 2
    assert splits.facts["missing group"].startswith("no group in 2 rows (4, 27)")


def test_a_missing_group_is_no_class_and_is_left_out_of_a_skew(make_folder):
    folder = make_folder([(40, 40), (40, 40)])
    for row in range(5):
        folder.rows[row][2] = ""
    folder.write()
    with pytest.warns(FairkdWarning, match="no group in 5 rows"):
        splits = load(folder, skew=0.75)
    assert (splits.train.groups >= 0).all()
    counts = splits.counts().set_index(["split", "class", "group"])["n"]["train"]
    assert counts["cat", "indoors"] / counts["cat"].sum() == pytest.approx(0.75, abs=0.02)


@pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")
def test_a_group_column_without_a_value_is_refused(make_folder):
    folder = make_folder()
    for row in folder.rows:
        row[2] = ""
    folder.write()
    with pytest.raises(DataError, match="column 'group' holds no value, and at least two groups are needed"):
        load(folder)


def test_a_group_with_one_sample_is_in_training_and_told(make_folder):
    with pytest.warns(FairkdWarning, match=r"they fill train, then test: dog × outdoors \(1\)"):
        splits = load(make_folder([(10, 10), (10, 1)]))
    counts = splits.counts().set_index(["split", "class", "group"])["n"]
    assert [counts[split, "dog", "outdoors"] for split in ("train", "validation", "test")] == [1, 0, 0]


@pytest.mark.parametrize(
    "name", ["cifar10", "cifar10s", "utkface", "fairface", "celeba", "wider", "waterbirds", "mnist"]
)
class TestRoots:
    """Every loader says what it wants, what it found, and what it expected."""

    def test_no_root(self, name):
        with pytest.raises(ParameterError, match=f"{name} needs data_root: "):
            check_dataset(name)

    def test_a_root_that_is_not_there(self, name, tmp_path):
        with pytest.raises(DataError, match="nowhere"):
            check_dataset(name, data_root=tmp_path / "nowhere")

    def test_a_root_with_something_else(self, name, tmp_path):
        (tmp_path / "notes.txt").write_text("hello")
        found = "1 files, first 'notes.txt'" if name != "mnist" else "mnist.npz"
        with pytest.raises(DataError, match=found):
            check_dataset(name, data_root=tmp_path)

    def test_a_root_that_is_no_archive(self, name, tmp_path):
        (tmp_path / "data.rar").write_bytes(b"Rar!")
        with pytest.raises(DataError, match=r"data.rar is (neither a folder nor a zip archive|no archive)"):
            check_dataset(name, data_root=tmp_path / "data.rar")


def test_a_folder_that_cannot_be_listed(make_folder, monkeypatch):
    folder = make_folder()
    listed = os.scandir

    def refuse(path):
        if str(path).endswith("cat"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="cat cannot be listed: Permission denied"):
        check_dataset("imagefolder", data_root=folder.root)
