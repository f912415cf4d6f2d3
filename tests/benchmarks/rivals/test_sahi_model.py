"""docs/sahi.md: a bundle as SAHI's detection model, and boxes as supervision's. Skips without them.

No extra of the tests brings the packages: `pip install '.[sahi]' supervision`.
"""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lzu_export.bundle.run import apply
from lzu_export.runtime import load
from lzu_export.support.progress import Reporter
from lzu_export.tasks.pytorch import noise_frame
from samples import noise_frames

PAGE = Path(__file__).resolve().parents[3] / "docs" / "sahi.md"
pytestmark = pytest.mark.slow  # the packages take seconds to import


def blocks() -> list[str]:
    """Return the Python blocks of the page in order: model, slices, supervision."""
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the page's bundle and frame."""
    (tmp_path / "build/det").mkdir(parents=True)
    (tmp_path / "build/det/uniform-0.5x").symlink_to(tiny_bundle)
    cv2.imwrite(str(tmp_path / "frame.png"), noise_frame((96, 160), 0))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found_as_sahi(model: Any, image: np.ndarray) -> list[tuple[Any, ...]]:
    from sahi.predict import get_prediction

    found = get_prediction(image, model, verbose=0).object_prediction_list
    return [(each.category.id, each.score.value, *each.bbox.to_xyxy()) for each in found]


def test_the_page_s_model_has_25_lines() -> None:
    model = blocks()[0]
    lines = [line for line in model.splitlines() if line.strip()]
    assert len(lines) <= 25


def test_the_page_s_model_finds_the_bundle_s_boxes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sahi", reason="needs the package of the extra sahi")
    from lzu_benchmarks.rivals.sahi_model import BundleModel

    names: dict[str, Any] = {}
    exec(blocks()[0], names)
    frame = cv2.imread("frame.png")
    options = {"model_path": "build/det/uniform-0.5x", "confidence_threshold": 0.05}
    both = [
        found_as_sahi(make(**options), frame[..., ::-1])
        for make in (names["BundleModel"], BundleModel)
    ]
    own = load("build/det/uniform-0.5x", score_threshold=0.05)(frame)
    assert len(own) > 0
    assert both[0] == both[1]
    np.testing.assert_allclose([each[2:] for each in both[0]], own.boxes, atol=1e-4)
    np.testing.assert_allclose([each[1] for each in both[0]], own.scores)
    exec(blocks()[1], names)
    assert "car" in capsys.readouterr().out


def test_boxes_of_slices_lie_where_they_are_in_the_frame(folder: Path) -> None:
    pytest.importorskip("sahi", reason="needs the package of the extra sahi")
    from sahi.predict import get_sliced_prediction

    from lzu_benchmarks.rivals.sahi_model import BundleModel

    model = BundleModel(model_path="build/det/uniform-0.5x", confidence_threshold=0.05)
    image = noise_frame((96, 320), 1)[..., ::-1]
    merged = get_sliced_prediction(
        image, model, slice_height=96, slice_width=160, overlap_width_ratio=0,
        overlap_height_ratio=0, perform_standard_pred=False, postprocess_type="NMS",
        postprocess_match_metric="IOU", verbose=0,
    ).object_prediction_list  # fmt: skip
    wanted = []
    for x in (0, 160):
        own = model.model(np.ascontiguousarray(image[:, x : x + 160, ::-1]))
        wanted += [
            [*(box + np.array([x, 0, x, 0])), s]
            for box, s in zip(own.boxes, own.scores, strict=True)
        ]
    found = [[*each.bbox.to_xyxy(), each.score.value] for each in merged]
    assert len(found) == len(wanted) > 0
    np.testing.assert_allclose(sorted(found), sorted(wanted), atol=1e-3)


def test_boxes_are_those_of_supervision(folder: Path) -> None:
    sv = pytest.importorskip("supervision", reason="needs the package supervision")
    names: dict[str, Any] = {}
    exec(blocks()[2], names)
    found, made = names["found"], names["detections"]
    assert len(made) == len(found) > 0
    np.testing.assert_array_equal(made.xyxy, found.boxes)
    assert list(made.data["class_name"]) == [found.classes[label] for label in found.labels]
    assert (names["picture"] != names["frame"]).any()
    images = noise_frames(folder / "frames", 2)
    apply(
        folder / "build/det/uniform-0.5x", images, folder / "run", show_warp=False,
        report=Reporter(quiet=True), formats=["coco"],
    )  # fmt: skip
    opened = sv.DetectionDataset.from_coco(str(images), str(folder / "run/coco.json"))
    assert len(opened) == 2
    assert sum(len(boxes) for _, _, boxes in opened) > 0
