"""Duplicates: planted ones are found, others are not; the bucketed search equals the search of all pairs."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fairkd.data import ImageSet, Splits
from fairkd.data.audit import audit, find_duplicates
from fairkd.data.audit.hashing import hamming, hash_images, near_pairs
from fairkd.errors import FairkdWarning


def scenes(n: int, seed: int, size: int = 32) -> np.ndarray:
    """Smooth random pictures that differ from each other."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((size, size), Image.BICUBIC)) for one in coarse])


def image_set(images: np.ndarray, first: int, labels: np.ndarray | None = None) -> ImageSet:
    n = len(images)
    labels = np.arange(n) % 2 if labels is None else labels
    index = np.arange(first, first + n)
    return ImageSet(images, labels, np.arange(n) // 2 % 2, index, index)


def make_splits(train: np.ndarray, validation: np.ndarray, test: np.ndarray) -> Splits:
    parts = (image_set(train, 0), image_set(validation, 1000), image_set(test, 2000))
    names = {"class_names": ("cat", "dog"), "group_names": ("x", "y"), "label_name": "class"}
    return Splits("made", *parts, **names, group_name="group", fingerprint="")


def jpeg(image: np.ndarray, quality: int = 75) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def test_difference_hash_of_a_written_out_picture() -> None:
    """8 x 9 pixels need no averaging; a bit is set where the right neighbour is brighter."""
    rows = [
        "123456789",
        "987654321",
        "111111111",
        "121212121",
        "999999991",
        "911111111",
        "123211232",
        "000000009",
    ]
    grey = np.array([[int(digit) * 20 for digit in row] for row in rows], dtype=np.uint8)
    bits = "11111111 00000000 00000000 10101010 00000000 00000000 11000110 00000001"
    found = hash_images(np.repeat(grey[None, :, :, None], 3, axis=-1)).near
    assert found[0] == int(bits.replace(" ", ""), 2)


def test_difference_hash_averages_areas() -> None:
    image = scenes(1, 0, 72)[0]
    grey = image.astype(np.float64) @ [0.299, 0.587, 0.114]
    blocks = np.rint(grey.reshape(8, 9, 9, 8).mean(axis=(1, 3)))
    bits = (blocks[:, 1:] > blocks[:, :-1]).ravel()
    expected = sum(1 << (63 - int(place)) for place in np.flatnonzero(bits))
    assert hash_images(image[None]).near[0] == expected


def test_difference_hash_ignores_brightness() -> None:
    images = scenes(5, 1) // 2
    np.testing.assert_array_equal(hash_images(images).near, hash_images(images + np.uint8(60)).near)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=2))
def test_hamming_counts_bits(pair: list[int]) -> None:
    one, other = (np.array([value], dtype=np.uint64) for value in pair)
    assert hamming(one, other)[0] == (pair[0] ^ pair[1]).bit_count()


def brute_force(hashes: list[int], threshold: int) -> list[list[int]]:
    return [
        [i, j]
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if (hashes[i] ^ hashes[j]).bit_count() <= threshold
    ]


#: Hashes near each other: a few centres, each with a few bits flipped; and some anywhere.
NEAR = st.tuples(
    st.sampled_from([0, 2**64 - 1, 0xAAAA5555F0F0CCCC]), st.sets(st.integers(0, 63), max_size=8)
).map(lambda drawn: drawn[0] ^ sum(1 << bit for bit in drawn[1]))


@settings(deadline=None, max_examples=150)
@given(st.lists(st.one_of(NEAR, st.integers(0, 2**64 - 1)), max_size=40), st.integers(0, 10))
def test_the_bucketed_search_finds_what_all_pairs_find(hashes: list[int], threshold: int) -> None:
    found, complete = near_pairs(np.array(hashes, dtype=np.uint64), threshold)
    assert complete
    assert found.tolist() == brute_force(hashes, threshold)


def test_the_search_stops_at_its_limit_and_says_so() -> None:
    found, complete = near_pairs(np.zeros(100, dtype=np.uint64), 3, limit=500)
    assert not complete
    assert 500 < len(found) < 100 * 99 / 2


def counts(splits: Splits, **options: float) -> dict[tuple[str, str, str], int]:
    table = find_duplicates(splits, **options).summary
    rows = table[["kind", "split", "other_split", "pairs"]].itertuples(index=False)
    return {(kind, split, other): n for kind, split, other, n in rows if n}


def test_different_images_are_no_duplicates() -> None:
    assert counts(make_splits(scenes(80, 0), scenes(30, 1), scenes(30, 2))) == {}


def test_planted_duplicates_are_found_with_their_place_and_kind() -> None:
    train, validation, test = scenes(40, 0), scenes(20, 1), scenes(20, 2)
    train[7] = train[3]
    test[5] = train[3]
    one_pixel = validation[4].copy()
    one_pixel[10, 11, 1] ^= 64
    test[9] = one_pixel
    test[11] = jpeg(train[20])
    splits = make_splits(train, validation, test)
    assert counts(splits) == {
        ("exact", "train", "train"): 1,
        ("exact", "train", "test"): 1,
        ("near", "validation", "test"): 1,
        ("near", "train", "test"): 1,
    }
    pairs = find_duplicates(splits).pairs.set_index(["kind", "split", "row"])
    assert pairs.loc[("exact", "train", 3), "other_row"].tolist() == [7, 5]
    assert pairs.loc[("near", "validation", 4), "other_index"].item() == 2009
    assert pairs.loc[("near", "train", 20), "other_row"].item() == 11


