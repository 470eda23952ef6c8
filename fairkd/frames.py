"""Predictions that were made elsewhere: from a plain table, of any tool, to :class:`~fairkd.predictions.Predictions`.

One row a sample, with the columns

- ``label``: the true class;
- ``group``: the sample's group; missing (None, NaN, or -1 among integers from 0) where it is not known;
- ``prediction``: the predicted class, or ``prob_<class>`` for every class (in [0, 1], the sum 1 a row), or both;
  without ``prediction`` it is the likeliest class, without probabilities there is no calibration;
- optional ``index``: a stable id of the sample, by which models are paired (default: the row's number);
- optional ``unit``: what the sample shows, shared by samples of one source (default: each row its own); intervals
  resample units;
- optional ``split`` and ``seed``: a name or number, one in the whole table.

Classes and groups may be text, whole numbers, booleans or categoricals, and become text: 1, 1.0 and "1" are one class.
A categorical keeps its order; anything else is sorted, numbers by value; of two classes the later is the positive one.
Other columns are ignored. A table of :meth:`Predictions.to_parquet` is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd

from fairkd.errors import DataError
from fairkd.metrics.encoding import has_code_for_missing
from fairkd.predictions import COLUMNS, Predictions
from fairkd.shown import first_of, table_names

#: Predictions, or a table that holds them as the module describes.
AnyPredictions: TypeAlias = Predictions | pd.DataFrame

PREFIX = "prob_"
#: How far the probabilities of a sample may be from a sum of 1: what single precision and rounding leave.
_TOLERANCE = 1e-3


def from_frames(
    models: Mapping[str, AnyPredictions],
) -> dict[str, Predictions]:
    """Turn each model's table into predictions that name the same classes and groups.

    A class that only one model predicts is a class of all. Predictions are returned as they are.

    Args:
        models: predictions, or tables as the module describes them, by name.

    Raises:
        DataError: a table that is malformed, or no names; says whose, what and the way out.
    """
    if not isinstance(models, Mapping):
        raise DataError(
            f"the models are a {type(models).__name__}; needed: predictions by name, for example "
            '{"teacher": one, "student": other}'
        )
    tables = {name: one for name, one in models.items() if not isinstance(one, Predictions)}
    for name, table in tables.items():
        _check_table(table, name)
        _check_values(table, name)
    foreign = {name: table for name, table in tables.items() if not _is_native(table)}
    # Those that are already typed have their classes, which the others then share.
    typed = [
        one if isinstance(one, Predictions) else Predictions(one)
        for n, one in models.items()
        if n not in foreign
    ]
    classes, groups = (
        _shared([*([one.frame[column] for one in typed[:1]]), *_columns(foreign.values(), column)])
        for column in ("label", "group")
    )
    return {
        name: _convert(foreign[name], classes, groups, name)
        if name in foreign
        else (one if isinstance(one, Predictions) else Predictions(one))
        for name, one in models.items()
    }


def as_predictions(predictions: AnyPredictions) -> Predictions:
    """Turn one model's table into predictions, as :func:`from_frames` does."""
    return from_frames({"model": predictions})["model"]


def class_columns(frame: pd.DataFrame) -> dict[str, str]:
    """Return the columns of probabilities by the class they name."""
    return {str(column)[len(PREFIX) :]: column for column in frame.columns if str(column).startswith(PREFIX)}


def _check_table(frame: object, name: str) -> None:
    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            f"the predictions of {name!r} are a {type(frame).__name__}; "
            "allowed: fairkd.Predictions or a pandas DataFrame"
        )
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise DataError(f"the predictions of {name!r} have the column {repeated[0]!r} more than once")
    missing = [column for column in ("label", "group") if column not in frame]
    if "prediction" not in frame and not class_columns(frame) and not _is_native(frame):
        missing.append(f"prediction (or {PREFIX}<class> for every class)")
    if missing:
        found = ", ".join(map(str, frame.columns[:20])) or "none"
        raise DataError(
            f"the predictions of {name!r} lack the columns {', '.join(missing)}; found: {found}; "
            "rename yours, for example frame.rename(columns={'target': 'label'})"
        )
    if not len(frame):
        raise DataError(f"the predictions of {name!r} hold no samples")
    for column in ("label", "prediction", "index", "unit", "split"):
        if column in frame and frame[column].isna().any():
            lacking = int(frame[column].isna().sum())
            raise DataError(
                f"the predictions of {name!r} lack {lacking} values in {column}: fill them or leave those rows out "
                "(NA and None in a CSV are missing values, no classes)"
            )


def _check_values(frame: pd.DataFrame, name: str) -> None:
    """Refuse what would give numbers without a meaning: several models or splits at once, scores as classes."""
    for column in ("model", "seed", "split"):
        found = frame[column].unique() if column in frame else []
        if len(found) > 1:
            names = ", ".join(sorted(_texts(found)))
            raise DataError(
                f"the predictions of {name!r} mix the {column}s {names}: keep one, for example "
                f"frame[frame['{column}'] == {pd.Series(found).tolist()[0]!r}]"
            )
    for column in ("label", "prediction"):
        if column in frame and frame[column].dtype.kind == "f" and (frame[column] % 1 != 0).any():
            raise DataError(
                f"the predictions of {name!r} hold fractions in {column}, such as "
                f"{frame[column][frame[column] % 1 != 0].iloc[0]:g}; needed: a class; probabilities belong in "
                f"{PREFIX}<class>"
            )
    if "prediction" in frame:
        labels, predicted = (_shared([frame[column]]) for column in ("label", "prediction"))
        if not {*labels} & {*predicted}:
            raise DataError(
                f"the predictions of {name!r} never name a class of its labels: label has {first_of(labels)}, "
                f"prediction has {first_of(predicted)}; give the classes the same names in both"
            )
    if frame["group"].isna().all() or _known_groups(frame["group"]).isna().all():
        raise DataError(
            f"the predictions of {name!r} hold no sample with a group, so that groups cannot be compared"
        )


