"""Averaged weights, batches in parts, number formats, compilation: what they promise and what they leave as it is."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_cases import ALL_MITIGATIONS
from torch import Tensor, nn
from training_cases import equal_states, make_network, make_trainer, tiny_network

from fairkd.data.splits import Splits
from fairkd.errors import TrainingError
from fairkd.training import Trainer, task_step
from fairkd.training import loop as loop_module

# So few steps rarely suffice to predict more than one class.
pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")


def copy_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def interrupt_and_resume(make: Callable[..., Trainer], folder: Path, monkeypatch: Any) -> Trainer:
    """Stop a training after its first epoch, and finish it with another trainer."""
    run_epoch = Trainer._run_epoch

    def interrupted(self: Trainer, epoch: int, bar: Any) -> dict[str, Any]:
        if epoch == 1:
            raise KeyboardInterrupt
        return run_epoch(self, epoch, bar)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_run_epoch", interrupted)
        make(folder=folder).fit()
    resumed = make(folder=folder)
    resumed.fit()
    return resumed


# Moving average


def test_the_average_follows_the_weights_step_by_step_and_is_what_is_validated_and_kept(
    tiny_splits, monkeypatch
):
    decay, validated = 0.7, []
    trainer = make_trainer(tiny_splits, ema_decay=decay, epochs=3, selection="last", learning_rate=0.02)
    steps: list[dict[str, Tensor]] = []
    trainer.optimizer.register_step_post_hook(lambda *_: steps.append(copy_of(trainer.network)))

    def predicted(network: nn.Module, images: np.ndarray, *, device: str) -> np.ndarray:
        validated.append(copy_of(network))
        return tiny_splits.validation.labels

    monkeypatch.setattr(loop_module, "predicted_classes", predicted)
    trainer.fit()
    assert len(steps) == 6 and len(validated) == 3
    expected = {name: tensor.double() for name, tensor in steps[0].items()}
    for number, state in enumerate(steps):
        if number:
            expected = {name: decay * e + (1 - decay) * state[name] for name, e in expected.items()}
        if number % 2:
            for name, tensor in validated[number // 2].items():
                if tensor.is_floating_point():
                    torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert equal_states(trainer.network.state_dict(), validated[-1])
    assert not equal_states(validated[-1], steps[-1]), "the average is not the last step"


def test_without_decay_nothing_is_averaged(tiny_splits):
    assert make_trainer(tiny_splits).averaged is None


def test_an_interrupted_average_ends_as_an_uninterrupted_one(tiny_splits, tmp_path, monkeypatch):
    def make(**options: Any) -> Trainer:
        return make_trainer(
            tiny_splits, ema_decay=0.8, epochs=3, mitigation="gradient_reversal", selection="last", **options
        )

    whole = make()
    whole.fit()
    resumed = interrupt_and_resume(make, tmp_path, monkeypatch)
    for part in ("network", "averaged", "mitigation"):
        assert equal_states(getattr(whole, part).state_dict(), getattr(resumed, part).state_dict()), part
    assert int(resumed.averaged.n_averaged) == 6


# Parts of a batch


def gradients_of(trainer: Trainer) -> dict[str, Tensor]:
    modules = {"network": trainer.network, "extra": trainer.extra, "mitigation": trainer.mitigation}
    named = [(f"{m}.{n}", p) for m, module in modules.items() for n, p in module.named_parameters()]
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def options_of(mitigation: str = "none") -> dict[str, Any]:
    """A network whose answer for an image does not depend on the others of the batch."""
    return {"network": make_network(1, "test_vit"), "mitigation": mitigation, "batch_size": 24}


@pytest.mark.parametrize("micro_batch", [6, 8, 12, 24, 100])
@pytest.mark.parametrize("mitigation", ["none", "gradient_reversal"])
def test_equal_parts_give_the_gradients_of_the_whole_batch(tiny_splits, mitigation, micro_batch):
    whole = make_trainer(tiny_splits, **options_of(mitigation))
    parts = make_trainer(tiny_splits, micro_batch=micro_batch, **options_of(mitigation))
    (batch, *_) = whole.stream.epoch(0)
    assert len(whole._backward(batch, 0.4)) == 1
    assert len(parts._backward(batch, 0.4)) == max(1, 24 // micro_batch)
    expected, found = gradients_of(whole), gradients_of(parts)
    assert expected.keys() == found.keys()
    for name in expected:
        # The adversary's penalty is scaled by the batch's variance, which a part has its own of.
        if not name.startswith("mitigation") or micro_batch >= 24:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("mitigation", ALL_MITIGATIONS)
def test_the_gradients_of_the_parts_are_averaged_as_if_each_were_a_step_s_batch(tiny_splits, mitigation):
    settings = {"mitigation": mitigation, "distiller": "kd+hint", "adversary_weight": 3.0}
    settings |= {"network": tiny_network(4, 1), "teachers": [tiny_network(6, 2)]}
    together = make_trainer(tiny_splits, micro_batch=8, **settings)
    settings["network"] = tiny_network(4, 1)
    alone = make_trainer(tiny_splits, **settings)
    (batch, *_) = alone.stream.epoch(0)
    each = []
    for part in batch.split(8):
        alone._zero_grad()
        alone._backward(part, 0.4)
        each.append(gradients_of(alone))
    together._backward(batch, 0.4)
    found = gradients_of(together)
    assert len(each) == 3 and found.keys() == each[0].keys()
    assert any(name.startswith("extra") for name in found)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, sum(one[name] for one in each) / 3, rtol=1e-5, atol=1e-7)


def test_a_training_in_parts_takes_as_many_steps_and_logs_the_same(tiny_splits):
    histories = []
    for micro_batch in (None, 12):
        trainer = make_trainer(tiny_splits, micro_batch=micro_batch, optimizer="sgd", **options_of())
        taken: list[int] = []
        trainer.optimizer.register_step_post_hook(lambda *_, taken=taken: taken.append(1))
        histories.append(trainer.fit())
        assert len(taken) == 4
    whole, parts = (history.filter(like="train_") for history in histories)
    np.testing.assert_allclose(parts.to_numpy(), whole.to_numpy(), rtol=1e-3)


@pytest.mark.parametrize(("call", "step"), [(2, 1), (5, 3), (6, 3), (7, 4), (8, 5)])
def test_a_loss_that_is_not_finite_in_a_part_names_the_step(tiny_splits, call, step):
    """Batches of 10, 10, 10, 9 and 9 images have 2, 2, 2, 1 and 1 parts of up to 9."""
    count, plain = 0, task_step()

    def broken(outputs: Any, batch: Any, progress: float) -> dict[str, Tensor]:
        nonlocal count
        count += 1
        return {"loss": plain(outputs, batch, progress)["loss"] * (float("nan") if count == call else 1)}

    trainer = make_trainer(tiny_splits, step=broken, batch_size=10, micro_batch=9, epochs=1)
    with pytest.raises(TrainingError, match=f"epoch 1, step {step} "):
        trainer.fit()


# Number formats


def changes_of(trainer: Trainer) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Train one step; return how far each parameter moved, and the adversary's gradients."""
    adversary: list[Tensor] = []
    if trainer.mitigation_optimizer:
        trainer.mitigation_optimizer.register_step_pre_hook(
            lambda *_: adversary.extend(p.grad.clone() for p in trainer.mitigation.parameters())
        )
    parts = {"network": trainer.network, "extra": trainer.extra}
    before = {(part, n): p.detach().clone() for part, m in parts.items() for n, p in m.named_parameters()}
    (batch,) = trainer.stream.epoch(0)
    trainer._backward(batch, 0.5)
    trainer._update()
    after = {(part, n): p.detach() for part, m in parts.items() for n, p in m.named_parameters()}
    return {key: after[key] - before[key] for key in before}, adversary


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("mitigation", ["gradient_reversal", "projection", "uniform_confusion", "laftr"])
def test_the_first_step_is_float32_s_but_for_rounding(tiny_splits, precision, mitigation):
    """Above all, what was enlarged for float16 is applied in its true size, each part of it once."""
    settings = {"distiller": "kd+hint", "mitigation": mitigation, "optimizer": "sgd", "batch_size": 48}
    settings |= {"teachers": [tiny_network(6, 2)], "learning_rate": 0.1}
    plain = make_trainer(tiny_splits, network=tiny_network(4, 1), **settings)
    short = make_trainer(tiny_splits, network=tiny_network(4, 1), precision=precision, **settings)
    if precision == "float16":
        short.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    (expected, adversary), (found, short_adversary) = changes_of(plain), changes_of(short)
    moved = {key: change for key, change in expected.items() if change.norm() > 1e-4}
    assert {"network", "extra"} <= {part for part, _ in moved} and len(moved) >= 6
    for key, change in moved.items():
        assert relative(found[key], change) < 0.1, key
    assert len(adversary) == 4
    for one, other in zip(short_adversary, adversary, strict=True):
        assert relative(one, other) < 0.1


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("mitigation", ["none", "gradient_reversal", "projection"])
def test_shorter_formats_train_to_nearly_the_same_loss(tiny_splits, precision, mitigation):
    settings = {"distiller": "kd+hint", "mitigation": mitigation, "epochs": 4, "optimizer": "sgd"}
    settings |= {"teachers": [make_network(7, "resnet10t")], "learning_rate": 0.02}
    losses = {}
    for chosen in ("float32", precision):
        trainer = make_trainer(tiny_splits, precision=chosen, **settings)
        if chosen == "float16":
            trainer.scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        history = trainer.fit()
        assert np.isfinite(history.filter(like="train_")).all(axis=None)
        losses[chosen] = history["train_loss"].to_numpy()
    assert losses["float32"][-1] < 0.9 * losses["float32"][0], "something is learned"
    np.testing.assert_allclose(losses[precision], losses["float32"], rtol=0.1)


