"""``python killed_training.py SPLITS FOLDER STEP``: train until the process kills itself in that step."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from pathlib import Path

import torch

# As a script, this file has only its own folder on the path.
sys.path.append(str(Path(__file__).parents[1]))
from training_cases import INTERRUPTED, make_trainer


def main(splits: str, folder: str, last_step: str) -> None:
    torch.set_num_threads(1)  # as in the tests' own process: sums depend on it
    trainer = make_trainer(pickle.loads(Path(splits).read_bytes()), folder=Path(folder), **INTERRUPTED)
    trained, steps = trainer.step, iter(range(1, 1000))

    def step(outputs, batch, progress):
        if next(steps) == int(last_step):
            os.kill(os.getpid(), signal.SIGKILL)
        return trained(outputs, batch, progress)

    trainer.step = step
    trainer.fit()


if __name__ == "__main__":
    main(*sys.argv[1:])
