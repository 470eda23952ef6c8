"""An interrupted training ends with the weights of an uninterrupted one."""

from __future__ import annotations

import dataclasses
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from full_disk import full_disk
from training_cases import INTERRUPTED, assert_same, equal_states, make_network, make_trainer

from fairkd.errors import ArtifactError
from fairkd.models import create_model
from fairkd.training import Trainer, task_step

# So few steps rarely suffice to predict more than one class.
pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")


def copy_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_a_killed_training_goes_on_to_the_same_weights_and_history(tiny_splits, tmp_path):
    (tmp_path / "splits.pickle").write_bytes(pickle.dumps(tiny_splits))
    script = Path(__file__).with_name("killed_training.py")
    # The sixth step is the second of the third epoch.
    arguments = [sys.executable, script, tmp_path / "splits.pickle", tmp_path / "work", "6"]
    killed = subprocess.run(arguments, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    resumed = make_trainer(tiny_splits, folder=tmp_path / "work", **INTERRUPTED)
    steps = []
    trained = resumed.step
    resumed.step = lambda *arguments: steps.append(1) or trained(*arguments)
    history = resumed.fit()
    assert len(steps) == 4, "the two finished epochs are not repeated"
    whole = make_trainer(tiny_splits, **INTERRUPTED)
    assert_same(resumed, history, whole, whole.fit())


#: A projector of another size, a learned temperature; the weights of group DRO; a critic; several heads.
STATEFUL: list[dict[str, Any]] = [
    {"distiller": "hint+ctkd", "mitigation": "gradient_reversal", "teacher": "resnet10t"},
    {"distiller": "norm_direction+mfd", "mitigation": "group_dro", "teacher": "resnet10t"},
    {"distiller": "co_advise", "mitigation": "recall_gap_critic", "teacher": "resnet8_cifar"},
    {"distiller": "kd", "mitigation": "domain_discriminative", "teacher": "resnet8_cifar"},
]


@pytest.mark.parametrize("case", STATEFUL, ids=lambda case: f"{case['distiller']}-{case['mitigation']}")
def test_what_distillers_and_mitigations_learn_is_restored(tiny_splits, tmp_path, monkeypatch, case):
    teacher = make_network(7, case["teacher"])
    settings = {**INTERRUPTED, "epochs": 3, **case, "teachers": [teacher]}
    del settings["teacher"]
    whole = make_trainer(tiny_splits, **settings)
    expected = whole.fit()
    run_epoch = Trainer._run_epoch

    def interrupted(self: Trainer, epoch: int, bar: Any) -> dict[str, Any]:
        if epoch == 1:
            raise KeyboardInterrupt
        return run_epoch(self, epoch, bar)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_run_epoch", interrupted)
        make_trainer(tiny_splits, folder=tmp_path, **settings).fit()
    resumed = make_trainer(tiny_splits, folder=tmp_path, **settings)
    fresh = {part: copy_of(getattr(resumed, part)) for part in ("mitigation", "extra")}
    history = resumed.fit()
    if resumed.mitigation_optimizer is None:
        resumed.mitigation_optimizer = whole.mitigation_optimizer = resumed.optimizer
    assert_same(resumed, history, whole, expected)
    learned = [
        part for part, state in fresh.items() if not equal_states(state, copy_of(getattr(resumed, part)))
    ]
    assert learned or case["mitigation"] == "domain_discriminative", "something was there to restore"


@pytest.mark.parametrize("mitigation", ["none", "projection"])
def test_torch_s_generator_is_restored_so_that_noise_repeats(tiny_splits, tmp_path, mitigation):
    plain, count = task_step(), 0

    def noisy(outputs, batch, progress):
        return {"loss": plain(outputs, batch, progress)["loss"] * (1 + torch.rand(()))}

    def interrupted(outputs, batch, progress):
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return noisy(outputs, batch, progress)

    settings = {**INTERRUPTED, "mitigation": mitigation, "optimizer": "sgd", "epochs": 3}
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tiny_splits, folder=tmp_path, step=interrupted, **settings).fit()
    torch.manual_seed(12345)
    resumed = make_trainer(tiny_splits, folder=tmp_path, step=noisy, **settings)
    history = resumed.fit()
    whole = make_trainer(tiny_splits, step=noisy, **settings)
    expected = whole.fit()
    if mitigation == "none":
        resumed.mitigation_optimizer = whole.mitigation_optimizer = resumed.optimizer
    assert_same(resumed, history, whole, expected)


