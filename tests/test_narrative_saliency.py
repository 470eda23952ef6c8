"""Sentences about saliency follow the numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fairkd.narrative_saliency import describe_saliency


def table(difference: float, p_value: float, *, n: int = 40, undefined: int = 0) -> pd.DataFrame:
    rows = [
        {"group": "all", "value": 0.3, "difference": np.nan, "p_adjusted": np.nan},
        {"group": "red", "value": 0.25, "difference": difference, "p_adjusted": p_value},
        {"group": "green", "value": 0.35, "difference": -difference, "p_adjusted": p_value},
    ]
    found = pd.DataFrame(rows).assign(
        low=0.2, high=0.4, n=n, undefined=undefined, method="gradcam", chance=0.111
    )
    limits = {"difference_low": found["difference"] - 0.01, "difference_high": found["difference"] + 0.01}
    return found.assign(metric="top_overlap", **limits)


def test_a_settled_difference_names_the_group_with_less_overlap():
    text = describe_saliency(table(-0.1, 0.01))
    assert (
        text[0].startswith("By Grad-CAM") and "0.300 (0.200 to 0.400)" in text[0] and "40 images" in text[0]
    )
    assert "unrelated maps would by about 0.111" in text[0]
    assert "For red the student looks elsewhere more" in text[1]
    assert "0.250, which is 0.100 less (interval of the difference −0.110 to −0.090)" in text[1]
    assert not any("green" in sentence for sentence in text)


def test_an_open_difference_is_called_so_at_the_level_asked_for():
    assert "**not settled**" in describe_saliency(table(-0.1, 0.06))[1]
    assert "For red" in describe_saliency(table(-0.1, 0.06), confidence=0.9)[1]


def test_maps_that_point_nowhere_are_said():
    assert "point nowhere for these networks" in describe_saliency(table(-0.1, 0.01, n=0))[0]
    left_out = describe_saliency(table(-0.1, 0.01, undefined=7))[1]
    assert left_out == "7 further images have a map that points nowhere, and are left out (red 7, green 7)."


def test_a_single_group_has_nothing_to_compare():
    assert (
        describe_saliency(table(np.nan, np.nan))[-1]
        == "There are no two groups whose overlap could be compared."
    )
