"""What an experiment's parameters are made into."""

from __future__ import annotations

import functools
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from fairkd.config import Experiment, resolve_path
from fairkd.data import load_dataset
from fairkd.data.plan import Plan
from fairkd.data.splits import Splits
from fairkd.distillers import (
    Context,
    Distiller,
    create_distiller,
    distiller_entries,
    distiller_options,
)
from fairkd.errors import ParameterError, first_line
from fairkd.inference import outputs_of
from fairkd.mitigation import (
    Mitigation,
    Setup,
    cell_counts,
    create_mitigation,
    mitigation_entry,
)
from fairkd.models import Network, Outputs, create_model
from fairkd.own_networks import own_network
from fairkd.store import file_digest
from fairkd.training import Precision, TrainingSettings, current_devices, fastest_precision

Part = Literal["teacher", "student"]


def resolve_device(name: str) -> str:
    """Return the torch device for ``auto``, or ``name`` if it can be used.

    Raises:
        ParameterError: no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except Exception as error:
        raise ParameterError(
            f"device={name!r} cannot be used: {first_line(error)}; allowed: auto, cpu, cuda, cuda:<number>, mps"
        ) from error
    return name


def load_splits(experiment: Experiment) -> Splits:
    """Load the experiment's data set. The last one loaded is kept in memory."""
    options = experiment.values("data")
    return _load_splits(options.pop("dataset"), tuple(options.items()))


@functools.lru_cache(maxsize=1)
def _load_splits(name: str, options: tuple[tuple[str, Any], ...]) -> Splits:
    return load_dataset(name, **dict(options))


def weights_file(experiment: Experiment, part: str) -> Path | None:
    """Return the file that a network starts from, if one is named.

    Raises:
        ParameterError: there is no such file.
    """
    name = getattr(experiment, f"{part}_weights")
    path = None if name is None else resolve_path(name)
    if path is not None and not path.is_file():
        raise ParameterError(f"{part}_weights={name!r} is not a file: there is no {path}")
    return path


def make_network(experiment: Experiment, part: Part, splits: Splits) -> Network:
    """Make the untrained network, with the channel statistics of the data, or of the pretrained weights."""
    pretrained = getattr(experiment, f"{part}_pretrained")
    # Pretrained weights expect the statistics they were trained with.
    mean, std = (None, None) if pretrained else splits.channel_statistics()
    return create_model(
        getattr(experiment, part),
        splits.num_classes,
        image_size=min(splits.image_size),
        pretrained=pretrained,
        weights=getattr(experiment, f"{part}_weights"),
        # What is trained can have another classifier before that.
        whole=not getattr(experiment, f"{part}_epochs"),
        stem=stem(experiment, splits),  # type: ignore[arg-type]
        mean=mean,
        std=std,
        # Teacher and student must not share initial weights, even when they are the same network.
        seed=2 * experiment.seed + (part == "student"),
    )


def stem(experiment: Experiment, splits: Splits | Plan) -> str:
    """Return how early strides are treated; ``auto`` is what suits the data."""
    return splits.stem if experiment.stem == "auto" else experiment.stem


def augmentation(experiment: Experiment, splits: Splits) -> str:
    """Return the training augmentation; ``auto`` is what suits the data."""
    return splits.augmentation if experiment.augmentation == "auto" else experiment.augmentation


def make_settings(experiment: Experiment, part: Part, splits: Splits, device: str) -> TrainingSettings:
    """Return how the network is trained."""
    taken = {field.name for field in fields(TrainingSettings)}
    values = {name: value for name, value in experiment.values("training").items() if name in taken}
    values |= {"augmentation": augmentation(experiment, splits), "device": device, "seed": experiment.seed}
    values["precision"] = precision(experiment, part, splits, device)
    return TrainingSettings(epochs=getattr(experiment, f"{part}_epochs"), **values)


def precision(experiment: Experiment, part: Part, splits: Splits, device: str) -> Precision:
    """Return the number format of a network's training; ``auto`` is the fastest on the device."""
    if not getattr(experiment, f"{part}_epochs"):
        return "float32"
    if experiment.precision != "auto":
        return experiment.precision
    batch = experiment.micro_batch if isinstance(experiment.micro_batch, int) else experiment.batch_size
    measure = functools.partial(
        _fastest_precision,
        getattr(experiment, part),
        splits.num_classes,
        stem(experiment, splits),
        splits.image_size,
        # No batch is larger than the training split.
        min(batch, len(splits.train)),
        device,
    )
    # A measurement: several processes must not come to different answers.
    return current_devices().agree(measure)


@functools.cache
def _fastest_precision(
    name: str, classes: int, stem: str, image_size: tuple[int, int], batch_size: int, device: str
) -> Precision:
    network = create_model(name, classes, image_size=min(image_size), stem=stem)  # type: ignore[arg-type]
    return fastest_precision(network, image_size, batch_size, device)


