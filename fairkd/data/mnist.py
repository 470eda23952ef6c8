"""``mnist``: MNIST from ``mnist.npz`` (LeCun et al. 1998), for example for coloured digits with ``bias="tint"``."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

from fairkd.config import resolve_path
from fairkd.data.assemble import assemble
from fairkd.data.attributes import Columns
from fairkd.data.files import MAX_FILE_BYTES
from fairkd.data.pixels import ImageArrays
from fairkd.data.plan import DataOptions, Plan
from fairkd.data.profile import Profile, Records
from fairkd.errors import DataError, ParameterError

PROFILE = Profile(
    name="mnist",
    source="MNIST, 70,000 handwritten digits of 28 x 28 pixels (LeCun, Bottou, Bengio and Haffner 1998)",
    licence="none stated by its authors; commonly used for research",
    target="digit",
    group=None,
    image_size=28,
    augmentation="crop",
)
FILE = "mnist.npz"
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def plan(options: DataOptions) -> Plan:
    """Plan the data set, with its own training and test images.

    Raises:
        ParameterError: ``data_root`` is not set.
        DataError: it is not there, or is no such archive of arrays.
    """
    if options.data_root is None:
        raise ParameterError(f"mnist needs data_root: {FILE}, or the folder that holds it")
    path = resolve_path(options.data_root)
    path = path / FILE if path.is_dir() else path
    arrays, identity = _read(path)
    images = np.concatenate([arrays["x_train"], arrays["x_test"]])
    digits = [str(digit) for digit in np.concatenate([arrays["y_train"], arrays["y_test"]]).tolist()]
    split = np.repeat([0, 2], [len(arrays["x_train"]), len(arrays["x_test"])])
    columns = Columns(path.name, {"digit": digits}, lambda rows: f"{len(rows)} images")
    return assemble(Records(columns, ImageArrays(lambda: images, identity), split), options, PROFILE)


def _read(path: Path) -> tuple[dict[str, np.ndarray], str]:
    try:
        data = path.read_bytes()
        _check_sizes(data)
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in _ARRAYS}
    except FileNotFoundError as error:
        raise DataError(f"data_root: there is no {path}; set it to {FILE} or its folder") from error
    # An array's header may ask for any amount of memory.
    except (OSError, ValueError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no archive of the arrays {', '.join(_ARRAYS)}: {error}") from error
    for part in ("train", "test"):
        images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if images.ndim != 3 or images.dtype != np.uint8 or labels.shape != (len(images),):
            raise DataError(
                f"{path}: x_{part} must be (n, height, width) uint8, y_{part} (n,); fetch it again"
            )
    return arrays, hashlib.sha256(data).hexdigest()


def _check_sizes(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            if member.file_size > MAX_FILE_BYTES:
                raise ValueError(f"{member.filename} unpacks to {member.file_size:,} bytes")
