from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fairkd.cifar_models import AirbenchNet
from fairkd.errors import ParameterError
from fairkd.models import check_model_name, create_model

FAMILIES = [
    "test_resnet",
    "resnet10t",
    "efficientnet_b0",
    "mobilenetv3_small_050",
    "regnetx_002",
    "convnext_atto",
    "test_vit",
    "resnet8_cifar",
    "resnet20_cifar",
    "wrn16_2_cifar",
    "airbench_small_cifar",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_one_forward_gives_consistent_logits_features_and_maps(name):
    network = create_model(name, 7, seed=0).eval()
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        outputs = network(images)
        reference = network.backbone((images / 255 - network.mean) / network.std)
    assert outputs.logits.shape == (3, 7)
    assert outputs.features.ndim == 2 and outputs.maps.ndim == 4
    torch.testing.assert_close(outputs.logits, reference)
    assert outputs.scores is outputs.logits and network.readout is None
    torch.testing.assert_close(network.classifier(outputs.features), outputs.logits)


@pytest.mark.parametrize("name", FAMILIES)
def test_another_classifier_takes_the_place_of_the_first_and_a_readout_follows_it(name):
    network = create_model(name, 3, seed=0).eval()
    size = network.classifier.in_features
    network.replace_classifier(torch.nn.Linear(size, 6))
    assert network.classifier.out_features == 6
    images = torch.rand(2, 3, 32, 32)
    assert network(images).logits.shape == (2, 6)
    network.readout = torch.nn.Flatten(0)
    outputs = network(images)
    assert outputs.scores.shape == (2, 6) and torch.equal(outputs.logits, outputs.scores.flatten())


@pytest.mark.parametrize("name", [name for name in FAMILIES if not name.startswith("airbench")])
@pytest.mark.parametrize(("stem", "cells"), [("auto", 2), ("small", 4)])
def test_stem_keeps_a_map_of_small_images(name, stem, cells):
    maps = create_model(name, 2, image_size=32, stem=stem)(torch.rand(2, 3, 32, 32)).maps
    assert min(maps.shape[2:]) >= cells


@pytest.mark.parametrize("size", [8, 16, 28, 40])
def test_strides_go_until_small_images_pass(size):
    maps = create_model("test_convnext2", 2, image_size=size)(torch.rand(2, 3, size, size)).maps
    assert min(maps.shape[2:]) >= 2


@pytest.mark.parametrize(
    ("name", "size", "stem", "reason"),
    [
        ("test_vit", 40, "auto", "should be divisible"),
        ("test_maxvit", 16, "auto", "modulo by zero"),
        ("test_convnext2", 16, "original", "Kernel size"),
    ],
)
def test_a_size_that_a_network_cannot_take_is_told_with_both(name, size, stem, reason):
    with pytest.raises(
        ParameterError, match=f"'{name}' cannot process {size}-pixel images .*{reason}.*set image_size"
    ):
        create_model(name, 2, image_size=size, stem=stem)


def test_original_stem_is_timm_s_own():
    network = create_model("resnet10t", 2, image_size=32, stem="original")
    assert network(torch.rand(2, 3, 32, 32)).maps.shape[2:] == (1, 1)


def test_float_and_uint8_images_give_the_same_outputs():
    network = create_model("resnet8_cifar", 3, seed=1).eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(network(images).logits, network(images / 255).logits)


@pytest.mark.parametrize(
    ("name", "million"), [("resnet8_cifar", 0.08), ("resnet20_cifar", 0.27), ("resnet56_cifar", 0.86)]
)
def test_cifar_resnets_have_the_published_sizes(name, million):
    assert create_model(name, 10).param_count / 1e6 == pytest.approx(million, abs=0.005)


def test_airbench_s_network_has_its_published_size():
    # airbench94: 24 filters that whiten, then 64, 256 and 256 channels; its normalisations have no scale.
    network = create_model("airbench94_cifar", 10).backbone
    scales = sum(m.weight.numel() for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    counted = sum(p.numel() for p in network.parameters()) - scales - network.fc.bias.numel()
    assert counted / 1e6 == pytest.approx(1.97, abs=0.005)


def test_airbench_s_convolutions_begin_as_the_identity():
    block = AirbenchNet(16, (16, 64, 128)).blocks[1]
    maps = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(block.conv1(maps)[:, :16], maps)
    assert block.conv1(maps)[:, 16:].std() > 0


def test_seed_determines_the_initial_weights_and_leaves_torch_s_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = (create_model("resnet8_cifar", 2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.backbone.fc.weight, two.backbone.fc.weight)
    assert not torch.equal(one.backbone.fc.weight, other.backbone.fc.weight)


def contiguous(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in module.state_dict().items()}


def test_local_weights_load_and_a_classifier_of_another_size_is_left_out(tmp_path: Path):
    source = create_model("resnet8_cifar", 5, seed=1)
    save_file(contiguous(source.backbone), tmp_path / "bare.safetensors")
    torch.save({"state_dict": source.backbone.state_dict()}, tmp_path / "bare.pth")
    save_file(contiguous(source), tmp_path / "whole.safetensors")
    for file in ("bare.safetensors", "bare.pth", "whole.safetensors"):
        loaded = create_model("resnet8_cifar", 3, weights=tmp_path / file, seed=2)
        assert torch.equal(loaded.backbone.stem.weight, source.backbone.stem.weight)
        assert loaded.backbone.fc.weight.shape == (3, 64)


@pytest.mark.parametrize("name", ["state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_a_checkpoint_s_weights_are_found_in_it(tmp_path: Path, name: str, prefix: str):
    source = create_model("resnet8_cifar", 3, seed=1)
    state = {f"{prefix}{key}": value for key, value in source.backbone.state_dict().items()}
    checkpoint = {"epoch": 7, name: state, "optimizer": {"param_groups": [{"lr": 0.1}]}}
    torch.save(checkpoint, tmp_path / "checkpoint.pth")
    loaded = create_model("resnet8_cifar", 3, weights=tmp_path / "checkpoint.pth", whole=True, seed=2)
    for key, value in source.backbone.state_dict().items():
        assert torch.equal(loaded.backbone.state_dict()[key], value)


def test_weights_that_must_be_whole_are_refused_without_their_classifier(tmp_path: Path):
    save_file(contiguous(create_model("resnet8_cifar", 5)), tmp_path / "other.safetensors")
    with pytest.raises(
        ParameterError, match=r"does not fit the network: 2 of \d+ tensors .* 'backbone\.fc\."
    ):
        create_model("resnet8_cifar", 3, weights=tmp_path / "other.safetensors", whole=True)


def test_weights_of_another_network_are_refused(tmp_path: Path):
    save_file(contiguous(create_model("resnet20_cifar", 2)), tmp_path / "other.safetensors")
    with pytest.raises(ParameterError, match=r"does not fit the network: .* for example"):
        create_model("wrn16_2_cifar", 2, weights=tmp_path / "other.safetensors")


def test_unknown_name_suggests_a_close_one():
    with pytest.raises(ParameterError, match=r"teacher='resnet9000' .* did you mean 'resnet"):
        check_model_name("resnet9000", "teacher")


def test_a_network_with_several_classifiers_is_refused():
    with pytest.raises(ParameterError, match="several classifiers"):
        create_model("levit_128s", 2, image_size=224)


def test_pretrained_weights_that_do_not_exist_name_the_way_out():
    with pytest.raises(ParameterError, match=r"cannot be had .* pass the file as weights"):
        create_model("resnet8_cifar", 2, pretrained=True)
