"""The analyses of :mod:`fairkd.analysis` for every model of a run, one table each.

What the data do not allow (a single group, no unit in two groups) gives a table without rows whose
``attrs["reason"]`` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from fairkd.analysis import (
    calibrate_groups,
    class_geometry,
    counterfactual_flips,
    disagreement,
    exemplars,
    group_leakage,
    group_mmd,
    inflation,
    optimize_thresholds,
    prediction_sensitivity,
    project,
    regroup,
    retrain_last_layer,
    saliency_examples,
    saliency_maps,
    saliency_method,
)
from fairkd.analysis.inflation import holm
from fairkd.data.splits import ImageSet, Splits
from fairkd.errors import DataError
from fairkd.inference import ArrayOutputs, outputs_of
from fairkd.predictions import Predictions
from fairkd.recipes import TrainedModel
from fairkd.tables import evaluate_models, overview

ONE_GROUP = "there is one group, {name}: nothing to compare between groups"
_Input = TypeVar("_Input")
#: Rows of a projection, and of the pairs whose predictions are compared: more would not be seen, or take long.
_PROJECTED, _PAIRED = 1000, 1000
#: Cramér's V of label and group from which they go together: no longer negligible (Cohen 1988).
_TOGETHER = 0.1
#: What is asked of further attributes.
_DISPARITIES = ("worst_group_accuracy", "accuracy_gap", "recall_gap")


def by_model(
    function: Callable[..., pd.DataFrame], models: Mapping[str, _Input], **options: Any
) -> pd.DataFrame:
    """Put the tables that ``function`` returns for each model under each other, with the column ``model`` first.

    Returns:
        No rows where the data do not allow it (DataError): ``attrs["reason"]`` says why.
    """
    try:
        parts = [function(one, **options) for one in models.values()]
    except DataError as error:
        return nothing(str(error))
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "model", np.repeat(list(models), [len(part) for part in parts]))
    return table


def nothing(reason: str) -> pd.DataFrame:
    """Return a table without rows that says why."""
    table = pd.DataFrame()
    table.attrs["reason"] = reason
    return table


def inflations(
    predictions: Mapping[str, Predictions], pairs: Iterable[tuple[str, str]], **options: Any
) -> pd.DataFrame:
    """Return :func:`fairkd.analysis.inflation`'s rows for several pairs ``(model, baseline)``."""
    tables = [
        inflation({name: predictions[name] for name in (baseline, model)}, **options)
        for model, baseline in pairs
    ]
    return pd.concat(tables, ignore_index=True)


def other_attributes(
    predictions: Mapping[str, Predictions], splits: Splits, pairs: Iterable[tuple[str, str]], **options: Any
) -> pd.DataFrame:
    """Return :func:`fairkd.tables.overview` by each further attribute that the data are audited for.

    Returns:
        One row per attribute and disparity; none where ``audit_groups`` names no attribute.
    """
    tables, pairs = {}, list(pairs)
    for attribute in splits.attributes:
        models = {name: regroup(one, splits, attribute) for name, one in predictions.items()}
        changes = inflations(models, pairs, **options)
        tables[attribute] = overview(evaluate_models(models, **options), changes, _DISPARITIES)
    return pd.concat(tables) if tables else nothing("audit_groups names no further attribute")


def breakdown(table: pd.DataFrame, level: str, splits: Splits) -> pd.DataFrame:
    """Return the rows of one level of :func:`inflations`; none if it compares groups and there is one."""
    return table[table["level"] == level] if splits.num_groups > 1 else _one_group(splits)


def student_disagreement(predictions: Mapping[str, Predictions], **options: Any) -> pd.DataFrame:
    """Return :func:`fairkd.analysis.disagreement` of every student with the teacher."""
    return by_model(lambda one: disagreement(predictions["teacher"], one, **options), _students(predictions))


def student_exemplars(predictions: Mapping[str, Predictions], images: ImageSet) -> pd.DataFrame:
    """Return :func:`fairkd.analysis.exemplars` of every student, with ``row``: the position in ``images``."""
    table = by_model(lambda one: exemplars(predictions["teacher"], one), _students(predictions))
    rows = pd.Series(np.arange(len(images)), index=images.index)
    return table.assign(row=rows[table["index"]].to_numpy())


