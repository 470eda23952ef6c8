"""Running an exported file, with the runtime that a device would use."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairkd.data.splits import Splits
from fairkd.efficiency import measure_calls
from fairkd.errors import ArtifactError, DataError, ParameterError, first_line
from fairkd.export.formats import INPUT, LOGITS, METADATA_FILE, PREFIX, file_metadata, require
from fairkd.inference import softmax
from fairkd.predictions import Predictions

_BATCH = 256
_READ_FIRST = f"{PREFIX}class_names"


@dataclass(frozen=True)
class ExportedModel:
    """An open file: ``run`` maps uint8 images ``(n, 3, height, width)`` to logits ``(n, classes)``."""

    path: Path
    runtime: str
    metadata: dict[str, str]
    run: Callable[[np.ndarray], np.ndarray]

    def logits(self, images: Any) -> np.ndarray:
        """Return logits ``(n, classes)`` of images ``(n, height, width, 3)`` uint8."""
        parts = [
            self.run(channels_first(images[start : start + _BATCH]))
            for start in range(0, len(images), _BATCH)
        ]
        return np.concatenate(parts)


def load_exported(path: Path | str) -> ExportedModel:
    """Open an exported file: ``.onnx`` with onnxruntime on the CPU, ``.pt2`` with torch.

    Raises:
        ArtifactError: the file is missing, damaged, or was not written by fairkd.
        FairkdError: onnxruntime is not installed.
        ParameterError: another kind of file.
    """
    path = Path(path)
    openers = {".onnx": _open_onnx, ".pt2": _open_pt2}
    if path.suffix not in openers:
        raise ParameterError(
            f"{path} is not an exported model: allowed: files ending in {', '.join(openers)}"
        )
    if not path.is_file():
        raise ArtifactError(f"there is no exported model {path}; `fairkd export` makes it")
    if path.suffix == ".onnx":
        require("onnxruntime")
    try:
        model = openers[path.suffix](path)
    except Exception as error:
        raise ArtifactError(
            f"cannot open {path}: it is damaged or no exported model ({first_line(error)})"
        ) from error
    if _READ_FIRST not in model.metadata:
        raise ArtifactError(f"{path} does not name its classes: it was not written by `fairkd export`")
    return model


def predict_exported(path: Path | str, splits: Splits, split: str = "test") -> Predictions:
    """Return an exported file's predictions on one split, one row a sample.

    Args:
        path: what ``fairkd export`` wrote.
        splits: the data; classes and image size must be those that the file was made for.
        split: ``train``, ``validation`` or ``test``.

    Raises:
        ArtifactError: the file is missing or damaged.
        DataError: it was made for other classes or another image size; says what differs.
        ParameterError: another split.
    """
    parts = dict(splits.items())
    if split not in parts:
        raise ParameterError(f"split={split!r} is unknown: allowed: {', '.join(parts)}")
    model, images = load_exported(path), parts[split]
    for key in ("class_names", "input"):
        own, needed = (found[f"{PREFIX}{key}"] for found in (model.metadata, file_metadata(splits, "")))
        if own != needed:
            what = key.replace("_", " ")
            raise DataError(
                f"{path} was made for other data: its {what}: {own}; those of {splits.name}: {needed}"
            )
    return as_predictions(model.logits(images.images), splits, split)


def as_predictions(logits: np.ndarray, splits: Splits, split: str) -> Predictions:
    """Return a file's logits ``(n, classes)`` of one split as predictions."""
    images = dict(splits.items())[split]
    return Predictions.from_arrays(
        labels=images.labels,
        groups=images.groups,
        probabilities=softmax(logits),
        class_names=splits.class_names,
        group_names=splits.group_names,
        index=images.index,
        unit=images.unit,
        split=split,
    )


def measure_exported(file: ExportedModel | Path | str, splits: Splits) -> dict[str, Any]:
    """Return ``weights_mb`` and what :func:`fairkd.efficiency.measure_calls` returns, of a file on the CPU."""
    model = file if isinstance(file, ExportedModel) else load_exported(file)
    shape = splits.image_size

    def caller(batch_size: int) -> Callable[[], object]:
        images = np.random.default_rng(0).integers(0, 256, (batch_size, 3, *shape), dtype=np.uint8)
        return lambda: model.run(images)

    times = measure_calls(caller, torch.device("cpu"), model.runtime)
    return {"weights_mb": model.path.stat().st_size / 1e6, **times}


def channels_first(images: Any) -> np.ndarray:
    """Return images ``(n, height, width, 3)`` as a contiguous array ``(n, 3, height, width)``."""
    return np.ascontiguousarray(np.asarray(images).transpose(0, 3, 1, 2))


def _open_onnx(path: Path) -> ExportedModel:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # As many as torch has: times of a network and of its file can then be compared.
    options.intra_op_num_threads = torch.get_num_threads()
    # Without this, 8-bit sums may overflow on x86 processors that lack the VNNI instructions.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: np.ndarray) -> np.ndarray:
        return np.asarray(session.run([LOGITS], {INPUT: images})[0])

    metadata = dict(session.get_modelmeta().custom_metadata_map)
    return ExportedModel(path, f"onnxruntime {onnxruntime.__version__}", metadata, run)


def _open_pt2(path: Path) -> ExportedModel:
    extra = {METADATA_FILE: ""}
    module = torch.export.load(path, extra_files=extra).module()

    @torch.no_grad()
    def run(images: np.ndarray) -> np.ndarray:
        return np.asarray(module(torch.from_numpy(images)).numpy())

    return ExportedModel(path, f"torch {torch.__version__}", json.loads(extra[METADATA_FILE] or "{}"), run)
