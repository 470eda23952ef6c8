"""The list of mitigations: names, what each is made from, and which parameters it reads."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from method_cases import MITIGATIONS, mitigation_of, setup_of

from fairkd.config import Experiment
from fairkd.errors import ParameterError
from fairkd.mitigation import (
    Laftr,
    PublishedCritic,
    RecallGapCritic,
    Setup,
    UniformConfusion,
    check_groups,
    create_mitigation,
    list_mitigations,
)

NAMES = {
    *("none", "gradient_reversal", "projection", "uniform_confusion", "laftr", "recall_gap_critic"),
    *("reweighting", "resampling", "group_dro", "domain_independent", "domain_discriminative"),
    "class_weighted",
}


def test_the_list_names_every_mitigation_with_its_source_and_options():
    table = list_mitigations()
    assert list(table.columns) == ["name", "family", "description", "source", "options"]
    assert set(table["name"]) == NAMES and len(table) == len(NAMES)
    options = {option for text in table["options"] for option in text.split(", ") if option}
    assert options == set(Experiment.names(["mitigation"])) - {"mitigation"}
    sourced = table[~table["name"].isin(["none", "class_weighted"])]
    assert (sourced["source"] != "").all() and table["description"].is_unique


class Recorded(Mapping):
    """A mapping that remembers which of its keys were read."""

    def __init__(self, values):
        self.values_, self.read = values, set()

    def __getitem__(self, key):
        self.read.add(key)
        return self.values_[key]

    def __iter__(self):
        return iter(self.values_)

    def __len__(self):
        return len(self.values_)


@pytest.mark.parametrize("name", MITIGATIONS)
def test_a_mitigation_reads_exactly_the_options_that_it_lists(name):
    setup = setup_of()
    options = Recorded(setup.options)
    create_mitigation(name, Setup(setup.cell_counts, 5, options, 0))
    listed = list_mitigations().set_index("name")["options"][name]
    # Laftr's loss has no cell weights, see test_laftr.
    unused = {"adversary_balanced"} if name == "laftr" else set()
    assert options.read - unused == {option for option in listed.split(", ") if option}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("laftr", Laftr),
        ("uniform_confusion", UniformConfusion),
        ("recall_gap_critic", RecallGapCritic),
        ("published_critic", PublishedCritic),
    ],
)
def test_names_make_their_kind_with_the_experiment_s_options(name, kind):
    made = mitigation_of(
        name, setup_of(adversary_weight=3.5, adversary_learning_rate=0.25, adversary_hidden=7)
    )
    assert type(made) is kind
    assert (made.weight, made.learning_rate) == (3.5, 0.25)
    assert 7 in {parameter.shape[0] for parameter in made.parameters()}


def test_unknown_names_are_refused_with_a_suggestion():
    with pytest.raises(ParameterError, match="mitigation='projektion' is unknown: did you mean 'projection'"):
        create_mitigation("projektion", setup_of())


@pytest.mark.parametrize("name", list_mitigations()["name"])
def test_what_tells_groups_apart_is_refused_where_there_is_one(name):
    check_groups(name, 2)
    if name in ("none", "reweighting", "resampling", "class_weighted", "group_dro"):
        check_groups(name, 1)
    else:
        with pytest.raises(
            ParameterError, match=f"^teacher_mitigation='{name}' tells groups apart.* have one: .*group_dro"
        ):
            check_groups(name, 1, "teacher_mitigation")
