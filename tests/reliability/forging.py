"""Start ``victims.py``, and tell it what to do."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

#: ``forge(work, folder, ...)`` does one job, ``forge(*jobs)`` several at once; see ``victims.py``.
Forge = Callable[..., list[dict[str, Any]]]


@contextlib.contextmanager
def victims(**environment: str) -> Iterator[Forge]:
    """Start the process that forks others: it loads the libraries, its children need not."""
    quiet = {"FAIRKD_HEADLESS": "1", "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("victims.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **quiet, **environment},
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin and stdout
    assert stdout.readline() == "ready\n"

    def forge(*jobs: Any, **options: Any) -> list[dict[str, Any]]:
        if not isinstance(jobs[0], dict):
            jobs = ({"work": jobs[0], "folder": str(jobs[1]), **options},)
        stdin.write(json.dumps(jobs) + "\n")
        stdin.flush()
        answers: list[dict[str, Any]] = json.loads(stdout.readline())
        return answers

    yield forge
    stdin.close()
    stdout.close()
    process.wait()
