"""CIFAR-10's original Python files, read without running what a pickle may hold."""

from __future__ import annotations

import hashlib
import io
import pickle
from typing import Any

import numpy as np

from fairkd.data.files import Root
from fairkd.errors import DataError

TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILE = "test_batch"
#: The only things that such a file needs beside numbers, text, lists and dictionaries: how NumPy writes arrays.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _ArraysOnly(pickle.Unpickler):
    """Refuses every global but those of NumPy's arrays, so that loading calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return super().find_class(module, name)


def load_arrays(data: bytes, name: str) -> dict[str, Any]:
    """Read a pickled dictionary of arrays, lists and text; keys become text.

    Raises:
        DataError: the bytes are no such dictionary, or would run something.
    """
    try:
        values = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
        return {key.decode() if isinstance(key, bytes) else str(key): value for key, value in values.items()}
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
