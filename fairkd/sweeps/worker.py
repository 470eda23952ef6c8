"""One training of a sweep, in a process of its own that reads jobs line by line."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
import warnings
from typing import IO, Any

from fairkd.errors import FairkdError, FairkdWarning


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Run a job and return ``{"result": ...}``, or ``{"error": ...}`` in one line; plain values only.

    Args:
        job: what :attr:`fairkd.sweeps.plan.Trial.job` holds.
    """
    try:
        return {"result": run_job(**job)}
    except FairkdError as error:
        return {"error": " ".join(str(error).split())}
    except Exception as error:
        traceback.print_exc()
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())}


def run_job(kind: str, experiment: dict[str, Any], baseline: dict[str, Any] | None) -> dict[str, Any]:
    """Train a model, or load it, and score it.

    Returns:
        ``artifact`` (the folder's name), ``scores`` (rows of :func:`fairkd.comparison.scores.score_model`),
        ``collapsed`` and ``warnings``.
    """
    from fairkd.comparison.scores import score_model
    from fairkd.config import Experiment
    from fairkd.recipes import distill_student, train_teacher

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FairkdWarning)
        chosen = Experiment(**experiment)
        model = train_teacher(chosen)
        against = None
        if kind != "teacher":
            teacher = model
            model = distill_student(chosen, teacher)
            if baseline is not None:
                against = distill_student(Experiment(**baseline), teacher)
        scores = score_model(chosen, model, against)
    said = [str(one.message) for one in caught if issubclass(one.category, FairkdWarning)]
    return {
        "artifact": model.folder.name,
        "scores": scores,
        "collapsed": model.collapsed,
        "warnings": list(dict.fromkeys(said)),
    }


def main() -> None:
    """Answer jobs until the end of the input, which is also the end of the process that sends them."""
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin, jobs), daemon=True).start()
    while True:
        answers.write(json.dumps(answer(jobs.get())) + "\n")
        answers.flush()


def _read(lines: IO[str], jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in lines:
        jobs.put(json.loads(line))
    # In the middle of a training too: its checkpoint is there for the next invocation.
    os._exit(0)
