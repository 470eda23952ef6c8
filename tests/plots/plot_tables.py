"""Synthetic tables of any size, and every figure drawn from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fairkd import plots

#: A name that plotly would read as markup and as a formula if it were not escaped.
HOSTILE = "<i>cat</i> & $x$"
MODELS = ("teacher", "student_scratch", "student_kd", "student_fair")


@dataclass
class Tables:
    """Tables for some classes, groups and models; values are random but fixed by the seed."""

    classes: tuple[str, ...]
    groups: tuple[str, ...]
    models: tuple[str, ...] = MODELS
    seed: int = 0

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    @classmethod
    def sized(cls, num_classes: int, num_groups: int, models: tuple[str, ...] = MODELS) -> Tables:
        classes = (HOSTILE, *(f"class {c}" for c in range(1, num_classes)))
        return cls(classes, (f"{HOSTILE} group", *(f"group {g}" for g in range(1, num_groups))), models)

    def interval(self) -> dict[str, float]:
        value = self.random.uniform(0.2, 0.9)
        low, high = value - self.random.uniform(0.01, 0.1), value + self.random.uniform(0.01, 0.1)
        return {"value": value, "low": low, "high": high}

    def counts(self) -> pd.DataFrame:
        cells = product(("train", "test"), self.classes, self.groups)
        return pd.DataFrame(
            [{"split": s, "class": c, "group": g, "n": int(self.random.integers(1, 99))} for s, c, g in cells]
        )

    def association(self) -> pd.DataFrame:
        cells = product(("train", "test"), ("cramers_v", "mutual_information"))
        return pd.DataFrame([{"split": s, "statistic": k, "value": self.random.uniform()} for s, k in cells])

    def predictability(self) -> pd.DataFrame:
        row = self.interval()
        row["balanced_accuracy"] = row.pop("value")
        return pd.DataFrame([{"target": HOSTILE, "source": "pixels", **row, "chance": 0.5, "n": 90}])

    def attributes(self) -> pd.DataFrame:
        values = [*((HOSTILE, name) for name in self.groups), ("age", "old"), ("age", None)]
        cells = product(("train", "test"), values)
        rows = [{"attribute": a, "split": s, "value": v, "n": 9} for s, (a, v) in cells]
        shares = pd.DataFrame([self.interval() for _ in rows]).rename(columns={"value": "share"})
        return pd.DataFrame(rows).join(shares)

    def image_statistics(self) -> pd.DataFrame:
        cells = product(("train", "test"), self.groups, ("brightness", "contrast", "saturation", "sharpness"))
        rows = [{"split": s, "group": g, "statistic": k, **self.interval(), "n": 40} for s, g, k in cells]
        return pd.DataFrame(rows)

    def suspects(self) -> pd.DataFrame:
        names = [self.classes[place % len(self.classes)] for place in range(8)]
        table = pd.DataFrame({"row": range(8), "label": names, "suggested": names[::-1]})
        return table.assign(self_confidence=self.random.uniform(size=8))

    def history(self, epochs: int = 12) -> pd.DataFrame:
        names = ["train_loss", "validation_accuracy", "validation_recall_gap"]
        names += [f"validation_accuracy[{group}]" for group in self.groups]
        names += ["adversary_balanced_accuracy", "adversary_strength"]
        table = pd.DataFrame({name: self.random.uniform(size=epochs) for name in names})
        epoch = np.arange(1, epochs + 1)
        return table.assign(epoch=epoch, chance=1 / len(self.groups), selected=epoch == max(1, epochs - 1))

    def bins(self) -> pd.DataFrame:
        cells = product(self.models, (0.15, 0.45, 0.75, 0.95))
        rows = [{"model": m, "bin_confidence": b, **self.interval(), "n": int(200 * b**3)} for m, b in cells]
        names = {"value": "bin_accuracy", "low": "accuracy_low", "high": "accuracy_high"}
        return pd.DataFrame(rows).rename(columns=names)

    def softened(self, temperatures: tuple[float, ...] = (1, 4, 16)) -> pd.DataFrame:
        cells = product((f"image 1: {HOSTILE}", "image 2"), temperatures, self.classes)
        rows = [{"sample": s, "temperature": t, "class": c, "label": self.classes[0]} for s, t, c in cells]
        return pd.DataFrame(rows).assign(probability=self.random.uniform(size=len(rows)))

    def entropy(self) -> pd.DataFrame:
        cells = product(self.groups, (0.5, 1, 2, 4, 8))
        rows = [{"group": g, "temperature": t, **self.interval(), "n": 40} for g, t in cells]
        return pd.DataFrame(rows).rename(columns={"value": "entropy"})

    def metrics(self) -> pd.DataFrame:
        cells = product(self.models, ("accuracy", "recall_gap", "equalized_odds_difference", "own_metric"))
        text = f"Largest minus smallest recall of {HOSTILE}."
        return pd.DataFrame(
            [{"model": m, "metric": k, **self.interval(), "definition": text, "n": 360} for m, k in cells]
        )

    def by_group(self) -> pd.DataFrame:
        cells = product(self.models, self.groups)
        return pd.DataFrame([{"model": m, "group": g, **self.interval(), "n": 18} for m, g in cells])

    def recall(self) -> pd.DataFrame:
        cells = product(self.models, self.classes, self.groups)
        rows = [{"model": m, "class": c, "group": g, **self.interval(), "n": 18} for m, c, g in cells]
        return pd.DataFrame(rows)

    def comparisons(self) -> pd.DataFrame:
        pairs = [(model, self.models[0]) for model in self.models[1:]] or [(self.models[0], "own_baseline")]
        places = [*product(("accuracy", "recall_gap"), ("all",)), *product(("recall_gap",), self.classes)]
        rows = [
            {"model": m, "baseline": b, "metric": k, "class": c, "supported": bool(self.random.integers(2))}
            | self.interval()
            for (m, b), (k, c) in product(pairs, places)
        ]
        return pd.DataFrame(rows)

    def inflation(self) -> pd.DataFrame:
        pairs = [(model, self.models[0]) for model in self.models[1:]] or [(self.models[0], "own_baseline")]
        places = [
            *(("overall", k, "all", "all") for k in ("accuracy", "recall_gap", f"own {HOSTILE}")),
            *(("group", "accuracy", "all", g) for g in self.groups),
            *(("class", "recall_gap", c, "all") for c in self.classes),
            *(("cell", "recall", c, g) for c, g in product(self.classes, self.groups)),
        ]
        rows = [
            {"model": m, "baseline": b, "level": v, "metric": k, "class": c, "group": g}
            | {"p_adjusted": self.random.uniform(), "n": 40}
            | self.interval()
            for (m, b), (v, k, c, g) in product(pairs, places)
        ]
        verdicts = ("larger", "smaller", "not settled", "too few samples")
        return pd.DataFrame(rows).assign(verdict=[verdicts[place % 4] for place in range(len(rows))])

    def disagreement(self) -> pd.DataFrame:
        outcomes = ("teacher right, student wrong", "teacher wrong, student right", "both right")
        cells = product(self.models, ("all", *self.groups), outcomes)
        rows = [{"model": m, "group": g, "outcome": o, **self.interval(), "n": 40} for m, g, o in cells]
        return pd.DataFrame(rows).rename(columns={"value": "share"})

    def leakage(self) -> pd.DataFrame:
        cells = product(self.models, ("logits", HOSTILE), ("linear", "mlp"))
        rows = [{"model": m, "input": i, "probe": p, **self.interval(), "n": 40} for m, i, p in cells]
        return pd.DataFrame(rows).rename(columns={"value": "balanced_accuracy"}).assign(chance=0.5)

    def calibration(self) -> pd.DataFrame:
        metrics = ("calibration_error_debiased", "brier_score", "overconfidence", "confidence_of_errors")
        cells = product(self.models, ("all", *self.groups), metrics)
        return pd.DataFrame(
            [{"model": m, "group": g, "metric": k, **self.interval(), "n": 40} for m, g, k in cells]
        )

    def reliability(self) -> pd.DataFrame:
        cells = product(self.models, ("all", *self.groups), range(3))
        rows = [{"model": m, "group": g, "bin": b, **self.interval(), "n": 4 * b + 4} for m, g, b in cells]
        names = {"value": "accuracy", "low": "accuracy_low", "high": "accuracy_high"}
        return pd.DataFrame(rows).rename(columns=names).assign(confidence=lambda rows: rows["bin"] / 3)

    def sensitivity(self) -> pd.DataFrame:
        cells = product(self.models, ("all", "same group", f"other {HOSTILE}"))
        return pd.DataFrame([{"model": m, "pairs": p, **self.interval(), "n": 40} for m, p in cells])

    def flips(self) -> pd.DataFrame:
        cells = product(self.models, self.groups, ("flip_rate", "lost_rate"))
        rows = [{"model": m, "group": g, "metric": k, **self.interval(), "n": 40} for m, g, k in cells]
        return pd.DataFrame(rows).assign(other_group=HOSTILE)

    def distances(self) -> pd.DataFrame:
        rows = [{"model": m, "place": c} for m, c in product(self.models, (*self.classes, "all"))]
        table = pd.DataFrame(rows)
        return table.assign(mmd2=self.random.uniform(size=len(table)), p_adjusted=0.2, n=40)

    def projection(self) -> pd.DataFrame:
        cells = product(self.models, self.classes, self.groups)
        table = pd.DataFrame([{"model": m, "class": c, "group": g, "x_share": 0.4} for m, c, g in cells])
        return table.assign(x=self.random.normal(size=len(table)), y=self.random.normal(size=len(table)))

    def exemplars(self) -> pd.DataFrame:
        names = {
            "label": self.classes[0],
            "teacher_prediction": HOSTILE,
            "student_prediction": self.classes[-1],
        }
        rows = [{"group": group, **names} for group, _ in product(self.groups, range(8))]
        return pd.DataFrame(rows).assign(row=range(len(rows)), margin_change=-1.0)

    def tradeoff(self) -> pd.DataFrame:
        rows = []
        for model in self.models:
            row: dict[str, Any] = {"model": model, "param_count": int(self.random.integers(1e4, 1e7))}
            for name in ("accuracy", "disparity"):
                drawn = self.interval()
                row |= {name: drawn["value"], f"{name}_low": drawn["low"], f"{name}_high": drawn["high"]}
            rows.append(row)
        return pd.DataFrame(rows)

    def front(self) -> pd.DataFrame:
        table = self.tradeoff()
        return table.assign(on_front=np.arange(len(table)) % 3 != 1)

    def changes(self) -> pd.DataFrame:
        cells = product(self.models, self.groups)
        table = pd.DataFrame([{"model": m, "group": g, **self.interval(), "n": 18} for m, g in cells])
        return table.rename(columns={"value": "share"})

    def costs(self) -> pd.DataFrame:
        table = pd.DataFrame({"model": self.models})
        for name in ("param_count", "macs", "latency_ms", "weights_mb"):
            table[name] = self.random.uniform(1, 1e6, len(table))
        return table

    def weights(self) -> pd.DataFrame:
        table = pd.DataFrame({"adversary_weight": [3.0, 0.0, 1.0, 0.3]})
        for name in ("accuracy", "recall_gap"):
            drawn = [self.interval() for _ in range(len(table))]
            table[name] = [row["value"] for row in drawn]
            table[f"{name}_low"] = [row["low"] for row in drawn]
            table[f"{name}_high"] = [row["high"] for row in drawn]
        return table.assign(selected=[False, False, True, False])

    def previews(self) -> pd.DataFrame:
        rows = [{"source": s, "adversary_weight": w} for s in ("preview", "trained") for w in (0, 0.3, 1, 10)]
        table = pd.DataFrame(rows).assign(chance=0.5, selected=lambda rows: rows["adversary_weight"] == 1)
        for name in ("accuracy", "recall_gap", "adversary_balanced_accuracy"):
            table[name] = self.random.uniform(0.1, 0.9, len(table))
        return table

    def saliency(self) -> pd.DataFrame:
        cells = product(self.groups, self.classes[:3])
        rows = [{"group": g, "label": c, "teacher_prediction": c, "student_prediction": c} for g, c in cells]
        return pd.DataFrame(rows).assign(row=range(len(rows)), reason=HOSTILE)

    def temperatures(self) -> pd.DataFrame:
        cells = product(
            ("validation", HOSTILE), (10.0, 1.0, 4.0), ("accuracy", "recall_gap", f"own {HOSTILE}")
        )
        rows = [{"split": s, "temperature": t, "metric": k, **self.interval(), "n": 40} for s, t, k in cells]
        return pd.DataFrame(rows).assign(own=lambda table: table["temperature"] == 4)

    def images(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n = 4 * len(self.classes) * len(self.groups)
        images = self.random.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
        return images, np.arange(n) % len(self.classes), np.arange(n) // len(self.classes) % len(self.groups)


def _saliency(table: pd.DataFrame, **options: Any) -> go.Figure:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (len(table), 8, 8, 3), dtype=np.uint8)
    maps = {name: random.random((len(table), 8, 8)) for name in ("teacher", f"own {HOSTILE}")}
    return plots.saliency_pairs(table, images, maps, **options)


def _grid(tables: Tables, **options: Any) -> go.Figure:
    return plots.image_grid(*tables.images(), tables.classes, tables.groups, **options)


def _exemplars(table: pd.DataFrame, **options: Any) -> go.Figure:
    images = np.random.default_rng(0).integers(0, 256, (len(table), 8, 8, 3), dtype=np.uint8)
    return plots.exemplar_grid(table, images, **options)


def _suspects(table: pd.DataFrame, **options: Any) -> go.Figure:
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    return plots.suspect_grid(table, images, **options)


#: Every figure that takes one table: the function, and the table that it takes.
FROM_TABLE: dict[str, tuple[Callable[..., go.Figure], Callable[[Tables], pd.DataFrame]]] = {
    "accuracy_versus_disparity": (plots.accuracy_versus_disparity, Tables.tradeoff),
    "adversary_curves": (plots.adversary_curves, Tables.history),
    "adversary_weight_curve": (plots.adversary_weight_curve, Tables.weights),
    "association_bars": (plots.association_bars, Tables.association),
    "attribute_shares": (plots.attribute_shares, Tables.attributes),
    "by_group_heatmap": (plots.by_group_heatmap, Tables.by_group),
    "calibration_dots": (plots.calibration_dots, Tables.calibration),
    "contingency_heatmap": (plots.contingency_heatmap, Tables.counts),
    "decision_changes": (plots.decision_changes, Tables.changes),
    "disagreement_dots": (plots.disagreement_dots, Tables.disagreement),
    "efficiency_bars": (plots.efficiency_bars, Tables.costs),
    "exemplar_grid": (_exemplars, Tables.exemplars),
    "flip_dots": (plots.flip_dots, Tables.flips),
    "group_distances": (plots.group_distances, Tables.distances),
    "image_statistics": (plots.image_statistics, Tables.image_statistics),
    "inflation_chart": (plots.inflation_chart, Tables.comparisons),
    "inflation_forest": (plots.inflation_forest, Tables.inflation),
    "leakage_dots": (plots.leakage_dots, Tables.leakage),
    "metric_comparison": (plots.metric_comparison, Tables.metrics),
    "pareto_front": (plots.pareto_front, Tables.front),
    "predictability_bars": (plots.predictability_bars, Tables.predictability),
    "preview_curve": (plots.preview_curve, Tables.previews),
    "projection_scatter": (plots.projection_scatter, Tables.projection),
    "recall_heatmap": (plots.recall_heatmap, Tables.recall),
    "reliability_diagram": (plots.reliability_diagram, Tables.bins),
    "reliability_grid": (plots.reliability_grid, Tables.reliability),
    "saliency_pairs": (_saliency, Tables.saliency),
    "sensitivity_dots": (plots.sensitivity_dots, Tables.sensitivity),
    "softened_labels": (plots.softened_labels, Tables.softened),
    "suspect_grid": (_suspects, Tables.suspects),
    "temperature_entropy": (plots.temperature_entropy, Tables.entropy),
    "temperature_study": (plots.temperature_study, Tables.temperatures),
    "training_curves": (plots.training_curves, Tables.history),
    "training_monitor": (plots.training_monitor, Tables.history),
}


def draw(name: str, tables: Tables, **options: Any) -> go.Figure:
    """Draw the figure ``name`` from its table."""
    if name == "image_grid":
        return _grid(tables, **options)
    function, table = FROM_TABLE[name]
    return function(table(tables), **options)


FIGURES = (*FROM_TABLE, "image_grid")
