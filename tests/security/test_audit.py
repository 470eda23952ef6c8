"""``make audit``: a finding ends it with an error; a service that cannot be reached is told and is no finding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def package(**found: Any) -> dict[str, Any]:
    return {"name": "parcel", "version": "1.0", **found}


KNOWN = package(vulns=[{"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": "bad"}])
CLEAN, UNASKED = (
    package(vulns=[]),
    package(skip_reason="Dependency not found on PyPI and could not be audited"),
)


@pytest.mark.parametrize(
    ("packages", "error", "code", "said"),
    [
        ([KNOWN, UNASKED], "", 1, "parcel 1.0: PYSEC-1, fixed in 1.1"),
        ([CLEAN, CLEAN, UNASKED], "", 0, "0 in 2 packages; 1 not asked about"),
        ([UNASKED, UNASKED], "", 0, "SKIPPED, of 2 packages none could be asked about"),
        (None, "ERROR: Could not connect to PyPI's vulnerability feed", 0, "SKIPPED, nobody answers: ERROR"),
        (None, "usage: pip-audit: error: no such option", 1, "pip-audit failed: usage"),
    ],
)
def test_findings_and_silence_are_told_apart(tmp_path, packages, error, code, said):
    answer = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    stub = f"import sys\nprint({answer!r})\nprint({error!r}, file=sys.stderr)\nsys.exit({bool(error)})\n"
    (tmp_path / "pip_audit.py").write_text(stub)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, ROOT / ".ci" / "known_vulnerabilities.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os\nos.system(input())\n", "B605"),
        ("import pickle\npickle.loads(b'')\n", "B301"),
        ("import torch\ntorch.load('x', weights_only=False)\n", "B614"),
        ("import yaml\nyaml.load('', Loader=yaml.Loader)\n", "B506"),
        ("import subprocess, sys\nassert sys\nsubprocess.run([sys.executable])\n", None),
    ],
)
def test_bandit_finds_what_is_not_explained(tmp_path, source, found):
    pytest.importorskip("bandit")
    (tmp_path / "module.py").write_text(source)
    command = [
        sys.executable,
        "-m",
        "bandit",
        "--quiet",
        "--configfile",
        ROOT / "pyproject.toml",
        tmp_path / "module.py",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (found is None), done.stdout + done.stderr
    assert found is None or found in done.stdout
