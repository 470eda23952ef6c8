"""Saliency against networks whose maps are known in closed form, and overlap against loops."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from analysis_cases import balanced, predictions
from scipy import stats
from torch import nn

from fairkd.analysis import (
    map_overlap,
    saliency_examples,
    saliency_maps,
    saliency_method,
    saliency_overlap,
)
from fairkd.analysis.saliency import _LastMaps
from fairkd.errors import DataError, ParameterError
from fairkd.metrics.clusters import cluster_mean
from fairkd.models import Network, create_model

pytest.importorskip("captum")


class Linear(nn.Module):
    """Last maps: the normalised image; logits: a linear function of each channel's mean."""

    def __init__(self, weight: list[list[float]]) -> None:
        super().__init__()
        self.fc = nn.Linear(3, len(weight), bias=False)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor(weight))

    def forward_features(self, images):
        return images

    def forward_head(self, maps, pre_logits=False):
        return maps.mean(dim=(2, 3))

    def get_classifier(self):
        return self.fc


WEIGHT = [[1.0, 0.5, -0.5], [-2.0, 0.25, 1.0]]
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.5]


@pytest.fixture
def linear() -> Network:
    return Network(Linear(WEIGHT), MEAN, STD)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)


CLASSES = np.array([0, 1, 0, 1, 1])


# Maps


def test_gradcam_of_a_linear_network_is_the_weighted_sum_of_its_maps(linear, images):
    normalised = (images / 255 - MEAN) / STD
    # d logit_c / d A_k(x, y) = w_ck / (height * width), everywhere.
    expected = np.maximum((normalised * np.array(WEIGHT)[CLASSES][:, None, None]).sum(axis=3) / 48, 0)
    maps = saliency_maps(linear, images, CLASSES)
    assert maps.shape == (5, 8, 6) and maps.dtype == np.float32
    assert (expected > 0).any(axis=(1, 2)).all() and (expected == 0).any()
    np.testing.assert_allclose(maps, expected, atol=1e-6)


def test_integrated_gradients_of_a_linear_network_are_weight_times_distance_to_the_mean(linear, images):
    scaled = (images / 255 - MEAN) * np.array(WEIGHT)[CLASSES][:, None, None] / STD / 48
    maps = saliency_maps(linear, images, CLASSES, "integrated_gradients")
    np.testing.assert_allclose(maps, scaled.sum(axis=3), atol=1e-6)


def test_integrated_gradients_sum_to_the_difference_of_the_logits():
    network = create_model("resnet8_cifar", 4, image_size=16, seed=0).eval()
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    classes = np.arange(40) % 4
    maps = saliency_maps(network, images, classes, "integrated_gradients")
    with torch.no_grad():
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2)).logits
        baseline = network(network.mean.expand(1, 3, 16, 16)).logits
    difference = (logits - baseline)[range(40), classes].numpy()
    assert np.abs(difference).max() > 0.01
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), difference, atol=0.05 * np.abs(difference).max())


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_mambaout"])
def test_the_layer_for_gradcam_changes_no_logit(name):
    network = create_model(name, 3, image_size=32, seed=0).eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(_LastMaps(network)(images), network(images).logits)


