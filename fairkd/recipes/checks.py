"""What can be refused before any training."""

from __future__ import annotations

import functools
import warnings

import torch

from fairkd.config import Experiment
from fairkd.data import check_dataset
from fairkd.data.augment import operations
from fairkd.data.plan import Plan
from fairkd.data.splits import Splits
from fairkd.distillers import check_distiller, distiller_entries
from fairkd.errors import DataError, FairkdWarning, ParameterError, check_type
from fairkd.evaluation import few_samples
from fairkd.heads import MeanReadout, add_heads
from fairkd.mitigation import cell_counts, check_groups, mitigation_entry
from fairkd.models import check_model_name, create_model
from fairkd.recipes.kept import TrainedModel
from fairkd.recipes.setup import Part, make_mitigation, mitigation_name, resolve_device, stem, weights_file
from fairkd.recipes.unread import warn_of_unread
from fairkd.shown import first_of
from fairkd.store import read_json


def check_experiment(experiment: Experiment) -> None:
    """Raise before any training what can be known before it.

    Raises:
        ParameterError, DataError: as :func:`check_setting`.

    Warns:
        FairkdWarning: a parameter was changed that no chosen method reads, or the test split has cells of few samples.
    """
    check_type(experiment, Experiment, "the experiment", "make one with fairkd.Experiment(name=value, ...)")
    plan = check_setting(experiment)
    warn_of_unread(experiment)
    warn_of_few_samples(plan)


def plan_of(experiment: Experiment) -> Plan:
    """Look at the experiment's data set, without decoding an image.

    Raises:
        DataError: the data set is not there or its table cannot be used.
    """
    options = experiment.values("data")
    return check_dataset(options.pop("dataset"), **options)


def warn_of_few_samples(plan: Plan) -> None:
    """Warn of a test split that cannot tell the groups apart, whatever is trained.

    Warns:
        FairkdWarning: counts the cells without or with few samples.
    """
    test = plan.rows["test"]
    shape = len(plan.class_names), len(plan.group_names)
    cells = cell_counts(test.labels, test.groups, *shape).ravel().tolist()
    for sentence in few_samples(cells):
        warnings.warn(f"the test split of {plan.name}: {sentence}", FairkdWarning, stacklevel=3)
    for split in ("train", "test"):
        absent = set(range(len(plan.group_names))) - set(plan.rows[split].groups.tolist())
        if absent:
            names = ", ".join(plan.group_names[group] for group in sorted(absent)[:5])
            warnings.warn(
                f"the {split} split of {plan.name} has no image of the {plan.group_name} "
                f"{names}{', ...' if len(absent) > 5 else ''}",
                FairkdWarning,
                stacklevel=3,
            )


def check_setting(experiment: Experiment, plan: Plan | None = None) -> Plan:
    """Raise what :func:`check_experiment` raises, for one of many settings, and return the plan of its data set.

    Args:
        experiment: what is checked.
        plan: of its data set, if that has been looked at already.

    Raises:
        ParameterError: an unknown network, distiller, mitigation or device, a combination that cannot be, or no
            file of weights.
        DataError: the data set is not there or its table cannot be used.
    """
    for part in ("teacher", "student"):
        check_model_name(getattr(experiment, part), part)
        weights_file(experiment, part)
    for name in experiment.co_teachers:
        check_model_name(name, "co_teachers")
    check_untrained_teacher(experiment)
    check_methods(experiment)
    check_co_teachers(experiment)
    resolve_device(experiment.device)
    plan = plan or plan_of(experiment)
    # Made once without a network: what a mitigation cannot do with these classes and groups shows here.
    counts = torch.ones(len(plan.class_names), len(plan.group_names), dtype=torch.int64)
    parts: tuple[Part, ...] = ("teacher", "student")
    for part in parts:
        check_part_groups(experiment, part, len(plan.group_names))
        _check_groups_known(experiment, part, plan)
        make_mitigation(experiment, part, counts, counts.sum(dim=1), feature_size=1)
    _check_networks(experiment, plan)
    return plan


def check_methods(experiment: Experiment) -> None:
    """Raise unless distiller and mitigations exist and can be combined.

    Raises:
        ParameterError: names what cannot be and why.
    """
    if experiment.augmentation != "auto":
        operations(experiment.augmentation)
    check_distiller(
        experiment.distiller,
        logit_standardization=experiment.logit_standardization,
        teacher_calibration=experiment.teacher_calibration,
        ensemble_weights=experiment.ensemble_weights,
        co_teachers=experiment.co_teachers,
    )
    if experiment.distiller != "none" and not experiment.distill_weight and not experiment.task_weight:
        raise ParameterError(
            "distill_weight=0 and task_weight=0 leave no loss to learn from; give one a weight"
        )
    if experiment.patience and experiment.selection == "last":
        raise ParameterError(
            f"patience={experiment.patience} waits for a better validation score, which selection='last' does not look "
            "at; use selection='accuracy' or 'fairness', or patience=0"
        )
    mitigation_entry(experiment.teacher_mitigation, "teacher_mitigation")
    own_heads = mitigation_entry(experiment.mitigation).adds_heads
    if own_heads and "co_advise" in [entry.name for _, entry in distiller_entries(experiment.distiller)]:
        raise ParameterError(
            f"distiller='co_advise' and mitigation={experiment.mitigation!r} cannot be combined: each trains class "
            "heads of its own; use distiller='ensemble', or another mitigation"
        )


