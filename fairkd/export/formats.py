"""The formats of an exported file, what each needs, and what each file says about itself."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from typing import Any

from fairkd.config import suggest
from fairkd.data.splits import Splits
from fairkd.errors import FairkdError, ParameterError
from fairkd.reproducibility import version_of

INPUT, LOGITS, FEATURES = "images", "logits", "features"
#: Prefix of fairkd's entries in a file's metadata.
PREFIX = "fairkd."
#: Where a ``.pt2`` archive has them, as JSON.
METADATA_FILE = "fairkd.json"


@dataclass(frozen=True)
class Format:
    """One kind of file: what ``description`` says, written as ``<model><suffix>``, needs ``packages``."""

    name: str
    description: str
    suffix: str
    packages: tuple[str, ...]


_ONNX = ("onnx", "onnxruntime", "onnxscript")
FORMATS = {
    one.name: one
    for one in (
        Format("onnx", "ONNX, 32-bit floating point", ".onnx", _ONNX),
        Format(
            "onnx-int8",
            "ONNX, 8-bit integers: weights by channel, activations with ranges calibrated on validation images",
            "-int8.onnx",
            _ONNX,
        ),
        Format(
            "onnx-int8-dynamic",
            "ONNX, 8-bit integers: weights by channel, activations with ranges measured at each inference",
            "-int8-dynamic.onnx",
            _ONNX,
        ),
        Format("pt2", "PyTorch exported program, 32-bit floating point", ".pt2", ()),
    )
}


def check_format(name: str) -> Format:
    """Return a format by its name.

    Raises:
        ParameterError: there is no such format.
        FairkdError: a package that it needs is not installed; says how to install it.
    """
    if name not in FORMATS:
        raise ParameterError(
            f"format={name!r} is unknown: {suggest(name, FORMATS)}allowed: {', '.join(FORMATS)}"
        )
    require(*FORMATS[name].packages)
    return FORMATS[name]


def require(*packages: str) -> None:
    """Raise unless the packages are installed.

    Raises:
        FairkdError: names those that are missing and the extra that brings them.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise FairkdError(f"export needs {', '.join(missing)}: pip install 'fairkd[export]'")


def file_metadata(splits: Splits, name: str) -> dict[str, str]:
    """Return what an exported file says about itself, as text by key: enough to use it without anything else."""
    height, width = splits.image_size
    values: dict[str, Any] = {
        "version": version_of("fairkd") or "",
        "model": name,
        "input": f"{INPUT}: uint8 (batch, 3, {height}, {width}), RGB, values 0 to 255",
        "preprocessing": (
            "turned as its EXIF tag says, transparency on black, 8 bits, centre square, resized to "
            f"{height} x {width}, channels first; scaling and normalisation are in the graph"
        ),
        "output": f"{LOGITS}: float32 (batch, {splits.num_classes}), softmax gives probabilities",
        "class_names": json.dumps(list(splits.class_names), ensure_ascii=False),
        "group_names": json.dumps(list(splits.group_names), ensure_ascii=False),
        "dataset": splits.name,
        "data_fingerprint": splits.fingerprint,
    }
    return {f"{PREFIX}{key}": value for key, value in values.items()}
