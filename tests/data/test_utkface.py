"""UTKFace: names, copies and contradictions, targets and groups. The images are coloured squares."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from fairkd.data import check_dataset, load_dataset
from fairkd.data.utkface import RACES
from fairkd.errors import DataError, FairkdWarning


def square(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write(folder, name, seed):
    (folder / name).write_bytes(square(seed))


@pytest.fixture
def faces(tmp_path):
    """Ten files a gender and race, ages 5 to 95."""
    folder = tmp_path / "UTKFace"
    folder.mkdir()
    for i in range(100):
        gender, race = i % 2, i // 2 % 5
        write(folder, f"{5 + 10 * (i // 10)}_{gender}_{race}_{i:017}.jpg.chip.jpg", i)
    return folder


def load(folder, **options):
    return load_dataset("utkface", data_root=folder, image_size=16, **options)


def test_labels_are_those_of_the_names(faces):
    splits = load(faces)
    assert (splits.class_names, splits.label_name) == (("female", "male"), "gender")
    assert (splits.group_names, splits.group_name) == (("Asian", "Black", "Indian", "other", "White"), "race")
    names = sorted(file.name for file in faces.iterdir())
    for images in (splits.train, splits.validation, splits.test):
        for unit, label, group in zip(images.unit, images.labels, images.groups, strict=True):
            _, gender, race, _ = names[unit].split("_")
            assert splits.class_names[label] == ("male", "female")[int(gender)]
            assert splits.group_names[group] == RACES[int(race)]


def test_a_zip_in_a_folder_gives_the_same(faces, tmp_path):
    expected = load(faces)
    archive = shutil.make_archive(str(tmp_path / "faces"), "zip", faces.parent, faces.name)
    splits = load(archive)
    for name, images in splits.items():
        assert (images.images == getattr(expected, name).images).all()


def test_age_as_target_intersections_as_group_and_several_audited(faces):
    splits = load(faces, target="age:0-18,19-40,41-", group="gender", audit_groups=["race", "gender*race"])
    assert (splits.class_names, splits.label_name) == (("0-18", "19-40", "41-"), "age")
    assert splits.group_name == "gender"
    assert splits.attributes["race"] == ("Asian", "Black", "Indian", "other", "White")
    assert len(splits.attributes["gender × race"]) == 10
    for images in (splits.train, splits.validation, splits.test):
        crossed = images.groups * 5 + images.attributes["race"]
        assert (images.attributes["gender × race"] == crossed).all()
    assert load(faces, target="race", group="gender*age:0-50,51-").group_names[0] == "female × 0-50"


def test_ages_outside_the_bins_are_left_out_and_counted(faces):
    splits = load(faces, target="age:0-30,31-60", group="gender")
    assert sum(splits.facts["sizes"].values()) == 60
    assert splits.facts["left out"] == "40 images whose age is in no bin"


def test_audited_groups_are_no_part_of_what_is_trained(faces):
    plain, audited = (
        check_dataset("utkface", data_root=faces, audit_groups=groups) for groups in ((), ("age",))
    )
    assert plain.fingerprint == audited.fingerprint
    assert plain.fingerprint != check_dataset("utkface", data_root=faces, group="age:0-50,51-").fingerprint


@pytest.mark.parametrize("zipped", [False, True])
def test_copies_contradictions_and_irregular_names(faces, tmp_path, zipped):
    write(faces, "5_0_0_copy.jpg", 0)  # the same labels as the first
    write(faces, "6_0_0_older.jpg", 1)  # another age than the second's: neither can be believed
    write(faces, "39_1_20170116174525125.jpg.chip.jpg", 200)
    write(faces, "200_7_1_20170116174525125.jpg", 201)
    write(faces, "24_0_1_20170116220224657 .jpg.chip.jpg", 202)  # odd, but every field can be read
    root = shutil.make_archive(str(tmp_path / "faces"), "zip", faces) if zipped else faces
    with pytest.warns(FairkdWarning) as caught:
        splits = load(root)
    (message,) = [str(one.message) for one in caught]
    assert (
        "2 files lack age, gender or race" in message and "'39_1_20170116174525125.jpg.chip.jpg'" in message
    )
    assert "1 files are copies of another with the same labels" in message
    assert "2 files are byte for byte the same as one with other labels; all are left out" in message
    assert sum(splits.facts["sizes"].values()) == 100 + 1 - 1
    assert {"irregular names", "duplicates", "contradictions"} <= splits.facts.keys()
    hashes = [image.tobytes() for _, images in splits.items() for image in images.images]
    assert len(set(hashes)) == len(hashes)


def test_text_that_is_no_column(faces):
    with pytest.raises(
        DataError, match=r"has no column 'sex': its columns: age, gender, race; set group to one"
    ):
        check_dataset("utkface", data_root=faces, group="sex")


@pytest.fixture
def real_plan(real_data):
    with pytest.warns(FairkdWarning, match="3 files lack age, gender or race"):
        return check_dataset("utkface", data_root=real_data("utkface64.zip"), audit_groups=("race",))


def test_real_counts(real_plan):
    facts = real_plan.facts
    assert facts["files"] == "23,707"
    assert facts["duplicates"].startswith("118 files") and facts["contradictions"].startswith("531 files")
    assert sum(real_plan.sizes.values()) == 23_707 - 3 - 118 - 531
    assert real_plan.class_names == ("female", "male") and len(real_plan.group_names) == 5


def test_real_published_counts_before_copies_are_left_out(real_data):
    from fairkd.data.files import ZipRoot
    from fairkd.data.source import image_files
    from fairkd.data.utkface import _read_names

    root = ZipRoot(real_data("utkface64.zip"))
    faces, irregular = _read_names(image_files(root))
    root.close()
    assert (len(faces), len(irregular)) == (23_704, 3)
    ages = [int(face.age) for face in faces]
    assert (min(ages), max(ages)) == (1, 116)
    # Published for 23,702 files; two names with a slip in their last field can be read all the same.
    genders = np.unique([face.gender for face in faces], return_counts=True)
    races = np.unique([face.race for face in faces], return_counts=True)
    assert abs(genders[1] - [11_314, 12_388]).sum() == 2
    published = {"White": 10_077, "Black": 4_524, "Asian": 3_434, "Indian": 3_975, "other": 1_692}
    assert sum(abs(n - published[race]) for race, n in zip(*races, strict=True)) == 2


@pytest.mark.filterwarnings("ignore:UTKFace:fairkd.errors.FairkdWarning")
def test_a_few_hundred_real_images(real_data):
    splits = load_dataset("utkface", data_root=real_data("utkface64.zip"), samples=300)
    assert splits.train.images.shape[1:] == (64, 64, 3)
    assert sum(splits.facts["sizes"].values()) == 300
    assert (splits.counts()["n"] > 0).all()


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore:UTKFace:fairkd.errors.FairkdWarning")
def test_all_real_images(whole_data):
    splits = load_dataset("utkface", data_root=whole_data("utkface64.zip"))
    hashes = [hash(image.tobytes()) for _, images in splits.items() for image in images.images]
    assert len(hashes) == 23_055
    # Every face is in one split only.
    units = [set(images.unit.tolist()) for _, images in splits.items()]
    assert sum(map(len, units)) == len(set.union(*units)) == 23_055
