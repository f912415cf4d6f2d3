"""The picture is made, and the table says what the geometries are known to do."""

import json
from pathlib import Path

import cv2
import pytest

from lzu_benchmarks.studies.misregistration import Figures, level_name, main, measure

STRIDES = {"det-demo": (4, 8, 16, 32), "nuscenes": (8, 16, 32, 64, 128)}
EDGES = {0.25: 1.5, 0.5: 0.5, 0.75: 0.17, 1.0: 0.02}
"""Of the label frame, source pixels; at 1x what is left of the warp between two pixels."""


def measured(out: Path) -> dict[tuple[float, str, int], Figures]:
    """What the file says, by scale, geometry and stride."""
    levels = json.loads((out / "misregistration.json").read_text())["levels"]
    each = [Figures(**level) for level in levels]
    return {(f.scale, f.geometry, f.stride): f for f in each}


def test_the_demonstration_is_drawn_and_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--out", str(tmp_path / "bench")])
    picture = cv2.imread(str(tmp_path / "bench" / "misregistration.png"))
    assert min(picture.shape[:2]) > 1000
    assert picture.std() > 10
    found = measured(tmp_path / "bench")
    printed = capsys.readouterr().out
    assert "det-demo" in printed
    for scale, edges in EDGES.items():
        assert f"{scale:g}x" in printed
        for stride in STRIDES["det-demo"]:
            published = found[scale, "published", stride]
            consistent = found[scale, "consistent", stride]
            assert 15 < published.y_max < 45
            assert published.y_mean < published.y_max
            assert max(consistent.y_max, consistent.x_max) < edges + 0.03
            assert f"{published.y_mean:.1f} / {published.y_max:.1f}" in printed


# Mean and largest of P3's rows in source pixels.
RELEASED = {0.25: (18, 102), 0.5: (16, 70), 0.75: (16, 56), 1.0: (15, 48)}


def test_the_released_warp(golden: Path, tmp_path: Path) -> None:
    measure(golden / "nuscenes_saliency_27x48.npy", tmp_path)
    found = measured(tmp_path)
    assert len(found) == 4 * 2 * len(STRIDES["nuscenes"])
    for scale, expected in RELEASED.items():
        finest = found[scale, "published", 8]
        assert (round(finest.y_mean), round(finest.y_max)) == expected
        for stride in STRIDES["nuscenes"]:
            consistent = found[scale, "consistent", stride]
            assert max(consistent.y_max, consistent.x_max) < EDGES[scale] + 0.03
            assert consistent.aligned_max < 0.11
            assert found[scale, "published", stride].x_max < 3.1


def test_levels_are_named_as_in_pyramids() -> None:
    assert [level_name(stride) for stride in (4, 8, 128)] == ["P2", "P3", "P7"]