def outputs_of_models(models: Mapping[str, TrainedModel], images: ImageSet) -> dict[str, ArrayOutputs]:
    """Return every model's logits and pooled features of the images, in their order."""
    return {name: outputs_of(one.model, images.images) for name, one in models.items()}


def leakage(outputs: Mapping[str, ArrayOutputs], images: ImageSet, **options: Any) -> pd.DataFrame:
    """Return :func:`fairkd.analysis.group_leakage` of every model's logits and features.

    Where label and group go together in these images, the probes are fitted within the classes: right answers alone
    would give the group away.
    """
    labels = images.labels if _go_together(images) else None

    def probe(one: ArrayOutputs) -> pd.DataFrame:
        return group_leakage(one._asdict(), images.groups, units=images.unit, labels=labels, **options)

    return by_model(probe, outputs)


def _go_together(images: ImageSet) -> bool:
    from scipy.stats.contingency import association

    known = images.groups >= 0
    table = pd.crosstab(images.labels[known], images.groups[known]).to_numpy()
    return min(table.shape) > 1 and bool(association(table, method="cramer") >= _TOGETHER)


def distances(outputs: Mapping[str, ArrayOutputs], splits: Splits) -> pd.DataFrame:
    """Return the distance of the groups' test features for every model, adjusted by Holm's method within a model.

    Two groups are compared within every class and over all; more groups pair by pair over all classes.

    Returns:
        Rows ``model, place, class, group, other_group, mmd2, p_value, p_adjusted, bandwidth, n, n_other``.
    """
    if splits.num_groups < 2:
        return _one_group(splits)
    images, two = splits.test, splits.num_groups == 2
    size = splits.num_classes + 1 if two else splits.num_groups * (splits.num_groups - 1) // 2
    options: dict[str, Any] = {"labels": images.labels, "class_names": splits.class_names} if two else {}

    def measure(one: ArrayOutputs) -> pd.DataFrame:
        table = group_mmd(
            one.features,
            images.groups,
            splits.group_names,
            units=images.unit,
            # Fewer could settle nothing in a family of this size.
            permutations=max(500, 25 * size),
            **options,
        )
        table["p_adjusted"] = np.nan
        known = table["p_value"].notna()
        table.loc[known, "p_adjusted"] = holm(table.loc[known, "p_value"].to_numpy())
        return table

    table = by_model(measure, outputs)
    places = table["class"].replace("all", "all classes")
    pairs = table["group"] + " – " + table["other_group"]
    table.insert(1, "place", places if two else pairs)
    return table


def geometry(outputs: Mapping[str, ArrayOutputs], splits: Splits) -> pd.DataFrame:
    """Return a row a model: means over classes and pairs of groups of :func:`fairkd.analysis.class_geometry`."""
    if splits.num_groups < 2:
        return _one_group(splits)
    images = splits.test

    def describe(one: ArrayOutputs) -> pd.DataFrame:
        names = splits.class_names, splits.group_names
        table = class_geometry(one.features, images.labels, images.groups, *names)
        spread = table["within_scatter"] / table["between_scatter"]
        columns = table[["mean_distance", "mean_cosine"]].assign(within_over_between=spread)
        return columns.mean().to_frame().T

    return by_model(describe, outputs)


def projections(outputs: Mapping[str, ArrayOutputs], splits: Splits, seed: int = 0) -> pd.DataFrame:
    """Return :func:`fairkd.analysis.project` of every model's test features, at most 1,000 rows of it."""
    images = splits.test
    rows = _drawn(len(images), _PROJECTED, seed)
    classes = np.array(splits.class_names, dtype=object)[images.labels[rows]]
    # The last entry is what -1, a missing group, finds.
    groups = np.array([*splits.group_names, "no group"], dtype=object)[images.groups[rows]]

    def place(one: ArrayOutputs) -> pd.DataFrame:
        table = project(one.features)
        shares = {name: table.attrs[name] for name in ("x_share", "y_share")}
        return table.iloc[rows].assign(**shares, **{"class": classes, "group": groups})

    return by_model(place, outputs)


