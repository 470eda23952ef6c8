"""Where in the image a network finds a class, and whether teacher and student look at the same place.

A saliency map explains a score, not a decision, and a plausible map is no proof that the network works as it suggests
(Adebayo et al. 2018, arXiv 1810.03292). What is compared here is therefore two networks on the same images and class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from fairkd.errors import DataError, ParameterError
from fairkd.models import Network
from fairkd.progress import track

Method = Literal["gradcam", "integrated_gradients"]

#: Images at once, and steps from the baseline to the image; a batch of integrated gradients has their product.
_IMAGES, _STEPS = 32, 32


def saliency_maps(
    network: Network, images: np.ndarray, classes: np.ndarray, method: Method = "gradcam"
) -> np.ndarray:
    """Say for each pixel how much it speaks for a class. The network is left as it was found.

    ``gradcam``: ``relu(sum_k mean(d logit / d A_k) A_k)`` over the channels k of the network's last maps A, enlarged
    bilinearly (Selvaraju et al. 2017, arXiv 1610.02391); not negative, and no finer than those maps.
    ``integrated_gradients``: ``(x - b) * integral of d logit / d x from b to x``, summed over the colours, with the
    network's channel means as b (Sundararajan et al. 2017, arXiv 1703.01365), in 32 steps; of either sign, and the
    pixels sum to the logit at the image less that at b.

    A Grad-CAM map that is the same everywhere points nowhere and is NaN: for an image without positive evidence, for
    a network whose last maps have one position, and for one that reads only a class token after its last block.
    Integrated gradients are defined there too.

    Args:
        network: of any kind; it is run where it is.
        images: ``(n, height, width, 3)``, uint8.
        classes: the class whose logit is explained, ``(n,)`` codes.
        method: one of the two.

    Returns:
        ``(n, height, width)`` float32, in the logit's unit.

    Raises:
        ParameterError: another method.
        DataError: images that are not uint8 RGB, or another number of classes than of images.
    """
    explain = {"gradcam": _gradcam, "integrated_gradients": _integrated}.get(method)
    if explain is None:
        raise ParameterError(f"method={method!r} is unknown: allowed: gradcam, integrated_gradients")
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise DataError(f"images must be uint8 (n, height, width, 3), got {images.dtype} {images.shape}")
    if len(classes) != len(images):
        raise DataError(f"there are {len(images)} images and {len(classes)} classes; needed: one of each")
    device = network.mean.device
    maps = np.empty(images.shape[:3], dtype=np.float32)
    with _evaluating(network), torch.enable_grad():
        starts = range(0, len(images), _IMAGES)
        for start in track(starts, "saliency maps", len(starts)):
            rows = slice(start, start + _IMAGES)
            batch = torch.from_numpy(np.ascontiguousarray(images[rows])).to(device)
            target = torch.from_numpy(np.asarray(classes[rows], dtype=np.int64)).to(device)
            found = explain(network, batch.permute(0, 3, 1, 2).to(network.mean.dtype) / 255, target)
            maps[rows] = found.detach().float().cpu().numpy()
    return maps


def saliency_method(networks: Sequence[Network], images: np.ndarray, classes: np.ndarray) -> Method:
    """Return ``gradcam`` if it points anywhere for each of the networks, else ``integrated_gradients``.

    Args:
        networks: that are to be compared, by one method.
        images: as :func:`saliency_maps`; the first few serve.
        classes: as there.
    """
    few = images[:_IMAGES], np.asarray(classes)[:_IMAGES]
    somewhere = (not np.isnan(saliency_maps(network, *few)).all() for network in networks)
    return "gradcam" if all(somewhere) else "integrated_gradients"


class _LastMaps(nn.Module):
    """A network's logits, with its last maps ``(batch, channels, height, width)`` as a layer of their own."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.maps = network, nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        network = self.network
        backbone = network.backbone
        hidden = backbone.forward_features((images - network.mean) / network.std)  # type: ignore[operator]
        maps = self.maps(network._as_maps(hidden))
        hidden = self._as_hidden(maps, hidden)
        scores = network.classifier(backbone.forward_head(hidden, pre_logits=True))  # type: ignore[operator]
        logits: Tensor = scores if network.readout is None else network.readout(scores)
        return logits

    def _as_hidden(self, maps: Tensor, hidden: Tensor) -> Tensor:
        """Undo ``_as_maps``: tokens behind their prefix, channels last, or as they are."""
        if hidden.ndim == 3:
            tokens = maps.flatten(2).transpose(1, 2)
            return torch.cat([hidden[:, : hidden.shape[1] - tokens.shape[1]], tokens], dim=1)
        channels_last = getattr(self.network.backbone, "output_fmt", "NCHW") == "NHWC"
        return maps.permute(0, 2, 3, 1) if channels_last else maps


def _gradcam(network: Network, images: Tensor, classes: Tensor) -> Tensor:
    from captum.attr import LayerAttribution, LayerGradCam

    explained = _LastMaps(network)
    cam = LayerGradCam(explained, explained.maps)
    maps = cam.attribute(images.requires_grad_(), target=classes, relu_attributions=True)
    assert isinstance(maps, Tensor)
    values = maps.flatten(1)
    maps = torch.where((values == values[:, :1]).all(dim=1)[:, None, None, None], torch.nan, maps)
    enlarged: Tensor = LayerAttribution.interpolate(maps, tuple(images.shape[2:]), "bilinear")
    return enlarged[:, 0]


def _integrated(network: Network, images: Tensor, classes: Tensor) -> Tensor:
    from captum.attr import IntegratedGradients

    found: Tensor = IntegratedGradients(lambda pixels: network(pixels).logits).attribute(
        images.requires_grad_(), baselines=network.mean.expand_as(images), target=classes, n_steps=_STEPS
    )
    return found.sum(dim=1)


@contextmanager
def _evaluating(network: Network) -> Iterator[None]:
    """Put every part of a network into evaluation mode, and back into its own."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
