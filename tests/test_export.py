"""Exported files: run by the runtime of a device, they answer as the network does, and say what they are."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from export_cases import train_run
from full_disk import full_disk

from fairkd.data.splits import Splits
from fairkd.errors import ArtifactError, DataError, FairkdError, ParameterError
from fairkd.export import (
    FORMATS,
    calibration_rows,
    check_format,
    export_model,
    export_onnx,
    export_pt2,
    load_exported,
    predict_exported,
    quantize_onnx,
)
from fairkd.export.graphs import _Deployed
from fairkd.heads import PriorShiftReadout, add_heads
from fairkd.inference import outputs_of, predict
from fairkd.models import Network, create_model
from fairkd.recipes import TrainedModel

pytestmark = pytest.mark.filterwarnings("ignore::fairkd.errors.FairkdWarning")

NETWORKS = ("test_resnet", "resnet8_cifar", "mobilenetv3_small_050", "test_vit")


def shaken(name: str, splits: Splits) -> Network:
    """An untrained network whose normalisation layers do something and whose logits differ from 0."""
    network = create_model(name, splits.num_classes, image_size=splits.image_size[0], seed=0)
    generator = torch.Generator().manual_seed(0)
    for key, tensor in network.state_dict().items():
        if key.endswith(("running_mean", "bias")):
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
        elif key.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    with torch.no_grad():
        network.classifier.weight.normal_(0, 0.3, generator=generator)
    return network.eval()


def run_plainly(path: Path, images: np.ndarray, output: str = "logits") -> np.ndarray:
    """Run an ONNX file as any user of onnxruntime would, without fairkd."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run([output], {"images": images.transpose(0, 3, 1, 2).copy()})[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_run(tmp_path_factory.mktemp("outputs"))


@pytest.fixture
def student(run) -> TrainedModel:
    return run[2]["student_fair"]


# The same answers


def test_a_trained_student_s_onnx_gives_the_network_s_logits_for_any_batch_size(run, student, tmp_path):
    _, splits, _ = run
    path = export_onnx(student.model, splits, tmp_path / "student.onnx")
    expected = outputs_of(student.model, splits.test.images).logits
    assert np.abs(expected).max() > 1, "a student that has learnt nothing would prove nothing"
    assert np.abs(run_plainly(path, splits.test.images) - expected).max() < 1e-4
    for size in (1, 3):
        assert np.abs(run_plainly(path, splits.test.images[:size]) - expected[:size]).max() < 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_several_families_give_the_same_logits(tiny_splits, tmp_path, name):
    network = shaken(name, tiny_splits)
    expected = outputs_of(network, tiny_splits.test.images)
    assert expected.logits.std() > 0.01
    path = export_onnx(network, tiny_splits, tmp_path / "model.onnx", features=True)
    for size in (1, 24):
        for output in ("logits", "features"):
            found = run_plainly(path, tiny_splits.test.images[:size], output)
            assert np.abs(found - getattr(expected, output)[:size]).max() < 1e-4


def test_several_heads_are_joined_in_the_graph(tiny_splits, tmp_path):
    network = shaken("resnet8_cifar", tiny_splits)
    add_heads(network, 2, PriorShiftReadout(torch.tensor([[9, 1], [1, 9], [5, 0]])))
    with torch.no_grad():
        network.classifier.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    expected = outputs_of(network, tiny_splits.test.images).logits
    path = export_onnx(network, tiny_splits, tmp_path / "model.onnx")
    assert np.abs(run_plainly(path, tiny_splits.test.images) - expected).max() < 1e-4
    path = export_pt2(network, tiny_splits, tmp_path / "model.pt2")
    assert np.abs(load_exported(path).logits(tiny_splits.test.images) - expected).max() < 1e-4


def test_a_pt2_file_runs_with_torch_alone_and_gives_the_same_logits(run, student, tmp_path):
    _, splits, _ = run
    path = export_pt2(student.model, splits, tmp_path / "student.pt2")
    module = torch.export.load(path).module()
    expected = outputs_of(student.model, splits.test.images).logits
    for size in (1, 3, len(splits.test)):
        images = torch.from_numpy(splits.test.images[:size].transpose(0, 3, 1, 2).copy())
        assert np.abs(module(images).detach().numpy() - expected[:size]).max() < 1e-4


