"""Every reader of files from elsewhere, with damaged and invented content: a documented error or a result, no crash.

100 inputs a reader and kind; ``FAIRKD_FUZZ=20000`` tries as many of each.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_folders import write_run
from safetensors.torch import save

from fairkd.arguments import read_experiment
from fairkd.config import Experiment
from fairkd.data.pickles import load_arrays
from fairkd.data.table import parse_table
from fairkd.errors import FairkdError
from fairkd.execute import parameter_names
from fairkd.models import load_state
from fairkd.predictions import Predictions
from fairkd.report.predictions_report import read_models
from fairkd.report.summary import read_metrics, table
from fairkd.run_state import read_status
from fairkd.runs import as_settings, list_runs
from fairkd.store import read_json, read_sealed, write_sealed

COUNT = int(os.environ.get("FAIRKD_FUZZ", "100"))
many = settings(
    max_examples=COUNT,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def read(reader: Callable[[], Any]) -> Any:
    """Call a reader; what it documents is no crash."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return reader()
        except FairkdError as error:
            assert str(error).strip(), "an error without a message"
            return None


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """``content`` with bytes flipped, left out, repeated, or put in."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["flip", "cut", "drop", "insert", "repeat"]))
        if kind == "flip" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[place:]
        elif kind == "drop":
            del data[place : place + draw(st.integers(1, 9))]
        elif kind == "insert":
            data[place:place] = draw(st.binary(max_size=9))
        else:
            data[place:place] = data[place : place + draw(st.integers(1, 9))]
    return bytes(data)


CSV = 'path,label,group,split\na.png,cat,red,train\n"b,1.png",dög,green,test\n'.encode()


def parquet() -> bytes:
    predictions = Predictions.from_arrays(
        labels=np.array([0, 1, 1]),
        groups=np.array([0, 1, -1]),
        probabilities=np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]),
        class_names=["a", "b"],
        group_names=["red", "green"],
        index=np.arange(3),
        unit=np.arange(3),
        split="test",
    )
    buffer = io.BytesIO()
    predictions.frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, buffer)
    return buffer.getvalue()


NOTEBOOK = json.dumps(
    {
        "cells": [
            {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": ["a: int = 1\n", "b = 'x'"]}
        ]
    }
).encode()
YAML = b"temperature: 2\nadversary_weights: [1, 3.5]\nteacher: resnet18\nskew: null\n"

#: A reader of a file: its name, what it reads when all is well, how it is called.
FILES: dict[str, tuple[str, bytes, Callable[[Path], Any]]] = {
    "json": ("a.json", b'{"a": [1, 2.5, null, "x"]}', read_json),
    "notebook": ("a.ipynb", NOTEBOOK, parameter_names),
    "parameters": ("a.yaml", YAML, lambda path: read_experiment([], path)),
    "parquet": ("a.parquet", parquet(), Predictions.from_parquet),
    "predictions": ("models.parquet", parquet(), read_models),
    "safetensors": ("a.safetensors", save({"weight": torch.ones(2, 3)}), load_state),
    "pth": ("a.pth", checkpoint(), load_state),
}


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_refused_or_read(name: str, tmp_path: Path) -> None:
    file, content, reader = FILES[name]
    path = tmp_path / file
    path.write_bytes(content)
    reader(path)

    @many
    @given(damaged(content) | st.binary(max_size=60))
    def try_one(data: bytes) -> None:
        path.write_bytes(data)
        read(lambda: reader(path))

    try_one()


@many
@given(damaged(CSV) | st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_damaged_csv_files_are_refused_or_read(data: bytes) -> None:
    found = read(lambda: parse_table(data, "a.csv"))
    if found is not None:
        assert found.columns


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_damaged_pickles_are_refused_or_read(protocol: int) -> None:
    content = pickle.dumps({b"data": np.zeros((2, 3), dtype=np.uint8), b"labels": [1, 2]}, protocol)
    assert load_arrays(content, "data_batch_1")["data"].tolist() == [[0, 0, 0], [0, 0, 0]]

    @many
    @given(damaged(content) | st.binary(max_size=60))
    def try_one(data: bytes) -> None:
        read(lambda: load_arrays(data, "data_batch_1"))

    try_one()
    # NumPy's own types can be brought into states by a pickle in which this fails.
    assert np.zeros(3, dtype=np.uint8).tolist() == [0, 0, 0]


@many
@given(st.dictionaries(st.sampled_from([*Experiment.model_fields, "nonsense"]), values, max_size=4))
def test_an_experiment_takes_its_values_or_names_them(content: dict[str, Any]) -> None:
    experiment = read(lambda: Experiment(**content))
    if experiment is not None:
        assert Experiment(**experiment.model_dump()) == experiment


@many
@given(
    st.lists(st.text(max_size=12).map(lambda text: f"temperature={text}") | st.text(max_size=12), max_size=3)
)
def test_arguments_are_taken_or_named(pairs: list[str]) -> None:
    read(lambda: read_experiment(pairs, None))


@many
@given(st.sampled_from(["metrics.json", "students.json", "efficiency.csv", "status.json"]), st.data())
def test_damaged_runs_are_left_out_or_read(tmp_path_factory, file: str, data: st.DataObject) -> None:
    folder = _run(tmp_path_factory)
    path = folder / file
    content = path.read_bytes() if path.exists() else b'{"steps": {"01": {"state": "finished"}}}'
    try:
        path.write_bytes(data.draw(damaged(content) | values.map(lambda one: json.dumps(one).encode())))
        runs = list_runs(folder.parent)
        if len(runs):
            read(lambda: as_settings(runs))
        read(lambda: read_status(folder))
        metrics = read(lambda: read_metrics(folder))
        if metrics is not None:
            read(lambda: table(metrics))
    finally:
        path.write_bytes(content)


def _run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp() / "fuzzed-runs"
    experiment = Experiment(output_dir=str(base))
    return experiment.run_folder if (base / "default").is_dir() else write_run(experiment)


@many
@given(st.data())
def test_a_seal_is_never_read_through(tmp_path_factory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "sealed"
    write_sealed(path, b"some content")
    whole = path.read_bytes()
    changed = data.draw(damaged(whole))
    path.write_bytes(changed)
    found = read(lambda: read_sealed(path))
    assert found in (None, b"some content") and (found is None or changed == whole)


def test_the_table_of_a_csv_is_what_was_written() -> None:
    found = parse_table(CSV, "a.csv")
    assert pd.DataFrame(found.columns).iloc[1].tolist() == ["b,1.png", "dög", "green", "test"]
