"""Sentences computed from the analyses of what distillation changed, and figures that say when there is nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fairkd.evaluation import compare, findings
from fairkd.metrics import METRICS
from fairkd.narrative import say
from fairkd.predictions import Predictions
from fairkd.shown import decimals, signed

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Names that a sentence lists before it counts the rest.
_LISTED = 5
#: Okabe and Ito's vermillion and blue; the symbols say the same in grey.
_COLORS = {"▲": "#D55E00", "▼": "#0072B2", "○": "#757575", "✕": "#757575"}
_LEVELS = {"overall": "metric", "group": "group", "class": "class", "cell": "class and group"}
_KEY_METRICS = ("recall_gap", "worst_group_accuracy", "accuracy")


def show(figure: Callable[..., go.Figure], table: pd.DataFrame, *more: Any, **options: Any) -> None:
    """Display a figure of ``table``, or say why there is nothing to draw."""
    from IPython.display import display

    if table.empty:
        say(f"No figure: {table.attrs.get('reason', 'there are no rows')}.")
    else:
        display(figure(table, *more, **options))


def show_changes(table: pd.DataFrame) -> None:
    """Display :func:`fairkd.tables.overview` with coloured symbols, or say why it is empty; text is escaped."""
    from IPython.display import HTML, display

    if table.empty:
        say(f"No table: {table.attrs['reason']}.")
        return
    markup = table.rename(columns=lambda name: str(name).replace("_", " ")).to_html(escape=True)
    for symbol, color in _COLORS.items():
        markup = markup.replace(symbol, f'<span style="color:{color};font-weight:700">{symbol}</span>')
    display(HTML(markup))


def describe_family(changes: pd.DataFrame) -> list[str]:
    """Say what the families of tests, the p-value and the symbols are."""
    sizes = changes.groupby("level", sort=False)["family_size"].max()
    families = ", ".join(f"{level} {size}" for level, size in sizes.items())
    level = 1 - float(changes["confidence"].iloc[0])
    return [
        "A family is all rows of one level in one comparison "
        f"(tests: {families}); a p-value is the larger of the paired bootstrap's and of a randomisation test that "
        f"swaps the two models' predictions; a verdict needs Holm's adjusted p of at most {level:.2g}.",
        "▲ larger, ▼ smaller, ○ not settled, ✕ too few samples or undefined, = the same; the arrow after a metric's "
        "name points to better.",
    ]


def describe_inflation(changes: pd.DataFrame, level: str = "overall") -> list[str]:
    """Say, for each pair of models, what is settled at one level after Holm's adjustment, and how much is not."""
    if changes.empty:
        return []
    rows = changes[changes["level"] == level]
    sentences = []
    for (model, baseline), pair in rows.groupby(["model", "baseline"], sort=False):
        verdicts = pair["verdict"].value_counts()
        parts = []
        for verdict in ("larger", "smaller"):
            named = [_named(row) for row in pair[pair["verdict"] == verdict].to_dict("records")]
            parts.append(f"{len(named)} {verdict}{': ' + _listed(named) if named else ''}")
        parts.append(f"{verdicts.get('not settled', 0)} not settled")
        few = verdicts.get("too few samples", 0) + verdicts.get("undefined", 0)
        parts += [f"{few} with too few samples or undefined"] if few else []
        sentences.append(
            f"{model} against {baseline}, {len(pair)} rows by {_LEVELS[level]}: {'; '.join(parts)}."
        )
    return sentences


def describe_disagreement(table: pd.DataFrame) -> list[str]:
    """Say how often each student contradicts its teacher, and in which groups it loses most and least."""
    sentences = []
    for model, rows in table.groupby("model", sort=False):
        shares = rows.set_index(["group", "outcome"])["share"]
        every = shares["all"]
        right, wrong = "teacher right, student wrong", "teacher wrong, student right"
        text = (
            f"{model} predicts another class than its teacher for {every['predictions differ']:.1%} of the samples: "
            f"{every[right]:.1%} lost (teacher right, student wrong), {every[wrong]:.1%} won."
        )
        groups = rows[(rows["outcome"] == right) & (rows["group"] != "all")].dropna(subset="share")
        sentences.append(text + _extremes(groups, "share", "low", "high", "The share lost is"))
    return sentences


