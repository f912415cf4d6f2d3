"""What a checkpoint was trained with, against what it is exported with."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe, list_recipes, load_recipe
from lzu_export.recipes.schema import Untrained
from lzu_export.tasks.training import GROUPS, check_training, training_record
from lzu_export.tasks.warps import make_warp
from samples import tiny_recipe

TASKS = ("det", "seg", "det3d")


def recorded(recipe: Recipe) -> dict[str, str]:
    return training_record(recipe, make_warp(recipe).saliency)


def refusal(recipe: Recipe, meta: dict[str, Any]) -> str:
    with pytest.raises(LzuError) as caught:
        check_training(recipe, make_warp(recipe).saliency, meta, "mine.pth")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def accepted(recipe: Recipe, meta: dict[str, Any]) -> dict[str, tuple[str, str]]:
    found = check_training(recipe, make_warp(recipe).saliency, meta, "mine.pth")
    return {each.key: (each.trained, each.exported) for each in found}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("variant", ["uniform", "fixed", "adaptive", "fovea", "external"])
def test_a_record_does_not_contradict_its_own_recipe(
    task: str, variant: str, tmp_path: Path
) -> None:
    if variant in ("adaptive", "fovea") and task != "det":
        pytest.skip("of detection")
    recipe = tiny_recipe(tmp_path, task, variant=variant)
    record = recorded(recipe)
    assert all(isinstance(value, str) for value in record.values())
    assert set(record) <= set(GROUPS)
    assert accepted(recipe, record) == {}


@pytest.mark.parametrize("trained", ["uniform", "fixed", "adaptive"])
def test_knots_of_the_host_may_be_those_of_any_training(
    trained: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = recorded(tiny_recipe(tmp_path, variant=trained, sampler="bilinear"))
    exported = tiny_recipe(tmp_path, variant="external", warp={"fwhm": 9})
    assert accepted(exported, record) == {}
    assert f"was trained with variant {trained}: give its knots" in caplog.text
    published = {**record, "geometry": "published"}
    assert "trained with geometry published" in refusal(exported, published)


CONTRADICTIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"scale": 0.75}, "scale", "scale 0.5 but the recipe has 0.75"),
    ({"source": [120, 160]}, "source", "source 96x160"),
    ({"crop": [64, 96]}, "crop", "crop none but the recipe has 64x96"),
    ({"reduce": 2}, "reduce", "reduce 1 but the recipe has 2"),
    ({"source_multiple": 64}, "source", "source_multiple 1 but the recipe has 64"),
    ({"sampler": "antialiased"}, "sampler", "sampler bilinear but the recipe has antialiased"),
    ({"variant": "uniform"}, "variant", "variant fixed but the recipe has uniform"),
    ({"classes": ["far", "near"]}, "classes", "classes near, far but the recipe has far, near"),
    ({"normalisation": {"order": "bgr"}}, "normalisation", "order rgb but the recipe has bgr"),
    (
        {"normalisation": {"mean": [100, 116.28, 103.53]}},
        "normalisation",
        "mean 123.675,116.28,103.53 but the recipe has 100,116.28,103.53",
    ),
    ({"normalisation": {"std": [1, 1, 1]}}, "normalisation", "std 58.395,57.12,57.375"),
    ({"warp": {"fwhm": 9}}, "warp", "fwhm 4 but the recipe has 9"),
    ({"warp": {"anti_crop": False}}, "warp", "anti_crop true but the recipe has false"),
    (
        {"warp": {"geometry": "published", "unfilled": ["bottom"]}},
        "warp",
        "geometry consistent, unfilled  but the recipe has published, bottom",
    ),
]


@pytest.mark.parametrize(("changes", "group", "words"), CONTRADICTIONS)
def test_each_contradiction_is_refused_and_can_be_allowed(
    changes: dict[str, Any], group: str, words: str, tmp_path: Path
) -> None:
    record = recorded(tiny_recipe(tmp_path, sampler="bilinear"))
    exported = tiny_recipe(tmp_path, **{"sampler": "bilinear", **changes})
    message = refusal(exported, record)
    assert f"checkpoint mine.pth was trained with {words}" in message
    assert f"untrained=[{group}] exports it all the same and marks it" in message
    allowed = exported.model_copy(update={"untrained": (group,)})
    assert accepted(allowed, record)
    other = exported.model_copy(update={"untrained": ("metric",)})
    assert f"untrained=[metric,{group}]" in refusal(other, record)


def test_several_contradictions_are_told_with_one_remedy(tmp_path: Path) -> None:
    record = recorded(tiny_recipe(tmp_path))
    other = tiny_recipe(tmp_path, scale=1.0, normalisation={"order": "bgr", "std": [1, 1, 1]})
    message = refusal(other, record)
    assert (
        "with scale 0.5, order rgb, std 58.395,57.12,57.375 but the recipe has 1, bgr, 1,1,1"
        in message
    )
    assert "--set untrained=[scale,normalisation]" in message
    allowed = other.model_copy(update={"untrained": ("scale", "normalisation")})
    assert accepted(allowed, record) == {
        "scale": ("0.5", "1"),
        "order": ("rgb", "bgr"),
        "std": ("58.395,57.12,57.375", "1,1,1"),
    }


def test_another_saliency_of_the_same_name_is_another_warp(tmp_path: Path) -> None:
    from samples import saliency_file

    record = recorded(tiny_recipe(tmp_path))
    (tmp_path / "other").mkdir()
    other = tiny_recipe(tmp_path, warp={"saliency": str(saliency_file(tmp_path / "other", seed=8))})
    assert "trained with saliency " in refusal(other, record)


def test_a_loop_of_one_s_own_may_write_numbers_and_lists(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    meta = {
        "scale": 0.5,
        "source": [96, 160],
        "mean": (123.675, 116.28, 103.53),
        "anti_crop": True,
        "reduce": 1,
    }
    assert accepted(recipe, meta) == {}
    assert "scale 0.25 but the recipe has 0.5" in refusal(recipe, {**meta, "scale": 0.25})
    assert "source 160x96 but" in refusal(recipe, {**meta, "source": [160, 96]})
    for value in ("half", "", {"a": 1}, None, [0.5, 0.5]):
        assert "was trained with scale" in refusal(recipe, {"scale": value})
    assert accepted(recipe, {"author": "somebody", "epoch": 3, "scales": 7}) == {}


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (("near", "far"), False),
        (("far", "near"), True),
        (("Near", "FAR"), False),
        (("nah", "weit"), False),  # a translation
        (("far", "weit"), True),
        (("other", "near"), True),
    ],
)
@pytest.mark.parametrize("generation", ["CLASSES", "dataset_meta"])
def test_the_order_of_names_that_openmmlab_stores(
    names: tuple[str, ...], refused: bool, generation: str, tmp_path: Path
) -> None:
    recipe = tiny_recipe(tmp_path)
    meta = {"CLASSES": names} if generation == "CLASSES" else {"dataset_meta": {"classes": names}}
    if not refused:
        assert accepted(recipe, meta) == {}
        return
    message = refusal(recipe, meta)
    assert f"trained with classes {', '.join(names)} but the recipe has near, far" in message
    assert "untrained=[classes]" in message


def test_the_normalisation_of_a_stored_config(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    values = "mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]"
    text = f"img_norm_cfg = dict({values}, to_rgb={{}})"
    assert accepted(recipe, {"config": text.format(True)}) == {}
    assert "order bgr but the recipe has rgb" in refusal(recipe, {"config": text.format(False)})
    caffe = "img_norm_cfg = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=True)"
    message = refusal(recipe, {"config": caffe})
    assert "mean 103.53,116.28,123.675, std 1,1,1 but" in message
    # What our own record says goes before.
    assert accepted(recipe, {**recorded(recipe), "config": caffe}) == {}


def test_consents_have_names_that_the_recipe_knows() -> None:
    assert set(GROUPS.values()) - {"task"} == set(get_args(Untrained)) - {"metric"}


@pytest.mark.parametrize("task", TASKS)
def test_shipped_checkpoints_remember_how_they_were_trained(task: str) -> None:
    """They record all that training writes today, and nothing that contradicts their recipe."""
    from lzu_export.models.archive import read_meta

    for variant, path in load_recipe(task).checkpoint.items():
        recipe = load_recipe(task, {"variant": variant})
        meta = read_meta(path)
        assert accepted(recipe, dict(meta)) == {}
        assert recorded(recipe).items() <= meta.items()
        assert json.loads(meta["classes"]) == list(recipe.classes)
        assert recipe.evaluation.reference.keys() == recipe.checkpoint.keys()
        message = refusal(load_recipe(task, {"variant": variant, "scale": 1.0}), dict(meta))
        assert f"{path.name.removesuffix('.pth')}" == variant
        assert "untrained=[scale]" in message


def test_what_others_score_is_no_reference() -> None:
    whole = load_recipe("det").evaluation.reference
    assert whole
    kept: list[dict[str, Any]] = [{"scale": 1}, {"evaluation.dataset": "demo"}, {"warp.fwhm": 3}]
    for changes in kept:
        assert load_recipe("det", changes).evaluation.reference == whole
    dropped: list[dict[str, Any]] = [
        {"checkpoint.fixed": "a.pth"},
        {"checkpoint": {"fixed": "a.pth"}},
        {"evaluation.dataset": "val.json"},
        {"evaluation.dataset": None},
        {"random_weights": 0, "checkpoint": {}},
        {"model.fpn_channels": 32},
    ]
    for changes in dropped:
        assert load_recipe("det", changes).evaluation.reference == {}
    own = {"checkpoint.fixed": "a.pth", "evaluation.reference": {"fixed": 50.0}}
    assert load_recipe("det", own).evaluation.reference == {"fixed": 50.0}
    assert not [
        name
        for name in list_recipes()
        if "demo" not in name and load_recipe(name).evaluation.reference
    ]
