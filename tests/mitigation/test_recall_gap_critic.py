"""The critic of the batch's recall gap, as meant and as published."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from method_cases import TwoLayers, batch_of, mitigation_of, outputs_of_shapes, setup_of
from sklearn.metrics import recall_score

from fairkd.errors import ParameterError
from fairkd.metrics import recall_gap
from fairkd.mitigation import PublishedCritic, RecallGapCritic, ramp
from fairkd.models import Outputs

LABELS = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
GROUPS = [0, 0, 1, 1, 0, 1, 1, 1, 1, 1]  # class 2 has one group only
BATCH = batch_of(LABELS, GROUPS)


def answers(predicted: list[int], sharpness: float = 3.0) -> Outputs:
    logits = sharpness * torch.eye(3)[predicted] + 0.01 * torch.arange(3.0)
    return Outputs(logits, logits, logits[:, :, None, None], logits)


PREDICTED = [0, 0, 0, 1, 0, 1, 1, 0, 2, 0]


# As meant


def test_the_true_gaps_are_each_group_s_recall_minus_the_mean_over_the_groups():
    gaps, there = RecallGapCritic(3, 2).gaps(answers(PREDICTED), BATCH)
    # Recalls: class 0: 2/2 and 1/2; class 1: 0/1 and 2/3; class 2: group 1 only.
    expected = [[0.25, -0.25], [-1 / 3, 1 / 3], [0, 0]]
    np.testing.assert_allclose(gaps.numpy(), expected, atol=1e-6)
    assert there.tolist() == [True, True, False]


def test_the_batch_s_gap_is_that_of_the_metric():
    rng = np.random.default_rng(0)
    labels, groups = np.arange(60) % 3, np.arange(60) // 3 % 2
    predicted = np.where(rng.random(60) < 0.6, labels, rng.integers(0, 3, 60))
    batch = batch_of(labels.tolist(), groups.tolist())
    terms = RecallGapCritic(3, 2).losses(answers(predicted.tolist()), batch, 0.5)
    expected = recall_gap(labels, predicted, sensitive_features=groups)
    assert terms["batch_gap"].item() == pytest.approx(expected, rel=1e-5)
    recalls = [recall_score(labels[groups == g], predicted[groups == g], average=None) for g in (0, 1)]
    assert expected == pytest.approx(np.abs(recalls[0] - recalls[1]).mean())


def test_more_than_two_groups_and_missing_ones():
    batch = batch_of([0, 0, 0, 0], [0, 1, 2, -1])
    gaps, there = RecallGapCritic(2, 3).gaps(
        Outputs(*(torch.tensor([[1.0, 0], [0, 1.0], [1.0, 0], [0, 1.0]]),) * 4), batch
    )
    np.testing.assert_allclose(gaps.numpy(), [[1 / 3, -2 / 3, 1 / 3], [0, 0, 0]], atol=1e-6)
    assert there.tolist() == [True, False]


def test_the_critic_reads_the_whole_batch_as_a_set():
    critic, outputs = RecallGapCritic(3, 2), outputs_of_shapes(0, 10)
    whole = critic(outputs.logits, BATCH.labels, BATCH.groups)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    shuffled = critic(outputs.logits[order], BATCH.labels[order], BATCH.groups[order])
    torch.testing.assert_close(shuffled, whole)
    # Samples of classes with two groups: each one matters.
    for row in range(8):
        logits = outputs.logits.clone()
        logits[row] = logits[row].flip(0) + torch.tensor([3.0, 0.0, -3.0])
        assert not torch.allclose(critic(logits, BATCH.labels, BATCH.groups), whole), row


def test_predictions_are_signed_within_one_and_zero_where_there_is_no_gap():
    critic, outputs = RecallGapCritic(3, 2), outputs_of_shapes(0, 10)
    with torch.no_grad():
        for parameter in critic.cell.parameters():
            parameter.mul_(30)
    gaps = critic(outputs.logits, BATCH.labels, BATCH.groups)
    assert gaps.shape == (3, 2) and gaps.abs().max() <= 1
    assert (gaps[:2].prod(dim=1) < 0).all(), "of two groups one is above the mean and one below"
    assert gaps[2].tolist() == [0, 0]


def test_the_critic_learns_the_squared_error_and_the_network_the_predicted_gap():
    torch.manual_seed(0)
    network, critic, inputs = TwoLayers(), RecallGapCritic(3, 2, weight=2.0), torch.randn(10, 4)
    outputs = network(inputs)
    terms = critic.losses(outputs, BATCH, 0.4)
    predicted = critic(outputs.logits, BATCH.labels, BATCH.groups)
    true, _ = critic.gaps(outputs, BATCH)
    error = ((predicted - true)[:2] ** 2).sum() / 2
    torch.testing.assert_close(terms["adversary_loss"], error)
    torch.testing.assert_close(terms["predicted_gap"], predicted[:2].abs().sum() / 2)
    own = torch.autograd.grad(error, list(critic.parameters()), retain_graph=True)
    task = torch.nn.functional.cross_entropy(outputs.logits, BATCH.labels)
    pulled = task + 2.0 * ramp(0.4) * predicted[:2].abs().sum() / 2
    expected = torch.autograd.grad(pulled, list(network.parameters()), retain_graph=True)
    plain = torch.autograd.grad(task, list(network.parameters()), retain_graph=True)
    critic.backward(task, terms, network, 0.4)
    for module, gradients in ((critic, own), (network, expected)):
        for parameter, gradient in zip(module.parameters(), gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)
    assert not any(torch.allclose(p.grad, g) for p, g in zip(network.parameters(), plain, strict=True))


def test_a_trained_critic_knows_the_sign_and_size_of_the_gap():
    """Random predictors whose recall differs by group: the critic's error falls far below that of always 0."""
    torch.manual_seed(0)
    critic = RecallGapCritic(2, 2, learning_rate=0.01)
    optimizer = torch.optim.Adam(critic.parameters(), 0.01)
    rng, errors, baseline = np.random.default_rng(0), [], []
    labels, groups = np.arange(80) % 2, np.arange(80) // 2 % 2
    batch = batch_of(labels.tolist(), groups.tolist())
    for step in range(300):
        skill = rng.uniform(0, 1, (2, 2))[labels, groups]
        predicted = np.where(rng.random(80) < skill, labels, 1 - labels)
        logits = 4 * torch.eye(2)[predicted]
        outputs = Outputs(logits, logits, logits, logits)
        loss = critic.losses(outputs, batch, 0.5)["adversary_loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= 250:
            true, _ = critic.gaps(outputs, batch)
            errors.append(loss.item())
            baseline.append(true.square().sum().item() / 2)
    assert np.mean(errors) < 0.05 * np.mean(baseline)


# As published


class TestPublished:
    weight: ClassVar[float] = 2.0

    def make(self) -> PublishedCritic:
        made = mitigation_of("published_critic", setup_of(adversary_weight=self.weight))
        assert isinstance(made, PublishedCritic)
        return made

    def test_it_reads_the_first_sample_s_logits_and_nothing_else(self):
        critic, outputs = self.make(), outputs_of_shapes(0, 10)
        first = critic.losses(outputs, BATCH, 0.5)["predicted_gap"]
        others = outputs._replace(logits=torch.cat([outputs.logits[:1], outputs.logits[1:] + 5]))
        assert critic.losses(others, BATCH, 0.5)["predicted_gap"] == first
        moved = outputs._replace(logits=outputs.logits + torch.tensor([2.0, 0.0, 0.0]))
        assert critic.losses(moved, BATCH, 0.5)["predicted_gap"] != first

    def test_it_cannot_say_that_the_gap_is_negative(self):
        critic = self.make()
        for scale in (1.0, 100.0, -100.0):
            outputs = outputs_of_shapes(0, 10)
            value = critic.losses(outputs._replace(logits=scale * outputs.logits), BATCH, 0.5)[
                "predicted_gap"
            ]
            assert 0 <= value <= 1

    def test_it_learns_the_signed_mean_gap(self):
        critic, outputs = self.make(), answers(PREDICTED)
        terms = critic.losses(outputs, BATCH, 0.5)
        gap = ((1 / 2 - 2 / 2) + (2 / 3 - 0)) / 2
        assert terms["batch_gap"].item() == pytest.approx(gap, abs=1e-6)
        assert terms["adversary_loss"].item() == pytest.approx((terms["predicted_gap"].item() - gap) ** 2)

    @pytest.mark.parametrize("bias", [-3.0, 0.3, 3.0])
    def test_it_multiplies_the_network_s_gradient_by_a_number_of_at_least_one(self, bias):
        torch.manual_seed(0)
        network, critic = TwoLayers(), self.make()
        with torch.no_grad():
            critic.layers[2].weight.zero_()
            critic.layers[2].bias.fill_(bias)
        outputs = network(torch.randn(10, 4))
        task = torch.nn.functional.cross_entropy(outputs.logits, BATCH.labels)
        plain = torch.autograd.grad(task, list(network.parameters()), retain_graph=True)
        critic.backward(task, critic.losses(outputs, BATCH, 0.5), network, 0.5)
        output = 1 / (1 + math.exp(-bias))
        factor = max(1.0, self.weight * (abs(output) - 0.5 + 0.01) + 1)
        assert (factor > 1) == (bias > 0)
        for parameter, gradient in zip(network.parameters(), plain, strict=True):
            torch.testing.assert_close(parameter.grad, factor * gradient)
        assert all(parameter.grad is not None for parameter in critic.parameters())

    def test_three_groups_are_refused(self):
        with pytest.raises(
            ParameterError, match=r"critic_published=True .* 3 groups: .*critic_published=False"
        ):
            mitigation_of("published_critic", setup_of(groups=3))
