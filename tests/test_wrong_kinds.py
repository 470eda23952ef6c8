"""An object of another kind than the one that is needed is named, with what to pass instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from torch import nn

import fairkd
from fairkd.config import Experiment
from fairkd.data.splits import Splits
from fairkd.errors import ParameterError
from fairkd.models import create_model

LINEAR = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda e, s: fairkd.train_teacher({}, s),
            r"^the experiment must not be of type dict; make one with fairkd\.Experiment",
        ),
        (lambda e, s: fairkd.check_experiment("a.yml"), r"^the experiment must not be of type str; make one"),
        (
            lambda e, s: fairkd.distill_student(e, LINEAR, s),
            r"^the teacher must not be of type Linear; .* teacher_epochs to 0$",
        ),
        (
            lambda e, s: fairkd.distill_student(e, "t.pth", s),
            r"^the teacher must not be of type str; .* teacher_weights to its file",
        ),
        (
            lambda e, s: fairkd.predict(LINEAR, s),
            r"^the network must not be of type Linear; pass .* a trained model's \.model;",
        ),
        (
            lambda e, s: fairkd.predict(create_model("resnet8_cifar", 3), e),
            r"^splits must not be of type Experiment; pass what fairkd\.load_splits",
        ),
        (
            lambda e, s: fairkd.audit(e),
            r"^splits must not be of type Experiment; pass what fairkd\.load_splits",
        ),
        (lambda e, s: fairkd.findings([]), r"no comparison of models; pass what fairkd\.compare returns"),
        (
            lambda e, s: fairkd.findings(pd.DataFrame({"metric": [], "value": []})),
            r"no comparison of models; pass what fairkd\.compare returns",
        ),
    ],
)
def test_another_kind_is_named_with_what_to_pass(
    call: Callable[[Any, Any], Any], message: str, tiny_experiment: Experiment, tiny_splits: Splits
) -> None:
    with pytest.raises(ParameterError, match=message):
        call(tiny_experiment, tiny_splits)
