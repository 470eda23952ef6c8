"""Networks for images of about 32 pixels, registered with timm.

ResNets of depth 6n + 2 with 16, 32 and 64 channels (He et al. 2016, https://arxiv.org/abs/1512.03385, section
4.2), the wide residual network WRN-16-2 (Zagoruyko & Komodakis 2016, https://arxiv.org/abs/1605.07146), and the
network of airbench (Jordan 2024, https://arxiv.org/abs/2404.00498) in three widths, which learn the most in a given
time on a CPU. They follow timm's conventions, so ``timm.create_model("resnet20_cifar", num_classes=10)`` works once
fairkd's models are imported. No pretrained weights exist for them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.models import register_model
from torch import nn

__all__ = [
    "AirbenchNet",
    "CifarNet",
    "airbench94_cifar",
    "airbench_cifar",
    "airbench_small_cifar",
    "resnet8_cifar",
    "resnet20_cifar",
    "resnet56_cifar",
    "wrn16_2_cifar",
]


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class PostActivationBlock(nn.Module):
    """conv-BN-ReLU-conv-BN, added to the input, ReLU: the block of the original ResNet."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = _conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class PreActivationBlock(nn.Module):
    """BN-ReLU-conv-BN-ReLU-conv, added to the input: the block of wide residual networks."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), _conv3x3(inputs, outputs, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), _conv3x3(outputs, outputs)
        self.shortcut: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        activated = F.relu(self.bn1(x))
        y: torch.Tensor = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return y + (x if self.shortcut is None else self.shortcut(activated))


class CifarNet(nn.Module):
    """Three stages at strides 1, 2 and 4, global average pooling and one linear layer."""

    def __init__(
        self,
        blocks_per_stage: int,
        channels: Sequence[int],
        block: type[PostActivationBlock] | type[PreActivationBlock],
        num_classes: int = 10,
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        self.pre_activation = block is PreActivationBlock
        self.stem = _conv3x3(in_chans, 16)
        self.stem_norm = nn.Identity() if self.pre_activation else nn.BatchNorm2d(16)
        layers: list[nn.Module] = []
        inputs = 16
        for stage, outputs in enumerate(channels):
            for position in range(blocks_per_stage):
                layers.append(block(inputs, outputs, 2 if stage > 0 and position == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*layers)
        self.final_norm = nn.BatchNorm2d(inputs) if self.pre_activation else nn.Identity()
        self.num_features = inputs
        self.num_classes = num_classes
        self.fc = nn.Linear(inputs, num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def get_classifier(self) -> nn.Module:
        """Return the linear layer, as timm's networks do."""
        return self.fc

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last feature maps, ``(batch, channels, height, width)``."""
        x = self.stem_norm(self.stem(x))
        x = self.blocks(x if self.pre_activation else F.relu(x))
        return F.relu(self.final_norm(x)) if self.pre_activation else x

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Pool the maps; classify unless ``pre_logits``."""
        pooled = x.mean(dim=(2, 3))
        return pooled if pre_logits else self.fc(pooled)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


class PoolingBlock(nn.Module):
    """conv-max pool-BN-ReLU-conv-BN-ReLU; the convolutions begin as the identity where they can."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv3x3(inputs, outputs), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = _conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)
        for conv in (self.conv1, self.conv2):
            nn.init.dirac_(conv.weight[: conv.in_channels])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(F.max_pool2d(self.conv1(x), 2)))
        return F.relu(self.bn2(self.conv2(x)))


class AirbenchNet(nn.Module):
    """A convolution of 2 x 2 pixels, three pooling blocks, global max pooling and one linear layer.

    Other than airbench's, the first layer is learned instead of set to whiten the data, and the activation is ReLU.
    """

    def __init__(self, stem: int, channels: Sequence[int], num_classes: int = 10, in_chans: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_chans, stem, 2)
        widths = (stem, *channels)
        self.blocks = nn.Sequential(*(PoolingBlock(*pair) for pair in itertools.pairwise(widths)))
        self.num_features = widths[-1]
        self.num_classes = num_classes
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def get_classifier(self) -> nn.Module:
        """Return the linear layer, as timm's networks do."""
        return self.fc

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last feature maps, ``(batch, channels, height, width)``."""
        maps: torch.Tensor = self.blocks(F.relu(self.stem(x)))
        return maps

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Pool the maps; classify unless ``pre_logits``."""
        pooled = x.amax(dim=(2, 3))
        return pooled if pre_logits else self.fc(pooled)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


def _create(
    blocks: int,
    channels: Sequence[int],
    block: type[PostActivationBlock] | type[PreActivationBlock],
    pretrained: bool,
    options: dict[str, Any],
) -> CifarNet:
    return CifarNet(blocks, channels, block, **_known(pretrained, options))


def _known(pretrained: bool, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that these networks have; timm passes others too."""
    if pretrained:
        raise ValueError("no pretrained weights exist for the CIFAR networks")
    return {name: options[name] for name in ("num_classes", "in_chans") if name in options}


@register_model
def resnet8_cifar(pretrained: bool = False, **options: Any) -> CifarNet:
    """ResNet-8 for 32-pixel images, 0.08 M parameters."""
    return _create(1, (16, 32, 64), PostActivationBlock, pretrained, options)


@register_model
def resnet20_cifar(pretrained: bool = False, **options: Any) -> CifarNet:
    """ResNet-20 for 32-pixel images, 0.27 M parameters."""
    return _create(3, (16, 32, 64), PostActivationBlock, pretrained, options)


@register_model
def resnet56_cifar(pretrained: bool = False, **options: Any) -> CifarNet:
    """ResNet-56 for 32-pixel images, 0.86 M parameters."""
    return _create(9, (16, 32, 64), PostActivationBlock, pretrained, options)


@register_model
def wrn16_2_cifar(pretrained: bool = False, **options: Any) -> CifarNet:
    """WRN-16-2 for 32-pixel images, 0.69 M parameters."""
    return _create(2, (32, 64, 128), PreActivationBlock, pretrained, options)


@register_model
def airbench94_cifar(pretrained: bool = False, **options: Any) -> AirbenchNet:
    """As wide as airbench94's network, for 32-pixel images, 1.97 M parameters."""
    return AirbenchNet(24, (64, 256, 256), **_known(pretrained, options))


@register_model
def airbench_cifar(pretrained: bool = False, **options: Any) -> AirbenchNet:
    """Half as wide as airbench94's network, for 32-pixel images, 1.09 M parameters."""
    return AirbenchNet(24, (32, 128, 256), **_known(pretrained, options))


@register_model
def airbench_small_cifar(pretrained: bool = False, **options: Any) -> AirbenchNet:
    """A quarter as wide as airbench94's network, for 32-pixel images, 0.27 M parameters."""
    return AirbenchNet(16, (16, 64, 128), **_known(pretrained, options))
