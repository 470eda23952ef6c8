"""Data sets that are not here, on small generated copies of their published layouts."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from fairkd.data import check_dataset, load_dataset
from fairkd.data.wider import ACTIVITIES, majority_gender
from fairkd.errors import DataError, FairkdWarning, ParameterError


def add_image(file, seed, size=(24, 20)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(buffer.getvalue())


def names_of(plan, split):
    """Class and group of every row of a split, by source position."""
    rows = plan.rows[split]
    groups = ["" if group < 0 else plan.group_names[group] for group in rows.groups]
    return dict(
        zip(
            rows.items.tolist(),
            zip(np.array(plan.class_names)[rows.labels], groups, strict=True),
            strict=True,
        )
    )


# FairFace


@pytest.fixture
def fairface(tmp_path):
    root = tmp_path / "fairface"
    ages, races = ("0-2", "20-29", "more than 70"), ("Black", "East Asian", "Latino_Hispanic")
    for part, n in (("train", 36), ("val", 18)):
        lines = ["file,age,gender,race,service_test"]
        for i in range(n):
            add_image(root / part / f"{i + 1}.jpg", i + 100 * n)
            gender = ("Male", "Female")[i % 2]
            lines.append(f"{part}/{i + 1}.jpg,{ages[i // 2 % 3]},{gender},{races[i // 6 % 3]},True")
        (root / f"fairface_label_{part}.csv").write_text("\n".join(lines))
    return root


def test_fairface(fairface):
    plan = check_dataset("fairface", data_root=fairface, audit_groups=("age", "race*gender"))
    assert (plan.class_names, plan.group_names) == (
        ("Female", "Male"),
        ("Black", "East Asian", "Latino_Hispanic"),
    )
    assert plan.sizes["test"] == 18 and plan.sizes["train"] + plan.sizes["validation"] == 36
    assert plan.attributes["age"] == ("0-2", "20-29", "more than 70")
    assert "whose validation set is the test set here" in plan.facts["split"]
    assert set(plan.rows["test"].items.tolist()) == set(range(36, 54))
    for item, (gender, race) in names_of(plan, "test").items():
        i = item - 36
        assert gender == ("Male", "Female")[i % 2] and race == plan.group_names[i // 6 % 3]
    splits = load_dataset("fairface", data_root=fairface, image_size=16)
    assert splits.train.images.shape[1:] == (16, 16, 3)


def test_fairface_in_a_zip_below_a_folder(fairface, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path, "fairface")
    assert (
        check_dataset("fairface", data_root=archive).sizes
        == check_dataset("fairface", data_root=fairface).sizes
    )


def test_fairface_that_is_incomplete(fairface):
    (fairface / "train" / "7.jpg").unlink()
    message = r"lacks 1 of the 54 images listed in .*train.csv .*, first 'train/7.jpg'; it holds 55 files"
    with pytest.raises(DataError, match=message):
        check_dataset("fairface", data_root=fairface)
    (fairface / "fairface_label_val.csv").unlink()
    with pytest.raises(
        DataError, match=r"is no FairFace: it lacks fairface_label_val.csv; it holds 54 files"
    ):
        check_dataset("fairface", data_root=fairface)


def test_fairface_with_a_path_out_of_it(fairface):
    file = fairface / "fairface_label_val.csv"
    file.write_text(file.read_text().replace("val/", "../val/", 1))
    with pytest.raises(DataError, match=r"fairface_label_val.csv: the path '../val/.*' leaves the data root"):
        check_dataset("fairface", data_root=fairface)


# Waterbirds


@pytest.fixture
def waterbirds(tmp_path):
    root = tmp_path / "waterbird_complete95_forest2water2"
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    for i in range(48):
        name = f"{i // 10:03}.Some_Bird/bird_{i:04}.jpg"
        add_image(root / name, i)
        lines.append(f"{i + 1},{name},{i % 2},{i // 4 % 3},{i // 2 % 2},/o/ocean/{i}.jpg")
    (root / "metadata.csv").write_text("\n".join(lines))
    return root


def test_waterbirds(waterbirds):
    plan = check_dataset("waterbirds", data_root=waterbirds)
    assert (plan.class_names, plan.group_names) == (("landbird", "waterbird"), ("land", "water"))
    for code, split in enumerate(("train", "validation", "test")):
        rows = names_of(plan, split)
        assert set(rows) == {i for i in range(48) if i // 4 % 3 == code}
        for i, (bird, place) in rows.items():
            assert bird == ("landbird", "waterbird")[i % 2] and place == ("land", "water")[i // 2 % 2]
    assert load_dataset("waterbirds", data_root=waterbirds.parent, image_size=8).image_size == (8, 8)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("99,000.Some_Bird/bird_0000.jpg,2,0,0,x", "metadata.csv: y is '2' in row 50; allowed: 0, 1"),
        ("99,000.Some_Bird/bird_0000.jpg,1,3,0,x", "metadata.csv: split is '3' in row 50; allowed: 0, 1, 2"),
        ("99,gone.jpg,1,0,0,x", "lacks 1 of the 49 images listed in metadata.csv, first 'gone.jpg'"),
        ("99,,1,0,0,x", "column 'img_filename' is empty in row 50"),
        ("99,/x.jpg,1,0,0,x", "metadata.csv: the path '/x.jpg' is absolute; fetch the file again"),
    ],
)
def test_bad_metadata(waterbirds, line, message):
    file = waterbirds / "metadata.csv"
    file.write_text(f"{file.read_text()}\n{line}")
    with pytest.raises(DataError, match=message):
        check_dataset("waterbirds", data_root=waterbirds)


# CelebA

NAMES = ("Blond_Hair", "Male", "Smiling")


@pytest.fixture(params=["original", "kaggle"])
def celeba(tmp_path, request):
    root, folder = tmp_path / "celeba", "img_align_celeba"
    kaggle = request.param == "kaggle"
    rows = [
        (f"{i + 1:06}.jpg", [(1, -1)[i % 2], (1, -1)[i // 2 % 2], (1, -1)[i // 4 % 2]]) for i in range(48)
    ]
    for i, (name, _) in enumerate(rows):
        add_image(root / folder / (f"{folder}/{name}" if kaggle else name), i)
    if kaggle:
        attributes = ["image_id," + ",".join(NAMES), *(f"{n},{','.join(map(str, v))}" for n, v in rows)]
        partition = ["image_id,partition", *(f"{name},{i // 16}" for i, (name, _) in enumerate(rows))]
    else:
        attributes = ["48", " ".join(NAMES) + " ", *(f"{n} {' '.join(f'{x:2}' for x in v)}" for n, v in rows)]
        partition = [f"{name} {i // 16}" for i, (name, _) in enumerate(rows)]
    suffix = "csv" if kaggle else "txt"
    (root / f"list_attr_celeba.{suffix}").write_text("\n".join(attributes) + "\n")
    (root / f"list_eval_partition.{suffix}").write_text("\n".join(partition) + "\n")
    return root


@pytest.mark.parametrize("above", [False, True])
def test_celeba(celeba, above):
    root = celeba.parent if above else celeba
    plan = check_dataset("celeba", data_root=root, audit_groups=["Smiling"])
    assert (plan.label_name, plan.class_names) == ("Blond_Hair", ("no", "yes"))
    assert (plan.group_name, plan.group_names) == ("Male", ("no", "yes"))
    for code, split in enumerate(("train", "validation", "test")):
        rows = names_of(plan, split)
        assert set(rows) == set(range(16 * code, 16 * code + 16))
        for i, (blond, male) in rows.items():
            assert blond == ("yes", "no")[i % 2] and male == ("yes", "no")[i // 2 % 2]
        smiling = plan.rows[split].attributes["Smiling"]
        assert smiling.tolist() == [1 - i // 4 % 2 for i in plan.rows[split].items]
    other = check_dataset("celeba", data_root=root, target="Smiling", group="Male*Blond_Hair")
    assert other.label_name == "Smiling" and len(other.group_names) == 4
    assert load_dataset("celeba", data_root=root, image_size=8).train.images.shape == (16, 8, 8, 3)


def test_celeba_without_an_attribute_or_a_split(celeba):
    with pytest.raises(
        DataError, match=r"has no column 'Beard'.*its columns: Blond_Hair, Male, Smiling; set target"
    ):
        check_dataset("celeba", data_root=celeba, target="Beard")
    (file,) = celeba.glob("list_eval_partition.*")
    file.write_text("\n".join(file.read_text().splitlines()[:-1]))
    with pytest.raises(DataError, match=r"gives '000048.jpg' no split 0, 1 or 2"):
        check_dataset("celeba", data_root=celeba)
    (file,) = celeba.glob("list_attr_celeba.*")
    file.write_text(file.read_text() + "000049.jpg 1\n")
    with pytest.raises(DataError, match=r"image 49: .* values where 4 are expected"):
        check_dataset("celeba", data_root=celeba)


def test_celeba_without_a_line(celeba):
    (file,) = celeba.glob("list_attr_celeba.*")
    file.write_text("\n\n")
    with pytest.raises(DataError, match=r"list_attr_celeba\.(csv|txt) is empty; fetch it again"):
        check_dataset("celeba", data_root=celeba)


def test_celeba_download(tmp_path, monkeypatch):
    with pytest.raises(ParameterError, match="download=True needs data_root"):
        check_dataset("celeba", download=True)

    def quota(root, split, download):
        raise RuntimeError("quota exceeded")

    monkeypatch.setattr("torchvision.datasets.CelebA", quota)
    with pytest.raises(DataError, match=r"cannot be downloaded into .*: quota exceeded; copy it there"):
        check_dataset("celeba", data_root=tmp_path, download=True)


# WIDER Attribute


def person(male):
    return {"attribute": [male, *[0] * 13], "bbox": [0, 0, 5, 9]}


SCENES = (0, 35, 58, 20)


@pytest.fixture
def wider(tmp_path):
    root = tmp_path / "WIDER"
    people = ([person(1)], [person(-1)], [person(1), person(-1)], [person(1), person(-1), person(-1)])
    images = {"train": [], "val": [], "test": []}
    for number, part in enumerate(images):
        for i in range(32):
            scene = SCENES[i % 4]
            name = f"{part}/{scene}--Scene/{scene}_Scene_{i}.jpg"
            add_image(root / "Image" / name, 100 * number + i)
            images[part].append({"file_name": name, "scene_id": scene, "targets": people[i // 4 % 4]})
    images["train"][0]["targets"] = [person(0)]
    extra = {
        "scene_id_map": {str(scene): f"Scene {scene}" for scene in SCENES},
        "attribute_id_map": {"0": "Male"},
    }
    (root / "Annotations").mkdir()
    trainval = {"images": [*images["train"], *images["val"]], **extra}
    (root / "Annotations" / "wider_attribute_trainval.json").write_text(json.dumps(trainval))
    (root / "Annotations" / "wider_attribute_test.json").write_text(
        json.dumps({"images": images["test"], **extra})
    )
    return root


def test_every_scene_has_one_activity():
    scenes = [scene for scenes in ACTIVITIES.values() for scene in scenes]
    assert len(ACTIVITIES) == 16 and len(scenes) == len(set(scenes)) == 30


@pytest.mark.parametrize(
    ("genders", "expected"),
    [
        ([1], "male"),
        ([-1], "female"),
        ([1, -1], "male"),
        ([1, -1, -1], "female"),
        ([1, 0, 0], "male"),
        ([0], ""),
        ([], ""),
    ],
)
def test_at_least_half_male_is_male(genders, expected):
    assert majority_gender([person(gender) for gender in genders]) == expected


def test_wider(wider):
    with pytest.warns(FairkdWarning, match="no gender in '0_Scene_0.jpg': these images serve the task"):
        plan = check_dataset("wider", data_root=wider)
    assert plan.class_names == ("Family", "Parade", "Team Sports")
    assert plan.group_names == ("female", "male")
    assert plan.sizes == {"train": 32, "validation": 32, "test": 32}
    for number, split in enumerate(("train", "validation", "test")):
        for item, (activity, gender) in names_of(plan, split).items():
            i = item - 32 * number
            assert activity == ("Parade", "Team Sports", "Team Sports", "Family")[i % 4]
            expected = ("male", "female", "male", "female")[i // 4 % 4]
            assert gender == ("" if (number, i) == (0, 0) else expected)


@pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")
def test_wider_with_all_its_scenes(wider):
    splits = load_dataset("wider", data_root=wider, target="scene", image_size=8)
    assert splits.class_names == ("Scene 0", "Scene 20", "Scene 35", "Scene 58")
    assert splits.missing_groups() == {"train": 1, "validation": 0, "test": 0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "wider_attribute_test.json is no annotation of WIDER Attribute"),
        ('{"images": [{"file_name": "x"}]}', "is no annotation of WIDER Attribute"),
        (
            '{"images": [{"file_name": "test/0.jpg", "scene_id": 0, "targets": []}]}',
            "lacks 1 of the 65 images",
        ),
        (
            '{"images": [{"file_name": "C:/0.jpg", "scene_id": 0, "targets": []}]}',
            "wider_attribute_test.json: the path 'C:/0.jpg' is absolute",
        ),
    ],
)
def test_wider_that_is_damaged(wider, content, message):
    (wider / "Annotations" / "wider_attribute_test.json").write_text(content)
    with pytest.raises(DataError, match=message):
        check_dataset("wider", data_root=wider)


def test_wider_with_an_unknown_scene(wider):
    file = wider / "Annotations" / "wider_attribute_test.json"
    file.write_text(file.read_text().replace('"scene_id": 58', '"scene_id": 2'))
    with pytest.raises(DataError, match="has no scene 2; known: 0, 1, 3, 4"):
        check_dataset("wider", data_root=wider)


# MNIST


@pytest.fixture
def mnist(tmp_path):
    rng = np.random.default_rng(0)
    sizes = {"train": 200, "test": 50}
    arrays = {f"x_{part}": rng.integers(0, 256, (n, 28, 28), dtype=np.uint8) for part, n in sizes.items()}
    arrays |= {f"y_{part}": (np.arange(n) % 10).astype(np.uint8) for part, n in sizes.items()}
    np.savez_compressed(tmp_path / "mnist.npz", **arrays)
    return tmp_path / "mnist.npz", arrays


def test_mnist(mnist):
    file, arrays = mnist
    for root in (file, file.parent):
        splits = load_dataset("mnist", data_root=root)
    assert {name: len(images) for name, images in splits.items()} == {
        "train": 180,
        "validation": 20,
        "test": 50,
    }
    assert (splits.test.images == arrays["x_test"][..., None]).all() and splits.image_size == (28, 28)
    assert (splits.test.labels == arrays["y_test"]).all()
    assert load_dataset("mnist", data_root=file, image_size=32).test.images.shape == (50, 32, 32, 3)
    coloured = load_dataset("mnist", data_root=file, bias="tint", skew=0.95)
    assert coloured.group_names == ("red", "green") and len(coloured.test) == 100


def test_mnist_with_other_arrays(tmp_path, mnist):
    _, arrays = mnist
    np.savez(tmp_path / "float.npz", **{**arrays, "x_train": arrays["x_train"].astype(float)})
    np.savez(tmp_path / "less.npz", x_train=arrays["x_train"])
    for name, message in (
        ("float", "uint8"),
        ("less", "no archive of the arrays"),
    ):
        with pytest.raises(DataError, match=message):
            check_dataset("mnist", data_root=tmp_path / f"{name}.npz")


def test_mnist_that_unpacks_to_too_much(mnist, monkeypatch):
    monkeypatch.setattr("fairkd.data.mnist.MAX_FILE_BYTES", 1000)
    with pytest.raises(DataError, match=r"x_train.npy unpacks to [\d,]+ bytes"):
        check_dataset("mnist", data_root=mnist[0])


def test_real_mnist(real_data):
    splits = load_dataset("mnist", data_root=real_data("mnist.npz"))
    sizes = splits.facts["sizes"]
    assert sizes["train"] + sizes["validation"] == 60_000 and sizes["test"] == 10_000
    assert sizes["validation"] == pytest.approx(6_000, abs=5)  # a tenth of each digit, in whole images
    # The published numbers of test images of each digit.
    expected = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(splits.test.labels).tolist() == expected
