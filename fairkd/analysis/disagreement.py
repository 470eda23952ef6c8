"""Where a student contradicts its teacher: who gains and who loses, sample by sample.

Hooker et al. (2019, What Do Compressed Deep Neural Networks Forget?, arXiv 1911.05248) call a test sample a
compression-identified exemplar where the modal prediction of several compressed models differs from that of the
original ones. With one model each it is the sample on which they disagree; :func:`modal` reduces several seeds to one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fairkd.errors import DataError
from fairkd.frames import AnyPredictions, from_frames
from fairkd.metrics.proportions import wilson_interval
from fairkd.predictions import Predictions, align

#: What can become of a sample; the first two and the last are disagreements.
OUTCOMES = (
    "teacher right, student wrong",
    "teacher wrong, student right",
    "both right",
    "both wrong, same class",
    "both wrong, other class",
)
_CHANGED = (OUTCOMES[0], OUTCOMES[1], OUTCOMES[4])
#: The row that puts the three disagreements together.
DISAGREE = "predictions differ"
_SMALLEST = 1e-12


def disagreement(
    teacher: AnyPredictions, student: AnyPredictions, *, confidence: float = 0.95
) -> pd.DataFrame:
    """Count what became of the samples, for all and for each group.

    Args:
        teacher: predictions of the original model, or a table as :mod:`fairkd.frames` describes it.
        student: those of the compressed model on the same samples.
        confidence: nominal coverage, (0, 1).

    Returns:
        Tidy rows ``group, outcome, n, total, share, low, high``: group ``"all"`` first, each with the five
        ``OUTCOMES`` and their sum ``"predictions differ"``. The limits are Wilson's with the number of units as trials,
        which is conservative where rows of one unit do not share their outcome.

    Raises:
        DataError: other samples in one than in the other.
    """
    table = _paired(teacher, student)
    every = {"all": np.ones(len(table), dtype=bool)}
    every |= {name: (table["group"] == name).to_numpy() for name in table["group"].cat.categories}
    rows = []
    for name, members in every.items():
        outcomes, units = table["outcome"][members], table["unit"][members].nunique()
        counts = outcomes.value_counts()
        found = {outcome: int(counts.get(outcome, 0)) for outcome in OUTCOMES}
        found[DISAGREE] = sum(found[outcome] for outcome in _CHANGED)
        rows += [(name, outcome, n, len(outcomes), units) for outcome, n in found.items()]
    summary = pd.DataFrame(rows, columns=["group", "outcome", "n", "total", "units"])
    share = (summary["n"] / summary["total"].where(summary["total"] > 0)).to_numpy()
    units = summary.pop("units").to_numpy()
    low, high = wilson_interval(share * units, units, confidence)
    return summary.assign(share=share, low=low, high=high)


def exemplars(
    teacher: AnyPredictions, student: AnyPredictions, *, every_sample: bool = False
) -> pd.DataFrame:
    """List the samples on which teacher and student disagree, those that lost most first.

    The margin of a model is the log-probability of the true class minus that of the likeliest other class, nats:
    negative where the model is wrong.

    Args:
        teacher: as :func:`disagreement`.
        student: as there.
        every_sample: also those on which they agree.

    Returns:
        One row a sample with the columns ``index, unit, label, group, teacher_prediction, student_prediction,
        outcome, teacher_margin, student_margin, margin_change`` (student minus teacher), sorted by ``margin_change``
        and index; margins are NaN for models without probabilities. ``to_csv`` exports it, any column sorts it.

    Raises:
        DataError: as :func:`disagreement`.
    """
    table = _paired(teacher, student)
    if not every_sample:
        table = table[table["outcome"].isin(_CHANGED)]
    return table.sort_values(["margin_change", "index"], kind="stable").reset_index(drop=True)


def modal(seeds: Sequence[AnyPredictions]) -> Predictions:
    """Reduce the predictions of several seeds to the class that most of them predict.

    Args:
        seeds: predictions, or tables as :mod:`fairkd.frames` describes them, on the same samples; at least one.

    Returns:
        Predictions with that class; of several classes with as many votes the one with the larger mean probability
        (then the first). The probabilities are the mean ones, if all seeds have probabilities.

    Raises:
        DataError: no seeds, or other samples in one than in another.
    """
    if not seeds:
        raise DataError("modal needs the predictions of at least one seed")
    models = list(align(from_frames({f"seed {number}": one for number, one in enumerate(seeds)})).values())
    first = models[0]
    votes = np.zeros((len(first), len(first.class_names)))
    for one in models:
        votes[np.arange(len(votes)), one.predicted] += 1
    known = all(one.has_probabilities for one in models)
    mean = np.mean([one.probabilities for one in models], axis=0) if known else np.zeros_like(votes)
    # A mean probability is at most 1: less than half of it never outweighs a vote.
    chosen = (votes + 0.4 * mean).argmax(axis=1)
    frame = first.frame[["index", "unit", "split", "label", "group"]].copy()
    frame["prediction"] = pd.Categorical.from_codes(chosen, dtype=first.frame["prediction"].dtype)
    if known:
        columns = {f"probability_{c}": mean[:, c] for c in range(mean.shape[1])}
        frame = pd.concat([frame, pd.DataFrame(columns, index=frame.index)], axis=1)
    return Predictions(frame)


def margins(predictions: Predictions) -> np.ndarray:
    """Return ``log p(true class) - max log p(another class)`` of each sample ``(n,)``; NaN without probabilities."""
    if not predictions.has_probabilities:
        return np.full(len(predictions), np.nan)
    logs = np.log(np.clip(predictions.probabilities, _SMALLEST, None))
    rows = np.arange(len(logs))
    own = logs[rows, predictions.labels]
    logs[rows, predictions.labels] = -np.inf
    return np.asarray(own - logs.max(axis=1))


def _paired(teacher: AnyPredictions, student: AnyPredictions) -> pd.DataFrame:
    """Return every sample with both predictions, its outcome and margins."""
    old, new = align(from_frames({"teacher": teacher, "student": student})).values()
    right, still = old.predicted == old.labels, new.predicted == new.labels
    same = old.predicted == new.predicted
    outcome = np.select([right & ~still, ~right & still, right, same], OUTCOMES[:4], OUTCOMES[4])
    table = old.frame[["index", "unit", "label", "group"]].reset_index(drop=True)
    before, after = margins(old), margins(new)
    return table.assign(
        teacher_prediction=old.frame["prediction"].to_numpy(),
        student_prediction=new.frame["prediction"].to_numpy(),
        outcome=outcome,
        teacher_margin=before,
        student_margin=after,
        margin_change=after - before,
    )
