"""The same predictions, by another attribute than the one that the models were trained with."""

from __future__ import annotations

import numpy as np
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
    frame, parts = predictions.frame, dict(splits.items())
    found = [str(name) for name in frame["split"].unique()]
    codes = pd.concat(
        [pd.Series(parts[name].attributes[attribute], parts[name].index) for name in found if name in parts]
        or [pd.Series(dtype=np.int64)]
    )
    places = codes.index.get_indexer(pd.Index(frame["index"]))
    if (places < 0).any():
        raise DataError(
            f"{(places < 0).sum()} of {len(frame)} predictions are not of {splits.name}'s {', '.join(found)} split: "
            "take the splits that the models were evaluated on"
        )
    groups = pd.Categorical.from_codes(codes.to_numpy()[places], list(splits.attributes[attribute]))
    return Predictions(frame.assign(group=groups))
