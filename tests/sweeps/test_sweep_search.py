"""Optuna's search: what it proposes, what it is told, and that an interruption makes no difference."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from sweep_cases import InlineEngine, result, tiny

import fairkd
from fairkd.sweeps import Event, Scheduler
from fairkd.sweeps.records import Record
from fairkd.sweeps.search import JOURNAL, Search, objectives
from fairkd.sweeps.space import read_space

optuna = pytest.importorskip("optuna")

# A sweep of a few images is enough here.
pytestmark = pytest.mark.filterwarnings("ignore:the test split of colored-digits")

SPACE = {"adversary_weight": "0.1..30:log", "temperature": "1,4", "student_epochs": "1..3"}


def respond(job) -> dict:
    """A landscape with its smallest recall gap at weight 3 and its best accuracy at temperature 4."""
    experiment = job["experiment"]
    away = abs(math.log(experiment["adversary_weight"] / 3))
    found = result(0.9 if experiment["temperature"] == 4 else 0.8, away / 10)
    artifact = f"{job['kind']}-{experiment['adversary_weight']}"
    return {"result": {**found, "artifact": artifact}}


def search(folder, trials: int, **options):
    engine = InlineEngine(respond)
    table = fairkd.sweep(
        tiny(folder, run_name="sweep"), SPACE, search="optuna", trials=trials, engine=engine, **options
    )
    return engine, table[table["kind"] == "student"]


def record(answer: dict | None) -> Record:
    return Record("k", "t", "failed" if answer is None else "finished", 1, 1.0, "", result=answer)


def test_proposals_are_in_the_space_and_few_digits_long(tmp_path):
    proposed = Search(tmp_path, read_space(SPACE), "tpe", 0)
    for number in range(12):
        found, values = proposed.ask()
        assert found == number
        assert 0.1 <= values["adversary_weight"] <= 30 and len(str(values["adversary_weight"])) <= 6
        assert values["temperature"] in (1.0, 4.0) and values["student_epochs"] in (1, 2, 3)
        proposed.tell(number, (0.5, 0.5))
    assert len({values["adversary_weight"] for values in proposed.known.values()}) == 12


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_the_same_seed_proposes_the_same_and_an_interruption_makes_no_difference(tmp_path, sampler):
    def asked(folder, pauses: tuple[int, ...]) -> list[dict]:
        found = []
        for trials in pauses:
            one = Search(folder, read_space(SPACE), sampler, 7)
            for _ in range(trials):
                number, values = one.ask()
                one.tell(number, (1 / (1 + number % 3), values["adversary_weight"] / 30))
                found.append(values)
        return found

    whole = asked(tmp_path / "whole", (24,))
    assert asked(tmp_path / "parts", (3, 8, 13)) == whole
    other = Search(tmp_path / "other", read_space(SPACE), sampler, 8)
    assert other.ask()[1] != whole[0]


def test_what_a_killed_process_left_of_a_proposal_is_made_again(tmp_path):
    def first_values(folder, *, cut: bool) -> list[dict]:
        before = Search(folder, read_space(SPACE), "tpe", 7)
        values = [before.ask()[1]]
        if cut:
            before.ask()
            journal = folder / JOURNAL
            lines = journal.read_bytes().splitlines(keepends=True)
            # The second proposal with one of its three parameters, then half a line, and the lock.
            journal.write_bytes(b"".join(lines[:-2]) + lines[-2][:20])
            (folder / f"{JOURNAL}.lock").symlink_to(journal)
        after = Search(folder, read_space(SPACE), "tpe", 7)
        assert list(after.known.values()) == values
        return values + [after.ask()[1] for _ in range(2)]

    began = time.monotonic()
    assert first_values(tmp_path / "cut", cut=True) == first_values(tmp_path / "whole", cut=False)
    # Optuna itself would wait for the lock for half a minute.
    assert time.monotonic() - began < 25


def test_lists_can_be_choices(tmp_path):
    space = read_space({"co_teachers": [("test_vit",), ("test_vit", "resnet10t")]})
    assert Search(tmp_path, space, "tpe", 0).ask()[1]["co_teachers"] in space[0].ends


def test_objectives_are_means_over_the_seeds_on_validation_data():
    assert objectives([record(result(0.8, 0.2)), record(result(0.9, 0.4))]) == pytest.approx((0.85, 0.3))
    assert objectives([record(result(0.8, 0.2)), record(None)]) is None
    collapsed = objectives([record(result(0.1, 0.0, collapsed=True)), record(result(0.9, 0.4))])
    assert collapsed == pytest.approx((0.5, 0.7)), "the gap of a collapsed student is no small one"
    undefined = result(0.8, 0.2)
    undefined["scores"][2]["validation"] = None
    assert objectives([record(undefined)]) is None


def test_a_search_tries_so_many_settings_and_goes_on_with_more(tmp_path):
    for name in ("3", "3.0"):
        (tmp_path / "artifacts" / name).mkdir(parents=True)
    engine, students = search(tmp_path, 4)
    assert len(students) == 4 and len(engine.started) == 4 + 1 + students["student_epochs"].nunique()
    for artifact in [f"{kind}-{w}" for kind in ("teacher", "kd") for w in (10.0,)] + list(
        students["artifact"]
    ):
        folder = tmp_path / "artifacts" / artifact
        folder.mkdir(exist_ok=True)
        (folder / "config.json").touch()
    assert search(tmp_path, 4)[0].started == [], "nothing is left to do"
    engine, more = search(tmp_path, 6)
    assert more["setting"].tolist()[:4] == students["setting"].tolist() and len(more) == 6
    journal = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "sweep" / JOURNAL))
    )
    study = optuna.load_study(study_name="sweep", storage=journal)
    told = {tuple(trial.values) for trial in study.trials}
    columns = more[["accuracy_validation", "recall_gap_validation"]]
    assert told == {tuple(row) for row in columns.to_numpy()}
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]


def test_a_search_that_is_cut_off_takes_up_what_it_had_proposed(tmp_path):
    def interrupt(event: Event, scheduler: Scheduler) -> None:
        if event.kind == "start" and event.trial.kind == "student" and event.trial.number > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "cut", 5, on_event=interrupt)
    _, after = search(tmp_path / "cut", 5)
    _, whole = search(tmp_path / "whole", 5)
    columns = ["setting", "accuracy", "recall_gap", "state"]
    assert after[columns].reset_index(drop=True).equals(whole[columns].reset_index(drop=True))


def test_the_search_finds_what_is_good(tmp_path):
    _, students = search(tmp_path, 30)
    best = students[students["accuracy_validation"] == 0.9].sort_values("recall_gap_validation").iloc[0]
    assert abs(np.log(best["adversary_weight"] / 3)) < 0.4
