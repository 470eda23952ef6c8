"""``image-folder``: your own images, in a folder or zip, listed with class and group in a CSV."""

from __future__ import annotations

import hashlib
import warnings
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import PIL

from fairkd.config import resolve_path
from fairkd.data.bias import TINTS, subsample_to_skew
from fairkd.data.files import open_root
from fairkd.data.images import decode_images
from fairkd.data.listing import SPLIT_WORDS, Listing, read_listing
from fairkd.data.plan import SPLIT_NAMES, DataOptions, Plan, Rows, plain_rows, tinted_rows
from fairkd.data.split import stratified_split
from fairkd.data.table import read_table
from fairkd.errors import DataError, FairkdWarning, ParameterError
from fairkd.store import digest

NAME = "image-folder"
DEFAULT_IMAGE_SIZE = 64
#: Shares of the images where the CSV has no split column, in the order of ``SPLIT_NAMES``.
SHARES = (0.7, 0.1, 0.2)
#: Share of the training images that become validation where the split column names none.
VALIDATION_FROM_TRAIN = 0.125
_SHOWN = 10


def plan(options: DataOptions) -> Plan:
    """Plan the data set: everything but the pixels is read and checked.

    Raises:
        ParameterError: ``data_root`` is not set, or ``bias="tint"`` has no ``skew``.
        DataError: the data are missing, malformed, or cannot serve; names file, row and column.
    """
    if options.data_root is None:
        raise ParameterError(f"{NAME} needs data_root: a folder or a zip archive with the images")
    if options.bias == "tint" and options.skew is None:
        raise ParameterError("bias='tint' needs skew: the share of each class in its majority tint, [0.5, 1]")
    path = resolve_path(options.data_root)
    with closing(open_root(path)) as root:
        listing = read_listing(read_table(root, options.csv), options)
        fingerprint = _fingerprint(options, listing, listing.stamps(root))
    split_rng, bias_rng = options.generators()
    parts, split_fact = _parts(listing, split_rng)
    rows, skew_fact = _rows(listing, parts, options, bias_rng)
    size = options.image_size or DEFAULT_IMAGE_SIZE
    return Plan(
        name=NAME,
        fingerprint=fingerprint,
        class_names=listing.class_names,
        group_names=listing.group_names,
        label_name=listing.label_name,
        group_name=listing.group_name,
        image_size=size,
        rows=rows,
        tinted=options.bias == "tint",
        augmentation="crop+flip",
        read_items=lambda items: _read(path, listing, rows, items, size),
        facts={
            "source": f"{path.name} ({listing.csv})",
            "licence": "that of the data's owner",
            "skew": skew_fact,
            "split": split_fact,
        },
    )


def _fingerprint(options: DataOptions, listing: Listing, stamps: list[tuple[int, int]]) -> str:
    """Identify the content without reading it: CSV, each file's size and time (or CRC), options, decoder."""
    settings = asdict(options)
    # Where the data lie is no part of what they are; options that mean the same must be written the same.
    del settings["data_root"], settings["csv"]
    settings["bias"] = "tint" if options.bias == "tint" else "subsample"
    settings["image_size"] = options.image_size or DEFAULT_IMAGE_SIZE
    files = [[path, *stamp] for path, stamp in zip(listing.paths, stamps, strict=True)]
    constants = [SHARES, VALIDATION_FROM_TRAIN, dict(TINTS), PIL.__version__]
    content = {"csv": listing.table.sha256, "files": files, "constants": constants}
    return digest({"data": NAME, **content, **settings})


def _parts(listing: Listing, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], str]:
    """Return the CSV rows of each split, and how they were made."""
    split, fact = _split(listing, rng)
    parts = {name: np.flatnonzero(split == part) for part, name in enumerate(SPLIT_NAMES)}
    for name, rows in parts.items():
        if len(rows) == 0:
            raise DataError(
                f"{listing.csv} leaves no image for {name} ({fact}); add images, at least 3 a class and "
                "group, or correct the split column"
            )
        unseen = np.setdiff1d(listing.labels[rows], listing.labels[parts["train"]])
        if len(unseen):
            raise DataError(
                f"{listing.csv}: class {listing.class_names[unseen[0]]!r} is in {name} but not in train; "
                "correct the split column or remove the class"
            )
    return parts, fact


