"""Batches that lack a group or a class, hold one sample, or miss groups: every mitigation stays defined."""

from __future__ import annotations

import pytest
import torch
from method_cases import ALL_MITIGATIONS, MITIGATIONS, TwoLayers, batch_of, mitigation_of, setup_of

from fairkd.training import task_step

BATCHES = {
    "one sample": ([0], [0]),
    "one cell": ([0, 0, 0], [1, 1, 1]),
    "one group": ([0, 1, 2], [1, 1, 1]),
    "one class": ([2, 2, 2], [0, 1, 0]),
    "no group known": ([0, 1, 2], [-1, -1, -1]),
    "one group missing": ([0, 1, 2, 1], [0, -1, 1, 1]),
    "one sample, missing": ([1], [-1]),
    "a cell without training samples": ([0, 2, 2], [0, 1, 0]),
}
COUNTS = torch.tensor([[9, 1], [2, 7], [0, 4]])


@pytest.mark.parametrize("reads", ["features", "logits"])
@pytest.mark.parametrize("name", ALL_MITIGATIONS)
@pytest.mark.parametrize("case", BATCHES)
def test_odd_batches_give_finite_losses_and_gradients(name, case, reads):
    torch.manual_seed(0)
    network, batch = TwoLayers(), batch_of(*BATCHES[case])
    mitigation = mitigation_of(name, setup_of(COUNTS, adversary_input=reads))
    mitigation.prepare(network)
    outputs = network(torch.randn(len(batch.labels), 4))
    task = task_step(mitigation, label_smoothing=0.1)(outputs, batch, 0.5)["loss"]
    terms = mitigation.losses(outputs, batch, 0.5)
    mitigation.backward(task, terms, network, 0.5)
    assert task.shape == () and torch.isfinite(task)
    assert all(bool(torch.isfinite(value).all()) for value in terms.values())
    gradients = [p.grad for p in [*network.parameters(), *mitigation.parameters()] if p.grad is not None]
    assert len(gradients) >= len(list(network.parameters()))
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    assert all(bool(torch.isfinite(buffer).all()) for buffer in mitigation.buffers())


@pytest.mark.parametrize("name", sorted(set(ALL_MITIGATIONS) - {"domain_discriminative"}))
def test_a_batch_without_known_groups_trains_the_task_as_without_mitigation(name):
    """Domain-discriminative training has no such equivalent: its missing groups train a class's probability."""
    gradients, inputs = [], torch.randn(3, 4)
    for chosen in ("none", name):
        torch.manual_seed(0)
        network, batch = TwoLayers(), batch_of([0, 1, 2], [-1, -1, -1])
        mitigation = mitigation_of(chosen, setup_of())
        # Heads of equal weights answer like one.
        mitigation.prepare(network)
        outputs = network(inputs)
        task = task_step(mitigation)(outputs, batch, 0.5)["loss"]
        mitigation.backward(task, mitigation.losses(outputs, batch, 0.5), network, 0.5)
        gradients.append([p.grad for p in network.first.parameters()])
    for plain, mitigated in zip(*gradients, strict=True):
        torch.testing.assert_close(mitigated, plain)


@pytest.mark.parametrize("name", ["class_weighted", "reweighting", "group_dro", "domain_discriminative"])
def test_training_data_without_any_known_group_still_train_the_labels(name):
    torch.manual_seed(0)
    network, batch = TwoLayers(), batch_of([0, 1, 2], [-1, -1, -1])
    mitigation = mitigation_of(name, setup_of(torch.zeros(3, 2, dtype=torch.int64)))
    mitigation.prepare(network)
    task = task_step(mitigation)(network(torch.randn(3, 4)), batch, 0.5)["loss"]
    task.backward()
    assert torch.isfinite(task) and task > 0
    assert network.first.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", MITIGATIONS)
def test_three_groups_are_as_good_as_two(name):
    torch.manual_seed(0)
    network, batch = TwoLayers(), batch_of([0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0])
    mitigation = mitigation_of(name, setup_of(groups=3))
    mitigation.prepare(network)
    outputs = network(torch.randn(6, 4))
    assert outputs.logits.shape == (6, 3)
    task = task_step(mitigation)(outputs, batch, 0.9)["loss"]
    mitigation.backward(task, mitigation.losses(outputs, batch, 0.9), network, 0.9)
    assert all(bool(torch.isfinite(p.grad).all()) for p in network.parameters())
