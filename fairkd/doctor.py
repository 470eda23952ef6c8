"""What ``fairkd doctor`` looks at: packages, device, browser, write access."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fairkd.config import resolve_path
from fairkd.reproducibility import version_of

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)[^;]*(?:;.*\bextra\s*==\s*[\"'](?P<extra>[\w.-]+)[\"'])?")


@dataclass(frozen=True)
class Check:
    """One line of the report. ``ok`` is ``None`` where nothing depends on it."""

    name: str
    found: str
    ok: bool | None = None
    way_out: str = ""


def run_checks(output_dir: str = "outputs") -> list[Check]:
    """Return all checks; the core is complete when no check's ``ok`` is ``False``."""
    return [
        Check("Python", f"{platform.python_version()} ({sys.executable})"),
        Check("platform", f"{platform.platform()}, {os.cpu_count()} CPU cores"),
        *_packages(),
        *_torch(),
        _browser(),
        _write_access(resolve_path(output_dir)),
    ]


def _packages() -> list[Check]:
    try:
        requirements = importlib.metadata.requires("fairkd") or []
    except importlib.metadata.PackageNotFoundError:
        return [
            Check("fairkd", "not installed", False, "pip install -e . (in the folder with pyproject.toml)")
        ]
    core, extras = _by_extra(requirements)
    checks = [Check("fairkd", str(version_of("fairkd")), True)]
    checks += [_core(name) for name in core]
    return checks + [_extra(extra, names) for extra, names in extras.items()]


def _by_extra(requirements: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Sort the package's requirements into the core and the extras, each with what it alone adds.

    The build backend writes an extra that includes others (``test``, ``bench``, ``all``) with all of
    their packages; an extra that adds nothing of its own is left out.
    """
    core: list[str] = []
    extras: dict[str, list[str]] = {}
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match is None or match["name"] == "fairkd":
            continue
        names = extras.setdefault(match["extra"], []) if match["extra"] else core
        if match["name"] not in names:
            names.append(match["name"])
    own = {
        extra: [
            name
            for name in names
            if name not in core
            and not any(name in other for other in extras.values() if len(other) < len(names))
        ]
        for extra, names in extras.items()
    }
    return core, {extra: names for extra, names in own.items() if names}


def _core(name: str) -> Check:
    version = version_of(name)
    if version is None:
        return Check(name, "missing", False, f"pip install {name}")
    return Check(name, version, True)


def _extra(extra: str, names: list[str]) -> Check:
    found = {name: version_of(name) for name in names}
    missing = [name for name, version in found.items() if version is None]
    present = ", ".join(f"{name} {version}" for name, version in found.items() if version is not None)
    if missing:
        text = f"missing: {', '.join(missing)}" + (f"; found: {present}" if present else "")
        return Check(f"[{extra}]", text, None, f"pip install 'fairkd[{extra}]'")
    return Check(f"[{extra}]", present, True)


def _torch() -> list[Check]:
    try:
        import torch
    except ImportError as error:
        return [Check("device", f"unknown: {error}", False, "pip install torch")]
    if torch.cuda.is_available():
        device = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    elif torch.backends.mps.is_available():
        device = "mps"
    else:
        device = f"CPU only, {torch.backends.cpu.get_cpu_capability()}"
    return [Check("device", device), _threads(torch.get_num_threads())]


def _threads(count: int) -> Check:
    # Threads that wait for each other keep their cores: see "Beside other work" in docs/results/performance.md.
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    chosen = "OMP_WAIT_POLICY" in os.environ
    if chosen or count < 2 or count + busy < (os.cpu_count() or 1) + 0.5:
        return Check("torch threads", str(count))
    shared = f"{count}, beside other work (load average {busy:.1f})"
    return Check(
        "torch threads", shared, None, "OMP_WAIT_POLICY=PASSIVE in the environment can halve the time"
    )


def _browser() -> Check:
    path = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        return Check("Chromium", "not found", None, "needed only for browser tests and PNG export")
    return Check("Chromium", path, True)


def _write_access(folder: Path) -> Check:
    """Try to write where runs go, or, before the first run, where their folder will be made."""
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=place):
            free = shutil.disk_usage(place).free / 2**30
            return Check("outputs", f"{folder} is writable, {free:,.1f} GiB free", True)
    except OSError as error:
        return Check("outputs", f"{folder}: {error.strerror}", False, "use another -p output_dir")
