"""What a recipe may say, and what it is told when it says something else."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from lzu_export.errors import LzuError
from lzu_export.recipes.load import load_recipe, validate
from lzu_export.recipes.schema import (
    AnyRecipe,
    Det3dRecipe,
    DetRecipe,
    Normalisation,
    Recipe,
    SegRecipe,
)
from lzu_export.warp.geometry import Level
from samples import TINY_NETWORK, tiny_recipe, tiny_settings


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
        ({"classes": ["Stop sign", "stop-sign"]}, "names Stop sign and stop-sign, which are one"),
        ({"classes": ["road", " "]}, "classes has an empty name; give each one"),
        ({"scale": True}, "scale is True but must be a number; change it"),
        ({"batch": True}, "batch is True but must be a number; change it"),
        ({"warp": {"fwhm": float("nan")}}, "warp.fwhm is nan but must be a finite number"),
        (
            {"model": {"octave_base_scale": float("inf")}},
            "model.octave_base_scale is inf but must be a finite number",
        ),
        (
            {"normalisation": {"mean": [0.4, 0.5, 0.45], "std": [0.2, 0.25, 0.3]}},
            "on the scale 0..1, but the camera's bytes are 0..255: multiply by 255, as mean [102, "
            "127.5, 114.75] and std [51, 63.75, 76.5]",
        ),
        ({"normalisation": {"mean": [0.5, 0.5, 0.5], "std": [60, 60, 60]}}, "are on the scale 0"),
        ({"normalisation": {"mean": [0, 0, 0], "std": [0.5, 0.5, 0.5]}}, "are on the scale 0..1"),
        ({"normalisation": {"mean": [120, 120, 300]}}, "which is not within 0..255, the range of"),
        ({"sampler": "opencv"}, "it needs variant uniform and input zoomed"),
        ({"sampler": "opencv", "variant": "uniform"}, "it needs variant uniform and input zoomed"),
        ({"scale": 0.1}, "makes a 9x16 canvas, less than half a cell of the stride-32 level"),
        ({"scale": 0.001}, "scale 0.001 makes the canvas 0x0; raise the scale"),
        ({"warp": {"unfilled": ["top"]}}, "warp.unfilled belongs to the geometry published"),
        ({"warp": {"network": {"deptth": 18}}}, "key warp.network.deptth; did you mean depth?"),
        ({"warp": {"network": {}}}, "looks at every frame, which variant fixed does not; choose"),
        ({"variant": "external", "warp": {"network": {}}}, "from the host, not from warp.network"),
        ({"variant": "external", "input": "zoomed"}, "needs input source, not zoomed; change it"),
        ({"variant": "fovea", "task": "seg"}, "fovea maps boxes back, so it needs task det, not"),
        ({"variant": "adaptive", "task": "det3d"}, "set warp.network, or choose fixed or uniform"),
        (
            {"variant": "adaptive", "warp": {"network": {"input": [16, 16]}}},
            "input 16x16 becomes a map of one cell behind 3 stages, of stride 16",
        ),
        (
            {"variant": "adaptive", "warp": {"network": {}, "saliency": None, "mix": 0.5}},
            "mixes what the network sees with a fixed saliency; set warp.saliency or warp.logits",
        ),
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
        ({"variant": "adaptiv"}, "variant"),
        ({"targets": []}, "targets"),
        ({"targets": ["tensort"]}, "targets.0"),
        ({"precision": ["fp12"]}, "precision.0"),
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


def test_only_trained_networks_must_find_what_pytorch_finds(tmp_path: Path) -> None:
    given = {"tolerances": {"matched": {"int8": 0.85}}, "checkpoint": {"uniform": "a.pth"}}
    trained = tiny_recipe(tmp_path, variant="uniform", **given)
    limits = [trained.matched_limit(each) for each in ("fp32", "fp16", "bf16", "int8")]
    assert limits == [0, 0.98, 0.95, 0.85]
    untrained = tiny_recipe(tmp_path, variant="fixed", **given)
    assert [untrained.matched_limit(each) for each in ("fp16", "int8")] == [0, 0]


def test_a_detector_zoomed_by_its_own_boxes_may_find_less_in_sequences(tmp_path: Path) -> None:
    given = {"tolerances": {"matched": {"int8": 0.03}}}
    adaptive = tiny_recipe(tmp_path, variant="adaptive", checkpoint={"adaptive": "a.pth"}, **given)
    assert adaptive.matched_limit("fp16") == 0.98
    precisions = ("fp32", "fp16", "bf16", "int8")
    limits = [adaptive.matched_limit(each, sequences=True) for each in precisions]
    assert limits == pytest.approx([0, 0.93, 0.9, 0])
    fixed = tiny_recipe(tmp_path, variant="fixed", checkpoint={"fixed": "a.pth"})
    assert fixed.matched_limit("fp16", sequences=True) == 0.98


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


LEVELS_3D = {
    0.25: [(32, 52), (16, 26), (8, 13), (4, 7), (2, 4)],
    0.5: [(60, 100), (30, 50), (15, 25), (8, 13), (4, 7)],
    0.75: [(88, 152), (44, 76), (22, 38), (11, 19), (6, 10)],
    1.0: [(116, 200), (58, 100), (29, 50), (15, 25), (8, 13)],
}
INPUTS_3D = {0.25: (256, 416), 0.5: (480, 800), 0.75: (704, 1216), 1.0: (928, 1600)}


@pytest.mark.parametrize("scale", LEVELS_3D)
def test_the_nuscenes_recipe_has_the_released_sizes(scale: float) -> None:
    recipe = load_recipe("nuscenes", {"scale": scale})
    assert isinstance(recipe, Det3dRecipe)
    assert recipe.span == (928, 1600)
    assert recipe.picture == (900, 1600)
    assert recipe.canvas_step == (1 / scale, 1 / scale)
    assert recipe.network_input == INPUTS_3D[scale]
    assert [level.size for level in recipe.levels] == LEVELS_3D[scale]
    assert [level.stride for level in recipe.levels] == [8, 16, 32, 64, 128]
    assert (recipe.warp.geometry, recipe.warp.unfilled) == ("published", ("bottom",))
    assert recipe.candidates == [min(1000, h * w) for h, w in LEVELS_3D[scale]]
    assert len(recipe.classes) == 10
    assert recipe.attributes[-1] == "none"


@pytest.mark.parametrize("size", [64, 128, 256, 512])
def test_the_cityscapes_recipe_looks_at_the_centred_square(size: int) -> None:
    recipe = load_recipe("cityscapes", {"scale": size / 1024})
    assert isinstance(recipe, SegRecipe)
    assert (recipe.view, recipe.corner) == ((1024, 1024), (0, 512))
    assert recipe.canvas == recipe.network_input == (size, size)
    assert [level.size for level in recipe.levels] == [(size // 8, size // 8)]
    assert recipe.warp.lattice == (45, 45)
    assert len(recipe.classes) == 19
    assert recipe.path_of_sizes == f"1024x2048 -> 1024x1024 -> {size}x{size}"


@pytest.mark.parametrize(
    ("task", "changes", "words"),
    [
        ("det", {"crop": [97, 160]}, "crop 97x160 is larger than the source 96x160; lower it"),
        ("det", {"crop": [0, 5]}, "crop.0 is 0 but must be"),
        (
            "det",
            {"crop": {"x": 70, "y": 0, "width": 91, "height": 5}},
            "crop ends at x 161, y 5, b",
        ),
        ("det", {"crop": {"x": 0, "y": 90, "width": 9, "height": 7}}, "crop ends at x 9, y 97, be"),
        ("det", {"crop": {"x": -1, "y": 0, "width": 9, "height": 7}}, "crop.x is -1 but must be"),
        ("det", {"crop": {"x": 0, "y": 0, "width": 9}}, "the key crop.height is missing; add it"),
        ("det", {"crop": {"x": 0, "y": 0, "widht": 9}}, "the key crop.width is missing; add it"),
        ("det", {"crop": {"x": 0, "y": 0, "width": 9, "height": 7, "z": 1}}, "unknown key crop.z"),
        (
            "det",
            {"crop": [1, 2, 3, 4]},
            "crop is [1, 2, 3, 4] but must be a list of at most 2; change it",
        ),
        ("seg", {"reduce": 97}, "reduce 97 leaves one row or column of 96x160; lower it"),
        ("det", {"warp": {"unzoom_scale": 2}}, "unknown key warp.unzoom_scale"),
        ("seg", {"warp": {"bandwidth": 3}}, "unknown key warp.bandwidth; did you mean b"),
        ("seg", {"warp": {"unzoom_scale": 0}}, "warp.unzoom_scale is 0 but must be"),
        ("seg", {"postprocess": {"upsampling": "nearest"}}, "postprocess.upsampling is 'nearest'"),
        ("seg", {"postprocess": {"iou_threshold": 0.5}}, "unknown key postprocess.iou_threshold"),
        ("seg", {"model": {"cut": "head"}}, "model.cut is 'head' but must be"),
        ("seg", {"model": {"feat_channels": 8}}, "unknown key model.feat_channels"),
        ("det3d", {"attributes": ["a"]}, "attributes lists 1 names but model.num_attributes is 3"),
        (
            "det3d",
            {"sampler": "opencv", "variant": "uniform", "input": "zoomed", "source_multiple": 32},
            "which pads nothing: set source_multiple to 1",
        ),
    ],
)
def test_contradictions_of_the_tasks_are_told(
    task: str, changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(LzuError) as caught:
        validate({**tiny_settings(tmp_path, task, **changes)}, "tiny.yaml")
    message = str(caught.value)
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("task", ["pose", 3, None, ["det"]])
def test_an_unknown_task_is_refused(task: Any, tmp_path: Path) -> None:
    refusal = r"task is .* but must be one of det, seg, det3d, generic; change it"
    with pytest.raises(LzuError, match=refusal):
        validate({**tiny_settings(tmp_path), "task": task}, "tiny.yaml")


def test_a_view_is_cut_reduced_and_spanned(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, crop=[60, 100], source_multiple=32, reduce=3, scale=0.5)
    assert (recipe.view, recipe.corner) == ((60, 100), (18, 30))
    assert recipe.picture == (20, 34)
    assert recipe.span == (22, 43)  # of 64 x 128
    assert recipe.canvas == (30, 50)
    assert recipe.label == "fixed-0.5x-reduced3"
    assert recipe.canvas_step == (pytest.approx(3 * 21 / 29), pytest.approx(3 * 42 / 49))


def test_a_recipe_comes_back_from_plain_data_as_its_task_s(tmp_path: Path) -> None:
    for task, kind in (("det", DetRecipe), ("seg", SegRecipe), ("det3d", Det3dRecipe)):
        recipe = tiny_recipe(tmp_path, task)
        assert type(recipe) is kind
        data = TypeAdapter(AnyRecipe).dump_python(recipe, mode="json")
        assert TypeAdapter(AnyRecipe).validate_python(data) == recipe


def test_feedback_widens_the_limits_of_lower_precisions_only(tmp_path: Path) -> None:
    """Where boxes make the warp; a network's warp, like a fixed one, has none of it."""
    network = {"warp": {"network": TINY_NETWORK}, "variant": "adaptive"}
    limits = {}
    for name, changes in (("fixed", {}), ("boxes", {"variant": "adaptive"}), ("network", network)):
        recipe = tiny_recipe(tmp_path, **changes)
        limits[name] = [recipe.metric_limit(each) for each in ("fp32", "fp16", "int8")]
    assert limits["fixed"] == limits["network"] == [0.1, 0.2, 1.0]
    assert limits["boxes"] == pytest.approx([0.1, 0.5, 1.3])


