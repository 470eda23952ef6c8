"""The training loop: one for teachers and students, with validation by group, checkpoints and exact resume."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fairkd.data.batches import Augmentation, BatchStream
from fairkd.data.splits import Splits
from fairkd.errors import TrainingError
from fairkd.inference import predicted_classes
from fairkd.mitigation import Adversary, Mitigation
from fairkd.models import Network
from fairkd.progress import ProgressBar
from fairkd.training.checkpoint import Checkpoint
from fairkd.training.scores import validation_scores
from fairkd.training.selection import Rule, Score, Selector
from fairkd.training.steps import Step


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained; the fields are those of :class:`fairkd.config.Experiment`."""

    epochs: int
    batch_size: int = 64
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_epochs: int = 1
    patience: int = 0
    selection: Rule = "accuracy"
    selection_tolerance: float = 0.01
    augmentation: Augmentation = "none"
    seed: int = 0
    device: str = "cpu"


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Return the share of the peak learning rate: linear warm-up, then a cosine to 0.

    Args:
        progress: share of the training done, [0, 1].
        warmup: share of the training that is warm-up, [0, 1).
    """
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


class Trainer:
    """Trains one network; :meth:`fit` continues from ``folder``'s checkpoint when there is one."""

    def __init__(
        self,
        network: Network,
        step: Step,
        splits: Splits,
        settings: TrainingSettings,
        *,
        mitigation: Mitigation | None = None,
        extra: torch.nn.Module | None = None,
        folder: Path | None = None,
        description: str = "training",
    ) -> None:
        self.network = network.to(settings.device)
        self.step, self.splits, self.settings = step, splits, settings
        self.mitigation = (mitigation or Mitigation()).to(settings.device)
        self.extra = (extra or torch.nn.Module()).to(settings.device)
        self.description = description
        self.stream = BatchStream(
            splits.train,
            settings.batch_size,
            shuffle=True,
            augmentation=settings.augmentation,
            sampling_weights=self.mitigation.sampling_weights(splits.train.labels, splits.train.groups),
            seed=settings.seed,
            device=settings.device,
        )
        self.optimizer = _make_optimizer([self.network, self.extra], settings)
        own = list(self.mitigation.parameters())
        self.mitigation_optimizer = (
            torch.optim.AdamW(own, lr=self.mitigation.learning_rate or settings.learning_rate)
            if own
            else None
        )
        self.selector = Selector(settings.selection, settings.selection_tolerance)
        self.history: list[dict[str, Any]] = []
        self.checkpoint = Checkpoint(folder / "checkpoint.pt", self) if folder else None

    def fit(self) -> pd.DataFrame:
        """Train, load the selected epoch's weights into the network, and return the history.

        Returns:
            One row an epoch: losses, ``validation_accuracy``, ``validation_recall_gap``,
            ``validation_worst_group_accuracy``, ``validation_accuracy[<group>]``, the adversary's balanced
            accuracy, and ``selected``.

        Raises:
            TrainingError: the loss is not finite; names the epoch, the step and the terms.
        """
        first = self.checkpoint.load() if self.checkpoint else 0
        epochs = self.settings.epochs
        if not first:
            torch.manual_seed(self.settings.seed)
        with ProgressBar(self.description, epochs * len(self.stream)) as bar:
            if first:
                bar.update(first * len(self.stream))
            for epoch in range(first, epochs):
                if self._out_of_patience():
                    break
                self.history.append(self._run_epoch(epoch, bar))
                if self.checkpoint:
                    self.checkpoint.save(epoch + 1)
        score, state = self.selector.chosen()
        self.network.load_state_dict(state)
        self.network.eval()
        history = pd.DataFrame(self.history)
        history["selected"] = history["epoch"] == score.epoch
        return history

    def _run_epoch(self, epoch: int, bar: ProgressBar) -> dict[str, Any]:
        started = time.perf_counter()
        row: dict[str, Any] = {"epoch": epoch + 1}
        row |= self._train_epoch(epoch, bar)
        row |= self._validate()
        collapsed = row["validation_classes_predicted"] <= len(np.unique(self.splits.validation.labels)) / 2
        score = Score(row["epoch"], row["validation_accuracy"], row["validation_recall_gap"], collapsed)
        self.selector.offer(score, _copy(self.network.state_dict()))
        row["seconds"] = time.perf_counter() - started
        return row

    def _train_epoch(self, epoch: int, bar: ProgressBar) -> dict[str, Any]:
        self.network.train()
        self.mitigation.train()
        self.extra.train()
        steps, rate, progress = len(self.stream), 0.0, 0.0
        records: list[dict[str, Tensor]] = []
        for number, batch in enumerate(self.stream.epoch(epoch)):
            progress = (epoch + (number + 0.5) / steps) / self.settings.epochs
            rate = self._set_learning_rate(progress)
            outputs = self.network(batch.images)
            losses = self.step(outputs, batch, progress)
            terms = self.mitigation.losses(outputs, batch, progress)
            self._zero_grad()
            self.mitigation.backward(losses["loss"], terms, self.network, progress)
            self.optimizer.step()
            if self.mitigation_optimizer:
                self.mitigation_optimizer.step()
            hits = (outputs.logits.argmax(dim=1) == batch.labels).double().mean()
            records.append({k: v.detach() for k, v in {**losses, **terms, "accuracy": hits}.items()})
            bar.update(epoch=f"{epoch + 1}/{self.settings.epochs}")
        row = self._summarize_epoch(epoch, records)
        if isinstance(self.mitigation, Adversary):
            row["adversary_strength"] = self.mitigation.strength(progress)
        return {"learning_rate": rate, **row}

    def _summarize_epoch(self, epoch: int, records: list[dict[str, Tensor]]) -> dict[str, Any]:
        """Average the epoch's records in one transfer from the device, and refuse losses that are not finite."""
        columns = {name: torch.stack([record[name] for record in records]).cpu() for name in records[0]}
        total = columns["loss"] + columns.get("adversary_loss", torch.zeros(()))
        if not bool(torch.isfinite(total).all()):
            step = int((~torch.isfinite(total)).nonzero()[0])
            terms = ", ".join(f"{k}={v[step].item():.3g}" for k, v in columns.items() if v.ndim == 1)
            raise TrainingError(
                f"{self.description}: the loss is not finite at epoch {epoch + 1}, step {step + 1} ({terms}); "
                "lower learning_rate or adversary_weight"
            )
        row = {f"train_{k}": v.mean().item() for k, v in columns.items() if v.ndim == 1}
        if "adversary_hits" in columns:
            hits, count = columns["adversary_hits"].sum(0), columns["adversary_count"].sum(0)
            # The mean over class x group cells: what the prior of a skewed set cannot buy.
            row["adversary_balanced_accuracy"] = (hits[count > 0] / count[count > 0]).mean().item()
            row["chance"] = 1 / self.splits.num_groups
        return row

    def _validate(self) -> dict[str, Any]:
        data = self.splits.validation
        predicted = predicted_classes(self.network, data.images, device=self.settings.device)
        scores = validation_scores(
            data.labels, data.groups, predicted, self.splits.num_classes, self.splits.group_names
        )
        classes = {"classes_predicted": len(np.unique(predicted))}
        return {f"validation_{name}": value for name, value in {**scores, **classes}.items()}

    def _set_learning_rate(self, progress: float) -> float:
        warmup = min(self.settings.warmup_epochs / self.settings.epochs, 0.5)
        rate = self.settings.learning_rate * learning_rate_factor(progress, warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _zero_grad(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if self.mitigation_optimizer:
            self.mitigation_optimizer.zero_grad(set_to_none=True)

    def _out_of_patience(self) -> bool:
        if not self.settings.patience or not self.history:
            return False
        chosen = self.selector.chosen()[0].epoch
        return len(self.history) - chosen >= self.settings.patience


def _make_optimizer(modules: list[torch.nn.Module], settings: TrainingSettings) -> torch.optim.Optimizer:
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    # Biases and normalisation are not decayed, as in timm.
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