def test_what_a_broken_off_epoch_recorded_goes_to_the_device_of_the_training(tiny_splits, tmp_path):
    stopped = make_trainer(tiny_splits, folder=tmp_path)
    stopped.partial = ([{"loss": torch.ones(())}, {"loss": torch.zeros(())}], [1, 2])
    stopped.checkpoint.save(0)
    resumed = make_trainer(tiny_splits, folder=tmp_path)
    resumed.settings = dataclasses.replace(resumed.settings, device="meta")
    assert resumed.checkpoint.load() == 0
    records, numbers = resumed.partial
    assert [record["loss"].device.type for record in records] == ["meta", "meta"] and numbers == [1, 2]


def test_a_checkpoint_of_a_machine_with_more_gpus_is_continued(tiny_splits, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    states = [torch.full((2,), number) for number in range(4)]
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: states)
    trainer = make_trainer(tiny_splits, folder=tmp_path)
    trainer.checkpoint.save(1)
    restored: list[torch.Tensor] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", restored.extend)
    assert trainer.checkpoint.load() == 1
    assert [state.tolist() for state in restored] == [[0, 0]]


def test_a_finished_training_is_not_repeated(tiny_splits, tmp_path):
    first = make_trainer(tiny_splits, folder=tmp_path)
    history = first.fit()

    def refuse(outputs, batch, progress):
        raise AssertionError("nothing is left to train")

    again = make_trainer(tiny_splits, folder=tmp_path, step=refuse)
    pd.testing.assert_frame_equal(again.fit(), history, check_exact=True)
    assert equal_states(first.network.state_dict(), again.network.state_dict())


def zero_a_weight(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(8) + content[middle + 8 :]


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[: len(content) // 2], zero_a_weight, lambda _: b"", lambda _: b"no checkpoint"],
    ids=["cut", "changed", "empty", "text"],
)
def test_a_corrupt_checkpoint_names_the_file_and_the_way_out(tiny_splits, tmp_path, damage):
    make_trainer(tiny_splits, folder=tmp_path).fit()
    path = tmp_path / "checkpoint.pt"
    (tmp_path / "checkpoint.previous.pt").unlink()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArtifactError) as caught:
        make_trainer(tiny_splits, folder=tmp_path).fit()
    message = str(caught.value)
    assert message.startswith(f"cannot continue from {path}: ") and "\n" not in message
    assert message.endswith("delete it to train from the start")


def test_a_checkpoint_of_another_network_is_refused(tiny_splits, tmp_path):
    make_trainer(tiny_splits, folder=tmp_path).fit()
    other = create_model("resnet20_cifar", 3, image_size=16, seed=0)
    with pytest.raises(ArtifactError, match=r"cannot continue from .*checkpoint\.pt"):
        make_trainer(tiny_splits, network=other, folder=tmp_path).fit()


def test_a_full_disk_stops_the_training_with_a_clear_error_and_keeps_the_last_epoch(tiny_splits, tmp_path):
    make_trainer(tiny_splits, folder=tmp_path, epochs=1).fit()
    with (
        full_disk(100_000),
        pytest.raises(ArtifactError, match=r"cannot write .*checkpoint\.pt: .*free space"),
    ):
        make_trainer(tiny_splits, folder=tmp_path, epochs=2).fit()
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert make_trainer(tiny_splits, network=make_network(9), folder=tmp_path).checkpoint.load() == 1
