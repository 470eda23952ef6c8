from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax as scipy_softmax

from fairkd.errors import ParameterError
from fairkd.inference import outputs_of, predict, predicted_classes, softmax
from fairkd.models import create_model


@pytest.fixture
def network():
    return create_model("resnet8_cifar", 3, image_size=16, seed=1)


def test_outputs_do_not_depend_on_the_batches_they_are_computed_in(network, tiny_splits):
    images = tiny_splits.test.images
    whole = outputs_of(network.train(), images)
    assert whole.logits.shape == (24, 3) and whole.features.shape == (24, 64)
    assert whole.logits.dtype == whole.features.dtype == np.float32
    parts = outputs_of(network, images, batch_size=7)
    np.testing.assert_allclose(whole.logits, parts.logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(whole.features, parts.features, rtol=1e-4, atol=1e-5)


def test_outputs_are_those_of_the_network_in_evaluation_mode_without_gradients(network, tiny_splits):
    images = torch.from_numpy(tiny_splits.test.images).permute(0, 3, 1, 2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    outputs = outputs_of(network.train(), tiny_splits.test.images)
    assert not network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    with torch.no_grad():
        expected = network.eval()(images.contiguous())
    np.testing.assert_allclose(outputs.logits, expected.logits.numpy(), rtol=1e-4, atol=1e-5)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_predicted_classes_are_the_likeliest(network, tiny_splits):
    images = tiny_splits.test.images
    expected = outputs_of(network, images).logits.argmax(axis=1)
    assert np.array_equal(predicted_classes(network, images), expected)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 7.5])
def test_softmax_is_scipy_s(temperature):
    logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32) * 50
    result = softmax(logits, temperature)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, scipy_softmax(logits.astype(float) / temperature, axis=1))
    # Logits beyond what exp can hold, and a single row.
    np.testing.assert_allclose(softmax(np.array([1e4, -1e4])), [1, 0])


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_row_keeps_its_own_label_group_index_and_unit(network, tiny_splits, split):
    images = dict(tiny_splits.items())[split]
    shuffled = np.random.default_rng(0).permutation(len(images))
    parts = dict(tiny_splits.items()) | {split: images.subset(shuffled)}
    splits = type(tiny_splits)(**{**vars(tiny_splits), **parts})
    predictions = predict(network, splits, split)
    frame = predictions.frame
    assert frame["index"].tolist() == images.index[shuffled].tolist()
    assert frame["unit"].tolist() == images.unit[shuffled].tolist()
    assert frame["label"].tolist() == [splits.class_names[label] for label in images.labels[shuffled]]
    assert frame["group"].tolist() == [splits.group_names[group] for group in images.groups[shuffled]]
    assert set(frame["split"]) == {split}
    expected = softmax(outputs_of(network, images.images[shuffled]).logits)
    np.testing.assert_allclose(predictions.probabilities, expected)
    assert np.array_equal(predictions.predicted, expected.argmax(axis=1))


def test_an_unknown_split_is_answered_with_those_there_are(network, tiny_splits):
    with pytest.raises(ParameterError, match="split='val' is unknown: allowed: train, validation, test"):
        predict(network, tiny_splits, "val")
