"""Checkpoints of an unfinished training: everything needed to continue to the same weights."""

from __future__ import annotations

import functools
import io
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fairkd.errors import ArtifactError, FairkdWarning, first_line
from fairkd.store import read_sealed, write_atomic, write_sealed
from fairkd.training.selection import Score

if TYPE_CHECKING:
    from fairkd.training.loop import Trainer


#: The last epoch's and the one before, in a training's folder.
CHECKPOINTS = ("checkpoint.pt", "checkpoint.previous.pt")


class Checkpoint:
    """Saves and restores a :class:`~fairkd.training.loop.Trainer` between epochs.

    The checkpoint before the last one is kept: it stands in for one whose bytes have changed.
    Batch order and augmentation are functions of (seed, epoch), and so are the schedules of the epoch: of all
    generators only torch's, which dropout uses, has a state to keep.
    """

    def __init__(self, folder: Path, trainer: Trainer) -> None:
        self.path, self.previous = (folder / name for name in CHECKPOINTS)
        self.trainer = trainer

    def save(self, epochs_done: int) -> None:
        """Write the state after ``epochs_done`` epochs, whole or not at all."""
        # By way of memory: writing to a full disk, torch itself raises an error that does not say so.
        buffer = io.BytesIO()
        torch.save({"epochs_done": epochs_done, **self._state()}, buffer)
        write_sealed(self.path, buffer.getvalue(), keep=self.previous)

    def move(self, folder: Path, *, keep: bool) -> None:
        """Go on in another folder, with a copy of what is there; without ``keep``, the old folder is deleted."""
        there = Checkpoint(folder, self.trainer)
        for old, new in ((self.path, there.path), (self.previous, there.previous)):
            if old.is_file():
                write_atomic(new, functools.partial(shutil.copyfile, old))
        if not keep:
            shutil.rmtree(self.path.parent, ignore_errors=True)
        self.path, self.previous = there.path, there.previous

    def load(self) -> int:
        """Restore the trainer and return the number of epochs done, 0 without a checkpoint.

        Raises:
            ArtifactError: the file is damaged and there is no previous one, or it belongs to another version.

        Warns:
            FairkdWarning: the file is damaged, and the previous one is used.
        """
        path, content = self._read()
        if content is None:
            return 0
        trainer = self.trainer
        try:
            state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
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
            records, numbers = state["partial"]
            device = trainer.settings.device
            trainer.partial = ([{k: v.to(device) for k, v in one.items()} for one in records], numbers)
            trainer.part = state["part"]
            trainer.selector.candidates = [
                (Score(**score), weights) for score, weights in state["candidates"]
            ]
            torch.set_rng_state(state["generator"])
            if torch.cuda.is_available() and state["cuda_generators"]:
                # It may have been written where there were more devices.
                torch.cuda.set_rng_state_all(state["cuda_generators"][: torch.cuda.device_count()])
            return int(state["epochs_done"])
        except Exception as error:
            raise _refusal(path, error) from error

    def _read(self) -> tuple[Path, bytes | None]:
        """Return the bytes of the last checkpoint that is whole; torch.load does not notice changed ones."""
        found = [path for path in (self.path, self.previous) if path.is_file()]
        for path in found:
            try:
                content = read_sealed(path)
            except ArtifactError as error:
                if path == found[-1]:
                    raise _refusal(path, error) from error
                warnings.warn(
                    f"{error}: the training goes on from the epoch before",
                    FairkdWarning,
                    stacklevel=4,
                )
            else:
                return path, content
        return self.path, None

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
            "partial": trainer.partial,
            "part": trainer.part,
            "candidates": [(vars(score), weights) for score, weights in trainer.selector.candidates],
            "generator": torch.get_rng_state(),
            "cuda_generators": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }


def _refusal(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"cannot continue from {path}: {first_line(error)}; delete it to train from the start"
    )
