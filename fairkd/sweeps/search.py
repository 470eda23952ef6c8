"""Optuna's multi-objective search: more accuracy, less recall gap, both on validation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from fairkd.errors import ParameterError
from fairkd.store import write_atomic
from fairkd.sweeps.records import Record
from fairkd.sweeps.space import Dimension, Range, show_value

Sampler = Literal["tpe", "nsga2"]
SAMPLERS: tuple[Sampler, ...] = ("tpe", "nsga2")
JOURNAL = "optuna.journal"
_DIGITS = 4


class Search:
    """Proposes settings and is told how they did. Its memory is a journal in the sweep's folder.

    A proposal depends on the seed, its number and what is known by then, so that an interrupted search goes on as
    if nothing had been.

    Args:
        folder: the sweep's.
        dimensions: what is varied.
        sampler: ``tpe`` (tree-structured Parzen estimator) or ``nsga2`` (NSGA-II).
        seed: of the proposals.

    Raises:
        ParameterError: Optuna is not installed.
    """

    def __init__(self, folder: Path, dimensions: Sequence[Dimension], sampler: Sampler, seed: int) -> None:
        self._optuna = import_optuna()
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        self._dimensions, self._sampler, self._seed = dimensions, sampler, seed
        folder.mkdir(parents=True, exist_ok=True)
        storages = self._optuna.storages
        _mend(folder / JOURNAL)
        backend = storages.journal.JournalFileBackend(str(folder / JOURNAL))
        self._study = self._optuna.create_study(
            storage=storages.JournalStorage(backend),
            study_name="sweep",
            directions=["maximize", "minimize"],
            load_if_exists=True,
        )
        self._drop_halves()
        #: The settings proposed so far, in earlier invocations too, by their numbers.
        self.known = {
            trial.number: self._values(trial.params)
            for trial in self._study.get_trials(deepcopy=False)
            if len(trial.params) == len(self._dimensions)
        }

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Return a number and a new setting."""
        self._study.sampler = self._new_sampler(len(self.known))
        trial = self._study.ask(self._distributions())
        self.known[trial.number] = self._values(trial.params)
        return trial.number, self.known[trial.number]

    def tell(self, number: int, objectives: tuple[float, float] | None) -> None:
        """Say the accuracy and the recall gap of a setting; ``None``: a training failed."""
        state = self._optuna.trial.TrialState.FAIL if objectives is None else None
        self._study.tell(number, objectives, state=state, skip_if_finished=True)

    def _drop_halves(self) -> None:
        """Give up proposals during which a process was killed; they are made again under another number."""
        for trial in self._study.get_trials(deepcopy=False):
            if len(trial.params) < len(self._dimensions):
                self.tell(trial.number, None)

    def _new_sampler(self, number: int) -> Any:
        samplers, seed = self._optuna.samplers, (self._seed << 20) + number
        if self._sampler == "nsga2":
            # Optuna's own 50 would make one generation of a whole sweep.
            return samplers.NSGAIISampler(seed=seed % 2**32, population_size=20)
        # What is still being trained counts as bad, so that neighbours in time do not try the same.
        return samplers.TPESampler(seed=seed % 2**32, constant_liar=True)

    def _distributions(self) -> dict[str, Any]:
        kinds = self._optuna.distributions
        found: dict[str, Any] = {}
        for one in self._dimensions:
            if not isinstance(one, Range):
                # As text: Optuna takes no lists as choices.
                found[one.name] = kinds.CategoricalDistribution([show_value(value) for value in one.values])
            elif one.integer:
                found[one.name] = kinds.IntDistribution(int(one.low), int(one.high), log=one.log)
            else:
                found[one.name] = kinds.FloatDistribution(one.low, one.high, log=one.log)
        return found

    def _values(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for one in self._dimensions:
            given = parameters[one.name]
            if not isinstance(one, Range):
                given = {show_value(value): value for value in one.values}[given]
            elif not one.integer:
                # Digits that make no difference would make the reproducing command unreadable.
                given = min(max(float(f"{given:.{_DIGITS}g}"), one.low), one.high)
            values[one.name] = given
        return values


def objectives(records: Sequence[Record]) -> tuple[float, float] | None:
    """Return the mean validation accuracy and recall gap over the seeds; ``None`` if a training failed.

    A collapsed student's gap counts as 1, the worst there is: it says nothing about fairness.
    """
    if not all(record.finished for record in records):
        return None
    pairs = []
    for record in records:
        scores, collapsed = record.scores(), bool(record.result and record.result["collapsed"])
        gap = scores["recall_gap"]["validation"]
        if gap is None or gap != gap:
            return None
        pairs.append((scores["accuracy"]["validation"], 1.0 if collapsed else gap))
    return sum(a for a, _ in pairs) / len(pairs), sum(g for _, g in pairs) / len(pairs)


def _mend(journal: Path) -> None:
    """Take away what a killed process has left: its lock, and half a line. The sweep's folder is locked by us."""
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if journal.is_file():
        content = journal.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            write_atomic(journal, lambda path: path.write_bytes(whole))


def import_optuna() -> Any:
    """Return Optuna.

    Raises:
        ParameterError: it is not installed.
    """
    try:
        import optuna
        import optuna.storages.journal
    except ImportError as error:
        raise ParameterError("--search optuna needs Optuna: pip install 'fairkd[sweep]'") from error
    return optuna
