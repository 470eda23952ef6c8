"""Co-advise and ensembles: who teaches which head, and how teachers are weighed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_cases import TwoLayers, batch_of, context_of, distiller_of, outputs_of_shapes
from scipy.special import log_softmax, rel_entr, softmax
from torch import nn

from fairkd.distillers.several import Ensemble
from fairkd.heads import fold_heads
from fairkd.losses import kd_loss, standardize_logits
from fairkd.mitigation import Mitigation
from fairkd.training import distill_step

BATCH = batch_of([0, 1, 2, 1, 0, 2], [0, 1, 0, 0, 1, 1])
PLAIN = outputs_of_shapes(1, 6)
TEACHERS = [outputs_of_shapes(seed, 6) for seed in (2, 3, 4)]


def kl(student: torch.Tensor, teacher: torch.Tensor, temperature: float = 1.0) -> np.ndarray:
    p, q = (softmax(z.double().numpy() / temperature, axis=1) for z in (teacher, student))
    return temperature**2 * rel_entr(p, q).sum(axis=1)


# Co-advise


def test_each_teacher_has_its_own_head_at_temperature_one():
    student = outputs_of_shapes(1, 6, heads=3)
    heads = student.scores.reshape(6, 3, 3)
    distiller = distiller_of("co_advise", PLAIN, TEACHERS[:2], temperature=9.0)
    loss = distiller(student, TEACHERS[:2], BATCH, 0.5)["distill_loss"]
    expected = kl(heads[:, 1], TEACHERS[0].logits).mean() + kl(heads[:, 2], TEACHERS[1].logits).mean()
    assert 9 * loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_teacher_reaches_no_head_but_its_own():
    student = outputs_of_shapes(1, 6, heads=3)
    scores = student.scores.requires_grad_()
    values = distiller_of("co_advise", PLAIN, TEACHERS[:2])
    loss = values(student, [TEACHERS[0]], BATCH, 0.5)["distill_loss"]
    loss.backward()
    assert (scores.grad.reshape(6, 3, 3).abs().sum(dim=(0, 2)) > 0).tolist() == [False, True, False]


def test_the_labels_teach_the_first_head():
    student = outputs_of_shapes(1, 6, heads=3)
    scores = student.scores.requires_grad_()
    step = distill_step(
        lambda batch: TEACHERS[:2],
        distiller_of("co_advise", PLAIN, TEACHERS[:2]),
        Mitigation(),
        distill_weight=0.0,
        task_weight=1.0,
    )
    losses = step(student, BATCH, 0.5)
    losses["loss"].backward()
    first = scores.detach().reshape(6, 3, 3)[:, 0].double().numpy()
    expected = -log_softmax(first, axis=1)[range(6), BATCH.labels].mean()
    assert losses["task_loss"].item() == pytest.approx(expected, rel=1e-5)
    assert (scores.grad.reshape(6, 3, 3).abs().sum(dim=(0, 2)) > 0).tolist() == [True, False, False]


def test_the_student_answers_with_the_mean_of_all_heads_before_and_after_folding():
    torch.manual_seed(0)
    network, inputs = TwoLayers(), torch.randn(6, 4)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    distiller_of("co_advise", PLAIN, TEACHERS).prepare(network)
    assert network.second.weight.shape == (4 * 3, 5)
    with torch.no_grad():
        network.second.weight.normal_()
        network.second.bias.normal_()
        outputs = network(inputs)
        torch.testing.assert_close(outputs.logits, outputs.scores.reshape(6, 4, 3).mean(dim=1))
        fold_heads(network)
        torch.testing.assert_close(network(inputs).logits, outputs.logits)
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == shapes


def test_other_distillers_leave_the_network_and_its_task_outputs_alone():
    network = TwoLayers()
    distiller = distiller_of("kd+hint+ensemble", PLAIN, TEACHERS)
    distiller.prepare(network)
    assert network.readout is None and distiller.task_outputs(PLAIN) is PLAIN


# Ensembles


def ensemble(**options) -> Ensemble:
    return Ensemble(context_of(PLAIN, TEACHERS, **options))


@pytest.mark.parametrize("rule", ["mean", "confidence", "agre"])
def test_the_loss_is_the_weighted_mean_of_the_teachers_kd(rule):
    term = ensemble(ensemble_weights=rule, temperature=3.0)
    weights = term.adviser_weights(PLAIN, TEACHERS, BATCH)
    advisers = TEACHERS[:2] if rule == "agre" else TEACHERS
    assert weights.shape == (len(advisers), 6)
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(6))
    each = np.stack([kl(PLAIN.logits, teacher.logits, 3.0) for teacher in advisers])
    expected = (weights.numpy() * each).sum(axis=0)
    np.testing.assert_allclose(term(PLAIN, TEACHERS, BATCH, 0.5, "none").numpy(), expected, rtol=1e-4)
    assert term(PLAIN, TEACHERS, BATCH, 0.5).item() == pytest.approx(expected.mean(), rel=1e-4)


def test_mean_weighs_alike():
    weights = ensemble(ensemble_weights="mean").adviser_weights(PLAIN, TEACHERS, BATCH)
    torch.testing.assert_close(weights, torch.full((3, 6), 1 / 3))


def test_confidence_is_the_formula_of_ca_mkd():
    """(1 − exp(L_k) / Σ exp(L_j)) / (K − 1), L_k the teacher's cross-entropy with the label."""
    weights = ensemble(ensemble_weights="confidence").adviser_weights(PLAIN, TEACHERS, BATCH)
    for row, label in enumerate(BATCH.labels.tolist()):
        losses = [-log_softmax(teacher.logits[row].double().numpy())[label] for teacher in TEACHERS]
        total = sum(np.exp(losses))
        expected = [(1 - np.exp(loss) / total) / 2 for loss in losses]
        np.testing.assert_allclose(weights[:, row].numpy(), expected, rtol=1e-4)
        assert np.argmax(expected) == np.argmin(losses)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("standardized", [False, True])
