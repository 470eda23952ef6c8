"""What a process has left in its folder: compared with an undisturbed one's, and read file by file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fairkd.data.cache import open_cached
from fairkd.store import ArtifactFolder, read_json, read_sealed


def contents(folder: Path) -> dict[str, object]:
    """All files but what no one reads: locks, what a killed process was writing, checkpoints of what is finished."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    kept = [file for file in files if not file.name.endswith((".lock", ".tmp", ".pt"))]
    return {str(file.relative_to(folder)): _content(file) for file in kept}


def _content(file: Path) -> object:
    """What a file says, without times."""
    if file.name == "history.csv":
        return pd.read_csv(file).drop(columns="seconds").to_csv()
    if file.name == "status.json":
        return {name: (step["state"], step["key"]) for name, step in read_json(file)["steps"].items()}
    if file.name == "config.json":
        return {k: v for k, v in read_json(file)["sha256"].items() if k != "history.csv"}
    if file.name in ("experiment.json", "report.html"):
        return len(file.read_bytes()) > 0
    return file.read_bytes()


def check_artifacts(outputs: Path) -> list[Path]:
    """Check every finished artefact; return their folders."""
    found = []
    for config in outputs.glob("artifacts/*/config.json"):
        if config.parent.suffix != ".partial":
            kind = config.parent.name.split("-")[0]
            artifact = ArtifactFolder(outputs, kind, read_json(config)["determined_by"])
            assert artifact.path == config.parent
            artifact.check()
            found.append(artifact.path)
    return found


def check_readable(folder: Path) -> None:
    """What has its final name is whole, whenever the process was killed."""
    check_artifacts(folder)
    for file in [*folder.glob("artifacts/*/checkpoint*.pt"), *folder.glob("cache/*/*-float32")]:
        read_sealed(file)
    for file in folder.glob("images-*.npy"):
        stored = open_cached(file, 40, 8)
        assert stored is not None and stored.pixels[:].shape == (40, 8, 8, 3)
    for file in folder.glob("run/*.json"):
        read_json(file)
