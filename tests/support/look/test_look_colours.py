"""Colours can be read, and told apart by colour-blind readers as well."""

from itertools import combinations

import cv2
import numpy as np
import pytest

from lzu_export.support.look.colours import DARK, LIGHT, STAGES, variables

BLIND = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "none": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
}
"""Linear RGB as dichromats see it [Machado et al. 2009]."""


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def contrast(first: str, second: str) -> float:
    """WCAG's ratio of contrast."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def lab(colour: str, matrix: list[list[float]]) -> np.ndarray:
    seen = (np.array(matrix) @ linear(colour)).clip(0, 1)
    curve = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(curve.astype(np.float32)[None, None], cv2.COLOR_RGB2LAB)[0, 0]


def test_both_papers_have_the_same_colours() -> None:
    assert list(LIGHT) == list(DARK)
    css = variables()
    assert all(css.count(f"--{name}:") == 2 for name in LIGHT)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_the_contrast_that_reading_needs(colours: dict[str, str]) -> None:
    for name in ("ink", "faint", "accent", "uniform", "fixed", "adaptive", "fovea", "external"):
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    assert contrast(colours["ink"], colours["warn"]) >= 4.5
    assert contrast(colours["faint"], colours["panel"]) >= 4.5


@pytest.mark.parametrize("sight", BLIND)
@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_stages_are_told_apart(colours: dict[str, str], sight: str) -> None:
    seen = {name: lab(colours[name], BLIND[sight]) for name in STAGES}
    for first, second in combinations(STAGES, 2):
        assert np.linalg.norm(seen[first] - seen[second]) > 20, (first, second)
