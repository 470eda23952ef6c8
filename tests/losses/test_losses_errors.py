"""Wrong input: a one-line ``ParameterError`` that says what was given and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fairkd import losses
from fairkd.errors import ParameterError

ROW = torch.zeros(4, 3)
OTHER_WIDTH = torch.zeros(4, 2)
OTHER_BATCH = torch.zeros(5, 3)
MAP = torch.zeros(4, 2, 3, 3)
LABELS = torch.tensor([0, 1, 2, 0])

Pair = Callable[[Tensor, Tensor], Tensor]
PAIRS: dict[str, Pair] = {
    "kd_loss": losses.kd_loss,
    "dkd_loss": lambda s, t: losses.dkd_loss(s, t, LABELS),
    "dist_loss": losses.dist_loss,
    "hint_loss": losses.hint_loss,
    "norm_direction_loss": lambda s, t: losses.norm_direction_loss(s, t, ROW, LABELS),
    "mfd_loss": lambda s, t: losses.mfd_loss(s, t, LABELS, LABELS, num_classes=3, num_groups=3),
    "rkd_distance_loss": losses.rkd_distance_loss,
    "rkd_angle_loss": losses.rkd_angle_loss,
    "similarity_preserving_loss": losses.similarity_preserving_loss,
    "pkt_loss": losses.pkt_loss,
    "attention_transfer_loss": losses.attention_transfer_loss,
    "nst_loss": losses.nst_loss,
}
RELATIONS = ("rkd_distance_loss", "rkd_angle_loss", "similarity_preserving_loss", "pkt_loss")
MAP_LOSSES = ("attention_transfer_loss", "nst_loss")


def message_of(call: Callable[[], object]) -> str:
    with pytest.raises(ParameterError) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    message = str(caught.value)
    assert "\n" not in message and "allowed: " in message
    return message


@pytest.mark.parametrize("name", [name for name in PAIRS if name not in MAP_LOSSES])
def test_batches_that_differ(name: str) -> None:
    message = message_of(lambda: PAIRS[name](ROW, OTHER_BATCH))
    assert message.startswith(f"{name}: ") and "(4, 3)" in message and "(5, 3)" in message


@pytest.mark.parametrize("name", [name for name in PAIRS if name not in RELATIONS + MAP_LOSSES])
def test_widths_that_differ(name: str) -> None:
    message = message_of(lambda: PAIRS[name](ROW, OTHER_WIDTH))
    assert "(4, 3)" in message and "(4, 2)" in message


@pytest.mark.parametrize("name", MAP_LOSSES)
@pytest.mark.parametrize(
    "other", [ROW, MAP[:3], MAP[:, :, :2], MAP[..., :2]], ids=lambda t: str(tuple(t.shape))
)
def test_maps_that_do_not_fit(name: str, other: Tensor) -> None:
    message = message_of(lambda: PAIRS[name](MAP, other))
    assert "(batch, channels, height, width)" in message and str(tuple(other.shape)) in message


@pytest.mark.parametrize("name", PAIRS)
def test_empty_batch(name: str) -> None:
    empty = (MAP if name in MAP_LOSSES else ROW)[:0]
    assert "not empty" in message_of(lambda: PAIRS[name](empty, empty))


@pytest.mark.parametrize("name", PAIRS)
def test_vector_instead_of_a_batch(name: str) -> None:
    assert "(3,)" in message_of(lambda: PAIRS[name](ROW[0], ROW[0]))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize(
    "loss",
    [
        losses.kd_loss,
        losses.dist_loss,
        lambda s, t, temperature: losses.dkd_loss(s, t, LABELS, temperature=temperature),
    ],
    ids=["kd", "dist", "dkd"],
)
def test_temperature(loss: Callable[..., Tensor], temperature: float) -> None:
    message = message_of(lambda: loss(ROW, ROW, temperature=temperature))
    assert f"temperature is {temperature}" in message


BAD_LABELS = {
    "too high": (torch.tensor([0, 1, 3, 0]), "between 0 and 3"),
    "negative": (torch.tensor([0, -1, 2, 0]), "between -1 and 2"),
    "too many": (torch.zeros(5, dtype=torch.long), "(5,)"),
    "not integers": (torch.zeros(4), "torch.float32"),
    "booleans": (torch.zeros(4, dtype=torch.bool), "torch.bool"),
}


@pytest.mark.parametrize(("values", "given"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_labels_and_groups(values: Tensor, given: str) -> None:
    calls: list[tuple[str, Callable[[], Tensor]]] = [
        ("labels", lambda: losses.dkd_loss(ROW, ROW, values)),
        ("labels", lambda: losses.norm_direction_loss(ROW, ROW, ROW[:3], values)),
        ("labels", lambda: losses.mfd_loss(ROW, ROW, values, LABELS, num_classes=3, num_groups=3)),
        ("groups", lambda: losses.mfd_loss(ROW, ROW, LABELS, values, num_classes=3, num_groups=3)),
    ]
    for name, call in calls:
        message = message_of(call)
        assert f"{name} " in message and given in message and "from 0 to 2" in message


def test_dkd_needs_two_classes() -> None:
    one = torch.zeros(2, 1)
    assert "2 or more" in message_of(lambda: losses.dkd_loss(one, one, torch.tensor([0, 0])))


def test_class_means_of_another_width() -> None:
    message = message_of(lambda: losses.norm_direction_loss(ROW, ROW, torch.zeros(3, 5), LABELS))
    assert "class_means has shape (3, 5)" in message and "(classes, 3)" in message


def test_mfd_kernel_and_sigma() -> None:
    def call(**settings: object) -> Callable[[], Tensor]:
        return lambda: losses.mfd_loss(ROW, ROW, LABELS, LABELS, num_classes=3, num_groups=3, **settings)

    assert "kernel is 'linear'; allowed: 'rbf', 'poly'" in message_of(call(kernel="linear"))
    assert "sigma is 0" in message_of(call(sigma=0))


def test_standardize_needs_a_matrix() -> None:
    assert "(4,)" in message_of(lambda: losses.standardize_logits(torch.zeros(4)))
