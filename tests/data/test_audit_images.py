"""Image statistics against written-out values, and label noise with planted flips."""

from __future__ import annotations

import colorsys
import dataclasses

import numpy as np
import pytest
from scipy.stats import t as student

from fairkd.data import ImageSet, Splits
from fairkd.data.audit import audit, confident_learning, find_label_noise, image_statistics
from fairkd.data.audit.images import measure_images

BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)


def make_splits(n: int = 300, seed: int = 0, *, groups: int = 2) -> Splits:
    """Three classes, told apart by a bright quarter; group 1 is darker."""
    rng = np.random.default_rng(seed)

    def images(number: int, first: int) -> ImageSet:
        labels, group = np.arange(number) % 3, np.arange(number) // 3 % groups
        pixels = rng.integers(0, 60, (number, 16, 16, 3), dtype=np.uint8)
        for row, label in enumerate(labels):
            y, x = 8 * (label // 2), 8 * (label % 2)
            pixels[row, y : y + 8, x : x + 8] += 120
        pixels[group == 1] //= 2
        index = np.arange(first, first + number)
        return ImageSet(pixels, labels, group, index, index)

    names = {"class_names": ("a", "b", "c"), "group_names": tuple("xyz"[:groups]), "label_name": "class"}
    parts = images(n, 0), images(30, n), images(30, n + 30)
    return Splits("made", *parts, **names, group_name="group", fingerprint="")


def picture(rows: list[list[tuple[int, int, int]]]) -> np.ndarray:
    return np.array([rows], dtype=np.uint8)


@pytest.mark.parametrize(
    ("rows", "brightness", "contrast", "saturation", "sharpness"),
    [
        ([[WHITE, WHITE], [WHITE, WHITE]], 1.0, 0.0, 0.0, 0.0),
        ([[BLACK, BLACK], [BLACK, BLACK]], 0.0, 0.0, 0.0, 0.0),
        # Two of the four differences between neighbours are 1.
        ([[BLACK, WHITE], [BLACK, WHITE]], 0.5, 0.5, 0.0, np.sqrt(0.5)),
        ([[BLACK, WHITE], [WHITE, BLACK]], 0.5, 0.5, 0.0, 1.0),
        ([[RED, RED], [RED, RED]], 0.299, 0.0, 1.0, 0.0),
        ([[RED, WHITE], [RED, WHITE]], (0.299 + 1) / 2, 0.701 / 2, 0.5, 0.701 * np.sqrt(0.5)),
    ],
)
def test_statistics_of_small_pictures(rows, brightness, contrast, saturation, sharpness) -> None:
    found = measure_images(picture(rows))[0]
    np.testing.assert_allclose(found, [brightness, contrast, saturation, sharpness], atol=1e-6)


def test_saturation_is_that_of_hsv() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    expected = [
        np.mean([colorsys.rgb_to_hsv(*(pixel / 255))[1] for pixel in image.reshape(-1, 3)])
        for image in images
    ]
    np.testing.assert_allclose(measure_images(images)[:, 2], expected, atol=1e-6)


def test_one_pixel_has_no_edges() -> None:
    np.testing.assert_allclose(
        measure_images(np.full((1, 1, 1, 3), 51, np.uint8)), [[0.2, 0, 0, 0]], atol=1e-6
    )


def test_group_means_have_student_s_interval() -> None:
    splits = make_splits()
    table = image_statistics(splits, confidence=0.9)
    row = table[
        (table["split"] == "train") & (table["group"] == "y") & (table["statistic"] == "contrast")
    ].iloc[0]
    measured = measure_images(splits.train.images)[splits.train.groups == 1, 1]
    low, high = student.interval(
        0.9, len(measured) - 1, measured.mean(), measured.std(ddof=1) / len(measured) ** 0.5
    )
    assert row[["value", "low", "high"]].tolist() == pytest.approx([measured.mean(), low, high])
    assert row["n"] == 150


def test_a_darker_group_shows_and_missing_groups_do_not() -> None:
    splits = make_splits(groups=3)
    groups = np.where(splits.train.groups == 2, -1, splits.train.groups)
    splits = dataclasses.replace(splits, train=dataclasses.replace(splits.train, groups=groups))
    table = image_statistics(splits)
    brightness = table[(table["split"] == "train") & (table["statistic"] == "brightness")].set_index("group")
    assert brightness.loc["x", "low"] > brightness.loc["y", "high"]
    assert brightness["n"].tolist() == [102, 99, 0]
    assert np.isnan(brightness.loc["z", "value"])


def test_statistics_are_of_a_bounded_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairkd.data.audit.images.STATISTIC_ROWS", 40)
    table = image_statistics(make_splits())
    train = table[(table["split"] == "train") & (table["statistic"] == "sharpness")]
    assert train["n"].sum() == 40


# Label noise


def test_confident_learning_of_a_written_out_case() -> None:
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7], [0.85, 0.15]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    # Thresholds: class 0 (0.9 + 0.7 + 0.2) / 3 = 0.6, class 1 (0.9 + 0.7 + 0.15) / 3 = 0.583.
    assert confident_learning(probabilities, labels).tolist() == [-1, -1, 1, -1, -1, 0]


