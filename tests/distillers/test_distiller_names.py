"""Names, sums and factors, and what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from method_cases import DISTILLERS

from fairkd.config import Experiment
from fairkd.distillers import check_distiller, distiller_entries, distiller_options, list_distillers
from fairkd.errors import ParameterError

NAMES = {
    *("none", "kd", "dkd", "dist", "logit_standardization", "ctkd", "hint", "attention", "rkd", "similarity"),
    *("pkt", "nst", "norm_direction", "mfd", "co_advise", "ensemble"),
}


def check(spec: str, **options: Any) -> None:
    defaults = {"logit_standardization": False, "teacher_calibration": "none", "ensemble_weights": "mean"}
    check_distiller(spec, **{**defaults, "co_teachers": ("test_vit",), **options})


def test_the_list_names_every_distiller_with_its_source_and_options():
    table = list_distillers()
    assert list(table.columns) == ["name", "compares", "description", "source", "reference_weight", "options"]
    assert set(table["name"]) == NAMES and len(table) == len(NAMES)
    sourced = table[table["name"] != "none"]
    assert sourced["source"].str.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{4,5}").all()
    assert (sourced["reference_weight"] > 0).all()
    options = {option for text in table["options"] for option in text.split(", ") if option}
    common = {"distiller", "distill_weight", "task_weight", "teacher_outputs"}
    assert options == set(Experiment.names(["distillation"])) - common
    for name in NAMES:
        check(name)


@pytest.mark.parametrize(
    ("spec", "factors"),
    [
        ("kd", {"kd": 1}),
        ("kd+rkd", {"kd": 1, "rkd": 1}),
        ("kd+0.5*rkd", {"kd": 1, "rkd": 0.5}),
        (" 2 * kd + .25*dkd ", {"kd": 2, "dkd": 0.25}),
        ("1e-3*pkt+1e+2*hint+1E2*nst", {"pkt": 0.001, "hint": 100, "nst": 100}),
        ("0*kd", {"kd": 0}),
        ("3.e+1*kd", {"kd": 30}),
    ],
)
def test_factors(spec, factors):
    assert {entry.name: factor for factor, entry in distiller_entries(spec)} == factors


def test_any_two_names_can_be_read_as_a_sum():
    for pair in itertools.permutations(sorted(NAMES - {"none"}), 2):
        assert [entry.name for _, entry in distiller_entries("+".join(pair))] == list(pair)
        if set(pair) != {"co_advise", "ensemble"}:
            check("+".join(pair))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("kdd", r"distiller='kdd': 'kdd' is unknown: did you mean 'kd'\? allowed: none, kd, "),
        ("kd+", r"distiller='kd\+' cannot be read at '': .*kd\+0\.5\*rkd"),
        ("", r"distiller='' cannot be read at ''"),
        ("kd-rkd", r"cannot be read at 'kd-rkd'"),
        ("kd rkd", r"cannot be read at 'kd rkd'"),
        ("kd*2", r"cannot be read at 'kd\*2'"),
        ("two*kd", r"cannot be read at 'two\*kd'"),
        ("-1*kd", r"the factor '-1' is not allowed: a number of at least 0"),
        ("1e999*kd", r"the factor '1e999' is not allowed"),
        ("1.2.3*kd", r"the factor '1\.2\.3' is not allowed"),
        ("kd+2*kd", r"names 'kd' more than once; give it one factor"),
        ("kd+none", r"'none' cannot be summed with others"),
        ("co_advise+ensemble", r"co_advise and ensemble cannot be summed; choose one"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(spec, message):
    with pytest.raises(ParameterError, match=message) as caught:
        check(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_standardization_is_refused_where_it_has_no_effect(name):
    if name in {"kd", "dkd", "dist", "ctkd", "norm_direction", "ensemble"}:
        check(name, logit_standardization=True)
        check(f"hint+{name}", logit_standardization=True)
        return
    with pytest.raises(
        ParameterError, match=f"logit_standardization=True has no effect on distiller='{name}'"
    ):
        check(name, logit_standardization=True)


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("kind", ["global", "group"])
def test_calibration_is_refused_where_the_logits_are_not_read(name, kind):
    if "teacher_calibration" in distiller_options(name):
        check(name, teacher_calibration=kind)
        return
    with pytest.raises(
        ParameterError, match=f"teacher_calibration='{kind}' has no effect .* '?{name}|{name}"
    ):
        check(name, teacher_calibration=kind)


def test_calibration_is_undone_by_standardization_but_in_the_weights_by_confidence():
    both = {"teacher_calibration": "global", "logit_standardization": True}
    check("ensemble", **both, ensemble_weights="confidence")
    for name, weights in (("ensemble", "mean"), ("ensemble", "agre"), ("kd", "confidence")):
        with pytest.raises(ParameterError, match="teacher_calibration='global' has no effect"):
            check(name, **both, ensemble_weights=weights)


@pytest.mark.parametrize("name", ["co_advise", "ensemble"])
def test_several_teachers_need_another_network(name):
    check(name, co_teachers=("resnet8_cifar",))
    with pytest.raises(
        ParameterError, match=f"distiller='{name}' needs at least one network more in co_teachers"
    ):
        check(name, co_teachers=())
    check("kd", co_teachers=())


def test_the_options_of_a_sum_are_those_of_its_terms():
    assert distiller_options("rkd") == {"distill_from"}
    assert distiller_options("none") == distiller_options("mfd") == set()
    both = distiller_options("dkd+rkd")
    assert both == distiller_options("dkd") | {"distill_from"}
    assert "dkd_beta" in both and "co_teachers" not in both
    assert len(DISTILLERS) == len(NAMES)
