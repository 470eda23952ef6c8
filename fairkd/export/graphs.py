"""From a network to a graph in a file: ONNX, or PyTorch's exported program.

The graph takes what a camera or a decoder gives, bytes: uint8 images ``(batch, 3, height, width)``, any batch size.
Scaling and normalisation are inside, so that nobody can forget them or do them twice.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fairkd.data.splits import Splits
from fairkd.errors import ParameterError
from fairkd.export.formats import FEATURES, INPUT, LOGITS, METADATA_FILE, file_metadata, require
from fairkd.models import Network
from fairkd.store import write_atomic

if TYPE_CHECKING:
    import onnx

#: Entries of a graph's nodes that hold source lines and paths of the machine that exported it.
_TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn")


class _Deployed(nn.Module):
    """What a device computes: logits, with several heads already joined, and features where they are wanted."""

    def __init__(self, network: Network, features: bool) -> None:
        super().__init__()
        # On a copy: the network itself stays on its device and in its memory layout.
        self.network = copy.deepcopy(network).cpu()
        self.features = features
        self.eval().requires_grad_(False)
        for tensor in (*self.parameters(), *self.buffers()):
            tensor.data = tensor.data.contiguous()

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        outputs = self.network(images)
        return (outputs.logits, outputs.features) if self.features else outputs.logits


def export_onnx(
    network: Network, splits: Splits, path: Path, *, name: str = "model", features: bool = False
) -> Path:
    """Write a network as ONNX with a free batch size.

    Args:
        network: any; heads of a mitigation are part of the graph.
        splits: the data, for the image size and for the names of classes and groups in the file's metadata.
        path: the file.
        name: the model's name in the metadata.
        features: give the pooled features as a second output ``features (batch, dim)``.

    Returns:
        ``path``. Input ``images``, uint8 ``(batch, 3, height, width)``; output ``logits``, float32
        ``(batch, classes)``.

    Raises:
        FairkdError: onnx or onnxscript is not installed.
        ParameterError: the network cannot be traced, or only for one batch size.
        ArtifactError: the file cannot be written.
    """
    require("onnx", "onnxscript")
    outputs = [LOGITS, FEATURES] if features else [LOGITS]
    example = _example(splits)
    try:
        program = torch.onnx.export(
            _Deployed(network, features),
            (example,),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    except Exception as error:
        raise _cannot(name, "ONNX", error) from error
    assert program is not None
    model = program.model_proto
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ParameterError(
            f"{name} cannot be exported to ONNX: its forward pass fixes the batch size at {len(example)}"
        )
    return save_onnx(model, path, file_metadata(splits, name))


def export_pt2(network: Network, splits: Splits, path: Path, *, name: str = "model") -> Path:
    """Write a network as PyTorch's exported program: it runs with torch alone, without fairkd and timm.

    Args, Returns and Raises as :func:`export_onnx`; the metadata are the archive's extra file
    ``fairkd.json``.
    """
    try:
        program = torch.export.export(
            _Deployed(network, features=False),
            (_example(splits),),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    except Exception as error:
        raise _cannot(name, "pt2", error) from error
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            for key in _TRACES:
                node.meta.pop(key, None)
    buffer = io.BytesIO()
    extra = {METADATA_FILE: json.dumps(file_metadata(splits, name), ensure_ascii=False)}
    torch.export.save(program, buffer, extra_files=extra)
    write_atomic(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))
    return path


def save_onnx(model: onnx.ModelProto, path: Path, metadata: Mapping[str, str]) -> Path:
    """Write a model with metadata, without source lines and without operator sets that it does not use."""
    for item in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
    model.ClearField("metadata_props")
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    used = {node.domain for node in model.graph.node}
    kept = [one for one in model.opset_import if one.domain in {"", *used}]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    write_atomic(path, lambda temporary: temporary.write_bytes(model.SerializeToString()))
    return path


def _example(splits: Splits) -> Tensor:
    # Two images: a batch of one would be taken for a constant.
    return torch.zeros(2, 3, *splits.image_size, dtype=torch.uint8)


def _cannot(name: str, target: str, error: Any) -> ParameterError:
    reason = str(error).strip().splitlines()
    return ParameterError(
        f"{name} cannot be exported to {target}: {type(error).__name__}: {reason[0] if reason else 'no reason given'}"
    )
