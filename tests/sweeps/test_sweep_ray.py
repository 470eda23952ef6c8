"""The Ray engine: on a Ray that is really started, on the loopback only, with a task that dies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fairkd.errors import FairkdError, ParameterError
from fairkd.sweeps import ray_engine
from fairkd.sweeps.ray_engine import RayEngine

pytest.importorskip("ray")

_NOT_STARTED = 3


def tried(script: str, folder: Path) -> dict[str, Any]:
    """Run a trial beside this file in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name(script)), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode == _NOT_STARTED:
        # Ray's processes have fixed times to start in, which a busy machine can exceed.
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.distributed
def test_when_a_node_is_lost_its_training_is_tried_on_another_and_the_rest_goes_on(tmp_path):
    found = tried("ray_node_trial.py", tmp_path)
    (retry,) = [text for text in found["said"] if text.startswith("retry")]
    assert "the Ray task was lost" in retry
    assert set(found["states"]) == {"finished"} and found["attempts"] == [1, 1, 1, 2]


@pytest.mark.distributed
def test_tasks_train_die_and_are_tried_again_and_nothing_listens_outside(tmp_path):
    found = tried("ray_trial.py", tmp_path)
    (retry,) = [text for text in found["said"] if text.startswith("retry")]
    assert "the Ray task was lost: WorkerCrashedError" in retry
    assert found["states"] == ["finished"] * 3 and found["attempts"] == [1, 2, 1]
    loopback = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    assert found["addresses"] and set(found["addresses"]) <= loopback


def test_an_address_where_nothing_answers_is_said():
    with pytest.raises(
        ParameterError, match=r"--address 127.0.0.1:1: no Ray cluster answers there: .*refused"
    ):
        RayEngine("127.0.0.1:1", 1, "cpu")


class NoRay:
    """Notes what Ray is asked for."""

    def __init__(self, resources: dict[str, float] | None = None, address: str = "127.0.0.1") -> None:
        self.resources, self.asked, self.shut = resources or {}, {}, False
        self.util = SimpleNamespace(get_node_ip_address=lambda: address)

    def init(self, **options: object) -> None:
        self.asked |= options

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, **options: object):
        self.asked |= {"task": options}
        return lambda function: function

    def shutdown(self) -> None:
        self.shut = True


@pytest.mark.parametrize(("workers", "share"), [(None, 1), (1, 1), (3, 1 / 2), (5, 1 / 3)])
def test_gpus_are_divided_so_that_all_tasks_fit(monkeypatch, workers, share):
    fake = NoRay()
    monkeypatch.setattr(ray_engine, "import_ray", lambda local: fake)
    monkeypatch.setattr(ray_engine, "visible_gpus", lambda device: ["0", "1"])
    monkeypatch.setattr(ray_engine, "core_count", lambda: 8)
    slots = RayEngine(None, workers, "auto").slots
    assert slots == (workers or 2) and fake.asked["task"]["num_gpus"] == share
    assert fake.asked["task"]["num_cpus"] == 8 // slots


@pytest.mark.parametrize(
    ("device", "resources", "slots", "share"),
    [
        ("auto", {"CPU": 64.0, "GPU": 6.0}, 6, 1),
        ("cpu", {"CPU": 64.0, "GPU": 6.0}, 64, 0),
        ("auto", {"CPU": 4.0}, 4, 0),
    ],
)
def test_a_cluster_s_own_gpus_count(monkeypatch, device, resources, slots, share):
    fake = NoRay(resources)
    monkeypatch.setattr(ray_engine, "import_ray", lambda local: fake)
    engine = RayEngine("auto", None, device)
    assert (engine.slots, fake.asked["task"]["num_gpus"], fake.asked["address"]) == (slots, share, "auto")


def test_a_ray_that_would_listen_on_the_network_is_ended(monkeypatch):
    fake = NoRay(address="192.0.2.9")
    monkeypatch.setattr(ray_engine, "import_ray", lambda local: fake)
    with pytest.raises(FairkdError, match="would listen on the network"):
        RayEngine(None, 1, "cpu")
    assert fake.shut