def _split(listing: Listing, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    if listing.split is None:
        _warn_of_small_cells(listing)
        split = stratified_split(listing.cells, SHARES, rng, fill_order=(0, 2, 1))
        return split, "stratified by class and group: 70 % training, 10 % validation, 20 % test"
    split = listing.split.copy()
    if (split == SPLIT_WORDS["validation"]).any():
        return split, "as the split column says"
    # Model selection needs validation images, and the test set must stay unseen: training gives some up.
    train = np.flatnonzero(split == SPLIT_WORDS["train"])
    shares = (1 - VALIDATION_FROM_TRAIN, VALIDATION_FROM_TRAIN)
    split[train] = stratified_split(listing.cells[train], shares, rng, fill_order=(0, 1))
    return split, "as the split column says; validation, which it lacks, is 12.5 % of training"


def _warn_of_small_cells(listing: Listing) -> None:
    cells, counts = np.unique(listing.cells, return_counts=True)
    small = [
        f"{listing.cell_name(int(cell))} ({count})"
        for cell, count in zip(cells, counts, strict=True)
        if count < len(SPLIT_NAMES)
    ]
    if small:
        more = f" and {len(small) - _SHOWN} more" if len(small) > _SHOWN else ""
        warnings.warn(
            f"{listing.csv}: too few images to be in every split, they fill train, then test: "
            f"{', '.join(small[:_SHOWN])}{more}",
            FairkdWarning,
            stacklevel=2,
        )


def _rows(
    listing: Listing, parts: dict[str, np.ndarray], options: DataOptions, rng: np.random.Generator
) -> tuple[dict[str, Rows], str]:
    """Return the rows of each split after the skew is made, and how it was made."""
    if options.skew is None:
        return _plain(listing, parts), "as found in the data"
    classes, share = len(listing.class_names), f"{100 * options.skew:g} %"
    if options.bias == "tint":
        rows = tinted_rows(
            parts, listing.labels, options.skew, num_classes=classes, num_groups=len(TINTS), rng=rng
        )
        return (
            rows,
            f"in training {share} of each class has its majority tint; elsewhere every image has both",
        )
    train = parts["train"]
    kept = subsample_to_skew(
        listing.labels[train],
        listing.groups[train],
        options.skew,
        class_names=listing.class_names,
        group_names=listing.group_names,
        rng=rng,
    )
    sizes = f"{len(kept):,} of {len(train):,} training images are kept"
    fact = f"{sizes}, so that {share} of each class is in its majority group"
    return _plain(listing, {**parts, "train": train[kept]}), fact


def _plain(listing: Listing, parts: dict[str, np.ndarray]) -> dict[str, Rows]:
    return {split: plain_rows(items, listing.labels, listing.groups) for split, items in parts.items()}


def _read(path: Path, listing: Listing, rows: dict[str, Rows], items: np.ndarray, size: int) -> np.ndarray:
    """Decode the images of the given CSV rows; all that fail are reported together."""
    hashes: dict[str, bytes] = {}
    with closing(open_root(path)) as root:

        def read(name: str) -> bytes:
            data = root.read(name)
            hashes[name] = hashlib.blake2b(data, digest_size=16).digest()
            return data

        images, errors = decode_images([listing.paths[item] for item in items], read, size)
    if errors:
        failed = [int(items[i]) for i in errors]
        raise DataError(
            f"{len(failed)} of {len(items)} images in {path} cannot be decoded, named in "
            f"{listing.table.rows(failed)} of {listing.csv}, first {listing.paths[failed[0]]!r}: "
            f"{next(iter(errors.values()))}; replace the files or remove the rows"
        )
    _warn_of_copies(listing, rows, hashes)
    return images


def _warn_of_copies(listing: Listing, rows: dict[str, Rows], hashes: dict[str, bytes]) -> None:
    """Warn of byte-identical files in different splits: what was trained on would be tested again."""
    first: dict[bytes, tuple[str, int]] = {}
    copies = []
    for split in SPLIT_NAMES:
        for item in np.unique(rows[split].items).tolist():
            earlier, original = first.setdefault(hashes[listing.paths[item]], (split, item))
            if earlier != split:
                copies.append((original, item))
    if copies:
        names = [f"{listing.paths[item]!r} ({listing.table.rows([item])})" for item in copies[0]]
        warnings.warn(
            f"{listing.csv}: {len(copies)} images are byte for byte the same as one in another split, first "
            f"{' and '.join(names)}; remove the copies, or results look better than they are",
            FairkdWarning,
            stacklevel=2,
        )
