"""Convolutional networks and transformers teach each other: projectors where sizes differ, pooling where grids do."""

from __future__ import annotations

import pytest
import torch
from method_cases import batch_of, context_of, distiller_of, outputs_of_shapes
from torch import nn

from fairkd import losses
from fairkd.config import Experiment
from fairkd.data.batches import Batch
from fairkd.distillers import Context, create_distiller
from fairkd.distillers.features import same_grid
from fairkd.errors import FairkdWarning
from fairkd.models import Outputs, create_model
from fairkd.teachers import Teachers

FEATURE_DISTILLERS = [
    *("hint", "attention", "rkd", "similarity", "pkt", "nst", "norm_direction", "mfd"),
    "hint+rkd+nst+mfd",
]
BATCH = batch_of([0, 1, 2, 1], [0, 1, 0, 1])


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    return {name: create_model(name, 3, image_size=32, seed=1) for name in ("resnet8_cifar", "test_vit")}


@pytest.mark.parametrize("source", ["features", "maps"])
@pytest.mark.parametrize("spec", FEATURE_DISTILLERS)
@pytest.mark.parametrize("pair", [("resnet8_cifar", "test_vit"), ("test_vit", "resnet8_cifar")], ids="-".join)
def test_features_pass_between_architectures(networks, pair, spec, source):
    student, teacher = (networks[name] for name in pair)
    for network in networks.values():
        network.zero_grad()
    images = torch.randint(
        0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    batch = Batch(images, BATCH.labels, BATCH.groups, BATCH.index)
    answers, outputs = Teachers([teacher])(batch), student.train()(images)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    distiller = create_distiller(spec, context_of(outputs, answers, distill_from=source))
    loss = distiller(outputs, answers, batch, 0.5)["distill_loss"]
    loss.backward()
    assert torch.isfinite(loss) and loss > 0
    gradients = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    assert sum(gradient.abs().sum() for gradient in gradients) > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    for parameter in distiller.parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("spec", "source", "shape"),
    [
        ("hint", "features", (12, 8)),
        ("hint", "maps", (12, 8, 1, 1)),
        ("norm_direction", "features", (12, 8)),
        ("mfd", "features", (12, 8)),
        ("rkd", "features", None),
        ("similarity", "maps", None),
        ("pkt", "features", None),
        ("attention", "features", None),
        ("nst", "features", None),
        ("kd", "features", None),
    ],
)
def test_a_projector_stands_where_sizes_differ_and_the_loss_needs_equal_ones(spec, source, shape):
    teacher = outputs_of_shapes(2, 4, dim=12)
    options = {"distill_from": source}
    weights = [
        p
        for p in distiller_of(spec, outputs_of_shapes(1, 4), [teacher], **options).parameters()
        if p.ndim > 1
    ]
    assert [tuple(weight.shape) for weight in weights] == ([] if shape is None else [shape])
    equal = distiller_of(spec, outputs_of_shapes(1, 4, dim=12), [teacher], **options)
    assert list(equal.parameters()) == []


def test_a_projector_s_seed_is_the_experiment_s_and_torch_s_generator_stays():
    before = torch.get_rng_state()
    student, teacher = outputs_of_shapes(1, 4), outputs_of_shapes(2, 4, dim=12)
    weights = [
        create_distiller("hint", context_of(student, [teacher], seed=seed)).terms["hint"].projector.weight
        for seed in (1, 1, 2)
    ]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(before, torch.get_rng_state())


def test_the_hint_of_features_is_the_projected_student_s_distance():
    student, teacher = outputs_of_shapes(1, 4), outputs_of_shapes(2, 4, dim=12)
    distiller = distiller_of("hint", student, [teacher])
    weight, bias = distiller.parameters()
    projected = student.features.numpy() @ weight.detach().numpy().T + bias.detach().numpy()
    expected = ((projected - teacher.features.numpy()) ** 2).mean() * 100 / 9
    value = distiller(student, [teacher], BATCH, 0.5)["distill_loss"].item()
    assert value == pytest.approx(expected, rel=1e-5)


def test_the_hint_of_maps_projects_every_place_and_pools_the_larger_grid():
    student = outputs_of_shapes(1, 4, grid=(4, 4))
    teacher = outputs_of_shapes(2, 4, dim=12, grid=(2, 2))
    distiller = distiller_of("hint", student, [teacher], distill_from="maps")
    weight, bias = (parameter.detach() for parameter in distiller.parameters())
    projected = torch.einsum("oi,biyx->boyx", weight[:, :, 0, 0], student.maps) + bias[:, None, None]
    pooled = projected.reshape(4, 12, 2, 2, 2, 2).mean(dim=(3, 5))
    expected = (pooled - teacher.maps).square().mean() * 100 / 9
    torch.testing.assert_close(distiller(student, [teacher], BATCH, 0.5)["distill_loss"], expected)


@pytest.mark.parametrize(
    ("name", "loss", "weight"),
    [("attention", losses.attention_transfer_loss, 1000 / 9), ("nst", losses.nst_loss, 50 / 9)],
)
def test_maps_of_another_grid_are_pooled(name, loss, weight):
    student, teacher = outputs_of_shapes(1, 4, grid=(2, 4)), outputs_of_shapes(2, 4, dim=12, grid=(4, 2))
    pooled_student = student.maps.reshape(4, 8, 2, 2, 2).mean(dim=4)
    pooled_teacher = teacher.maps.reshape(4, 12, 2, 2, 2).mean(dim=3)
    value = distiller_of(name, student, [teacher])(student, [teacher], BATCH, 0.5)["distill_loss"]
    torch.testing.assert_close(value, weight * loss(pooled_student, pooled_teacher))


def test_equal_grids_stay_as_they_are():
    maps = outputs_of_shapes(1, 4).maps, outputs_of_shapes(2, 4, dim=12).maps
    assert all(one is other for one, other in zip(same_grid(*maps), maps, strict=True))


@pytest.mark.parametrize("name", ["rkd", "similarity", "pkt"])
def test_relations_read_features_or_maps_as_they_are_told(name):
    student, teacher = outputs_of_shapes(1, 4), outputs_of_shapes(2, 4, dim=12, grid=(3, 3))
    on_maps = distiller_of(name, student, [teacher], distill_from="maps")(student, [teacher], BATCH, 0.5)
    flat = [outputs._replace(features=outputs.maps.flatten(1)) for outputs in (student, teacher)]
    on_features = distiller_of(name, student, [teacher])(flat[0], flat[1:], BATCH, 0.5)
    assert on_maps["distill_loss"] == on_features["distill_loss"]


@pytest.mark.parametrize("name", ["attention", "nst"])
def test_maps_of_one_position_are_warned_of(name):
    outputs = Outputs(torch.zeros(1, 3), torch.zeros(1, 5), torch.zeros(1, 5, 1, 1), torch.zeros(1, 3))
    options = Experiment().values("distillation")
    context = Context(outputs, (outputs,), 3, 2, class_means=lambda: torch.zeros(3, 5), options=options)
    with pytest.warns(FairkdWarning, match=f"{name} compares positions .* 1 × 1 .* stem=small"):
        create_distiller(name, context)
