"""Weights, draws and the worst group first: each against its definition, written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_cases import batch_of, mitigation_of, outputs_of_shapes, setup_of

from fairkd.data.batches import AugmentedImages, BatchStream
from fairkd.data.splits import ImageSet
from fairkd.mitigation import ClassWeighted, GroupDRO, Reweighting, create_mitigation

COUNTS = torch.tensor([[8, 2], [1, 5], [4, 0]])


# Reweighting


def test_reweighting_is_the_mean_weighed_by_one_over_the_cell_s_size():
    losses = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    batch = batch_of([0, 0, 1, 1, 2], [0, 1, 0, 1, 0])
    weights = [1 / 8, 1 / 2, 1 / 1, 1 / 5, 1 / 4]
    expected = np.dot(weights, losses.numpy()) / sum(weights)
    assert Reweighting(COUNTS).reduce(losses, batch).item() == pytest.approx(expected, rel=1e-6)


def test_reweighting_over_the_training_set_is_the_mean_over_its_cells():
    rng = np.random.default_rng(0)
    labels, groups = ([v for c in range(3) for g in range(2) for v in [k(c, g)] * int(COUNTS[c, g])] for k in
                      (lambda c, g: c, lambda c, g: g))  # fmt: skip
    losses = torch.from_numpy(rng.random(20)).float()
    cells = 2 * np.array(labels) + np.array(groups)
    expected = np.mean([losses.numpy()[cells == cell].mean() for cell in np.unique(cells)])
    assert Reweighting(COUNTS).reduce(losses, batch_of(labels, groups)).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_reweighting_keeps_a_constant_and_gives_a_missing_group_the_mean_weight():
    reweighting = Reweighting(COUNTS)
    batch = batch_of([0, 1, 2], [0, -1, -1])
    assert reweighting.reduce(torch.full((3,), 7.0), batch).item() == pytest.approx(7)
    # 20 samples in 5 filled cells: the weight of (0, 0) is 20 / 5 / 8.
    value = reweighting.reduce(torch.tensor([1.0, 0.0, 0.0]), batch)
    assert value.item() == pytest.approx(0.5 / 2.5)


# Resampling


def skewed(n: int = 60) -> ImageSet:
    """Cells of 36, 4, 6 and 10 samples and four samples without a group."""
    labels = np.array([0] * 40 + [1] * 16 + [0, 0, 1, 1])
    groups = np.array([0] * 36 + [1] * 4 + [0] * 6 + [1] * 10 + [-1] * 4)
    return ImageSet(np.zeros((n, 4, 4, 3), np.uint8), labels, groups, np.arange(n), np.arange(n))


def draws(seed: int, epochs: range) -> np.ndarray:
    data = skewed()
    resampling = mitigation_of("resampling", setup_of(classes=2))
    weights = resampling.sampling_weights(data.labels, data.groups)
    stream = BatchStream(AugmentedImages(data), 20, shuffle=True, sampling_weights=weights, seed=seed)
    return np.concatenate([batch.index.numpy() for epoch in epochs for batch in stream.epoch(epoch)])


def test_every_cell_is_drawn_alike_and_a_missing_group_as_often_as_it_occurs():
    epochs, data = 400, skewed()
    drawn = draws(0, range(epochs))
    assert len(drawn) == epochs * 60
    cells = np.where(data.groups < 0, 4, 2 * data.labels + data.groups)
    shares = np.bincount(cells[drawn], minlength=5) / len(drawn)
    # 56 samples of 60 have a group; four standard errors.
    expected = np.array([56 / 60 / 4] * 4 + [4 / 60])
    assert (np.abs(shares - expected) < 4 * np.sqrt(expected * (1 - expected) / len(drawn))).all()
    within = np.bincount(drawn, minlength=60)[36:40] / (cells[drawn] == 1).sum()
    assert within == pytest.approx([0.25] * 4, abs=0.03)


def test_draws_are_a_function_of_seed_and_epoch():
    first = draws(0, range(3))
    assert np.array_equal(first, draws(0, range(3)))
    assert np.array_equal(first[60:120], draws(0, range(1, 2)))
    assert not np.array_equal(first[:60], first[60:120])
    assert not np.array_equal(first, draws(1, range(3)))


def test_group_dro_draws_as_resampling_does_and_no_other_mitigation_changes_the_draws():
    labels, groups = skewed().labels, skewed().groups
    group_dro = mitigation_of("group_dro", setup_of(classes=2)).sampling_weights(labels, groups)
    resampling = mitigation_of("resampling", setup_of(classes=2)).sampling_weights(labels, groups)
    np.testing.assert_array_equal(group_dro, resampling)
    for name in ("none", "reweighting", "class_weighted", "domain_independent", "gradient_reversal"):
        assert mitigation_of(name, setup_of()).sampling_weights(labels, groups) is None


# Class-weighted cross-entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_weighted_is_torch_s_weighted_cross_entropy(smoothing):
    batch, outputs = batch_of([0, 0, 1, 2], [0, 1, 0, 0]), outputs_of_shapes(0, 4)
    mitigation = ClassWeighted(COUNTS.sum(dim=1))
    weight = 1 / torch.tensor([10.0, 6.0, 4.0])
    expected = F.cross_entropy(outputs.logits, batch.labels, weight=weight, label_smoothing=smoothing)
    loss = mitigation.task_loss(outputs, batch, label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected)


def test_class_weighted_without_smoothing_is_the_weighted_mean_written_out():
    batch, outputs = batch_of([0, 0, 1, 2], [0, 1, 0, -1]), outputs_of_shapes(0, 4)
    losses = -outputs.logits.double().log_softmax(dim=1)[range(4), batch.labels].numpy()
    weights = np.array([1 / 10, 1 / 10, 1 / 6, 1 / 4])
    loss = ClassWeighted(COUNTS.sum(dim=1)).task_loss(outputs, batch)
    assert loss.item() == pytest.approx((weights * losses).sum() / weights.sum(), rel=1e-5)


def test_class_weighted_does_not_read_groups():
    outputs = outputs_of_shapes(0, 4)
    values = [
        ClassWeighted(COUNTS.sum(dim=1)).task_loss(outputs, batch_of([0, 0, 1, 2], groups))
        for groups in ([0, 1, 0, 1], [1, 1, 1, 1], [-1, -1, -1, -1])
    ]
    assert values[0] == values[1] == values[2]


# Group DRO


def test_group_dro_is_sagawa_s_algorithm_over_several_steps():
    rng, step_size = np.random.default_rng(0), 0.3
    dro = create_mitigation("group_dro", setup_of(classes=2, dro_step_size=step_size))
    q = np.full(4, 1 / 4)
    for _ in range(6):
        # Every cell is in every batch, as in the paper.
        labels, groups = np.array([0, 0, 1, 1, 0, 1, 1]), np.array([0, 1, 0, 1, 1, 1, 0])
        losses = rng.random(7) * 5
        means = np.array([losses[(labels == c) & (groups == g)].mean() for c in (0, 1) for g in (0, 1)])
        q = q * np.exp(step_size * means)
        q = q / q.sum()
        value = dro.reduce(torch.from_numpy(losses).float(), batch_of(labels.tolist(), groups.tolist()))
        assert value.item() == pytest.approx(q @ means, rel=1e-4)
        np.testing.assert_allclose(dro.cell_weights.numpy(), q, rtol=1e-4)


def test_group_dro_without_a_cell_divides_by_the_share_of_those_that_are_there():
    dro = GroupDRO(2, 2, step_size=0.5)
    value = dro.reduce(torch.tensor([1.0, 3.0, 2.0]), batch_of([0, 0, 1], [0, 0, 1]))
    raw = np.array([math.exp(0.5 * 2.0), 1.0, 1.0, math.exp(0.5 * 2.0)]) / 4
    q = raw / raw.sum()
    np.testing.assert_allclose(dro.cell_weights.numpy(), q, rtol=1e-5)
    assert value.item() == pytest.approx((q[0] * 2 + q[3] * 2) / (q[0] + q[3]))


def test_group_dro_gives_missing_groups_their_share_of_the_batch_and_keeps_a_constant():
    dro, batch = GroupDRO(2, 2), batch_of([0, 1, 1, 0], [0, 1, -1, -1])
    assert dro.reduce(torch.full((4,), 3.0), batch).item() == pytest.approx(3)
    value = GroupDRO(2, 2).reduce(torch.tensor([0.0, 0.0, 1.0, 1.0]), batch)
    assert value.item() == pytest.approx(0.5)


def test_group_dro_s_gradient_weighs_samples_by_their_cell_and_spares_the_weights():
    dro = GroupDRO(2, 2, step_size=0.5)
    losses = torch.tensor([1.0, 3.0, 2.0], requires_grad=True)
    dro.reduce(losses, batch_of([0, 0, 1], [0, 0, 1])).backward()
    torch.testing.assert_close(losses.grad, torch.tensor([0.25, 0.25, 0.5]))
    assert not dro.cell_weights.requires_grad


def test_group_dro_moves_towards_the_worst_cell_and_survives_huge_losses():
    dro = GroupDRO(2, 2, step_size=1.0)
    for _ in range(50):
        value = dro.reduce(torch.tensor([1e4, 1.0]), batch_of([0, 1], [1, 0]))
    assert torch.isfinite(value) and value.item() == pytest.approx(1e4, rel=1e-3)
    assert dro.cell_weights[1].item() == pytest.approx(1)


def test_group_dro_comes_back_to_a_cell_that_was_the_best_for_long():
    dro, one, other = GroupDRO(2, 1, step_size=1.0), batch_of([0, 1], [0, 0]), batch_of([1], [0])
    for _ in range(300):
        dro.reduce(torch.tensor([1.0, 0.0]), one)
    losses = torch.ones(1, requires_grad=True)
    value = dro.reduce(losses, other)
    value.backward()
    assert value.item() == pytest.approx(1) and losses.grad.item() == pytest.approx(1)
    for _ in range(300):
        dro.reduce(torch.tensor([0.0, 1.0]), one)
    assert dro.cell_weights.tolist() == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)], rel=1e-3)


@pytest.mark.parametrize("name", ["reweighting", "group_dro"])
def test_these_weigh_the_losses_of_the_samples_and_the_others_do_not(name):
    assert mitigation_of(name, setup_of()).weighs_samples
    assert not mitigation_of("class_weighted", setup_of()).weighs_samples
