"""The same predictions, by another attribute than the one that the models were trained with."""

from __future__ import annotations

import pandas as pd

from fairkd.config import suggest
from fairkd.data.splits import Splits
from fairkd.errors import DataError, ParameterError
from fairkd.predictions import Predictions


def regroup(predictions: Predictions, splits: Splits, attribute: str) -> Predictions:
    """Return predictions whose groups are the values of a further attribute of the data.

    Args:
        predictions: on one split of ``splits``.
        splits: the data; ``audit_groups`` names their further attributes.
        attribute: a name in ``splits.attributes``, for example ``"race"``.

    Raises:
        ParameterError: the data have no such attribute.
        DataError: the predictions are not of these data.

    Example:
        >>> fairkd.evaluate(regroup(student.predictions, splits, "race"))
    """
    if attribute not in splits.attributes:
        known = ", ".join(splits.attributes) or "none"
        raise ParameterError(
            f"attribute={attribute!r} is not in the data: {suggest(attribute, splits.attributes)}they have {known}; "
            "name further ones in audit_groups"
        )
    frame = predictions.frame
    split = str(frame["split"].iloc[0])
    images = dict(splits.items()).get(split)
    known = pd.Index([] if images is None else images.index)
    places = known.get_indexer(pd.Index(frame["index"]))
    if images is None or (places < 0).any():
        raise DataError(
            f"{(places < 0).sum()} of {len(frame)} predictions are not of {splits.name}'s {split} split: "
            "take the splits that the models were evaluated on"
        )
    groups = pd.Categorical.from_codes(
        images.attributes[attribute][places], list(splits.attributes[attribute])
    )
    return Predictions(frame.assign(group=groups))
