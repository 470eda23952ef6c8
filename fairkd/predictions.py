"""``Predictions``: one row a sample, from any model; what every metric, table and plot is computed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairkd.errors import ArtifactError, DataError, first_line
from fairkd.shown import Shown, first_of
from fairkd.store import write_atomic

COLUMNS = ("index", "unit", "split", "label", "group", "prediction")
#: The group may be missing: such a sample counts for the task and is left out of what compares groups.
_COMPLETE = tuple(name for name in COLUMNS if name != "group")


@dataclass(frozen=True, repr=False)
class Predictions(Shown):
    """A model's predictions on one split, checked when they are made.

    ``frame`` has one row a sample and the columns ``index`` (stable id of the sample), ``unit`` (samples
    that show the same source item, for example one scan in two tints, share it: intervals resample units),
    ``split``, the categoricals ``label``, ``group`` and ``prediction``, and ``probability_0`` to
    ``probability_<classes-1>`` in the order of the label's categories, which are the prediction's too. The
    group is NaN where it is not known; every other column is complete. A model that only decides has no
    probability column at all: what needs one is then NaN or refused.

    Raises:
        DataError: a column is missing, not categorical, or has missing values; or a probability is not
            finite.
    """

    frame: pd.DataFrame

    def __post_init__(self) -> None:
        _require(self.frame, COLUMNS)
        for name in _COMPLETE:
            if self.frame[name].isna().any():
                raise DataError(
                    f"predictions: the column {name} lacks {self.frame[name].isna().sum()} values"
                )
        for name in ("label", "group", "prediction"):
            if not isinstance(self.frame[name].dtype, pd.CategoricalDtype):
                kind = self.frame[name].dtype
                raise DataError(f"predictions: the column {name} has type {kind}; allowed: categorical")
        if list(self.frame["prediction"].cat.categories) != list(self.frame["label"].cat.categories):
            raise DataError("predictions: the columns label and prediction need the same categories")
        if not self.has_probabilities:
            return
        _require(self.frame, self._probability_names)
        diverged = self.frame["index"][~np.isfinite(self.probabilities).all(axis=1)]
        if len(diverged):
            raise DataError(
                f"predictions: {len(diverged)} of {len(self)} samples have probabilities that are not finite, "
                f"the first with index {diverged.iloc[0]}; did the training diverge?"
            )

    @classmethod
    def from_arrays(
        cls,
        *,
        labels: np.ndarray,
        groups: np.ndarray,
        probabilities: np.ndarray,
        class_names: Sequence[str],
        group_names: Sequence[str],
        index: np.ndarray | None = None,
        unit: np.ndarray | None = None,
        split: str = "test",
    ) -> Predictions:
        """Build from integer codes ``(n,)`` and probabilities ``(n, classes)``.

        The prediction is the likeliest class. The group code -1 means that the group is missing.

        Raises:
            DataError: codes, names and probabilities do not fit each other.
        """
        n = len(labels)
        if probabilities.shape != (n, len(class_names)):
            raise DataError(
                f"predictions: probabilities have shape {probabilities.shape}; "
                f"{n} labels and {len(class_names)} class names allow ({n}, {len(class_names)})"
            )
        index = np.arange(n) if index is None else index
        try:
            columns = {
                "index": index,
                "unit": index if unit is None else unit,
                "split": pd.Categorical([split] * n),
                "label": pd.Categorical.from_codes(labels, list(class_names)),
                "group": pd.Categorical.from_codes(groups, list(group_names)),
                "prediction": pd.Categorical.from_codes(probabilities.argmax(axis=1), list(class_names)),
                **{f"probability_{c}": probabilities[:, c] for c in range(len(class_names))},
            }
            frame = pd.DataFrame(columns)
        except ValueError as error:
            raise DataError(f"predictions: {error}") from error
        return cls(frame)

    def __len__(self) -> int:
        return len(self.frame)

    def summary(self) -> dict[str, str]:
        """Return size, split, classes, groups and accuracy."""
        return {
            "samples": f"{len(self):,}",
            "split": ", ".join(map(str, self.frame["split"].unique())),
            "classes": first_of(self.class_names),
            "groups": first_of(self.group_names),
            "accuracy": f"{np.mean(self.labels == self.predicted):.3f}" if len(self) else "none: no sample",
        }

    @property
    def class_names(self) -> list[str]:
        """The classes, in the order of the probability columns."""
        return [str(name) for name in self.frame["label"].cat.categories]

    @property
    def group_names(self) -> list[str]:
        """The groups; a group without samples keeps its place."""
        return [str(name) for name in self.frame["group"].cat.categories]

    @property
    def labels(self) -> np.ndarray:
        """Integer labels ``(n,)``."""
        return np.asarray(self.frame["label"].cat.codes, dtype=np.int64)

    @property
    def groups(self) -> np.ndarray:
        """Integer groups ``(n,)``; -1 where the group is missing."""
        return np.asarray(self.frame["group"].cat.codes, dtype=np.int64)

    @property
    def predicted(self) -> np.ndarray:
        """Integer predictions ``(n,)``."""
        return np.asarray(self.frame["prediction"].cat.codes, dtype=np.int64)

    @property
    def collapsed(self) -> bool:
        """Whether at most half of the classes that occur are predicted; a small gap then means nothing."""
        return bool(self.frame["prediction"].nunique() <= self.frame["label"].nunique() / 2)

    @property
    def units(self) -> np.ndarray:
        """Source item of each sample ``(n,)``."""
        return np.asarray(self.frame["unit"])

    @property
    def has_probabilities(self) -> bool:
        """Whether the model gives probabilities, or only decides."""
        return any(name in self.frame for name in self._probability_names)

    @property
    def probabilities(self) -> np.ndarray:
        """Class probabilities ``(n, classes)``.

        Raises:
            DataError: the model only decides.
        """
        if not self.has_probabilities:
            raise DataError("these predictions hold no probabilities, which is what this needs")
        return np.asarray(self.frame[self._probability_names])

    def to_parquet(self, path: Path | str) -> None:
        """Write the frame, types included, whole or not at all.

        Raises:
            ArtifactError: the file cannot be written.
        """
        # As bytes, and read from an open file: of a path, pyarrow takes it that its name is UTF-8.
        content = self.frame.to_parquet(index=False)
        write_atomic(Path(path), lambda temporary: temporary.write_bytes(content))

    @classmethod
    def from_parquet(cls, path: Path | str) -> Predictions:
        """Read what :meth:`to_parquet` wrote.

        Raises:
            ArtifactError: the file is missing or is not parquet.
            DataError: the table in it is not one of predictions.
        """
        return cls(read_predictions(Path(path)))

    @property
    def _probability_names(self) -> list[str]:
        return [f"probability_{c}" for c in range(len(self.class_names))]


def read_predictions(path: Path, read: Callable[[Any], pd.DataFrame] = pd.read_parquet) -> pd.DataFrame:
    """Read a file of predictions as it is; ``read`` is pandas' function for its format.

    Raises:
        ArtifactError: the file is missing or has another format.
    """
    try:
        # Of a path, pyarrow takes it that its name is UTF-8.
        with path.open("rb") as file:
            return read(file)
    except Exception as error:  # a damaged file raises nearly anything
        raise ArtifactError(f"cannot read predictions from {path}: {first_line(error)}") from error


def align(models: Mapping[str, Predictions]) -> dict[str, Predictions]:
    """Sort each model's rows by index and check that all cover the same samples.

    Raises:
        DataError: no samples; or other samples, classes, groups, labels or units in one model than in
            another.
    """
    ordered = {}
    for name, one in models.items():
        if not len(one):
            raise DataError(f"the predictions of {name!r} hold no samples")
        order = np.argsort(one.frame["index"].to_numpy(), kind="stable")
        ordered[name] = Predictions(one.frame.iloc[order].reset_index(drop=True))
    names = list(ordered)
    for name in names[1:]:
        _check_same_samples(names[0], ordered[names[0]], name, ordered[name])
    return ordered


def _check_same_samples(first: str, left: Predictions, second: str, right: Predictions) -> None:
    place = f"models {first!r} and {second!r} cannot be compared"
    for what, names in (("classes", "class_names"), ("groups", "group_names")):
        if getattr(left, names) != getattr(right, names):
            raise DataError(f"{place}: their {what} are {getattr(left, names)} and {getattr(right, names)}")
    indices = [pd.Index(one.frame["index"]) for one in (left, right)]
    for name, index in zip((first, second), indices, strict=True):
        if index.has_duplicates:
            raise DataError(
                f"{place}: index {index[index.duplicated()][0]} occurs more than once in {name!r}"
            )
    for name, index, other in ((first, *indices), (second, *reversed(indices))):
        only = index.difference(other)
        if len(only):
            raise DataError(
                f"{place}: {len(only)} samples are only in {name!r}, the first with index {only[0]}"
            )
    for column in ("label", "group", "unit"):
        one, other = (frame[column].astype(object) for frame in (left.frame, right.frame))
        # Two missing groups are alike, though NaN differs from itself.
        differs = ((one != other) & ~(one.isna() & other.isna())).to_numpy()
        if differs.any():
            row = int(differs.argmax())
            raise DataError(
                f"{place}: the {column} of the sample with index {indices[0][row]} is "
                f"{left.frame[column][row]} in {first!r} and {right.frame[column][row]} in {second!r}"
            )


def _require(frame: pd.DataFrame, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise DataError(f"predictions lack the columns {', '.join(missing)}; needed: {', '.join(names)}")