def describe_leakage(table: pd.DataFrame) -> list[str]:
    """Say from which arrays the group is read better than by chance, for each model."""
    sentences = []
    if not table.empty and table["conditional"].any():
        sentences.append(
            "Label and group go together in these samples, and a right answer alone would give the group away: the "
            "probes are fitted within each class."
        )
    for model, rows in [] if table.empty else table.groupby("model", sort=False):
        best = rows.loc[rows["balanced_accuracy"].idxmax()]
        above = [f"{row['input']} ({row['probe']})" for row in rows[rows["above_chance"]].to_dict("records")]
        read = f"above chance from {', '.join(above)}" if above else "not above chance by any of these probes"
        sentences.append(
            f"{model}: the group is read {read}; at best {best['balanced_accuracy']:.3f} ({best['low']:.3f} to "
            f"{best['high']:.3f}) from {best['input']} by the {best['probe']} probe, chance being {best['chance']:.3f}."
        )
    return sentences


def describe_calibration(table: pd.DataFrame, metric: str = "overconfidence") -> list[str]:
    """Say how calibrated each model is over all samples, and between which groups the chosen metric differs most."""
    sentences = []
    for model, rows in table.groupby("model", sort=False):
        every = rows[rows["group"] == "all"].set_index("metric")
        error, wrong = every.loc["calibration_error_debiased"], every.loc["confidence_of_errors"]
        groups = rows[(rows["metric"] == metric) & (rows["group"] != "all")].dropna(subset="value")
        sentences.append(
            f"{model}: debiased calibration error {error['value']:.3f} ({error['low']:.3f} to {error['high']:.3f}), "
            + (
                f"mean confidence of its {wrong['n']} errors {wrong['value']:.3f}."
                if wrong["n"]
                else "no errors."
            )
            + _extremes(groups, "value", "low", "high", f"Its {metric} is")
        )
    return sentences


def describe_distances(table: pd.DataFrame) -> list[str]:
    """Say where the groups' features differ, for each model."""
    sentences = []
    for model, rows in [] if table.empty else table.groupby("model", sort=False):
        found = rows[rows["p_adjusted"] <= 0.05]
        named = [f"{row['place']} ({row['mmd2']:.3f})" for row in found.to_dict("records")]
        tested = int(rows["p_adjusted"].notna().sum())
        listed = f": {_listed(named)}" if named else ""
        sentences.append(
            f"{model}: the features of groups differ in {len(found)} of {tested} comparisons after Holm's "
            f"adjustment{listed}."
        )
    return sentences


def describe_sensitivity(table: pd.DataFrame) -> list[str]:
    """Say which model's predictions change least between similar inputs, and how far the intervals are apart."""
    rows = table[table["pairs"] == "all"] if len(table) else table
    if len(rows) < 2:
        return []
    return [
        _extremes(
            rows.assign(group=rows["model"]), "value", "low", "high", "Over all pairs the sensitivity is"
        ).strip()
    ]


def describe_flips(table: pd.DataFrame) -> list[str]:
    """Say how often each model's prediction depends on the group in which an item is shown."""
    rows = table[(table["metric"] == "flip_rate") & (table["class"] == "all")] if len(table) else table
    return [
        f"{row['model']}: the prediction changes for {row['value']:.1%} ({row['low']:.1%} to {row['high']:.1%}) of "
        f"{row['n']:,} items shown in {row['group']} and in {row['other_group']}."
        for row in rows.to_dict("records")
    ]


