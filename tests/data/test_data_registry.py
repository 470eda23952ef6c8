"""Names and options: unknown ones are refused with what is allowed."""

import inspect
from pathlib import Path

import numpy as np
import pytest

from fairkd.config import Experiment
from fairkd.data import check_dataset, dataset_fingerprint, list_datasets, load_dataset
from fairkd.errors import ParameterError


def test_list():
    table = list_datasets()
    assert table["name"].tolist() == [
        *("colored-digits", "mnist", "cifar10", "cifar10s", "utkface", "fairface", "celeba", "wider"),
        *("waterbirds", "imagefolder", "image-folder", "hf:<repo>"),
    ]
    assert list(table.columns) == [
        *("name", "source", "target", "groups", "needs_root", "needs_download", "default_skew", "licence"),
    ]
    rows = table.set_index("name")
    assert rows.index[~rows["needs_root"]].tolist() == ["colored-digits", "hf:<repo>"]
    assert rows.index[rows["needs_download"]].tolist() == ["cifar10", "cifar10s", "celeba", "hf:<repo>"]
    assert (rows["licence"].str.len() > 5).all() and (rows["source"].str.len() > 20).all()


def test_every_data_set_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    for name in list_datasets()["name"]:
        assert f"## `{name}`" in text


def test_parameters_are_those_of_the_experiment():
    parameters = inspect.signature(load_dataset).parameters
    names = ["name" if name == "dataset" else name for name in Experiment.names(["data"])]
    assert sorted(parameters) == sorted(names)
    for name, parameter in parameters.items():
        assert parameter.default == Experiment.default("dataset" if name == "name" else name)


@pytest.mark.parametrize("call", [load_dataset, check_dataset, dataset_fingerprint])
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "colored-digit",
            {},
            "unknown data set 'colored-digit': did you mean 'colored-digits'.*image-folder",
        ),
        ("colored-digits", {"skew": 0.3}, "skew=0.3 is not allowed"),
        ("colored-digits", {"image_size": 4}, "image_size=4 is not allowed"),
        ("colored-digits", {"bias": "paint"}, "bias='paint' is not allowed"),
        ("colored-digits", {"seed": -1}, "seed=-1 is not allowed"),
        ("image-folder", {}, "image-folder needs data_root"),
        ("image-folder", {"data_root": ".", "bias": "tint"}, "bias='tint' needs skew"),
        (
            "colored-digits",
            {"download": True},
            "download=True is not used by colored-digits; it takes audit_gr",
        ),
        ("colored-digits", {"path_column": "x"}, "path_column='x' is not used by .*dataset=image-folder"),
        ("utkface", {"csv": "x.csv"}, "csv='x.csv' is not used by utkface"),
        ("utkface", {"download": True}, "download=True is not used by utkface"),
        ("cifar10", {"group_column": "x"}, "group_column='x' is not used by cifar10"),
        (
            "cifar10",
            {"skew": 0.9},
            "skew=0.9 is not allowed: cifar10 has no groups of its own; set group, or bias",
        ),
        ("cifar10", {"bias": "subsample"}, "bias='subsample' is not allowed: cifar10 has no groups"),
        ("cifar10", {"variant": "mfd"}, "variant='mfd' is of injected groups; set bias"),
        ("cifar10s", {"variant": "other"}, "variant='other' is not allowed"),
        ("cifar10s", {"group": "class"}, r"group='class' is not used: .* injected domain .*audit_groups"),
        (
            "image-folder",
            {"data_root": ".", "group": "a", "group_column": "b"},
            "name the same thing; set one",
        ),
        (
            "image-folder",
            {"data_root": ".", "target": "a", "label_column": "b"},
            "name the same thing; set one",
        ),
        ("colored-digits", {"samples": 5}, "samples=5 is not allowed"),
        ("colored-digits", {"samples": 20}, r"samples=20 is not enough: colored-digits has \d+ cells"),
        ("hf:<repo>", {}, "needs the repository's name"),
    ],
)
def test_bad_name_or_value(call, name, options, message):
    with pytest.raises(ParameterError, match=message) as caught:
        call(name, **options)
    assert "\n" not in str(caught.value)


def test_unknown_option():
    with pytest.raises(ParameterError, match=r"unknown option 'skw': did you mean 'skew'.*image_size"):
        check_dataset("colored-digits", skw=0.9)


@pytest.mark.parametrize("n", [100, 333, 1000, 1796])
def test_samples_are_exact_and_in_proportion(n):
    whole, some = check_dataset("colored-digits"), check_dataset("colored-digits", samples=n)
    kept = {split: len(set(rows.items.tolist())) for split, rows in some.rows.items()}
    assert sum(kept.values()) == n
    for split, rows in whole.rows.items():
        items, chosen = rows.items, some.rows[split].items
        assert set(chosen.tolist()) <= set(items.tolist())
        cells, mine = (
            np.bincount(rows.labels * 2 + (rows.groups if split == "train" else 0), minlength=20)
            / (1 if split == "train" else 2)
            for rows in (rows, some.rows[split])
        )
        assert ((mine > 0) == (cells > 0)).all()
        # One of every cell is certain, the rest is in proportion.
        share = (n - 40) / (1797 - 40)
        assert np.abs(mine - (cells > 0) - share * (cells - (cells > 0))).max() < 1 + 1e-9


def test_more_samples_than_there_are_change_nothing_but_the_fingerprint():
    whole, all_of_them = check_dataset("colored-digits"), check_dataset("colored-digits", samples=5000)
    assert whole.sizes == all_of_them.sizes and "samples" not in all_of_them.facts


def test_group_and_target_are_synonyms_of_the_columns(make_folder):
    folder = make_folder()
    plans = [
        check_dataset("image-folder", data_root=folder.root, **options)
        for options in ({}, {"group": "group"}, {"target": "label"}, {"group_column": "group"})
    ]
    assert len({plan.fingerprint for plan in plans}) == 1
    swapped = check_dataset("image-folder", data_root=folder.root, target="group", group="label")
    assert (swapped.label_name, swapped.group_name) == ("group", "label")
