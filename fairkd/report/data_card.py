"""The data card: what a data set is, how it was made, and what it cannot answer, as JSON and as one HTML page.

After "Datasheets for Datasets" (Gebru et al. 2021, arXiv 1803.09010) and "Data Cards" (Pushkarna et al. 2022,
arXiv 2204.01075), restricted to what can be computed; what only the owner knows is left open, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from fairkd.data.audit import Audit
from fairkd.data.splits import Splits
from fairkd.errors import ParameterError
from fairkd.narrative_data import (
    describe_duplicates,
    describe_images,
    describe_label_noise,
    describe_limits,
    describe_odd_images,
)
from fairkd.report.card import Card, plain, records

#: What no program can know; ``data_card(..., owner={...})`` fills it in.
OWNER_FIELDS = ("intended use", "uses to avoid", "how the data were collected", "consent", "contact")


class DataCard(Card):
    """A data set's card, written as ``data_card.json`` and ``data_card.html``."""

    kind = "data_card"


def data_card(splits: Splits, audit: Audit, *, owner: Mapping[str, str] | None = None) -> DataCard:
    """Make the card of a data set from its facts and its audit.

    Args:
        splits: the data.
        audit: what :func:`fairkd.audit` returned for them.
        owner: what only the data's owner knows, by the names in ``OWNER_FIELDS``; what is not given stays open.

    Raises:
        ParameterError: an unknown field of the owner's.

    Example:
        >>> data_card(splits, fairkd.audit(splits)).save(folder)
    """
    owner = dict(owner or {})
    unknown = [name for name in owner if name not in OWNER_FIELDS]
    if unknown:
        raise ParameterError(f"owner has no field {unknown[0]!r}: allowed: {', '.join(OWNER_FIELDS)}")
    facts = {name: value for name, value in splits.facts.items() if name not in ("licence", "sizes")}
    height, width = splits.image_size
    content = {
        "name": splits.name,
        "fingerprint": splits.fingerprint,
        "licence": splits.facts.get("licence"),
        "provenance": facts,
        "image_size": {"height": height, "width": width},
        "label": {"name": splits.label_name, "values": list(splits.class_names)},
        "group": {"name": splits.group_name, "values": list(splits.group_names)},
        "further_attributes": {name: list(values) for name, values in splits.attributes.items()},
        "splits": _sizes(splits),
        "counts": records(audit.counts),
        "attributes": records(audit.attributes),
        "association": records(audit.attribute_association),
        "predictability": records(audit.predictability),
        "image_statistics": records(audit.image_statistics),
        "duplicates": records(audit.duplicates),
        "odd_images": records(audit.odd_images),
        "label_noise": records(audit.label_noise),
        "findings": [
            *describe_images(audit),
            *describe_duplicates(audit),
            describe_odd_images(audit),
            *describe_label_noise(audit),
        ],
        "limits": describe_limits(splits, audit),
        "owner": {name: owner.get(name) for name in OWNER_FIELDS},
    }
    return DataCard(plain(content))


def _sizes(splits: Splits) -> list[dict[str, int | str]]:
    missing = splits.missing_groups()
    return [
        {"split": split, "images": len(images), "missing_group": missing[split]}
        for split, images in splits.items()
    ]
