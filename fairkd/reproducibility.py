"""Seeds and the fingerprint of the software and hardware that made a result."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import random
from typing import Any

#: Packages whose version can change a number in a result.
VERSIONED_PACKAGES = ("fairkd", "torch", "torchvision", "timm", "numpy", "pandas", "scikit-learn")


@functools.cache
def version_of(package: str) -> str | None:
    """Return the installed version of ``package``, or ``None`` when it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def environment() -> dict[str, Any]:
    """Return versions and hardware, as stored beside every result."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
        "packages": {name: version_of(name) for name in VERSIONED_PACKAGES},
    }


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, and ask torch for deterministic algorithms.

    Deterministic algorithms are asked for with ``warn_only``: an operation that has none still runs.
    """
    # Here and not above: the command line answers before anything large is imported.
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (libraries that still use it must repeat too)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
