"""Checkpoints of an unfinished training: everything needed to continue to the same weights."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fairkd.errors import ArtifactError
from fairkd.store import read_sealed, write_sealed
from fairkd.training.selection import Score

if TYPE_CHECKING:
    from fairkd.training.loop import Trainer


class Checkpoint:
    """Saves and restores a :class:`~fairkd.training.loop.Trainer` between epochs.

    Batch order and augmentation are functions of (seed, epoch), and so are the schedules of the epoch: of all
    generators only torch's, which dropout uses, has a state to keep.
    """

    def __init__(self, path: Path, trainer: Trainer) -> None:
        self.path, self.trainer = path, trainer

    def save(self, epochs_done: int) -> None:
        """Write the state after ``epochs_done`` epochs, whole or not at all."""
        # By way of memory: writing to a full disk, torch itself raises an error that does not say so.
        buffer = io.BytesIO()
        torch.save({"epochs_done": epochs_done, **self._state()}, buffer)
        write_sealed(self.path, buffer.getvalue())

    def load(self) -> int:
        """Restore the trainer and return the number of epochs done, 0 without a checkpoint.

        Raises:
            ArtifactError: the file is damaged or belongs to another version.
        """
        if not self.path.is_file():
            return 0
        trainer = self.trainer
        try:
            # torch.load does not notice changed bytes.
            content = io.BytesIO(read_sealed(self.path))
            state: dict[str, Any] = torch.load(content, map_location="cpu", weights_only=True)
            trainer.network.load_state_dict(state["network"])
            trainer.extra.load_state_dict(state["extra"])
            trainer.mitigation.load_state_dict(state["mitigation"])
            trainer.optimizer.load_state_dict(state["optimizer"])
            if trainer.mitigation_optimizer:
                trainer.mitigation_optimizer.load_state_dict(state["mitigation_optimizer"])
            if trainer.averaged:
                trainer.averaged.load_state_dict(state["averaged"])
            trainer.scaler.load_state_dict(state["scaler"])
            trainer.history = state["history"]
            trainer.selector.candidates = [
                (Score(**score), weights) for score, weights in state["candidates"]
            ]
            torch.set_rng_state(state["generator"])
            if torch.cuda.is_available() and state["cuda_generators"]:
                torch.cuda.set_rng_state_all(state["cuda_generators"])
            return int(state["epochs_done"])
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ArtifactError(
                f"cannot continue from {self.path}: {reason}; delete it to train from the start"
            ) from error

    def _state(self) -> dict[str, Any]:
        trainer = self.trainer
        optimizer = trainer.mitigation_optimizer
        return {
            "network": trainer.network.state_dict(),
            "extra": trainer.extra.state_dict(),
            "mitigation": trainer.mitigation.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "averaged": trainer.averaged.state_dict() if trainer.averaged else None,
            "scaler": trainer.scaler.state_dict(),
            "mitigation_optimizer": optimizer.state_dict() if optimizer else None,
            "history": trainer.history,
            "candidates": [(vars(score), weights) for score, weights in trainer.selector.candidates],
            "generator": torch.get_rng_state(),
            "cuda_generators": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
