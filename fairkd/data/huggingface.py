"""``hf:<repo>``: an image data set of the Hugging Face hub, or a local copy of one (extra ``huggingface``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fairkd.config import Experiment, resolve_path
from fairkd.data.assemble import assemble
from fairkd.data.attributes import Columns
from fairkd.data.image_folder import resolve_columns, split_code
from fairkd.data.pixels import ImageFiles
from fairkd.data.plan import SPLIT_NAMES, DataOptions, Plan
from fairkd.data.profile import Profile, Records
from fairkd.errors import DataError, ParameterError

PREFIX = "hf:"
PROFILE = Profile(
    name="hf:<repo>",
    source="any image data set of the Hugging Face hub, or a local copy (Dataset.save_to_disk)",
    licence="see the data set's page",
    target="label",
    group="group",
    image_size=64,
    target_parameter="label_column",
    group_parameter="group_column",
)


def plan(options: DataOptions, repo: str) -> Plan:
    """Plan the data set ``repo``: from ``data_root`` if it is set, from the hub with ``download=True``.

    Raises:
        ParameterError: neither is set, or ``datasets`` is not installed.
        DataError: the data cannot be loaded, or have no image column.
    """
    parts = _load(options, repo)
    image = _image_column(parts, options.path_column)
    sources = [_encoded(part, image) for part in parts.values()]
    values = _columns(parts, image)
    split, split_fact = _split(parts)
    profile = replace(resolve_columns(options, PROFILE), name=f"{PREFIX}{repo}", source=_source(parts, repo))
    if options.group_column == Experiment.default("group_column") and profile.group not in values:
        profile = replace(profile, group=None)
    names = [f"{part}/{row}" for part, data in parts.items() for row in range(len(data))]
    # The column, too: another one has other images under the same names.
    stamps = [f"{data._fingerprint}/{image}" for data in parts.values() for _ in range(len(data))]
    by_name = dict(zip(parts, sources, strict=True))
    pixels = ImageFiles(Path(repo), names, stamps, read_file=lambda name: _bytes(by_name, name, image))
    columns = Columns(repo, values, lambda rows: ", ".join(names[row] for row in rows[:5]))
    return assemble(Records(columns, pixels, split, stamps[:1], split_fact=split_fact), options, profile)


def _load(options: DataOptions, repo: str) -> dict[str, Any]:
    """Return the parts of the data set by name; one without parts is ``all``."""
    try:
        import datasets
    except ImportError as error:
        raise ParameterError(
            f"hf:{repo} needs the package datasets; install fairkd with the extra huggingface"
        ) from error
    if options.data_root is None and not options.download:
        raise ParameterError(
            f"hf:{repo} needs data_root, a folder written by Dataset.save_to_disk, or download=True for the hub"
        )
    try:
        if options.data_root is not None:
            data = datasets.load_from_disk(str(resolve_path(options.data_root)))
        else:
            # Tables and images, never a script. What came is in the fingerprint, whatever revision it was.
            data = datasets.load_dataset(repo)  # nosec B615
    except Exception as error:  # the library raises many kinds, of the network, files and formats
        raise DataError(f"hf:{repo} cannot be loaded: {' '.join(str(error).split())}") from error
    parts = dict(data) if isinstance(data, Mapping) else {"all": data}
    if not sum(len(part) for part in parts.values()):
        raise DataError(f"hf:{repo} holds no row")
    return {str(name): part for name, part in parts.items() if len(part)}


def _image_column(parts: Mapping[str, Any], chosen: str) -> str:
    features = next(iter(parts.values())).features
    images = [str(name) for name, feature in features.items() if type(feature).__name__ == "Image"]
    if chosen in images:
        return chosen
    if chosen != Experiment.default("path_column") or len(images) != 1:
        raise DataError(
            f"path_column={chosen!r} is no column of images; columns of images: {', '.join(images) or 'none'}; "
            f"all columns: {', '.join(features)}"
        )
    return images[0]


def _encoded(part: Any, image: str) -> Any:
    """Return a part whose images are the files' bytes, not yet decoded."""
    import datasets

    return part.cast_column(image, datasets.Image(decode=False))


def _bytes(parts: Mapping[str, Any], name: str, image: str) -> bytes:
    part, _, row = name.rpartition("/")
    value = parts[part][int(row)][image]
    return bytes(value["bytes"]) if value["bytes"] is not None else Path(value["path"]).read_bytes()


def _columns(parts: Mapping[str, Any], image: str) -> dict[str, list[str]]:
    """Return every plain column as text, the names of classes instead of their numbers."""
    features = next(iter(parts.values())).features
    columns = {}
    for name, feature in features.items():
        if name == image or type(feature).__name__ not in ("ClassLabel", "Value"):
            continue
        names = getattr(feature, "names", None)
        columns[name] = [_text(value, names) for part in parts.values() for value in part[name]]
    return columns


def _text(value: Any, names: Sequence[str] | None) -> str:
    if value is None or (names is not None and value < 0):
        return ""
    return str(value if names is None else names[value])


def _split(parts: Mapping[str, Any]) -> tuple[np.ndarray | None, str]:
    codes = [split_code(name) for name in parts]
    if len(parts) == 1:
        return None, "made here"
    if None in codes:
        raise DataError(
            f"the parts {', '.join(parts)} are not all of {', '.join(SPLIT_NAMES)}; save a copy with these names "
            "and set data_root to it"
        )
    fact = "the data's own"
    if 2 not in codes:
        codes, fact = (
            [2 if code == 1 else code for code in codes],
            f"{fact}, whose validation set is the test set here",
        )
    return np.repeat(np.array(codes, dtype=np.int64), [len(part) for part in parts.values()]), fact


def _source(parts: Mapping[str, Any], repo: str) -> str:
    info = next(iter(parts.values())).info
    licence = f", licence as its page states: {info.license}" if getattr(info, "license", None) else ""
    return f"Hugging Face data set {repo}{licence}"
