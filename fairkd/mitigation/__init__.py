"""Mitigations that act during training; ``create_mitigation`` makes one by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import pandas as pd

from fairkd.config import suggest
from fairkd.errors import ParameterError
from fairkd.mitigation.adversary import (
    Adversary,
    GradientProjection,
    GradientReversal,
    project_gradient,
    ramp,
    reverse_gradient,
)
from fairkd.mitigation.base import Mitigation, Setup, balanced_weights, cell_counts
from fairkd.mitigation.domains import DomainDiscriminative, DomainIndependent
from fairkd.mitigation.laftr import Laftr
from fairkd.mitigation.recall_gap_critic import PublishedCritic, RecallGapCritic
from fairkd.mitigation.uniform_confusion import UniformConfusion
from fairkd.mitigation.weighting import ClassWeighted, GroupDRO, Resampling, Reweighting
from fairkd.plugin import check_maker, make_own, register

__all__ = [
    "Adversary",
    "ClassWeighted",
    "DomainDiscriminative",
    "DomainIndependent",
    "GradientProjection",
    "GradientReversal",
    "GroupDRO",
    "Laftr",
    "Mitigation",
    "PublishedCritic",
    "RecallGapCritic",
    "Resampling",
    "Reweighting",
    "Setup",
    "UniformConfusion",
    "balanced_weights",
    "cell_counts",
    "check_groups",
    "create_mitigation",
    "list_mitigations",
    "mitigation_entry",
    "project_gradient",
    "ramp",
    "register_mitigation",
    "reverse_gradient",
]


@dataclass(frozen=True)
class MitigationEntry:
    """What ``list_mitigations`` says of a mitigation, and the function that makes it.

    ``options`` are the parameters that it reads; no other parameter of the scope changes its result. ``code``:
    the hash of the text of what a user registered; empty for fairkd's own.
    """

    name: str
    family: str
    description: str
    source: str
    options: tuple[str, ...]
    make: Callable[[Setup], Mitigation]
    adds_heads: bool = False
    code: str = ""

    @property
    def can_be_previewed(self) -> bool:
        """Whether it is an adversary of fairkd's with a weight; what else a weight scales, no preview shows."""
        return self.family == "adversary" and "adversary_weight" in self.options and not self.code


_CRITIC = ("adversary_weight", "adversary_learning_rate", "adversary_hidden")
_ADVERSARY = ("adversary_input", "adversary_sees_label", "adversary_penalty", *_CRITIC)


def _adversary(kind: type[Adversary]) -> Callable[[Setup], Mitigation]:
    def make(setup: Setup) -> Mitigation:
        options = setup.options
        reads = options["adversary_input"]
        return kind(
            setup.feature_size if reads == "features" else setup.num_classes,
            setup.num_classes,
            setup.num_groups,
            reads=reads,
            sees_label=options["adversary_sees_label"],
            weight=options["adversary_weight"],
            cell_weights=balanced_weights(setup.cell_counts) if options.get("adversary_balanced") else None,
            penalty=options["adversary_penalty"],
            hidden=options["adversary_hidden"],
            learning_rate=options["adversary_learning_rate"],
            seed=setup.seed,
        )

    return make


def _critic(setup: Setup) -> Mitigation:
    options = setup.options
    kind = PublishedCritic if options["critic_published"] else RecallGapCritic
    return kind(
        setup.num_classes,
        setup.num_groups,
        weight=options["adversary_weight"],
        hidden=options["adversary_hidden"],
        learning_rate=options["adversary_learning_rate"],
        seed=setup.seed,
    )


_ENTRIES = (
    MitigationEntry("none", "", "train as usual", "", (), lambda setup: Mitigation()),
    MitigationEntry(
        "gradient_reversal",
        "adversary",
        "an adversary predicts the group; the student receives its gradient reversed",
        "https://arxiv.org/abs/1505.07818",
        (*_ADVERSARY, "adversary_balanced"),
        _adversary(GradientReversal),
    ),
    MitigationEntry(
        "projection",
        "adversary",
        "an adversary predicts the group; its direction is removed from the student's gradient",
        "https://arxiv.org/abs/1801.07593",
        (*_ADVERSARY, "adversary_balanced"),
        _adversary(GradientProjection),
    ),
    MitigationEntry(
        "uniform_confusion",
        "adversary",
        "the student is pushed to make the adversary's prediction uniform",
        "https://arxiv.org/abs/1510.02192",
        (*_ADVERSARY, "adversary_balanced"),
        _adversary(UniformConfusion),
    ),
    MitigationEntry(
        "laftr",
        "adversary",
        "gradient reversal with a loss that counts every group alike in the batch",
        "https://arxiv.org/abs/1802.06309",
        _ADVERSARY,
        _adversary(Laftr),
    ),
    MitigationEntry(
        "recall_gap_critic",
        "adversary",
        "a critic predicts the batch's recall gaps; the student makes its prediction smaller",
        "https://lindseyejbang.wixsite.com/fairlearnkd",
        (*_CRITIC, "critic_published"),
        _critic,
    ),
    MitigationEntry(
        "reweighting",
        "weighting",
        "each sample's loss counts 1 / n(class, group)",
        "https://doi.org/10.1007/s10115-011-0463-8",
        (),
        lambda setup: Reweighting(setup.cell_counts),
    ),
    MitigationEntry(
        "resampling",
        "weighting",
        "each sample is drawn in proportion to 1 / n(class, group)",
        "https://doi.org/10.1007/s10115-011-0463-8",
        (),
        lambda setup: Resampling(setup.num_classes, setup.num_groups),
    ),
    MitigationEntry(
        "class_weighted",
        "weighting",
        "the cross-entropy counts 1 / n(class); groups are not read",
        "",
        (),
        lambda setup: ClassWeighted(
            setup.cell_counts.sum(dim=1) if setup.class_counts is None else setup.class_counts
        ),
    ),
    MitigationEntry(
        "group_dro",
        "weighting",
        "the worst class x group cell counts most, by exponentiated weights",
        "https://arxiv.org/abs/1911.08731",
        ("dro_step_size",),
        lambda setup: GroupDRO(setup.num_classes, setup.num_groups, step_size=setup.options["dro_step_size"]),
    ),
    MitigationEntry(
        "domain_independent",
        "domain",
        "one class head a group in training, their mean at inference",
        "https://arxiv.org/abs/1911.11834",
        (),
        lambda setup: DomainIndependent(setup.num_groups),
        adds_heads=True,
    ),
    MitigationEntry(
        "domain_discriminative",
        "domain",
        "one softmax over class x group in training, summed with a shifted prior at inference",
        "https://arxiv.org/abs/1911.11834",
        (),
        lambda setup: DomainDiscriminative(setup.cell_counts),
        adds_heads=True,
    ),
)
_BY_NAME = {entry.name: entry for entry in _ENTRIES}
#: Families that leave a training as it is where all samples are of one group.
_COMPARES_GROUPS = ("adversary", "domain")


