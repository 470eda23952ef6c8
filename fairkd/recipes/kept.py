"""A trained model, and what its artefact folder holds of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from safetensors.torch import save

from fairkd.data.splits import Splits
from fairkd.inference import predict
from fairkd.models import Network, load_state
from fairkd.predictions import Predictions
from fairkd.reproducibility import environment
from fairkd.shown import Shown
from fairkd.store import ArtifactFolder, write_atomic
from fairkd.training import CHECKPOINTS, current_devices

Role = Literal["teacher", "student_scratch", "student_kd", "student_fair"]

#: The models of a run, in the order of tables and figures; the last only with a mitigation.
ROLES: tuple[Role, ...] = ("teacher", "student_scratch", "student_kd", "student_fair")


@dataclass(frozen=True, repr=False)
class TrainedModel(Shown):
    """A trained network with its history (one row an epoch), test predictions and artefact folder.

    ``validation`` holds the predictions on the validation split: choices between models are made there.
    """

    model: Network
    history: pd.DataFrame
    predictions: Predictions
    validation: Predictions
    folder: Path

    @property
    def collapsed(self) -> bool:
        """Whether it predicts at most half of the classes of the validation split; its small gap means nothing."""
        return self.validation.collapsed

    def summary(self) -> dict[str, str]:
        """Return the network, its size, the epochs and the accuracy."""
        return {
            "network": type(self.model.backbone).__name__,
            "parameters": f"{sum(weight.numel() for weight in self.model.parameters()):,}",
            "epochs": f"{len(self.history)}",
            "test accuracy": self.predictions.summary()["accuracy"],
            "validation accuracy": self.validation.summary()["accuracy"],
            "artifact": self.folder.name,
        }


def keep(
    folder: ArtifactFolder, role: Role, network: Network, history: pd.DataFrame, splits: Splits, device: str
) -> None:
    """Predict, write everything that is kept of a trained network, and finish the artefact."""
    work = folder.begin()
    state = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
    # As bytes: writing to a full disk, safetensors itself raises an error that is not an OSError.
    write_atomic(work / "model.safetensors", lambda path: path.write_bytes(save(state)))
    write_atomic(work / "history.csv", lambda path: history.to_csv(path, index=False))
    for split in ("validation", "test"):
        predictions = predict(network, splits, split, device=device)
        write_atomic(work / f"{split}.parquet", predictions.to_parquet)
    details = {"role": role, "environment": environment(), "processes": current_devices().count}
    folder.finish(details, scratch=CHECKPOINTS)


def load_kept(folder: ArtifactFolder, network: Network) -> TrainedModel:
    """Load a finished artefact into ``network``, which has the shape that it has after training.

    Raises:
        ArtifactError: a file is missing or its bytes have changed.
    """
    folder.check()
    return read_kept(folder.path, network)


def read_kept(folder: Path, network: Network) -> TrainedModel:
    """As :func:`load_kept`, of a folder whose files have been checked."""
    network.load_state_dict(load_state(folder / "model.safetensors"))
    return TrainedModel(
        model=network.eval(),
        history=pd.read_csv(folder / "history.csv"),
        predictions=Predictions.from_parquet(folder / "test.parquet"),
        validation=Predictions.from_parquet(folder / "validation.parquet"),
        folder=folder,
    )
