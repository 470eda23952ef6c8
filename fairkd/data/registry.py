"""The data sets by name. To add one: a file with ``plan(options) -> Plan``, and a line in ``SOURCES``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from fairkd.config import Experiment, suggest
from fairkd.data import (
    celeba,
    cifar10,
    class_folders,
    colored_digits,
    fairface,
    huggingface,
    image_folder,
    mnist,
    utkface,
    waterbirds,
    wider,
)
from fairkd.data.plan import Bias, DataOptions, Plan
from fairkd.data.profile import Profile, check_options
from fairkd.data.splits import Splits
from fairkd.errors import ParameterError

#: What every data set takes.
_COMMON = frozenset(
    (
        "audit_groups",
        "bias",
        "cache_dir",
        "group",
        "image_size",
        "samples",
        "seed",
        "skew",
        "target",
        "variant",
    )
)
_ROOT = frozenset(("data_root",))
_CSV = frozenset(("csv", "path_column", "label_column", "group_column", "split_column", "unit_column"))


def _no_repository(options: DataOptions) -> Plan:
    raise ParameterError("dataset='hf:<repo>' needs the repository's name, for example hf:uoft-cs/cifar10")


@dataclass(frozen=True)
class DataSource:
    """What ``list_datasets`` says of a data set, the function that plans it, and the options it uses."""

    profile: Profile
    groups: str
    plan: Callable[[DataOptions], Plan]
    uses: frozenset[str] = _ROOT
    needs_root: bool = True

    def describe(self) -> dict[str, Any]:
        """Return the row of ``list_datasets``."""
        profile = self.profile
        return {
            "name": profile.name,
            "source": profile.source,
            "target": profile.target,
            "groups": self.groups,
            "needs_root": self.needs_root,
            "needs_download": "download" in self.uses,
            "default_skew": profile.skew,
            "licence": profile.licence,
        }


_INJECTED = "none, or an injected one (bias)"
_DOWNLOAD = _ROOT | {"download"}
_HUB = _DOWNLOAD | {"path_column", "label_column", "group_column", "unit_column"}

SOURCES = (
    DataSource(
        colored_digits.PROFILE, "tint: red, green", colored_digits.plan, frozenset(), needs_root=False
    ),
    DataSource(mnist.PROFILE, _INJECTED, mnist.plan),
    DataSource(cifar10.PROFILE, _INJECTED, cifar10.plan, _DOWNLOAD),
    DataSource(cifar10.SKEWED, "domain: colour, grey", cifar10.plan_skewed, _DOWNLOAD),
    DataSource(utkface.PROFILE, "race, gender, age", utkface.plan),
    DataSource(fairface.PROFILE, "race, gender, age", fairface.plan),
    DataSource(celeba.PROFILE, "any of 40 attributes", celeba.plan, _DOWNLOAD),
    DataSource(wider.PROFILE, "gender of the majority of people", wider.plan),
    DataSource(waterbirds.PROFILE, "place: land, water", waterbirds.plan),
    DataSource(class_folders.PROFILE, _INJECTED, class_folders.plan),
    DataSource(image_folder.PROFILE, "any columns of the CSV", image_folder.plan, _ROOT | _CSV),
    DataSource(huggingface.PROFILE, "any column", _no_repository, _HUB, needs_root=False),
)


def load_dataset(
    name: str = "colored-digits",
    *,
    data_root: str | os.PathLike[str] | None = None,
    download: bool = False,
    csv: str | os.PathLike[str] | None = None,
    path_column: str = "path",
    label_column: str = "label",
    group_column: str = "group",
    split_column: str = "split",
    unit_column: str | None = None,
    target: str | None = None,
    group: str | None = None,
    audit_groups: Sequence[str] = (),
    bias: Bias = "auto",
    variant: Literal["wang", "mfd"] | None = None,
    skew: float | None = None,
    samples: int | None = None,
    image_size: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> Splits:
    """Load a data set as training, validation and test images with labels and groups.

    Args:
        name: a name of :func:`list_datasets`.
        data_root: folder or zip with the data; ``docs/data.md`` says the layout of each data set.
        download: fetch the data set into ``data_root`` if it is not there (CIFAR-10, CelebA, ``hf:``).
        csv: CSV file, in ``data_root`` or anywhere else; ``None``: the only one directly in ``data_root``.
        path_column: column with the image path, relative to ``data_root``.
        label_column: column with the class; without a column ``label``, the path's first folder is it.
        group_column: column with the group; ``"a*b"`` crosses two or more columns.
        split_column: column with train, validation (val, valid) or test, used if present.
        unit_column: column with what images have in common, such as the person: images of one unit stay in one split,
            and intervals resample them together; written as ``group`` is; ``None``: each image is its own.
        target: attribute that is the class, for data sets with several; written as ``group`` is.
        group: attribute that is the group: ``"gender"``, ``"gender*race"`` crosses two, ``"age:0-18,19-40,41-"``
            bins numbers. An image whose group is missing keeps the code -1.
        audit_groups: further groups, written as ``group`` is; they go to ``ImageSet.attributes``.
        bias: how ``skew`` is made: ``"subsample"`` thins the training split; ``"tint"``, ``"grey"``, ``"noise"``,
            ``"blur"``, ``"contrast"`` and ``"brightness"`` inject a group into any data set.
        variant: which classes prefer which injected group: ``"wang"``: odd classes group 0; ``"mfd"``: the first
            half group 1; ``None``: the data set's own, else the first half group 0.
        skew: share of each class that is in its majority group, training split, [0.5, 1]; ``None``: the data
            set's own.
        samples: how many source images to keep, [10, 10^9]: a draw over all splits, in proportion to split,
            class and group, at least one a cell; injected groups then double validation and test.
        image_size: pixels, [8, 1024]; ``None``: the data set's own.
        cache_dir: folder of decoded images; ``None``: ``$FAIRKD_CACHE``, else the user's cache folder.
        seed: seed of the split, of the bias and of the samples, [0, 2^31).

    Raises:
        ParameterError: an unknown name or a value out of range.
        DataError: the data are missing, malformed, or cannot serve.

    Example:
        >>> splits = load_dataset("colored-digits", skew=0.95)
        >>> splits.num_classes, splits.group_names
        (10, ('red', 'green'))
    """
    options = {key: value for key, value in locals().items() if key != "name"}
    return _plan(name, options).load()


def check_dataset(name: str = "colored-digits", **options: Any) -> Plan:
    """Validate what can be validated without decoding an image; the arguments are :func:`load_dataset`'s.

    Returns:
        The plan: ``fingerprint``, ``class_names``, ``group_names``, ``sizes``, ``image_size``.

    Raises:
        ParameterError: an unknown name or a value out of range.
        DataError: the data are missing, malformed, or cannot serve.
    """
    return _plan(name, options)


def dataset_fingerprint(name: str = "colored-digits", **options: Any) -> str:
    """Return the ``fingerprint`` that :func:`load_dataset` would give, without decoding an image.

    Raises:
        ParameterError: an unknown name or a value out of range.
        DataError: the data are missing, malformed, or cannot serve.
    """
    return check_dataset(name, **options).fingerprint


def list_datasets() -> pd.DataFrame:
    """Return one row a data set: ``name, source, target, groups, needs_root, needs_download, default_skew, licence``.

    ``needs_root``: ``data_root`` must be set; ``needs_download``: ``download=True`` can fetch it there.
    """
    return pd.DataFrame([source.describe() for source in SOURCES])


def _plan(name: str, options: dict[str, Any]) -> Plan:
    source = _source(name)
    unknown = sorted(set(options) - set(Experiment.names(["data"])))
    if unknown:
        allowed = [option for option in Experiment.names(["data"]) if option != "dataset"]
        raise ParameterError(
            f"unknown option {unknown[0]!r}: {suggest(unknown[0], allowed)}allowed: {', '.join(allowed)}"
        )
    plain = {
        key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in options.items()
    }
    # The ranges stand in one place, Experiment, which also explains what is wrong in one line.
    values = Experiment(dataset=name, **plain).values("data")
    del values["dataset"]
    _refuse_unused(name, values, source.uses | _COMMON)
    data_options = DataOptions(**values)
    check_options(data_options, source.profile)
    return source.plan(data_options)


def _source(name: str) -> DataSource:
    sources = {source.profile.name: source for source in SOURCES}
    if name not in sources and str(name).startswith(huggingface.PREFIX):
        return _hub_source(name)
    if name not in sources:
        raise ParameterError(
            f"unknown data set {name!r}: {suggest(str(name), sources)}allowed: {', '.join(sources)}"
        )
    return sources[name]


def _hub_source(name: str) -> DataSource:
    repo = name.removeprefix(huggingface.PREFIX)
    return replace(
        {source.profile.name: source for source in SOURCES}[huggingface.PROFILE.name],
        plan=lambda options: huggingface.plan(options, repo),
    )


def _refuse_unused(name: str, values: dict[str, Any], used: frozenset[str]) -> None:
    for option, value in values.items():
        if option not in used and value != Experiment.default(option):
            own = "; for images of your own set dataset=image-folder" if option in _ROOT | _CSV else ""
            raise ParameterError(
                f"{option}={value!r} is not used by {name}{own}; it takes {', '.join(sorted(used))}"
            )
