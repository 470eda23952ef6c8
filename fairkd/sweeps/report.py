"""``report.html`` of a sweep: one self-contained page that opens offline and loads nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from fairkd.comparison.summary import METRIC_TITLES, METRICS, as_points
from fairkd.report import REPORT, asset, policy, render_page, unescaped
from fairkd.report.card import records
from fairkd.shown import signed
from fairkd.store import write_text
from fairkd.sweeps.results import Results, describe_rule


def write_sweep_report(folder: Path, results: Results, question: dict[str, Any]) -> Path:
    """Write the page and return its path.

    Args:
        folder: the sweep's.
        results: what the sweep found.
        question: the content of ``sweep.json``.

    Raises:
        ImportError: plotly, or what renders the page, is not installed.
        ArtifactError: the page cannot be written.
    """
    from plotly.offline import get_plotlyjs

    from fairkd.report.cells import figure_html

    parts = [figure_html(figure, number) for number, figure in enumerate(_figures(results), start=1)]
    scripts = [get_plotlyjs()] * bool(parts) + [asset("page.js")]
    html = render_page(
        "sweep.html.j2",
        name=folder.name,
        policy=policy(scripts),
        css=unescaped(asset("page.css")),
        scripts=[unescaped(script) for script in scripts],
        figures=[unescaped(part) for part in parts],
        rule=describe_rule(results.tolerance),
        findings=find(results),
        notices=_notices(results),
        settings=_settings(results),
        metrics=[METRIC_TITLES[name].capitalize() for name in METRICS],
        trials=records(results.table),
        **_setting(question, results),
    )
    path = folder / REPORT
    write_text(path, html)
    return path


def find(results: Results) -> list[str]:
    """Return what the sweep says, in sentences computed from its numbers; names are not escaped."""
    if not results.chosen:
        return ["No student finished with every seed without collapsing: there is nothing to choose from."]
    rows = results.summary[results.summary["method"] == results.chosen].set_index("metric")
    accuracy, gap = rows.loc["accuracy"], rows.loc["recall_gap"]
    sentences = [
        f"Chosen on validation data: {results.chosen}, with accuracy {accuracy['validation']:.3f} and mean recall "
        f"gap {gap['validation']:.3f} there, and {accuracy['mean']:.3f} and {gap['mean']:.3f} on test data.",
    ]
    if gap["family"] == "baseline":
        sentences.append("That is plain KD itself: no setting reached a smaller gap at that accuracy.")
    elif pd.notna(gap["low"]):
        settled = gap["low"] > 0 or gap["high"] < 0
        sentences.append(
            f"On test data its recall gap is {abs(gap['difference']):.3f} "
            f"{'above' if gap['difference'] > 0 else 'below'} that of plain KD "
            f"(interval {signed(gap['low'])} to {signed(gap['high'])}): "
            + ("the interval excludes 0." if settled else "the data do not settle the sign.")
        )
    others = len(results.front - {results.chosen}) or "No"
    sentences.append(
        f"{others} other {'setting is' if others in (1, 'No') else 'settings are'} on the front of accuracy and recall "
        "gap on validation data."
    )
    return sentences


def _figures(results: Results) -> list[dict[str, Any]]:
    if results.summary.empty:
        return []
    from fairkd.plots import pareto_front

    validation = results.summary.assign(mean=results.summary["validation"], std=float("nan"))
    parts = [
        (validation, "Validation data: where the choice is made", "Means over the seeds."),
        (
            results.summary,
            "Test data: what the choice is worth",
            "Means ± standard deviation over the seeds.",
        ),
    ]
    figures = [
        pareto_front(
            as_points(summary, results.front), title=title, note=note, front="front on validation data"
        )
        for summary, title, note in parts
    ]
    # As JSON and back: plain numbers instead of arrays.
    return [json.loads(figure.to_json()) for figure in figures]


def _notices(results: Results) -> list[dict[str, str]]:
    table = results.table
    parts = [
        ("Unfinished", (table["state"] == "failed").sum(), "failed"),
        ("Unfinished", (table["state"] == "not run").sum(), "not run"),
        ("Collapsed", table["collapsed"].eq(True).sum(), "with at most half of the classes predicted"),
    ]
    return [
        {"kind": kind, "text": f"{number} of {len(table)} trials {how}; marked below."}
        for kind, number, how in parts
        if number
    ]


def _settings(results: Results) -> list[dict[str, Any]]:
    rows = []
    for label, part in results.summary.groupby("method", sort=False) if len(results.summary) else ():
        by_metric = {row["metric"]: row for row in records(part)}
        first = next(iter(by_metric.values()))
        pair = by_metric["accuracy"], by_metric["recall_gap"]
        reference = first["family"] == "reference"
        remarks = {"not every seed finished": not first["complete"], "collapsed": bool(first["collapsed"])}
        rows.append(
            {
                "label": label,
                "chosen": label == results.chosen,
                "on_front": label in results.front,
                "remark": ", ".join(text for text, holds in remarks.items() if holds and not reference),
                "seeds": first["seeds"],
                "validation_accuracy": pair[0]["validation"],
                "validation_gap": pair[1]["validation"],
                "test": [by_metric[metric] for metric in METRICS],
                "differences": [
                    {"value": row["difference"], "low": row["low"], "high": row["high"]} for row in pair
                ],
            }
        )
    return rows


def _setting(question: dict[str, Any], results: Results) -> dict[str, Any]:
    parameters, environment = question["parameters"], question["environment"]
    packages = {name: version or "not installed" for name, version in environment["packages"].items()}
    facts = {
        "varied": "; ".join(question["asked"]["space"]),
        "seeds": parameters["seeds"],
        "search": question["asked"]["search"] or "grid",
        "Python": environment["python"],
        **packages,
        "Machine": environment["platform"],
    }
    states = results.table["state"].value_counts()
    return {
        "command": question["command"],
        "percent": f"{100 * parameters['confidence']:g} %",
        "facts": list(facts.items()),
        "subtitle": [
            parameters["dataset"],
            f"{parameters['teacher']} → {parameters['student']}",
            f"{states.get('finished', 0)} of {len(results.table)} trials finished",
        ],
    }