def test_a_set_of_identical_images_is_paired_with_its_first_one() -> None:
    images = scenes(30, 0)
    images[10:15] = images[2]
    splits = make_splits(images, scenes(4, 1), np.repeat(images[2:3], 3, axis=0))
    table = find_duplicates(splits).summary.set_index(["kind", "split", "other_split"])
    assert table.loc[("exact", "train", "train"), ["pairs", "images", "n"]].tolist() == [5, 5, 30]
    assert table.loc[("exact", "train", "test"), ["pairs", "images", "n"]].tolist() == [3, 3, 3]


def test_contradicting_labels_and_groups_are_counted_and_listed_first() -> None:
    images = scenes(12, 0)
    images[2], images[3], images[4] = images[0], images[0], images[1]
    found = find_duplicates(make_splits(images, scenes(4, 1), scenes(4, 2)))
    # Labels alternate, groups come in pairs: rows 2 and 3 are in another group than row 0, row 3 of another class.
    first = found.summary.iloc[0]
    assert first[["pairs", "labels_differ", "groups_differ"]].tolist() == [3, 2, 2]
    assert found.pairs["labels_differ"].tolist() == [True, True, False]
    assert set(found.pairs["label"][:2]) | set(found.pairs["other_label"][:2]) == {"cat", "dog"}


def test_a_missing_group_contradicts_none() -> None:
    images = scenes(12, 0)
    images[2] = images[0]
    splits = make_splits(images, scenes(4, 1), scenes(4, 2))
    groups = splits.train.groups.copy()
    groups[2] = -1
    splits = dataclasses.replace(splits, train=dataclasses.replace(splits.train, groups=groups))
    found = find_duplicates(splits)
    assert found.summary.iloc[0][["pairs", "groups_differ"]].tolist() == [1, 0]
    assert found.pairs["other_group"].isna().all()


def test_rows_of_one_source_item_are_no_duplicates() -> None:
    images = scenes(10, 0)
    images[5:] = images[:5]
    splits = make_splits(images, scenes(4, 1), scenes(4, 2))
    unit = np.concatenate([np.arange(5), np.arange(5)])
    assert counts(splits)
    shown_twice = dataclasses.replace(splits, train=dataclasses.replace(splits.train, unit=unit))
    assert counts(shown_twice) == {}


def test_one_source_item_in_two_splits_is_a_duplicate() -> None:
    images = scenes(10, 0)
    splits = make_splits(images, scenes(4, 1), images[:2])
    shared = dataclasses.replace(splits.test, unit=splits.train.unit[:2])
    assert counts(dataclasses.replace(splits, test=shared)) == {("exact", "train", "test"): 2}


def test_equal_bytes_of_another_shape_hash_differently() -> None:
    flat = np.arange(4 * 9 * 3, dtype=np.uint8).reshape(1, 4, 9, 3)
    assert hash_images(flat).exact[0] != hash_images(flat.reshape(1, 9, 4, 3)).exact[0]


def test_large_splits_are_sampled_and_n_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairkd.data.audit.duplicates.MOST_IMAGES", 20)
    table = find_duplicates(make_splits(scenes(30, 0), scenes(10, 1), scenes(10, 2))).summary
    assert table[table["other_split"] == "train"]["n"].unique().tolist() == [20]
    assert table[table["other_split"] == "test"]["n"].unique().tolist() == [10]


def test_an_incomplete_search_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_pairs, "__kwdefaults__", {"limit": 3})
    base = scenes(1, 0)
    images = np.concatenate([base + np.uint8(0), *[base] * 9])
    images[np.arange(10), 0, 0, 0] = np.arange(10)
    with pytest.warns(FairkdWarning, match="counts are lower bounds"):
        find_duplicates(make_splits(images, scenes(4, 1), scenes(4, 2)))


def test_constant_images_are_odd_and_no_near_duplicates() -> None:
    images = scenes(12, 0)
    images[3], images[4] = 17, 200
    images[5] = 90
    images[5, 0, 0] = 95
    splits = make_splits(images, scenes(4, 1), scenes(4, 2))
    found = audit(splits)
    assert found.odd_images[["split", "row", "finding"]].to_numpy().tolist() == [
        ["train", 3, "constant"],
        ["train", 4, "constant"],
        ["train", 5, "nearly constant"],
    ]
    assert found.duplicates["pairs"].sum() == 0


def test_the_spread_is_the_largest_standard_deviation_of_a_channel() -> None:
    images = scenes(3, 0)
    expected = [max(image[..., c].std() for c in range(3)) for image in images]
    np.testing.assert_allclose(hash_images(images).spread, expected, rtol=1e-4)
