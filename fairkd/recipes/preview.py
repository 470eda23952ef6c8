"""What a weight or a temperature would do, in a fraction of a second: a small head on frozen features."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fairkd.config import Experiment
from fairkd.data.batches import Batch
from fairkd.data.splits import ImageSet, Splits
from fairkd.errors import ParameterError
from fairkd.inference import outputs_of
from fairkd.losses import kd_loss
from fairkd.mitigation import Mitigation, mitigation_entry
from fairkd.models import Outputs
from fairkd.recipes import setup
from fairkd.recipes.kept import TrainedModel
from fairkd.recipes.setup import load_splits
from fairkd.training import one_training
from fairkd.training.scores import validation_scores

#: Training images whose features are kept: enough for a head, and a bound on the first second.
_MOST_IMAGES = 4000
# Chosen on seeds 0 to 4 of the default data; benchmarks/preview.py measures on others.
_HIDDEN, _STEPS, _BATCH, _LEARNING_RATE = 64, 80, 256, 5e-3


class _Cached(NamedTuple):
    """``features (n, dim)`` standardised, ``labels`` and ``groups (n,)``."""

    features: Tensor
    labels: Tensor
    groups: Tensor

    def batch(self, rows: Tensor) -> Batch:
        return Batch(self.features[rows], self.labels[rows], self.groups[rows], rows)


class HeadPreview:
    """Distils a two-layer head instead of a student; everything below it is computed once and kept.

    The head learns from the labels and from the teacher's logits, as plain KD does, and against the experiment's
    adversary, which reads the head's hidden layer. It cannot change the features below it, so read its order of
    the weights, not its numbers.

    Args:
        experiment: the mitigation, its options and the losses' weights; a distiller other than KD is previewed as
            KD.
        teacher: its logits on the training images, without augmentation, are the soft labels.
        student: a trained plain student, whose pooled features are frozen.
        splits: the data; default: what the experiment names. At most 4,000 training images are used.

    Raises:
        ParameterError: the mitigation is no adversary with a weight.
    """

    def __init__(
        self,
        experiment: Experiment,
        teacher: TrainedModel,
        student: TrainedModel,
        splits: Splits | None = None,
    ) -> None:
        if not mitigation_entry(experiment.mitigation).can_be_previewed:
            raise ParameterError(
                f"mitigation={experiment.mitigation!r} is no adversary with a weight to preview; those are: "
                "gradient_reversal, projection, laftr, uniform_confusion, recall_gap_critic"
            )
        self.experiment, self.splits = experiment, splits or load_splits(experiment)
        rng, train = np.random.default_rng(experiment.seed), self.splits.train
        kept = np.sort(rng.permutation(len(train))[:_MOST_IMAGES])
        images = train.subset(kept)
        self._train = _cache(student, images)
        self._validation = _cache(student, self.splits.validation)
        mean, scale = self._train.features.mean(dim=0), self._train.features.std(dim=0) + 1e-6
        self._train = self._train._replace(features=(self._train.features - mean) / scale)
        self._validation = self._validation._replace(features=(self._validation.features - mean) / scale)
        self._soft_labels = torch.from_numpy(outputs_of(teacher.model, images.images).logits)
        self._counts = setup.training_counts(self.splits)

    def scores(self, temperature: float, adversary_weight: float) -> dict[str, float]:
        """Train a head and return its scores on the validation split; the same values give the same head.

        Returns:
            ``accuracy``, ``recall_gap``, ``worst_group_accuracy``, ``accuracy[<group>]`` and, for an adversary that
            predicts the group, its ``adversary_balanced_accuracy`` over the cells of class and group.

        Raises:
            ParameterError: a value out of its range.
            TrainingError: a training is going on in this process.
        """
        experiment = self.experiment.replace(temperature=temperature, adversary_weight=adversary_weight)
        # Making a mitigation seeds the generators that a training in another thread would be drawing from.
        with one_training():
            mitigation = setup.make_mitigation(experiment, "student", *self._counts, feature_size=_HIDDEN)
            head = _Head(self._train.features.shape[1], self.splits.num_classes, experiment.seed)
        with _one_thread():
            self._fit(head, mitigation, experiment)
            return self._evaluate(head, mitigation)

    def _fit(self, head: _Head, mitigation: Mitigation, experiment: Experiment) -> None:
        optimizer = torch.optim.AdamW(head.parameters(), lr=_LEARNING_RATE, fused=True)
        own = list(mitigation.parameters())
        adversary = torch.optim.AdamW(own, lr=_LEARNING_RATE, fused=True) if own else None
        generator = torch.Generator().manual_seed(experiment.seed)
        size = min(_BATCH, len(self._train.labels))
        for step in range(_STEPS):
            rows = torch.randint(len(self._train.labels), (size,), generator=generator)
            batch, progress = self._train.batch(rows), (step + 0.5) / _STEPS
            outputs = head(batch.images)
            task = experiment.task_weight * mitigation.task_loss(outputs, batch)
            soft = kd_loss(outputs.logits, self._soft_labels[rows], temperature=experiment.temperature)
            terms = mitigation.losses(outputs, batch, progress)
            optimizer.zero_grad()
            if adversary:
                adversary.zero_grad()
            mitigation.backward(task + experiment.distill_weight * soft, terms, head, progress)
            optimizer.step()
            if adversary:
                adversary.step()

    def _evaluate(self, head: _Head, mitigation: Mitigation) -> dict[str, float]:
        data = self._validation
        outputs = head(data.features)
        predicted = outputs.logits.argmax(dim=1).numpy()
        scores = validation_scores(
            data.labels.numpy(),
            data.groups.numpy(),
            predicted,
            self.splits.num_classes,
            self.splits.group_names,
        )
        terms = mitigation.losses(outputs, data.batch(torch.arange(len(data.labels))), 1.0)
        if "adversary_hits" in terms:
            hits, count = terms["adversary_hits"], terms["adversary_count"]
            scores["adversary_balanced_accuracy"] = (hits[count > 0] / count[count > 0]).mean().item()
        return scores


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices this small are slower on several threads, and far slower where other work keeps one of them waiting."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Head(nn.Module):
    """Two layers whose hidden units stand for a student's features."""

    def __init__(self, dim: int, num_classes: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.hidden, self.classifier = nn.Linear(dim, _HIDDEN), nn.Linear(_HIDDEN, num_classes)

    def forward(self, features: Tensor) -> Outputs:
        hidden = torch.relu(self.hidden(features))
        logits = self.classifier(hidden)
        return Outputs(logits, hidden, hidden[:, :, None, None], logits)


def _cache(model: TrainedModel, images: ImageSet) -> _Cached:
    features = outputs_of(model.model, images.images).features
    return _Cached(*(torch.from_numpy(one) for one in (features, images.labels, images.groups)))
