"""``Distiller``: a weighted sum of terms, each of which compares a student's outputs with its teachers'."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from fairkd.data.batches import Batch
from fairkd.losses import Reduction
from fairkd.losses._common import check_loss
from fairkd.models import Network, Outputs


@dataclass(frozen=True)
class Context:
    """What the terms of a distiller are made from.

    ``student`` and ``teachers``: the outputs of a dry forward pass, for their shapes. ``class_means``: makes the
    first teacher's mean features ``(classes, dim)`` over the training set, for the one term that needs them.
    ``options``: the parameters of scope ``distillation``, see :class:`fairkd.config.Experiment`; for a distiller of the
    user's those that it has named.
    """

    student: Outputs
    teachers: tuple[Outputs, ...]
    num_classes: int
    num_groups: int
    class_means: Callable[[], Tensor]
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


class Term(nn.Module):
    """One distillation loss with the projector that it needs, which trains with the student."""

    #: The fields of the teachers' :class:`~fairkd.models.Outputs` that are read.
    teacher_reads: tuple[str, ...] = ("logits",)

    def __init__(self, context: Context) -> None:
        super().__init__()

    def prepare(self, network: Network) -> None:
        """Change the student before it is trained."""

    def forward(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        batch: Batch,
        progress: float,
        reduction: Reduction = "mean",
    ) -> Tensor:
        """Return the loss.

        Args:
            student: what the student computed for the batch.
            teachers: what each teacher computed for it.
            batch: with labels and groups.
            progress: share of the training done, [0, 1].
            reduction: ``"none"`` asks for one value a sample ``(batch,)``; a loss that has none, because it
                compares samples with each other, is a scalar all the same.
        """
        raise NotImplementedError


class Distiller(nn.Module):
    """The sum of ``weight × term``.

    Args:
        terms: name -> (weight, term).
    """

    def __init__(self, terms: Mapping[str, tuple[float, Term]]) -> None:
        super().__init__()
        self.weights = {name: weight for name, (weight, _) in terms.items()}
        self.terms = nn.ModuleDict({name: term for name, (_, term) in terms.items()})

    @property
    def teacher_reads(self) -> set[str]:
        """The fields of the teachers' outputs that the terms read."""
        return {name for term in self.terms.values() for name in cast(Term, term).teacher_reads}

    def prepare(self, network: Network) -> None:
        """Change the student before it is trained."""
        for term in self.terms.values():
            term.prepare(network)  # type: ignore[operator]

    def task_outputs(self, student: Outputs) -> Outputs:
        """Return what the labels teach: the student's outputs, or those of one of its heads."""
        for term in self.terms.values():
            if hasattr(term, "task_outputs"):
                return term.task_outputs(student)  # type: ignore[operator, no-any-return]
        return student

    def forward(
        self,
        student: Outputs,
        teachers: Sequence[Outputs],
        batch: Batch,
        progress: float,
        reduction: Reduction = "mean",
    ) -> dict[str, Tensor]:
        """Return ``distill_loss`` and, of several terms, each one's ``<name>_loss`` before it is weighed.

        With ``reduction="none"`` the loss is ``(batch,)`` where a term is, else a scalar; ``batch_loss`` is then what
        terms without a value a sample have added to it.

        Raises:
            ParameterError: a term returned something else.
        """
        losses = {
            name: term(student, teachers, batch, progress, reduction) for name, term in self.terms.items()
        }
        for name, loss in losses.items():
            check_loss(loss, f"distiller {name!r}", len(batch.labels), reduction, whole=True)
        weighed = [self.weights[name] * loss for name, loss in losses.items()]
        total = sum(weighed, torch.zeros((), device=student.logits.device))
        parts = {f"{name}_loss": loss for name, loss in losses.items()} if len(losses) > 1 else {}
        if reduction == "none":
            parts["batch_loss"] = sum(
                (loss for loss in weighed if not loss.ndim), torch.zeros_like(total.mean())
            )
        return {"distill_loss": total, **parts}


def warm_up(progress: float, share: float) -> float:
    """Return the linear ramp from 0 to 1 over the first ``share`` of the training."""
    return min(progress / share, 1.0)


def projector(inputs: int, outputs: int, seed: int) -> nn.Module:
    """Return a linear map for features, with seeded weights, or the identity where the sizes agree."""
    if inputs == outputs:
        return nn.Identity()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(inputs, outputs)