def test_exporting_leaves_the_network_as_it_is(tiny_splits, tmp_path):
    network = shaken("resnet8_cifar", tiny_splits).train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    export_onnx(network, tiny_splits, tmp_path / "model.onnx")
    export_pt2(network, tiny_splits, tmp_path / "model.pt2")
    assert network.training and all(parameter.requires_grad for parameter in network.parameters())
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[key])
    weight = next(one.weight for one in network.modules() if isinstance(one, torch.nn.Conv2d))
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_a_network_that_fixes_the_batch_size_is_refused(tiny_splits, tmp_path, monkeypatch):
    network = shaken("resnet8_cifar", tiny_splits)
    plain = Network.forward

    def forward(self, images):
        outputs = plain(self, images)
        return outputs._replace(logits=outputs.logits.reshape(int(images.shape[0]) // 2 * 2, -1))

    monkeypatch.setattr(Network, "forward", forward)
    with pytest.raises(ParameterError, match=r"^mine cannot be exported to ONNX: "):
        export_onnx(network, tiny_splits, tmp_path / "model.onnx", name="mine")
    assert not list(tmp_path.iterdir())


# What a file says about itself


def test_an_onnx_file_names_classes_groups_and_preprocessing_and_no_machine(tiny_splits, tmp_path):
    splits = dataclasses.replace(tiny_splits, class_names=("a", "ß <b>", "c"))
    path = export_onnx(shaken("resnet8_cifar", splits), splits, tmp_path / "m.onnx", name="mine")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["fairkd.class_names"]) == ["a", "ß <b>", "c"]
    assert json.loads(metadata["fairkd.group_names"]) == ["red", "green"]
    assert metadata["fairkd.model"] == "mine" and metadata["fairkd.data_fingerprint"] == "tiny"
    assert "uint8 (batch, 3, 16, 16)" in metadata["fairkd.input"] and metadata["fairkd.version"]
    assert "normalisation are in the graph" in metadata["fairkd.preprocessing"]
    assert {entry.domain for entry in model.opset_import} == {""}
    for data in (
        path.read_bytes(),
        export_pt2(shaken("resnet8_cifar", splits), splits, tmp_path / "m.pt2").read_bytes(),
    ):
        assert not re.search(rb"site-packages|models\.py|" + re.escape(str(Path.cwd()).encode()), data)


def test_a_pt2_file_holds_the_same_metadata(tiny_splits, tmp_path):
    network = shaken("resnet8_cifar", tiny_splits)
    files = (
        export_onnx(network, tiny_splits, tmp_path / "m.onnx"),
        export_pt2(network, tiny_splits, tmp_path / "m.pt2"),
    )
    one, other = (load_exported(path).metadata for path in files)
    assert one == other and json.loads(one["fairkd.class_names"]) == ["a", "b", "c"]


# Quantisation


@pytest.mark.parametrize("dynamic", [False, True])
def test_an_int8_file_is_about_a_quarter_of_the_size_and_nearly_as_accurate(run, student, tmp_path, dynamic):
    _, splits, _ = run
    source = export_onnx(student.model, splits, tmp_path / "float.onnx", name="mine")
    path = quantize_onnx(source, tmp_path / "int8.onnx", splits, dynamic=dynamic)
    assert path.stat().st_size < 0.35 * source.stat().st_size
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert ("ConvInteger" if dynamic else "QuantizeLinear") in kinds
    original, quantized = student.predictions, predict_exported(path, splits)
    accuracies = [(one.predicted == one.labels).mean() for one in (original, quantized)]
    assert accuracies[1] == pytest.approx(accuracies[0], abs=0.03)
    assert load_exported(path).metadata == load_exported(source).metadata
    assert not np.array_equal(original.probabilities, quantized.probabilities)


def test_weights_are_quantised_by_output_channel(tiny_splits, tmp_path):
    source = export_onnx(shaken("resnet8_cifar", tiny_splits), tiny_splits, tmp_path / "float.onnx")
    model = onnx.load(quantize_onnx(source, tmp_path / "int8.onnx", tiny_splits))
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    weights = [array for array in arrays.values() if array.dtype == np.int8 and array.ndim == 4]
    assert len(weights) == 9
    made_of = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    for node in (one for one in model.graph.node if one.op_type == "Conv"):
        quantized, scale, *_ = made_of[node.input[1]].input
        assert arrays[scale].shape == (arrays[quantized].shape[0],)


def test_ranges_are_those_of_validation_images_alone(tiny_splits, tmp_path):
    network = shaken("resnet8_cifar", tiny_splits)
    source = export_onnx(network, tiny_splits, tmp_path / "float.onnx")
    blank = {
        name: dataclasses.replace(images, images=np.zeros_like(images.images))
        for name, images in tiny_splits.items()
    }
    first = quantize_onnx(source, tmp_path / "a.onnx", tiny_splits).read_bytes()
    others = dataclasses.replace(tiny_splits, train=blank["train"], test=blank["test"])
    assert quantize_onnx(source, tmp_path / "b.onnx", others).read_bytes() == first
    validation = dataclasses.replace(tiny_splits, validation=blank["validation"])
    assert quantize_onnx(source, tmp_path / "c.onnx", validation).read_bytes() != first


def test_calibration_takes_every_cell_before_it_takes_more_of_one(tiny_splits):
    images = tiny_splits.validation
    labels, groups = np.zeros(24, dtype=np.int64), np.zeros(24, dtype=np.int64)
    labels[-3:], groups[-1] = 2, -1  # cells of 21, 2 and 1 images
    rare = dataclasses.replace(images, labels=labels, groups=groups)
    assert calibration_rows(rare, 5).tolist() == [0, 1, 21, 22, 23]
    assert calibration_rows(rare, 100).tolist() == list(range(24))


# Predictions of a file


def test_predictions_of_a_file_are_a_row_a_sample_with_its_group(run, student, tmp_path):
    _, splits, _ = run
    path = export_onnx(student.model, splits, tmp_path / "student.onnx")
    for split in ("validation", "test"):
        found, expected = predict_exported(path, splits, split), predict(student.model, splits, split)
        names = ["index", "unit", "split", "label", "group", "prediction"]
        assert found.frame[names].equals(expected.frame[names])
        assert np.abs(found.probabilities - expected.probabilities).max() < 1e-4
    with pytest.raises(ParameterError, match=r"split='dev' is unknown: allowed: train, validation, test"):
        predict_exported(path, splits, "dev")


def test_a_file_gets_as_many_threads_as_torch_so_that_times_compare(tiny_splits, tmp_path, monkeypatch):
    path = export_onnx(shaken("resnet8_cifar", tiny_splits), tiny_splits, tmp_path / "m.onnx")
    plain, seen = onnxruntime.InferenceSession, []

    def session(path, options, **rest):
        seen.append(
            (options.intra_op_num_threads, options.get_session_config_entry("session.x64quantprecision"))
        )
        return plain(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    load_exported(path)
    assert seen == [(2, "1")]


def test_a_file_for_other_data_is_refused(tiny_splits, tmp_path):
    path = export_onnx(shaken("resnet8_cifar", tiny_splits), tiny_splits, tmp_path / "m.onnx")
    renamed = dataclasses.replace(tiny_splits, class_names=("a", "b", "d"))
    with pytest.raises(DataError, match=r'class names: \["a", "b", "c"\]; those of tiny: \["a", "b", "d"\]'):
        predict_exported(path, renamed)
    small = {n: dataclasses.replace(part, images=part.images[:, :8, :8]) for n, part in tiny_splits.items()}
    with pytest.raises(DataError, match=r"made for other data: its input: .*16, 16.*; those of tiny: .*8, 8"):
        predict_exported(path, dataclasses.replace(tiny_splits, **small))


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_file_is_named(tiny_splits, tmp_path, suffix, damage):
    write = export_onnx if suffix == ".onnx" else export_pt2
    path = write(shaken("resnet8_cifar", tiny_splits), tiny_splits, tmp_path / f"m{suffix}")
    data = path.read_bytes()
    damaged = {"cut": data[: len(data) // 2], "changed": b"\xff" * 64 + data[64:], "empty": b""}[damage]
    path.write_bytes(damaged)
    with pytest.raises(ArtifactError, match=re.escape(f"cannot open {path}: it is damaged")) as caught:
        predict_exported(path, tiny_splits)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_not_ours_is_named(tiny_splits, tmp_path):
    with pytest.raises(ArtifactError, match=r"there is no exported model .*none\.onnx"):
        load_exported(tmp_path / "none.onnx")
    with pytest.raises(ParameterError, match=r"allowed: files ending in \.onnx, \.pt2"):
        load_exported(tmp_path / "model.tflite")
    path = export_onnx(shaken("resnet8_cifar", tiny_splits), tiny_splits, tmp_path / "m.onnx")
    model = onnx.load(path)
    model.ClearField("metadata_props")
    onnx.save(model, path)
    with pytest.raises(ArtifactError, match="does not name its classes"):
        load_exported(path)


# What can go wrong when writing


def test_an_unknown_format_is_refused_with_the_names_that_there_are():
    with pytest.raises(ParameterError, match=f"did you mean 'onnx-int8'. allowed: {', '.join(FORMATS)}"):
        check_format("onnx-int")


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_with_its_extra(tiny_splits, tmp_path, monkeypatch, missing):
    plain = sys.modules["importlib.util"].find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else plain(name))
    with pytest.raises(FairkdError, match=rf"export needs {missing}: pip install 'fairkd\[export\]'"):
        check_format("onnx-int8")
    assert check_format("pt2").name == "pt2"


@pytest.mark.parametrize("format_name", list(FORMATS))
def test_on_a_full_disk_nothing_half_written_stays(run, student, tmp_path, format_name):
    _, splits, _ = run
    with full_disk(100_000), pytest.raises(ArtifactError, match=r"free space"):
        export_model(student, splits, tmp_path / "out", format_name=format_name, replicates=10)
    assert not list(tmp_path.rglob("*.*"))


def test_a_place_that_cannot_be_written_to_is_named(run, student, tmp_path):
    _, splits, _ = run
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"cannot write .*file.out.model\.pt2: Not a directory"):
        export_model(student, splits, tmp_path / "file" / "out", format_name="pt2")


def test_the_deployed_module_is_in_evaluation_mode(tiny_splits):
    network = shaken("resnet8_cifar", tiny_splits).train()
    assert not any(module.training for module in _Deployed(network, features=False).modules())
