"""Colours that colour-blind readers tell apart, symbols beside them, and text that fits."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fairkd.plots import escape, group_styles, model_label, model_styles
from fairkd.plots.heatmaps import _WHITE_TEXT_ABOVE
from fairkd.plots.text import estimate, metric, number, quantity, shorten, wrap
from fairkd.plots.theme import ACCENT, MODEL_STYLES, SEQUENTIAL, SERIES_STYLES, TEXT

# Severity 1.0 of Machado, Oliveira and Fernandes 2009, doi 10.1109/TVCG.2009.113, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(color: str) -> np.ndarray:
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB, white point D65."""
    t = TO_XYZ @ rgb.clip(0, 1) / (TO_XYZ @ np.ones(3))
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def luminance(color: str) -> float:
    return float(linear(color) @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


MODEL_COLORS = [style.color for style in MODEL_STYLES.values()]
SERIES_COLORS = [style.color for style in SERIES_STYLES]


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("colors", [MODEL_COLORS, SERIES_COLORS], ids=["models", "groups"])
def test_colors_differ_for_every_kind_of_vision(colors: list[str], vision: str) -> None:
    seen = [lab(VISION[vision] @ linear(color)) for color in colors]
    nearest = min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2))
    # A difference of 2.3 is just noticeable; these are also small marks.
    assert nearest > 15


@pytest.mark.parametrize("color", [*MODEL_COLORS, *SERIES_COLORS, ACCENT.color])
def test_marks_stand_out_on_white_and_on_near_black(color: str) -> None:
    assert contrast(color, "#FFFFFF") > 2.5
    assert contrast(color, "#111111") > 2.9


def test_text_is_readable_on_white_and_on_near_black() -> None:
    assert contrast(TEXT, "#FFFFFF") > 4.5
    assert contrast(TEXT, "#111111") > 4


def test_symbols_and_colors_are_unique_and_groups_do_not_look_like_models() -> None:
    for styles in (list(MODEL_STYLES.values()), list(SERIES_STYLES)):
        assert (
            len({style.symbol for style in styles}) == len({style.color for style in styles}) == len(styles)
        )
    assert not set(MODEL_COLORS) & set(SERIES_COLORS)


def test_the_scale_darkens_steadily_and_its_text_reads() -> None:
    places, colors = zip(*SEQUENTIAL, strict=True)
    assert np.all(np.diff([luminance(color) for color in colors]) < 0)
    rgb = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors])
    for place in np.linspace(0, 1, 101):
        mixed = [round(np.interp(place, places, rgb[:, channel])) for channel in range(3)]
        background = "#" + "".join(f"{value:02X}" for value in mixed)
        text = "#FFFFFF" if place > _WHITE_TEXT_ABOVE else "#111111"
        assert contrast(background, text) > 4.2


def test_roles_keep_their_style_beside_other_models() -> None:
    styles = model_styles(["my_model", "student_kd", "other"])
    assert styles["student_kd"] == MODEL_STYLES["student_kd"]
    assert [styles["my_model"], styles["other"]] == list(SERIES_STYLES[:2])


def test_more_groups_than_styles_still_differ() -> None:
    styles = list(group_styles([f"group {i}" for i in range(24)]).values())
    assert len({(style.color, style.symbol) for style in styles}) == 24


def test_escape_leaves_nothing_that_plotly_reads_as_markup() -> None:
    assert escape("a<b> & $c$\n d") == "a&lt;b&gt; &amp; &#36;c&#36; d"
    assert escape(3) == "3"


def test_text_is_cut_and_broken_before_it_is_escaped() -> None:
    assert shorten("a<b<c<d", 5) == "a&lt;b&lt;…"
    assert shorten("a<b", 3) == "a&lt;b"
    assert wrap("more & less", 6) == "more &amp;<br>less"
    assert wrap("one two three four", 7, max_lines=2) == "one two<br>three …"
    assert wrap("mean gap\xa0↓", 8) == "mean<br>gap ↓"


def test_readable_names() -> None:
    assert model_label("student_kd") == "student, KD"
    assert model_label("my_model") == "my model"
    assert metric("recall_gap").heading == "mean recall gap\xa0↓"
    assert metric("accuracy").direction == "Higher is better"
    assert metric("own_metric").heading == "own metric"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0312, "0.0312"),
        (1.37, "1.37"),
        (19.66, "19.7"),
        (999.6, "1.00 k"),
        (4_915_978, "4.92 M"),
        (174e6, "174 M"),
        (2.5e9, "2.50 G"),
        (math.nan, "n/a"),
    ],
)
def test_quantities_have_three_digits(value: float, text: str) -> None:
    assert quantity(value) == text


def test_numbers_with_intervals() -> None:
    assert number(-0.5) == "−0.500"
    assert number(math.nan) == "n/a"
    assert estimate(0.94, 0.9, 0.96, 2) == "0.94 [0.90, 0.96]"
    assert estimate(0.94) == "0.940"
