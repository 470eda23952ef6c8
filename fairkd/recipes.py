"""The sequences that notebooks, widgets and the command line share: teacher, students, and where they are kept."""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from safetensors.torch import save

from fairkd.config import Experiment, resolve_path
from fairkd.data import check_dataset, load_dataset
from fairkd.data.splits import Splits
from fairkd.distillers import Distiller, check_distiller, create_distiller
from fairkd.errors import ParameterError
from fairkd.inference import predict
from fairkd.mitigation import (
    Mitigation,
    balanced_cell_weights,
    check_mitigation,
    create_mitigation,
)
from fairkd.models import Network, check_model_name, create_model, load_state
from fairkd.predictions import Predictions
from fairkd.reproducibility import environment, seed_everything, version_of
from fairkd.store import ArtifactFolder, file_digest, write_atomic
from fairkd.training import Step, Trainer, TrainingSettings, distill_step, task_step

Part = Literal["teacher", "student"]
Role = Literal["teacher", "student_scratch", "student_kd", "student_fair"]

#: The four models of a run, in the order of tables and figures.
ROLES: tuple[Role, ...] = ("teacher", "student_scratch", "student_kd", "student_fair")


@dataclass(frozen=True)
class TrainedModel:
    """A trained network with its history (one row an epoch), test predictions and artefact folder.

    ``validation`` holds the predictions on the validation split: choices between models are made there.
    """

    model: Network
    history: pd.DataFrame
    predictions: Predictions
    validation: Predictions
    folder: Path


def check_experiment(experiment: Experiment) -> None:
    """Raise before any training what can be known before it.

    Raises:
        ParameterError: an unknown network, distiller, mitigation or device, or no file of weights.
        DataError: the data set is not there or its table cannot be used.
    """
    for part in ("teacher", "student"):
        check_model_name(getattr(experiment, part), part)
        _weights_file(experiment, part)
    check_distiller(experiment.distiller)
    check_mitigation(experiment.mitigation)
    resolve_device(experiment.device)
    options = experiment.values("data")
    check_dataset(options.pop("dataset"), **options)


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
        reason = str(error).splitlines()[0]
        raise ParameterError(
            f"device={name!r} cannot be used: {reason}; allowed: auto, cpu, cuda, mps"
        ) from error
    return name


def load_splits(experiment: Experiment) -> Splits:
    """Load the experiment's data set. The last one loaded is kept in memory."""
    options = experiment.values("data")
    return _load_splits(options.pop("dataset"), tuple(options.items()))


@functools.lru_cache(maxsize=1)
def _load_splits(name: str, options: tuple[tuple[str, Any], ...]) -> Splits:
    return load_dataset(name, **dict(options))


def train_teacher(experiment: Experiment, splits: Splits | None = None) -> TrainedModel:
    """Train the teacher on labels alone, or load it when it has been trained before.

    Args:
        experiment: parameters.
        splits: the data; default: what the experiment names.

    Raises:
        ParameterError, DataError, TrainingError, ArtifactError: as their messages say.
    """
    return _Recipe(experiment, splits).train("teacher")


def train_student_alone(experiment: Experiment, splits: Splits | None = None) -> TrainedModel:
    """Train the student on labels alone: what it can do without a teacher."""
    return _Recipe(experiment, splits).train("student_scratch")


def distill_student(
    experiment: Experiment, teacher: TrainedModel, splits: Splits | None = None
) -> TrainedModel:
    """Distil ``teacher`` into the student with the experiment's distiller and mitigation.

    ``experiment.replace(mitigation="none")`` gives plain distillation.
    """
    role: Role = "student_kd" if experiment.mitigation == "none" else "student_fair"
    return _Recipe(experiment, splits).train(role, teacher)


def train_students(
    experiment: Experiment, teacher: TrainedModel, splits: Splits | None = None
) -> dict[str, TrainedModel]:
    """Train, or load, the three students that the report compares."""
    return {
        "student_scratch": train_student_alone(experiment, splits),
        "student_kd": distill_student(experiment.replace(mitigation="none"), teacher, splits),
        "student_fair": distill_student(experiment, teacher, splits),
    }


def is_trained(experiment: Experiment, teacher: TrainedModel, splits: Splits | None = None) -> bool:
    """Whether :func:`distill_student` would load the student instead of training it."""
    role: Role = "student_kd" if experiment.mitigation == "none" else "student_fair"
    return _Recipe(experiment, splits).folder(role, teacher).finished


