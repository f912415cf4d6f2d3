"""Every shipped recipe fits every kernel of the plugins at every scale, and others are refused."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lzu_export.errors import LzuError
from lzu_export.ops.registry import OPERATORS
from lzu_export.recipes import Recipe, load_recipe
from lzu_export.recipes.boxes import BoxRecipe
from lzu_export.recipes.kernel_limits import beyond_kernels, check_kernels
from lzu_export.recipes.load import FOLDER
from lzu_export.support import limits

PLUGINS = Path(__file__).parents[2] / "plugins"
SHIPPED = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SCALES = (0.0625, 0.125, 0.25, 0.5, 0.75, 1.0)
"""Scales of the paper's experiments, of all tasks."""
HWC8_CHANNELS = 2048
"""Largest number of channels of a built-in backbone's or neck's level."""


def constant(file: str, name: str) -> int:
    """Return a constant of a C++ source: a macro, or a number or power of two in `constexpr`."""
    text = (PLUGINS / file).read_text(encoding="utf-8")
    (found,) = re.findall(rf"(?:#define {name}|constexpr int(?:32_t)? {name} =) (\d+)\b", text)
    return int(found)


def limit(name: str) -> int:
    """Return a limit of the launchers."""
    return constant("kernels/lzu_kernels.h", f"LZU_MOST_{name}")


def made(name: str, scale: float, **keys: Any) -> Recipe | None:
    """Load a shipped recipe, or return None where its own rules refuse these keys."""
    consistent = {"warp.geometry": "consistent", "warp.unfilled": None, "source_multiple": 1}
    try:
        return load_recipe(name, {"scale": scale, "warp.mix": 1, **consistent, **keys})
    except (LzuError, ValidationError):
        return None


def adaptive_recipes() -> Iterator[Any]:
    """Yield every shipped recipe at every scale in every form whose warp kernels compute."""
    network = {"warp.network": {}}
    for name in SHIPPED:
        for scale in SCALES:
            for variant in ("adaptive", "fovea", "external"):
                for separable in (True, False):
                    for more in ({}, network):
                        keys = {
                            "variant": variant, "warp.separable": separable, "batch": 6,
                            "sampler": "bilinear", **more,
                        }  # fmt: skip
                        recipe = made(name, scale, **keys)
                        if recipe is not None:
                            by = "network" if more else "boxes"
                            label = f"{name} {scale:g} {variant} {separable} {by}"
                            yield pytest.param(recipe, id=label)


ADAPTIVE = list(adaptive_recipes())


def test_every_shipped_recipe_has_an_adaptive_form_at_the_papers_scales() -> None:
    """Else the tests below would hold nothing of it."""
    found = {(each.values[0].name, each.values[0].scale) for each in ADAPTIVE}
    assert {name for name, _ in found} == set(SHIPPED)
    assert {("argoverse-hd", scale) for scale in (0.25, 0.5, 0.75, 1.0)} <= found
    assert {("cityscapes", scale) for scale in (0.125, 0.25, 0.5)} <= found


@pytest.mark.parametrize("recipe", ADAPTIVE)
def test_shipped_recipes_fit(recipe: Recipe) -> None:
    """The limits are those of the sources, not those of Python."""
    assert list(beyond_kernels(recipe)) == []
    if isinstance(recipe, BoxRecipe) and recipe.follows_boxes:
        assert sum(recipe.candidates) <= limit("CANDIDATES")
        assert recipe.warp.boxes <= limit("BOXES")
    assert max(recipe.warp.lattice) <= limit("LATTICE")
    rows, columns = (side - 1 for side in recipe.warp.lattice)
    assert rows * columns <= limit("TILES")
    assert rows <= constant("kernels/invert_warp.h", "kMAX_TILE_ROWS")
    assert len(recipe.levels) <= limit("LEVELS")
    scale = recipe.unzoom_scale
    assert scale <= constant("separable_unzoom/separable_unzoom_plugin.cpp", "kMOST_UPSCALE")
    sides = constant("separable_zoom/separable_zoom_plugin.cpp", "kMOST_CANVAS")
    assert max(recipe.network_input) <= sides
    assert max(recipe.view) < 1 << 16  # of the camera's picture, see camera.cu
    # See planeFits in resample.cu: units of 16 bytes of the widest format.
    for height, width in [level.size for level in recipe.levels]:
        assert max(height, width) * scale < 1 << 20
        assert height * width * scale**2 * HWC8_CHANNELS // 8 < 1 << 27
    assert recipe.view[0] * recipe.view[1] < 1 << 27


def test_pythons_limits_are_those_of_the_kernels() -> None:
    for name in ("CANDIDATES", "BOXES", "LATTICE", "TILES", "TILE_ROWS", "LEVELS"):
        assert getattr(limits, f"MOST_{name}") == limit(name)
    assert constant("kernels/invert_warp.h", "kMAX_TILE_ROWS") == limits.MOST_TILE_ROWS
    contracts = {name: OPERATORS[name].contract for name in ("BoxKnots", "SeparableUnzoom")}
    assert contracts["BoxKnots"].limits == {"N": limits.MOST_BOXES}
    assert contracts["BoxKnots"].fields["lattice"].most == limits.MOST_LATTICE
    assert contracts["SeparableUnzoom"].limits == {"n": limits.MOST_LEVELS}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"postprocess.candidates_per_level": 1639},
         "8195 candidates per frame, .* 8192 at most; lower .*candidates_per_level to 1638"),
        ({"warp.boxes": 1025}, "1025 fed-back boxes, .* 1024 at most; lower warp.boxes to 1024"),
        ({"warp.lattice": [31, 257]}, "257 lattice points on an axis, .* 256 at most"),
        ({"model.num_outs": 9}, "9 feature levels, .* 8 at most; lower model.num_outs"),
        ({"warp.separable": False, "warp.lattice": [300, 300]}, "89401 tiles .* 65536 at most"),
        ({"warp.separable": False, "warp.lattice": [1026, 3]}, "1025 rows of tiles .* 1024 at"),
    ],
)  # fmt: skip
def test_what_is_beyond_a_kernel_is_refused(keys: dict[str, Any], expected: str) -> None:
    recipe = made("argoverse-hd", 1.0, variant="adaptive", **keys)
    assert recipe is not None
    with pytest.raises(LzuError, match=rf"argoverse-hd, variant adaptive: it has {expected}"):
        check_kernels(recipe)


def test_an_export_is_refused_before_any_work(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="exporting needs torch")
    from lzu_export.compiler.pipeline import export

    keys = {"random_weights": 0, "postprocess.candidates_per_level": 3840}
    recipe = made("argoverse-hd", 1.0, variant="adaptive", **keys)
    assert recipe is not None
    with pytest.raises(LzuError, match=r"candidates per frame.*candidates_per_level to 1638"):
        export(recipe, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "keys",
    [
        {"postprocess.candidates_per_level": 1638},
        {"warp.boxes": 1024, "warp.lattice": [256, 256]},
        {"variant": "fixed", "postprocess.candidates_per_level": 3840},
        {"variant": "external", "postprocess.candidates_per_level": 3840},
        {"variant": "external", "warp.lattice": [300, 300]},
    ],
)
def test_what_no_kernel_is_concerned_with_is_taken(keys: dict[str, Any]) -> None:
    recipe = made("argoverse-hd", 1.0, **{"variant": "adaptive", **keys})
    assert recipe is not None
    check_kernels(recipe)
