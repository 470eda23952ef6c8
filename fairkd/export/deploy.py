"""The whole way: write the file, run it on the test split, compare, measure, and write the card beside it."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairkd.data.splits import Splits
from fairkd.efficiency import measure
from fairkd.export.audit import EXPORTED, ORIGINAL, ExportAudit, audit_export, describe_export, few_samples
from fairkd.export.formats import PREFIX, Format, check_format
from fairkd.export.graphs import export_onnx, export_pt2
from fairkd.export.quantize import calibration_rows, quantize_onnx
from fairkd.export.runs import check_role, load_run, load_trained
from fairkd.export.runtime import ExportedModel, as_predictions, load_exported, measure_exported
from fairkd.inference import outputs_of
from fairkd.models import Network
from fairkd.progress import ProgressBar
from fairkd.recipes import TrainedModel, load_splits, student_role
from fairkd.report.model_card import ModelCard, model_card
from fairkd.reproducibility import environment, version_of
from fairkd.results import bootstrap_options
from fairkd.shown import Shown
from fairkd.store import file_digest, read_json

#: Largest difference between a logit of the network and of a floating-point file, as a share of the largest logit.
TOLERANCE = 1e-4

_RUN_ONNX = """\
import json
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

options = onnxruntime.SessionOptions()
# Exact 8-bit sums on every x86 processor.
options.add_session_config_entry("session.x64quantprecision", "1")
providers = ["CPUExecutionProvider"]
session = onnxruntime.InferenceSession({file!r}, options, providers=providers)
names = json.loads(session.get_modelmeta().custom_metadata_map["fairkd.class_names"])
image = ImageOps.exif_transpose(Image.open("image.png"))
if image.has_transparency_data:
    image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
image = ImageOps.fit(image.convert("RGB"), ({width}, {height}), Image.Resampling.BICUBIC)
images = np.asarray(image).transpose(2, 0, 1)[None]  # uint8 (1, 3, {height}, {width})
logits = session.run(["logits"], {{"images": images}})[0]
print(names[int(logits[0].argmax())])"""

_RUN_PT2 = """\
import json
import numpy as np
import torch
from PIL import Image, ImageOps

extra = {{"fairkd.json": ""}}
# This unpickles: open only files that you trust.
model = torch.export.load({file!r}, extra_files=extra).module()
names = json.loads(json.loads(extra["fairkd.json"])["fairkd.class_names"])
image = ImageOps.exif_transpose(Image.open("image.png"))
if image.has_transparency_data:
    image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
image = ImageOps.fit(image.convert("RGB"), ({width}, {height}), Image.Resampling.BICUBIC)
images = np.asarray(image).transpose(2, 0, 1)[None]  # uint8 (1, 3, {height}, {width})
print(names[int(model(torch.from_numpy(images.copy()))[0].argmax())])"""


@dataclass(frozen=True, repr=False)
class Export(Shown):
    """A written file with its audit, its cost and its card.

    ``efficiency`` has a row for the original network and one for the file. ``logit_difference`` is the largest
    difference between a logit of the two over the test split, ``logit_scale`` the largest logit of the network.
    """

    path: Path
    card_path: Path
    card: ModelCard
    audit: ExportAudit
    efficiency: pd.DataFrame
    logit_difference: float
    logit_scale: float

    def summary(self) -> dict[str, str]:
        """Return the file's name and size, and on how many test images it decides otherwise."""
        every = self.audit.changes.iloc[0]
        return {
            "file": self.path.name,
            "size": f"{self.path.stat().st_size / 1e6:.2f} MB" if self.path.exists() else "gone",
            "decisions changed": f"{every['changed']:,} of {every['n']:,} test images",
            "largest difference of a logit": f"{self.logit_difference:.2g}",
            "card": self.card_path.name,
        }

    @property
    def agrees(self) -> bool:
        """Whether the logits are those of the network but for rounding: expected of floating-point files."""
        return self.logit_difference <= TOLERANCE * max(1.0, self.logit_scale)


def export_model(
    trained: TrainedModel,
    splits: Splits,
    folder: Path | str,
    *,
    format_name: str = "onnx",
    name: str = "model",
    **options: Any,
) -> Export:
    """Export a trained model, audit the written file on the test split, and write its card.

    Args:
        trained: the model with its test predictions.
        splits: the data that it was trained on.
        folder: where ``<name><suffix>`` and the card, ``<file>.json`` and ``<file>.html``, go.
        format_name: a name in :data:`fairkd.export.FORMATS`.
        name: the model's name.
        options: of :func:`fairkd.evaluate`: ``replicates``, ``confidence``, ``bootstrap_seed``.

    Raises:
        ParameterError: an unknown format, or a network that cannot be exported.
        FairkdError: a package is missing; says how to install it.
        ArtifactError: a file cannot be written.

    Example:
        >>> export_model(student, splits, "out", format_name="onnx-int8").audit.changes
    """
    chosen = check_format(format_name)
    with ProgressBar(f"{name} as {format_name}: file, logits, audit, cost", 4) as bar:
        path = _write(chosen, trained.model, splits, Path(folder) / f"{name}{chosen.suffix}", name)
        bar.update()
        exported, network = load_exported(path), copy.deepcopy(trained.model).cpu()
        found = exported.logits(splits.test.images)
        logits = outputs_of(network, splits.test.images).logits
        bar.update()
        audit = audit_export(trained.predictions, as_predictions(found, splits, "test"), **options)
        bar.update()
        costs = _costs(network, trained.folder / "model.safetensors", exported, splits)
        bar.update()
    difference, scale = float(np.abs(found - logits).max()), float(np.abs(logits).max())
    card = _card(chosen, exported, trained, splits, audit, costs, difference, name)
    card_path = card.save(folder, path.name)
    return Export(path, card_path, card, audit, costs, difference, scale)


