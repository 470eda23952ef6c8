"""A report on predictions alone, of fairkd's or of any other tool: no model, no data set, no notebook."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from fairkd.analysis import calibration_by_group, inflation
from fairkd.data.table import MISSING, decode, separator
from fairkd.errors import ArtifactError, DataError
from fairkd.evaluation import evaluate, few_samples, missing_groups
from fairkd.frames import from_frames
from fairkd.metrics import METRICS
from fairkd.predictions import Predictions, read_predictions
from fairkd.report.card import Card, plain, records
from fairkd.store import write_text

#: Rows of the table of calibration, of what :func:`fairkd.analysis.calibration_by_group` computes.
_CALIBRATION = ("calibration_error_debiased", "brier_score", "overconfidence", "confidence_of_errors")


class PredictionsReport(Card):
    """Tables of one or several models' predictions, as JSON and as one page that loads nothing."""

    kind = "predictions_report"


def predictions_report(
    models: Mapping[str, Predictions | pd.DataFrame], *, name: str = "predictions", **options: Any
) -> PredictionsReport:
    """Evaluate predictions, and test the differences between models if there are several.

    Args:
        models: predictions, or tables as :mod:`fairkd.frames` describes them, by name; the first is the baseline.
        name: the report's title.
        options: ``replicates``, ``confidence`` and ``bootstrap_seed`` of :func:`fairkd.evaluate` and
            :func:`fairkd.analysis.inflation`.

    Raises:
        DataError: a malformed table, or models that do not cover the same samples.
        ParameterError: an option out of range.
    """
    known = from_frames(models)
    tables = {label: evaluate(one, model=label, **options) for label, one in known.items()}
    differences = inflation(known, **options) if len(known) > 1 else pd.DataFrame()
    first = next(iter(known.values()))
    calibrated = {
        label: calibration_by_group(one, **options) for label, one in known.items() if one.has_probabilities
    }
    content = {
        "name": name,
        "models": list(known),
        "classes": first.class_names,
        "groups": first.group_names,
        "samples": len(first),
        "units": int(pd.Series(first.units).nunique()),
        "confidence": options.get("confidence", 0.95),
        "metrics": [_metric(key, tables) for key in METRICS],
        "by_group": _by(tables, "accuracy", "group"),
        "cells": _by(tables, "recall", "cell"),
        "calibration": [
            {"model": label, **row}
            for label, table in calibrated.items()
            for row in records(table[table["metric"].isin(_CALIBRATION)])
        ],
        "differences": records(differences),
        "limits": _limits(known, tables),
    }
    return PredictionsReport(plain(content))


def write_predictions_report(path: Path, **options: Any) -> Path:
    """Write ``<file>_report.html`` beside a file of predictions, and return its path.

    Args:
        path: ``.parquet`` or ``.csv``, as :mod:`fairkd.frames` describes the columns. A column ``model`` tells several
            models apart; the first in the file is the baseline.
        options: as :func:`predictions_report`.

    Raises:
        ArtifactError: the file cannot be read, or the report not be written.
        DataError: as :func:`predictions_report`.
    """
    report = predictions_report(read_models(path), name=path.name, **options)
    output = path.with_name(f"{path.stem}_report.html")
    write_text(output, report.to_html())
    return output


def read_models(path: Path) -> dict[str, pd.DataFrame]:
    """Read the tables of a file by model; of one without a column ``model`` there is one, ``model``."""
    readers = {".parquet": pd.read_parquet, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ArtifactError(f"cannot read predictions from {path}: allowed are {' and '.join(readers)} files")
    table = read_predictions(path, reader)
    if "model" not in table:
        return {"model": table}
    if table["model"].isna().any():
        raise DataError(f"{path}: {int(table['model'].isna().sum())} rows have no model")
    parts = table.groupby("model", sort=False, observed=True)
    found = {str(name): part.drop(columns="model").reset_index(drop=True) for name, part in parts}
    return {str(name): found[str(name)] for name in table["model"].unique()}


def _read_csv(file: IO[bytes]) -> pd.DataFrame:
    """As in the CSV that lists images, NA and None may be the names of groups; elsewhere they are missing."""
    text = decode(file.read(), Path(file.name).name)
    # Where the comma marks decimals, spreadsheets separate columns by semicolons.
    form: dict[str, Any] = {"sep": separator(text), "skipinitialspace": True}
    form["decimal"] = "," if form["sep"] != "," and re.search(r"\d,\d", text) else "."
    table = pd.read_csv(io.StringIO(text), **form).rename(columns=str.strip)
    for name in table.columns[[kind.kind not in "biuf" for kind in table.dtypes]]:
        stripped = table[name].map(lambda value: value.strip() if isinstance(value, str) else value)
        table[name] = stripped.replace("", np.nan)
    if "group" in table and table["group"].dtype.kind not in "iub":
        whole = pd.read_csv(
            io.StringIO(text),
            usecols=lambda name: name.strip() == "group",
            dtype=str,
            keep_default_na=False,
            **form,
        )
        texts = whole.iloc[:, 0].str.strip()
        read = table["group"].astype(object)
        table["group"] = read.where(read.notna(), texts).mask(texts.str.lower().isin(MISSING), np.nan)
    return table


def _metric(name: str, tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    rows = {
        label: records(
            table[(table["metric"] == name) & (table["class"] == "all") & (table["group"] == "all")]
        )[0]
        for label, table in tables.items()
    }
    known = METRICS[name]
    definition = next(iter(rows.values()))["definition"]
    return {"title": known.title, "better": known.better, "definition": definition, "models": rows}


def _by(tables: Mapping[str, pd.DataFrame], metric: str, level: str) -> list[dict[str, Any]]:
    """Return a row a group, or a class and group, with every model's estimate."""

    def chosen(table: pd.DataFrame) -> list[dict[str, Any]]:
        of_group = (table["class"] == "all") == (level == "group")
        return records(table[(table["metric"] == metric) & (table["group"] != "all") & of_group])

    columns = zip(*map(chosen, tables.values()), strict=True)
    return [
        {
            **{key: rows[0][key] for key in ("class", "group", "n")},
            "models": dict(zip(tables, rows, strict=True)),
        }
        for rows in columns
    ]


def _limits(models: Mapping[str, Predictions], tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return what the numbers cannot say, in sentences."""
    first = next(iter(tables.values()))
    cells = first[first["metric"] == "recall"]
    sentences = [*missing_groups(first), *few_samples(list(cells["n"]))]
    sentences += [
        f"{label} gives no probabilities: its calibration is not known."
        for label, one in models.items()
        if not one.has_probabilities
    ]
    units = {int(pd.Series(one.units).nunique()) for one in models.values()}
    if units == {len(next(iter(models.values())))}:
        sentences.append(
            "Every sample counts as independent of the others; a column 'unit' would say which are not."
        )
    return sentences
