"""Several exported files side by side, as the tables that notebook 06 shows and leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from fairkd.config import Experiment
from fairkd.export.audit import EXPORTED, ORIGINAL
from fairkd.export.deploy import Export
from fairkd.export.formats import FORMATS
from fairkd.store import write_json
from fairkd.tables import overall

_METRICS = ("accuracy", "worst_group_accuracy", "recall_gap")


def files_table(exports: Mapping[str, Export]) -> pd.DataFrame:
    """Return a row a file: its name and size, and how far its logits and decisions are from the network's."""
    rows = {
        name: {
            "file": one.path.name,
            "MB": round(one.path.stat().st_size / 1e6, 2),
            "largest difference of a logit": f"{one.logit_difference:.2g}",
            "agrees but for rounding": "yes" if one.agrees else "no",
            "decisions changed": f"{one.audit.changes['changed'].iloc[0]:,} of {one.audit.changes['n'].iloc[0]:,}",
        }
        for name, one in exports.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def costs_table(exports: Mapping[str, Export]) -> pd.DataFrame:
    """Return a row for the original network and a row a file, as :func:`fairkd.efficiency.measure` names values."""
    first = next(iter(exports.values())).efficiency
    parts = [first[first["model"] == ORIGINAL]]
    parts += [
        one.efficiency[one.efficiency["model"] == EXPORTED].assign(model=name)
        for name, one in exports.items()
    ]
    return pd.concat(parts, ignore_index=True)


def evaluations(exports: Mapping[str, Export]) -> pd.DataFrame:
    """Return :func:`fairkd.evaluate`'s rows of the original network and of every file."""
    first = next(iter(exports.values())).audit.evaluation
    parts = [first[first["model"] == ORIGINAL]]
    for name, one in exports.items():
        rows = one.audit.evaluation
        parts.append(rows[rows["model"] == EXPORTED].assign(model=name))
    return pd.concat(parts, ignore_index=True)


def differences(exports: Mapping[str, Export]) -> pd.DataFrame:
    """Return the paired differences file − original in accuracy, worst-group accuracy and mean recall gap."""
    parts = [overall(one.audit.comparison, _METRICS).assign(model=name) for name, one in exports.items()]
    return pd.concat(parts, ignore_index=True)


def changes_by_group(exports: Mapping[str, Export]) -> pd.DataFrame:
    """Return :func:`fairkd.export.changed_decisions`'s rows by group for every file that is quantised."""
    parts = [
        one.audit.changes[one.audit.changes["group"] != "all"].assign(model=name)
        for name, one in exports.items()
        if "int8" in FORMATS[name].suffix
    ]
    return pd.concat(parts, ignore_index=True)


def save_exports(experiment: Experiment, exports: Mapping[str, Export]) -> Path:
    """Write which files were made, and what their audits found, to ``exports.json`` in the run's folder."""
    content = {
        name: {
            "file": one.card.content["file"],
            "logit_difference": one.logit_difference,
            "changes": one.card.content["by_group"],
            "metrics": one.card.content["metrics"],
        }
        for name, one in exports.items()
    }
    path = experiment.run_folder / "exports.json"
    write_json(path, content)
    return path