def mitigation_name(experiment: Experiment, part: Part) -> str:
    """Return the mitigation of a network's training."""
    return experiment.teacher_mitigation if part == "teacher" else experiment.mitigation


def mitigation_values(experiment: Experiment, part: Part) -> dict[str, Any]:
    """Return the mitigation and the parameters that it reads, and no others; nothing without mitigation."""
    name = mitigation_name(experiment, part)
    if name == "none":
        return {}
    values = {option: getattr(experiment, option) for option in mitigation_entry(name).options}
    if part == "teacher" and "adversary_weight" in values:
        values["adversary_weight"] = experiment.teacher_adversary_weight
    return {"mitigation": name, **values}


def make_mitigation(
    experiment: Experiment, part: Part, cells: torch.Tensor, classes: torch.Tensor, *, feature_size: int
) -> Mitigation:
    """Make the mitigation of a network's training, with the samples of each cell and of each class."""
    options = mitigation_values(experiment, part)
    setup = Setup(cells, feature_size, options, experiment.seed, classes)
    return create_mitigation(options.get("mitigation", "none"), setup)


def training_counts(splits: Splits) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the training samples of each cell ``(classes, groups)`` and of each class ``(classes,)``."""
    labels, groups = splits.train.labels, splits.train.groups
    classes = np.bincount(labels, minlength=splits.num_classes)
    return cell_counts(labels, groups, splits.num_classes, splits.num_groups), torch.from_numpy(classes)


def model_values(experiment: Experiment, part: Part, *, distilled: bool, mitigated: bool) -> dict[str, Any]:
    """Return the parameters that determine a network of these data and this seed, and no others.

    ``distilled``: a teacher may teach it. ``mitigated``: it is trained with the experiment's mitigation.
    """
    trained = bool(getattr(experiment, f"{part}_epochs"))
    values = experiment.values(part, "training") if trained else experiment.values(part)
    # What the mitigation reads stands in its own entry.
    for name in ("teacher_mitigation", "teacher_adversary_weight"):
        values.pop(name, None)
    if weights := weights_file(experiment, part):
        values[f"{part}_weights"] = file_digest(weights)
    if code := own_network(getattr(experiment, part)):
        values["network"] = code
    values |= distillation_values(experiment) if distilled else {}
    values |= mitigation_values(experiment, part) if mitigated else {}
    return values | own_methods(experiment, part, distilled=distilled, mitigated=mitigated)


def own_methods(experiment: Experiment, part: Part, *, distilled: bool, mitigated: bool) -> dict[str, str]:
    """Return the hash of the text of each method that a user registered."""
    entries = [entry for _, entry in distiller_entries(experiment.distiller)] if distilled else []
    found = {f"distiller {entry.name}": entry.code for entry in entries if entry.code}
    chosen = mitigation_entry(mitigation_name(experiment, part))
    return found | ({"mitigation code": chosen.code} if mitigated and chosen.code else {})


def distillation_values(experiment: Experiment) -> dict[str, Any]:
    """Return the distiller and the parameters that it reads, and no others."""
    names = ["distiller", *sorted(distiller_options(experiment.distiller))]
    if experiment.distiller != "none":
        names += ["distill_weight", "task_weight", "teacher_outputs"]
    return {name: getattr(experiment, name) for name in names}


def make_distiller(
    experiment: Experiment, student: Network, teachers: list[Network], splits: Splits
) -> Distiller:
    """Make the distiller for these networks; a dry forward pass gives the shapes."""
    context = Context(
        student=dry_outputs(student, splits),
        teachers=tuple(dry_outputs(teacher, splits) for teacher in teachers),
        num_classes=splits.num_classes,
        num_groups=splits.num_groups,
        class_means=functools.partial(class_means, teachers[0], splits),
        options=experiment.values("distillation"),
        seed=experiment.seed,
    )
    return create_distiller(experiment.distiller, context)


@torch.no_grad()
def dry_outputs(network: Network, splits: Splits) -> Outputs:
    """Return a network's outputs for one black image."""
    training = network.training
    network.eval()
    outputs: Outputs = network(torch.zeros(1, 3, *splits.image_size, device=network.mean.device))
    network.train(training)
    return outputs


def class_means(network: Network, splits: Splits) -> torch.Tensor:
    """Return the mean feature of each class over the training images ``(classes, dim)``."""
    features = outputs_of(network, splits.train.images).features
    means = np.zeros((splits.num_classes, features.shape[1]), dtype=np.float64)
    np.add.at(means, splits.train.labels, features)
    counts = np.bincount(splits.train.labels, minlength=splits.num_classes)
    return torch.from_numpy(means / np.maximum(counts, 1)[:, None]).float()
