"""From the user's arrays to integer codes, and the warnings about what the data cannot answer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from fairkd.errors import DataError, FairkdWarning
from fairkd.metrics.confusion import CellCounts

_NAMED_CELLS = 12


@dataclass(frozen=True)
class Encoded:
    """Labels, groups and predictions as codes ``(n,)`` into ``classes`` and ``group_values``.

    The code of a missing group is -1.
    """

    labels: np.ndarray
    groups: np.ndarray
    predicted: np.ndarray
    classes: pd.Index
    group_values: pd.Index

    @cached_property
    def counts(self) -> CellCounts:
        """The samples counted by cell."""
        sizes = len(self.classes), len(self.group_values)
        return CellCounts.of_samples(self.labels, self.groups, self.predicted, *sizes)


def encode(y_true: Any, y_pred: Any, sensitive_features: Any = None) -> Encoded:
    """Turn arrays of integers or strings into codes, in sorted order.

    A pandas categorical keeps its order and also its categories without samples.

    Args:
        y_true: true classes ``(n,)``.
        y_pred: predicted classes ``(n,)``.
        sensitive_features: groups ``(n,)``; ``None`` puts all samples into one. A group is missing where
            the value is (None, NaN), or is -1 among whole numbers, as :class:`fairkd.data.ImageSet` has it.

    Raises:
        DataError: no samples, unequal lengths, missing classes, no group at all, several dimensions, or
            numbers mixed with text.
    """
    columns = {"y_true": y_true, "y_pred": y_pred}
    if sensitive_features is None:
        sensitive_features = np.zeros(len(y_true), dtype=np.int64)
    columns["sensitive_features"] = sensitive_features
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise DataError(f"metrics need columns of one length, at least one sample; got {lengths}")
    groups, group_values = _codes({"sensitive_features": columns.pop("sensitive_features")})
    if has_code_for_missing(sensitive_features):
        # Values are in sorted order, so that -1 is the first.
        groups, group_values = [np.maximum(groups[0] - 1, -1)], group_values[1:]
    if not len(group_values):
        raise DataError("sensitive_features: no sample has a group, so that groups cannot be compared")
    classes, class_values = _codes(columns)
    missing = sum(int((codes < 0).sum()) for codes in classes)
    if missing:
        raise DataError(f"{' and '.join(columns)}: {missing} values are missing or not a category")
    return Encoded(classes[0], groups[0], classes[1], class_values, group_values)


def encode_and_warn(y_true: Any, y_pred: Any, sensitive_features: Any) -> Encoded:
    """:func:`encode`, with warnings that count missing groups and name the empty class x group cells."""
    encoded = encode(y_true, y_pred, sensitive_features)
    missing = int((encoded.groups < 0).sum())
    if missing:
        warnings.warn(
            f"{missing} of {len(encoded.groups)} samples have no group (None, NaN or the code -1): what compares "
            "groups leaves them out",
            FairkdWarning,
            stacklevel=3,
        )
    warn_empty_cells(encoded.counts.samples, encoded.classes, encoded.group_values, stacklevel=4)
    return encoded


def warn_empty_cells(
    samples: np.ndarray, classes: Sequence[Any], groups: Sequence[Any], *, stacklevel: int = 3
) -> None:
    """Warn once, naming the class x group cells of ``samples (classes, groups)`` that are empty."""
    empty = np.argwhere(samples == 0)
    if not len(empty):
        return
    names = [f"class {classes[c]} x group {groups[g]}" for c, g in empty[:_NAMED_CELLS]]
    rest = f" and {len(empty) - len(names)} more" if len(empty) > len(names) else ""
    warnings.warn(
        f"no samples in {', '.join(names)}{rest}: what depends on an empty cell is NaN or left out",
        FairkdWarning,
        stacklevel=stacklevel,
    )


def has_code_for_missing(groups: Any) -> bool:
    """Whether groups are whole numbers, none below -1, with -1 among them.

    Raises:
        DataError: they are -1 and 1 alone, which is how some data sets code two groups.
    """
    if isinstance(getattr(groups, "dtype", None), pd.CategoricalDtype):
        return False
    known = pd.Series(groups).dropna()
    # An integer column that was merged, or has None, holds floats or objects.
    if known.dtype == object and pd.api.types.infer_dtype(known) in ("integer", "floating"):
        known = pd.to_numeric(known)
    if known.dtype.kind not in "if" or known.min() != -1 or (known % 1 != 0).any():
        return False
    if set(known.unique()) == {-1, 1}:
        raise DataError(
            "the groups are -1 and 1, where -1 stands for a missing group: give them names, or 0 and 1"
        )
    return True


def _codes(columns: Mapping[str, Any]) -> tuple[list[np.ndarray], pd.Index]:
    """Encode columns that share their values; -1 for what is missing or not a category."""
    types = [getattr(column, "dtype", None) for column in columns.values()]
    categorical = next((kind for kind in types if isinstance(kind, pd.CategoricalDtype)), None)
    if categorical is not None:
        values = categorical.categories
        codes = np.concatenate([values.get_indexer(np.asarray(column)) for column in columns.values()])
    else:
        codes, values = pd.factorize(np.concatenate(_arrays(columns)), sort=True)
        values = pd.Index(values)
    return np.split(codes.astype(np.int64), len(columns)), values


def _array(column: Any) -> np.ndarray:
    array = np.asarray(column)
    # Of a list with text NumPy makes text, of a missing value the word nan.
    return (
        array
        if hasattr(column, "dtype") or array.dtype.kind not in "US"
        else np.asarray(column, dtype=object)
    )


def _arrays(columns: Mapping[str, Any]) -> list[np.ndarray]:
    arrays = {name: _array(column) for name, column in columns.items()}
    for name, array in arrays.items():
        if array.ndim != 1:
            raise DataError(f"{name} has shape {array.shape}; allowed: one dimension, one value a sample")
    numeric = {name: array.dtype.kind in "biuf" for name, array in arrays.items()}
    if len(set(numeric.values())) != 1:
        kinds = ", ".join(
            f"{name} holds {'numbers' if is_number else 'text'}" for name, is_number in numeric.items()
        )
        raise DataError(f"{kinds}; allowed: the same kind in both, or no value would match")
    return list(arrays.values())