@pytest.mark.parametrize("method", ["gradcam", "integrated_gradients"])
@pytest.mark.parametrize("frozen", [False, True])
def test_the_network_is_left_as_it_was_found(method, frozen):
    network = create_model("resnet8_cifar", 3, image_size=16, seed=0).train()
    network.requires_grad_(not frozen)
    network.backbone.get_classifier().eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    with torch.no_grad():
        first, second = (saliency_maps(network, images, np.arange(3), method) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(parameter.requires_grad is not frozen for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_the_batch_an_image_is_in_plays_no_part(linear):
    images = np.random.default_rng(1).integers(0, 256, (70, 4, 4, 3), dtype=np.uint8)
    classes = np.arange(70) % 2
    alone = np.concatenate([saliency_maps(linear, images[i : i + 1], classes[i : i + 1]) for i in range(70)])
    np.testing.assert_allclose(saliency_maps(linear, images, classes), alone, atol=1e-6)


def test_gradcam_is_nan_where_it_points_nowhere(linear):
    one_position = create_model("test_resnet", 3, image_size=32, stem="original", seed=0).eval()
    with torch.no_grad():
        assert one_position(torch.zeros(1, 3, 32, 32)).maps.shape[2:] == (1, 1)
    class_token = create_model("test_vit", 3, image_size=32, seed=0)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    for network in (one_position, class_token):
        assert np.isnan(saliency_maps(network, images, np.array([0, 1]))).all()
        assert np.isfinite(saliency_maps(network, images, np.array([0, 1]), "integrated_gradients")).all()
    # White: class 0's evidence is 1 * 3 + .5 * 2 - .5 * .8 > 0 at every pixel.
    assert np.isnan(saliency_maps(linear, np.full((1, 4, 4, 3), 255, dtype=np.uint8), np.array([0]))).all()


@pytest.mark.parametrize("name", ["test_convnext", "test_mambaout", "test_vit2"])
def test_maps_tokens_and_channels_last_can_be_explained(name):
    network = create_model(name, 3, image_size=32, seed=0)
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    maps = saliency_maps(network, images, np.arange(6) % 3)
    known = ~np.isnan(maps).any(axis=(1, 2))
    assert maps.shape == (6, 32, 32) and known.any()
    assert (maps[known] >= 0).all() and (np.ptp(maps[known], axis=(1, 2)) > 0).all()


def test_what_cannot_be_explained_is_named(linear, images):
    with pytest.raises(
        ParameterError, match="method='lime' is unknown: allowed: gradcam, integrated_gradients"
    ):
        saliency_maps(linear, images, CLASSES, "lime")
    with pytest.raises(DataError, match="uint8"):
        saliency_maps(linear, images / 255, CLASSES)
    with pytest.raises(DataError, match="5 images and 4 classes"):
        saliency_maps(linear, images, CLASSES[:4])


# Overlap


def overlap_of(one: np.ndarray, other: np.ndarray, count: int) -> float:
    """Intersection over union of the pixels with the largest values, for maps without ties."""
    first, second = (set(np.argsort(flat.ravel())[-count:]) for flat in (one, other))
    return len(first & second) / len(first | second)


@pytest.fixture
def cases():
    """Maps without ties for 3 classes x 3 groups x 4 samples, in units of two rows."""
    rng = np.random.default_rng(0)
    labels, groups = balanced(3, 3, 4)
    maps = rng.random((36, 5, 4))
    mixed = 0.6 * maps + 0.4 * rng.random((36, 5, 4))
    return maps, mixed, predictions(labels, groups, labels >= 0, unit=np.arange(36) // 2)


def test_overlap_is_that_of_scipy_and_of_sets_with_means_by_group(cases):
    maps, mixed, truth = cases
    table = map_overlap(maps, mixed, truth, share=0.25)
    correlation = [stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(maps, mixed, strict=True)]
    overlap = [overlap_of(a, b, 5) for a, b in zip(maps, mixed, strict=True)]
    for metric, values in (("rank_correlation", correlation), ("top_overlap", overlap)):
        rows = table[table["metric"] == metric].set_index("group")
        assert rows.index.tolist() == ["all", "g0", "g1", "g2"]
        for code, name in enumerate(rows.index, start=-1):
            chosen = np.full(36, True) if code < 0 else truth.groups == code
            expected = cluster_mean(np.array(values)[chosen], truth.units[chosen])
            assert tuple(rows.loc[name, ["value", "low", "high"]]) == pytest.approx(expected)
            assert rows.loc[name, "n"] == chosen.sum() and rows.loc[name, "undefined"] == 0
            if code >= 0:
                rest = np.array(values)[~chosen].mean()
                assert rows.loc[name, "difference"] == pytest.approx(np.array(values)[chosen].mean() - rest)
        assert (rows["p_adjusted"].iloc[1:] >= rows["p_value"].iloc[1:]).all()
        assert rows["p_adjusted"].min() == pytest.approx(min(1, 3 * rows["p_value"].min()))


def test_maps_without_relation_are_at_chance():
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 2
    truth = predictions(labels, labels, np.ones(300, dtype=bool))
    table = map_overlap(rng.random((300, 20, 20)), rng.random((300, 20, 20)), truth, share=0.25)
    rows = table[table["group"] == "all"]
    assert rows["chance"].tolist() == [0, 0.25 / 1.75]
    assert rows["value"].to_numpy() == pytest.approx(rows["chance"].to_numpy(), abs=0.01)


def test_the_difference_of_independent_samples_is_welch_s_but_for_the_factor(cases):
    maps, mixed, truth = cases
    frame = truth.frame.assign(unit=np.arange(36))
    table = map_overlap(maps, mixed, type(truth)(frame))
    values = np.array(
        [stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(maps, mixed, strict=True)]
    )
    row = table[(table["metric"] == "rank_correlation") & (table["group"] == "g1")].iloc[0]
    parts = values[truth.groups == 1], values[truth.groups != 1]
    error = np.sqrt(36 / 35 * sum(part.var() / len(part) for part in parts))
    assert row["difference_high"] - row["difference"] == pytest.approx(stats.t.ppf(0.975, 35) * error)
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(abs(row["difference"]) / error, 35))


def test_a_student_that_looks_elsewhere_for_one_group_is_found_and_another_is_not():
    rng = np.random.default_rng(0)
    labels, groups = balanced(2, 2, 60)
    maps = rng.random((240, 6, 6))
    elsewhere = np.where((groups == 1)[:, None, None], maps[:, ::-1], maps + 0.3 * rng.random((240, 6, 6)))
    truth = predictions(labels, groups, labels >= 0)
    found = map_overlap(maps, elsewhere, truth).set_index(["metric", "group"])
    for metric in ("rank_correlation", "top_overlap"):
        row = found.loc[(metric, "g1")]
        assert row["difference_high"] < 0 and row["p_adjusted"] < 1e-6
        assert row["p_adjusted"] == row["p_value"] == found.loc[(metric, "g0"), "p_value"]
    same = map_overlap(maps, maps + 0.3 * rng.random((240, 6, 6)), truth).set_index(["metric", "group"])
    assert (same.loc[(slice(None), "g1"), "p_value"] > 0.05).all()


def test_the_same_unit_in_both_groups_counts_as_one():
    """Each unit's overlap is the same in both groups: the groups do not differ, whatever the units do."""
    rng = np.random.default_rng(0)
    maps = np.repeat(rng.random((30, 4, 4)), 2, axis=0)
    other = np.repeat(rng.random((30, 4, 4)), 2, axis=0)
    labels, groups = np.repeat(np.arange(30) % 2, 2), np.tile([0, 1], 30)
    truth = predictions(labels, groups, labels >= 0, unit=np.repeat(np.arange(30), 2))
    row = map_overlap(maps, other, truth).set_index(["metric", "group"]).loc[("rank_correlation", "g0")]
    assert row["difference"] == pytest.approx(0, abs=1e-12)
    assert np.isnan(row["p_value"]) or row["p_value"] > 0.999 or abs(row["difference_high"]) < 1e-12


def test_equal_maps_overlap_in_full_and_ties_at_the_bottom_do_not_count():
    maps = np.zeros((4, 4, 5))
    maps[:, 0, :2] = 1.0
    other = np.zeros((4, 4, 5))
    other[:, 3, :2] = 1.0
    truth = predictions(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), np.full(4, True))
    equal = map_overlap(maps, maps, truth, share=0.5)
    np.testing.assert_allclose(equal["value"], 1)
    apart = map_overlap(maps, other, truth, share=0.5)
    assert (apart.loc[apart["metric"] == "top_overlap", "value"] == 0).all()


def test_maps_that_point_nowhere_are_counted_and_left_out(cases):
    maps, mixed, truth = cases
    maps = maps.copy()
    maps[truth.groups == 2] = np.nan
    maps[0] = 1.0
    table = map_overlap(maps, mixed, truth).set_index(["metric", "group"])
    for metric in ("rank_correlation", "top_overlap"):
        assert table.loc[(metric, "all"), ["n", "undefined"]].tolist() == [23, 13]
        assert table.loc[(metric, "g2"), ["n", "undefined"]].tolist() == [0, 12]
        assert table.loc[(metric, "g2"), ["value", "difference", "p_value", "p_adjusted"]].isna().all()
        assert table.loc[(metric, "g0"), "p_value"] <= 1
    every = map_overlap(np.full_like(maps, np.nan), mixed, truth)
    assert every["value"].isna().all() and (every["n"] == 0).all()


def test_a_single_group_and_missing_groups_have_nothing_to_be_compared_with(cases):
    maps, mixed, truth = cases
    alone = predictions(truth.labels, np.zeros(36, dtype=int), truth.labels >= 0)
    table = map_overlap(maps, mixed, alone)
    assert table["difference"].isna().all() and table["value"].notna().all()
    groups = np.where(truth.groups == 2, -1, truth.groups)
    missing = map_overlap(maps, mixed, predictions(truth.labels, groups, truth.labels >= 0))
    assert missing.set_index(["metric", "group"]).loc[("top_overlap", "all"), "n"] == 36
    two = predictions(truth.labels[groups >= 0], groups[groups >= 0], truth.labels[groups >= 0] >= 0)
    kept = map_overlap(maps[groups >= 0], mixed[groups >= 0], two)
    pd.testing.assert_frame_equal(missing[missing["group"] != "all"], kept[kept["group"] != "all"])


def test_maps_that_do_not_fit_are_named(cases):
    maps, mixed, truth = cases
    with pytest.raises(DataError, match="do not fit"):
        map_overlap(maps[:5], mixed[:5], truth)
    with pytest.raises(DataError, match="do not fit"):
        map_overlap(maps, mixed[:, :3], truth)
    with pytest.raises(ParameterError, match="share=1"):
        map_overlap(maps, mixed, truth, share=1)


# From networks


@pytest.fixture
def two_networks() -> tuple[Network, Network]:
    return tuple(create_model("resnet8_cifar", 3, image_size=16, seed=seed).eval() for seed in (0, 1))


@pytest.mark.parametrize("method", ["gradcam", "integrated_gradients"])
def test_the_overlap_of_networks_is_that_of_their_maps_on_whole_units(two_networks, tiny_splits, method):
    images = tiny_splits.test
    paired = dataclasses.replace(images, unit=np.arange(24) // 2)
    truth = predictions(images.labels, images.groups, images.labels >= 0, unit=paired.unit)
    maps = [saliency_maps(network, images.images, images.labels, method) for network in two_networks]
    expected = map_overlap(*maps, truth).assign(method=method)
    pd.testing.assert_frame_equal(saliency_overlap(*two_networks, paired, truth, method=method), expected)
    some = saliency_overlap(*two_networks, paired, truth, method=method, most=7)
    total = some[some["group"] == "all"]
    assert (total["n"] + total["undefined"] == 8).all()
    with pytest.raises(DataError, match="24 images and 12 predictions"):
        saliency_overlap(*two_networks, paired, type(truth)(truth.frame.iloc[:12]))
    with pytest.raises(ParameterError, match="most=0"):
        saliency_overlap(*two_networks, paired, truth, most=0)


def test_the_method_is_gradcam_only_where_it_points_somewhere_for_each_network(two_networks):
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    without = create_model("test_vit", 3, image_size=32, seed=0)
    assert saliency_method(two_networks, images, np.arange(4) % 3) == "gradcam"
    assert saliency_method([two_networks[0], without], images, np.arange(4) % 3) == "integrated_gradients"


# Examples


def test_examples_are_the_lost_images_of_each_group_then_the_least_certain():
    labels, groups = balanced(2, 2, 3)
    rng = np.random.default_rng(0)
    right = np.ones(12, dtype=bool)
    right[[1, 9]] = False
    teacher = predictions(labels, groups, labels >= 0)
    probabilities = rng.uniform(0.55, 0.95, 12)
    chances = np.stack([probabilities, 1 - probabilities], axis=1)
    chances = np.where((labels == 1)[:, None], chances[:, ::-1], chances)
    chances[~right] = chances[~right, ::-1]
    student = predictions(labels, groups, right, probabilities=chances)
    # The rows come in another order than their index.
    order = rng.permutation(12)
    shuffled = type(teacher)(teacher.frame.iloc[order].reset_index(drop=True))
    table = saliency_examples(shuffled, student, per_group=2)
    assert table["group"].tolist() == ["g0", "g0", "g1", "g1"]
    assert order[table["row"]].tolist() == table["index"].tolist()
    for group, lost in (("g0", 1), ("g1", 9)):
        rows = table[table["group"] == group]
        others = np.flatnonzero((groups == int(group[1])) & right)
        assert rows["index"].tolist() == [lost, others[probabilities[others].argmin()]]
        assert rows["reason"].tolist() == ["teacher right, student wrong", "student least certain"]
    with pytest.raises(ParameterError, match="per_group=0"):
        saliency_examples(teacher, student, per_group=0)


def test_examples_leave_out_images_without_a_group_and_take_what_there_is():
    labels, groups = balanced(2, 2, 2)
    groups[:3] = -1
    teacher = predictions(labels, groups, labels >= 0)
    table = saliency_examples(teacher, teacher, per_group=9)
    assert sorted(table["row"]) == list(range(3, 8))
