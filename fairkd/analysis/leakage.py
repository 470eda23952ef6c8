"""How well the group can be read from what a network computes: its logits or its features.

A probe is trained to predict the group and scored on samples that it has not seen. What a linear probe reads, the
network's own last layer could use; a small multi-layer one reads more. A score near chance says that these probes find
nothing in so many samples, not that there is nothing.

Every row is predicted once, by the probe that has not seen its unit, and the interval resamples units of these
predictions, as :func:`fairkd.evaluate` does with a model's. The spread over folds would not serve: there are five,
they share most of their training rows, and no unbiased estimate of their variance exists (Bengio & Grandvalet 2004,
JMLR 5, 1089-1105). A permutation test would only say whether the score is chance, for hundreds of fits. The interval is
that of these probes on new samples; it leaves out how probes vary with their training rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from fairkd.errors import DataError, FairkdWarning, ParameterError
from fairkd.metrics.bootstrap import bootstrap_counts
from fairkd.metrics.confusion import CellCounts, Floats, mean_defined
from fairkd.metrics.intervals import interval
from fairkd.metrics.measurement import BootstrapOptions
from fairkd.progress import track

Probe = Literal["linear", "mlp"]
PROBES: tuple[Probe, ...] = ("linear", "mlp")
#: Hidden units of the small probe, and its weight decay (scikit-learn's alpha).
_HIDDEN, _DECAY = 32, 1e-2
_COLUMNS = [
    *("input", "dim", "probe", "conditional", "balanced_accuracy", "low", "high", "chance", "above_chance"),
    *("n", "units", "classes"),
]


def group_leakage(
    inputs: Mapping[str, np.ndarray],
    groups: np.ndarray,
    *,
    units: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    probes: Sequence[Probe] = PROBES,
    folds: int = 5,
    max_rows: int = 5000,
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Probe arrays for the group, cross-validated, and compare the balanced accuracy with chance.

    Folds are stratified by group and keep the rows of a unit together, so that a probe cannot recognise the source of
    a sample. With ``labels``, a probe is fitted within each class and the recalls are averaged over classes and groups:
    what is read beyond the class, which by itself gives the group away in skewed data.

    Args:
        inputs: arrays ``(n, dim)`` by name, for example ``{"logits": ..., "features": ...}``.
        groups: codes ``(n,)``, -1 where missing; those rows are left out.
        units: source item of each row ``(n,)``; ``None``: every row its own.
        labels: codes ``(n,)`` for the conditional score; ``None``: all classes together.
        probes: ``"linear"`` (logistic regression) and ``"mlp"`` (one hidden layer of 32).
        folds: at least 2; a class with fewer units in one of its groups is left out.
        max_rows: at most about so many rows, whole units, drawn by ``seed``.
        replicates: resamples of the interval.
        confidence: nominal coverage, (0, 1).
        seed: seed of the draw, the folds, the small network and the resamples.

    Returns:
        One row an array and probe: ``input, dim, probe, conditional, balanced_accuracy, low, high, chance,
        above_chance, n, units, classes``. ``chance`` is 1 / number of groups, ``above_chance`` whether the
        interval lies above it.

    Raises:
        DataError: shapes that do not fit, values that are not finite, or fewer than two groups with enough units.
        ParameterError: an unknown probe or an option out of range.

    Warns:
        FairkdWarning: naming how many classes have too few units to be probed.
    """
    options = BootstrapOptions(replicates, confidence, seed)
    groups = np.asarray(groups)
    units = np.arange(len(groups)) if units is None else np.asarray(units)
    strata = np.zeros(len(groups), dtype=np.int64) if labels is None else np.asarray(labels)
    _check_options(probes, folds)
    _check(inputs, groups, units, strata)
    rows = _drawn(np.flatnonzero(groups >= 0), units, max_rows, seed)
    rows = _probed(strata, groups, units, rows, folds)
    names = np.unique(groups[rows])
    codes, classes = np.searchsorted(names, groups[rows]), np.unique(strata[rows], return_inverse=True)[1]
    unit = pd.factorize(units[rows])[0]
    records = []
    pairs = [(name, probe) for name in inputs for probe in probes]
    for name, probe in track(pairs, "leakage probes", len(pairs)):
        values = np.asarray(inputs[name])
        predicted = _out_of_fold(values[rows], codes, unit, classes, probe, folds, seed)
        score = _scored(codes, classes, predicted, unit, options)
        records.append({"input": name, "dim": values.shape[1], "probe": probe, **score})
    table = pd.DataFrame(records).assign(
        conditional=labels is not None,
        chance=1 / len(names),
        n=len(rows),
        units=unit.max() + 1,
        classes=classes.max() + 1,
    )
    table["above_chance"] = table["low"] > table["chance"]
    return table[_COLUMNS]


def _check_options(probes: Sequence[Probe], folds: int) -> None:
    if folds < 2 or set(probes) - set(PROBES) or not probes:
        raise ParameterError(
            f"folds={folds} and probes={list(probes)} are not allowed: at least 2 folds, probes of {', '.join(PROBES)}"
        )


