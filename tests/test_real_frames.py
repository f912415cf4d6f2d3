"""Camera frames of the real world go the same way as rendered ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lzu_export.live import live_references
from lzu_export.runtime import load
from lzu_export.runtime.manifest import read_manifest
from lzu_export.verify import first_drift, verify_bundle


@pytest.fixture(scope="module")
def frames(shared: Path) -> list[Path]:
    """A street from a car, by day, of two cameras."""
    found = sorted((shared / "camvid" / "val" / "images").glob("*"))[:2]
    found += sorted((shared / "nuscenes_sample").glob("CAM_FRONT.jpg"))
    if not found:
        pytest.skip(f"no real frames under {shared}")
    return found


def test_engine_and_pytorch_agree_on_real_frames(
    tiny_bundle: Path, frames: list[Path], tmp_path: Path
) -> None:
    """Live verification, frames brought to the bundle's size."""
    manifest = read_manifest(tiny_bundle)
    height, width = manifest.recipe.source
    for path in frames:
        image = cv2.resize(cv2.imread(str(path)), (width, height), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(tmp_path / f"{path.stem}.png"), image)
    references = live_references(tiny_bundle, manifest, tmp_path, None, limit=len(frames))
    assert len(references) == len(frames)
    drift = verify_bundle(tiny_bundle, manifest, manifest.engines[0], references)
    assert drift.status == "passed", first_drift(drift)


def test_detections_come_back_in_the_pixels_of_the_real_frame(
    tiny_bundle: Path, frames: list[Path]
) -> None:
    detector = load(tiny_bundle, resize=True)
    for path in frames:
        image = cv2.imread(str(path))
        boxes = detector(image).boxes
        assert np.isfinite(boxes).all()
        assert (boxes >= 0).all()
        assert (boxes[:, 2] <= image.shape[1]).all()
        assert (boxes[:, 3] <= image.shape[0]).all()
