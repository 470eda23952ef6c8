"""``cifar10`` and ``cifar10s``: CIFAR-10 (Krizhevsky 2009), and its colour/grey skew (Wang et al. 2020)."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from fairkd.config import resolve_path
from fairkd.data.assemble import assemble
from fairkd.data.attributes import Columns
from fairkd.data.class_folders import class_folders
from fairkd.data.files import Root
from fairkd.data.pickles import is_python_version, read_python_version
from fairkd.data.pixels import ImageArrays
from fairkd.data.plan import DataOptions, Plan
from fairkd.data.profile import Profile, Records
from fairkd.data.source import contents, open_source
from fairkd.errors import DataError, ParameterError

#: The classes in the official order, which is alphabetical.
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PROFILE = Profile(
    name="cifar10",
    source="CIFAR-10, 60,000 images of 32 x 32 pixels (Krizhevsky 2009, Learning multiple layers of features)",
    licence="none stated by its authors; commonly used for research",
    target="class",
    group=None,
    image_size=32,
)
SKEWED = replace(
    PROFILE,
    name="cifar10s",
    source=f"CIFAR-10S: grey and colour images (Wang et al. 2020, arXiv 1911.11834) of {PROFILE.source}",
    bias="grey",
    variant="wang",
    skew=0.95,
)
#: Share of a class in its majority domain, by variant: Wang et al. 2020; Jung et al. 2021 (arXiv 2106.04411).
SKEWS = {"wang": 0.95, "mfd": 0.8}
_HINT = (
    "a folder or zip with train/<class>/ and test/<class>/, or the folder with cifar-10-batches-py; "
    "download=True fetches it into data_root"
)


def plan(options: DataOptions) -> Plan:
    """Plan CIFAR-10, without groups unless ``bias`` injects them.

    Raises:
        ParameterError: ``data_root`` is not set.
        DataError: it is not there, or holds something else.
    """
    return assemble(_records(options, PROFILE.name), options, PROFILE)


def plan_skewed(options: DataOptions) -> Plan:
    """Plan CIFAR-10S: the domain (colour, grey) is the group, the test set is all images in both domains.

    ``variant="wang"`` (95 %): odd classes are mostly in colour. ``variant="mfd"`` (80 %): classes 0 to 4 are
    mostly grey. Another ``skew`` keeps the variant's classes.

    Raises:
        ParameterError: ``data_root`` is not set.
        DataError: it is not there, or holds something else.
    """
    variant = options.variant or "wang"
    profile = replace(SKEWED, skew=SKEWS[variant])
    records = _records(options, SKEWED.name)
    names = {"wang": "Wang et al. 2020", "mfd": "Jung et al. 2021 (MFD)"}
    return assemble(replace(records, facts={"variant": f"{variant}: {names[variant]}"}), options, profile)


def _records(options: DataOptions, name: str) -> Records:
    if options.download:
        _download(options, name)
    with closing(open_source(options, name, _HINT)) as root:
        records = _python_version(root) if is_python_version(root) else class_folders(root)
    present = set(records.columns["class"])
    if present != set(CLASSES) or records.split is None:
        found = ", ".join(sorted(present)[:12])
        raise DataError(
            f"{options.data_root} is no CIFAR-10: expected train/ and test/ with the classes "
            f"{', '.join(CLASSES)}; found {contents(dict.fromkeys(sorted(present), (0, 0)))}: {found}"
        )
    return records


def _python_version(root: Root) -> Records:
    images, labels, split, identity = read_python_version(root)
    columns = Columns(root.path.name, {"class": [CLASSES[label] for label in labels]}, _place)
    return Records(columns, ImageArrays(lambda: images, identity), split, identity)


def _place(rows: object) -> str:
    return f"images {rows}"


def _download(options: DataOptions, name: str) -> None:
    if options.data_root is None:
        raise ParameterError(f"{name}: download=True needs data_root, the folder to download into")
    from torchvision.datasets import CIFAR10

    folder = Path(resolve_path(options.data_root))
    try:
        CIFAR10(str(folder), download=True)
    except Exception as error:  # urllib, tarfile and torchvision raise many kinds
        raise DataError(
            f"CIFAR-10 cannot be downloaded into {folder}: {error}; copy it there by other means and leave "
            "download out"
        ) from error
