"""Training, or finding again, the models of an experiment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fairkd.config import Experiment
from fairkd.data.batches import AugmentedImages
from fairkd.data.splits import Splits
from fairkd.distillers import Distiller, distiller_entries
from fairkd.errors import check_type
from fairkd.heads import fold_heads
from fairkd.mitigation import Mitigation
from fairkd.models import Network
from fairkd.recipes import setup
from fairkd.recipes.checks import (
    check_co_teachers,
    check_methods,
    check_part_groups,
    check_teacher,
    check_untrained_teacher,
)
from fairkd.recipes.kept import Role, TrainedModel, keep, load_kept
from fairkd.reproducibility import seed_everything, version_of
from fairkd.store import ArtifactFolder, naming
from fairkd.teachers import Teachers, calibration_temperatures
from fairkd.training import (
    CacheFolder,
    TeacherOutputs,
    Trainer,
    TrainingControl,
    current_devices,
    distill_step,
    one_training,
    task_step,
    training_images,
    warn_of_collapse,
)


def train_teacher(experiment: Experiment, splits: Splits | None = None) -> TrainedModel:
    """Train the teacher on labels, with ``teacher_mitigation``, or load it when it has been trained before.

    With ``teacher_epochs=0`` it is the network of ``teacher_weights`` as it is.

    Args:
        experiment: parameters.
        splits: the data; default: what the experiment names.

    Raises:
        ParameterError, DataError, TrainingError, ArtifactError: as their messages say.
        FairkdWarning: the model has collapsed, whether it is trained now or was before.
    """
    return Recipe(experiment, splits).train("teacher")


def train_student_alone(experiment: Experiment, splits: Splits | None = None) -> TrainedModel:
    """Train the student on labels alone: what it can do without a teacher and without mitigation."""
    return Recipe(experiment, splits).train("student_scratch")


def distill_student(
    experiment: Experiment,
    teacher: TrainedModel,
    splits: Splits | None = None,
    control: TrainingControl | None = None,
) -> TrainedModel:
    """Distil ``teacher`` into the student with the experiment's distiller and mitigation.

    ``experiment.replace(mitigation="none")`` gives plain distillation, ``distiller="none"`` the mitigation
    without a teacher. The distillers of several teachers train the ``co_teachers`` first, or load them, and
    the weights ``"agre"`` a student alone. ``control`` stops, pauses and changes the student's training; a student
    whose settings it changed is stored under a hash of its own.

    Raises:
        ParameterError: what is passed is no teacher, or one of other classes.
        ParameterError, DataError, TrainingError, ArtifactError: as their messages say.

    Warns:
        FairkdWarning: the teacher was trained on other data or another split, whose training images may be among these
            test images.
    """
    check_type(
        teacher,
        TrainedModel,
        "the teacher",
        "pass what fairkd.train_teacher(experiment) returns. For a network that is trained already, set "
        "teacher_weights to its file and teacher_epochs to 0",
    )
    recipe = Recipe(experiment, splits, control)
    if experiment.distiller != "none":
        check_teacher(teacher, recipe.splits)
    return recipe.train(student_role(experiment), teacher)


def train_students(
    experiment: Experiment, teacher: TrainedModel, splits: Splits | None = None
) -> dict[str, TrainedModel]:
    """Train, or load, the students that the report compares: alone, by plain distillation, and with the mitigation.

    The last, ``"student_fair"``, is left out where the experiment has none.
    """
    plain = experiment.replace(mitigation="none")
    students = {
        "student_scratch": train_student_alone(experiment, splits),
        "student_kd": distill_student(plain, teacher, splits),
    }
    return students | {student_role(experiment): distill_student(experiment, teacher, splits)}


@contextlib.contextmanager
def _reserved(folder: ArtifactFolder) -> Iterator[None]:
    # Of several processes the first one holds the lock for all. Named is whatever part the system refuses.
    lock = folder.lock() if current_devices().rank == 0 else contextlib.nullcontext()
    with naming(f"make {folder.path}"), one_training(), lock:
        yield


def co_teachers(experiment: Experiment) -> list[Experiment]:
    """Return the experiments whose teachers the distiller learns from beside the teacher; mostly none."""
    if not any(entry.several_teachers for _, entry in distiller_entries(experiment.distiller)):
        return []
    plain = experiment.replace(teacher_pretrained=False, teacher_weights=None)
    return [plain.replace(teacher=name) for name in experiment.co_teachers]


def student_role(experiment: Experiment) -> Role:
    """Return which student :func:`distill_student` makes."""
    return "student_kd" if experiment.mitigation == "none" else "student_fair"


class Recipe:
    """How one experiment's models are trained, and where they are kept."""

    def __init__(
        self, experiment: Experiment, splits: Splits | None, control: TrainingControl | None = None
    ) -> None:
        check_type(
            experiment, Experiment, "the experiment", "make one with fairkd.Experiment(name=value, ...)"
        )
        self.experiment, self.control = experiment, control or TrainingControl()
        self.splits = splits or setup.load_splits(experiment)
        self.device = setup.resolve_device(experiment.device)
        self._values: dict[Role, dict[str, Any]] = {}

    def train(self, role: Role, teacher: TrainedModel | None = None) -> TrainedModel:
        """Train the model, or load it when it has been trained before."""
        check_methods(self.experiment)
        if role == "teacher":
            check_untrained_teacher(self.experiment)
        else:
            check_co_teachers(self.experiment)
        taught_by = teacher.folder if teacher else None
        folder = self.folder(role, taught_by)
        part: setup.Part = "teacher" if role == "teacher" else "student"
        network = setup.make_network(self.experiment, part, self.splits)
        mitigation = self._mitigation(role, part, network)
        agree = current_devices().agree
        with contextlib.nullcontext() if agree(lambda: folder.finished) else _reserved(folder):
            # Another process may have made it while this one waited.
            if agree(lambda: folder.finished):
                model = load_kept(folder, _finished_form(network, mitigation).to(self.device))
                if model.collapsed:
                    # Said by the training too, but whoever loads the model may not have seen that.
                    warn_of_collapse(_name(role), int(model.history.query("selected")["epoch"].iloc[0]))
                return model
            if role in ("teacher", "student_fair"):
                check_part_groups(self.experiment, part, self.splits.num_groups)
            seed_everything(self.experiment.seed)
            trainer = self._trainer(role, part, network, mitigation, teacher, folder)
            history = trainer.fit()
            # Settings that were changed meanwhile make it another model.
            made = self.folder(role, taught_by)
            fold_heads(network)
            agree(lambda: keep(made, role, network, history, self.splits, self.device))
            return load_kept(made, network)

    def folder(self, role: Role, teacher: Path | None) -> ArtifactFolder:
        """The artefact's folder; its hash is of everything that determines the model, and of nothing else.

        ``teacher`` is the teacher's folder.
        """
        experiment = self.experiment
        part: setup.Part = "teacher" if role == "teacher" else "student"
        distilled = role in ("student_kd", "student_fair")
        mitigated = role in ("teacher", "student_fair")
        if role not in self._values:
            # Once: what a user registers anew while the model trains is not what it is trained with.
            self._values[role] = setup.model_values(
                experiment, part, distilled=distilled, mitigated=mitigated
            )
        determined = {**self._values[role]}
        determined["stem"] = setup.stem(experiment, self.splits)
        if role != "teacher" or experiment.teacher_epochs:
            determined |= {
                "augmentation": setup.augmentation(experiment, self.splits),
                "precision": setup.precision(experiment, part, self.splits, self.device),
                "seed": experiment.seed,
            }
        if distilled:
            assert teacher is not None
            determined["taught_by"] = self._taught_by(teacher)
        if self.control.changes:
            determined["changes"] = [vars(change) for change in self.control.changes]
        versions = {name: version_of(name) for name in ("fairkd", "torch", "timm")}
        determined |= {"data": self.splits.fingerprint, "versions": versions}
        return ArtifactFolder(experiment.output_path, role.split("_")[0], determined)

    def _taught_by(self, teacher: Path) -> str | list[str] | None:
        if self.experiment.distiller == "none":
            return None
        others = [recipe.folder(role, None).path.name for recipe, role in self._others()]
        return [teacher.name, *others] if others else teacher.name

    def _others(self) -> list[tuple[Recipe, Role]]:
        """The further networks that the distiller reads: co-teachers, then a biased student."""
        experiment = self.experiment
        others: list[tuple[Recipe, Role]] = [
            (Recipe(one, self.splits), "teacher") for one in co_teachers(experiment)
        ]
        names = [entry.name for _, entry in distiller_entries(experiment.distiller)]
        if "ensemble" in names and experiment.ensemble_weights == "agre":
            others.append((Recipe(experiment, self.splits), "student_scratch"))
        return others

    def _mitigation(self, role: Role, part: setup.Part, network: Network) -> Mitigation:
        if role in ("student_scratch", "student_kd"):
            return Mitigation()
        counts = setup.training_counts(self.splits)
        size = int(setup.dry_outputs(network, self.splits).features.shape[1])
        return setup.make_mitigation(self.experiment, part, *counts, feature_size=size)

    def _trainer(
        self,
        role: Role,
        part: setup.Part,
        network: Network,
        mitigation: Mitigation,
        teacher: TrainedModel | None,
        folder: ArtifactFolder,
    ) -> Trainer:
        experiment = self.experiment
        mitigation.prepare(network)
        self.control.folder = lambda: self.folder(role, teacher.folder if teacher else None).partial
        settings = setup.make_settings(experiment, part, self.splits, self.device)
        images = training_images(self.splits, settings)
        distiller = None
        if role in ("teacher", "student_scratch") or experiment.distiller == "none":
            step = task_step(mitigation, label_smoothing=experiment.label_smoothing)
        else:
            assert teacher is not None
            taught_by = [teacher, *(recipe.train(other) for recipe, other in self._others())]
            # The co-teachers' trainings used the generators.
            seed_everything(experiment.seed)
            networks = [one.model for one in taught_by]
            distiller = setup.make_distiller(experiment, network, networks, self.splits)
            distiller.prepare(network)
            teachers = self._teachers(taught_by, distiller, images)
            step = distill_step(
                teachers,
                distiller,
                mitigation,
                distill_weight=experiment.distill_weight,
                task_weight=experiment.task_weight,
                label_smoothing=experiment.label_smoothing,
            )
        return Trainer(
            network,
            step,
            self.splits,
            settings,
            mitigation=mitigation,
            extra=distiller,
            images=images,
            folder=folder.begin(),
            control=self.control,
            description=_name(role),
        )

    def _teachers(
        self, taught_by: list[TrainedModel], distiller: Distiller, images: AugmentedImages
    ) -> Teachers:
        kind, networks = self.experiment.teacher_calibration, [one.model for one in taught_by]
        temperatures = None
        if kind != "none":
            temperatures = torch.stack([calibration_temperatures(t.validation, kind) for t in taught_by])
        limit = round(1e9 * self.experiment.teacher_cache_gb)
        cache = CacheFolder(self.experiment.output_path / "cache", limit) if limit else None
        output_type = self.experiment.teacher_outputs
        reads = distiller.teacher_reads
        answers = [
            TeacherOutputs(one, images, reads, cache=cache, output_type=output_type) for one in networks
        ]
        return Teachers(networks, temperatures, answers=answers).to(self.device)


def _name(role: Role) -> str:
    return role.replace("_", " ")


def _finished_form(network: Network, mitigation: Mitigation) -> Network:
    """Give an untrained network the shape that it has after training: heads that are not averaged stay."""
    mitigation.prepare(network)
    fold_heads(network)
    return network