def test_agre_is_one_minus_the_cosine_of_the_gradients_of_the_student_s_last_layer(bias, standardized):
    torch.manual_seed(0)
    # Standardised logits of three classes have a single direction left, in which all gradients point.
    layer, features = nn.Linear(8, 6, bias=bias), PLAIN.features
    teachers = [outputs_of_shapes(seed, 6, classes=6) for seed in (2, 3, 4)]
    student = PLAIN._replace(logits=layer(features).detach())
    term = ensemble(ensemble_weights="agre", temperature=2.0, logit_standardization=standardized)
    weights = term.adviser_weights(student, teachers, BATCH)

    def gradient(row: int, teacher: torch.Tensor) -> torch.Tensor:
        logits = layer(features[row : row + 1])
        pair = logits, teacher[row : row + 1]
        if standardized:
            pair = standardize_logits(logits), standardize_logits(pair[1])
        loss = kd_loss(*pair, temperature=2.0)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(layer.parameters()))])

    for row in range(6):
        first, second, biased = (gradient(row, teacher.logits) for teacher in teachers)
        away = torch.stack([1 - F.cosine_similarity(g, biased, dim=0) for g in (first, second)])
        torch.testing.assert_close(weights[:, row], away / away.sum(), rtol=1e-3, atol=1e-4)


def test_agre_with_teachers_that_all_agree_with_the_biased_student_weighs_alike():
    same = [TEACHERS[0]] * 3
    weights = ensemble(ensemble_weights="agre").adviser_weights(PLAIN, same, BATCH)
    torch.testing.assert_close(weights, torch.full((2, 6), 0.5))


def test_weights_carry_no_gradient():
    student = PLAIN._replace(logits=PLAIN.logits.clone().requires_grad_())
    for rule in ("mean", "confidence", "agre"):
        assert not ensemble(ensemble_weights=rule).adviser_weights(student, TEACHERS, BATCH).requires_grad
