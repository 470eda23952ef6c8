"""Nothing is fetched, and nothing is told to anyone, unless it is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

#: Notes every event of a socket from the first import on. ``uses``: what is done in between.
SCRIPT = """
import json, sys
events = []
sys.addaudithook(lambda event, _: events.append(event) if event.startswith("socket.") else None)
{uses}
print(json.dumps(events))
"""

LIBRARY = """
import warnings
import fairkd
from fairkd.config import Experiment
from fairkd.recipes import distill_student, train_teacher
warnings.simplefilter("ignore", fairkd.errors.FairkdWarning)
chosen = Experiment(
    teacher="resnet8_cifar", student="resnet8_cifar", teacher_epochs=1, student_epochs=1, samples=200, image_size=16,
    precision="float32", bootstrap_replicates=100, output_dir="outputs",
)
splits = fairkd.load_dataset("colored-digits", samples=200, image_size=16)
teacher = train_teacher(chosen, splits)
student = distill_student(chosen, teacher, splits)
print(fairkd.evaluate(student.predictions, replicates=100))
print(fairkd.plots.__name__)
print(len(fairkd.data_card(splits, fairkd.audit(splits)).to_html()), chosen, splits, student)
"""

COMMANDS = """
from fairkd.cli import main
assert main(["datasets"]) == 0
assert main(["run", "--dry-run", "-p", "output_dir", "outputs"]) == 0
assert main(["sweep", "--param", "temperature=1,2", "--dry-run"]) == 0
"""

ASKED = """
import socket
try:
    socket.create_connection(("localhost", 9), timeout=1)
except OSError:
    pass
"""


def events_of(uses: str) -> set[str]:
    """The events of sockets that name someone else: looking up a name, connecting, sending."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(uses=uses)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = set(json.loads(done.stdout.splitlines()[-1]))
    return found & {
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.sendto",
        "socket.sendmsg",
    }


@pytest.mark.parametrize("uses", [LIBRARY, COMMANDS], ids=["library", "command line"])
def test_no_name_is_looked_up_and_no_connection_made(uses):
    assert events_of(uses) == set()


def test_a_connection_would_be_noticed():
    assert events_of(ASKED) >= {"socket.connect", "socket.getaddrinfo"}
