"""A finished run's models, found by what the run folder says; nothing is trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from fairkd.config import Experiment, suggest
from fairkd.data.splits import Splits
from fairkd.errors import ArtifactError, DataError, ParameterError
from fairkd.heads import fold_heads
from fairkd.models import Network
from fairkd.own_networks import own_network
from fairkd.recipes import ROLES, Role, TrainedModel, setup
from fairkd.recipes.kept import read_kept
from fairkd.run_state import read_status
from fairkd.store import ARTIFACTS, ArtifactFolder, read_json

_POINTERS = ("teacher.json", "students.json")


def load_run(folder: Path | str, plugin: Path | str | None = None) -> Experiment:
    """Return the experiment of a run folder, wherever the folder has been moved to with its artefacts.

    Args:
        folder: ``outputs/<run>``.
        plugin: the run's plugin, where its models need it. The one that the folder names is not run: who looks at
            somebody's run does not run their code.

    Raises:
        ArtifactError: there is no such run, or its description is damaged.
        ParameterError: its parameters are not those of this version.
    """
    folder = Path(folder)
    if not (folder / "experiment.json").is_file():
        raise ArtifactError(f"{folder} is no run: it has no experiment.json; `fairkd run` makes one")
    description = read_json(folder / "experiment.json")
    if not isinstance(description, dict) or not isinstance(description.get("parameters"), dict):
        raise ArtifactError(f"{folder / 'experiment.json'} holds no parameters; repeat the run with --force")
    here = {"run_name": folder.name, "output_dir": str(folder.absolute().parent), "plugin": plugin}
    return Experiment(**{**description["parameters"], **here})


def check_role(name: str) -> Role:
    """Return ``name`` if a run has such a model.

    Raises:
        ParameterError: names those that there are.
    """
    for role in get_args(Role):
        if role == name:
            return role  # type: ignore[no-any-return]
    raise ParameterError(f"model={name!r} is unknown: {suggest(name, ROLES)}allowed: {', '.join(ROLES)}")


def load_trained(experiment: Experiment, name: str, splits: Splits) -> TrainedModel:
    """Return one of the models that a run has trained.

    Args:
        experiment: the run's (:func:`load_run`).
        name: ``teacher``, ``student_scratch``, ``student_kd`` or ``student_fair``.
        splits: the run's data.

    Raises:
        ParameterError: no such model.
        ArtifactError: the run has not trained it yet, or its files are damaged.
        DataError: the data have changed since it was trained.
    """
    role = check_role(name)
    folder = _artifact(experiment, role)
    config = folder.check()
    if config["determined_by"].get("data") != splits.fingerprint:
        raise DataError(
            f"{splits.name} is not what {name} of {experiment.run} was trained on: the fingerprint is "
            f"{splits.fingerprint}, then it was {config['determined_by'].get('data')}; repeat the run"
        )
    part: setup.Part = "teacher" if role == "teacher" else "student"
    if config["determined_by"].get("network") != own_network(getattr(experiment, part)):
        raise ArtifactError(
            f"the code of {getattr(experiment, part)} is not what {name} of {experiment.run} was trained with; repeat "
            "the run, or bring that code back"
        )
    network = _network(experiment, role, splits)
    try:
        return read_kept(folder.path, network)
    except RuntimeError as error:
        raise ArtifactError(
            f"{folder.path} does not hold the {name} of {experiment.run}; repeat the run"
        ) from error


def _artifact(experiment: Experiment, role: Role) -> ArtifactFolder:
    pointers: dict[str, Any] = {}
    for name in _POINTERS:
        if (experiment.run_folder / name).is_file():
            pointers |= read_json(experiment.run_folder / name)
    if role not in pointers:
        state = read_status(experiment.run_folder).get("state", "not finished")
        if role == "student_fair" and experiment.mitigation == "none":
            raise ArtifactError(
                f"run {experiment.run!r} has no mitigation, and so no student_fair: its student is student_kd"
            )
        if state == "finished":
            raise ArtifactError(f"run {experiment.run!r} holds no {role}: only runs of `fairkd run` have one")
        raise ArtifactError(
            f"run {experiment.run!r} has no {role} yet (it is {state}); `{experiment.command}` goes on with it"
        )
    path = experiment.output_path / ARTIFACTS / Path(str(pointers[role]["artifact"])).name
    if not (path / "config.json").is_file():
        raise ArtifactError(
            f"{path}, the {role} of run {experiment.run!r}, is gone; `{experiment.command}` makes it"
        )
    determined = read_json(path / "config.json").get("determined_by")
    found = ArtifactFolder(experiment.output_path, role.split("_")[0], determined)
    if found.path != path:
        raise ArtifactError(
            f"{path} is damaged: config.json is of {found.path.name}; delete it and repeat the run"
        )
    return found


def _network(experiment: Experiment, role: Role, splits: Splits) -> Network:
    """Return the untrained network in the shape that training left it in."""
    part: setup.Part = "teacher" if role == "teacher" else "student"
    # The stored weights replace those that it started from, which need not be there any more.
    plain = experiment.replace(**{f"{part}_pretrained": False, f"{part}_weights": None})
    network = setup.make_network(plain, part, splits)
    if role in ("teacher", "student_fair"):
        size = int(setup.dry_outputs(network, splits).features.shape[1])
        counts = setup.training_counts(splits)
        setup.make_mitigation(experiment, part, *counts, feature_size=size).prepare(network)
    fold_heads(network)
    return network