def test_the_network_computes_in_the_short_format_and_the_losses_in_float32(tiny_splits):
    inside, outside = [], []
    trainer = make_trainer(tiny_splits, precision="bfloat16")
    trainer.network.classifier.register_forward_hook(lambda *args: inside.append(args[2].dtype))
    plain = trainer.step

    def step(outputs: Any, batch: Any, progress: float) -> dict[str, Tensor]:
        outside.extend(output.dtype for output in outputs)
        assert not torch.is_autocast_enabled("cpu")
        return plain(outputs, batch, progress)

    trainer.step = step
    trainer._train_epoch(0, _NoBar())
    assert set(inside) == {torch.bfloat16} and set(outside) == {torch.float32}
    assert {p.dtype for p in trainer.network.parameters()} == {torch.float32}


class _NoBar:
    def update(self, *_: Any, **__: Any) -> None:
        pass


def test_float16_skips_a_step_whose_gradients_overflow_and_goes_on_with_smaller_ones(tiny_splits):
    trainer = make_trainer(
        tiny_splits,
        precision="float16",
        distiller="hint",
        network=tiny_network(4, 1),
        teachers=[tiny_network(6, 2)],
    )
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = copy_of(trainer.network), copy_of(trainer.extra)
    batches = list(trainer.stream.epoch(0))
    trainer._backward(batches[0], 0.5)
    trainer._update()
    after = dict(trainer.network.named_parameters())
    assert all(torch.equal(tensor, before[0][name]) for name, tensor in after.items())
    assert equal_states(copy_of(trainer.extra), before[1])
    assert trainer.scaler.get_scale() == 2.0**39
    for _ in range(40):
        trainer._backward(batches[1], 0.5)
        trainer._update()
    assert all(torch.isfinite(tensor).all() for tensor in trainer.network.parameters())
    assert not torch.equal(
        trainer.network.classifier.weight, before[0]["backbone.fc.weight"]
    ) or not torch.equal(
        trainer.network.backbone.convolution.weight, before[0]["backbone.convolution.weight"]
    )


