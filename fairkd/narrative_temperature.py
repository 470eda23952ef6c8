"""Sentences computed from the temperature study, beside what has been published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fairkd.metrics import METRICS
from fairkd.shown import join_numbers, signed

#: Up to here the published disparity falls.
_PUBLISHED_BEST = 10.0
_TITLES = {"prediction_sensitivity": "prediction sensitivity"}


def describe_temperature_study(table: pd.DataFrame, disparity: str = "recall_gap") -> list[str]:
    """Say which temperature has the smallest disparity, whether that is settled, and what has been published.

    The temperature is named on validation data and judged on test data, so that the test data did not choose it.

    Args:
        table: :func:`fairkd.recipes.temperature_study`'s rows.
        disparity: the metric that stands for the bias.
    """
    tried = sorted(table["temperature"].unique())
    own = float(table.loc[table["own"], "temperature"].iloc[0])
    validation, test = (_rows(table, split, disparity) for split in ("validation", "test"))
    if len(tried) < 2:
        return [f"T = {own:g} alone was tried; the parameter temperatures names further ones."]
    if validation["value"].isna().all() or test["value"].isna().all():
        return [
            f"The {_title(disparity)} is undefined on these data, so that the temperatures cannot be compared by it."
        ]
    chosen = float(validation["value"].idxmin())
    sentences = [
        f"Of T = {join_numbers(tried)}, the {_title(disparity)} on validation data is smallest at **T = {chosen:g}**: "
        f"{_estimate(validation.loc[chosen])}, against {_estimate(validation.loc[own])} at this run's T = {own:g}."
        if chosen != own
        else f"Of T = {join_numbers(tried)}, the {_title(disparity)} on validation data is smallest at "
        f"**T = {chosen:g}**, which is this run's: {_estimate(validation.loc[chosen])}."
    ]
    other = chosen if chosen != own else float(validation["value"].drop(own).idxmin())
    sentences += [
        _difference(_rows(table, "test", name).loc[other], name, other, own)
        for name in (disparity, "accuracy")
    ]
    return [*sentences, *_published(table, disparity)]


def _published(table: pd.DataFrame, disparity: str) -> list[str]:
    """Put what was published beside the order that this run shows."""
    seed = int(table["seed"].iloc[0])
    sentences = [
        "Published (Mohammadshahi & Ioannou 2025, arXiv 2410.08407): on CelebA the prediction sensitivity of a student "
        "is 0.113 at T = 1, 0.091 at T = 4 and 0.070 at T = 10 (undistilled 0.124, teacher 0.041); beyond about 10 "
        "accuracy and fairness both fall."
    ]
    for name in (disparity, "prediction_sensitivity"):
        values = _rows(table, "test", name)["value"].dropna()
        values = values[values.index <= _PUBLISHED_BEST]
        if len(values) < 2:
            sentences.append(
                f"Here too few temperatures up to {_PUBLISHED_BEST:g} have a {_title(name)} to compare."
            )
            continue
        # What the listed numbers do not show is no order.
        steps = np.diff(values.round(3).to_numpy())
        order = (
            "falls at every step, the published order"
            if (steps < 0).all()
            else "rises at every step, the reverse of the published order"
            if (steps > 0).all()
            else "neither falls nor rises throughout"
        )
        listed = ", ".join(f"{value:.3f} at T = {temperature:g}" for temperature, value in values.items())
        sentences.append(f"Here, on test data, the {_title(name)} {order}: {listed}{_settled(table, name)}.")
    return [*sentences, f"These students share one seed ({seed}); others may give another order."]


def _settled(table: pd.DataFrame, metric: str) -> str:
    """Count the test data's settled differences to the run's own temperature, where differences are known."""
    rows = _rows(table, "test", metric).dropna(subset="difference")
    if rows.empty:
        return ""
    own = float(table.loc[table["own"], "temperature"].iloc[0])
    return f"; {int(rows['supported'].sum())} of {len(rows)} paired differences to T = {own:g} exclude 0"


def _difference(row: Mapping[str, Any], metric: str, temperature: float, own: float) -> str:
    """Say how a metric at one temperature differs from that at the run's, and whether that is settled."""
    if np.isnan(row["difference"]):
        return f"On test data the {_title(metric)} at T = {temperature:g} and T = {own:g} cannot be compared."
    if row["difference"] == row["difference_low"] == row["difference_high"] == 0:
        return f"On test data the {_title(metric)} at T = {temperature:g} is the same as at T = {own:g}."
    low, high, value = (signed(row[name]) for name in ("difference_low", "difference_high", "difference"))
    verdict = (
        f"it is **{'larger' if row['difference'] > 0 else 'smaller'}**"
        if row["supported"]
        else "which of the two is larger is **not settled** by these data"
    )
    return (
        f"On test data the {_title(metric)} at T = {temperature:g} differs from that at T = {own:g} by {value} "
        f"({100 * row['confidence']:g} % interval {low} to {high}): {verdict}."
    )


def _rows(table: pd.DataFrame, split: str, metric: str) -> pd.DataFrame:
    rows = table[(table["split"] == split) & (table["metric"] == metric)]
    return rows.set_index("temperature").sort_index()


def _title(metric: str) -> str:
    return _TITLES[metric] if metric in _TITLES else METRICS[metric].title


def _estimate(row: Mapping[str, Any]) -> str:
    return f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
