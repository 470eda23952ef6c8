from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_cases import ADVERSARIES, TwoLayers, batch_of, mitigation_of, setup_of

from fairkd.mitigation import (
    Adversary,
    GradientProjection,
    GradientReversal,
    balanced_weights,
    cell_counts,
    create_mitigation,
    project_gradient,
    ramp,
    reverse_gradient,
)


def test_reversal_keeps_the_value_flips_the_sign_and_scales():
    x = torch.randn(3, 4, requires_grad=True)
    y = reverse_gradient(x, 0.7)
    assert torch.equal(x, y)
    (y * torch.arange(4.0)).sum().backward()
    torch.testing.assert_close(x.grad, -0.7 * torch.arange(4.0).expand(3, 4))


def test_ramp_is_ganin_s_formula():
    assert ramp(0) == 0
    assert ramp(0.25) == pytest.approx(2 / (1 + 2.718281828459045**-2.5) - 1)
    assert 0.9999 < ramp(1) < 1


@pytest.mark.parametrize("shape", [(7,), (4, 5), (3, 2, 3, 3)])
def test_projected_task_gradient_is_orthogonal_to_the_adversary_s(shape):
    g, h = torch.randn(shape, dtype=torch.double), torch.randn(shape, dtype=torch.double)
    task_part = project_gradient(g, h, 0.0)
    assert abs((task_part * h).sum()) < 1e-12
    torch.testing.assert_close(project_gradient(g, h, 0.3), task_part - 0.3 * h)
    # However small it is.
    small = project_gradient(g, 1e-17 * h, 0.0)
    torch.testing.assert_close(small, task_part)
    # An adversary without a direction leaves the task alone.
    torch.testing.assert_close(project_gradient(g, torch.zeros(shape, dtype=torch.double), 0.3), g)


@pytest.mark.parametrize("reads", ["features", "logits"])
@pytest.mark.parametrize("sees_label", [True, False])
def test_gradient_reversal_equals_two_separate_gradients(reads, sees_label):
    torch.manual_seed(0)
    network, batch = TwoLayers(), batch_of([0, 1, 2, 0, 1, 2], [0, 1, 0, 1, 0, 1])
    size = 5 if reads == "features" else 3
    adversary = GradientReversal(size, 3, 2, reads=reads, sees_label=sees_label, weight=2.0, penalty=0)
    inputs, progress = torch.randn(6, 4), 0.4
    outputs = network(inputs)
    task = F.cross_entropy(outputs.logits, batch.labels)
    terms = adversary.losses(outputs, batch, progress)
    adversary.backward(task, terms, network, progress)

    outputs = network(inputs)
    read = outputs.features if reads == "features" else outputs.logits
    loss = F.cross_entropy(adversary(read, batch.labels), batch.groups)
    torch.testing.assert_close(loss, terms["adversary_loss"])
    own = torch.autograd.grad(loss, list(adversary.parameters()), retain_graph=True)
    h = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)
    g = torch.autograd.grad(F.cross_entropy(outputs.logits, batch.labels), list(network.parameters()))
    for parameter, expected in zip(adversary.parameters(), own, strict=True):
        torch.testing.assert_close(parameter.grad, expected)
    for parameter, task_part, adversary_part in zip(network.parameters(), g, h, strict=True):
        pull = 0 if adversary_part is None else 2.0 * ramp(progress) * adversary_part
        torch.testing.assert_close(parameter.grad, task_part - pull)


def test_gradient_projection_equals_zhang_s_formula_parameter_by_parameter():
    torch.manual_seed(0)
    network, batch = TwoLayers(), batch_of([0, 1, 2, 0], [0, 1, 2, 1])
    adversary = GradientProjection(3, 3, 3, reads="logits", weight=0.5)
    inputs, progress = torch.randn(4, 4), 0.9
    outputs = network(inputs)
    terms = adversary.losses(outputs, batch, progress)
    adversary.backward(F.cross_entropy(outputs.logits, batch.labels), terms, network, progress)

    outputs = network(inputs)
    loss = F.cross_entropy(adversary(outputs.logits, batch.labels), batch.groups)
    h = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
    g = torch.autograd.grad(F.cross_entropy(outputs.logits, batch.labels), list(network.parameters()))
    for parameter, task_part, adversary_part in zip(network.parameters(), g, h, strict=True):
        share = (task_part * adversary_part).sum() / (adversary_part**2).sum()
        expected = task_part - share * adversary_part - 0.5 * ramp(progress) * adversary_part
        torch.testing.assert_close(parameter.grad, expected)
    assert all(parameter.grad is not None for parameter in adversary.parameters())


