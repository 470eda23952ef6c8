"""Losses and weights that are not finite: the training stops, says where, and keeps the last good checkpoint."""

from __future__ import annotations

import math

import pytest
import torch
from training_cases import make_trainer

from fairkd.errors import TrainingError
from fairkd.training import task_step

# So few steps rarely suffice to predict more than one class.
pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")


def epochs_kept(tiny_splits, folder, **settings):
    return make_trainer(tiny_splits, folder=folder, epochs=3, **settings).checkpoint.load()


@pytest.mark.parametrize("mitigation", ["gradient_reversal", "projection"])
def test_an_exploding_adversary_is_stopped_and_named(tiny_splits, tmp_path, mitigation):
    trainer = make_trainer(tiny_splits, folder=tmp_path, epochs=3, mitigation=mitigation)
    assert trainer.mitigation_optimizer is not None
    calls, losses = 0, trainer.mitigation.losses

    def explode(outputs, batch, progress):
        nonlocal calls
        calls += 1
        if calls == 3:
            # Once is enough: the step that follows leaves nothing finite.
            trainer.mitigation_optimizer.param_groups[0]["lr"] = 1e37
        return losses(outputs, batch, progress)

    trainer.mitigation.losses = explode
    with pytest.raises(TrainingError) as caught:
        trainer.fit()
    message = str(caught.value)
    assert message.startswith("student fair: the loss is not finite at epoch 2, step 2 (loss="), message
    assert "adversary_loss=" in message and "\n" not in message
    assert message.endswith("lower learning_rate, adversary_learning_rate or adversary_weight")
    assert epochs_kept(tiny_splits, tmp_path, mitigation=mitigation) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_last_step_that_ruins_the_weights_leaves_the_checkpoint_before_it(tiny_splits, tmp_path, value):
    """The loss of a step is of the weights before it: after the last step of an epoch there is none to tell."""
    trainer = make_trainer(tiny_splits, folder=tmp_path, epochs=3, step=task_step())
    update, calls = trainer._update, 0

    def ruin():
        nonlocal calls
        calls += 1
        update()
        if calls == 4:
            with torch.no_grad():
                next(trainer.network.parameters())[0] = value

    trainer._update = ruin
    expected = (
        r"^student fair: the weights are not finite after epoch 2, step 2 \(loss=\d[^\n]*lower learning_rate"
    )
    with pytest.raises(TrainingError, match=expected):
        trainer.fit()
    assert epochs_kept(tiny_splits, tmp_path) == 1


def test_a_learning_rate_that_is_far_too_high_is_stopped(tiny_splits, tmp_path):
    trainer = make_trainer(
        tiny_splits, folder=tmp_path, epochs=3, optimizer="sgd", learning_rate=1e30, warmup_epochs=0
    )
    with pytest.raises(TrainingError, match=r"not finite (at|after) epoch 1, step \d"):
        trainer.fit()
    assert not (tmp_path / "checkpoint.pt").exists()
