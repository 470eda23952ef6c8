"""The data sets by name. To add one: a file with ``plan(options) -> Plan``, and a line in ``SOURCES``."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from fairkd.config import Experiment, suggest
from fairkd.data import colored_digits, image_folder
from fairkd.data.plan import DataOptions, Plan
from fairkd.data.splits import Splits
from fairkd.errors import ParameterError

Bias = Literal["auto", "tint", "subsample"]


@dataclass(frozen=True)
class DataSource:
    """What ``list_datasets`` says of a data set, and the function that plans it."""

    name: str
    source: str
    groups: str
    needs_download: bool
    default_skew: float | None
    licence: str
    plan: Callable[[DataOptions], Plan]


SOURCES = (
    DataSource(
        colored_digits.NAME,
        colored_digits.SOURCE,
        "tint: red, green",
        False,
        colored_digits.DEFAULT_SKEW,
        colored_digits.LICENCE,
        colored_digits.plan,
    ),
    DataSource(
        image_folder.NAME,
        "your own folder or zip of images with a CSV",
        "any columns of the CSV",
        False,
        None,
        "that of your data",
        image_folder.plan,
    ),
)


def load_dataset(
    name: str = "colored-digits",
    *,
    data_root: str | os.PathLike[str] | None = None,
    csv: str | os.PathLike[str] | None = None,
    path_column: str = "path",
    label_column: str = "label",
    group_column: str = "group",
    split_column: str = "split",
    bias: Bias = "auto",
    skew: float | None = None,
    image_size: int | None = None,
    seed: int = 0,
) -> Splits:
    """Load a data set as training, validation and test images with labels and groups.

    Args:
        name: a name of :func:`list_datasets`.
        data_root: folder or zip with the images (``image-folder``).
        csv: CSV file, in ``data_root`` or anywhere else; ``None``: the only one directly in ``data_root``.
        path_column: column with the image path, relative to ``data_root``.
        label_column: column with the class; without a column ``label``, the path's first folder is it.
        group_column: column with the group; ``"a*b"`` crosses two or more columns.
        split_column: column with train, validation (val, valid) or test, used if present.
        bias: how ``skew`` is made: ``"tint"`` colours the images, ``"subsample"`` thins the training split.
        skew: share of each class that is in its majority group, training split, [0.5, 1]; ``None``: the data
            set's own.
        image_size: pixels, [8, 1024]; ``None``: the data set's own.
        seed: seed of the split and of the bias, [0, 2^31).

    Raises:
        ParameterError: an unknown name or a value out of range.
        DataError: the data are missing, malformed, or cannot serve.

    Example:
        >>> splits = load_dataset("colored-digits", skew=0.95)
        >>> splits.num_classes, splits.group_names
        (10, ('red', 'green'))
    """
    options = {key: value for key, value in locals().items() if key != "name"}
    return _plan(name, options).load()


def check_dataset(name: str = "colored-digits", **options: Any) -> Plan:
    """Validate what can be validated without decoding an image; the arguments are :func:`load_dataset`'s.

    Returns:
        The plan: ``fingerprint``, ``class_names``, ``group_names``, ``sizes``, ``image_size``.

    Raises:
        ParameterError: an unknown name or a value out of range.
        DataError: the data are missing, malformed, or cannot serve.
    """
    return _plan(name, options)


def dataset_fingerprint(name: str = "colored-digits", **options: Any) -> str:
    """Return the ``fingerprint`` that :func:`load_dataset` would give, without decoding an image.

    Raises:
        ParameterError: an unknown name or a value out of range.
        DataError: the data are missing, malformed, or cannot serve.
    """
    return check_dataset(name, **options).fingerprint


def list_datasets() -> pd.DataFrame:
    """Return one row a data set: ``name, source, groups, needs_download, default_skew, licence``."""
    columns = ("name", "source", "groups", "needs_download", "default_skew", "licence")
    return pd.DataFrame([{column: getattr(source, column) for column in columns} for source in SOURCES])


def _plan(name: str, options: dict[str, Any]) -> Plan:
    sources = {source.name: source for source in SOURCES}
    if name not in sources:
        raise ParameterError(
            f"unknown data set {name!r}: {suggest(str(name), sources)}allowed: {', '.join(sources)}"
        )
    unknown = sorted(set(options) - set(Experiment.names(["data"])))
    if unknown:
        allowed = [option for option in Experiment.names(["data"]) if option != "dataset"]
        raise ParameterError(
            f"unknown option {unknown[0]!r}: {suggest(unknown[0], allowed)}allowed: {', '.join(allowed)}"
        )
    plain = {
        key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in options.items()
    }
    # The ranges stand in one place, Experiment, which also explains what is wrong in one line.
    values = Experiment(dataset=name, **plain).values("data")
    del values["dataset"]
    return sources[name].plan(DataOptions(**values))
