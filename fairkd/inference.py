"""``predict``: a network and a split become a table; the one place where tensors turn into rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from fairkd.data.splits import Splits
from fairkd.errors import ParameterError, check_type
from fairkd.models import Network
from fairkd.predictions import Predictions
from fairkd.progress import track

#: Images a batch by kind of device: what a CPU's caches hold, what keeps a GPU busy.
_BATCH = {"cpu": 128}
_GPU_BATCH = 1024


class ArrayOutputs(NamedTuple):
    """``logits (n, classes)`` and pooled ``features (n, dim)`` of a whole image set, float32."""

    logits: np.ndarray
    features: np.ndarray


def inference_batch(device: torch.device) -> int:
    """Return how many images a batch without gradients should have on a device."""
    return _BATCH.get(device.type, _GPU_BATCH)


@torch.no_grad()
def outputs_of(
    network: Network,
    images: np.ndarray,
    *,
    device: torch.device | str | None = None,
    batch_size: int | None = None,
) -> ArrayOutputs:
    """Run a network in evaluation mode over ``images (n, height, width, 3)`` uint8.

    Args:
        device: the network is moved there; ``None``: it stays where it is.
        batch_size: images a batch; ``None``: what suits the device.
    """
    device = network.mean.device if device is None else torch.device(device)
    batch_size = inference_batch(device) if batch_size is None else batch_size
    network.to(device).eval()
    logits, features = [], []
    starts = range(0, len(images), batch_size)
    for start in track(starts, "predictions", len(starts)):
        batch = torch.from_numpy(images[start : start + batch_size]).to(device).permute(0, 3, 1, 2)
        outputs = network(batch)
        logits.append(outputs.logits.float().cpu())
        features.append(outputs.features.float().cpu())
    return ArrayOutputs(torch.cat(logits).numpy(), torch.cat(features).numpy())


def predicted_classes(
    network: Network, images: np.ndarray, *, device: torch.device | str | None = None
) -> np.ndarray:
    """Return the predicted class of every image, ``(n,)`` int64."""
    return np.asarray(outputs_of(network, images, device=device).logits.argmax(axis=1))


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return softmax(logits / temperature) over the last axis, in float64."""
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def predict(
    network: Network, splits: Splits, split: str = "test", *, device: torch.device | str | None = None
) -> Predictions:
    """Return a network's predictions on one split, one row a sample.

    Args:
        split: ``train``, ``validation`` or ``test``.
        device: the network is moved there; ``None``: it stays where it is.

    Raises:
        ParameterError: another split, or no network of fairkd's.
    """
    check_type(
        network,
        Network,
        "the network",
        "pass fairkd.create_model(...) or a trained model's .model; the predictions of any other network can be "
        "given to fairkd.evaluate as a table",
    )
    check_type(splits, Splits, "splits", "pass what fairkd.load_splits or fairkd.load_dataset returns")
    parts = dict(splits.items())
    if split not in parts:
        raise ParameterError(f"split={split!r} is unknown: allowed: {', '.join(parts)}")
    images = parts[split]
    return Predictions.from_arrays(
        labels=images.labels,
        groups=images.groups,
        probabilities=softmax(outputs_of(network, images.images, device=device).logits),
        class_names=splits.class_names,
        group_names=splits.group_names,
        index=images.index,
        unit=images.unit,
        split=split,
    )
