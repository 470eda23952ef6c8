"""The training loop: one for teachers and students, with validation by group, checkpoints and exact resume."""

from __future__ import annotations

import functools
import itertools
import math
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fairkd.data.batches import AugmentedImages, Batch, BatchStream
from fairkd.data.splits import Splits
from fairkd.errors import ParameterError, TrainingError
from fairkd.inference import predicted_classes
from fairkd.mitigation import Adversary, Mitigation
from fairkd.models import Network, Outputs
from fairkd.progress import ProgressBar
from fairkd.training.checkpoint import Checkpoint
from fairkd.training.control import TrainingControl
from fairkd.training.devices import current_devices
from fairkd.training.memory import SMALLEST_PART, StepState, describe_shortage, is_out_of_memory
from fairkd.training.optimizer import learning_rate_factor, make_optimizer
from fairkd.training.precision import autocast
from fairkd.training.records import summarize_records
from fairkd.training.scores import validation_scores
from fairkd.training.selection import Score, Selector, warn_of_collapse
from fairkd.training.settings import TrainingSettings, training_images
from fairkd.training.steps import Step


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
        control: TrainingControl | None = None,
        description: str = "training",
    ) -> None:
        self.network = network.to(settings.device)
        self.step, self.splits, self.settings = step, splits, settings
        self.devices = current_devices()
        if self.devices.several and (settings.compile or settings.micro_batch == "auto"):
            raise ParameterError("several processes train without compile=True and micro_batch='auto'")
        self.devices.sum_gradients(self.network)
        self.mitigation = (mitigation or Mitigation()).to(settings.device)
        self.extra = (extra or torch.nn.Module()).to(settings.device)
        self.description, self.control = description, control or TrainingControl()
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
        #: Of the unfinished epoch: the records, and the number of the step that each is of, counted from 1.
        self.partial: tuple[list[dict[str, Tensor]], list[int]] = ([], [])
        chosen = settings.micro_batch
        #: Images computed at once; with ``micro_batch="auto"`` it shrinks to what fits into memory.
        self.part = settings.batch_size if chosen in (None, "auto") else cast(int, chosen)
        self.checkpoint = Checkpoint(folder, self) if folder else None

    def fit(self) -> pd.DataFrame:
        """Train, load the selected epoch's weights into the network, and return the history.

        Returns:
            One row an epoch: losses, ``validation_accuracy``, ``validation_recall_gap``,
            ``validation_worst_group_accuracy``, ``validation_accuracy[<group>]``, the adversary's balanced
            accuracy, ``selected``, and ``changes`` where the control changed settings. Without epochs, the
            validation scores of the weights as they are, as epoch 0.

        Raises:
            StoppedError: the control says so; a checkpoint is written.
            TrainingError: the loss or the weights are not finite, or a step does not fit into memory; names the
                epoch and the step.
            FairkdWarning: every epoch predicts at most half of the classes.
        """
        first = self.checkpoint.load() if self.checkpoint else 0
        epochs = self.settings.epochs
        if not first and not self.partial[0]:
            torch.manual_seed(self.settings.seed)
        with ProgressBar(self.description, epochs * len(self.stream)) as bar:
            bar.update(first * len(self.stream))
            for epoch in range(first, epochs):
                if self._out_of_patience():
                    break
                self.history.append(self._run_epoch(epoch, bar))
                if self.checkpoint and self.devices.rank == 0:
                    self.checkpoint.save(epoch + 1)
        if not epochs:
            self.history.append(self._scored({"epoch": 0, "train_loss": math.nan}, time.perf_counter()))
        score, state = self.selector.chosen()
        if score.collapsed:
            warn_of_collapse(self.description, score.epoch)
        self.network.load_state_dict(state)
        self.network.eval()
        history = pd.DataFrame(self.history)
        history["selected"] = history["epoch"] == score.epoch
        return history

    def _run_epoch(self, epoch: int, bar: ProgressBar) -> dict[str, Any]:
        started = time.perf_counter()
        row: dict[str, Any] = {"epoch": epoch + 1}
        row |= self._train_epoch(epoch, bar)
        return self._scored(row, started)

    def _scored(self, row: dict[str, Any], started: float) -> dict[str, Any]:
        """Return an epoch's row with its validation scores, and offer the weights to the selector."""
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
        steps, (records, numbers) = len(self.stream), self.partial
        done = numbers[-1] if numbers else 0
        bar.update(done)
        for number, batch in enumerate(itertools.islice(self.stream.epoch(epoch), done, None), done):
            self.control.before_step(self, epoch, number)
            progress = (epoch + (number + 0.5) / steps) / self.settings.epochs
            self._set_learning_rate(progress)
            records += self._backward(batch, progress)
            numbers += [number + 1] * (len(records) - len(numbers))
            self._update()
            bar.update(epoch=f"{epoch + 1}/{self.settings.epochs}")
        row = self._epoch_so_far(epoch)
        self.partial = ([], [])
        return row

    def history_so_far(self, epoch: int) -> list[dict[str, Any]]:
        """Return a row for each finished epoch, and one without validation for the steps of ``epoch``, from 0.

        Raises:
            TrainingError: as :meth:`fit`.
        """
        done = self.partial[1]
        rows = [{"epoch": epoch + done[-1] / len(self.stream), **self._epoch_so_far(epoch)}] if done else []
        return [*self.history, *rows]

    def _epoch_so_far(self, epoch: int) -> dict[str, Any]:
        records, numbers = self.partial
        row: dict[str, Any] = {"learning_rate": self.optimizer.param_groups[0]["lr"]}
        row |= summarize_records(
            records, numbers, self._modules, description=self.description, epoch=epoch + 1
        )
        if "adversary_balanced_accuracy" in row:
            row["chance"] = 1 / self.splits.num_groups
        if self.settings.micro_batch == "auto":
            row["micro_batch"] = self.part
        if isinstance(self.mitigation, Adversary):
            progress = (epoch + (numbers[-1] - 0.5) / len(self.stream)) / self.settings.epochs
            row["adversary_strength"] = self.mitigation.strength(progress)
        return row | self.control.logged(epoch, len(self.stream))

    def _backward(self, batch: Batch, progress: float) -> list[dict[str, Tensor]]:
        """Compute the gradients of a batch; where they do not fit into memory, again in parts of half the size."""
        while True:
            adapts = self.settings.micro_batch == "auto" and min(self.part, len(batch.labels)) > SMALLEST_PART
            before = StepState(self._modules, self.settings.device) if adapts else None
            try:
                return self._backward_in_parts(batch, progress)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._zero_grad()
                if before is None:
                    # The error's frames hold what the failed attempt computed; the estimate needs the room.
                    traceback.clear_frames(error.__traceback__)
                    several = self.devices.several
                    shortage = describe_shortage(self.network, batch.images, self.part, several=several)
                    raise TrainingError(f"{self.description}: {shortage}") from error
            # Not in the handler: until it ends, the error holds what the failed attempt computed.
            before.restore()
            self.part = max(SMALLEST_PART, -(-min(self.part, len(batch.labels)) // 2))

    def _backward_in_parts(self, batch: Batch, progress: float) -> list[dict[str, Tensor]]:
        """Each part is computed as if it were a step's batch; the gradients are averaged over the images."""
        parts = batch.split(self.part)
        records: list[dict[str, Tensor]] = []
        sums: dict[Tensor, Tensor] = {}
        for part in parts:
            self._zero_grad()
            records.append(self._backward_part(part, progress))
            if len(parts) > 1:
                share = len(part.labels) / len(batch.labels)
                shares = {p: p.grad * share for p in self._parameters() if p.grad is not None}
                sums |= {p: sums[p] + share if p in sums else share for p, share in shares.items()}
        for parameter, gradient in sums.items():
            parameter.grad = gradient
        return records

    def _backward_part(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Leave the gradients of a batch in place and return what is logged, on the device."""
        with autocast(batch.images.device, self.settings.precision):
            computed = self.devices.forward(self.forward, batch.images)
        own, size = (self._outside_autocast(one) for one in computed), len(batch.labels)
        outputs = Outputs(*(self.devices.gather(one, size) for one in own))
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
        for module in self._modules:
            yield from module.parameters()

    @property
    def _modules(self) -> tuple[torch.nn.Module, ...]:
        return self.network, self.extra, self.mitigation

    @property
    def _evaluated(self) -> Network:
        """The network that is validated and kept: the trained one, or its moving average."""
        return cast(Network, self.averaged.module) if self.averaged else self.network

    def _validate(self) -> dict[str, Any]:
        data = self.splits.validation
        classify = functools.partial(predicted_classes, self._evaluated, device=self.settings.device)
        predicted = self.devices.predictions(classify, data.images)
        scores = validation_scores(
            data.labels, data.groups, predicted, self.splits.num_classes, self.splits.group_names
        )
        classes = {"classes_predicted": len(np.unique(predicted))}
        return {f"validation_{name}": value for name, value in {**scores, **classes}.items()}

    def _set_learning_rate(self, progress: float) -> None:
        warmup = min(self.settings.warmup_epochs / self.settings.epochs, 0.5)
        rate = self.settings.learning_rate * learning_rate_factor(progress, warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _zero_grad(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if self.mitigation_optimizer:
            self.mitigation_optimizer.zero_grad(set_to_none=True)

    def _out_of_patience(self) -> bool:
        if not self.settings.patience or not self.history:
            return False
        chosen = self.selector.chosen()[0].epoch
        return len(self.history) - chosen >= self.settings.patience


def _averaged(network: Network, decay: float) -> AveragedModel:
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def _compiled(network: Network) -> Callable[[Tensor], Outputs]:
    import torch._functorch.config as functorch

    # Gradient projection runs backward twice through the same graph.
    functorch.donated_buffer = False
    return torch.compile(network)


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