def _is_native(frame: pd.DataFrame) -> bool:
    """Whether it is a table of :class:`Predictions`: all columns, the names typed as categoricals."""
    typed = all(
        column in frame and isinstance(frame[column].dtype, pd.CategoricalDtype)
        for column in ("label", "group", "prediction")
    )
    return typed and set(COLUMNS) <= set(frame.columns) and not class_columns(frame)


def _columns(frames: Iterable[pd.DataFrame], column: str) -> list[pd.Series]:
    """Return the columns whose values name classes, or groups."""
    if column == "group":
        return [_known_groups(frame["group"]) for frame in frames]
    found = []
    for frame in frames:
        found.append(frame["label"])
        if class_columns(frame):
            found.append(pd.Series(list(class_columns(frame)), dtype=object))
        if "prediction" in frame:
            found.append(frame["prediction"])
    return found


def _shared(columns: Sequence[pd.Series]) -> list[str]:
    """Return the names that occur in any of the columns: in the first categorical's order, then sorted."""
    categorical = (one for one in columns if isinstance(one.dtype, pd.CategoricalDtype))
    first = next(categorical, None)
    ordered = [] if first is None else _texts(first.cat.categories)
    occurring = {text for one in columns for text in _texts(one.dropna().unique())}
    return [*ordered, *sorted(occurring - set(ordered), key=_sort_key)]


def _convert(frame: pd.DataFrame, classes: Sequence[str], groups: Sequence[str], name: str) -> Predictions:
    n, probabilities = len(frame), _probabilities(frame, classes, name)
    if "prediction" in frame:
        predicted = _codes(frame["prediction"], classes)
    else:
        assert probabilities is not None
        predicted = probabilities.argmax(axis=1)
    index = _index(frame, name)
    columns = {
        "index": index,
        "unit": frame["unit"].to_numpy() if "unit" in frame else index,
        "split": pd.Categorical(frame["split"] if "split" in frame else ["test"] * n),
        "label": pd.Categorical.from_codes(_codes(frame["label"], classes), table_names(classes)),
        "group": pd.Categorical.from_codes(
            _codes(_known_groups(frame["group"]), groups), table_names(groups)
        ),
        "prediction": pd.Categorical.from_codes(predicted, table_names(classes)),
    }
    if probabilities is not None:
        columns |= {f"probability_{c}": probabilities[:, c] for c in range(len(classes))}
    return Predictions(pd.DataFrame(columns))


def _index(frame: pd.DataFrame, name: str) -> np.ndarray:
    index = np.asarray(frame["index"]) if "index" in frame else np.arange(len(frame))
    if index.dtype == object:
        # Models are paired in sorted order, and only one type can be sorted.
        index = index.astype(str)
    repeated = pd.Index(index)[pd.Index(index).duplicated()]
    if len(repeated):
        raise DataError(
            f"the predictions of {name!r} have the index {repeated[0]} more than once: it names a sample; "
            "samples of one source share a unit instead"
        )
    return index


def _probabilities(frame: pd.DataFrame, classes: Sequence[str], name: str) -> np.ndarray | None:
    """Return the probabilities in the order of the classes ``(n, classes)``, if there are any."""
    columns = class_columns(frame)
    if not columns:
        return None
    lacking = [one for one in classes if one not in columns]
    if lacking:
        raise DataError(
            f"the predictions of {name!r} lack the columns {', '.join(PREFIX + one for one in lacking)}: every class "
            f"that occurs needs one; found: {', '.join(map(str, columns.values()))}"
        )
    try:
        values = frame[[columns[one] for one in classes]].to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the predictions of {name!r} have {PREFIX} columns that are not numbers: {error}"
        ) from error
    checks = {
        "are not finite": ~np.isfinite(values).all(axis=1),
        "lie outside 0 to 1 (are they logits?)": ((values < -1e-6) | (values > 1 + 1e-6)).any(axis=1),
        "do not have the sum 1": np.abs(values.sum(axis=1) - 1) > _TOLERANCE,
    }
    for what, faulty in checks.items():
        if faulty.any():
            raise DataError(
                f"the predictions of {name!r}: the probabilities of {faulty.sum()} of {len(frame)} samples "
                f"{what}, first in row {int(faulty.argmax())}"
            )
    return np.asarray(values)


def _codes(column: pd.Series, names: Sequence[str]) -> np.ndarray:
    """Return the position of each value in ``names``; -1 where missing."""
    codes, values = pd.factorize(column)
    positions = np.append(pd.Index(names).get_indexer(pd.Index(_texts(values), dtype=object)), -1)
    return np.asarray(positions[codes], dtype=np.int64)


def _known_groups(column: pd.Series) -> pd.Series:
    """Return the groups with the code -1, among whole numbers, as missing."""
    return column.mask(column == -1) if has_code_for_missing(column) else column


def _texts(values: Iterable[object]) -> list[str]:
    return [
        str(int(v)) if isinstance(v, float | np.floating) and float(v).is_integer() else str(v)
        for v in values
    ]


def _sort_key(text: str) -> tuple[bool, float, str]:
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text
