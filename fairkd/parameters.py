"""The parameters of an experiment: name, default, range, unit and meaning of each, in one place.

A parameter's *scope* says which artefacts it determines: a teacher depends on the scopes ``data``, ``training``
and ``teacher``, so a run with another adversary weight finds the same teacher again.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Scope = Literal["data", "training", "teacher", "student", "distillation", "mitigation", "evaluation", "run"]


def _field(scope: Scope, default: Any, description: str, **constraints: Any) -> Any:
    return Field(default, description=description, json_schema_extra={"scope": scope}, **constraints)


class Parameters(BaseModel):
    """The fields of :class:`fairkd.config.Experiment`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    dataset: str = _field("data", "colored-digits", "data set; `fairkd datasets` lists the names")
    data_root: str | None = _field("data", None, "folder or zip with the data, where the data set needs one")
    download: bool = _field("data", False, "fetch the data set into data_root if it is not there")
    csv: str | None = _field("data", None, "CSV file in data_root; None: the only one there")
    path_column: str = _field("data", "path", "CSV column with the image path")
    label_column: str = _field("data", "label", "CSV column with the class")
    group_column: str = _field("data", "group", "CSV column with the group; 'a*b' crosses two columns")
    split_column: str = _field("data", "split", "CSV column with train/validation/test, if present")
    unit_column: str | None = _field(
        "data",
        None,
        "CSV column with what images have in common, a person or a scene: such images stay in one split and are "
        "resampled together; 'a*b' crosses two columns; None: each image is its own",
    )
    target: str | None = _field("data", None, "attribute that is the class; None: the data set's own")
    group: str | None = _field(
        "data",
        None,
        "attribute that is the group; 'a*b' crosses two, 'age:0-18,19-40,41-' bins numbers; None: the data "
        "set's own",
    )
    audit_groups: tuple[str, ...] = _field(
        "data", (), "further groups to audit the data and the models by, written as group is; [] for none"
    )
    bias: Literal["auto", "subsample", "tint", "grey", "noise", "blur", "contrast", "brightness"] = _field(
        "data",
        "auto",
        "how skew is made: subsample thins the training split, the others inject a group; auto: the data set's own",
    )
    variant: Literal["wang", "mfd"] | None = _field(
        "data",
        None,
        "which classes an injected group prefers; wang: odd ones group 0, mfd: the first half group 1; None: "
        "the data set's own",
    )
    skew: float | None = _field(
        "data",
        None,
        "share of each class that is in its majority group, training split, [0.5, 1]; None: the data set's own",
        ge=0.5,
        le=1.0,
    )
    samples: int | None = _field(
        "data",
        None,
        "source images to keep, a stratified draw over all splits for quick runs, [10, 10^9]; None: all",
        ge=10,
        le=1_000_000_000,
    )
    image_size: int | None = _field(
        "data", None, "pixels, [8, 1024]; None: the data set's own", ge=8, le=1024
    )
    cache_dir: str | None = _field(
        "data", None, "folder of decoded images; None: FAIRKD_CACHE, else the user's cache folder"
    )
    seed: int = _field("data", 0, "seed of split, initial weights and batch order, [0, 2^31)", ge=0, lt=2**31)

    augmentation: str = _field(
        "training",
        "auto",
        "training augmentation: resize, crop, flip, tint, erase joined by '+', or none; auto: the data set's own",
    )
    batch_size: int = _field("training", 64, "images a step, [2, 65536]", ge=2, le=65536)
    optimizer: Literal["adamw", "sgd"] = _field("training", "adamw", "optimiser")
    learning_rate: float = _field("training", 2e-3, "peak learning rate, (0, 10]", gt=0, le=10)
    weight_decay: float = _field("training", 0.05, "weight decay, [0, 1]", ge=0, le=1)
    warmup_epochs: int = _field(
        "training",
        1,
        "epochs of linear warm-up before the cosine, at most half of all, [0, 1000]",
        ge=0,
        le=1000,
    )
    label_smoothing: float = _field("training", 0.0, "label smoothing of the task loss, [0, 1)", ge=0, lt=1)
    patience: int = _field(
        "training", 0, "stop after so many epochs without a better validation score; 0: never", ge=0, le=10000
    )
    selection: Literal["accuracy", "fairness", "last"] = _field(
        "training",
        "accuracy",
        "which epoch is kept, on validation data: best accuracy; smallest recall gap within "
        "selection_tolerance of the best accuracy; or the last",
    )
    selection_tolerance: float = _field(
        "training", 0.01, "accuracy that selection='fairness' may give up, [0, 1]", ge=0, le=1
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = _field(
        "training", "auto", "number format of the networks in training; auto: the fastest, as measured here"
    )
    compile: bool = _field("training", False, "compile the network with torch.compile before training")
    micro_batch: Annotated[int, Field(ge=2, le=65536)] | Literal["auto"] | None = _field(
        "training",
        None,
        "images computed at once, whose gradients a step averages, [2, 65536]; auto: halved when memory is "
        "short; None: all",
    )
    ema_decay: float = _field(
        "training", 0.0, "decay a step of the moving average of the weights, [0, 1); 0: none", ge=0, lt=1
    )

    teacher: str = _field("teacher", "resnet10t", "teacher network, any timm name")
    teacher_epochs: int = _field(
        "teacher", 12, "epochs, [0, 100000]; 0: the network of teacher_weights as it is", ge=0, le=100_000
    )
    teacher_pretrained: bool = _field("teacher", False, "start from timm's pretrained weights (downloads)")
    teacher_weights: str | None = _field("teacher", None, "start from a local .safetensors or .pth file")
    teacher_mitigation: str = _field(
        "teacher", "none", "bias mitigation in the teacher's own training; a name as for mitigation"
    )
    teacher_adversary_weight: float = _field(
        "teacher", 10.0, "strength of the adversary in the teacher's training, [0, 1000]", ge=0, le=1000
    )
    stem: Literal["auto", "small", "original"] = _field(
        "training",
        "auto",
        "early strides; auto: the data set's own, else final map at least 2x2; small: 4x4; original: timm's",
    )

    student: str = _field("student", "test_resnet", "student network, any timm name")
    student_epochs: int = _field("student", 20, "epochs, [1, 100000]", ge=1, le=100_000)
    student_pretrained: bool = _field("student", False, "start from timm's pretrained weights (downloads)")
    student_weights: str | None = _field("student", None, "start from a local .safetensors or .pth file")

    distiller: str = _field(
        "distillation", "kd", "distillation loss; fairkd.list_distillers() lists the names, '+' sums them"
    )
    temperature: float = _field("distillation", 4.0, "softens the teacher's labels, (0, 100]", gt=0, le=100)
    logit_standardization: bool = _field(
        "distillation", False, "z-score the logits of student and teacher before a logit distiller"
    )
    dkd_beta: float = _field(
        "distillation", 8.0, "dkd: weight of the classes other than the target, [0, 1000]", ge=0, le=1000
    )
    distill_from: Literal["features", "maps"] = _field(
        "distillation", "features", "hint, rkd, similarity, pkt: pooled semantic features, or raw maps"
    )
    co_teachers: tuple[str, ...] = _field(
        "distillation", ("test_vit",), "co_advise, ensemble: further teacher networks, any timm names"
    )
    ensemble_weights: Literal["mean", "confidence", "agre"] = _field(
        "distillation", "mean", "ensemble: how the teachers are weighed, sample by sample unless mean"
    )
    teacher_calibration: Literal["none", "global", "group"] = _field(
        "distillation", "none", "temperature scaling of the teachers' logits, fitted on validation data"
    )
    teacher_outputs: Literal["float32", "float16", "bfloat16"] = _field(
        "distillation",
        "float32",
        "format in which the teachers' outputs are kept; float16 halves the cache; bfloat16 too, and the teachers "
        "compute in it",
    )
    distill_weight: float = _field(
        "distillation", 0.9, "weight of the distillation loss, [0, 1e6]", ge=0, le=1e6
    )
    task_weight: float = _field(
        "distillation", 0.1, "weight of the cross-entropy with the labels, [0, 1e6]", ge=0, le=1e6
    )

    mitigation: str = _field(
        "mitigation", "gradient_reversal", "bias mitigation; fairkd.list_mitigations() lists the names"
    )
    adversary_weight: float = _field(
        "mitigation", 10.0, "strength of the adversary, [0, 1000]", ge=0, le=1000
    )
    adversary_weights: tuple[Annotated[float, Field(ge=0, le=1000)], ...] = _field(
        "evaluation",
        (1.0, 30.0),
        "further weights of the trade-off curve, each [0, 1000]; [] for none",
    )
    temperatures: tuple[Annotated[float, Field(gt=0, le=100)], ...] = _field(
        "evaluation",
        (1.0, 10.0),
        "further temperatures of the temperature study, each (0, 100]; [] for none",
    )
    adversary_input: Literal["features", "logits"] = _field(
        "mitigation", "features", "what the adversary reads"
    )
    adversary_sees_label: bool = _field(
        "mitigation", True, "give the adversary the label too: equalised odds instead of demographic parity"
    )
    adversary_balanced: bool = _field(
        "mitigation", True, "weigh the adversary's loss so that every class x group cell counts alike"
    )
    adversary_penalty: float = _field(
        "mitigation", 1.0, "gradient penalty that keeps the game stable, [0, 1000]; 0: none", ge=0, le=1000
    )
    adversary_learning_rate: float = _field("mitigation", 2e-3, "the adversary's own, (0, 10]", gt=0, le=10)
    adversary_hidden: int = _field("mitigation", 64, "units of its hidden layer, [1, 65536]", ge=1, le=65536)

    critic_published: bool = _field(
        "mitigation", False, "recall_gap_critic: the capstone's exact form instead of what it meant"
    )
    dro_step_size: float = _field(
        "mitigation", 0.01, "group_dro: step of the groups' weights, (0, 10]", gt=0, le=10
    )

    distillers: tuple[str, ...] = _field(
        "evaluation", ("kd", "dkd"), "distillers compared, without mitigation; 'all' for all"
    )
    mitigations: tuple[str, ...] = _field(
        "evaluation",
        ("gradient_reversal", "domain_independent"),
        "mitigations compared; name or name:weight",
    )
    every_pair: bool = _field("evaluation", False, "compare every distiller with every mitigation as well")
    seeds: int = _field("evaluation", 2, "number of seeds compared, from seed on, [1, 1000]", ge=1, le=1000)

    bootstrap_replicates: int = _field(
        "evaluation", 2000, "resamples for the intervals, [100, 1000000]", ge=100, le=1_000_000
    )
    confidence: float = _field("evaluation", 0.95, "coverage of the intervals, (0, 1)", gt=0, lt=1)

    run_name: str | None = _field("run", None, "folder under output_dir; None: made from the parameters")
    output_dir: str = _field("run", "outputs", "where runs and artefacts go; relative to the project's root")
    plugin: str | None = _field(
        "run", None, "Python file that registers networks, distillers or mitigations of your own"
    )
    device: str = _field("run", "auto", "auto, cpu, cuda, cuda:N or mps")
    teacher_cache_gb: float = _field(
        "run", 5.0, "10^9 bytes of teachers' outputs kept under output_dir, [0, 10^6]; 0: none", ge=0, le=1e6
    )
