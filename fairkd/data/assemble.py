"""From what a data set's files say to a :class:`~fairkd.data.plan.Plan`: class, group, splits, skew, samples.

Every data set takes this way; its own file only says what it holds (:class:`Records`) and what it does by
default (:class:`Profile`).
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import cast

import numpy as np

from fairkd.data.bias import TINTS, assign_groups, majority_group, majority_of_classes, subsample_to_skew
from fairkd.data.copies import warn_of_copies, warn_of_divided_units
from fairkd.data.effects import EFFECTS
from fairkd.data.lazy import LazyImages
from fairkd.data.plan import SPLIT_NAMES, DataOptions, Plan, Rows, injected_rows, plain_rows
from fairkd.data.profile import Profile, Records, audited, choose_group, choose_target, choose_units
from fairkd.data.split import stratified_subset, stratified_unit_split, unit_counts
from fairkd.errors import DataError, FairkdWarning, ParameterError
from fairkd.store import digest

#: Share of the training images that become validation where the data have none.
VALIDATION_FROM_TRAIN = 0.1
_SHOWN = 10
_TRAIN, _VALIDATION, _TEST = range(3)


def assemble(records: Records, options: DataOptions, profile: Profile) -> Plan:
    """Plan a data set.

    Raises:
        ParameterError: options contradict each other or the data.
        DataError: the data cannot serve; names rows and columns.
    """
    return _Assembly(records, options, profile).plan()


class _Assembly:
    def __init__(self, records: Records, options: DataOptions, profile: Profile) -> None:
        self.records, self.options, self.profile = records, options, profile
        self.bias = profile.bias if options.bias == "auto" else options.bias
        self.effect = EFFECTS.get(self.bias)
        self.skew = profile.skew if options.skew is None else options.skew
        self.size = options.image_size or profile.image_size
        self.variant = options.variant or profile.variant
        self.target = choose_target(records, options, profile)
        self.group = choose_group(records, options, profile, self.bias)
        self.units = choose_units(records, options)
        self._check_apart()
        self.used = self.target.codes >= 0
        self.attributes = audited(records, options, self.group)
        self.split_rng, self.bias_rng, self.sample_rng = options.generators()

    def plan(self) -> Plan:
        split, split_fact = self._split()
        parts = {name: np.flatnonzero(split == part) for part, name in enumerate(SPLIT_NAMES)}
        self._check_parts(parts, split_fact)
        parts, skew_fact = self._skewed(parts)
        parts, sample_fact = self._sampled(parts)
        rows = self._rows(parts)
        facts = {"source": self.profile.source, "licence": self.profile.licence, **self.records.facts}
        facts |= {
            "skew": skew_fact,
            "split": split_fact,
            **sample_fact,
            **self._unit_fact(rows),
            **self._missing_fact(),
        }
        return Plan(
            name=self.profile.name,
            fingerprint=self._fingerprint(),
            class_names=self.target.names,
            group_names=self.group.names,
            label_name=self.target.title,
            group_name=self.group.title,
            image_size=self.size,
            rows=rows,
            effect=self.bias if self.effect else None,
            augmentation=self.profile.augmentation,
            stem=self.profile.stem,
            read_items=lambda items: self._read(items, rows),
            facts=facts,
            attributes={name: attribute.names for name, attribute in self.attributes.items()},
        )

    def _check_apart(self) -> None:
        """Refuse a class that is the group, which leaves nothing to compare; data without a group may ask for it."""
        expression = self.options.group or self.profile.group
        same = expression == (self.options.target or self.profile.target)
        if same and self.effect is None and self.profile.group is not None:
            raise ParameterError(
                f"{self.profile.name}: the class and the group are both {expression!r}, so that no two groups share a "
                "class; set target or group to another attribute"
            )

    @property
    def _cells(self) -> np.ndarray:
        """Class x group cell of every item; a missing group makes a cell of its own."""
        return np.asarray(self.target.codes * (len(self.group.names) + 1) + self.group.codes + 1)

    def _cell_name(self, cell: int) -> str:
        label, group = divmod(cell, len(self.group.names) + 1)
        return f"{self.target.names[label]} × {('no group', *self.group.names)[group]}"

    # Splits

    def _split(self) -> tuple[np.ndarray, str]:
        """Return the split of every item (-1: not used), and how it was made."""
        if self.records.split is None:
            return self._new_split()
        split = np.where(self.used, self.records.split, -1)
        self._assign_groups(split)
        warn_of_divided_units(self.records, split, self.units)
        if (split == _VALIDATION).any():
            return split, self.records.split_fact
        # Model selection needs validation images, and the test set must stay unseen: training gives some up.
        train = np.flatnonzero(split == _TRAIN)
        shares = (1 - VALIDATION_FROM_TRAIN, VALIDATION_FROM_TRAIN)
        cells, units = self._cells[train], self.units[train]
        split[train] = stratified_unit_split(cells, units, shares, self.split_rng, fill_order=(0, 1))
        share = f"{100 * VALIDATION_FROM_TRAIN:g} %"
        return split, f"{self.records.split_fact}; validation, which it lacks, is {share} of training"

    def _new_split(self) -> tuple[np.ndarray, str]:
        self._warn_of_small_cells()
        split = np.full(len(self.used), -1, dtype=np.int64)
        cells, units, order = self._cells[self.used], self.units[self.used], (_TRAIN, _TEST, _VALIDATION)
        shares = self.profile.shares
        split[self.used] = stratified_unit_split(cells, units, shares, self.split_rng, fill_order=order)
        self._assign_groups(split)
        parts = zip(shares, ("training", "validation", "test"), strict=True)
        listed = ", ".join(f"{100 * share:g} % {part}" for share, part in parts)
        strata = "class" if self.effect or len(self.group.names) == 1 else "class and group"
        whole = (
            f" of the values of {self.options.unit_column!r}, each whole" if self.options.unit_column else ""
        )
        return split, f"stratified by {strata}: {listed}{whole}"

    def _assign_groups(self, split: np.ndarray) -> None:
        """Assign the injected groups, before validation is taken from training: both have the same share."""
        if self.effect is None or self.skew is None:
            return
        train = np.flatnonzero(split == _TRAIN)
        self.group.codes[train] = assign_groups(
            self.target.codes[train],
            self.skew,
            len(self.target.names),
            len(self.group.names),
            self.bias_rng,
            majority=self._majority(),
        )

    def _majority(self) -> np.ndarray:
        return majority_of_classes(len(self.target.names), self.variant)

    def _warn_of_small_cells(self) -> None:
        cells, _, _ = unit_counts(self._cells[self.used], self.units[self.used])
        cells, counts = np.unique(cells, return_counts=True)
        small = [
            f"{self._cell_name(int(cell))} ({count})"
            for cell, count in zip(cells, counts, strict=True)
            if count < len(SPLIT_NAMES) and cell % (len(self.group.names) + 1)
        ]
        if small:
            more = f" and {len(small) - _SHOWN} more" if len(small) > _SHOWN else ""
            warnings.warn(
                f"{self.records.columns.origin}: too few {self.options.unit_column or 'images'} to be in every split, "
                f"they fill train, then test: {', '.join(small[:_SHOWN])}{more}",
                FairkdWarning,
                stacklevel=2,
            )

    def _check_parts(self, parts: Mapping[str, np.ndarray], fact: str) -> None:
        origin = self.records.columns.origin
        for name, items in parts.items():
            if len(items) == 0:
                raise DataError(
                    f"{origin} leaves no image for {name} ({fact}); add images, at least 3 a class and group, or "
                    "correct the split"
                )
            unseen = np.flatnonzero(self._occurs(items) & ~self._occurs(parts["train"]))
            if len(unseen):
                raise DataError(
                    f"{origin}: class {self.target.names[unseen[0]]!r} is in {name} but not in train; correct "
                    "the split or remove the class"
                )

    def _occurs(self, items: np.ndarray) -> np.ndarray:
        """Return whether each class occurs among the items."""
        return np.bincount(self.target.codes[items], minlength=len(self.target.names)) > 0

    # Skew and samples

    def _skewed(self, parts: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
        """Thin the training split to the skew, and say how the skew was made."""
        if self.skew is None:
            return parts, "as found in the data"
        share = f"{100 * self.skew:g} %"
        if self.effect is not None:
            names = self._majority_names(self._majority())
            return parts, (
                f"in training {share} of each class has its majority {self.effect.attribute}: {names}; in "
                "validation and test every image appears in each"
            )
        train = parts["train"]
        known = train[self.group.codes[train] >= 0]
        kept = known[
            subsample_to_skew(
                self.target.codes[known],
                self.group.codes[known],
                self.skew,
                class_names=self.target.names,
                group_names=self.group.names,
                rng=self.bias_rng,
            )
        ]
        sizes = f"{len(kept):,} of {len(train):,} training images are kept"
        names = self._majority_names(majority_group(len(self.target.names), len(self.group.names)))
        return {
            **parts,
            "train": kept,
        }, f"{sizes}, so that {share} of each class is in its majority group: {names}"

    def _majority_names(self, majority: np.ndarray) -> str:
        listed = [
            f"{name} for {', '.join(np.array(self.target.names)[majority == group])}"
            for group, name in enumerate(self.group.names)
            if (majority == group).any()
        ]
        return "; ".join(listed)

    def _sampled(self, parts: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Draw ``samples`` source images in proportion to split, class and group; at least one of each cell."""
        total = sum(len(items) for items in parts.values())
        if self.options.samples is None or self.options.samples >= total:
            return parts, {}
        split = np.repeat(np.arange(len(parts)), [len(items) for items in parts.values()])
        items = np.concatenate(list(parts.values()))
        cells = self._cells
        strata = np.unique(np.stack([split, cells[items]]), axis=1, return_inverse=True)[1].ravel()
        if self.options.samples < len(np.unique(strata)):
            raise ParameterError(
                f"samples={self.options.samples} is not enough: {self.profile.name} has {len(np.unique(strata))} "
                "cells of split, class and group, and each keeps at least one image"
            )
        chosen = stratified_subset(strata, self.options.samples, self.sample_rng)
        sampled = {name: items[chosen & (split == part)] for part, name in enumerate(parts)}
        fact = f"{self.options.samples:,} of {total:,} source images, drawn in proportion to split, class and group"
        return sampled, {"samples": fact}

    # What comes out

    def _rows(self, parts: Mapping[str, np.ndarray]) -> dict[str, Rows]:
        labels, groups = self.target.codes, self.group.codes
        attributes = {name: attribute.codes for name, attribute in self.attributes.items()}
        if self.effect is not None:
            return injected_rows(parts, labels, groups, self.units, attributes, len(self.group.names))
        return {
            split: plain_rows(items, labels, groups, self.units, attributes) for split, items in parts.items()
        }

    def _unit_fact(self, rows: Mapping[str, Rows]) -> dict[str, str]:
        if self.options.unit_column is None:
            return {}
        counts = [f"{len(np.unique(part.unit)):,} in {split}" for split, part in rows.items()]
        return {"units": f"{self.options.unit_column}: {', '.join(counts)}"}

    def _missing_fact(self) -> dict[str, str]:
        facts = {}
        left_out = int((~self.used).sum())
        if left_out:
            facts["left out"] = f"{left_out:,} images whose {self.target.title} is in no bin"
        missing = np.flatnonzero(self.used & (self.group.codes < 0))
        if len(missing):
            columns = self.records.columns
            facts["missing group"] = (
                f"no {self.group.title} in {columns.place(missing.tolist())}: these images serve the task and are "
                "left out of group metrics"
            )
            warnings.warn(f"{columns.origin}: {facts['missing group']}", FairkdWarning, stacklevel=2)
        return facts

    def _fingerprint(self) -> str:
        """Identify the content without reading it: columns, each file's stamp, options, decoder."""
        settings = asdict(self.options)
        # Where the data lie is no part of what they are; options that mean the same must be written the same;
        # audited groups change nothing that is trained or tested.
        left_out = ["data_root", "csv", "cache_dir", "download", "audit_groups"]
        left_out += [f"{name}_column" for name in ("path", "label", "group", "split")]
        for name in (*left_out, *(["unit_column"] if self.options.unit_column is None else [])):
            del settings[name]
        settings |= {
            "target": self.options.target or self.profile.target,
            "group": None if self.effect else self.options.group or self.profile.group,
            "bias": self.bias,
            "variant": self.variant,
            "skew": self.skew,
            "image_size": self.size,
        }
        names = [self.target.names, self.group.names]
        constants = [self.profile.shares, VALIDATION_FROM_TRAIN, dict(TINTS), names]
        content = {"columns": self.records.identity, "pixels": self.records.pixels.identity}
        if self.records.split is not None:
            # The column, or the file, that it was read from may be another.
            content["split"] = hashlib.sha256(self.records.split.astype(np.int64).tobytes()).hexdigest()
        return digest({"data": self.profile.name, **content, "constants": constants, **settings})

    def _read(self, items: np.ndarray, rows: Mapping[str, Rows]) -> np.ndarray:
        # Without a draw of samples all files are decoded, so that every skew and seed finds them in one cache.
        wanted = items
        if self.options.samples is None:
            wanted = np.arange(len(self.used))
        pixels, hashes = self.records.pixels.read(wanted, self.size, self.options.cache_dir)
        if hashes is not None:
            part = np.full(len(self.used), -1)
            for number, split in enumerate(SPLIT_NAMES):
                part[rows[split].items] = number
            warn_of_copies(self.records, part[wanted], wanted, hashes)
        if len(items) == len(wanted):
            return pixels
        return cast(np.ndarray, LazyImages(pixels, items, groups=items, keys=items))
