"""CIFAR-10's original Python files, read without running what a pickle may hold."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from typing import Any

import numpy as np

from fairkd.data.files import Root
from fairkd.errors import DataError

TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILE = "test_batch"


class _Dtype:
    """Stands for ``numpy.dtype`` while a pickle is read: keeps what is said of it."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name, self.order = _text(name), "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _text(state[1])

    def numpy(self) -> np.dtype:
        if not re.fullmatch("[buif][1248]", self.name) or self.order not in tuple("<>=|"):
            raise pickle.UnpicklingError(f"it holds an array of {self.name!r}, not of numbers")
        return np.dtype(self.order + self.name)


class _Array:
    """Stands for ``numpy.ndarray`` while a pickle is read."""

    content: tuple[Any, Any, Any, bool] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, column_major, data = state[-4:]
        self.content = data, dtype, shape, column_major

    def numpy(self) -> np.ndarray:
        if self.content is None:
            raise pickle.UnpicklingError("it holds an array without content")
        data, dtype, shape, column_major = self.content
        if not isinstance(data, bytes | bytearray):  # a number would be that many bytes
            raise pickle.UnpicklingError("it holds an array that is not of numbers")
        return np.frombuffer(bytes(data), dtype.numpy()).reshape(shape, order="F" if column_major else "C")


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.content = data, dtype, shape, order == "F"
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds text in {encoding!r}")
    return str.encode(text, "latin1")


def _text(value: Any) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


#: What such a file asks for beside numbers, text, lists and dictionaries (how NumPy writes arrays), and what it gets:
#: with the true ones, a pickle could put NumPy's own objects into states that damage the process.
_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _ArraysOnly(pickle.Unpickler):
    """Gives stand-ins for NumPy's arrays and refuses every other global, so that loading calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return _STAND_INS[module, name]


def load_arrays(data: bytes, name: str) -> dict[str, Any]:
    """Read a pickled dictionary of arrays of numbers, lists and text; keys become text.

    Raises:
        DataError: the bytes are no such dictionary, or would run something.
    """
    try:
        values = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
        return {
            key.decode() if isinstance(key, bytes) else str(key): (
                value.numpy() if isinstance(value, _Array) else value
            )
            for key, value in values.items()
        }
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{name} cannot be read as CIFAR-10's Python version: {error}") from error


def is_python_version(root: Root) -> bool:
    """Whether the root holds ``data_batch_1``, directly or in ``cifar-10-batches-py``."""
    return _folder(root) is not None


def read_python_version(root: Root) -> tuple[np.ndarray, list[int], np.ndarray, str]:
    """Read all batches.

    Returns:
        Images ``(n, 32, 32, 3)`` uint8, labels, split codes ``(n,)`` and a hash of the files.

    Raises:
        DataError: a file is missing or damaged; names it.
    """
    folder, images, labels, sizes = _folder(root), [], [], []
    content = hashlib.sha256()
    for name in (*TRAIN_FILES, TEST_FILE):
        if root.stamp(f"{folder}{name}") is None:
            raise DataError(f"{root.path} lacks {folder}{name} of CIFAR-10's Python version; unpack it again")
        data = root.read(f"{folder}{name}")
        content.update(data)
        batch = load_arrays(data, name)
        images.append(_images(batch, name))
        labels += [int(label) for label in batch.get("labels", ())]
        sizes.append(len(images[-1]))
        if len(labels) != sum(sizes) or not all(0 <= label < 10 for label in labels):
            raise DataError(f"{name}: its labels are not one number from 0 to 9 an image; unpack it again")
    split = np.repeat([0, 0, 0, 0, 0, 2], sizes)
    return np.concatenate(images), labels, split, content.hexdigest()


def _images(batch: dict[str, Any], name: str) -> np.ndarray:
    pixels = batch.get("data")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (3072,):
        raise DataError(f"{name}: 'data' is not an array of 3,072 bytes an image; unpack it again")
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def _folder(root: Root) -> str | None:
    for folder in ("", "cifar-10-batches-py/"):
        if root.stamp(f"{folder}{TRAIN_FILES[0]}") is not None:
            return folder
    return None
