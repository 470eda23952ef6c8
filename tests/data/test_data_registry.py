"""Names and options: unknown ones are refused with what is allowed."""

import inspect

import pytest

from fairkd.config import Experiment
from fairkd.data import check_dataset, dataset_fingerprint, list_datasets, load_dataset
from fairkd.errors import ParameterError


def test_list():
    table = list_datasets()
    assert table["name"].tolist() == ["colored-digits", "image-folder"]
    assert list(table.columns) == [
        "name",
        "source",
        "groups",
        "needs_download",
        "default_skew",
        "licence",
    ]
    assert not table["needs_download"].any()


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
    ],
)
def test_bad_name_or_value(call, name, options, message):
    with pytest.raises(ParameterError, match=message) as caught:
        call(name, **options)
    assert "\n" not in str(caught.value)


def test_unknown_option():
    with pytest.raises(ParameterError, match=r"unknown option 'skw': did you mean 'skew'.*image_size"):
        check_dataset("colored-digits", skw=0.9)
