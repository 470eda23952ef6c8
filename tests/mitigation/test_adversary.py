from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fairkd.data.batches import Batch
from fairkd.errors import ParameterError
from fairkd.mitigation import (
    Adversary,
    GradientProjection,
    GradientReversal,
    balanced_cell_weights,
    create_mitigation,
    list_mitigations,
    project_gradient,
    ramp,
    reverse_gradient,
)
from fairkd.models import Outputs


def batch_of(labels: list[int], groups: list[int]) -> Batch:
    n = len(labels)
    return Batch(torch.zeros(n, 3, 8, 8), torch.tensor(labels), torch.tensor(groups), torch.arange(n))


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> Outputs:
        features = torch.tanh(self.first(x))
        return Outputs(self.second(features), features, features[:, :, None, None])


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


@pytest.mark.parametrize("name", ["gradient_reversal", "projection"])
def test_weight_zero_leaves_the_task_gradient_bit_for_bit(name):
    torch.manual_seed(0)
    network, batch, inputs = TwoLayers(), batch_of([0, 1, 2, 0], [0, 1, 0, 1]), torch.randn(4, 4)
    outputs = network(inputs)
    plain = torch.autograd.grad(F.cross_entropy(outputs.logits, batch.labels), list(network.parameters()))
    adversary = create_mitigation(name, 5, 3, 2, weight=0.0)
    outputs = network(inputs)
    terms = adversary.losses(outputs, batch, 1.0)
    adversary.backward(F.cross_entropy(outputs.logits, batch.labels), terms, network, 1.0)
    assert all(torch.equal(p.grad, g) for p, g in zip(network.parameters(), plain, strict=True))


@pytest.mark.parametrize("name", ["gradient_reversal", "projection"])
@pytest.mark.parametrize(
    ("labels", "groups"),
    [([0], [0]), ([0, 0, 0], [1, 1, 1]), ([0, 1], [2, 2])],
    ids=["one", "one cell", "no 0"],
)
def test_batches_that_lack_groups_or_hold_one_sample_give_finite_gradients(name, labels, groups):
    network, batch = TwoLayers(), batch_of(labels, groups)
    adversary = create_mitigation(name, 5, 3, 3)
    outputs = network(torch.randn(len(labels), 4))
    terms = adversary.losses(outputs, batch, 0.5)
    adversary.backward(F.cross_entropy(outputs.logits, batch.labels), terms, network, 0.5)
    gradients = [p.grad for p in [*network.parameters(), *adversary.parameters()]]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    assert terms["adversary_count"].shape == (9,)


def test_gradient_penalty_equals_finite_differences_and_ignores_the_scale_of_the_features():
    torch.manual_seed(0)
    batch, x = batch_of([0, 1, 2, 0], [0, 1, 2, 1]), torch.randn(4, 5, dtype=torch.double)
    adversary = Adversary(5, 3, 3).double()
    penalty = adversary.gradient_penalty(x, batch)

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
    torch.testing.assert_close(adversary.gradient_penalty(10 * x, batch), penalty)


def test_creating_an_adversary_does_not_move_torch_s_generator():
    before = torch.get_rng_state()
    Adversary(4, 2, 2, seed=1)
    assert torch.equal(before, torch.get_rng_state())


def test_balanced_weights_give_every_filled_cell_the_same_total():
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    groups = torch.tensor([0, 0, 1, 1, 1, 1, 1])
    weights = balanced_cell_weights(labels, groups, 2, 2)
    assert weights[1, 0] == 0
    per_sample = weights[labels, groups]
    assert per_sample.mean() == pytest.approx(1)
    totals = [per_sample[(labels == c) & (groups == g)].sum().item() for c, g in ((0, 0), (0, 1), (1, 1))]
    assert totals == pytest.approx([7 / 3] * 3)


def test_the_adversary_loses_on_a_toy_problem_where_the_group_is_a_shortcut():
    """Features can drop the group: the adversary falls to chance while the task stays solved."""
    torch.manual_seed(0)
    n = 512
    labels, groups = torch.randint(0, 2, (n,)), torch.randint(0, 2, (n,))
    inputs = torch.stack([2.0 * labels - 1, 2.0 * groups - 1], dim=1) + 0.1 * torch.randn(n, 2)
    inputs = torch.cat([inputs, torch.zeros(n, 2)], dim=1)
    batch = Batch(torch.zeros(n, 1, 1, 1), labels, groups, torch.arange(n))
    network = TwoLayers()
    adversary = GradientReversal(5, 3, 2, weight=1.0, learning_rate=0.01)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    own = torch.optim.Adam(adversary.parameters(), 0.01)
    balanced = []
    for step in range(600):
        outputs = network(inputs)
        task, terms = F.cross_entropy(outputs.logits, labels), adversary.losses(outputs, batch, step / 600)
        optimizer.zero_grad()
        own.zero_grad()
        adversary.backward(task, terms, network, step / 600)
        optimizer.step()
        own.step()
        filled = terms["adversary_count"] > 0
        balanced.append((terms["adversary_hits"][filled] / terms["adversary_count"][filled]).mean().item())
    accuracy = (network(inputs).logits.argmax(1) == labels).float().mean().item()
    assert accuracy > 0.99
    assert abs(sum(balanced[-100:]) / 100 - 0.5) < 0.03


def test_list_names_every_mitigation_and_unknown_names_are_refused():
    assert list(list_mitigations()["name"]) == ["none", "gradient_reversal", "projection"]
    with pytest.raises(ParameterError, match="did you mean 'projection'"):
        create_mitigation("projektion")
