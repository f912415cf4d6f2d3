"""The picture shows what it promises, for every kind of warp."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("matplotlib", reason="figures need matplotlib")

from lzu_export.errors import LzuError
from lzu_export.preview.frames import SHADES, board, first_frame, fitted_frame
from lzu_export.preview.picture import DPI, WIDTH
from lzu_export.preview.preview import preview, preview_warp
from lzu_export.tasks.pytorch import noise_frame
from lzu_export.warp.fixed_warp import FixedWarp
from preview_samples import coco
from samples import tiny_recipe, tiny_settings

BOXES = [[70.0, 40, 90, 52], [80, 44, 88, 50], [0, 0, 160, 96]]


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """A recipe file whose warp zooms at the middle of the frame."""
    saliency = np.full((15, 25), 0.05)
    saliency[6:9, 9:16] = 1
    np.save(tmp_path / "middle.npy", saliency)
    warp = {"saliency": "middle.npy", "lattice": [15, 25], "fwhm": 8}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**tiny_settings(tmp_path), "warp": warp, "classes": CLASSES}))
    return str(path)


CLASSES = ["near", "far"]


def grey_image(folder: Path) -> str:
    """An image of one grey, so that all colours of a picture are the warp's."""
    path = folder / "grey.png"
    cv2.imwrite(str(path), np.full((96, 160, 3), 128, np.uint8))
    return str(path)


@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("with_boxes", [True, False])
def test_the_picture_colours_what_is_magnified_and_what_is_squeezed(
    separable: bool, with_boxes: bool, recipe: str, tmp_path: Path
) -> None:
    seen = preview(
        recipe,
        {"warp.separable": separable},
        tmp_path / "seen.png",
        frames=grey_image(tmp_path),
        boxes=coco(tmp_path, BOXES) if with_boxes else None,
    )
    picture = cv2.imread(str(seen.picture))
    assert picture is not None
    assert picture.shape[1] == pytest.approx(WIDTH * DPI, abs=1)
    warmth = picture[..., 2].astype(int) - picture[..., 0]
    assert (warmth > 50).sum() > 1000
    assert (warmth < -25).sum() > 1000
    assert (seen.measured.boxes is not None) == with_boxes
    assert [each.name for each in tmp_path.glob("*seen*")] == ["seen.png"]


@pytest.mark.parametrize("suffix", ["jpg", "svg", "pdf"])
def test_the_suffix_names_the_format(suffix: str, recipe: str, tmp_path: Path) -> None:
    content = preview(recipe, {}, tmp_path / f"seen.{suffix}").picture.read_bytes()
    assert content.startswith({"jpg": b"\xff\xd8", "svg": b"<?xml", "pdf": b"%PDF"}[suffix])


def test_a_page_has_the_picture_with_its_figures(recipe: str, tmp_path: Path) -> None:
    boxes = coco(tmp_path, BOXES)
    out = tmp_path / "seen.html"
    seen = preview(recipe, {}, out, boxes=boxes, magnification=1.5)
    page = out.read_text()
    assert page.startswith("<!doctype html>")
    assert page.count("data:image/png;base64,") == 1
    for each in seen.measured.extremes:
        assert f'<td class="n">{each.largest:.2f}</td>' in page
    for title in ("Magnification", "Boxes", "Proposals"):
        assert f"<h2>{title}</h2>" in page
    assert all(key in page for key in seen.proposals[0].values)


def test_a_board_has_squares_of_both_shades() -> None:
    found = board((12, 48))
    assert found.shape == (12, 48, 3)
    assert set(np.unique(found)) == set(SHADES)
    assert (found[0, 0] != found[0, 2]).all()
    assert (found[0, 0] == found[2, 2]).all()


def test_the_first_frame_of_each_kind_of_source_is_shown(tmp_path: Path) -> None:
    frames = [noise_frame((24, 32), seed) for seed in range(3)]
    (tmp_path / "below/deep").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "below/deep"):
        for i, frame in enumerate(frames):
            cv2.imwrite(str(folder / f"{i}.png"), frame)
    for source, wanted in ((tmp_path, 0), (tmp_path / "1.png", 1)):
        name, frame = first_frame(str(source))
        assert name == f"{wanted}.png"
        np.testing.assert_array_equal(frame, frames[wanted])
    name, frame = first_frame(str(tmp_path / "below"))
    np.testing.assert_array_equal(frame, frames[int(name[0])])


@pytest.mark.parametrize("fit", ["exact", "stretch", "pad"])
def test_frames_of_another_size_are_fitted_if_that_is_asked_for(fit: str, tmp_path: Path) -> None:
    recipe, frame = tiny_recipe(tmp_path), noise_frame((48, 48), 0)
    if fit == "exact":
        with pytest.raises(LzuError, match=r"a\.png is 48x48 but the recipe's source 96x160; give"):
            fitted_frame("a.png", frame, recipe, fit)
        return
    assert fitted_frame("a.png", frame, recipe, fit).shape == (96, 160, 3)


def test_a_warp_made_in_python_is_shown_like_a_recipe_s(recipe: str, tmp_path: Path) -> None:
    saliency = np.load(tmp_path / "middle.npy")
    warp = FixedWarp.from_saliency(saliency, source=(96, 160), scale=0.5, fwhm=8)
    boxes = np.array([*BOXES, [200.0, 10, 210, 20]])  # the last is beside the frame
    seen = preview_warp(warp, tmp_path / "seen.png", frame=noise_frame((96, 160), 0), boxes=boxes)
    other = preview(recipe, {}, tmp_path / "other.png", boxes=coco(tmp_path, BOXES))
    assert cv2.imread(str(seen.picture)) is not None
    assert seen.measured.extremes == other.measured.extremes
    assert seen.measured.boxes is not None
    assert other.measured.boxes is not None
    np.testing.assert_allclose(seen.measured.boxes.zoomed, other.measured.boxes.zoomed)
    with pytest.raises(LzuError, match="the frame is 48x48 but the warp's source 96x160; give"):
        preview_warp(warp, tmp_path / "new.png", frame=noise_frame((48, 48), 0))
    with pytest.raises(LzuError, match=r"boxes have shape \(4,\); give \(n, 4\)"):
        preview_warp(warp, tmp_path / "new.png", boxes=BOXES[0])
    assert not (tmp_path / "new.png").exists()


def refusals(folder: Path) -> list[tuple[dict[str, Any], str]]:
    return [
        ({"out": folder / "seen.txt"}, "is no picture; give a name in .png, .jpg"),
        ({"out": folder / "none/seen.png"}, "is in a folder that does not exist; make it"),
        ({"frames": str(folder / "none")}, "does not exist; give a folder"),
        ({"boxes": folder / "none.json"}, "none.json"),
        ({"boxes": folder / "a.txt"}, "is no file of boxes; give COCO annotations"),
        ({"magnification": 1}, "--magnification is 1; give a number above 1"),
        ({"overrides": {"warp.fhwm": 3}}, "unknown key warp.fhwm; did you mean fwhm"),
    ]


@pytest.mark.parametrize("case", range(7))
def test_what_is_unfit_is_refused_and_nothing_is_written(
    case: int, recipe: str, tmp_path: Path
) -> None:
    given, words = refusals(tmp_path)[case]
    options = {"overrides": {}, "out": tmp_path / "seen.png", **given}
    with pytest.raises(LzuError) as error:
        preview(recipe, **options)
    assert words in str(error.value)
    assert not list(tmp_path.glob("**/*seen*"))