class _Recipe:
    def __init__(self, experiment: Experiment, splits: Splits | None) -> None:
        self.experiment = experiment
        self.splits = splits or load_splits(experiment)
        self.device = resolve_device(experiment.device)

    def train(self, role: Role, teacher: TrainedModel | None = None) -> TrainedModel:
        folder = self.folder(role, teacher)
        network = self._network("teacher" if role == "teacher" else "student")
        if folder.finished:
            return _load(folder, network.to(self.device))
        seed_everything(self.experiment.seed)
        distiller = self._distiller(role)
        trainer = Trainer(
            network,
            self._step(teacher, distiller),
            self.splits,
            self._settings(role),
            mitigation=self._mitigation(network) if role == "student_fair" else None,
            extra=distiller,
            folder=folder.begin(),
            description=role.replace("_", " "),
        )
        return self._finish(role, folder, network, trainer.fit())

    def folder(self, role: Role, teacher: TrainedModel | None) -> ArtifactFolder:
        """The artefact's folder; its hash is of everything that determines the model, and of nothing else."""
        experiment = self.experiment
        part: Part = "teacher" if role == "teacher" else "student"
        determined = experiment.values(part, "training")
        determined |= {"augmentation": self._augmentation, "stem": self._stem}
        if weights := _weights_file(experiment, part):
            determined[f"{part}_weights"] = file_digest(weights)
        if role in ("student_kd", "student_fair"):
            assert teacher is not None
            determined |= {"taught_by": teacher.folder.name, **experiment.values("distillation")}
        if role == "student_fair" and experiment.mitigation != "none":
            determined |= experiment.values("mitigation")
        versions = {name: version_of(name) for name in ("fairkd", "torch", "timm")}
        determined |= {"seed": experiment.seed, "data": self.splits.fingerprint, "versions": versions}
        return ArtifactFolder(experiment.output_path, role.split("_")[0], determined)

    def _distiller(self, role: Role) -> Distiller | None:
        if role in ("teacher", "student_scratch"):
            return None
        return create_distiller(self.experiment.distiller, temperature=self.experiment.temperature)

    def _step(self, teacher: TrainedModel | None, distiller: Distiller | None) -> Step:
        experiment = self.experiment
        if teacher is None or distiller is None:
            return task_step(label_smoothing=experiment.label_smoothing)
        return distill_step(
            teacher.model.to(self.device),
            distiller,
            distill_weight=experiment.distill_weight,
            task_weight=experiment.task_weight,
            label_smoothing=experiment.label_smoothing,
        )

    def _finish(
        self, role: Role, folder: ArtifactFolder, network: Network, history: pd.DataFrame
    ) -> TrainedModel:
        work = folder.begin()
        state = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
        # As bytes: writing to a full disk, safetensors itself raises an error that is not an OSError.
        write_atomic(work / "model.safetensors", lambda path: path.write_bytes(save(state)))
        write_atomic(work / "history.csv", lambda path: history.to_csv(path, index=False))
        for split in ("validation", "test"):
            predictions = predict(network, self.splits, split, device=self.device)
            write_atomic(work / f"{split}.parquet", predictions.to_parquet)
        (work / "checkpoint.pt").unlink(missing_ok=True)
        folder.finish({"role": role, "environment": environment()})
        return _load(folder, network)

    def _network(self, part: Part) -> Network:
        experiment = self.experiment
        mean, std = self.splits.channel_statistics()
        return create_model(
            getattr(experiment, part),
            self.splits.num_classes,
            image_size=min(self.splits.image_size),
            pretrained=getattr(experiment, f"{part}_pretrained"),
            weights=getattr(experiment, f"{part}_weights"),
            stem=self._stem,  # type: ignore[arg-type]
            mean=mean,
            std=std,
            # Teacher and student must not share initial weights, even when they are the same network.
            seed=2 * experiment.seed + (part == "student"),
        )

    def _mitigation(self, network: Network) -> Mitigation:
        experiment, splits = self.experiment, self.splits
        reads = experiment.adversary_input
        labels, groups = torch.from_numpy(splits.train.labels), torch.from_numpy(splits.train.groups)
        sizes = splits.num_classes, splits.num_groups
        weights = balanced_cell_weights(labels, groups, *sizes) if experiment.adversary_balanced else None
        return create_mitigation(
            experiment.mitigation,
            feature_size(network, splits) if reads == "features" else splits.num_classes,
            *sizes,
            reads=reads,
            sees_label=experiment.adversary_sees_label,
            weight=experiment.adversary_weight,
            cell_weights=weights,
            penalty=experiment.adversary_penalty,
            hidden=experiment.adversary_hidden,
            learning_rate=experiment.adversary_learning_rate,
            seed=experiment.seed,
        )

    @property
    def _stem(self) -> str:
        return self.splits.stem if self.experiment.stem == "auto" else self.experiment.stem

    @property
    def _augmentation(self) -> str:
        chosen = self.experiment.augmentation
        return self.splits.augmentation if chosen == "auto" else chosen

    def _settings(self, role: Role) -> TrainingSettings:
        experiment = self.experiment
        taken = {field.name for field in fields(TrainingSettings)}
        values = {name: value for name, value in experiment.values("training").items() if name in taken}
        values |= {"augmentation": self._augmentation, "device": self.device, "seed": experiment.seed}
        epochs = experiment.teacher_epochs if role == "teacher" else experiment.student_epochs
        return TrainingSettings(epochs=epochs, **values)


def _weights_file(experiment: Experiment, part: str) -> Path | None:
    name = getattr(experiment, f"{part}_weights")
    path = None if name is None else resolve_path(name)
    if path is not None and not path.is_file():
        raise ParameterError(f"{part}_weights={name!r} is not a file: there is no {path}")
    return path


@torch.no_grad()
def feature_size(network: Network, splits: Splits) -> int:
    """Return the size of the pooled features, from a dry forward pass."""
    network.eval()
    images = torch.zeros(1, 3, *splits.image_size, device=network.mean.device)
    return int(network(images).features.shape[1])


def _load(folder: ArtifactFolder, network: Network) -> TrainedModel:
    folder.check()
    network.load_state_dict(load_state(folder.path / "model.safetensors"))
    return TrainedModel(
        model=network.eval(),
        history=pd.read_csv(folder.path / "history.csv"),
        predictions=Predictions.from_parquet(folder.path / "test.parquet"),
        validation=Predictions.from_parquet(folder.path / "validation.parquet"),
        folder=folder.path,
    )