def test_a_class_below_its_threshold_is_not_suggested() -> None:
    probabilities = np.array([[0.45, 0.55], [0.5, 0.5], [0.0, 1.0], [0.1, 0.9]])
    # Class 1 needs 0.95: the first sample is likelier of class 1 but not confidently so.
    assert confident_learning(probabilities, np.array([0, 0, 1, 1])).tolist() == [-1, -1, -1, -1]


def test_confident_learning_against_loops() -> None:
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(4), 200), np.resize(np.arange(4), 200)
    found = confident_learning(probabilities, labels)
    thresholds = [
        np.mean([p[c] for p, y in zip(probabilities, labels, strict=True) if y == c]) for c in range(4)
    ]
    for row, (p, label) in enumerate(zip(probabilities, labels, strict=True)):
        reached = [c for c in range(4) if p[c] >= thresholds[c]]
        best = max(reached, key=lambda c: p[c], default=label)
        assert found[row] == (-1 if best == label else best)


def flipped(splits: Splits, rows: np.ndarray) -> Splits:
    labels = splits.train.labels.copy()
    labels[rows] = (labels[rows] + 1) % 3
    return dataclasses.replace(splits, train=dataclasses.replace(splits.train, labels=labels))


def test_planted_flips_are_the_suspects() -> None:
    rows = np.array([4, 50, 77, 130, 201, 299])
    splits = make_splits()
    summary, suspects = find_label_noise(flipped(splits, rows))
    assert set(suspects["row"]) == set(rows)
    true = [splits.class_names[splits.train.labels[row]] for row in suspects["row"]]
    assert suspects["suggested"].tolist() == true
    assert suspects["self_confidence"].is_monotonic_increasing
    assert (suspects["confidence"] > suspects["self_confidence"]).all()
    everything = summary.iloc[0]
    assert everything[["n", "suspects", "share"]].tolist() == [300, 6, 0.02]
    assert everything["probe_accuracy"] == pytest.approx(294 / 300)
    for by in ("class", "group"):
        assert summary.loc[summary["by"] == by, "suspects"].sum() == 6


def test_correct_labels_give_no_suspect() -> None:
    summary, suspects = find_label_noise(make_splits())
    assert suspects.empty
    assert summary["suspects"].sum() == 0


def test_suspects_from_features() -> None:
    splits = flipped(make_splits(), np.array([10]))
    noise = np.random.default_rng(0).normal(0, 0.05, (300, 3))
    features = {"train": np.eye(3)[np.arange(300) % 3] + noise}
    assert find_label_noise(splits, features=features).suspects["row"].tolist() == [10]


def test_rare_classes_are_left_out() -> None:
    splits = make_splits()
    keep = np.flatnonzero((splits.train.labels != 2) | (np.arange(300) < 12))
    splits = dataclasses.replace(splits, train=splits.train.subset(keep))
    summary = find_label_noise(splits).summary.set_index(["by", "name"])
    assert summary.loc[("class", "c"), "n"] == 0
    assert np.isnan(summary.loc[("class", "c"), "share"])
    assert summary.loc[("all", "all"), "n"] == 200


def test_a_single_class_has_no_suspects() -> None:
    splits = make_splits()
    one = splits.train.subset(np.flatnonzero(splits.train.labels == 0))
    summary, suspects = find_label_noise(dataclasses.replace(splits, train=one))
    assert suspects.empty
    assert summary["n"].tolist() == [0] * 6


def test_the_audit_is_the_same_each_time() -> None:
    first, again = (audit(make_splits()) for _ in range(2))
    for name, table in vars(first).items():
        assert table.equals(getattr(again, name)), name
