"""Teachers never change; calibrated, their confidence is right on validation data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from method_cases import batch_of
from scipy.special import softmax
from torch import nn

from fairkd.data.batches import Batch
from fairkd.models import create_model
from fairkd.predictions import Predictions
from fairkd.soft_labels import calibration_temperature
from fairkd.teachers import MINIMUM_SAMPLES, Teachers, calibration_temperatures

CLASSES = 4


def make(seed: int):
    return create_model("resnet8_cifar", 3, image_size=16, seed=seed)


def images_of(batch: Batch) -> Batch:
    images = torch.randint(0, 256, (len(batch.labels), 3, 16, 16), dtype=torch.uint8)
    return Batch(images, batch.labels, batch.groups, batch.index)


# Frozen


def test_teachers_answer_in_evaluation_mode_without_gradient_whatever_surrounds_them():
    networks = [make(1).train(), make(2).train()]
    before = [{k: v.clone() for k, v in network.state_dict().items()} for network in networks]
    teachers = Teachers(networks)
    batch = images_of(batch_of([0, 1, 2], [0, 1, -1]))
    around = nn.ModuleList([teachers]).train()
    assert around.training and not any(module.training for module in teachers.modules())
    answers = teachers(batch)
    assert len(answers) == 2 and not any(tensor.requires_grad for answer in answers for tensor in answer)
    for network, answer, state in zip(networks, answers, before, strict=True):
        with torch.no_grad():
            assert torch.equal(answer.logits, network.eval()(batch.images).logits)
        assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_a_network_is_counted_and_can_be_trained_as_before_it_taught():
    network = make(1)
    size = network.param_count
    Teachers([network])(images_of(batch_of([0], [0])))
    assert network.param_count == size > 0


def test_logits_are_divided_by_the_temperature_of_the_sample_s_group():
    networks = [make(1), make(2)]
    temperatures = torch.tensor([[2.0, 4.0, 3.0], [0.5, 1.0, 0.25]])
    batch = images_of(batch_of([0, 1, 2, 0], [0, 1, -1, 1]))
    plain, calibrated = Teachers(networks)(batch), Teachers(networks, temperatures)(batch)
    for number, scales in enumerate([[2.0, 4.0, 3.0, 4.0], [0.5, 1.0, 0.25, 1.0]]):
        expected = plain[number].logits / torch.tensor(scales)[:, None]
        torch.testing.assert_close(calibrated[number].logits, expected)
        assert torch.equal(calibrated[number].features, plain[number].features)


# Calibrated


def drawn(n: int, factor: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are too sure by ``factor``, and labels drawn from what they should be."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, CLASSES))
    labels = (softmax(logits, axis=1).cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return softmax(factor * logits, axis=1), labels


def predictions_of(parts: list[tuple[int, float, int]]) -> Predictions:
    """Predictions of groups ``(samples, factor, group)``."""
    pieces = [(*drawn(n, factor, seed), np.full(n, group)) for seed, (n, factor, group) in enumerate(parts)]
    probabilities, labels, groups = (np.concatenate(column) for column in zip(*pieces, strict=True))
    return Predictions.from_arrays(
        labels=labels,
        groups=groups,
        probabilities=probabilities,
        class_names=[f"class {number}" for number in range(CLASSES)],
        group_names=["red", "green", "blue"],
        index=np.arange(len(labels)),
        unit=np.arange(len(labels)),
        split="validation",
    )


def test_each_group_gets_its_own_temperature_and_the_last_is_that_of_all():
    validation = predictions_of([(4000, 3.0, 0), (4000, 0.5, 1), (4000, 1.0, 2), (1000, 1.0, -1)])
    fitted = calibration_temperatures(validation, "group")
    assert fitted.dtype == torch.float32
    np.testing.assert_allclose(fitted[:3].numpy(), [3.0, 0.5, 1.0], rtol=0.08)
    overall = calibration_temperature(np.log(validation.probabilities), validation.labels)
    assert fitted[3].item() == pytest.approx(overall, rel=1e-6)
    glob = calibration_temperatures(validation, "global")
    np.testing.assert_allclose(glob.numpy(), [overall] * 4, rtol=1e-6)


def test_a_group_with_few_samples_takes_the_temperature_of_all():
    few = MINIMUM_SAMPLES - 1
    fitted = calibration_temperatures(predictions_of([(4000, 3.0, 0), (few, 0.2, 1)]), "group").numpy()
    assert fitted[1] == fitted[2] == fitted[3] != fitted[0]
    enough = calibration_temperatures(predictions_of([(4000, 3.0, 0), (MINIMUM_SAMPLES, 0.2, 1)]), "group")
    assert enough[1] < 0.5 < enough[2]
