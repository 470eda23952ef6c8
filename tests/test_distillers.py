from __future__ import annotations

import pytest
import torch

from fairkd.distillers import check_distiller, create_distiller, list_distillers
from fairkd.errors import ParameterError
from fairkd.losses import kd_loss
from fairkd.models import Outputs


def outputs(seed: int) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    shapes = (4, 3), (4, 8), (4, 8, 2, 2)
    return Outputs(*(torch.randn(shape, generator=generator) for shape in shapes))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kd_is_its_loss_at_its_temperature(temperature):
    distiller = create_distiller("kd", temperature=temperature)
    student, teacher = outputs(1), outputs(2)
    expected = kd_loss(student.logits, teacher.logits, temperature=temperature)
    assert torch.equal(distiller(student, teacher), expected)
    assert list(distiller.parameters()) == []


def test_every_listed_distiller_gives_a_finite_loss_with_a_gradient_for_the_student():
    table = list_distillers()
    assert list(table.columns) == ["name", "description", "source"] and "kd" in set(table["name"])
    for name in table["name"]:
        check_distiller(name)
        student, teacher = outputs(1), outputs(2)
        student.logits.requires_grad_()
        loss = create_distiller(name, temperature=4.0)(student, teacher)
        assert loss.ndim == 0 and torch.isfinite(loss)
        loss.backward()
        assert student.logits.grad is not None
    assert table["source"].str.startswith("https://").all()


def test_an_unknown_name_is_answered_with_a_suggestion_and_the_names():
    with pytest.raises(
        ParameterError, match=r"distiller='kdd' is unknown: did you mean 'kd'\? allowed: .*kd"
    ):
        create_distiller("kdd", temperature=4.0)
