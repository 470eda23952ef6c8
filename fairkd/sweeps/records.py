"""What a sweep's folder keeps of each training: one small file, written whole when the training ends."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fairkd.errors import ArtifactError
from fairkd.store import ARTIFACTS, read_json, write_json
from fairkd.sweeps.plan import Trial


@dataclass(frozen=True)
class Record:
    """How one training ended. ``seconds`` is its time, training and scoring, in the invocation that ended it."""

    key: str
    title: str
    state: Literal["finished", "failed"]
    attempts: int
    seconds: float
    command: str
    error: str | None = None
    result: dict[str, Any] | None = None

    @property
    def finished(self) -> bool:
        """Whether there is a model."""
        return self.state == "finished"

    def scores(self) -> dict[str, dict[str, Any]]:
        """Return the scores by metric; empty for a failed training."""
        rows = self.result["scores"] if self.result else []
        return {row["metric"]: row for row in rows}


class RecordFolder:
    """``trials/<key>.json`` in a sweep's folder; the models lie beside it under ``artifacts/``."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._artifacts = folder / "trials", folder.parent / ARTIFACTS

    def read(self, key: str) -> Record | None:
        """Return the record of a finished training whose model is still there; a damaged file counts as none."""
        with contextlib.suppress(ArtifactError, TypeError, KeyError):
            path = self._folder / f"{key}.json"
            record = Record(**read_json(path)) if path.is_file() else None
            if record and record.finished and record.result and record.key == key:
                artifact = str(record.result["artifact"])
                return record if (self._artifacts / artifact / "config.json").is_file() else None
        return None

    def write(self, trial: Trial, **outcome: Any) -> Record:
        """Keep how a training ended, and return it."""
        record = Record(trial.key, trial.title, command=trial.experiment.command, **outcome)
        write_json(self._folder / f"{trial.key}.json", asdict(record))
        return record