@pytest.mark.parametrize(
    "name", ["../x", "../../x", "/etc/x", "a/b", ".", "..", ".hidden", "", "x" * 151, "é" * 76]
)
def test_a_name_leads_out_of_no_folder(name: str, tmp_path: Path) -> None:
    """Folders of bundles and reports are called so."""
    assert "is not a folder name" in refusal(tmp_path, name=name)


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\n", "x\u202etxt", "\udcff", "a\x00"])
def test_a_name_can_be_seen(name: str, tmp_path: Path) -> None:
    """All of it."""
    assert "has a character that cannot be seen; remove it" in refusal(tmp_path, name=name)


@pytest.mark.parametrize("name", ["m[bold]x", "a b;touch x", "車 é", "x|`y`<script>", "a.b"])
def test_other_names_are_the_users(name: str, tmp_path: Path) -> None:
    """What shows them escapes them."""
    assert tiny_recipe(tmp_path, name=name).name == name


@pytest.mark.parametrize("label", ["two\nlines", "a\x1b[2J", "a\u2028b", "\ud800", "a\x85"])
def test_a_class_is_one_line_of_a_text_file(label: str, tmp_path: Path) -> None:
    """Of labels.txt: a line end in one would give all classes after it another number."""
    assert "labels.txt has one name a line; remove it" in refusal(tmp_path, classes=["car", label])


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ([0, 0, 0], [1, 1, 1]),
        ([0, 0, 0], [255, 255, 255]),
        ([103.53, 116.28, 123.675], [1, 1, 1]),
        ([127.5, 127.5, 127.5], [127.5, 127.5, 127.5]),
    ],
)
def test_normalisations_of_bytes_are_taken(mean: list[float], std: list[float]) -> None:
    """As OpenMMLab's Caffe weights, models of plain bytes and of 0..1 have them."""
    assert Normalisation(mean=mean, std=std).mean == tuple(mean)


def test_attributes_have_different_names(tmp_path: Path) -> None:
    words = "attributes names moving and Moving, which are one"
    assert words in refusal(tmp_path, task="det3d", attributes=["moving", "Moving", "still"])
