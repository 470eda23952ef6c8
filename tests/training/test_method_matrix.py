"""Every distiller with every mitigation, in the smallest training there is: two steps of a tiny network."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from method_cases import ALL_MITIGATIONS, DISTILLERS
from tiny_images import make_image_set
from training_cases import equal_states, make_trainer, tiny_network

from fairkd.data.splits import Splits
from fairkd.heads import fold_heads

pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")


@pytest.fixture(scope="module")
def splits() -> Splits:
    """Six training images of six cells, and as many without a group."""
    rng = np.random.default_rng(0)
    train, validation, test = (make_image_set(rng, 12, classes=3, groups=2, size=8) for _ in range(3))
    train = dataclasses.replace(train, groups=np.where(np.arange(12) < 6, train.groups, -1))
    train.groups[6:9] = [0, 1, 0]
    return Splits(
        name="matrix",
        train=train,
        validation=validation,
        test=test,
        class_names=("a", "b", "c"),
        group_names=("red", "green"),
        label_name="shape",
        group_name="colour",
        fingerprint="matrix",
        augmentation="crop",
    )


@pytest.mark.parametrize("mitigation", ALL_MITIGATIONS)
@pytest.mark.parametrize("distiller", [*DISTILLERS, "kd+0.5*rkd+hint"])
def test_every_distiller_trains_with_every_mitigation(splits, distiller, mitigation):
    if distiller == "co_advise" and mitigation.startswith("domain_"):
        pytest.skip("refused: each adds heads, see test_recipes")
    student, teachers = tiny_network(4, 1), [tiny_network(6, seed) for seed in (2, 3, 4)]
    before = [{name: t.clone() for name, t in network.state_dict().items()} for network in teachers]
    first = {name: tensor.clone() for name, tensor in student.backbone.convolution.state_dict().items()}
    trainer = make_trainer(
        splits,
        network=student,
        teachers=teachers,
        distiller=distiller,
        distill_options={"ensemble_weights": "agre"},
        mitigation=mitigation,
        epochs=1,
        batch_size=6,
    )
    history = trainer.fit()
    assert len(trainer.stream) == 2
    logged = history.filter(like="train_").iloc[0].astype(float)
    assert np.isfinite(logged).all(), logged
    assert not equal_states(first, student.backbone.convolution.state_dict())
    assert all(equal_states(b, n.state_dict()) for b, n in zip(before, teachers, strict=True))
    fold_heads(student)
    assert (student.readout is None) == (mitigation != "domain_discriminative")
    assert torch.isfinite(student(torch.zeros(2, 3, 8, 8)).logits).all()
