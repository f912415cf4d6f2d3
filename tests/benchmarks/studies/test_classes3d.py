"""What is told of classes: how much the warp magnifies them, and the means without some."""

from pathlib import Path

import numpy as np
import pytest

from lzu_benchmarks.studies.classes3d import Found, magnification, main, rare, readme
from lzu_export.evaluation.metrics.nuscenes import NuScenesEvaluation
from lzu_export.evaluation.metrics.nuscenes_objects import DEMO, Objects, camera_objects
from lzu_export.recipes import load_recipe
from lzu_export.tasks.warps import make_warp

CAR, BUS, SIGN = (
    next(i for i, rule in enumerate(DEMO) if rule.name == name)
    for name in ("car", "bus", "traffic_sign")
)


def objects(*labels: int) -> Objects:
    """Cubes in a row, ten metres ahead."""
    boxes = np.ones((len(labels), 7))
    boxes[:, 0] = 1.5 * np.arange(len(labels))
    boxes[:, 2] = 10
    return camera_objects(boxes, labels)


def evaluation(*, buses: bool) -> NuScenesEvaluation:
    """Two sequences of twelve cars, a bus and a sign; the bus is found by request only."""
    made = NuScenesEvaluation(DEMO)
    labels = [CAR] * 12 + [BUS] + [SIGN]
    for sequence in range(2):
        found = objects(*labels)
        kept = found.take((found.labels != BUS) | buses)
        made.add(sequence, sequence, objects(*labels), kept, np.ones(len(kept.labels)))
    return made


def test_magnification_is_the_slope_of_the_warp() -> None:
    knots = np.array([-1, -0.5, 0.0, 1.0])  # three pieces of 2/3 on the canvas
    places = np.array([0.0, 20, 30, 60, 80])
    np.testing.assert_allclose(magnification(knots, places, 80), np.array([4, 4, 4, 2, 2]) / 3)
    np.testing.assert_allclose(magnification(np.linspace(-1, 1, 5), places, 80), 1)


def test_magnification_over_the_whole_source_is_its_share_of_the_canvas() -> None:
    warp = make_warp(load_recipe("det3d", {"variant": "fixed"}))
    places = np.linspace(0, 360, 100_001)
    assert magnification(warp.knots_y, places, 360).mean() == pytest.approx(1, abs=1e-3)


def test_rare_classes_and_the_least_magnified_one_are_named() -> None:
    uniform, fixed = evaluation(buses=False), evaluation(buses=True)
    magnified = {rule.name: float("nan") for rule in DEMO}
    magnified |= {"car": 2.0, "bus": 2.5, "traffic_sign": 1.25}
    assert rare(uniform) == []
    uniform = add_cars(uniform)
    assert rare(uniform) == ["bus", "traffic_sign"]
    text = readme(Found({"uniform": uniform, "fixed": add_cars(fixed)}, magnified), "made", 20)
    assert "    made\n" in text
    assert "which makes intervals wide: bus, traffic_sign." in text
    assert "with least to gain: traffic_sign." in text
    assert "| car | 42 | 3 | 2.00 | +0.00 [+0.00, +0.00] |" in text
    assert "| bus | 2 | 2 | 2.50 | +100.00 [+100.00, +100.00] |" in text
    # A third of the mean, and nothing once the bus is left out.
    assert "| all distances |  | +33.33 [" in text
    assert "| all distances | bus, traffic_sign | +0.00 [+0.00, +0.00] |" in text
    assert "| 30 to 50 m |  | - | - |" in text


def add_cars(made: NuScenesEvaluation) -> NuScenesEvaluation:
    """A third sequence of cars alone, near and found."""
    row = objects(*[CAR] * 18)
    row.centres[:, 0] = np.linspace(-9, 9, 18)
    made.add(2, 2, row, row, np.ones(18))
    return made


@pytest.mark.slow
def test_the_shipped_models_are_compared(tmp_path: Path) -> None:
    main(["--frames", "8", "--out", str(tmp_path)])
    text = (tmp_path / "CLASSES.md").read_text()
    assert text.count("\n| car |") == 1
    assert "| all distances |" in text
