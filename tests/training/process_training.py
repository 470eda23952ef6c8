"""``torchrun process_training.py SPLITS CASE OUT [STEP]``: train in each process; the first one writes the history.

With STEP, the last process kills itself in that step.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from pathlib import Path

import torch

# As a script, this file has only its own folder on the path.
sys.path.append(str(Path(__file__).parents[1]))
from training_cases import make_trainer

from fairkd.training import join_processes


def main(splits: str, case: str, out: str, last_step: str = "0") -> None:
    torch.set_num_threads(1)
    devices = join_processes("cpu")
    options = json.loads(case)
    folder = Path(options.pop("folder")) if "folder" in options else None
    trainer = make_trainer(pickle.loads(Path(splits).read_bytes()), folder=folder, **options)
    trained, steps = trainer.step, iter(range(1, 1000))

    def step(outputs, batch, progress):
        if next(steps) == int(last_step) and devices.rank == devices.count - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return trained(outputs, batch, progress)

    trainer.step = step
    history = trainer.fit()
    weights = torch.cat([p.detach().flatten() for p in trainer.network.parameters()])
    if devices.rank == 0:
        torch.save({"history": history.to_dict("list"), "weights": weights}, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
