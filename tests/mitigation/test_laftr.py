"""LAFTR: the group-normalised L1 loss, written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from method_cases import TwoLayers, batch_of, mitigation_of, setup_of
from scipy.special import softmax

from fairkd.mitigation import ramp

LABELS, GROUPS = [0, 0, 0, 1, 1, 2], [0, 0, 1, 0, 1, 1]


def make(**options):
    torch.manual_seed(0)
    adversary = mitigation_of("laftr", setup_of(adversary_input="logits", adversary_penalty=0.0, **options))
    return TwoLayers(), adversary, torch.randn(len(LABELS), 4)


@pytest.mark.parametrize("sees_label", [True, False])
def test_the_loss_is_half_the_l1_distance_averaged_cell_by_cell(sees_label):
    network, adversary, inputs = make(adversary_sees_label=sees_label)
    batch, outputs = batch_of(LABELS, GROUPS), network(inputs)
    with torch.no_grad():
        answers = softmax(adversary(outputs.logits, batch.labels).double().numpy(), axis=1)
    distance = np.abs(answers - np.eye(2)[GROUPS]).sum(axis=1) / 2
    cells = list(zip(LABELS, GROUPS, strict=True)) if sees_label else GROUPS
    means = [np.mean([d for d, c in zip(distance, cells, strict=True) if c == cell]) for cell in set(cells)]
    terms = adversary.losses(outputs, batch, 0.5)
    assert terms["adversary_loss"].item() == pytest.approx(np.mean(means), rel=1e-5)


def test_a_missing_group_and_repeated_samples_of_a_cell_count_nothing():
    network, adversary, inputs = make()
    plain = adversary.losses(network(inputs), batch_of(LABELS, GROUPS), 0.5)["adversary_loss"]
    more = torch.cat([inputs, inputs[:1] * 9, inputs[3:4], inputs[3:4]])
    # The cell (1, 0) holds one sample, three times now.
    batch = batch_of([*LABELS, 2, 1, 1], [*GROUPS, -1, 0, 0])
    torch.testing.assert_close(adversary.losses(network(more), batch, 0.5)["adversary_loss"], plain)


def test_the_network_receives_the_loss_s_gradient_reversed():
    network, adversary, inputs = make(adversary_weight=2.0)
    batch, outputs = batch_of(LABELS, GROUPS), network(inputs)
    terms = adversary.losses(outputs, batch, 0.4)
    task = outputs.logits.sum() * 0
    adversary.backward(task, terms, network, 0.4)
    outputs = network(inputs)
    missed = 1 - adversary(outputs.logits, batch.labels).softmax(dim=1)[range(6), batch.groups]
    loss = (missed[:2].mean() + missed[2:].sum()) / 5
    expected = torch.autograd.grad(loss, list(network.parameters()))
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, -2.0 * ramp(0.4) * gradient)


def test_balanced_weights_change_nothing():
    values = []
    for balanced in (True, False):
        torch.manual_seed(0)
        setup = setup_of(torch.tensor([[8, 2], [1, 5], [4, 1]]), adversary_balanced=balanced)
        outputs = TwoLayers()(torch.ones(6, 4))
        values.append(mitigation_of("laftr", setup).losses(outputs, batch_of(LABELS, GROUPS), 0.5))
    assert values[0]["adversary_loss"] == values[1]["adversary_loss"]
