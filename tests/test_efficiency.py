"""What a model costs: counts against the papers' arithmetic, times and energy against made-up clocks and counters."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fairkd import efficiency
from fairkd.efficiency import (
    NO_ENERGY,
    EnergyCounter,
    energy_counter,
    hardware,
    macs,
    measure,
    measure_calls,
    peak_memory_mb,
    time_calls,
)
from fairkd.models import Network, create_model

CPU = torch.device("cpu")


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


# Times


def test_times_are_taken_after_the_warm_up_and_once_the_device_is_done(monkeypatch):
    events = []
    clock = iter([t for seconds in (0.001, 0.004, 0.002) for t in (0.0, seconds)])
    monkeypatch.setattr("time.perf_counter", lambda: (events.append("clock"), next(clock))[1])
    timing = time_calls(
        lambda: events.append("call"), repetitions=3, warm_up=2, wait=lambda: events.append("wait")
    )
    assert timing.median_ms == pytest.approx(2.0)
    # Between the second and the third of 1, 2 and 4 ms, at 0.95 x 2 = 1.9 steps from the first.
    assert timing.p95_ms == pytest.approx(2 + 0.9 * 2)
    assert events == ["call", "call", "wait", *["clock", "call", "wait", "clock"] * 3]


def test_energy_is_the_counter_s_rise_for_each_call_without_the_warm_up():
    readings, used = iter([100.0, 130.0]), []
    timing = time_calls(
        lambda: used.append(1),
        repetitions=10,
        warm_up=3,
        energy=lambda: (used.append("read"), next(readings))[1],
    )
    assert timing.energy_mj == pytest.approx(3.0)
    assert used == [1, 1, 1, "read", *[1] * 10, "read"]


def test_without_a_counter_energy_is_not_a_number():
    assert torch.tensor(time_calls(lambda: None, repetitions=1).energy_mj).isnan()


def test_throughput_is_images_a_second_of_a_batch_of_64(monkeypatch):
    sizes = []
    monkeypatch.setattr(efficiency, "energy_counter", lambda device: EnergyCounter("test", lambda: 0.0))
    monkeypatch.setattr(efficiency, "time_calls", lambda call, **_: efficiency.Timing(*call(), energy_mj=7.0))
    found = measure_calls(lambda size: (sizes.append(size), lambda: (0.5 * size, size))[1], CPU, "test 1.0")
    assert sizes == [1, 64]
    assert (found["latency_ms"], found["latency_p95_ms"]) == (0.5, 1)
    assert (found["batch64_latency_ms"], found["batch64_latency_p95_ms"]) == (32, 64)
    assert found["throughput"] == pytest.approx(64 / 0.032)
    assert (found["energy_mj"], found["energy_source"], found["runtime"]) == (7.0, "test", "test 1.0")


# Energy counters


def zone(folder, name, energy, largest=999_999):
    (folder / name).mkdir(parents=True)
    (folder / name / "energy_uj").write_text(f"{energy}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{largest}\n")
    return folder / name / "energy_uj"


def test_rapl_adds_the_packages_and_not_their_parts(tmp_path):
    first, second = zone(tmp_path, "intel-rapl:0", 1000), zone(tmp_path, "intel-rapl:1", 500)
    part = zone(tmp_path, "intel-rapl:0:0", 10)
    again = zone(tmp_path, "intel-rapl-mmio:0", 10)
    counter = energy_counter(CPU, tmp_path)
    before = counter.read()
    for file, energy in ((first, 4000), (second, 2500), (part, 9000), (again, 9000)):
        file.write_text(str(energy))
    assert counter.read() - before == pytest.approx(5.0)  # 3,000 + 2,000 µJ
    assert "RAPL" in counter.source


def test_rapl_counts_on_when_the_counter_starts_again(tmp_path):
    file = zone(tmp_path, "intel-rapl:0", 9_000, largest=9_999)
    counter = energy_counter(CPU, tmp_path)
    file.write_text("500")
    assert counter.read() == pytest.approx(1.5)  # 9,000 to 9,999, one step to 0, and 500 more
    file.write_text("700")
    assert counter.read() == pytest.approx(1.7)


@pytest.mark.parametrize("energy", [None, "not a number"])
def test_what_cannot_be_read_is_not_offered(tmp_path, energy):
    if energy is not None:
        zone(tmp_path, "intel-rapl:0", energy)
    assert energy_counter(CPU, tmp_path) is None


def test_nvml_reads_the_gpu_that_torch_uses(monkeypatch):
    asked = []
    nvml = types.SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: (asked.append(uuid), "handle")[1],
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: 12 if handle == "handle" else None,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: types.SimpleNamespace(uuid="abc"))
    counter = energy_counter(torch.device("cuda", 1))
    assert (counter.read(), asked) == (12.0, ["GPU-abc"])
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert energy_counter(torch.device("cuda", 1)) is None


# Memory


class Chain(nn.Module):
    """Five results of one size, normalisation included, of which at most three are alive at once."""

    def forward_features(self, images):
        return ((images + 1) * 2).neg()

    def forward_head(self, hidden, pre_logits):
        return hidden.flatten(1)

    def get_classifier(self):
        return nn.Identity()


def test_peak_memory_is_what_is_alive_together():
    network = Network(Chain(), (0.5,) * 3, (0.25,) * 3)
    images, statistics = 4 * 3 * 10 * 10, 2 * 4 * 3
    # The normalised images stay while ``forward_features`` runs, beside an operation's input and its result. The
    # flat form at the end is a view of the last.
    assert peak_memory_mb(network, 10) == pytest.approx((statistics + images + 3 * images) / 1e6)
    more = peak_memory_mb(network, 10, batch_size=8)
    assert more == pytest.approx((statistics + 8 * 4 * images) / 1e6)


def test_peak_memory_holds_the_weights_and_the_largest_maps():
    network = create_model("resnet8_cifar", CLASSES)
    weights = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    first_maps = 4 * 16 * 32 * 32
    assert peak_memory_mb(network, 32) * 1e6 > weights + 2 * first_maps
    assert peak_memory_mb(network, 32) == peak_memory_mb(network, 32)


# The whole


def test_measure_names_units_and_takes_the_file_s_size(tmp_path):
    network = create_model("resnet8_cifar", CLASSES, image_size=16).train()
    measured = measure(network, 16)
    assert list(measured) == [
        *("param_count", "macs", "weights_mb", "latency_ms", "latency_p95_ms", "batch64_latency_ms"),
        *("batch64_latency_p95_ms", "throughput", "energy_mj", "energy_source", "device", "hardware"),
        *("runtime", "peak_memory_mb", "batch64_peak_memory_mb"),
    ]
    assert measured["param_count"] == network.param_count and measured["macs"] == macs(network, 16)
    assert measured["weights_mb"] == pytest.approx(4 * network.param_count / 1e6)
    assert 0 < measured["latency_ms"] <= measured["latency_p95_ms"]
    assert measured["throughput"] == pytest.approx(64_000 / measured["batch64_latency_ms"])
    assert measured["device"] == "cpu" and measured["runtime"] == f"torch {torch.__version__}"
    assert measured["peak_memory_mb"] < measured["batch64_peak_memory_mb"]
    assert (measured["energy_source"] == NO_ENERGY) == (measured["energy_mj"] != measured["energy_mj"])
    file = tmp_path / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, file)
    assert measure(network, 16, file)["weights_mb"] == pytest.approx(file.stat().st_size / 1e6)


def test_hardware_names_the_processor_and_the_threads(tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    file.write_text("processor : 0\nmodel name\t: A Processor @ 2 GHz\nprocessor : 1\nmodel name : other\n")
    monkeypatch.setattr(efficiency, "_CPU_INFO", file)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert hardware(CPU) == "A Processor @ 2 GHz, 3 threads"
    monkeypatch.setattr(efficiency, "_CPU_INFO", tmp_path / "none")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert hardware(CPU).endswith(", 1 thread") and not hardware(CPU).startswith(",")
