"""``micro_batch="auto"``: where memory is short a step is computed again, in smaller parts, with the same gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from training_cases import equal_states, make_network, make_trainer

from fairkd.errors import TrainingError
from fairkd.training import task_step
from fairkd.training.memory import activation_bytes, describe_shortage, is_out_of_memory

# So few steps rarely suffice to predict more than one class.
pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"
    ),
    MemoryError(),
]


def short_of_memory(largest: int, error: BaseException = ERRORS[0], noise: bool = False) -> Any:
    """A step that fails, after the network has computed, where a part has more than ``largest`` images."""
    plain = task_step()

    def step(outputs, batch, progress):
        factor = 1 + torch.rand(()) if noise else 1
        losses = {"loss": plain(outputs, batch, progress)["loss"] * factor}
        if len(batch.labels) > largest:
            raise error
        return losses

    return step


def gradients(trainer: Any, batch: Any) -> dict[str, Tensor]:
    trainer._backward(batch, 0.4)
    named = trainer.network.named_parameters()
    return {name: parameter.grad.clone() for name, parameter in named if parameter.grad is not None}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("size", [24, 23])
def test_the_gradients_are_those_of_the_whole_batch(tiny_splits, error, size):
    """Of a network without batch normalisation, whose answer for an image depends on that image alone."""
    whole = make_trainer(tiny_splits, network=make_network(1, "test_vit"), step=task_step())
    network = make_network(1, "test_vit")
    step = short_of_memory(6, error)
    auto = make_trainer(tiny_splits, network=network, step=step, micro_batch="auto")
    batch = next(iter(whole.stream.epoch(0)))[:size]
    expected, found = gradients(whole, batch), gradients(auto, batch)
    assert auto.part == 6
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-6)


def test_a_failed_attempt_leaves_no_trace(tiny_splits):
    """With batch normalisation a part has statistics of its own: as if it had been chosen from the start."""
    torch.manual_seed(3)
    auto = make_trainer(tiny_splits, step=short_of_memory(6, noise=True), micro_batch="auto")
    batch = next(iter(auto.stream.epoch(0)))
    found = gradients(auto, batch)
    torch.manual_seed(3)
    chosen = make_trainer(tiny_splits, step=short_of_memory(6, noise=True), micro_batch=6)
    assert equal_states(gradients(chosen, batch), found)
    assert equal_states(chosen.network.state_dict(), auto.network.state_dict())


def test_the_history_says_how_small_the_parts_were_and_a_rerun_goes_on_with_them(tiny_splits, tmp_path):
    history = make_trainer(
        tiny_splits, step=short_of_memory(12), micro_batch="auto", folder=tmp_path, epochs=1
    ).fit()
    assert history["micro_batch"].tolist() == [12]
    resumed = make_trainer(tiny_splits, step=task_step(), micro_batch="auto", folder=tmp_path)
    assert resumed.part == 24
    assert resumed.checkpoint.load() == 1 and resumed.part == 12


def test_without_auto_the_error_names_the_batch_the_need_and_the_way_out(tiny_splits):
    with pytest.raises(TrainingError) as caught:
        make_trainer(tiny_splits, step=short_of_memory(6)).fit()
    need = activation_bytes(make_network(), next(iter(make_trainer(tiny_splits).stream.epoch(0))).images)
    assert need is not None
    assert str(caught.value) == (
        f"student fair: a batch of 24 images does not fit into memory, about {24 * need / 1e6:.1f} MB for the "
        f"network ({need / 1e6:.1f} MB an image); set micro_batch=auto or micro_batch=12, or lower batch_size"
    )


def test_several_processes_are_not_told_of_auto_which_they_cannot_have():
    images = torch.zeros(24, 3, 16, 16)
    message = describe_shortage(make_network(), images, 24, several=True)
    assert message.endswith("; set micro_batch=12, or lower batch_size")


def test_parts_are_not_made_smaller_than_four_images(tiny_splits):
    with pytest.raises(TrainingError, match=r"24 images, 4 at once does not fit .*lower image_size, or"):
        make_trainer(tiny_splits, step=short_of_memory(0), micro_batch="auto").fit()


def test_other_errors_are_left_as_they_are(tiny_splits):
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match=r"^shapes do not match$"):
        make_trainer(
            tiny_splits, step=short_of_memory(6, RuntimeError("shapes do not match")), micro_batch="auto"
        ).fit()


def test_the_estimate_is_what_the_layers_keep():
    """A linear layer keeps its input, ReLU its output: 100 + 50 numbers an image, of 4 bytes."""
    layers = torch.nn.Sequential(torch.nn.Linear(100, 50), torch.nn.ReLU())
    images = torch.zeros(8, 100)
    assert activation_bytes(layers, images) == 4 * (8 * 100 / 2 + 50)
