"""The pages of the methods say what the registries and the parameters say, for every method."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

import fairkd
from fairkd.arguments import join_pairs, read_experiment
from fairkd.config import Experiment
from fairkd.distillers import list_distillers
from fairkd.mitigation import list_mitigations
from fairkd.recipes import check_methods

ROOT = Path(__file__).parents[1]
METHODS = ROOT / "docs" / "methods"
PAGES = {
    "distiller": ("logits", "features", "relations", "several_teachers", "teacher_options"),
    "mitigation": ("adversaries", "weighting", "domains"),
}
REGISTRIES = {"distiller": list_distillers(), "mitigation": list_mitigations()}
ALL = [(kind, name) for kind, table in REGISTRIES.items() for name in table["name"]]
PARTS = ("Source", "Reads", "Needs", "When", "Not when", "Ours", "Cost")


def read(page: str) -> str:
    return (METHODS / f"{page}.md").read_text(encoding="utf-8")


def sections(page: str) -> dict[str, str]:
    """The page's ``## `name` `` sections."""
    found = re.findall(r"^## `(\w+)`$\n([\s\S]*?)(?=^## |\Z)", read(page), flags=re.MULTILINE)
    return dict(found)


def section(kind: str, name: str) -> str:
    (found,) = (sections(page)[name] for page in PAGES[kind] if name in sections(page))
    return found


def part(kind: str, name: str, title: str) -> str:
    """The text of a section's list item, on one line."""
    (found,) = re.findall(rf"^- \*\*{title}\*\*: (.*(?:\n  .*)*)", section(kind, name), flags=re.MULTILINE)
    return " ".join(found.split())


def row(kind: str, name: str) -> dict:
    table = REGISTRIES[kind].set_index("name")
    return table.loc[name].to_dict()


def shown(value: object) -> str:
    if isinstance(value, tuple):
        return json.dumps(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("kind", PAGES)
def test_every_name_has_one_heading_and_no_heading_names_anything_else(kind):
    written = [name for page in PAGES[kind] for name in re.findall(r"^## `(\w+)`$", read(page), re.MULTILINE)]
    assert sorted(written) == sorted(REGISTRIES[kind]["name"])


def test_the_index_has_one_row_a_name_that_leads_to_its_heading():
    rows = re.findall(r"^\| \[`(\w+)`\]\((\w+)\.md#(\w+)\) \| (\w+) \|", read("README"), flags=re.MULTILINE)
    assert sorted((kind, name) for name, _, _, kind in rows) == sorted(ALL)
    for name, page, anchor, kind in rows:
        assert page in PAGES[kind] and name in sections(page) and anchor == name
    assert {path.stem for path in METHODS.glob("*.md")} == {
        "README",
        *PAGES["distiller"],
        *PAGES["mitigation"],
    }


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_section_has_a_formula_all_parts_and_its_source(kind, name):
    for title in PARTS:
        assert part(kind, name, title), title
    if (kind, name) != ("mitigation", "none"):
        assert re.search(r"```math\n.+\n```", section(kind, name))
    assert row(kind, name)["source"] in section(kind, name)


@pytest.mark.parametrize("name", REGISTRIES["distiller"]["name"])
def test_the_own_weight_is_the_registry_s(name):
    assert float(part("distiller", name, "Own weight")) == row("distiller", name)["reference_weight"]


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_the_parameters_are_the_registry_s_with_their_defaults_and_ranges(kind, name):
    reads = part(kind, name, "Reads")
    options = [option for option in row(kind, name)["options"].split(", ") if option]
    # They belong to every distiller and stand in the index.
    named = {word for word in re.findall(r"`(\w+)`", reads) if word in Experiment.names()}
    assert named - {"task_weight", "distill_weight"} == set(options)
    for option in options:
        text = reads[reads.index(f"`{option}`") :].split(";")[0]
        assert text.startswith(f"`{option}` {shown(Experiment.default(option))}"), text
        for limits in re.findall(
            r"[\[(][\d.]+, [\d.]+[\])]", Experiment.model_fields[option].description or ""
        ):
            assert limits in text, f"{option} lacks {limits}"


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_the_example_s_two_forms_are_the_same_experiment_and_can_run(kind, name):
    (command,) = re.findall(r"```sh\n(.*)\n```", section(kind, name))
    (code,) = re.findall(r"```python\n([\s\S]*?)```", section(kind, name))
    words = shlex.split(command)
    assert words[:2] == ["fairkd", "run"]
    from_command = read_experiment([word for word in join_pairs(words[2:]) if word != "-p"], None)
    check_methods(from_command)
    assert name in re.split(r"\W+", getattr(from_command, kind))
    first, second = code.splitlines()
    in_python = eval(first.removeprefix("experiment = "), {"fairkd": fairkd})
    # The command trains the student with and without mitigation, the library one student.
    expected = from_command.replace(mitigation="none") if kind == "distiller" else from_command
    assert in_python == expected
    assert second == "student = fairkd.distill_student(experiment, fairkd.train_teacher(experiment))"


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_the_cost_is_the_measured_one(kind, name):
    record = json.loads((ROOT / "docs" / "results" / "method_cost.json").read_text(encoding="utf-8"))
    rows = {(one["distiller"], one["mitigation"]): one for one in record["rows"]}
    (cost,) = re.findall(r"<!-- cost:start -->(.+?)<!-- cost:end -->", section(kind, name))
    measured = rows[(name, "none") if kind == "distiller" else ("kd", name)]
    if (kind, name) == ("distiller", "none"):
        assert cost.startswith(f"{measured['seconds']:.2f} s per 1,000 images")
    else:
        assert (
            f"{measured['ratio']:.2f} times ({measured['ratio_low']:.2f} to {measured['ratio_high']:.2f})"
            in cost
        )


@pytest.mark.parametrize("path", sorted(METHODS.glob("*.md")), ids=lambda path: path.stem)
def test_links_lead_to_files_and_headings(path):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        linked = (path.parent / target).resolve() if target else path
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked.read_text(encoding="utf-8")), f"{target}#{anchor}"


def test_the_words_are_careful():
    for path in METHODS.glob("*.md"):
        text = path.read_text(encoding="utf-8").replace('"Adversarial debiasing" by name', "")
        assert not re.search(r"debias|unbiased|state of the art|powerful", text, flags=re.IGNORECASE), (
            path.name
        )
