"""Run folders as the pipeline leaves them, written in no time."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from fairkd.config import Experiment
from fairkd.metrics import METRICS
from fairkd.predictions import Predictions
from fairkd.recipes import ROLES
from fairkd.store import write_json

DOCS = Path(__file__).resolve().parents[1] / "docs"
DEFAULT = {"teacher": (0.94, 0.11), "student_scratch": (0.92, 0.13), "student_kd": (0.89, 0.2)}


def write_run(experiment: Experiment, *, group: str = "red", **scores: tuple[float, float]) -> Path:
    """Write a run whose models have (accuracy, recall gap); its validation scores are the same."""
    folder = experiment.run_folder
    models = {role: {**DEFAULT, "student_fair": (0.94, 0.09), **scores}[role] for role in ROLES}
    known = {role: {"accuracy": a, "recall_gap": g} for role, (a, g) in models.items()}
    content = {
        "models": {
            role: {
                name: {"value": (value := values.get(name, 0.3)), "low": value - 0.02, "high": value + 0.02}
                for name in METRICS
            }
            for role, values in known.items()
        },
        "comparisons": [],
        "efficiency": {role: {"param_count": 1000, "macs": 10**6, "weights_mb": 0.5} for role in ROLES},
        "findings": [],
        "experiment": experiment.model_dump(exclude={"output_dir", "run_name", "device", "plugin"}),
    }
    write_json(folder / "metrics.json", content)
    students = {
        role: {"artifact": "x", "metrics": [{"metric": k, "value": v} for k, v in known[role].items()]}
        for role in ROLES[1:]
    }
    write_json(folder / "students.json", students)
    pd.DataFrame({"model": ROLES, "latency_ms": [4.0, 1.0, 1.1, 1.2]}).to_csv(
        folder / "efficiency.csv", index=False
    )
    n, rng = 40, np.random.default_rng(0)
    predictions = Predictions.from_arrays(
        labels=np.arange(n) % 2,
        groups=np.arange(n) // 2 % 2,
        probabilities=rng.dirichlet([1, 1], n),
        class_names=["a", "b"],
        group_names=[group, "green"],
        index=np.arange(n),
        unit=np.arange(n),
        split="test",
    )
    frames = [predictions.frame.assign(model=role) for role in ROLES]
    pd.concat(frames, ignore_index=True).astype({"model": "category"}).to_parquet(
        folder / "predictions.parquet", index=False
    )
    return folder


def code_of_page(position: int) -> str:
    """Return a block of Python from the page on run folders."""
    page = (DOCS / "runs.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n([\s\S]*?)```", page)[position]