def describe_post_processing(models: Mapping[str, Predictions], **options: Any) -> list[str]:
    """Say what post-processing changes: the first of the models against each of the others that are made from it."""
    name, *_ = models
    sentences = []
    for other in models:
        if not other.startswith(f"{name}, "):
            continue
        metrics = ["recall_gap", "accuracy"]
        if np.array_equal(models[name].predicted, models[other].predicted):
            if not models[other].has_probabilities:
                sentences.append(f"{other}: no decision changes.")
                continue
            metrics = ["expected_calibration_error"]
        table = compare({name: models[name], other: models[other]}, **options)
        sentences += findings(table[table["class"] == "all"], metrics)
    return list(dict.fromkeys(sentences))


def conclude_analysis(changes: pd.DataFrame, probes: pd.DataFrame, disagreements: pd.DataFrame) -> list[str]:
    """Sum up: what the adjusted tests support, what they do not, and the limits that these data set.

    Args:
        changes: :func:`fairkd.tables_analysis.inflations`'s rows.
        probes: :func:`fairkd.tables_analysis.leakage`'s rows, or none.
        disagreements: :func:`fairkd.tables_analysis.student_disagreement`'s rows.
    """
    rows = changes[(changes["level"] == "overall") & changes["metric"].isin(_KEY_METRICS)]
    settled, same = rows["verdict"].isin(("larger", "smaller")), _same(rows)
    undefined = rows["value"].isna()
    open_ = ~settled & ~same & ~undefined
    sentences = [
        f"**Supported** after Holm's adjustment: {_differences(rows[settled]) if settled.any() else 'none of them'}."
    ]
    if same.any():
        sentences.append(f"**The same in both models**: {_pairs(rows[same])}.")
    if open_.any():
        sentences.append(
            f"**Not settled** after Holm's adjustment, in either direction: {_pairs(rows[open_])}."
        )
    if undefined.any():
        sentences.append(f"**Undefined on these samples**: {_pairs(rows[undefined])}.")
    if len(probes):
        above = probes[(probes["input"] == "features") & probes["above_chance"]]["model"].unique()
        every = probes["model"].nunique()
        named = f": {', '.join(above)}" if len(above) else ""
        within = " within the classes" if probes["conditional"].any() else ""
        sentences.append(
            f"**Leakage**: {len(above)} of {every} models' features give the group away{within}{named}."
        )
    few = changes["verdict"].isin(("too few samples", "undefined"))
    total = int(disagreements["total"].max())
    sentences.append(
        f"**Limits**: {total:,} test samples, one training seed, one annotated attribute; {few.sum()} of "
        f"{len(changes)} comparisons have too few samples or are undefined, and no verdict."
    )
    return sentences


def _differences(rows: pd.DataFrame) -> str:
    return "; ".join(
        f"{METRICS[row['metric']].title} {row['verdict']} in {row['model']} than in {row['baseline']} "
        f"({signed(row['value'])}, adjusted p {row['p_adjusted']:.3f})"
        for row in rows.to_dict("records")
    )


def _pairs(rows: pd.DataFrame) -> str:
    return "; ".join(
        f"{METRICS[row['metric']].title} of {row['model']} against {row['baseline']}"
        for row in rows.to_dict("records")
    )


def _same(rows: pd.DataFrame) -> pd.Series:
    return (rows[["value", "low", "high"]] == 0).all(axis=1)


def _named(row: dict[Any, Any]) -> str:
    names = [str(row[key]) for key in ("class", "group") if row[key] != "all"]
    what = ", ".join(names) or METRICS[row["metric"]].title
    return f"{what} ({signed(row['value'])})"


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _extremes(rows: pd.DataFrame, value: str, low: str, high: str, subject: str) -> str:
    """Say where a value is largest and smallest, and whether these two intervals overlap."""
    if len(rows) < 2:
        return ""
    top, bottom = rows.loc[rows[value].idxmax()], rows.loc[rows[value].idxmin()]
    if top[value] == bottom[value]:
        return f" {subject} the same everywhere."
    overlap = "overlap" if np.isnan(top[low]) or top[low] <= bottom[high] else "do not overlap"
    return (
        f" {subject} largest for {top['group']} ({decimals(top[value])}) and smallest for {bottom['group']} "
        f"({decimals(bottom[value])}); their intervals {overlap}."
    )
