"""Stop, pause, resume and changed settings, between two steps of a training."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from method_cases import DISTILLERS, MITIGATIONS
from training_cases import INTERRUPTED, assert_same, equal_states, make_network, make_trainer

from fairkd.distillers import distiller_options
from fairkd.errors import ParameterError, TrainingError
from fairkd.mitigation import mitigation_entry
from fairkd.recipes import TrainedModel, distill_student, is_trained, train_teacher
from fairkd.store import read_json
from fairkd.training import Change, StoppedError, Trainer, TrainingControl, one_training, stop_on_interrupt

# So few steps rarely suffice to predict more than one class.
pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")

#: Two steps an epoch.
STEPS = 2 * INTERRUPTED["epochs"]


def trainer_with(splits: Any, control: TrainingControl | None = None, **settings: Any) -> Trainer:
    trainer = make_trainer(splits, **{**INTERRUPTED, **settings})
    trainer.control = control or trainer.control
    return trainer


def at_step(number: int, act: Callable[[], object]) -> TrainingControl:
    """A control that does something while a step, counted from 0, is about to be taken."""

    def on_step(trainer: Trainer, epoch: int) -> None:
        if epoch * len(trainer.stream) + len(trainer.partial[1]) == number:
            act()

    return TrainingControl(on_step=on_step, settle_seconds=0)


def counted(trainer: Trainer) -> list[int]:
    """A list that grows by one with each step."""
    taken, step = [], trainer.step

    def count(*arguments: Any) -> Any:
        taken.append(1)
        return step(*arguments)

    trainer.step = count
    return taken


# Stop


@pytest.mark.parametrize("number", range(STEPS - 1))
def test_a_stopped_training_ends_after_the_step_and_goes_on_to_the_same_weights(
    tiny_splits, tmp_path, number
):
    control = at_step(number, lambda: control.stop())
    stopped = trainer_with(tiny_splits, control, folder=tmp_path)
    taken = counted(stopped)
    with pytest.raises(
        StoppedError, match=r"^student fair: stopped in epoch \d of 4, before step \d; "
    ) as caught:
        stopped.fit()
    assert len(taken) == number + 1, "the step that was going on is the last"
    expected = [float(epoch) for epoch in range(1, (number + 1) // 2 + 1)]
    expected += [(number + 1) / 2] * (number % 2 == 0)
    assert [row["epoch"] for row in caught.value.history] == expected
    assert (tmp_path / "checkpoint.pt").is_file()

    torch.manual_seed(12345)
    resumed = trainer_with(tiny_splits, control, folder=tmp_path, network=make_network(9))
    taken = counted(resumed)
    history = resumed.fit()
    assert len(taken) == STEPS - number - 1, "no step is repeated"
    whole = trainer_with(tiny_splits)
    assert_same(resumed, history, whole, whole.fit())


def test_noise_within_an_epoch_repeats_after_a_stop(tiny_splits, tmp_path):
    plain = make_trainer(tiny_splits, **INTERRUPTED).step

    def noisy(outputs, batch, progress):
        losses = plain(outputs, batch, progress)
        return {**losses, "loss": losses["loss"] * (1 + torch.rand(()))}

    control = at_step(2, lambda: control.stop())
    with pytest.raises(StoppedError):
        trainer_with(tiny_splits, control, folder=tmp_path, step=noisy).fit()
    torch.manual_seed(12345)
    resumed = trainer_with(tiny_splits, folder=tmp_path, step=noisy)
    history = resumed.fit()
    whole = trainer_with(tiny_splits, step=noisy)
    assert_same(resumed, history, whole, whole.fit())


def test_a_stop_that_is_taken_back_in_time_does_not_happen(tiny_splits):
    control = at_step(1, lambda: (control.stop(), control.resume()))
    assert len(trainer_with(tiny_splits, control).fit()) == INTERRUPTED["epochs"]


def test_what_is_not_finite_is_not_kept_by_a_stop(tiny_splits, tmp_path):
    control = at_step(0, lambda: control.stop())

    def ruined(outputs, batch, progress):
        return {"loss": outputs.logits.sum() * float("nan")}

    with pytest.raises(TrainingError, match="the loss is not finite at epoch 1, step 1"):
        trainer_with(tiny_splits, control, folder=tmp_path, step=ruined, mitigation="none").fit()
    assert not (tmp_path / "checkpoint.pt").exists()


# Pause


def test_a_paused_training_waits_and_goes_on_to_the_same_weights(tiny_splits):
    reached = threading.Event()
    control = at_step(2, lambda: (control.pause(), reached.set()))
    paused = trainer_with(tiny_splits, control)
    taken, histories = counted(paused), []
    thread = threading.Thread(target=lambda: histories.append(paused.fit()))
    thread.start()
    assert reached.wait(60)
    thread.join(0.3)
    assert thread.is_alive() and control.paused and len(taken) == 3
    control.resume()
    thread.join(60)
    whole = trainer_with(tiny_splits)
    assert_same(paused, histories[0], whole, whole.fit())


def test_a_paused_training_can_be_stopped(tiny_splits):
    reached, control = threading.Event(), TrainingControl()
    trainer = trainer_with(tiny_splits, control)
    control.pause()

    def stop_it() -> None:
        reached.set()
        control.stop()

    timer = threading.Timer(0.1, stop_it)
    timer.start()
    with pytest.raises(StoppedError, match="epoch 1 of 4, before step 1"):
        trainer.fit()
    assert reached.is_set() and not control.paused and not control.stopping


# Interrupts


def test_the_first_interrupt_stops_between_two_steps_and_keeps_a_checkpoint(tiny_splits, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    control = at_step(3, lambda: signal.raise_signal(signal.SIGINT))
    trainer = trainer_with(tiny_splits, control, folder=tmp_path)
    taken = counted(trainer)
    with stop_on_interrupt(control), pytest.raises(StoppedError) as caught:
        trainer.fit()
    assert len(taken) == 4 and [row["epoch"] for row in caught.value.history] == [1, 2]
    assert (tmp_path / "checkpoint.pt").is_file() and signal.getsignal(signal.SIGINT) is before


def test_the_second_interrupt_acts_at_once(tiny_splits):
    def interrupt_twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    control = at_step(3, interrupt_twice)
    with stop_on_interrupt(control), pytest.raises(KeyboardInterrupt):
        trainer_with(tiny_splits, control).fit()


def test_a_second_thread_must_not_train_meanwhile():
    refused: list[str] = []

    def try_it() -> None:
        try:
            with one_training():
                raise AssertionError("not refused")
        except TrainingError as error:
            refused.append(str(error))

    with one_training(), one_training():
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    assert len(refused) == 1 and refused[0].startswith("another training is going on in this process: ")
    with one_training():
        pass


# Changes


def by_hand(splits: Any, number: int, act: Callable[[Trainer], object]) -> tuple[Trainer, pd.DataFrame]:
    """Train, and do something to the trainer before a step, without a control."""
    trainer = trainer_with(splits)
    taken, backward = [], trainer._backward

    def changed(*arguments: Any) -> Any:
        if len(taken) == number:
            act(trainer)
        taken.append(1)
        return backward(*arguments)

    trainer._backward = changed  # type: ignore[method-assign]
    return trainer, trainer.fit()


CHANGES: list[tuple[Any, float, Callable[[Trainer], object]]] = [
    ("temperature", 1.5, lambda trainer: setattr(trainer.extra.terms["kd"], "temperature", 1.5)),
    ("adversary_weight", 7.0, lambda trainer: setattr(trainer.mitigation, "weight", 7.0)),
]


@pytest.mark.parametrize(("setting", "value", "act"), CHANGES, ids=[case[0] for case in CHANGES])
def test_a_change_acts_from_its_step_on_and_is_logged(tiny_splits, setting, value, act):
    live = at_step(4, lambda: live.change(setting, value))
    changed = trainer_with(tiny_splits, live)
    history = changed.fit()
    assert live.changes == [Change(5, setting, value)], "asked for before step 4, obeyed before step 5"
    assert history["changes"].dropna().tolist() == [f"{setting}={value}@2.500"]
    assert history["epoch"][history["changes"].notna()].tolist() == [3]

    expected, expected_history = by_hand(tiny_splits, 5, act)
    assert "changes" not in expected_history
    assert_same(changed, history.drop(columns="changes"), expected, expected_history)
    unchanged = trainer_with(tiny_splits).fit()["train_task_loss"]
    assert history["train_task_loss"].tolist()[:2] == unchanged.tolist()[:2]
    assert history["train_task_loss"].iloc[-1] != unchanged.iloc[-1]

    again = trainer_with(tiny_splits, TrainingControl(live.changes))
    assert_same(again, again.fit(), changed, history)


def test_a_setting_that_is_moved_on_changes_once_and_only_when_left_alone(tiny_splits):
    def slide() -> None:
        for value in (3.0, 2.5, 2.0):
            control.change("temperature", value)

    control = at_step(1, slide)
    trainer_with(tiny_splits, control).fit()
    assert control.changes == [Change(2, "temperature", 2.0)]
    control = at_step(1, slide)
    control.settle_seconds = 1000
    trainer_with(tiny_splits, control).fit()
    assert control.changes == []


def test_a_setting_moved_away_and_back_before_a_step_has_not_changed(tiny_splits):
    control = at_step(1, lambda: (control.change("temperature", 2.0), control.change("temperature", 4.0)))
    assert "changes" not in trainer_with(tiny_splits, control).fit()


def test_a_training_stopped_after_a_change_goes_on_with_it(tiny_splits, tmp_path):
    control = at_step(2, lambda: control.change("temperature", 2.0))
    expected = trainer_with(tiny_splits, control)
    history = expected.fit()
    stopping = at_step(5, lambda: stopping.stop())
    stopping.changes = control.changes
    with pytest.raises(StoppedError):
        trainer_with(tiny_splits, stopping, folder=tmp_path).fit()
    resumed = trainer_with(tiny_splits, TrainingControl(control.changes), folder=tmp_path)
    assert_same(resumed, resumed.fit(), expected, history)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        (
            "batch_size",
            3,
            r"^'batch_size' cannot be changed during a training; allowed: temperature, adversary_w",
        ),
        ("temperature", 0, r"temperature.*\(0, 100\]"),
        ("adversary_weight", 1001, r"adversary_weight.*1000"),
    ],
)
def test_what_cannot_be_changed_is_refused_with_what_can(setting, value, message):
    for refuse in (lambda: TrainingControl().change(setting, value), lambda: Change(0, setting, value)):
        with pytest.raises(ParameterError, match=message):
            refuse()


@pytest.mark.parametrize("setting", ["temperature", "adversary_weight"])
def test_a_setting_that_the_training_does_not_read_is_refused(tiny_splits, setting):
    trainer = make_trainer(tiny_splits, distiller="hint")
    trainer.control = TrainingControl([Change(1, setting, 2.0)])
    with pytest.raises(ParameterError, match=f"^student fair: {setting} cannot be changed: "):
        trainer.fit()


@pytest.mark.parametrize("distiller", [name for name in DISTILLERS if name not in ("none", "ctkd")])
def test_the_distillers_whose_temperature_can_change_are_those_that_have_one(tiny_splits, distiller):
    teachers = [make_network(seed) for seed in (7, 8, 9)]
    trainer = make_trainer(tiny_splits, distiller=distiller, teachers=teachers, epochs=1)
    trainer.control = TrainingControl([Change(1, "temperature", 2.0)])
    if "temperature" in distiller_options(distiller):
        assert trainer.fit()["changes"].tolist() == ["temperature=2.0@0.500"]
    else:
        with pytest.raises(ParameterError, match="temperature cannot be changed"):
            trainer.fit()


@pytest.mark.parametrize("mitigation", MITIGATIONS)
def test_the_mitigations_whose_weight_can_change_are_those_that_have_one(tiny_splits, mitigation):
    trainer = make_trainer(tiny_splits, mitigation=mitigation, epochs=1)
    trainer.control = TrainingControl([Change(1, "adversary_weight", 2.0)])
    if "adversary_weight" in mitigation_entry(mitigation).options:
        assert trainer.fit()["changes"].tolist() == ["adversary_weight=2.0@0.500"]
    else:
        with pytest.raises(ParameterError, match="adversary_weight cannot be changed"):
            trainer.fit()


# The artefact


@pytest.fixture
def teacher(tiny_experiment, tiny_splits) -> TrainedModel:
    return train_teacher(tiny_experiment.replace(teacher_epochs=1), tiny_splits)


def partials(folder: Path) -> set[str]:
    return {path.name for path in (folder / "artifacts").glob("student-*.partial")}


def test_a_changed_student_is_stored_under_a_hash_of_its_own(
    tiny_experiment, tiny_splits, tmp_path, teacher, monkeypatch
):
    # Three steps an epoch: the change comes within the second.
    control = at_step(3, lambda: control.change("adversary_weight", 0.5))
    changed = distill_student(tiny_experiment, teacher, tiny_splits, control)
    assert control.changes == [Change(4, "adversary_weight", 0.5)]
    config = read_json(changed.folder / "config.json")
    assert config["determined_by"]["changes"] == [{"step": 4, "setting": "adversary_weight", "value": 0.5}]
    assert changed.history["changes"].tolist()[1] == "adversary_weight=0.5@1.333"
    assert not (changed.folder / "checkpoint.pt").exists()

    assert not is_trained(tiny_experiment, teacher, tiny_splits)
    assert len(partials(tmp_path)) == 1, "what the unchanged student can go on from stays"
    unchanged = distill_student(tiny_experiment, teacher, tiny_splits)
    assert unchanged.folder != changed.folder and "changes" not in unchanged.history
    assert unchanged.history["epoch"].tolist() == [1, 2, 3]
    columns = [column for column in unchanged.history if column not in ("seconds", "selected")]
    pd.testing.assert_frame_equal(unchanged.history[columns][:1], changed.history[columns][:1])
    other = distill_student(tiny_experiment.replace(output_dir=str(tmp_path / "other")), teacher, tiny_splits)
    assert equal_states(unchanged.model.state_dict(), other.model.state_dict())

    monkeypatch.setattr(Trainer, "fit", None)
    found = distill_student(tiny_experiment, teacher, tiny_splits, TrainingControl(control.changes))
    assert found.folder == changed.folder


def test_a_changed_training_that_is_stopped_goes_on_in_its_own_folder(
    tiny_experiment, tiny_splits, tmp_path, teacher
):
    def act(trainer: Trainer, epoch: int) -> None:
        number = epoch * len(trainer.stream) + len(trainer.partial[1])
        if number in (1, 3):
            control.change("temperature", 6.0 - number)
        if number == 5:
            control.stop()

    control = TrainingControl(on_step=act, settle_seconds=0)
    with pytest.raises(StoppedError) as caught:
        distill_student(tiny_experiment, teacher, tiny_splits, control)
    assert [row.get("changes") for row in caught.value.history] == [
        "temperature=5.0@0.667",
        "temperature=3.0@1.333",
    ]
    assert control.changes == [Change(2, "temperature", 5.0), Change(4, "temperature", 3.0)]
    assert len(partials(tmp_path)) == 2, "that of the first change alone is gone"
    control.on_step = None
    resumed = distill_student(tiny_experiment, teacher, tiny_splits, control)
    other = tiny_experiment.replace(output_dir=str(tmp_path / "other"))
    again = distill_student(other, teacher, tiny_splits, TrainingControl(control.changes))
    assert equal_states(resumed.model.state_dict(), again.model.state_dict())
    assert resumed.history["changes"].tolist()[:2] == [row["changes"] for row in caught.value.history]
