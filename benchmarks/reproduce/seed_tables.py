"""What the pages of the reproductions share: rows of several seeds, their means, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t


def read(folder: Path) -> pd.DataFrame:
    """Return what the runs noted: ``row, seed, split, metric, value, param_count, seconds``."""
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise SystemExit(f"{folder} holds no results yet")
    return pd.concat([pd.read_csv(file) for file in files], ignore_index=True)


def values(table: pd.DataFrame, row: str, metric: str, split: str = "test") -> pd.Series:
    """Return a row's values of a metric by seed."""
    chosen = (table["row"] == row) & (table["metric"] == metric) & (table["split"] == split)
    return table[chosen].set_index("seed")["value"].sort_index()


def mean_and_spread(found: pd.Series, digits: int = 1) -> str:
    """Write percent, mean ± standard deviation over the seeds."""
    if found.empty:
        return "not run"
    mean = f"{100 * found.mean():.{digits}f}"
    return mean if len(found) == 1 else f"{mean} ± {100 * found.std(ddof=1):.{digits}f}"


def difference(table: pd.DataFrame, row: str, base: str, metric: str) -> tuple[float, float, float, int]:
    """Return the mean paired difference row - base, Student's 95 % limits (NaN for one seed), and the seeds."""
    pairs = pd.concat([values(table, row, metric), values(table, base, metric)], axis=1).dropna()
    if pairs.empty:
        return np.nan, np.nan, np.nan, 0
    found = (pairs.iloc[:, 0] - pairs.iloc[:, 1]).to_numpy()
    mean, n = float(found.mean()), len(found)
    if n == 1:
        return mean, np.nan, np.nan, n
    half = float(t.ppf(0.975, n - 1) * found.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half, n


def say_difference(table: pd.DataFrame, row: str, base: str, metric: str, title: str) -> str:
    """Say a difference in percentage points, and whether the seeds settle its sign."""
    mean, low, high, n = difference(table, row, base, metric)
    if n == 0:
        return f"{title}: not run"
    text = f"{title} {signed(mean)} points"
    if n == 1:
        return f"{text} (one seed: no interval)"
    settled = "settled" if low > 0 or high < 0 else "not settled"
    return f"{text} ({signed(low)} to {signed(high)}, {n} seeds: {settled})"


def signed(share: float) -> str:
    """Write a share as signed percentage points."""
    return f"{100 * share:+.1f}".replace("-", "−")


def rows_table(table: pd.DataFrame, rows: Sequence[str], metrics: Mapping[str, str]) -> str:
    """Return a Markdown table: a row a model, a column a metric of the test split in percent."""
    lines = [
        f"| model | seeds | {' | '.join(metrics.values())} | parameters | training (s) |",
        f"|---|---|{'---|' * len(metrics)}---|---|",
    ]
    for row in rows:
        part = table[table["row"] == row]
        if part.empty:
            lines.append(f"| {row} | 0 | {'not run | ' * len(metrics)} | |")
            continue
        cells = [mean_and_spread(values(table, row, metric)) for metric in metrics]
        seconds = part.drop_duplicates("seed")["seconds"].mean()
        lines.append(
            f"| {row} | {part['seed'].nunique()} | {' | '.join(cells)} | {part['param_count'].iloc[0]:,} "
            f"| {seconds:,.0f} |"
        )
    return "\n".join(lines)
