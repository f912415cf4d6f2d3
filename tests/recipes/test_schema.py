"""What a recipe may say, and what it is told when it says something else."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lzu_export.errors import LzuError
from lzu_export.recipes.load import validate
from lzu_export.recipes.schema import Recipe
from lzu_export.warp.geometry import Level
from samples import tiny_recipe, tiny_settings


def refusal(folder: Path, **changes: Any) -> str:
    with pytest.raises(LzuError) as caught:
        tiny_recipe(folder, **changes)
    message = str(caught.value)
    assert message.startswith("recipe tiny.yaml: ")
    assert "\n" not in message
    return message.removeprefix("recipe tiny.yaml: ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variannt": "fixed"}, "unknown key variannt; did you mean variant?"),
        ({"warp": {"fwmh": 4}}, "unknown key warp.fwmh; did you mean fwhm?"),
        ({"model": {"num_class": 2}}, "unknown key model.num_class; did you mean num_classes?"),
        ({"postprocess": {"zzz": 2}}, "unknown key postprocess.zzz; known keys are candidates_"),
        ({"classes": ["one"]}, "classes lists 1 names but model.num_classes is 2; make them equal"),
        ({"sampler": "opencv"}, "it needs variant uniform and input zoomed"),
        ({"sampler": "opencv", "variant": "uniform"}, "it needs variant uniform and input zoomed"),
        ({"scale": 0.1}, "makes a 9x16 canvas, less than half a cell of the stride-32 level"),
        ({"scale": 0.001}, "scale 0.001 makes the canvas 0x0; raise the scale"),
        ({"warp": {"unfilled": ["top"]}}, "warp.unfilled belongs to the geometry published"),
        (
            {"targets": ["onnxruntime"] * 2},
            "targets lists onnxruntime, onnxruntime; give each once",
        ),
    ],
)
def test_contradictions_are_told_in_our_own_words(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    assert words in refusal(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"scale": 0}, "scale"),
        ({"scale": float("inf")}, "scale"),
        ({"scale": float("nan")}, "scale"),
        ({"source": [0, 160]}, "source.0"),
        ({"batch": 0}, "batch"),
        ({"variant": "adaptive"}, "variant"),
        ({"targets": []}, "targets"),
        ({"targets": ["tensort"]}, "targets.0"),
        ({"precision": ["fp16"]}, "precision.0"),
        ({"compute_capabilities": [8.9]}, "compute_capabilities.0"),
        ({"warp": {"unfilled": ["below"]}}, "warp.unfilled.0"),
        ({"warp": {"fwhm": float("nan")}}, "warp.fwhm"),
        ({"normalisation": {"std": [1, 0, 1]}}, "normalisation.std.1"),
        ({"normalisation": {"mean": [1, float("inf"), 1]}}, "normalisation.mean.1"),
        ({"postprocess": {"candidates_per_level": 3841}}, "postprocess.candidates_per_level"),
        ({"postprocess": {"score_threshold": 1}}, "postprocess.score_threshold"),
        ({"checkpoint": {"fixd": "a.pth"}}, "checkpoint.fixd"),
        ({"lowering": {"zoom": "plugin"}}, "lowering.zoom"),
        ({"model": {"depth": 19}}, "model.depth"),
        ({"classes": []}, "classes"),
    ],
)
def test_bad_values_are_told_with_their_key(
    changes: dict[str, Any], key: str, tmp_path: Path
) -> None:
    assert refusal(tmp_path, **changes).split(" ")[0].removesuffix(":") == key


@pytest.mark.parametrize("key", ["name", "task", "source", "model", "classes"])
def test_a_missing_key_is_named(key: str, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    del settings[key]
    with pytest.raises(LzuError, match=f"recipe a: the key {key} is missing; add it"):
        validate(settings, "a")
    settings = tiny_settings(tmp_path)
    del settings["model"]["num_classes"]
    with pytest.raises(LzuError, match=r"the key model\.num_classes is missing"):
        validate(settings, "a")


def test_sizes_follow_from_source_and_scale(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, source=[450, 800])
    assert recipe.canvas == (225, 400)
    assert recipe.network_input == (256, 416)
    assert recipe.levels == [Level(8, (32, 52)), Level(16, (16, 26)), Level(32, (8, 13))]
    assert recipe.candidates == [50, 50, 50]
    assert recipe.label == "fixed-0.5x"


def test_the_four_published_canvases(tmp_path: Path) -> None:
    expected = {0.25: (225, 400), 0.5: (450, 800), 0.75: (675, 1200), 1.0: (900, 1600)}
    for scale, canvas in expected.items():
        assert tiny_recipe(tmp_path, source=[900, 1600], scale=scale).canvas == canvas


@given(percent=st.integers(1, 300), size=st.integers(1, 4000))
def test_binary_fractions_cost_no_pixel(percent: int, size: int) -> None:
    """0.7 of 720 pixels are 504, although 0.7 * 720 is 503.99999999999994."""
    recipe = Recipe.model_construct(source=(size, 720), scale=percent / 100)
    assert recipe.canvas == (percent * size // 100, percent * 720 // 100)


def test_small_levels_keep_all_their_candidates(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, postprocess={"candidates_per_level": 1000})
    cells = [level.size[0] * level.size[1] for level in recipe.levels]
    assert recipe.candidates == [min(1000, n * 9 * 2) for n in cells]
    assert recipe.candidates[-1] < 1000


def test_a_recipe_cannot_be_changed(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        recipe.scale = 1.0  # type: ignore[misc]