def test_an_interrupted_float16_training_ends_as_an_uninterrupted_one(tiny_splits, tmp_path, monkeypatch):
    def make(**options: Any) -> Trainer:
        trainer = make_trainer(tiny_splits, precision="float16", epochs=3, selection="last", **options)
        # A scale that changes in the first epoch, so that there is something to restore.
        trainer.scaler = torch.amp.GradScaler("cpu", init_scale=512.0, growth_interval=2)
        return trainer

    whole = make()
    whole.fit()
    resumed = interrupt_and_resume(make, tmp_path, monkeypatch)
    assert equal_states(whole.network.state_dict(), resumed.network.state_dict())
    assert whole.scaler.state_dict() == resumed.scaler.state_dict()
    assert resumed.scaler.get_scale() != 512


# Compilation


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("c++")), reason="needs a C++ compiler")
@pytest.mark.parametrize("mitigation", ["none", "gradient_reversal", "projection"])
def test_a_compiled_training_gives_what_a_plain_one_does(tiny_splits, mitigation):
    networks = []
    for compiled in (False, True):
        trainer = make_trainer(
            tiny_splits,
            network=tiny_network(4, 1),
            teachers=[tiny_network(6, 2)],
            mitigation=mitigation,
            compile=compiled,
            optimizer="sgd",
            selection="last",
        )
        trainer.fit()
        networks.append(trainer.network)
    plain, fast = (network.state_dict() for network in networks)
    assert plain.keys() == fast.keys()
    for name, tensor in plain.items():
        torch.testing.assert_close(fast[name], tensor, rtol=1e-4, atol=1e-4)


