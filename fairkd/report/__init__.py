"""One self-contained ``report.html`` from a run folder: it opens offline and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shlex
from pathlib import Path
from typing import Any

from fairkd.config import Experiment
from fairkd.errors import ArtifactError, ParameterError
from fairkd.report.summary import METRICS, capital, differences, read_metrics, table
from fairkd.run_state import read_status
from fairkd.shown import decimals, signed
from fairkd.store import file_digest, read_json, write_text

REPORT = "report.html"
_TEMPLATES = Path(__file__).parent / "templates"
#: plotly draws these with WebGL and compiles its shaders' wrappers at run time.
_COMPILING_TRACES = frozenset({"parcoords", "scattergl", "scatterpolargl", "splom"})


def write_report(run_folder: Path) -> Path:
    """Write ``report.html`` from what the run folder holds, and return its path.

    The page depends on nothing but these files: the same run gives the same bytes. A run that is not finished
    gives a report of what there is, which says so.

    Raises:
        ArtifactError: there is no executed notebook, or a file of the run is damaged.
    """
    notebooks = sorted(run_folder.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise ArtifactError(f"{run_folder} holds no executed notebook; `fairkd run` makes them")
    page = _without_folder(_page(run_folder, notebooks), run_folder.parent)
    path = run_folder / REPORT
    write_text(path, page)
    return path


def _page(run_folder: Path, notebooks: list[Path]) -> str:
    from plotly.offline import get_plotlyjs

    from fairkd.report.cells import ChapterRenderer

    renderer = ChapterRenderer(notebooks)
    chapters = renderer.chapters()
    scripts = [get_plotlyjs()] * (renderer.figures > 0) + [asset("page.js")]
    return render_page(
        "page.html.j2",
        name=run_folder.name,
        notice=_notice(run_folder),
        chapters=chapters,
        repeated=_repeated([{heading.text for heading in chapter.headings} for chapter in chapters]),
        figures=renderer.figures,
        css=unescaped(asset("page.css")),
        scripts=[unescaped(script) for script in scripts],
        policy=policy(scripts, compiles=bool(renderer.trace_types & _COMPILING_TRACES)),
        **_results(run_folder),
        **_setting(run_folder),
    )


def render_page(template: str, **content: Any) -> str:
    """Fill a page's template; every text is escaped."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(_TEMPLATES),
    )
    environment.filters |= {"signed": signed, "decimals": decimals}
    return environment.get_template(template).render(**content)


def _without_folder(page: str, folder: Path) -> str:
    """Write the output folder by its name alone: a report is handed on, and whose machine made it is no part of it."""
    from markupsafe import escape

    path = folder.resolve()
    # In a command the name alone would be another folder, beside the reader.
    for written in _written(shlex.quote(str(path))):
        page = re.sub(rf" -p output_dir {re.escape(written)}(?![\w.-])", "", page)
    for written in _written(str(path)):
        page = re.sub(
            rf"(?<![\w./\\-]){re.escape(written)}(?![\w.-])", lambda _: str(escape(path.name)), page
        )
    return page


def _written(text: str) -> set[str]:
    """Return a text as the template, the highlighted code and the figures write it."""
    from markupsafe import escape

    return {text, str(escape(text)), html.escape(text, quote=False), json.dumps(text)[1:-1]}


def _repeated(headings: list[set[str]]) -> set[str]:
    """Return the headings that every chapter has ("Parameters", "References"): the contents list omits them."""
    return set.intersection(*headings) if len(headings) > 1 else set()


def unescaped(text: str) -> Any:
    """Mark text as markup that pages take as it is. Only what fairkd wrote itself, plotly.js, and figures as JSON in
    which no ``<`` is left: no text of a run.
    """
    from markupsafe import Markup

    return Markup(text)  # nosec B704


def asset(name: str) -> str:
    """Return a file of the pages' own: style, script."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def policy(scripts: list[str], *, compiles: bool = False) -> str:
    """Return the content security policy: no request at all, no script but ours, known by their hashes."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    sources = " ".join([f"'sha256-{digest}'" for digest in digests] + ["'unsafe-eval'"] * compiles)
    return (
        "default-src 'none'; img-src data: blob:; font-src data:; style-src 'unsafe-inline'; "
        f"script-src {sources}; base-uri 'none'; form-action 'none'"
    )


