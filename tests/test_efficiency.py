from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from fairkd.efficiency import latency_ms, macs, measure
from fairkd.models import create_model


def conv(inputs: int, outputs: int, kernel: int, size: int) -> tuple[int, int]:
    """Parameters and multiply-accumulates of a convolution whose output is ``size`` pixels wide, no bias."""
    weights = inputs * outputs * kernel**2
    return weights, weights * size**2


# (in, out, kernel, output size) of every convolution of ResNet-8 on 32-pixel images, from He et al. 2016.
RESNET8 = [
    (3, 16, 3, 32),
    *[(16, 16, 3, 32)] * 2,
    *[(16, 32, 3, 16), (32, 32, 3, 16), (16, 32, 1, 16)],
    *[(32, 64, 3, 8), (64, 64, 3, 8), (32, 64, 1, 8)],
]
CLASSES = 5
LINEAR = 64 * CLASSES


@pytest.mark.parametrize("scale", [1, 2])
def test_macs_of_a_resnet_are_the_sum_over_its_convolutions(scale):
    network = create_model("resnet8_cifar", CLASSES, image_size=32 * scale).train()
    by_hand = sum(conv(*layer)[1] for layer in RESNET8) * scale**2 + LINEAR
    assert macs(network, 32 * scale) == by_hand


def test_parameters_of_a_resnet_are_those_of_its_layers():
    network = create_model("resnet8_cifar", CLASSES)
    by_hand = sum(conv(*layer)[0] for layer in RESNET8)
    # Scale and shift after each convolution; weights and biases of the classifier.
    by_hand += sum(2 * outputs for _, outputs, _, _ in RESNET8) + LINEAR + CLASSES
    assert network.param_count == by_hand


def test_a_frozen_parameter_is_not_counted_as_trainable():
    network = create_model("resnet8_cifar", CLASSES)
    whole = network.param_count
    network.backbone.fc.requires_grad_(False)
    assert whole - network.param_count == LINEAR + CLASSES


def test_latency_is_a_positive_median_over_the_asked_repetitions(monkeypatch):
    network = create_model("resnet8_cifar", CLASSES, image_size=16)
    calls = []
    network.register_forward_hook(lambda module, inputs, outputs: calls.append(inputs[0].shape))
    clock = iter([t for seconds in (9.0, 0.001, 0.004, 0.002) for t in (0.0, seconds)])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert latency_ms(network, 16, batch_size=2, repetitions=3, warm_up=1) == pytest.approx(2.0)
    assert calls == [torch.Size([2, 3, 16, 16])] * 4


def test_measure_names_units_and_takes_the_file_s_size(tmp_path):
    network = create_model("resnet8_cifar", CLASSES, image_size=16)
    measured = measure(network, 16)
    assert list(measured) == ["param_count", "macs", "weights_mb", "latency_ms", "throughput", "device"]
    assert measured["param_count"] == network.param_count and measured["macs"] == macs(network, 16)
    assert measured["weights_mb"] == pytest.approx(4 * network.param_count / 1e6)
    assert measured["latency_ms"] > 0 and measured["throughput"] > 0 and measured["device"] == "cpu"
    file = tmp_path / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, file)
    assert measure(network, 16, file)["weights_mb"] == pytest.approx(file.stat().st_size / 1e6)


def test_throughput_is_images_a_second_of_a_batch_of_64(monkeypatch):
    monkeypatch.setattr("fairkd.efficiency.latency_ms", lambda *_, batch_size=1, **__: 0.5 * batch_size)
    measured = measure(create_model("resnet8_cifar", CLASSES, image_size=16), 16)
    assert (measured["latency_ms"], measured["throughput"]) == (0.5, pytest.approx(64 / 0.032))
