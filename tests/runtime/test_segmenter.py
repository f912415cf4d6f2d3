"""A bundle that segments: frames in, class maps out, without torch."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.recipes.schema import SegRecipe
from lzu_export.runtime import CameraFrame, Segmenter, load
from lzu_export.tasks.pytorch import noise_frame, torch_predictor
from lzu_export.tasks.warps import make_warp
from samples import FakeSession, noise_frames, tiny_recipe


class Labels(FakeSession):
    """A session that returns the class map it was given."""

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels

    def run(self, _inputs: Any) -> dict[str, Any]:
        return {"labels": self.labels[None].astype(np.int32)}


def segmenter(folder: Path, labels: np.ndarray, **changes: Any) -> Segmenter:
    fit: Any = "stretch" if changes.pop("resize", False) else changes.pop("fit", "exact")
    recipe = tiny_recipe(folder, "seg", **changes)
    assert isinstance(recipe, SegRecipe)
    session: Any = Labels(labels)
    return Segmenter(recipe, session, make_warp(recipe).arrays(), fit=fit)


def test_a_bundle_segments_as_pytorch_does(tiny_seg_bundle: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, "seg")
    frame = noise_frame(recipe.source, seed=7)
    (wanted,) = torch_predictor(recipe, make_warp(recipe)).run([CameraFrame(frame)])
    found = load(tiny_seg_bundle)(frame)
    assert isinstance(load(tiny_seg_bundle), Segmenter)
    assert (found.labels.dtype, found.labels.shape) == (np.uint8, (96, 160))
    assert found.classes == ("near", "far")
    assert found.logits is None
    assert len(np.unique(found.labels)) == 2
    assert (found.labels == wanted.labels).mean() > 0.999


def test_the_map_is_of_the_frame_s_size_and_void_outside_the_crop(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 2, (64, 96))
    found = segmenter(tmp_path, labels, crop=[64, 96])(noise_frame((96, 160), 0))
    np.testing.assert_array_equal(found.labels[16:80, 32:128], labels)
    outside = found.labels.copy()
    outside[16:80, 32:128] = 255
    assert (outside == 255).all()


def test_a_frame_of_another_size_gets_the_nearest_labels(tmp_path: Path) -> None:
    labels = (np.arange(160) >= 40)[None].repeat(96, axis=0)
    found = segmenter(tmp_path, labels, resize=True)(noise_frame((48, 320), 0))
    assert found.labels.shape == (48, 320)
    np.testing.assert_array_equal(found.labels, (np.arange(320) >= 80)[None].repeat(48, axis=0))
    with pytest.raises(LzuError, match="frame is 48x320 but this bundle takes 96x160"):
        segmenter(tmp_path, labels)(noise_frame((48, 320), 0))


@pytest.mark.parametrize("size", [(32, 53), (50, 100), (288, 480)])
def test_the_nearest_labels_are_those_of_nearest_centres(
    size: tuple[int, int], tmp_path: Path
) -> None:
    """Edges map to edges, so a smaller frame's label map is not shifted by half a pixel."""
    labels = np.random.default_rng(1).integers(0, 2, (96, 160))
    found = segmenter(tmp_path, labels, resize=True)(noise_frame(size, 0))
    rows, cols = (
        (np.arange(n) + 0.5) * source / n for n, source in zip(size, (96, 160), strict=True)
    )
    expected = labels[np.ix_(rows.astype(int), cols.astype(int))]
    clear = np.ix_(rows % 1 != 0, cols % 1 != 0)  # on the edge of two pixels both are nearest
    assert expected[clear].size > 0.7 * expected.size
    np.testing.assert_array_equal(found.labels[clear], expected[clear])


def test_a_camera_is_given_in_vain(tmp_path: Path) -> None:
    predictor = segmenter(tmp_path, np.zeros((96, 160)))
    with pytest.raises(LzuError, match="task seg takes no camera matrix; leave it out"):
        predictor.run([CameraFrame(noise_frame((96, 160), 0), np.eye(3))])


def test_run_writes_label_maps_and_overlays(tiny_seg_bundle: Path, tmp_path: Path) -> None:
    import json

    from lzu_export.bundle.run import apply
    from lzu_export.support.progress import Reporter

    frames = noise_frames(tmp_path / "frames", 2, name="{}.jpg")
    out = tmp_path / "out"
    counts = apply(tiny_seg_bundle, frames, out, show_warp=True, report=Reporter(quiet=True))
    assert (counts["frames"], counts["label maps"]) == (2, 2)
    for i in range(2):
        labels = cv2.imread(str(out / "labels" / f"{i}.png"), cv2.IMREAD_UNCHANGED)
        wanted = load(tiny_seg_bundle)(cv2.imread(str(frames / f"{i}.jpg"))).labels
        np.testing.assert_array_equal(labels, wanted)
        assert cv2.imread(str(out / f"{i}.jpg")) is not None
    (first, _) = json.loads((out / "results.json").read_text())
    assert (first["image_id"], first["file_name"]) == (1, "labels/0.png")
    assert sum(first["shares"].values()) == pytest.approx(1, abs=1e-5)
    assert set(first["shares"]) <= {"near", "far"}


def test_a_frame_between_bars_gets_the_labels_of_its_part(tmp_path: Path) -> None:
    """Every label map has its frame's own resolution."""
    labels = np.zeros((96, 160), np.int64)
    labels[:, 80:] = 1
    labels[:, :40] = labels[:, 120:] = 1 - labels[:, :40]  # what the bars show
    found = segmenter(tmp_path, labels, fit="pad")(noise_frame((192, 160), 0))
    assert found.labels.shape == (192, 160)
    assert (found.labels[:, :80] == 0).all()
    assert (found.labels[:, 80:] == 1).all()


def test_the_map_is_void_outside_a_window(tmp_path: Path) -> None:
    """The window may lie anywhere in the frame."""
    labels = np.random.default_rng(1).integers(0, 2, (64, 96))
    window = {"x": 60, "y": 31, "width": 96, "height": 64}
    found = segmenter(tmp_path, labels, crop=window)(noise_frame((96, 160), 0))
    np.testing.assert_array_equal(found.labels[31:95, 60:156], labels)
    outside = found.labels.copy()
    outside[31:95, 60:156] = 255
    assert (outside == 255).all()


def test_frames_of_one_stem_have_label_maps_of_their_own(
    tiny_seg_bundle: Path, tmp_path: Path
) -> None:
    """a.jpg, a.png and A.bmp are three frames with a label map each."""
    from lzu_export.bundle.run import apply
    from lzu_export.support.progress import Reporter

    frames, out = tmp_path / "frames", tmp_path / "out"
    frames.mkdir()
    for i, name in enumerate(("A.bmp", "a.jpg", "a.png")):
        cv2.imwrite(str(frames / name), noise_frame((96, 160), i))
    apply(tiny_seg_bundle, frames, out, show_warp=False, report=Reporter(quiet=True))
    results = json.loads((out / "results.json").read_text())
    names = [each["file_name"] for each in results]
    assert names == ["labels/A.png", "labels/a.jpg.png", "labels/a.png.png"]
    maps = [(out / name).read_bytes() for name in names]
    assert len(set(maps)) == 3
