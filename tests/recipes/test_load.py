"""Recipes by name and by path, their paths, their overrides."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lzu_export.errors import LzuError
from lzu_export.recipes import list_recipes, load_recipe
from lzu_export.tasks.warps import make_warp
from samples import saliency_file, tiny_settings


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return tiny_settings(tmp_path)


def write(folder: Path, data: Any, name: str = "mine.yaml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data))
    return path


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("name", list_recipes())
def test_every_shipped_recipe_makes_a_warp(name: str, scale: float, tmp_path: Path) -> None:
    shipped = load_recipe(name)
    saliency = saliency_file(tmp_path, shipped.warp.lattice)
    recipe = load_recipe(name, {"warp.saliency": str(saliency), "scale": scale})
    assert recipe.name == name
    for variant in ("fixed", "uniform"):
        warp = make_warp(load_recipe(name, {**overrides(recipe), "variant": variant}))
        assert warp.zoom.rows.shape == (4, recipe.canvas[0])
        assert warp.zoom.cols.shape == (4, recipe.canvas[1])
        assert all(np.isfinite(array).all() for array in warp.arrays().values())
        stays = variant == "uniform" and recipe.unzoom_scale == 1
        assert (warp.unzoom is None) == stays


def overrides(recipe: Any) -> dict[str, Any]:
    return {"warp.saliency": str(recipe.warp.saliency), "scale": recipe.scale}


def test_a_task_stands_for_its_recipe() -> None:
    assert load_recipe("det") == load_recipe("det-demo")
    assert {"det-demo", "argoverse-hd"} <= set(list_recipes())


def test_an_unknown_name_is_told_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(LzuError, match=r"no recipe named det-dmeo; did you mean det-demo\?"):
        load_recipe("det-dmeo")
    with pytest.raises(LzuError, match="no recipe named zzz; the shipped ones are argoverse-hd"):
        load_recipe("zzz")
    with pytest.raises(LzuError, match=r"mine\.yaml does not exist"):
        load_recipe(str(tmp_path / "mine.yaml"))


def test_paths_are_relative_to_the_recipe_file(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings["warp"]["saliency"] = "../data/saliency.npy"
    settings["checkpoint"] = {"fixed": "weights/fixed.pth", "uniform": "/elsewhere/uniform.pth"}
    settings["evaluation"] = {"dataset": "frames/val.json"}
    path = write(tmp_path / "recipes", settings)
    for name in (str(path), "recipes/mine.yaml"):
        monkeypatch.chdir(tmp_path)
        recipe = load_recipe(name)
        assert recipe.warp.saliency == tmp_path / "data" / "saliency.npy"
        assert recipe.checkpoint == {
            "fixed": tmp_path / "recipes" / "weights" / "fixed.pth",
            "uniform": Path("/elsewhere/uniform.pth"),
        }
        assert recipe.evaluation.dataset == str(tmp_path / "recipes" / "frames" / "val.json")
    settings["evaluation"] = {"dataset": "demo"}
    assert load_recipe(str(write(tmp_path, settings))).evaluation.dataset == "demo"


def test_overrides_go_on_top_and_keep_their_paths(settings: dict[str, Any], tmp_path: Path) -> None:
    path = str(write(tmp_path, settings))
    recipe = load_recipe(
        path,
        {"scale": 0.75, "warp.fwhm": 6, "warp.saliency": "here.npy", "checkpoint.fixed": "a.pth"},
    )
    assert (recipe.scale, recipe.warp.fwhm) == (0.75, 6)
    assert recipe.warp.lattice == (7, 11)
    assert recipe.warp.saliency == Path("here.npy")
    assert recipe.checkpoint["fixed"] == Path("a.pth")
    with pytest.raises(LzuError, match=r"recipe key scale\.x cannot be set: scale is not a sect"):
        load_recipe(path, {"scale.x": 1})
    with pytest.raises(LzuError, match=r"unknown key warp\.latice; did you mean lattice\?"):
        load_recipe(path, {"warp.latice": [7, 11]})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [1", "is not valid YAML at line"),
        ("a: b: c", "is not valid YAML at line 1"),
        ("", "holds no keys; start from one of"),
        ("- name", "holds no keys"),
        ("just words", "holds no keys"),
        ("name: !!python/object:os.system x", "is not valid YAML"),
        ("a: 0\nscale: 1\nscale: 2\n", "gives the key scale twice, at lines 2 and 3; keep one"),
        ("warp: {fwhm: 4, fwhm: 10}", "gives the key fwhm twice, at lines 1 and 1"),
        ("[" * 20_000, "is not valid YAML"),
        ("a: &a [x]\n" + "".join(f"{c}: &{c} [{','.join(9 * ['*' + p])}]\n" for p, c in
                                 zip("abcdefg", "bcdefgh", strict=True)), "is not valid YAML"),
        ("a: &a\n  b: *a\n", "is not valid YAML"),
        ("a: 2021-99-99", "is not valid YAML"),
        ("# " + "x" * (1 << 20), "bytes where at most 1048576 are read; give a recipe"),
    ],
)  # fmt: skip
def test_what_is_no_recipe_is_refused_with_its_path(text: str, words: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(LzuError) as caught:
        load_recipe(str(path))
    message = str(caught.value)
    assert str(path) in message
    assert words in message
    assert "\n" not in message


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"name: caf\xe9\n")
    with pytest.raises(LzuError, match=r"latin\.yaml") as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("section", ["warp", "model", "checkpoint", "evaluation", "lowering"])
@pytest.mark.parametrize("value", [None, 3, "text", [1]])
def test_a_section_of_another_kind_is_refused_by_its_name(
    section: str, value: Any, settings: dict[str, Any], tmp_path: Path
) -> None:
    path = write(tmp_path, {**settings, section: value})
    with pytest.raises(LzuError, match=section):
        load_recipe(str(path))


def test_a_section_may_be_merged_and_begin_with_a_mark(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """YAML's merge key is no key that stands twice; editors put byte order marks."""
    text = yaml.safe_dump({key: value for key, value in settings.items() if key != "warp"})
    merged = "x: &x {lattice: [7, 11], fwhm: 9}\n"
    warp = f"warp:\n  <<: *x\n  saliency: {settings['warp']['saliency']}\n  fwhm: 5\n"
    path = write(tmp_path, "\ufeff" + merged + text + warp)
    with pytest.raises(LzuError, match="unknown key x"):
        load_recipe(str(path))
    path.write_text("\ufeff" + text + warp.replace("<<: *x", "<<: {lattice: [7, 11], fwhm: 9}"))
    assert load_recipe(str(path)).warp.fwhm == 5