def _notice(run_folder: Path) -> str:
    """Say what is missing from an unfinished run, or not as the run has written it; or nothing."""
    for name, step in read_status(run_folder).get("steps", {}).items():
        if step.get("state") in ("failed", "interrupted"):
            return f"This run is not finished: {name} {step['state']} ({step.get('error')})"
        for output, recorded in step.get("sha256", {}).items():
            # Not an error: a notebook that is executed by hand writes its results here as well.
            if (run_folder / output).is_file() and file_digest(run_folder / output) != recorded:
                return f"{output} has changed since {name} wrote it"
    return ""


def _results(run_folder: Path) -> dict[str, Any]:
    from fairkd.plots.theme import model_styles

    metrics = read_metrics(run_folder)
    try:
        headline = table(metrics)
        styles = model_styles(headline.models)
        return {
            "findings": [str(finding) for finding in metrics.get("findings", [])],
            "precision": ", ".join(
                dict.fromkeys(str(one) for one in metrics.get("precision", {}).values() if one)
            ),
            "headline": headline,
            "differences": differences(metrics),
            "all_metrics": table(metrics, None),
            "colors": [styles[name].color for name in headline.models],
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{run_folder / METRICS} does not hold what a run writes ({error!r}); delete it to have it made again"
        ) from error


def _setting(run_folder: Path) -> dict[str, Any]:
    """Return how the run was made, from ``experiment.json``; empty for notebooks that were run by hand."""
    path = run_folder / "experiment.json"
    description: dict[str, Any] = read_json(path) if path.is_file() else {}
    values: dict[str, Any] = description.get("parameters", {})
    parameters = [_parameter(name, value) for name, value in values.items()]
    environment: dict[str, Any] = description.get("environment", {})
    versions = {"Python": environment.get("python"), **environment.get("packages", {})}
    return {
        "subtitle": _subtitle(values),
        "several": _several_seeds(values),
        "parameters": parameters,
        "command": description.get("command", ""),
        "data_fingerprint": str(description.get("data_fingerprint", "")),
        "versions": [(name, version or "not installed") for name, version in versions.items() if description],
        "machine": environment.get("platform", ""),
    }


def _several_seeds(values: dict[str, Any]) -> str:
    """Return the command that compares the run's mitigation with plain KD over seeds.

    Empty: there is no mitigation, this version cannot read the parameters, or they name code, which reading a run
    must not execute.
    """
    if values.get("plugin"):
        return ""
    try:
        experiment = Experiment(**values)
    except ParameterError:
        return ""
    if experiment.mitigation == "none":
        return ""
    several = {"run_name": None, "distillers": (), "mitigations": (experiment.mitigation,), "seeds": 5}
    return experiment.replace(**several).command_of("compare")


def _meaning(name: str) -> str:
    """Return a parameter's description as a sentence; one that begins with the methods' names as it is."""
    text = (Experiment.model_fields[name].description or "").replace("`", "")
    return text if re.match(r"[a-z_]+(, [a-z_]+)*: ", text) else capital(text)


def _parameter(name: str, value: Any) -> dict[str, Any]:
    """Return a row of the parameters' table; one that this version does not know counts as changed."""
    if name not in Experiment.model_fields:
        return {"name": name, "value": _shown(value), "default": "", "meaning": "", "changed": True}
    default = Experiment.default(name)
    differs = value != (list(default) if isinstance(default, tuple) else default)
    return {
        "name": name,
        "value": _shown(value),
        "default": _shown(default),
        "meaning": _meaning(name),
        "changed": differs and name not in Experiment.names(["run"]),
    }


def _subtitle(values: dict[str, Any]) -> list[str]:
    names = ("dataset", "teacher", "student", "distiller", "mitigation", "seed")
    if any(name not in values for name in names):
        return []
    dataset, teacher, student, distiller, mitigation, seed = (str(values[name]) for name in names)
    method = distiller if mitigation == "none" else f"{distiller} + {mitigation}"
    return [dataset, f"{teacher} → {student}", method, f"seed {seed}"]


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "none"
    return "–" if value is None else str(value)