@pytest.mark.parametrize("name", ADVERSARIES)
def test_weight_zero_leaves_the_task_gradient_bit_for_bit(name):
    torch.manual_seed(0)
    network, batch, inputs = TwoLayers(), batch_of([0, 1, 2, 0], [0, 1, 0, 1]), torch.randn(4, 4)
    outputs = network(inputs)
    plain = torch.autograd.grad(F.cross_entropy(outputs.logits, batch.labels), list(network.parameters()))
    adversary = mitigation_of(name, setup_of(adversary_weight=0.0))
    outputs = network(inputs)
    terms = adversary.losses(outputs, batch, 1.0)
    adversary.backward(F.cross_entropy(outputs.logits, batch.labels), terms, network, 1.0)
    assert all(torch.equal(p.grad, g) for p, g in zip(network.parameters(), plain, strict=True))


def test_gradient_penalty_equals_finite_differences_and_ignores_the_scale_of_the_features():
    torch.manual_seed(0)
    batch, x = batch_of([0, 1, 2, 0], [0, 1, 2, 1]), torch.randn(4, 5, dtype=torch.double)
    adversary = Adversary(5, 3, 3).double()
    everyone = torch.ones(4, dtype=torch.bool)
    penalty = adversary.gradient_penalty(x, batch.labels, batch.groups, everyone)

    def true_logit(inputs: torch.Tensor) -> torch.Tensor:
        logits = adversary(inputs, batch.labels)
        return (logits - logits.mean(1, keepdim=True))[range(4), batch.groups]

    with torch.no_grad():
        step = 1e-6 * torch.eye(5, dtype=torch.double)
        slopes = torch.stack([(true_logit(x + d) - true_logit(x - d)) / 2e-6 for d in step], dim=1)
    expected = 0.5 * x.var(dim=0, unbiased=False).sum() * slopes.pow(2).sum(dim=1).mean()
    torch.testing.assert_close(penalty, expected, rtol=1e-6, atol=1e-9)
    with torch.no_grad():
        adversary.layers[0].weight[:, :5] /= 10
    rescaled = adversary.gradient_penalty(10 * x, batch.labels, batch.groups, everyone)
    torch.testing.assert_close(rescaled, penalty)


def test_creating_an_adversary_does_not_move_torch_s_generator():
    before = torch.get_rng_state()
    Adversary(4, 2, 2, seed=1)
    assert torch.equal(before, torch.get_rng_state())


def test_balanced_weights_give_every_filled_cell_the_same_total_and_missing_groups_count_nowhere():
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    groups = np.array([0, 0, 1, 1, 1, 1, 1, -1])
    counts = cell_counts(labels, groups, 2, 2)
    assert counts.tolist() == [[2, 1], [0, 4]] and counts.dtype == torch.int64
    weights = balanced_weights(counts)
    assert weights[1, 0] == 0
    known = groups >= 0
    a_sample = weights.numpy()[labels, groups][known]
    assert a_sample.mean() == pytest.approx(1)
    cells = 2 * labels[known] + groups[known]
    assert [a_sample[cells == cell].sum() for cell in (0, 1, 3)] == pytest.approx([7 / 3] * 3)
    assert balanced_weights(torch.tensor([1, 3])).tolist() == pytest.approx([2.0, 2 / 3])


def test_the_adversary_s_loss_is_the_cross_entropy_weighed_by_cell_over_the_batch():
    torch.manual_seed(0)
    counts = torch.tensor([[8, 2], [1, 5], [4, 0]])
    adversary = create_mitigation(
        "gradient_reversal", setup_of(counts, adversary_input="logits", feature_size=9)
    )
    network, batch = TwoLayers(), batch_of([0, 1, 0, 1, 2], [0, 0, 1, 1, -1])
    outputs = network(torch.randn(5, 4))
    with torch.no_grad():
        answers = adversary(outputs.logits, batch.labels).double().log_softmax(dim=1).numpy()
    weights = {(0, 0): 20 / 5 / 8, (1, 0): 20 / 5 / 1, (0, 1): 20 / 5 / 2, (1, 1): 20 / 5 / 5}
    total = sum(
        -weights[c, g] * answers[row, g] for row, (c, g) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)])
    )
    terms = adversary.losses(outputs, batch, 0.5)
    assert terms["adversary_loss"].item() == pytest.approx(total / 5, rel=1e-5)
    assert terms["adversary_count"].tolist() == [1, 1, 1, 1, 0, 0]


def test_unbalanced_adversaries_count_every_sample_alike():
    setup = setup_of(torch.tensor([[8, 2], [1, 5], [4, 1]]), adversary_balanced=False)
    assert create_mitigation("projection", setup).cell_weights.unique().tolist() == [1.0]
