"""Distillers and mitigations side by side: the same data, teacher and student, several seeds."""

from fairkd.comparison.methods import Method, check_methods_of, compare_methods, list_methods, save_comparison
from fairkd.comparison.seeds import seed_predictions
from fairkd.comparison.summary import (
    as_differences,
    as_points,
    best_method,
    methods_table,
    pareto_methods,
    summarize_methods,
)

__all__ = [
    "Method",
    "as_differences",
    "as_points",
    "best_method",
    "check_methods_of",
    "compare_methods",
    "list_methods",
    "methods_table",
    "pareto_methods",
    "save_comparison",
    "seed_predictions",
    "summarize_methods",
]
