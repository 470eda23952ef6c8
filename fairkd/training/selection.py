"""Which epoch's weights are kept: decided on validation data, and never for a collapsed network."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, Literal

from fairkd.errors import FairkdWarning

Rule = Literal["accuracy", "fairness", "last"]


@dataclass(frozen=True)
class Score:
    """One epoch on the validation split: accuracy and mean recall gap on the scale 0 to 1.

    ``collapsed``: the network predicts at most half of the classes that occur; its small gap means nothing.
    """

    epoch: int
    accuracy: float
    recall_gap: float
    collapsed: bool = False


@dataclass
class Selector:
    """Keeps the weights of every epoch that may still be chosen.

    ``accuracy``: the best accuracy. ``fairness``: the smallest recall gap among epochs whose accuracy is within
    ``tolerance`` of the best. ``last``: the last epoch. Collapsed epochs count only when all are collapsed.
    """

    rule: Rule = "accuracy"
    tolerance: float = 0.01
    candidates: list[tuple[Score, dict[str, Any]]] = field(default_factory=list)

    def offer(self, score: Score, state: dict[str, Any]) -> None:
        """Consider an epoch; ``state`` must not change afterwards."""
        pool = [*self.candidates, (score, state)]
        if any(not s.collapsed for s, _ in pool):
            pool = [item for item in pool if not item[0].collapsed]
        if self.rule == "last":
            self.candidates = pool[-1:]
            return
        best = max(s.accuracy for s, _ in pool)
        # An epoch below the tolerance can never come back, because the best accuracy only rises.
        margin = self.tolerance if self.rule == "fairness" else 0.0
        pool = [item for item in pool if item[0].accuracy >= best - margin]
        self.candidates = [item for item in pool if not any(_dominates(other, item[0]) for other, _ in pool)]

    def chosen(self) -> tuple[Score, dict[str, Any]]:
        """Return the score and the weights of the chosen epoch."""
        # A gap of NaN (no class has two groups) ranks last.
        return min(self.candidates, key=lambda item: (_gap(item[0]), -item[0].accuracy, item[0].epoch))


def warn_of_collapse(name: str, epoch: int) -> None:
    """Warn that of the model ``name`` every epoch collapsed, and that ``epoch``, 0 before any, was kept.

    Raises:
        FairkdWarning: always.
    """
    message = (
        f"{name}: every epoch predicts at most half of the classes; kept epoch {epoch}, whose recall gap says "
        "nothing about fairness. Train longer, or lower the learning rate or adversary_weight"
        if epoch
        else f"{name}: its weights predict at most half of the classes, and its recall gap says nothing about "
        "fairness. Was it trained with these classes in this order, this image size, stem and normalisation?"
    )
    warnings.warn(message, FairkdWarning, stacklevel=3)


def _gap(score: Score) -> float:
    return score.recall_gap if score.recall_gap == score.recall_gap else float("inf")


def _dominates(one: Score, other: Score) -> bool:
    """Whether ``one`` is at least as good in both, and better in one or as good and earlier."""
    a, b = (one.accuracy, -_gap(one), -one.epoch), (other.accuracy, -_gap(other), -other.epoch)
    return a[0] >= b[0] and a[1] >= b[1] and a != b and (a[:2] != b[:2] or a[2] > b[2])
