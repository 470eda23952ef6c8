"""The student as a file that runs without fairkd, and what became of it on the way: agreement, fairness, cost.

``onnx`` is the network itself, ``onnx-int8`` and ``onnx-int8-dynamic`` are quantised, ``pt2`` is PyTorch's own
exported program. What is audited is the written file, run by the runtime that a device would use.
"""

from fairkd.export.audit import ExportAudit, audit_export, changed_decisions, describe_export
from fairkd.export.deploy import Export, export_model, export_run
from fairkd.export.formats import FORMATS, Format, check_format
from fairkd.export.graphs import export_onnx, export_pt2
from fairkd.export.quantize import calibration_rows, quantize_onnx
from fairkd.export.runs import load_run, load_trained
from fairkd.export.runtime import ExportedModel, load_exported, predict_exported
from fairkd.export.summary import (
    changes_by_group,
    costs_table,
    differences,
    evaluations,
    files_table,
    save_exports,
)

__all__ = [
    "FORMATS",
    "Export",
    "ExportAudit",
    "ExportedModel",
    "Format",
    "audit_export",
    "calibration_rows",
    "changed_decisions",
    "changes_by_group",
    "check_format",
    "costs_table",
    "describe_export",
    "differences",
    "evaluations",
    "export_model",
    "export_onnx",
    "export_pt2",
    "export_run",
    "files_table",
    "load_exported",
    "load_run",
    "load_trained",
    "predict_exported",
    "quantize_onnx",
    "save_exports",
]