# Optimisers


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_fused_optimiser_takes_the_steps_of_torch_s_plain_one(tiny_splits: Splits, name):
    trainer = make_trainer(tiny_splits, optimizer=name, learning_rate=0.05, weight_decay=0.1)
    fused = trainer.optimizer
    assert fused.defaults["fused"]
    modules = copy.deepcopy(nn.ModuleList([trainer.network, trainer.extra]))
    parameters = list(modules.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    options = {"lr": 0.05, "foreach": False, "fused": False}
    plain = (
        torch.optim.AdamW(groups, **options)
        if name == "adamw"
        else torch.optim.SGD(groups, momentum=0.9, nesterov=True, **options)
    )
    generator = torch.Generator().manual_seed(0)
    own = [*trainer.network.parameters(), *trainer.extra.parameters()]
    for _ in range(5):
        for one, other in zip(own, parameters, strict=True):
            # In the parameter's own layout, as torch's gradients are.
            one.grad = torch.empty_like(one).normal_(generator=generator)
            other.grad = one.grad.clone()
        fused.step()
        plain.step()
    for one, other in zip(own, parameters, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("micro_batch", [None, 12])
@pytest.mark.parametrize("mitigation", ALL_MITIGATIONS)
def test_gradients_lie_in_memory_as_their_parameters_do(tiny_splits, mitigation, micro_batch):
    """torch's fused optimisers take that for granted on the CPU: with another layout they move the wrong weights."""
    trainer = make_trainer(
        tiny_splits,
        mitigation=mitigation,
        micro_batch=micro_batch,
        distiller="hint",
        distill_options={"distill_from": "maps"},
        teachers=[make_network(7, "resnet10t")],
    )
    (batch, *_) = trainer.stream.epoch(0)
    trainer._backward(batch, 0.5)
    parameters = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    layouts = [
        (parameter.detach().squeeze().stride(), parameter.grad.squeeze().stride())
        for parameter in parameters
        if parameter.grad is not None
    ]
    assert len(layouts) > 15 and all(own == gradient for own, gradient in layouts)
    assert any(not p.is_contiguous() for p in parameters), "some are channels-last"
