"""Each term against its loss's formula on given outputs, with the weight that its paper gives it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from method_cases import CLASSES, DISTILLERS, GROUPS, batch_of, context_of, distiller_of, outputs_of_shapes
from scipy.special import rel_entr, softmax

from fairkd import losses
from fairkd.distillers import create_distiller, distiller_entries
from fairkd.models import Outputs

BATCH = batch_of([0, 1, 2, 1, 0, 2], [0, 1, 0, 0, 1, 1])
STUDENT = outputs_of_shapes(1, 6)
TEACHER, OTHER = outputs_of_shapes(2, 6), outputs_of_shapes(3, 6)
MEANS = torch.arange(1.0, 25.0).reshape(3, 8)
#: The weight of the loss over that of the cross-entropy: methods.md, or the paper's code.
WEIGHTS = {
    **{"kd": 9, "dkd": 1, "dist": 1, "logit_standardization": 90, "ctkd": 9, "hint": 100, "attention": 1000},
    **{"rkd": 25, "similarity": 3000, "pkt": 30000, "nst": 50, "norm_direction": 9, "mfd": 3},
    **{"co_advise": 1, "ensemble": 9},
}
DEFAULT_TASK_WEIGHT, DEFAULT_DISTILL_WEIGHT = 0.1, 0.9


def kl(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> np.ndarray:
    p, q = (softmax(z.double().numpy() / temperature, axis=1) for z in (teacher, student))
    return temperature**2 * rel_entr(p, q).sum(axis=1)


def z_scores(logits: torch.Tensor) -> torch.Tensor:
    values = logits.double().numpy()
    scores = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, ddof=1, keepdims=True)
    return torch.from_numpy(scores)


def norm_direction(student: Outputs, teacher: Outputs) -> float:
    directions = MEANS / MEANS.norm(dim=1, keepdim=True)
    s, t = student.features, teacher.features
    along = (s * directions[BATCH.labels]).sum(dim=1)
    direction = (1 - along / torch.maximum(s.norm(dim=1), t.norm(dim=1))).mean().item()
    return kl(student.logits, teacher.logits, 4.0).mean() + 2 / 9 * direction


S, T = STUDENT, TEACHER
#: What a term gives after its ramp, at temperature 4, before it is weighed. Losses have oracles of their own in
#: tests/losses.
EXPECTED: dict[str, Callable[[], float | torch.Tensor]] = {
    "kd": lambda: kl(S.logits, T.logits, 4.0).mean(),
    "dkd": lambda: losses.dkd_loss(S.logits, T.logits, BATCH.labels, alpha=1.0, beta=8.0, temperature=4.0),
    "dist": lambda: losses.dist_loss(S.logits, T.logits, beta=1.0, gamma=1.0, temperature=4.0),
    "logit_standardization": lambda: kl(z_scores(S.logits), z_scores(T.logits), 4.0).mean(),
    "ctkd": lambda: kl(S.logits, T.logits, 4.0).mean(),
    "hint": lambda: ((S.features - T.features) ** 2).mean(),
    "attention": lambda: losses.attention_transfer_loss(S.maps, T.maps),
    # 25 times the distances and 50 times the angles.
    "rkd": lambda: (
        losses.rkd_distance_loss(S.features, T.features)
        + 50 / 25 * losses.rkd_angle_loss(S.features, T.features)
    ),
    "similarity": lambda: losses.similarity_preserving_loss(S.features, T.features),
    "pkt": lambda: losses.pkt_loss(S.features, T.features),
    "nst": lambda: losses.nst_loss(S.maps, T.maps),
    "norm_direction": lambda: norm_direction(S, T),
    "mfd": lambda: losses.mfd_loss(
        S.features, T.features, BATCH.labels, BATCH.groups, num_classes=CLASSES, num_groups=GROUPS
    ),
    "ensemble": lambda: (kl(S.logits, T.logits, 4.0) + kl(S.logits, OTHER.logits, 4.0)).mean() / 2,
}


def test_every_distiller_is_compared_here_or_beside():
    assert set(EXPECTED) | {"none", "co_advise"} == set(DISTILLERS) == set(WEIGHTS) | {"none"}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_distiller_is_its_loss_with_its_paper_s_weight(name):
    distiller = distiller_of(name, STUDENT, [TEACHER, OTHER], class_means=MEANS, temperature=4.0)
    result = distiller(STUDENT, [TEACHER, OTHER], BATCH, 1.0)
    assert list(result) == ["distill_loss"]
    over_task = DEFAULT_DISTILL_WEIGHT / DEFAULT_TASK_WEIGHT * result["distill_loss"].item()
    assert over_task == pytest.approx(WEIGHTS[name] * float(EXPECTED[name]()), rel=1e-4)


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_listed_weight_is_the_paper_s(name):
    ((factor, entry),) = distiller_entries(name)
    assert factor == 1 and entry.reference_weight == WEIGHTS[name]
    assert entry.weight * DEFAULT_DISTILL_WEIGHT / DEFAULT_TASK_WEIGHT == pytest.approx(
        entry.reference_weight
    )


@pytest.mark.parametrize("temperature", [1.0, 7.0])
@pytest.mark.parametrize("name", ["kd", "dkd", "dist", "logit_standardization", "norm_direction", "ensemble"])
def test_the_temperature_is_the_experiment_s(name, temperature):
    values = [
        distiller_of(name, STUDENT, [TEACHER], temperature=t)(STUDENT, [TEACHER], BATCH, 1.0)["distill_loss"]
        for t in (temperature, temperature, 4.0)
    ]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("name", ["kd", "dkd", "dist", "ctkd", "norm_direction", "ensemble"])
def test_the_switch_standardizes_the_logits_of_both(name):
    switched = distiller_of(name, STUDENT, [TEACHER], logit_standardization=True, temperature=2.0)
    by_hand = [outputs._replace(logits=z_scores(outputs.logits).float()) for outputs in (STUDENT, TEACHER)]
    plain = distiller_of(name, STUDENT, [TEACHER], temperature=2.0)
    value = switched(STUDENT, [TEACHER], BATCH, 1.0)["distill_loss"]
    expected = plain(by_hand[0], by_hand[1:], BATCH, 1.0)["distill_loss"]
    torch.testing.assert_close(value, expected)
    assert not torch.isclose(value, plain(STUDENT, [TEACHER], BATCH, 1.0)["distill_loss"])


def test_dkd_s_beta_is_the_experiment_s():
    result = distiller_of("dkd", STUDENT, [TEACHER], dkd_beta=0.5)(STUDENT, [TEACHER], BATCH, 1.0)
    expected = losses.dkd_loss(S.logits, T.logits, BATCH.labels, alpha=1.0, beta=0.5, temperature=4.0) / 9
    torch.testing.assert_close(result["distill_loss"], expected)


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (1 / 24, 0.5), (1 / 12, 1.0), (0.9, 1.0)])
def test_dkd_and_the_soft_part_of_kd_plus_plus_rise_over_the_first_twelfth(progress, share):
    """Twenty of 240 epochs."""
    dkd = distiller_of("dkd", STUDENT, [TEACHER])(STUDENT, [TEACHER], BATCH, progress)["distill_loss"]
    assert dkd.item() == pytest.approx(share * float(EXPECTED["dkd"]()) / 9, rel=1e-5)
    plus = distiller_of("norm_direction", STUDENT, [TEACHER], class_means=MEANS)
    soft = kl(S.logits, T.logits, 4.0).mean()
    direction = norm_direction(S, T) - soft
    value = plus(STUDENT, [TEACHER], BATCH, progress)["distill_loss"].item()
    assert value == pytest.approx(share * soft + direction, rel=1e-5)


@pytest.mark.parametrize(
    "name", [n for n in DISTILLERS if n not in ("none", "dkd", "norm_direction", "ctkd")]
)
def test_no_other_term_depends_on_the_progress(name):
    student = outputs_of_shapes(1, 6, heads=3) if name == "co_advise" else STUDENT
    distiller = distiller_of(name, STUDENT, [TEACHER, OTHER])
    values = [distiller(student, [TEACHER, OTHER], BATCH, p)["distill_loss"] for p in (0.0, 0.5, 1.0)]
    assert values[0] == values[1] == values[2] > 0


SCALAR = ("dist", "rkd", "similarity", "pkt", "mfd")


@pytest.mark.parametrize("name", [n for n in DISTILLERS if n != "none"])
def test_one_value_a_sample_where_there_is_one_and_their_mean_is_the_loss(name):
    student = outputs_of_shapes(1, 6, heads=3) if name == "co_advise" else STUDENT
    distiller = distiller_of(name, STUDENT, [TEACHER, OTHER], class_means=MEANS)
    values = distiller(student, [TEACHER, OTHER], BATCH, 0.5, "none")["distill_loss"]
    assert values.shape == (() if name in SCALAR else (6,))
    mean = distiller(student, [TEACHER, OTHER], BATCH, 0.5)["distill_loss"]
    torch.testing.assert_close(values.mean(), mean)


# Sums


def test_a_sum_is_the_weighted_sum_of_its_terms_which_are_logged_before_they_are_weighed():
    single = {
        name: distiller_of(name, STUDENT, [TEACHER])(STUDENT, [TEACHER], BATCH, 0.5)["distill_loss"]
        for name in ("kd", "rkd", "hint")
    }
    result = distiller_of("kd+0.5*rkd+2e+0 * hint", STUDENT, [TEACHER])(STUDENT, [TEACHER], BATCH, 0.5)
    assert list(result) == ["distill_loss", "kd_loss", "rkd_loss", "hint_loss"]
    expected = single["kd"] + 0.5 * single["rkd"] + 2 * single["hint"]
    torch.testing.assert_close(result["distill_loss"], expected)
    torch.testing.assert_close(result["rkd_loss"] * 25 / 9, single["rkd"])


def test_a_sum_of_samples_and_batches_has_a_value_a_sample():
    distiller = distiller_of("kd+rkd", STUDENT, [TEACHER])
    values = distiller(STUDENT, [TEACHER], BATCH, 0.5, "none")["distill_loss"]
    assert values.shape == (6,)
    torch.testing.assert_close(values.mean(), distiller(STUDENT, [TEACHER], BATCH, 0.5)["distill_loss"])


def test_the_teacher_receives_no_gradient_and_the_student_does():
    for name in DISTILLERS:
        student, teacher, other = (
            Outputs(*(tensor.clone().requires_grad_() for tensor in outputs))
            for outputs in (outputs_of_shapes(1, 6, heads=3), TEACHER, OTHER)
        )
        distiller = create_distiller(name, context_of(STUDENT, [TEACHER, OTHER]))
        loss = distiller(student, [teacher, other], BATCH, 0.5)["distill_loss"]
        assert loss.shape == () and torch.isfinite(loss)
        if name == "none":
            assert loss == 0 and not loss.requires_grad
            continue
        loss.backward()
        assert any(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in student), name
        assert all(tensor.grad is None for tensor in (*teacher, *other)), name