def export_run(
    run_folder: Path | str,
    *,
    model: str | None = None,
    format_name: str = "onnx",
    output: Path | str | None = None,
    plugin: Path | str | None = None,
) -> Export:
    """Export one of a finished run's models: what ``fairkd export`` does.

    Args:
        run_folder: ``outputs/<run>``.
        model: ``teacher``, ``student_scratch``, ``student_kd`` or ``student_fair``; default: the last, in a run without
            a mitigation ``student_kd``.
        format_name: a name in :data:`fairkd.export.FORMATS`.
        output: where the files go; default: ``export`` in the run folder.
        plugin: the Python file with the run's own networks and methods, if the model needs it.

    Raises:
        ParameterError: an unknown format or model, or a network that cannot be exported.
        ArtifactError: no such run, one without this model yet, a damaged file, or a place that cannot be written to.
        DataError: the data are gone or have changed.
        FairkdError: a package is missing; says how to install it.
    """
    check_format(format_name)
    experiment = load_run(run_folder, plugin)
    name = student_role(experiment) if model is None else check_role(model)
    splits = load_splits(experiment)
    trained = load_trained(experiment, name, splits)
    folder = output or Path(run_folder) / "export"
    options = bootstrap_options(experiment)
    return export_model(trained, splits, folder, format_name=format_name, name=name, **options)


def _write(chosen: Format, network: Network, splits: Splits, path: Path, name: str) -> Path:
    if chosen.name == "pt2":
        return export_pt2(network, splits, path, name=name)
    if chosen.name == "onnx":
        return export_onnx(network, splits, path, name=name)
    with tempfile.TemporaryDirectory() as folder:
        source = export_onnx(network, splits, Path(folder, "float.onnx"), name=name)
        return quantize_onnx(source, path, splits, dynamic=chosen.name.endswith("dynamic"))


def _costs(network: Network, weights: Path, exported: ExportedModel, splits: Splits) -> pd.DataFrame:
    original = measure(network, min(splits.image_size), weights)
    # A file has the parameters and operations of its network, in another number format.
    same = {name: original[name] for name in ("param_count", "macs")}
    rows = [
        {"model": ORIGINAL, **original},
        {"model": EXPORTED, **same, **measure_exported(exported, splits)},
    ]
    return pd.DataFrame(rows)


def _card(
    chosen: Format,
    exported: ExportedModel,
    trained: TrainedModel,
    splits: Splits,
    audit: ExportAudit,
    costs: pd.DataFrame,
    difference: float,
    name: str,
) -> ModelCard:
    height, width = splits.image_size
    path = exported.path
    snippet = _RUN_PT2 if chosen.name == "pt2" else _RUN_ONNX
    agreement = f"The largest difference between a logit of the file and of the network is {difference:.2g}."
    return model_card(
        splits,
        name=f"{name}, {chosen.name}",
        file={
            "name": path.name,
            "format": chosen.description,
            "bytes": path.stat().st_size,
            "SHA-256": file_digest(path),
            **{key: exported.metadata[f"{PREFIX}{key}"] for key in ("input", "preprocessing", "output")},
            "made from": trained.folder.name,
        },
        training=read_json(trained.folder / "config.json")["determined_by"],
        evaluation=audit.evaluation,
        comparison=audit.comparison,
        changes=audit.changes,
        efficiency=costs,
        findings=[agreement, *describe_export(audit)],
        limits=_limits(chosen, splits, audit, exported.runtime),
        versions={
            **_versions(),
            "audited with": exported.runtime,
            "hardware": str(costs["hardware"].iloc[1]),
        },
        how_to_run=snippet.format(file=path.name, height=height, width=width),
    )


def _limits(chosen: Format, splits: Splits, audit: ExportAudit, runtime: str) -> list[str]:
    few = few_samples(audit)
    sentences = [
        f"Measured on {len(splits.test):,} test images of {splits.name} by {splits.group_name} alone: other data, and "
        "groups that nobody annotated, may fare otherwise.",
        f"Audited with {runtime} on one machine; another runtime or processor rounds otherwise and can change "
        "decisions that are close.",
    ]
    if chosen.name == "onnx-int8":
        n = len(calibration_rows(splits.validation))
        sentences.append(
            f"The ranges of the activations come from {n:,} validation images, even over class and group."
        )
    if few:
        shown = ", ".join(few[:8]) + (f" and {len(few) - 8} more" if len(few) > 8 else "")
        sentences.append(f"Too few test images to say anything of their recall: {shown}.")
    return sentences


def _versions() -> dict[str, Any]:
    found = environment()
    packages = {
        **found["packages"],
        **{name: version_of(name) for name in ("onnx", "onnxruntime", "onnxscript")},
    }
    return {
        "Python": found["python"],
        **{name: version or "not installed" for name, version in packages.items()},
    }