def sensitivity(
    predictions: Mapping[str, Predictions], images: ImageSet, seed: int = 0, **options: Any
) -> pd.DataFrame:
    """Return :func:`fairkd.analysis.prediction_sensitivity` of every model on the pixels in [0, 1].

    On at most 1,000 images, the same for every model; rows without any pair are left out.
    """
    rows = _drawn(len(images), _PAIRED, seed)
    pixels = np.asarray(images.images[rows], dtype=np.float32) / 255

    def measure(one: Predictions) -> pd.DataFrame:
        drawn = Predictions(one.frame.iloc[rows].reset_index(drop=True))
        table = prediction_sensitivity(drawn, pixels, **options)
        return table[table["n"] > 0]

    return by_model(measure, predictions)


def flips(predictions: Mapping[str, Predictions], **options: Any) -> pd.DataFrame:
    """Return :func:`fairkd.analysis.counterfactual_flips` of every model over all classes."""
    table = by_model(counterfactual_flips, predictions, **options)
    return table[table["class"] == "all"].dropna(subset="value") if len(table) else table


def saliency_views(
    models: Mapping[str, TrainedModel], images: ImageSet
) -> tuple[pd.DataFrame, np.ndarray, dict[str, np.ndarray]]:
    """Return what :func:`fairkd.plots.saliency_pairs` shows: three images a group, and maps of the models.

    The images are :func:`fairkd.analysis.saliency_examples` of the student by plain KD against its teacher; the maps
    of the two, and of the mitigated student if there is one, explain the true class, all by the method that suits the
    first two.
    """
    rows = saliency_examples(models["teacher"].predictions, models["student_kd"].predictions, per_group=3)
    shown = images.subset(rows["row"].to_numpy())
    names = ("teacher", "student_kd", "student_fair")
    networks = {name: models[name].model for name in names if name in models}
    method = saliency_method([networks["teacher"], networks["student_kd"]], shown.images, shown.labels)
    maps = {name: saliency_maps(one, shown.images, shown.labels, method) for name, one in networks.items()}
    return rows.assign(row=np.arange(len(rows))), shown.images, maps


def post_processed(
    model: TrainedModel, name: str, splits: Splits, *, seed: int = 0
) -> tuple[dict[str, Predictions], list[str]]:
    """Return a model's test predictions, post-processed on validation data, and what could not be done and why.

    Returns:
        By name: the model as it is, with its last layer trained again on balanced validation data, with a temperature a
        group, and, for two classes, with thresholds a group; and a sentence for each that cannot be had.
    """
    validation, test = model.validation, model.predictions
    features = []
    for predictions, part in ((validation, splits.validation), (test, splits.test)):
        if not np.array_equal(predictions.frame["index"], part.index):
            raise DataError(
                "the model's predictions are not of these splits: pass those that it was trained on"
            )
        features.append(outputs_of(model.model, part.images).features)
    makers = {
        "last layer": lambda: retrain_last_layer(validation, test, *features, seed=seed),
        "temperatures": lambda: calibrate_groups(validation, test),
        "thresholds": lambda: optimize_thresholds(validation, test),
    }
    made: dict[str, Predictions] = {name: test}
    reasons = []
    for what, make in makers.items():
        try:
            made[f"{name}, {what}"] = make()
        except DataError as error:
            reasons.append(f"Not shown: {what}, as {error}.")
    return made, reasons


def _students(predictions: Mapping[str, Predictions]) -> dict[str, Predictions]:
    return {name: one for name, one in predictions.items() if name != "teacher"}


def _one_group(splits: Splits) -> pd.DataFrame:
    return nothing(ONE_GROUP.format(name=f"“{splits.group_names[0]}”"))


def _drawn(size: int, most: int, seed: int) -> np.ndarray:
    """Return at most so many positions, sorted."""
    if size <= most:
        return np.arange(size)
    return np.sort(np.random.default_rng(seed).choice(size, most, replace=False))