def check_untrained_teacher(experiment: Experiment) -> None:
    """Raise where ``teacher_epochs=0`` leaves nothing to teach with, or something that needs training.

    Raises:
        ParameterError: names the other parameter.
    """
    if experiment.teacher_epochs:
        return
    if experiment.teacher_weights is None:
        raise ParameterError(
            "teacher_epochs=0 trains nothing: name the trained network's file in teacher_weights, or give epochs"
        )
    if experiment.teacher_mitigation != "none":
        raise ParameterError(
            f"teacher_epochs=0 trains nothing, so that teacher_mitigation={experiment.teacher_mitigation!r} has no "
            "effect; set it to 'none', or give epochs"
        )


def check_part_groups(experiment: Experiment, part: Part, num_groups: int) -> None:
    """Raise where the mitigation of a network's training has no groups to tell apart.

    Raises:
        ParameterError: names the parameter and those that can be had.
    """
    parameter = "teacher_mitigation" if part == "teacher" else "mitigation"
    check_groups(mitigation_name(experiment, part), num_groups, parameter)


def _check_groups_known(experiment: Experiment, part: Part, plan: Plan) -> None:
    """Raise where images have no groups for the mitigation to read, or for the test to compare."""
    known = {split: set(rows.groups[rows.groups >= 0].tolist()) for split, rows in plan.rows.items()}
    if not known["test"]:
        raise DataError(
            f"no image of the test split of {plan.name} has a {plan.group_name}, so that groups cannot be compared; "
            "fill in the values there"
        )
    if len(plan.group_names) > 1 and len(known["train"]) < 2:
        try:
            check_part_groups(experiment, part, len(known["train"]))
        except ParameterError as error:
            raise DataError(
                f"the training split of {plan.name} shows {len(known['train'])} of the {len(plan.group_names)} values "
                f"of {plan.group_name}; fill in the values there. Or else: {error}"
            ) from None


def check_teacher(teacher: TrainedModel, splits: Splits) -> None:
    """Compare what a student is taught by with what it learns from.

    Raises:
        ParameterError: names the classes of both.

    Warns:
        FairkdWarning: the teacher was trained on other data or another split.
    """
    known = tuple(teacher.predictions.class_names)
    if known != splits.class_names:
        raise ParameterError(
            f"the teacher tells apart {first_of(known)}, and the data hold {first_of(splits.class_names)}; train a "
            "teacher with the same data parameters as the student"
        )
    if read_json(teacher.folder / "config.json")["determined_by"].get("data") != splits.fingerprint:
        warnings.warn(
            "the teacher was trained on other data, or on another split of them: its training images may be among the "
            "student's test images; train it with the same data parameters and seed as the student",
            FairkdWarning,
            stacklevel=3,
        )


def check_co_teachers(experiment: Experiment) -> None:
    """Raise where two of a student's teachers would be one: from one seed, the same network becomes the same model.

    Raises:
        ParameterError: names the network.
    """
    if not any(entry.several_teachers for _, entry in distiller_entries(experiment.distiller)):
        return
    if experiment.co_teachers and not experiment.teacher_epochs:
        raise ParameterError(
            "teacher_epochs=0 trains nothing, but co_teachers are trained for teacher_epochs; give epochs, or "
            "choose a distiller of one teacher"
        )
    alike = [] if experiment.teacher_pretrained or experiment.teacher_weights else [experiment.teacher]
    for name in experiment.co_teachers:
        if name in alike:
            raise ParameterError(
                f"co_teachers names {name!r}, which is a teacher already: trained from the same seed it is the same "
                "model and adds nothing; choose another network"
            )
        alike.append(name)


def _check_networks(experiment: Experiment, plan: Plan) -> None:
    """Make untrained networks, with the heads that the methods ask for: whether they take the images, and the heads."""
    entries = [entry for _, entry in distiller_entries(experiment.distiller)]
    further = experiment.co_teachers if any(entry.several_teachers for entry in entries) else ()
    data = len(plan.class_names), plan.image_size, stem(experiment, plan)
    for name in further:
        _check_network(name, *data, heads=False, part="co_teachers")
    parts: tuple[Part, ...] = ("teacher", "student")
    for part in parts:
        heads = mitigation_entry(mitigation_name(experiment, part)).adds_heads or (
            part == "student" and "co_advise" in [entry.name for entry in entries]
        )
        _check_network(getattr(experiment, part), *data, heads=heads, part=part)


# A sweep has hundreds of settings of the same networks.
@functools.lru_cache
def _check_network(name: str, classes: int, image_size: int, stem: str, *, heads: bool, part: str) -> None:
    try:
        network = create_model(name, classes, image_size=image_size, stem=stem)  # type: ignore[arg-type]
        if heads:
            add_heads(network, 2, MeanReadout(2))
    except ParameterError as error:
        raise ParameterError(f"{part}={name!r}: {error}") from None
