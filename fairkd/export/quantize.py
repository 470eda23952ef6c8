"""8-bit integers instead of floating point: a quarter of the size, and decisions that may change."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairkd.data.splits import ImageSet, Splits
from fairkd.errors import ArtifactError
from fairkd.export.formats import INPUT, require
from fairkd.export.graphs import save_onnx
from fairkd.export.runtime import channels_first, load_exported

#: Images that set the ranges of the activations.
CALIBRATION_IMAGES = 512
_BATCH = 64


def quantize_onnx(
    source: Path,
    path: Path,
    splits: Splits,
    *,
    dynamic: bool = False,
    images: int = CALIBRATION_IMAGES,
) -> Path:
    """Quantise an exported ONNX file to 8-bit integers.

    Weights get a scale for each output channel. Activations get fixed ranges, the smallest and largest value over
    calibration images of the validation split, and are written with ``QuantizeLinear``/``DequantizeLinear`` pairs,
    which every runtime can read. ``dynamic`` measures the ranges at each inference and needs no images; a
    convolution then becomes ``ConvInteger``, which few runtimes other than onnxruntime's CPU one support.

    Args:
        source: what :func:`fairkd.export.export_onnx` wrote.
        path: the new file; it keeps the source's metadata.
        splits: the data; training and test images are not touched.
        dynamic: measure the activations' ranges at each inference instead.
        images: calibration images, at most; see :func:`calibration_rows`.

    Raises:
        FairkdError: onnxruntime is not installed.
        ArtifactError: the source is damaged, or the file cannot be written.

    Source: Jacob et al. 2018, https://arxiv.org/abs/1712.05877.
    """
    require("onnx", "onnxruntime")
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    metadata = load_exported(source).metadata
    options: dict[str, Any] = {"per_channel": True, "weight_type": QuantType.QInt8}
    try:
        with tempfile.TemporaryDirectory() as folder, _quiet():
            prepared, quantized = Path(folder, "prepared.onnx"), Path(folder, "quantized.onnx")
            quant_pre_process(source, prepared, skip_optimization=True)
            if dynamic:
                quantize_dynamic(prepared, quantized, **options)
            else:
                chosen = splits.validation.subset(calibration_rows(splits.validation, images))
                quantize_static(
                    prepared,
                    quantized,
                    _reader(chosen),
                    quant_format=QuantFormat.QDQ,
                    # Unsigned: the faster of the two on x86, and no different in what it can hold.
                    activation_type=QuantType.QUInt8,
                    **options,
                )
            model = onnx.load(quantized)
    except OSError as error:
        raise ArtifactError(f"cannot quantise {source}: {error.strerror or error}; free space") from error
    return save_onnx(model, path, metadata)


def calibration_rows(images: ImageSet, most: int = CALIBRATION_IMAGES) -> np.ndarray:
    """Return the rows of at most ``most`` images, drawn evenly from all class x group cells, in ascending order.

    A cell that is rare in the data would otherwise hardly take part in setting the ranges, and its images would be
    the ones that are cut off. There is no chance in the choice: each cell gives its first images.
    """
    cells = pd.DataFrame({"label": images.labels, "group": images.groups})
    turn = cells.groupby(["label", "group"]).cumcount().to_numpy()
    return np.sort(np.argsort(turn, kind="stable")[:most])


def _reader(images: ImageSet) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = _batches(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._batches, None)

    return Reader()


def _batches(images: ImageSet) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(images), _BATCH):
        yield {INPUT: channels_first(images.images[start : start + _BATCH])}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime's advice on preparing a model, which has been followed, off the screen."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
