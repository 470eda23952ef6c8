"""What fairkd is compared with, each written as its own users would write it, with its fastest settings.

- :func:`bare_epoch`: a plain PyTorch loop over tensors in memory, without augmentation, logging or any framework;
- :class:`Torchdistill`: knowledge distillation by torchdistill's ``DistillationBox``, fed by a ``DataLoader`` with
  torchvision's v2 transforms;
- :func:`loader`: that data pipeline alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms import v2

from fairkd.models import Network
from fairkd.training import Precision
from fairkd.training.precision import autocast


class Plain(nn.Module):
    """A timm backbone alone: normalised images to logits, as a peer uses it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.backbone = network.backbone

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone(images)


class Images(Dataset):
    """Images in memory ``(n, 3, height, width)`` uint8 with labels, one transformed sample at a time."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Any) -> None:
        self.images, self.labels, self.transform = images, labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(self.images[row]), self.labels[row]


def transforms(
    size: int, mean: list[float] | None = None, std: list[float] | None = None, *, flip: bool = True
) -> v2.Transform:
    """Crop with padding, and flip; with statistics, normalised floats as well."""
    steps: list[Any] = [v2.RandomCrop(size, padding=size // 8), *([v2.RandomHorizontalFlip()] * flip)]
    if mean is not None and std is not None:
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    return v2.Compose(steps)


def loader(images: Tensor, labels: Tensor, batch_size: int, workers: int, transform: Any) -> DataLoader:
    """Return a ``DataLoader`` whose workers outlive an epoch."""
    return DataLoader(
        Images(images, labels, transform),
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


class Torchdistill:
    """Knowledge distillation by torchdistill: temperature 4, 0.9 KD and 0.1 cross-entropy, AdamW.

    ``teacher`` and ``student`` take normalised images and return logits. In ``precision`` both compute: torchdistill
    1.1.5 itself hands mixed precision to Accelerate, for the student alone, and asks it for ``use_fp16``, which
    Accelerate 1.15 no longer has; torch's autocast around its forward pass does the same for both networks.
    """

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        transform: Any,
        batch_size: int,
        workers: int,
        device: str = "cpu",
        precision: Precision = "float32",
        temperature: float = 4.0,
        schedule: Callable[[int], float] | None = None,
    ) -> None:
        from torchdistill.core.distillation import get_distillation_box

        logging.getLogger("torchdistill").setLevel(logging.ERROR)
        keywords = {"batch_size": batch_size, "num_workers": workers, "persistent_workers": workers > 0}
        kd = {
            "criterion": {
                "key": "KDLoss",
                "kwargs": {
                    "student_module_path": ".",
                    "student_module_io": "output",
                    "teacher_module_path": ".",
                    "teacher_module_io": "output",
                    "temperature": temperature,
                    "alpha": 0.1,
                    "reduction": "batchmean",
                },
            },
            "weight": 1.0,
        }
        config = {
            "num_epochs": 1,
            "train_data_loader": {
                "dataset_id": "train",
                "requires_supp": True,
                "sampler": {"class_or_func": RandomSampler},
                "kwargs": keywords,
            },
            "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
            "student": {"forward_proc": "forward_batch_only", "requires_grad": True},
            "optimizer": {"key": "AdamW", "kwargs": {"lr": 2e-3, "weight_decay": 0.05, "fused": True}},
            "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": kd}}},
        }
        data = {"train": Images(images, labels, transform)}
        self.device, self.precision = torch.device(device), precision
        self.box = get_distillation_box(teacher, student, data, config, self.device, None, False, 1)
        if schedule is not None:
            self.box.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(self.box.optimizer, schedule)
            self.box.scheduling_step = 1

    def epoch(self, number: int = 0) -> None:
        """Train for one epoch: the loop of torchdistill's own examples."""
        box = self.box
        box.pre_epoch_process(epoch=number)
        for sample_batch, targets, supp_dict in box.train_data_loader:
            box.pre_forward_process()
            sample_batch, targets = sample_batch.to(self.device), targets.to(self.device)
            with autocast(self.device, self.precision):
                loss = box.forward_process(sample_batch, targets, supp_dict)
            box.post_forward_process(loss=loss)
        box.post_epoch_process()


def bare_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    precision: Precision = "float32",
) -> None:
    """Train on labels for one epoch: ``images (n, 3, height, width)`` float32, normalised, channels-last."""
    network.train()
    for rows in torch.randperm(len(images)).split(batch_size):
        with autocast(images.device, precision):
            loss = F.cross_entropy(network(images[rows]), labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
