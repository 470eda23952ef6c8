"""Parameters that were set and that no chosen method reads: whatever their value, the models are the same."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

from fairkd.config import Experiment
from fairkd.distillers import list_distillers
from fairkd.errors import FairkdWarning, ParameterError
from fairkd.mitigation import list_mitigations
from fairkd.recipes.setup import distillation_values, mitigation_values

#: By parameter, the one that names the method that reads it or does not.
_CHOICES = {
    **dict.fromkeys(Experiment.names(["distillation"]), "distiller"),
    **dict.fromkeys(Experiment.names(["mitigation"]), "mitigation"),
    "teacher_adversary_weight": "teacher_mitigation",
}


def warn_of_unread(experiment: Experiment, settings: Sequence[Experiment] = ()) -> None:
    """Warn of changed parameters that the methods do not read.

    Args:
        experiment: whose parameters were changed.
        settings: what is trained with them; default: the experiment itself.

    Warns:
        FairkdWarning: names the parameter, and the methods that would read it.
    """
    settings, changed = settings or (experiment,), experiment.changed()
    for name in _unread(changed, settings):
        trained = "teacher" if _CHOICES[name] == "teacher_mitigation" else "student"
        warnings.warn(
            f"{name}={changed[name]!r} has no effect on the {trained}: {_explained(name, settings)}",
            FairkdWarning,
            stacklevel=3,
        )


def check_swept(names: Iterable[str], settings: Sequence[Experiment]) -> None:
    """Raise where no setting of a sweep reads what it varies.

    Raises:
        ParameterError: names the parameter, and the methods that would read it.
    """
    for name in _unread(names, settings):
        raise ParameterError(f"--param {name} would vary nothing: {_explained(name, settings)}")


def _unread(names: Iterable[str], settings: Iterable[Experiment]) -> list[str]:
    read = {name for one in settings for name in _read(one)}
    return [name for name in names if name in _CHOICES and name not in read]


def _read(experiment: Experiment) -> set[str]:
    teacher = set(mitigation_values(experiment, "teacher"))
    if "adversary_weight" in teacher:
        teacher = teacher - {"adversary_weight"} | {"teacher_adversary_weight"}
    student = {"distiller", "mitigation", *mitigation_values(experiment, "student")}
    return student | teacher | set(distillation_values(experiment))


def _explained(name: str, settings: Sequence[Experiment]) -> str:
    choice = _CHOICES[name]
    table = list_distillers() if choice == "distiller" else list_mitigations()
    option = name.removeprefix("teacher_") if choice == "teacher_mitigation" else name
    readers = table["name"][[option in options.split(", ") for options in table["options"]]]
    chosen = ", ".join(dict.fromkeys(getattr(one, choice) for one in settings))
    # What scales or stores the distillation loss is no option of one distiller.
    return f"{choice}={chosen} does not read it, but {', '.join(readers) or 'every distiller but none'}"
