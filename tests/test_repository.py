"""What the repository promises about itself: one list of dependencies, no machine's traces, a true surface."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import tomllib
import types
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import fairkd

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: Extras whose packages are large and platform-bound; their ranges are in pyproject.toml alone.
NOT_PINNED = {"sweep", "all"}
PICTURES = {".gif", ".jpeg", ".jpg", ".png", ".svg", ".webp"}
DATA = {
    *(".arrow", ".bmp", ".bz2", ".csv", ".feather", ".gz", ".h5", ".html", ".ico", ".mp4", ".npy", ".npz"),
    *(".onnx", ".parquet", ".pdf", ".pickle", ".pkl", ".pt", ".pth", ".safetensors", ".sqlite", ".tar"),
    *(".tif", ".tiff", ".tsv", ".whl", ".xz", ".zip"),
}
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def committed() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


# Dependencies


def requirements(extra: str | None = None) -> list[Requirement]:
    """Direct dependencies, without those on fairkd's own extras."""
    lines = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    return [one for one in map(Requirement, lines) if one.name != "fairkd"]


def constraints() -> dict[str, Version]:
    pins: dict[str, Version] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line.strip())
            assert match, f"a line is to be name==version, without a local version: {line!r}"
            name = canonicalize_name(match[1])
            assert name not in pins, f"{name} is pinned twice"
            pins[name] = Version(match[2])
    return pins


@pytest.mark.parametrize("extra", [None, *sorted(set(PROJECT["optional-dependencies"]) - NOT_PINNED)])
def test_constraints_cover_every_direct_dependency_with_a_version_in_its_range(extra):
    pins = constraints()
    for one in requirements(extra):
        name = canonicalize_name(one.name)
        assert name in pins, f"constraints.txt lacks {name}"
        assert one.specifier.contains(pins[name]), f"{name}=={pins[name]} is outside {one.specifier}"


@pytest.mark.parametrize("extra", sorted(NOT_PINNED - {"all"}))
def test_a_pin_that_need_not_be_there_is_in_its_range_too(extra):
    pins = constraints()
    for one in requirements(extra):
        pin = pins.get(canonicalize_name(one.name))
        assert pin is None or one.specifier.contains(pin), f"{one.name}=={pin} is outside {one.specifier}"


def test_the_extra_all_names_every_other_extra():
    (one,) = map(Requirement, PROJECT["optional-dependencies"]["all"])
    assert one.name == "fairkd" and one.extras | {"all"} == set(PROJECT["optional-dependencies"])


def test_the_conda_environment_is_python_pip_and_the_package_itself():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, packages = environment["dependencies"]
    assert environment["name"] == "fairkd" and environment["channels"] == ["conda-forge"]
    assert python.startswith("python")
    assert SpecifierSet(python.removeprefix("python")) == SpecifierSet(PROJECT["requires-python"])
    assert pip == "pip" and packages == {"pip": ["-c constraints.txt", "-e .[all]"]}


# The surface


def test_the_version_is_written_once_in_two_places():
    assert fairkd.__version__ == PROJECT["version"]


@pytest.mark.parametrize("name", fairkd.__all__)
def test_every_public_name_can_be_used(name):
    value = getattr(fairkd, name)
    assert name in dir(fairkd)
    if name in fairkd._MODULES:
        assert value is importlib.import_module(f"fairkd.{name}")
    elif name != "__version__":
        assert callable(value) and not isinstance(value, types.ModuleType)
        assert value.__name__ == name and (value.__doc__ or "").strip()


def test_a_name_that_is_not_public_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'train_everything'"):
        _ = fairkd.train_everything


def test_type_checkers_see_the_same_names_as_users():
    tree = ast.parse((ROOT / "fairkd" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        seen |= {alias.name: str(node.module) for alias in node.names}
    declared = {name: f"fairkd.{home}" for name, home in fairkd._HOMES.items()}
    assert seen == declared | dict.fromkeys(fairkd._MODULES, "fairkd")


# What is committed

# Each pattern is written so that this file does not match it.
TRACES = {
    "a package registry": r"pyp[i]\.org|pythonhoste[d]\.org|anacond[a]\.(?:org|com)|download\.pytorc[h]\.org",
    "a registry's option": r"index[-_]ur[l]|find[-_]link[s]|trusted[-_]hos[t]",
    "a private registry": r"artifactor[y]|nexus[.]|devp[i][.]",
    "a path of one machine": r"(?<![\w./])/(?:wor[k]|roo[t]|hom[e]/(?!me/)\w+|User[s]/\w+)/\w",
}


@pytest.mark.parametrize("what", TRACES)
def test_committed_files_hold_no_trace_of_a_machine_or_registry(committed, what):
    pattern = re.compile(TRACES[what])
    found = []
    for path in committed:
        if path.suffix not in PICTURES:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                if pattern.search(line):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a package registry", "https://pyp" + "i.org/simple"),
        ("a registry's option", "--extra-index-" + "url https://example.org"),
        ("a path of one machine", "cd /hom" + "e/someone/fairkd"),
        ("a path of one machine", "open('/roo" + "t/data')"),
    ],
)
def test_the_patterns_find_what_they_are_for(what, text):
    assert re.search(TRACES[what], text)


def test_no_data_are_committed_and_pictures_only_for_the_documentation(committed):
    for path in committed:
        name = path.relative_to(ROOT)
        sample = name.as_posix() == "docs/sample_report.html"
        assert sample or path.suffix.lower() not in DATA, f"{name} is a data file"
        assert path.suffix.lower() not in PICTURES or name.parts[0] == "docs", f"{name} is not in docs/"
        most = 6 if sample else 1
        assert path.stat().st_size < most * MEGABYTE, f"{name} is larger than {most} MB"


def test_links_between_documents_lead_to_committed_files(committed):
    names = {path.relative_to(ROOT).as_posix() for path in committed}
    folders = {parent.as_posix() for name in names for parent in Path(name).parents}
    lost = []
    for path in (one for one in committed if one.suffix == ".md"):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", target):
                linked = (path.parent / target).resolve()
                inside = linked.is_relative_to(ROOT) and linked.relative_to(ROOT).as_posix()
                if inside not in names | folders:
                    lost.append(f"{path.relative_to(ROOT)}: {target}")
    assert lost == []


def test_continuous_integration_runs_the_readme_s_own_commands():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111, "it is to be executable"
    lines = script.read_text(encoding="utf-8").splitlines()
    assert "make lint" in lines and "make test" in lines
