"""Uniform confusion: two losses, each of which reaches one side only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from method_cases import TwoLayers, batch_of, mitigation_of, setup_of
from scipy.special import log_softmax

from fairkd.mitigation import ramp


@pytest.fixture
def game():
    torch.manual_seed(0)
    network = TwoLayers()
    adversary = mitigation_of("uniform_confusion", setup_of(groups=3, adversary_weight=2.0))
    batch = batch_of([0, 1, 2, 0], [0, 1, 2, -1])
    outputs = network(torch.randn(4, 4))
    return network, adversary, outputs, batch, adversary.losses(outputs, batch, 0.4)


def gradients(loss, module):
    return torch.autograd.grad(loss, list(module.parameters()), retain_graph=True, allow_unused=True)


def test_confusion_is_the_cross_entropy_of_the_uniform_distribution_over_the_known(game):
    _, adversary, outputs, batch, terms = game
    with torch.no_grad():
        answers = adversary(outputs.features, batch.labels).double().numpy()
    a_sample = -log_softmax(answers, axis=1).mean(axis=1)
    assert terms["confusion_loss"].item() == pytest.approx(a_sample[:3].sum() / 4, rel=1e-5)
    assert a_sample.min() >= np.log(3), "it is least where the adversary guesses"


def test_the_adversary_s_own_loss_does_not_reach_the_network_nor_confusion_the_adversary(game):
    network, adversary, _, _, terms = game
    own = terms["adversary_loss"] + terms["adversary_penalty"]
    assert all(g is None for g in gradients(own, network))
    assert all(g is not None and g.abs().sum() > 0 for g in gradients(own, adversary))
    assert all(g is None for g in gradients(terms["confusion_loss"], adversary))
    assert all(g.abs().sum() > 0 for g in gradients(terms["confusion_loss"], network.first))


def test_both_sides_are_left_the_gradients_of_their_own_loss(game):
    network, adversary, outputs, batch, terms = game
    task = torch.nn.functional.cross_entropy(outputs.logits, batch.labels)
    own = gradients(terms["adversary_loss"] + terms["adversary_penalty"], adversary)
    expected = gradients(task + 2.0 * ramp(0.4) * terms["confusion_loss"], network)
    adversary.backward(task, terms, network, 0.4)
    for module, wanted in ((network, expected), (adversary, own)):
        for parameter, gradient in zip(module.parameters(), wanted, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)
