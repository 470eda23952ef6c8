"""What the steps of an epoch have recorded: averaged into one row, and refused where it is not finite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from fairkd.errors import TrainingError


def summarize_records(
    records: Sequence[dict[str, Tensor]],
    steps: Sequence[int],
    modules: Iterable[nn.Module],
    *,
    description: str,
    epoch: int,
) -> dict[str, float]:
    """Average the records of an epoch in one transfer from the device.

    Args:
        records: named tensors, a dict a step or part of one; scalars are averaged.
        steps: the number of the step that each record is of.
        modules: what was trained; losses are of the weights *before* a step, so that a last step that ruins
            them shows here alone.
        description: what is trained, for messages.
        epoch: counted from 1, for messages.

    Raises:
        TrainingError: a loss or a weight is not finite; names the step and the terms.
    """
    columns = {name: torch.stack([record[name] for record in records]).cpu() for name in records[0]}
    terms = {name: column for name, column in columns.items() if column.ndim == 1}
    total = columns["loss"] + columns.get("adversary_loss", torch.zeros(()))
    if not bool(torch.isfinite(total).all()):
        first = int((~torch.isfinite(total)).nonzero()[0])
        place = f"at epoch {epoch}, step {steps[first]}"
        raise _stop(f"{description}: the loss is not finite {place}", terms, first)
    if not _finite_weights(modules):
        place = f"after epoch {epoch}, step {steps[-1]}"
        raise _stop(f"{description}: the weights are not finite {place}", terms, -1)
    row = {f"train_{name}": column.mean().item() for name, column in terms.items()}
    if "adversary_hits" in columns:
        hits, count = (columns[f"adversary_{name}"].double().sum(0) for name in ("hits", "count"))
        # The mean over class x group cells: what the prior of a skewed set cannot buy.
        row["adversary_balanced_accuracy"] = (hits[count > 0] / count[count > 0]).mean().item()
    return row


def _finite_weights(modules: Iterable[nn.Module]) -> bool:
    parameters = [parameter for module in modules for parameter in module.parameters()]
    return bool(torch.stack([parameter.isfinite().all() for parameter in parameters]).all())


def _stop(what: str, terms: dict[str, Tensor], record: int) -> TrainingError:
    shown = ", ".join(f"{name}={column[record].item():.3g}" for name, column in terms.items())
    adversary = ", adversary_learning_rate or adversary_weight" if "adversary_loss" in terms else ""
    return TrainingError(f"{what} ({shown}); lower learning_rate{adversary}")
