"""Data sets: images with labels and protected groups, split for training, validation and test.

The audit stands in :mod:`fairkd.data.audit`, the injected bias in :mod:`fairkd.data.bias`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairkd.data.inject import inject_bias
    from fairkd.data.plan import Plan
    from fairkd.data.registry import check_dataset, dataset_fingerprint, list_datasets, load_dataset
    from fairkd.data.splits import ImageSet, Splits

# Imported when they are used: the processes that decode images need none of it, and start in no time.
_HOMES = {
    "ImageSet": "splits",
    "Plan": "plan",
    "Splits": "splits",
    "check_dataset": "registry",
    "dataset_fingerprint": "registry",
    "inject_bias": "inject",
    "list_datasets": "registry",
    "load_dataset": "registry",
}

__all__ = [
    "ImageSet",
    "Plan",
    "Splits",
    "check_dataset",
    "dataset_fingerprint",
    "inject_bias",
    "list_datasets",
    "load_dataset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