def _check(
    inputs: Mapping[str, np.ndarray], groups: np.ndarray, units: np.ndarray, labels: np.ndarray
) -> None:
    if not inputs or not len(groups) == len(units) == len(labels):
        raise DataError(
            f"group_leakage got {len(inputs)} inputs, {len(groups)} groups, {len(units)} units and {len(labels)} "
            "labels; needed: at least one input and columns of one length"
        )
    for name, values in inputs.items():
        if np.ndim(values) != 2 or len(values) != len(groups):
            raise DataError(f"the input {name!r} has shape {np.shape(values)}; needed: ({len(groups)}, dim)")
        if not np.isfinite(values).all():
            raise DataError(f"the input {name!r} holds values that are not finite; did the training diverge?")


def _drawn(rows: np.ndarray, units: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return whole units of ``rows`` until there are at least ``most`` rows, in their order."""
    if len(rows) <= most:
        return rows
    unit = pd.factorize(units[rows])[0]
    order = np.random.default_rng(seed).permutation(unit.max() + 1)
    last = int(np.searchsorted(np.bincount(unit)[order].cumsum(), most))
    return np.asarray(rows[np.isin(unit, order[: last + 1])])


def _probed(
    labels: np.ndarray, groups: np.ndarray, units: np.ndarray, rows: np.ndarray, folds: int
) -> np.ndarray:
    """Return those of ``rows`` whose class has enough to be probed: in which every group has a unit for each fold."""
    frame = pd.DataFrame({"label": labels[rows], "group": groups[rows], "unit": units[rows]})
    sizes = frame.groupby(["label", "group"])["unit"].nunique().unstack(fill_value=0)
    smallest = int(sizes.to_numpy().min()) if sizes.size else 0
    enough = sizes.index[(sizes >= folds).all(axis=1)]
    if not len(enough) or sizes.shape[1] < 2:
        raise DataError(
            f"the group cannot be probed: {sizes.shape[1]} groups, with {smallest} units in the smallest; "
            f"needed: at least 2 groups and {folds} units in each (of some class)"
        )
    if len(enough) < len(sizes):
        warnings.warn(
            f"{len(sizes) - len(enough)} of {len(sizes)} classes have fewer than {folds} units in a group and are "
            "left out of the probe",
            FairkdWarning,
            stacklevel=3,
        )
    return np.asarray(rows[np.isin(labels[rows], enough)])


def _out_of_fold(
    values: Floats,
    groups: np.ndarray,
    units: np.ndarray,
    classes: np.ndarray,
    probe: Probe,
    folds: int,
    seed: int,
) -> np.ndarray:
    """Return each row's group as predicted by the probe of its class that has not seen its unit ``(n,)``."""
    from sklearn.model_selection import StratifiedGroupKFold

    predicted = np.empty(len(groups), dtype=np.int64)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for one_class in np.unique(classes):
        rows = np.flatnonzero(classes == one_class)
        for fit, score in splitter.split(rows, groups[rows], units[rows]):
            train, test = rows[fit], rows[score]
            predicted[test] = _predict(values[train], groups[train], values[test], probe, seed)
    return predicted


def _predict(values: Floats, groups: np.ndarray, unseen: Floats, probe: Probe, seed: int) -> np.ndarray:
    """Fit a probe and predict; groups count alike, whatever their sizes."""
    from sklearn.exceptions import ConvergenceWarning

    known, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(known) == 1:
        return np.full(len(unseen), known[0])
    with warnings.catch_warnings():
        # A probe that is not quite fitted is still a probe: its score on unseen rows stays valid.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = _model(probe, seed).fit(values, codes)
    # Divided by the prior, the likeliest group is the one that balanced accuracy asks for.
    return np.asarray(known[(model.predict_proba(unseen) / sizes).argmax(axis=1)])


def _model(probe: Probe, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if probe == "linear":
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    small = MLPClassifier((_HIDDEN,), alpha=_DECAY, max_iter=100, early_stopping=False, random_state=seed)
    return make_pipeline(StandardScaler(), small)


def _scored(
    groups: np.ndarray,
    classes: np.ndarray,
    predicted: np.ndarray,
    units: np.ndarray,
    options: BootstrapOptions,
) -> dict[str, float]:
    """Return the mean recall of the groups, over the classes, with its interval."""
    sizes = int(groups.max()) + 1, int(classes.max()) + 1
    (drawn,) = bootstrap_counts(
        groups,
        classes,
        predicted[None],
        units,
        num_classes=sizes[0],
        num_groups=sizes[1],
        statistics={"recall": _mean_recall},
        replicates=options.replicates,
        seed=options.seed,
    )
    low, high = interval(drawn["recall"].values, options.confidence)
    value = _mean_recall(CellCounts.of_samples(groups, classes, predicted, *sizes))
    return {"balanced_accuracy": float(value), "low": float(low), "high": float(high)}


def _mean_recall(counts: CellCounts) -> Floats:
    return mean_defined(mean_defined(counts.recall))
