"""How many samples there are of each class, group and attribute, and how strongly label and group go together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from fairkd.data.splits import ImageSet, Splits
from fairkd.metrics.proportions import wilson_interval


def class_by_group(splits: Splits, confidence: float) -> pd.DataFrame:
    """Return ``split, class, group, n, share, low, high``; ``share`` is the group's share of the class.

    Samples without a group are left out.
    """
    counts = splits.counts()
    totals = counts.groupby(["split", "class"], sort=False)["n"].transform("sum").to_numpy()
    return _with_shares(counts, totals, confidence)


def attribute_counts(splits: Splits, confidence: float) -> pd.DataFrame:
    """Count the values of the group and of every further attribute.

    Returns:
        Tidy rows ``attribute, split, value, n, share, low, high``: the share of the split's samples with
        Wilson's limits. The value of the samples whose attribute is missing is NaN; they have a row in every
        split if any has such samples.
    """
    rows = []
    for attribute, names in attribute_names(splits).items():
        codes = {split: attribute_codes(splits, images, attribute) for split, images in splits.items()}
        any_missing = any((values < 0).any() for values in codes.values())
        for split, values in codes.items():
            found = np.bincount(values + 1, minlength=len(names) + 1)
            pairs = [*zip(names, found[1:], strict=True), *[(None, found[0])] * any_missing]
            rows += [(attribute, split, name, int(n), len(values)) for name, n in pairs]
    table = pd.DataFrame(rows, columns=["attribute", "split", "value", "n", "total"])
    return _with_shares(table.drop(columns="total"), table["total"].to_numpy(), confidence)


def attribute_names(splits: Splits) -> dict[str, tuple[str, ...]]:
    """Return the names of the values of every attribute, the group first."""
    return {splits.group_name: splits.group_names} | {
        name: tuple(values) for name, values in splits.attributes.items() if name != splits.group_name
    }


def attribute_codes(splits: Splits, images: ImageSet, attribute: str) -> np.ndarray:
    """Return an attribute's code of each sample ``(n,)``, -1 where missing."""
    return images.groups if attribute == splits.group_name else images.attributes[attribute]


def association(splits: Splits) -> pd.DataFrame:
    """Measure how strongly label and group go together in each split.

    The statistics are ``cramers_v`` (0 none, 1 complete; without bias correction, so that a small sample of
    independent columns is above 0), ``mutual_information`` in nats, and ``normalized_mutual_information``,
    the mutual information divided by the group's entropy: the share of the group that the label gives away.

    Returns:
        Tidy rows ``split, statistic, value, n``; NaN where a split holds a single class or group.
    """
    return pd.DataFrame(_associations(splits, splits.group_name))


def attribute_association(splits: Splits) -> pd.DataFrame:
    """:func:`association` of the group and of every further attribute, with a column ``attribute``."""
    tables = [
        pd.DataFrame(_associations(splits, name)).assign(attribute=name) for name in attribute_names(splits)
    ]
    return pd.concat(tables, ignore_index=True)[["attribute", "split", "statistic", "value", "n"]]


def _with_shares(counts: pd.DataFrame, totals: np.ndarray, confidence: float) -> pd.DataFrame:
    n = counts["n"].to_numpy()
    low, high = wilson_interval(n, totals, confidence)
    return counts.assign(share=n / np.where(totals > 0, totals, np.nan), low=low, high=high)


def _associations(splits: Splits, attribute: str) -> Iterator[dict[str, object]]:
    shape = splits.num_classes, len(attribute_names(splits)[attribute])
    for split, images in splits.items():
        codes = attribute_codes(splits, images, attribute)
        known = codes >= 0
        cells = np.ravel_multi_index((images.labels[known], codes[known]), shape)
        table = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
        for statistic, value in _association(table).items():
            yield {"split": split, "statistic": statistic, "value": value, "n": int(table.sum())}


def _association(table: np.ndarray) -> dict[str, float]:
    """Return the statistics of a contingency table ``(classes, groups)``."""
    from scipy.stats import entropy
    from scipy.stats.contingency import association as scipy_association
    from sklearn.metrics import mutual_info_score

    # Classes and groups that do not occur say nothing, and would divide by zero.
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return dict.fromkeys(
            ("cramers_v", "mutual_information", "normalized_mutual_information"), float("nan")
        )
    information = float(mutual_info_score(None, None, contingency=table))
    return {
        "cramers_v": float(scipy_association(table, method="cramer")),
        "mutual_information": information,
        "normalized_mutual_information": information / float(entropy(table.sum(axis=0))),
    }
