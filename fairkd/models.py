"""Any timm network as a :class:`Network`: one forward pass gives logits, pooled features and feature maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import timm
import torch
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn

import fairkd.cifar_models  # noqa: F401  (registers the CIFAR networks with timm)
from fairkd.config import resolve_path, suggest
from fairkd.errors import ArtifactError, ParameterError, first_line

Stem = Literal["auto", "small", "original"]

#: Smallest side of the final feature map, in cells, that each ``stem`` setting guarantees.
MINIMUM_MAP: dict[str, int] = {"auto": 2, "small": 4, "original": 1}


class Outputs(NamedTuple):
    """What a network computes for a batch.

    ``logits (batch, classes)``, pooled ``features (batch, dim)``, ``maps (batch, channels, height, width)``;
    ``scores`` are what the classifier gave: the logits, or those of several heads (:mod:`fairkd.heads`).
    """

    logits: Tensor
    features: Tensor
    maps: Tensor
    scores: Tensor


class Network(nn.Module):
    """A timm backbone with its input normalisation, so that saved weights need nothing else to be used.

    The forward pass takes images ``(batch, 3, height, width)``, uint8 or float on the scale 0 to 1.
    """

    mean: Tensor
    std: Tensor
    readout: nn.Module | None

    def __init__(self, backbone: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.backbone = backbone
        self.readout = None
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Outputs:
        # (images / largest - mean) / std in one pass.
        largest = 255 if images.dtype == torch.uint8 else 1
        scaled = torch.addcmul(-self.mean / self.std, images.to(self.mean.dtype), 1 / (largest * self.std))
        hidden = self.backbone.forward_features(scaled)  # type: ignore[operator]
        features = self.backbone.forward_head(hidden, pre_logits=True)  # type: ignore[operator]
        scores = self.classifier(features)
        logits = scores if self.readout is None else self.readout(scores)
        return Outputs(logits, features, self._as_maps(hidden), scores)

    def _as_maps(self, hidden: Tensor) -> Tensor:
        """Bring tokens ``(batch, tokens, dim)`` and channels-last maps to ``(batch, dim, height, width)``."""
        if hidden.ndim == 3:
            tokens = hidden[:, int(getattr(self.backbone, "num_prefix_tokens", 0)) :]
            side = math.isqrt(tokens.shape[1])
            height, width = (side, side) if side * side == tokens.shape[1] else (tokens.shape[1], 1)
            return tokens.transpose(1, 2).unflatten(2, (height, width))  # type: ignore[no-any-return]
        if getattr(self.backbone, "output_fmt", "NCHW") == "NHWC":
            return hidden.permute(0, 3, 1, 2)
        return hidden

    @property
    def classifier(self) -> nn.Module:
        """What turns pooled features into class scores."""
        return self.backbone.get_classifier()  # type: ignore[operator, no-any-return]

    def replace_classifier(self, module: nn.Module) -> None:
        """Put another module in the classifier's place."""
        name = next(name for name, child in self.backbone.named_modules() if child is self.classifier)
        self.backbone.set_submodule(name, module)

    @property
    def param_count(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


def check_model_name(name: str, parameter: str = "model") -> None:
    """Raise unless timm (with fairkd's CIFAR networks) knows ``name``.

    Raises:
        ParameterError: names close matches and where the full list is.
    """
    if not timm.is_model(name):
        raise ParameterError(
            f"{parameter}={name!r} is not a network that timm {timm.__version__} knows: "
            f"{suggest(name, timm.list_models())}see timm.list_models() for the {len(timm.list_models())} names"
        )


def create_model(
    name: str,
    num_classes: int,
    *,
    image_size: int = 32,
    pretrained: bool = False,
    weights: str | Path | None = None,
    whole: bool = False,
    stem: Stem = "auto",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int | None = None,
) -> Network:
    """Create a timm network that returns :class:`Outputs`.

    Args:
        name: any name of ``timm.list_models()``, or of :mod:`fairkd.cifar_models`: ``resnet8_cifar``,
            ``resnet20_cifar``, ``resnet56_cifar``, ``wrn16_2_cifar``, ``airbench94_cifar``, ``airbench_cifar``,
            ``airbench_small_cifar``.
        num_classes: number of classes, at least 2.
        image_size: height and width of the images in pixels; decides how the stem is adapted.
        pretrained: start from timm's pretrained weights (needs the network once).
        weights: start from a local ``.safetensors`` or ``.pth`` file; a classifier of another size is left out.
        whole: the weights must have the classifier too.
        stem: how many early strides are removed: ``auto`` until the final map is at least 2 x 2, ``small`` 4 x 4,
            ``original`` none.
        mean, std: the images' channel statistics on the scale 0 to 1; default: those of timm's pretrained weights.
        seed: seed of the initial weights; default: torch's global generator.

    Raises:
        ParameterError: unknown name, weights that cannot be had or do not fit, or a network whose logits are not
            a linear function of its pooled features.

    Example:
        >>> outputs = create_model("test_resnet", num_classes=10)(torch.rand(2, 3, 32, 32))
        >>> tuple(outputs.logits.shape)
        (2, 10)
    """
    check_model_name(name)
    if num_classes < 2:
        raise ParameterError(
            f"num_classes={num_classes} is not allowed: a classifier needs at least 2 classes"
        )
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        backbone = _create_backbone(name, num_classes, image_size, pretrained, MINIMUM_MAP[stem])
    if not isinstance(backbone.get_classifier(), nn.Module):  # type: ignore[operator]
        raise ParameterError(
            f"{name!r} is not supported: it has several classifiers, fairkd needs exactly one"
        )
    cfg: dict[str, Any] = getattr(backbone, "pretrained_cfg", None) or {}
    mean = cfg.get("mean", (0.5, 0.5, 0.5)) if mean is None else mean
    std = cfg.get("std", (0.25, 0.25, 0.25)) if std is None else std
    network = Network(backbone, mean, std)
    if weights is not None:
        _load_weights(network, resolve_path(weights), whole=whole)
    _adapt_stem(network, image_size, MINIMUM_MAP[stem])
    _check_size(network, name, image_size)
    _check_outputs(network, name, image_size)
    return network.to(memory_format=torch.channels_last)


def _create_backbone(
    name: str, num_classes: int, image_size: int, pretrained: bool, minimum_map: int
) -> nn.Module:
    options: dict[str, Any] = {"num_classes": num_classes, "pretrained": pretrained}
    cfg = timm.get_pretrained_cfg(name)
    if cfg is not None and cfg.fixed_input_size:
        options["img_size"] = image_size
    try:
        backbone = timm.create_model(name, **options)
        patches = _patch_embedding(backbone)
        if "img_size" in options and patches and max(patches.patch_size) > image_size // minimum_map:
            # Token networks fix their grid when they are made: smaller patches instead of smaller strides.
            backbone = timm.create_model(name, patch_size=image_size // minimum_map, **options)
        return backbone
    except Exception as error:
        if not pretrained:
            raise ParameterError(
                f"timm cannot create {name!r} for {image_size}-pixel images: {first_line(error)}"
            ) from error
        raise ParameterError(
            f"pretrained weights of {name!r} cannot be had ({type(error).__name__}: {first_line(error)}); "
            "download them elsewhere and pass the file as weights, with the statistics of their images (docs/methods/"
            "teacher_options.md has an example)"
        ) from error


def _patch_embedding(backbone: nn.Module) -> PatchEmbed | None:
    return next((module for module in backbone.modules() if isinstance(module, PatchEmbed)), None)


#: Under which names checkpoints commonly keep the network.
_CHECKPOINT_KEYS = ("state_dict", "model_state_dict", "model")


def load_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from ``.safetensors`` or, without unpickling code, from a ``.pth`` file or checkpoint.

    The prefixes of ``torch.compile`` and of data-parallel training are taken off.

    Raises:
        ArtifactError: the file is missing, damaged, or holds anything but tensors.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            # Of a path, safetensors takes it that its name is UTF-8.
            return load(path.read_bytes())
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ArtifactError(f"cannot read weights from {path}: {first_line(error)}") from error
    if isinstance(state, dict):
        # A checkpoint: the state dict stands beside the optimiser's and the epoch.
        state = next((state[key] for key in _CHECKPOINT_KEYS if isinstance(state.get(key), dict)), state)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ArtifactError(f"{path} does not hold a state dict (a mapping from names to tensors)")
    return {key.removeprefix("_orig_mod.").removeprefix("module."): state[key] for key in state}


def _load_weights(network: Network, path: Path, *, whole: bool) -> None:
    """Load a state dict of a :class:`Network` or of its bare backbone.

    A classifier of another size is left out, or, with ``whole``, refused.
    """
    state = load_state(path)
    target: nn.Module = network if any(key.startswith("backbone.") for key in state) else network.backbone
    own = target.state_dict()
    head = {tensor.data_ptr() for tensor in network.backbone.get_classifier().state_dict().values()}  # type: ignore[operator]
    unfit = [key for key, tensor in own.items() if key not in state or state[key].shape != tensor.shape]
    missing = [key for key in unfit if whole or own[key].data_ptr() not in head]
    if missing:
        raise ParameterError(
            f"{path} does not fit the network: {len(missing)} of {len(own)} tensors are missing or have another "
            f"shape, for example {missing[0]!r}"
        )
    target.load_state_dict({key: tensor if key in unfit else state[key] for key, tensor in own.items()})


def _adapt_stem(network: Network, image_size: int, minimum: int) -> None:
    """Remove the earliest strides until the final map has at least ``minimum`` cells a side.

    Where a stride sits on one branch of a residual block, the branches no longer fit together; the strides that
    follow are then removed as well until they do.
    """
    if minimum == MINIMUM_MAP["original"] or _patch_embedding(network.backbone):
        return
    strided: list[str] = []
    while True:
        maps = _try_forward(network, image_size)
        if maps is not None and min(maps.shape[2:]) >= min(minimum, image_size):
            return
        # Of a pass that ends early, those that it has come to.
        strided = strided or _strided_modules(network, image_size)
        if not strided:
            return
        _remove_stride(network, strided.pop(0))


def _strided_modules(network: Network, image_size: int) -> list[str]:
    """Names of convolutions and pools with a stride, in the order in which they run."""
    order: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: order.append(name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and _stride(module) > 1
    ]
    _try_forward(network, image_size)
    for hook in hooks:
        hook.remove()
    return order


def _stride(module: nn.Module) -> int:
    stride: Any = module.stride
    return int(max(stride)) if isinstance(stride, tuple) else int(stride)


def _remove_stride(network: Network, name: str) -> None:
    module = network.get_submodule(name)
    if isinstance(module, nn.Conv2d):
        module.stride = (1, 1)
    else:
        network.set_submodule(name, nn.Identity())


def _try_forward(network: Network, image_size: int) -> Tensor | None:
    """Return the maps of a dry forward pass, or ``None`` where none is possible.

    The images are too small for the strides that are left, or the branches of a block no longer fit together.
    """
    try:
        return _dry_forward(network, image_size).maps
    except Exception:
        return None


@torch.no_grad()
def _dry_forward(network: Network, image_size: int) -> Outputs:
    training = network.training
    try:
        outputs: Outputs = network.eval()(torch.zeros(1, 3, image_size, image_size))
        return outputs
    finally:
        network.train(training)


def _check_size(network: Network, name: str, image_size: int) -> None:
    try:
        _dry_forward(network, image_size)
    except Exception as error:
        raise ParameterError(
            f"{name!r} cannot process {image_size}-pixel images ({first_line(error)}); set "
            "image_size to a size that it takes, often a multiple of 32, or choose another network"
        ) from error


@torch.no_grad()
def _check_outputs(network: Network, name: str, image_size: int) -> None:
    """The three outputs must belong together: timm's own logits equal classifier(features)."""
    training = network.training
    network.eval()
    images = torch.linspace(0, 1, 3 * image_size**2).view(1, 3, image_size, image_size)
    outputs = network(images)
    reference = network.backbone((images - network.mean) / network.std)
    network.train(training)
    if not isinstance(reference, Tensor) or not torch.allclose(
        outputs.logits, reference, atol=1e-4, rtol=1e-4
    ):
        raise ParameterError(
            f"{name!r} is not supported: its logits are not its classifier applied to its pooled features"
        )