_Make = TypeVar("_Make", bound=Callable[[Setup], Mitigation])


def register_mitigation(
    name: str,
    *,
    family: Literal["adversary", "weighting", "domain", "own"] = "own",
    description: str = "a mitigation of one's own",
    source: str = "",
    options: Sequence[str] = (),
    adds_heads: bool = False,
) -> Callable[[_Make], _Make]:
    """Make a mitigation of your own known by name, everywhere that names one.

    Args:
        name: of letters, digits and _.
        family: ``"adversary"`` and ``"domain"`` are refused where the data have one group.
        description: half a sentence for notebooks and reports.
        source: an address, for notebooks and reports.
        options: the parameters that it reads from ``setup.options``, which holds no others.
        adds_heads: whether its ``prepare`` gives the network further heads.

    Returns:
        A decorator for a class, or a function, that makes a :class:`Mitigation` of a :class:`Setup`.

    Raises:
        ParameterError: the name cannot be had, or an option is no parameter of a mitigation.

    Example:
        >>> @register_mitigation("half", description="counts every sample half")
        ... class Half(Mitigation):
        ...     def task_loss(self, outputs, batch, **options):
        ...         return 0.5 * super().task_loss(outputs, batch, **options)
    """
    taken = [entry.name for entry in _ENTRIES]
    file = sys._getframe(1).f_code.co_filename
    code = register("mitigation", name, options, taken, undo=lambda: _BY_NAME.pop(name, None), file=file)

    def add(make: _Make) -> _Make:
        check_maker(make, Mitigation, f"mitigation {name!r}")
        _BY_NAME[name] = MitigationEntry(
            name, family, description, source, (*options,), make, adds_heads, code
        )
        return make

    return add


def list_mitigations() -> pd.DataFrame:
    """Return one row a mitigation: ``name, family, description, source, options``."""
    columns = ("name", "family", "description", "source", "options")
    return pd.DataFrame([{c: getattr(entry, c) for c in columns} for entry in _BY_NAME.values()]).assign(
        options=[", ".join(entry.options) for entry in _BY_NAME.values()]
    )


def mitigation_entry(name: str, parameter: str = "mitigation") -> MitigationEntry:
    """Return what is known of a mitigation by name.

    Raises:
        ParameterError: ``name`` is not a mitigation; ``parameter`` is the one that gave it.
    """
    if name not in _BY_NAME:
        raise ParameterError(
            f"{parameter}={name!r} is unknown: {suggest(name, _BY_NAME)}allowed: {', '.join(_BY_NAME)}, and what the "
            "file named in plugin registers"
        )
    return _BY_NAME[name]


def create_mitigation(name: str, setup: Setup) -> Mitigation:
    """Make a mitigation by name; what a user registered draws its first weights from the seed.

    Raises:
        ParameterError: an unknown name, what the mitigation cannot do with these data, or a user's that makes something
            else, or reads a parameter that it has not named.
    """
    entry = mitigation_entry(name)
    if not entry.code:
        return entry.make(setup)
    made = make_own(entry.make, setup, f"mitigation {name!r}", entry.options, Mitigation)
    if type(made).reduce is not Mitigation.reduce and not made.weighs_samples:
        raise ParameterError(
            f"mitigation {name!r}: its reduce is never called; set weighs_samples = True in {type(made).__name__}"
        )
    return made


def check_groups(name: str, num_groups: int, parameter: str = "mitigation") -> None:
    """Raise unless there are groups for the mitigation to tell apart.

    Raises:
        ParameterError: ``name`` changes nothing where there is one group; ``parameter`` is the one that gave it.
    """
    if num_groups < 2 and mitigation_entry(name, parameter).family in _COMPARES_GROUPS:
        others = ", ".join(one.name for one in _BY_NAME.values() if one.family not in _COMPARES_GROUPS)
        raise ParameterError(
            f"{parameter}={name!r} tells groups apart, and these data have one: name the attribute with group, inject "
            f"one with bias, or choose another {parameter} ({others})"
        )
