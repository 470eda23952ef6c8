"""One head a group, and one softmax over class and group: losses and inference, written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from method_cases import TwoLayers, batch_of, mitigation_of, outputs_of_shapes, setup_of
from scipy.special import log_softmax, logsumexp, softmax

from fairkd.heads import fold_heads

COUNTS = torch.tensor([[8, 2], [1, 5], [4, 0]])
BATCH = batch_of([0, 1, 2, 0, 2], [0, 1, 1, -1, 0])


def smoothed(log_probabilities: np.ndarray, label: int, smoothing: float) -> float:
    target = np.full(len(log_probabilities), smoothing / len(log_probabilities))
    target[label] += 1 - smoothing
    return float(-(target * log_probabilities).sum())


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_domain_independent_is_the_own_head_s_cross_entropy(smoothing, reduction):
    outputs = outputs_of_shapes(0, 5, heads=2)
    scores = outputs.scores.double().numpy()
    expected = []
    for row, (label, group) in enumerate(zip(BATCH.labels, BATCH.groups, strict=True)):
        heads = [scores[row, :3], scores[row, 3:]]
        logits = heads[group] if group >= 0 else (heads[0] + heads[1]) / 2
        expected.append(smoothed(log_softmax(logits), int(label), smoothing))
    mitigation = mitigation_of("domain_independent", setup_of())
    loss = mitigation.task_loss(outputs, BATCH, label_smoothing=smoothing, reduction=reduction)
    wanted = np.mean(expected) if reduction == "mean" else expected
    np.testing.assert_allclose(loss.numpy(), wanted, rtol=1e-5)


def test_domain_independent_s_other_head_receives_no_gradient():
    outputs = outputs_of_shapes(0, 5, heads=2)
    scores = outputs.scores.requires_grad_()
    mitigation_of("domain_independent", setup_of()).task_loss(outputs, BATCH).backward()
    touched = (scores.grad.reshape(5, 2, 3).abs().sum(dim=2) > 0).tolist()
    known = [[group == 0, group == 1] for group in BATCH.groups.tolist()]
    assert [t for t, g in zip(touched, BATCH.groups, strict=True) if g >= 0] == [
        k for k, g in zip(known, BATCH.groups, strict=True) if g >= 0
    ]


def test_domain_independent_folds_into_the_mean_of_its_heads():
    torch.manual_seed(0)
    network, inputs = TwoLayers(), torch.randn(6, 4)
    mitigation_of("domain_independent", setup_of()).prepare(network)
    with torch.no_grad():
        network.second.weight.normal_()
        network.second.bias.normal_()
        before = network(inputs)
        scores = before.scores.reshape(6, 2, 3)
        torch.testing.assert_close(before.logits, (scores[:, 0] + scores[:, 1]) / 2)
        # The paper sums the heads: the same prediction.
        assert torch.equal(before.logits.argmax(1), scores.sum(1).argmax(1))
        fold_heads(network)
        after = network(inputs)
    assert network.second.weight.shape == (3, 5) and network.readout is None
    torch.testing.assert_close(after.logits, before.logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_domain_discriminative_is_the_likelihood_of_the_cell(smoothing, reduction):
    outputs = outputs_of_shapes(0, 5, heads=2)
    expected = []
    for row, (label, group) in enumerate(zip(BATCH.labels.tolist(), BATCH.groups.tolist(), strict=True)):
        cells = log_softmax(outputs.scores[row].double().numpy())
        if group >= 0:
            expected.append(smoothed(cells, 3 * group + label, smoothing))
        else:
            classes = np.array([logsumexp([cells[c], cells[3 + c]]) for c in range(3)])
            expected.append(smoothed(classes, label, smoothing))
    mitigation = mitigation_of("domain_discriminative", setup_of(COUNTS))
    loss = mitigation.task_loss(outputs, BATCH, label_smoothing=smoothing, reduction=reduction)
    wanted = np.mean(expected) if reduction == "mean" else expected
    np.testing.assert_allclose(loss.numpy(), wanted, rtol=1e-5)


def test_domain_discriminative_s_inference_divides_by_the_training_prior_and_sums_over_groups():
    torch.manual_seed(0)
    network, inputs = TwoLayers(), torch.randn(6, 4)
    mitigation_of("domain_discriminative", setup_of(COUNTS)).prepare(network)
    with torch.no_grad():
        network.second.weight.normal_(0, 2)
        outputs = network(inputs)
    joint = softmax(outputs.scores.double().numpy(), axis=1).reshape(6, 2, 3)
    prior = COUNTS.numpy().T / COUNTS.sum().item()
    with np.errstate(divide="ignore"):
        shifted = np.where(prior > 0, joint / prior, 0).sum(axis=1)
    expected = shifted / shifted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(outputs.logits.softmax(dim=1).numpy(), expected, rtol=1e-4)


def test_a_class_without_training_samples_is_never_predicted_and_keeps_finite_logits():
    network, inputs = TwoLayers(), torch.randn(6, 4)
    counts = torch.tensor([[8, 2], [0, 0], [4, 1]])
    mitigation_of("domain_discriminative", setup_of(counts)).prepare(network)
    logits = network(inputs).logits
    assert torch.isfinite(logits).all() and not (logits.argmax(dim=1) == 1).any()
    logits.logsumexp(dim=1).sum().backward()
    assert torch.isfinite(network.second.weight.grad).all()


def test_with_equal_cells_and_untrained_heads_both_answer_like_the_plain_network():
    torch.manual_seed(0)
    inputs, plain = torch.randn(6, 4), TwoLayers()
    expected = plain(inputs).logits.softmax(dim=1)
    for name in ("domain_independent", "domain_discriminative"):
        network = TwoLayers()
        network.load_state_dict(plain.state_dict())
        mitigation_of(name, setup_of()).prepare(network)
        torch.testing.assert_close(network(inputs).logits.softmax(dim=1), expected)
