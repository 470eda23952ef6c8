"""``python cached_teacher.py SPLITS CACHE LOG``: wait for LOG to exist, then ask a teacher for two epochs."""

from __future__ import annotations

import pickle
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

# As a script, this file has only its own folder on the path.
sys.path.append(str(Path(__file__).parents[1]))
from training_cases import make_network

from fairkd.data.batches import AugmentedImages, BatchStream
from fairkd.data.splits import Splits
from fairkd.training import CacheFolder, TeacherOutputs


def ask(splits: Splits, cache: Path, log: Path) -> Tensor:
    """Return the logits of two epochs; every batch that the teacher computes adds a line to ``log``."""
    network = make_network(7)
    images = AugmentedImages(splits.train, augmentation="crop", seed=5, fingerprint=splits.fingerprint)
    teacher = TeacherOutputs(network, images, cache=CacheFolder(cache, 10**9))

    def slow(*_: object) -> None:
        with log.open("a") as file:
            file.write("computed\n")
        time.sleep(1)  # so that the other process comes meanwhile

    network.register_forward_hook(slow)
    stream = BatchStream(images, 24)
    return torch.cat([teacher(batch).logits for epoch in range(2) for batch in stream.epoch(epoch)])


def main(splits_file: str, cache: str, log: str) -> None:
    torch.set_num_threads(1)  # as in the tests' own process
    splits = pickle.loads(Path(splits_file).read_bytes())
    Path(log).with_name("ready").touch()
    while not Path(log).exists():
        time.sleep(0.01)
    torch.save(ask(splits, Path(cache), Path(log)), Path(log).with_name("answers"))


if __name__ == "__main__":
    main(*sys.argv[1:])
