"""What a data set holds (:class:`Records`), what it does by default (:class:`Profile`), and which class and group
the options choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fairkd.data.attributes import Attribute, Columns, read_attribute
from fairkd.data.effects import EFFECTS
from fairkd.data.pixels import Pixels
from fairkd.data.plan import Bias, DataOptions
from fairkd.errors import DataError, ParameterError

#: The group's name where the data have none; its only value is ``all``.
NO_GROUP = "none"


@dataclass(frozen=True)
class Records:
    """What a source holds: its columns, pixels, and its own split (codes of ``SPLIT_NAMES``), if it has one.

    ``identity`` is what determines the columns, as JSON values; ``facts`` are told to the reader of a report.
    """

    columns: Columns
    pixels: Pixels
    split: np.ndarray | None = None
    identity: Any = None
    facts: Mapping[str, str] = field(default_factory=dict)
    split_fact: str = "the data's own"


@dataclass(frozen=True)
class Profile:
    """What a data set does unless it is asked for something else.

    ``group=None`` means that the data have no group. ``shares`` are those of a split made here, in the order of
    ``SPLIT_NAMES``. ``target_parameter`` and ``group_parameter`` are what messages tell the user to set.
    """

    name: str
    source: str
    licence: str
    target: str
    group: str | None
    image_size: int
    augmentation: str = "crop+flip"
    stem: str = "auto"
    bias: Bias = "subsample"
    skew: float | None = None
    variant: str | None = None
    shares: tuple[float, float, float] = (0.7, 0.1, 0.2)
    target_parameter: str = "target"
    group_parameter: str = "group"


def check_options(options: DataOptions, profile: Profile) -> None:
    """Check what can be checked before any file is opened.

    Raises:
        ParameterError: options contradict each other, or need a group that the data do not have.
    """
    bias = profile.bias if options.bias == "auto" else options.bias
    effect, skew = EFFECTS.get(bias), profile.skew if options.skew is None else options.skew
    grouped = options.group is not None or profile.group is not None
    if effect is None and options.variant is not None:
        raise ParameterError(
            f"variant={options.variant!r} is of injected groups; set bias, for example 'grey'"
        )
    if effect is not None and skew is None:
        raise ParameterError(
            f"bias={bias!r} needs skew: the share of each class in its majority {effect.attribute}, [0.5, 1]"
        )
    if effect is not None and options.group is not None:
        raise ParameterError(
            f"group={options.group!r} is not used: the group is the injected {effect.attribute} (bias={bias!r}); "
            "put it into audit_groups"
        )
    if effect is None and not grouped and (options.bias != "auto" or skew is not None):
        given = f"bias={bias!r}" if options.bias != "auto" else f"skew={skew}"
        raise ParameterError(
            f"{given} is not allowed: {profile.name} has no groups of its own; set group, or bias to one of "
            f"{', '.join(EFFECTS)}"
        )


def choose_target(records: Records, options: DataOptions, profile: Profile) -> Attribute:
    """Return the class of every item; -1 where a bin of the target holds no item's value.

    Raises:
        DataError: no such column, empty cells, or a single class.
    """
    expression = options.target or profile.target
    columns, parameter = records.columns, "target" if options.target else profile.target_parameter
    target = read_attribute(columns, expression, parameter)
    missing = np.flatnonzero(target.codes < 0)
    if len(missing) and expression in columns:
        raise DataError(
            f"{columns.origin}: column {expression!r} is empty in {columns.place(missing.tolist())}; "
            "fill in the values or remove the rows"
        )
    if len(target.names) < 2:
        raise DataError(
            f"{columns.origin}: {expression!r} gives the one class {''.join(target.names)!r}, and at least "
            f"two are needed; set {parameter} to the column with the class"
        )
    return target


def choose_group(records: Records, options: DataOptions, profile: Profile, bias: Bias) -> Attribute:
    """Return the group of every item: chosen, injected (all 0, still to be assigned), or one for all.

    Raises:
        DataError: no such column, or a single group.
    """
    n, effect = len(records.columns), EFFECTS.get(bias)
    if effect is not None:
        return Attribute(np.zeros(n, dtype=np.int64), effect.group_names, effect.attribute)
    expression = options.group or profile.group
    if expression is None:
        return Attribute(np.zeros(n, dtype=np.int64), ("every image",), NO_GROUP)
    parameter = "group" if options.group else profile.group_parameter
    group = read_attribute(records.columns, expression, parameter)
    if len(group.names) < 2:
        held = f"the one group {group.names[0]!r}" if group.names else "no value"
        raise DataError(
            f"{records.columns.origin}: column {expression!r} holds {held}, and at least two groups are needed; set "
            f"{parameter} to another column, or bias='tint'"
        )
    return group


def choose_units(records: Records, options: DataOptions) -> np.ndarray:
    """Return the unit of every item, ``(n,)`` int64; an item whose cell is empty is one of its own.

    Raises:
        DataError: no such column.
    """
    items = np.arange(len(records.columns))
    if options.unit_column is None:
        return items
    units = read_attribute(records.columns, options.unit_column, "unit_column")
    return np.where(units.codes < 0, len(units.names) + items, units.codes)


def audited(records: Records, options: DataOptions, group: Attribute) -> dict[str, Attribute]:
    """Return the attributes that ``audit_groups`` names, by name: the whole expression where another has the title.

    Raises:
        DataError: no such column.
    """
    found: dict[str, Attribute] = {}
    for text in options.audit_groups:
        attribute = read_attribute(records.columns, text, "audit_groups")
        taken = attribute.title in found or (attribute.title == group.title and text != options.group)
        found[text if taken else attribute.title] = attribute
    return found
