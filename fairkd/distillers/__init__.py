"""Distillers: named losses that compare a student's outputs with its teacher's, alone or summed.

``"kd"``, ``"kd+rkd"``, ``"kd+0.5*rkd"``: each term has its reference weight relative to the cross-entropy, times
the factor in front of it.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pandas as pd
from torch import nn

from fairkd.config import suggest
from fairkd.distillers.base import Context, Distiller, Term
from fairkd.distillers.features import NST, Attention, Hint, NormDirection
from fairkd.distillers.logits import CTKD, DIST, DKD, KD, StandardizedKD
from fairkd.distillers.relations import MFD, PKT, RKD, Similarity
from fairkd.distillers.several import CoAdvise, Ensemble
from fairkd.errors import ParameterError
from fairkd.plugin import check_maker, make_own, register

__all__ = [
    "Context",
    "Distiller",
    "DistillerEntry",
    "Term",
    "check_distiller",
    "create_distiller",
    "distiller_entries",
    "distiller_options",
    "list_distillers",
    "register_distiller",
]

#: The defaults of ``distill_weight`` and ``task_weight`` are KD's usual 0.9 and 0.1.
KD_RATIO = 9.0
_TERM = re.compile(r"\s*(?:([0-9.eE+-]+)\s*\*)?\s*([A-Za-z_]\w*)\s*")


@dataclass(frozen=True)
class DistillerEntry:
    """What ``list_distillers`` says of a distiller.

    ``reference_weight``: the loss's weight over that of the cross-entropy, in the paper's code or in Tian et al. 2020.
    ``options``: the parameters that it reads; no other parameter of the scope changes its result. ``kind``: makes its
    term. ``code``: the hash of the text of what a user registered; empty for fairkd's own.
    """

    name: str
    compares: str
    description: str
    source: str
    reference_weight: float
    options: tuple[str, ...]
    kind: Callable[[Context], Term] | None
    code: str = ""

    @property
    def weight(self) -> float:
        """The term's factor, so that the default task and distill weights give the reference's proportion."""
        return self.reference_weight / KD_RATIO

    def make(self, context: Context) -> Term:
        """Make its term; what a user registered draws its first weights from the seed and reads what it has named.

        Raises:
            ParameterError: it makes something else, or reads another parameter.
        """
        assert self.kind is not None
        if not self.code:
            return self.kind(context)
        return make_own(self.kind, context, f"distiller {self.name!r}", self.options, Term)

    @property
    def url(self) -> str:
        """Where its source is, which may be given as the number at arXiv."""
        arxiv = re.fullmatch(r"\d{4}\.\d{4,5}", self.source)
        return f"https://arxiv.org/abs/{self.source}" if arxiv else self.source

    @property
    def several_teachers(self) -> bool:
        """Whether it learns from ``co_teachers`` too."""
        return isinstance(self.kind, type) and issubclass(self.kind, CoAdvise | Ensemble)


_SOFT = ("temperature", "logit_standardization", "teacher_calibration")
_FROM = ("distill_from",)
_ENTRIES = (
    DistillerEntry("none", "nothing", "labels alone, the teacher is not used", "", 0.0, (), None),
    DistillerEntry("kd", "logits", "softened class probabilities", "1503.02531", 9.0, _SOFT, KD),
    DistillerEntry(
        "dkd", "logits", "target and other classes apart", "2203.08679", 1.0, (*_SOFT, "dkd_beta"), DKD
    ),
    DistillerEntry(
        "dist", "logits", "correlations within samples and within classes", "2205.10536", 1.0, _SOFT, DIST
    ),
    DistillerEntry(
        "logit_standardization",
        "logits",
        "kd on z-scored logits",
        "2403.01427",
        90.0,
        ("temperature",),
        StandardizedKD,
    ),
    DistillerEntry(
        "ctkd", "logits", "kd at a temperature learned against it", "2211.16231", 9.0, _SOFT, CTKD
    ),
    DistillerEntry("hint", "features", "regression of the features", "1412.6550", 100.0, _FROM, Hint),
    DistillerEntry("attention", "maps", "where the network is active", "1612.03928", 1000.0, (), Attention),
    DistillerEntry(
        "rkd", "relations", "distances and angles between samples", "1904.05068", 25.0, _FROM, RKD
    ),
    DistillerEntry(
        "similarity", "relations", "similarities between samples", "1907.09682", 3000.0, _FROM, Similarity
    ),
    DistillerEntry(
        "pkt", "relations", "similarity distributions between samples", "1803.10837", 30000.0, _FROM, PKT
    ),
    DistillerEntry("nst", "maps", "activation patterns of the channels", "1707.01219", 50.0, (), NST),
    DistillerEntry(
        "norm_direction",
        "features",
        "kd, and norm and direction of the features",
        "2305.17007",
        9.0,
        _SOFT,
        NormDirection,
    ),
    DistillerEntry(
        "mfd", "features", "each group's features to the teacher's of the class", "2106.04411", 3.0, (), MFD
    ),
    DistillerEntry(
        "co_advise",
        "logits",
        "one head for each of several teachers",
        "2106.12378",
        1.0,
        ("co_teachers", "teacher_calibration"),
        CoAdvise,
    ),
    DistillerEntry(
        "ensemble",
        "logits",
        "kd from several teachers, weighed alike or sample by sample",
        "2201.00007",
        9.0,
        (*_SOFT, "co_teachers", "ensemble_weights"),
        Ensemble,
    ),
)
_BY_NAME = {entry.name: entry for entry in _ENTRIES}


_Make = TypeVar("_Make", bound=Callable[[Context], Term])


def register_distiller(
    name: str,
    *,
    compares: str = "logits",
    description: str = "a distiller of one's own",
    source: str = "",
    reference_weight: float = KD_RATIO,
    options: Sequence[str] = (),
) -> Callable[[_Make], _Make]:
    """Make a distiller of your own known by name, alone or in a sum, everywhere that names one.

    Args:
        name: of letters, digits and _.
        compares: what of the two networks, for instance ``"logits"`` or ``"features"``.
        description: half a sentence for notebooks and reports.
        source: an address, or the number at arXiv.
        reference_weight: the loss's weight over that of the cross-entropy; KD's is 9.
        options: the parameters that it reads from ``context.options``; others do not make another model.

    Returns:
        A decorator for a class, or a function, that makes a :class:`Term` of a :class:`Context`.

    Raises:
        ParameterError: the name is taken, an option is no parameter of distillation, or the weight is negative.

    Example:
        >>> @register_distiller("l1", description="absolute distance of the logits")
        ... class L1(Term):
        ...     def forward(self, student, teachers, batch, progress, reduction="mean"):
        ...         losses = (student.logits - teachers[0].logits).abs().mean(dim=1)
        ...         return losses if reduction == "none" else losses.mean()
    """
    # A container of terms has attributes that no term can be called by.
    taken = [entry.name for entry in _ENTRIES] + dir(nn.ModuleDict())
    file = sys._getframe(1).f_code.co_filename
    code = register("distiller", name, options, taken, undo=lambda: _BY_NAME.pop(name, None), file=file)
    if not 0 <= reference_weight < math.inf:
        raise ParameterError(f"reference_weight={reference_weight!r} of {name!r}: a number of at least 0")

    def add(make: _Make) -> _Make:
        check_maker(make, Term, f"distiller {name!r}")
        _BY_NAME[name] = DistillerEntry(
            name, compares, description, source, reference_weight, (*options,), make, code
        )
        return make

    return add


def list_distillers() -> pd.DataFrame:
    """Return one row a distiller: ``name, compares, description, source, reference_weight, options``."""
    return pd.DataFrame(
        [
            {
                "name": entry.name,
                "compares": entry.compares,
                "description": entry.description,
                "source": entry.url,
                "reference_weight": entry.reference_weight,
                "options": ", ".join(entry.options),
            }
            for entry in _BY_NAME.values()
        ]
    )


def distiller_entries(spec: str) -> list[tuple[float, DistillerEntry]]:
    """Return the factors and entries of a distiller such as ``"kd+0.5*rkd"``.

    Raises:
        ParameterError: it cannot be read, names an unknown or repeated term, or has a negative factor.
    """
    found: list[tuple[float, DistillerEntry]] = []
    # The plus of 1e+3*kd belongs to its number; a name may end in e as well.
    for part in re.split(r"(?<![0-9.][eE])\+", spec):
        match = _TERM.fullmatch(part)
        if match is None:
            raise ParameterError(
                f"distiller={spec!r} cannot be read at {part!r}: write names joined by '+', with a factor if "
                "need be, for example kd+0.5*rkd"
            )
        found.append((_factor(match[1], spec), _entry(match[2], spec)))
    names = [entry.name for _, entry in found]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ParameterError(f"distiller={spec!r} names {repeated[0]!r} more than once; give it one factor")
    if "none" in names and len(names) > 1:
        raise ParameterError(f"distiller={spec!r}: 'none' cannot be summed with others")
    return found


def check_distiller(
    spec: str,
    *,
    logit_standardization: bool,
    teacher_calibration: str,
    ensemble_weights: str,
    co_teachers: tuple[str, ...],
) -> None:
    """Raise unless the distiller exists and its options make sense with it; they are ``Experiment``'s.

    Raises:
        ParameterError: an unknown name, or options that this distiller does not use or lacks.
    """
    entries = [entry for _, entry in distiller_entries(spec)]
    if logit_standardization and not any("logit_standardization" in entry.options for entry in entries):
        users = [entry.name for entry in _BY_NAME.values() if "logit_standardization" in entry.options]
        raise ParameterError(
            f"logit_standardization=True has no effect on distiller={spec!r}: it acts on {', '.join(users)}"
        )
    if teacher_calibration != "none" and not any(
        _is_calibrated(entry, logit_standardization, ensemble_weights) for entry in entries
    ):
        raise ParameterError(
            f"teacher_calibration={teacher_calibration!r} has no effect on distiller={spec!r}, which does not "
            "read the size of the teacher's logits"
        )
    several = [entry.name for entry in entries if entry.several_teachers]
    if several and not co_teachers:
        raise ParameterError(f"distiller={several[0]!r} needs at least one network more in co_teachers")
    if len(several) > 1:
        raise ParameterError(f"distiller={spec!r}: {' and '.join(several)} cannot be summed; choose one")


def distiller_options(spec: str) -> set[str]:
    """Return the names of the parameters that the distiller reads."""
    return {option for _, entry in distiller_entries(spec) for option in entry.options}


def create_distiller(spec: str, context: Context) -> Distiller:
    """Make a distiller by name.

    Raises:
        ParameterError: see :func:`distiller_entries`.
    """
    terms = {
        entry.name: (factor * entry.weight, entry.make(context))
        for factor, entry in distiller_entries(spec)
        if entry.kind is not None
    }
    return Distiller(terms)


def _is_calibrated(entry: DistillerEntry, standardized: bool, ensemble_weights: str) -> bool:
    """Whether dividing the teacher's logits changes the loss: standardising undoes it, but not in the weights."""
    undone = standardized and "logit_standardization" in entry.options
    weighs = "ensemble_weights" in entry.options and ensemble_weights == "confidence"
    return "teacher_calibration" in entry.options and (weighs or not undone)


def _entry(name: str, spec: str) -> DistillerEntry:
    if name not in _BY_NAME:
        raise ParameterError(
            f"distiller={spec!r}: {name!r} is unknown: {suggest(name, _BY_NAME)}allowed: {', '.join(_BY_NAME)}, and "
            "what the file named in plugin registers"
        )
    return _BY_NAME[name]


def _factor(text: str | None, spec: str) -> float:
    try:
        factor = 1.0 if text is None else float(text)
    except ValueError:
        factor = -1.0
    if not 0 <= factor < math.inf:
        raise ParameterError(
            f"distiller={spec!r}: the factor {text!r} is not allowed: a number of at least 0"
        )
    return factor