def test_former_keys_are_still_read(settings: dict[str, Any], tmp_path: Path) -> None:
    """In a file as among overrides, which stand above the file under either name."""
    limits = {"arrow": 2e-3, "regression": {"drift": 7.0}}
    path = str(write(tmp_path, {**settings, "tolerances": limits}))
    read = load_recipe(path).tolerances
    assert (read.probe, read.regression.deviation) == (2e-3, 7.0)
    for key in ("tolerances.arrow", "tolerances.probe"):
        assert load_recipe(path, {key: 3e-3}).tolerances.probe == 3e-3
    for key in ("keep_high.fp16", "higher_precision.fp16"):
        assert load_recipe(path, {key: ["neck.*"]}).higher_precision.fp16 == ("neck.*",)
    path = str(write(tmp_path, {**settings, "keep_high": {"int8": ["head.*"]}}, "keep.yaml"))
    assert load_recipe(path).higher_precision.int8 == ("head.*",)
    both = {**limits, "probe": 1e-3}
    path = str(write(tmp_path, {**settings, "tolerances": both}, "both.yaml"))
    with pytest.raises(LzuError, match=r"both\.yaml: arrow is the former name of probe, and both"):
        load_recipe(path)


def test_an_export_scores_the_recipe_s_own_part_of_its_own_frames() -> None:
    """Other frames are scored as they are chosen, and warps by boxes on whole sequences."""
    assert load_recipe("det").scored_frames == 128
    assert load_recipe("det", {"variant": "adaptive"}).scored_frames is None
    for changes, frames in (
        ({"evaluation.frames": 300}, 300),
        ({"evaluation.dataset": "val.json"}, None),
        ({"evaluation.dataset": "val.json", "evaluation.export_frames": 9}, 9),
        ({"evaluation.frames": 8, "evaluation.export_frames": 9}, 8),
        ({"evaluation.export_frames": None}, None),
    ):
        assert load_recipe("det", changes).scored_frames == frames, changes
