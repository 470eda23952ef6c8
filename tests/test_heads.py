"""Several class heads on one network, and how they become one answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import nn

from fairkd.errors import ParameterError
from fairkd.heads import MeanReadout, PriorShiftReadout, add_heads, fold_heads, split_heads
from fairkd.models import Network, create_model

FAMILIES = [
    "resnet8_cifar",
    "test_vit",
    "mobilenetv3_small_050",
    "convnext_atto",
    "regnetx_002",
    "test_resnet",
]


def make(name: str = "resnet8_cifar") -> Network:
    return create_model(name, 3, image_size=32, seed=0).eval()


def images() -> torch.Tensor:
    return torch.randint(
        0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def classifier(network: Network) -> nn.Linear:
    assert isinstance(network.classifier, nn.Linear)
    return network.classifier


def scramble(network: Network) -> None:
    with torch.no_grad():
        for parameter in network.classifier.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1))


def test_scores_are_cut_head_by_head():
    scores = torch.arange(12.0).reshape(2, 6)
    assert split_heads(scores, 2).tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    assert MeanReadout(2)(scores).tolist() == [[1.5, 2.5, 3.5], [7.5, 8.5, 9.5]]


@pytest.mark.parametrize("name", FAMILIES)
def test_new_heads_start_as_the_plain_classifier(name):
    network = make(name)
    before = network(images())
    assert before.scores is before.logits
    add_heads(network, 4, MeanReadout(4))
    after = network(images())
    assert after.scores.shape == (4, 12)
    for head in split_heads(after.scores, 4).unbind(dim=1):
        torch.testing.assert_close(head, before.logits)
    torch.testing.assert_close(after.logits, before.logits)
    assert torch.equal(after.features, before.features)
    assert set(map(id, network.classifier.parameters())) <= set(map(id, network.parameters()))


@pytest.mark.parametrize("name", FAMILIES)
def test_folding_gives_the_plain_network_with_the_mean_of_the_heads(name):
    network, plain = make(name), make(name)
    add_heads(network, 3, MeanReadout(3))
    scramble(network)
    heads = [h.detach().double().numpy() for h in classifier(network).weight.reshape(3, 3, -1)]
    before = network(images())
    fold_heads(network)
    after = network(images())
    np.testing.assert_allclose(
        classifier(network).weight.detach().numpy(), np.mean(heads, axis=0), rtol=1e-5, atol=1e-7
    )
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-5, atol=1e-5)
    assert after.scores is after.logits and network.readout is None
    shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in (network, plain)]
    assert shapes[0] == shapes[1]
    plain.load_state_dict(network.state_dict())
    assert torch.equal(plain(images()).logits, after.logits)


def test_a_classifier_without_bias_keeps_none():
    network = make()
    network.replace_classifier(nn.Linear(64, 3, bias=False))
    add_heads(network, 2, MeanReadout(2))
    assert classifier(network).bias is None
    fold_heads(network)
    assert classifier(network).bias is None and classifier(network).weight.shape == (3, 64)


def test_folding_leaves_other_networks_alone():
    network = make()
    before = classifier(network)
    fold_heads(network)
    assert network.classifier is before
    add_heads(network, 2, PriorShiftReadout(torch.ones(3, 2)))
    wide = classifier(network)
    fold_heads(network)
    assert network.classifier is wide and isinstance(network.readout, PriorShiftReadout)


def test_the_shifted_prior_is_the_written_out_sum_over_groups():
    counts = torch.tensor([[8, 2], [1, 5], [4, 0]])
    scores = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    logits = PriorShiftReadout(counts)(scores).numpy()
    prior = counts.numpy() / 20
    expected = [
        [
            logsumexp([row[3 * g + c] - np.log(prior[c, g]) for g in (0, 1) if prior[c, g] > 0])
            for c in range(3)
        ]
        for row in scores.double().numpy()
    ]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_the_shifted_prior_s_gradient_is_a_number_where_a_class_has_no_samples():
    scores = torch.zeros(2, 6, requires_grad=True)
    logits = PriorShiftReadout(torch.tensor([[8, 2], [0, 0], [4, 1]]))(scores)
    assert torch.isfinite(logits).all() and logits[:, 1].max() < -1000
    logits.log_softmax(dim=1)[:, 0].sum().backward()
    assert torch.isfinite(scores.grad).all()


def test_the_readout_travels_with_the_network():
    network = make()
    add_heads(network, 2, PriorShiftReadout(torch.tensor([[8, 2], [1, 5], [4, 3]])))
    scramble(network)
    assert "readout.log_prior" in network.state_dict()
    again = make()
    add_heads(again, 2, PriorShiftReadout(torch.ones(3, 2)))
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(images()).logits, network(images()).logits)


def test_a_second_set_of_heads_is_refused():
    network = make()
    add_heads(network, 2, MeanReadout(2))
    with pytest.raises(ParameterError, match="has several class heads already; only one method can add them"):
        add_heads(network, 2, MeanReadout(2))


def test_a_classifier_that_is_not_linear_is_refused_by_its_name():
    network = make()
    network.replace_classifier(nn.Sequential(nn.Linear(64, 3)))
    with pytest.raises(ParameterError, match="need a linear classifier, and this network has Sequential"):
        add_heads(network, 2, MeanReadout(2))
