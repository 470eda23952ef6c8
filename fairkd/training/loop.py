"""The training loop: one for teachers and students, with validation by group, checkpoints and exact resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fairkd.data.batches import AugmentedImages, Batch, BatchStream
from fairkd.data.splits import Splits
from fairkd.errors import TrainingError
from fairkd.inference import predicted_classes
from fairkd.mitigation import Adversary, Mitigation
from fairkd.models import Network, Outputs
from fairkd.progress import ProgressBar
from fairkd.training.checkpoint import Checkpoint
from fairkd.training.optimizer import learning_rate_factor, make_optimizer
from fairkd.training.precision import Precision, autocast
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
    augmentation: str = "none"
    seed: int = 0
    device: str = "cpu"
    precision: Precision = "float32"
    compile: bool = False
    micro_batch: int | None = None
    ema_decay: float = 0.0


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
        images: AugmentedImages | None = None,
        folder: Path | None = None,
        description: str = "training",
    ) -> None:
        self.network = network.to(settings.device)
        self.step, self.splits, self.settings = step, splits, settings
        self.mitigation = (mitigation or Mitigation()).to(settings.device)
        self.extra = (extra or torch.nn.Module()).to(settings.device)
        self.description = description
        self.stream = BatchStream(
            images or training_images(splits, settings),
            settings.batch_size,
            shuffle=True,
            sampling_weights=self.mitigation.sampling_weights(splits.train.labels, splits.train.groups),
            seed=settings.seed,
        )
        self.optimizer = make_optimizer(
            settings.optimizer,
            [self.network, self.extra],
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        own = list(self.mitigation.parameters())
        self.mitigation_optimizer = (
            torch.optim.AdamW(own, lr=self.mitigation.learning_rate or settings.learning_rate)
            if own
            else None
        )
        self.forward: Callable[[Tensor], Outputs] = _compiled(network) if settings.compile else network
        self.averaged = _averaged(network, settings.ema_decay) if settings.ema_decay else None
        device = torch.device(settings.device).type
        self.scaler = torch.amp.GradScaler(device, enabled=settings.precision == "float16")
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
        self.selector.offer(score, _copy(self._evaluated.state_dict()))
        row["seconds"] = time.perf_counter() - started
        return row

    def _train_epoch(self, epoch: int, bar: ProgressBar) -> dict[str, Any]:
        self.network.train()
        self.mitigation.train()
        self.extra.train()
        steps, rate, progress = len(self.stream), 0.0, 0.0
        records: list[dict[str, Tensor]] = []
        numbers: list[int] = []
        for number, batch in enumerate(self.stream.epoch(epoch)):
            progress = (epoch + (number + 0.5) / steps) / self.settings.epochs
            rate = self._set_learning_rate(progress)
            records += self._backward(batch, progress)
            numbers += [number + 1] * (len(records) - len(numbers))
            self._update()
            bar.update(epoch=f"{epoch + 1}/{self.settings.epochs}")
        row = self._summarize_epoch(epoch, records, numbers)
        if isinstance(self.mitigation, Adversary):
            row["adversary_strength"] = self.mitigation.strength(progress)
        return {"learning_rate": rate, **row}

    def _backward(self, batch: Batch, progress: float) -> list[dict[str, Tensor]]:
        """Compute the gradients of a batch; in parts they are averaged, as if each part were a step's batch."""
        parts = batch.split(self.settings.micro_batch or len(batch.labels))
        records: list[dict[str, Tensor]] = []
        sums: dict[Tensor, Tensor] = {}
        for part in parts:
            self._zero_grad()
            records.append(self._backward_part(part, progress))
            if len(parts) > 1:
                shares = {p: p.grad / len(parts) for p in self._parameters() if p.grad is not None}
                sums |= {p: sums[p] + share if p in sums else share for p, share in shares.items()}
        for parameter, gradient in sums.items():
            parameter.grad = gradient
        return records

    def _backward_part(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Leave the gradients of a batch in place and return what is logged, on the device."""
        with autocast(batch.images.device, self.settings.precision):
            computed = self.forward(batch.images)
        outputs = Outputs(*(self._outside_autocast(one) for one in computed))
        losses = self.step(outputs, batch, progress)
        terms = self.mitigation.losses(outputs, batch, progress)
        self.mitigation.backward(losses["loss"], terms, self.network, progress)
        accuracy = (outputs.logits.argmax(dim=1) == batch.labels).float().mean()
        return {k: v.detach() for k, v in {**losses, **terms, "accuracy": accuracy}.items()}

    def _outside_autocast(self, output: Tensor) -> Tensor:
        """Return an output in float32; gradients that go back into float16 are enlarged, or they would vanish."""
        if not self.scaler.is_enabled():
            return output.float()
        scale = self.scaler.scale(torch.ones((), device=output.device))
        # A tensor of its own: the network may use the output as well, and its part is enlarged already.
        output = output.float().clone()
        output.register_hook(lambda gradient: gradient * scale)
        return output

    def _update(self) -> None:
        if self.scaler.is_enabled():
            # The scaler divides all gradients of its optimiser, but only the network's were enlarged.
            scale = self.scaler.scale(torch.ones((), device=self.settings.device))
            for parameter in self.extra.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(scale)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.mitigation_optimizer:
            self.mitigation_optimizer.step()
        if self.averaged:
            self.averaged.update_parameters(self.network)

    def _parameters(self) -> Iterator[torch.nn.Parameter]:
        for module in (self.network, self.extra, self.mitigation):
            yield from module.parameters()

    @property
    def _evaluated(self) -> Network:
        """The network that is validated and kept: the trained one, or its moving average."""
        return cast(Network, self.averaged.module) if self.averaged else self.network

    def _summarize_epoch(
        self, epoch: int, records: list[dict[str, Tensor]], steps: list[int]
    ) -> dict[str, Any]:
        """Average the records in one transfer from the device, and refuse losses that are not finite.

        ``steps``: the number of the step that each record is of.
        """
        columns = {name: torch.stack([record[name] for record in records]).cpu() for name in records[0]}
        total = columns["loss"] + columns.get("adversary_loss", torch.zeros(()))
        if not bool(torch.isfinite(total).all()):
            first = int((~torch.isfinite(total)).nonzero()[0])
            terms = ", ".join(f"{k}={v[first].item():.3g}" for k, v in columns.items() if v.ndim == 1)
            raise TrainingError(
                f"{self.description}: the loss is not finite at epoch {epoch + 1}, step {steps[first]} ({terms}); "
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
        predicted = predicted_classes(self._evaluated, data.images, device=self.settings.device)
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


def training_images(splits: Splits, settings: TrainingSettings) -> AugmentedImages:
    """Return the training images as a training with these settings sees them."""
    return AugmentedImages(
        splits.train,
        augmentation=settings.augmentation,
        seed=settings.seed,
        device=settings.device,
        fingerprint=splits.fingerprint,
    )


def _averaged(network: Network, decay: float) -> AveragedModel:
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def _compiled(network: Network) -> Callable[[Tensor], Outputs]:
    import torch._functorch.config as functorch

    # Gradient projection runs backward twice through the same graph.
    functorch.donated_buffer = False
    return torch.compile(network)


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
