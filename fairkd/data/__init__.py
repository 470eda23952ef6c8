"""Data sets: images with labels and protected groups, split for training, validation and test.

The audit stands in :mod:`fairkd.data.audit`, the injected bias in :mod:`fairkd.data.bias`.
"""

from fairkd.data.plan import Plan
from fairkd.data.registry import check_dataset, dataset_fingerprint, list_datasets, load_dataset
from fairkd.data.splits import ImageSet, Splits

__all__ = [
    "ImageSet",
    "Plan",
    "Splits",
    "check_dataset",
    "dataset_fingerprint",
    "list_datasets",
    "load_dataset",
]
