"""The steps of `docs/outputs.md` for networks of users' own give what the runtime gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lzu_export.recipes.load import validate
from lzu_export.runtime.postprocessing.views import Views
from lzu_export.runtime.predictor import NO_CHOICE
from plain_generic import Place, detections, label_map, merged
from plain_runtime import Plain
from postprocess_samples import process, setup

PAGE = Path(__file__).resolve().parents[1] / "docs/outputs.md"
SETUP = setup({"kind": "raw"})
PLACE = Place(SETUP.canvas, SETUP.network_input, SETUP.canvas_step, SETUP.corner, SETUP.view)
CLASSES = len(SETUP.classes)
SEEDS = st.integers(0, 2**32)


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Boxes centre x, centre y, width, height, some beyond the canvas."""
    height, width = SETUP.network_input
    places = rng.uniform(-8, [width + 8, height + 8], (count, 2))
    return np.hstack([places, rng.uniform(1, 40, (count, 2))])


def same(found: Any, expected: Any) -> None:
    assert len(expected.scores) > 2
    assert found.labels.tolist() == expected.labels.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-5, atol=1e-3)


@given(SEEDS, st.booleans(), st.booleans(), st.booleans(), st.sampled_from([None, 0.4]))
@settings(max_examples=20)
def test_yolo(seed: int, columns: bool, objectness: bool, raw: bool, overlap: float | None) -> None:
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 40)
    scores = rng.normal(0, 2, (40, CLASSES + objectness))
    table = np.hstack([boxes, scores if raw else 1 / (1 + np.exp(-scores))]).astype(np.float32)
    section = {
        "kind": "yolo",
        "layout": "columns" if columns else "rows",
        "boxes": "center",
        "objectness": objectness,
        "activation": "sigmoid" if raw else "none",
        "score_threshold": 0.2,
        "iou_threshold": overlap,
        "max_detections": 15,
    }
    outputs = {"out": table.T if columns else table}
    same(detections(section, outputs, PLACE), process(section, outputs))


@given(SEEDS, st.booleans(), st.booleans())
@settings(max_examples=20)
def test_detr(seed: int, softmax: bool, canvas: bool) -> None:
    rng = np.random.default_rng(seed)
    height, width = SETUP.network_input
    boxes = (random_boxes(rng, 30) / [width, height, width, height]).astype(np.float32)
    outputs = {
        "logits": rng.normal(0, 2, (30, CLASSES + softmax)).astype(np.float32),
        "boxes": boxes,
    }
    section = {
        "kind": "detr",
        "logits": "logits",
        "boxes": "boxes",
        "activation": "softmax" if softmax else "sigmoid",
        "relative_to": "canvas" if canvas else "input",
        "candidates": 25,
        "score_threshold": 0.05,
        "iou_threshold": 0.6,
        "max_detections": 12,
    }
    same(detections(section, outputs, PLACE), process(section, outputs))


@given(SEEDS)
@settings(max_examples=10)
def test_anchors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outputs = {}
    for level, size in enumerate([(8, 16), (4, 8)]):
        outputs[f"cls_{level}"] = rng.normal(-3, 2, (4 * CLASSES, *size)).astype(np.float32)
        outputs[f"box_{level}"] = rng.normal(0, 1, (4 * 4, *size)).astype(np.float32)
    section = {
        "kind": "anchors",
        "scores": ["cls_0", "cls_1"],
        "boxes": ["box_0", "box_1"],
        "strides": [8, 16],
        "octave_base_scale": 3.0,
        "scales_per_octave": 2,
        "ratios": [0.5, 2.0],
        "means": [0.0, 0.1, 0.0, -0.1],
        "stds": [0.5, 1.0, 0.8, 2.0],
        "candidates_per_level": 50,
        "score_threshold": 0.3,
        "iou_threshold": 0.5,
        "max_detections": 40,
    }
    same(detections(section, outputs, PLACE), process(section, outputs))


@given(SEEDS, st.sampled_from(["half-pixel", "in-phase"]), st.booleans())
@settings(max_examples=20)
def test_label_maps(seed: int, upsampling: str, as_labels: bool) -> None:
    """A clear choice is the same; between nearly equal logits rounding decides."""
    rng = np.random.default_rng(seed)
    section = {"kind": "labels", "upsampling": upsampling}
    for size, stride in (((8, 16), 8.0), ((16, 32), 4.0)):
        values = rng.normal(0, 1, (CLASSES, *size)).astype(np.float32)
        if as_labels:
            values = values.argmax(axis=0)
        found = process(section, {"out": values})
        agree = label_map(section, values, PLACE, stride) == found
        assert agree.all() if as_labels else agree.mean() > 0.999


@given(SEEDS)
@settings(max_examples=10)
def test_views(seed: int) -> None:
    """Two windows beside the warp's view, one of them in a corner of the frame."""
    rng = np.random.default_rng(seed)
    section = {
        "kind": "yolo",
        "layout": "rows",
        "boxes": "center",
        "objectness": False,
        "activation": "sigmoid",
        "score_threshold": 0.1,
        "iou_threshold": 0.3,
        "max_detections": 30,
    }
    source, canvas, padded = (64, 96), (32, 48), (32, 64)
    windows = [(0, 0, 32, 48), (20, 16, 40, 60)]  # y, x, height, width
    recipe: Any = validate(
        {
            "name": "seen",
            "task": "generic",
            "source": source,
            "size": canvas,
            "variant": "uniform",
            "views": [{"x": x, "y": y, "width": w, "height": h} for y, x, h, w in windows],
            "classes": ["a", "b"],
            "postprocess": section,
        },
        "of the test",
    )
    places = []
    for y, x, height, width in ((0, 0, *source), *windows):
        step = (height - 1) / (canvas[0] - 1), (width - 1) / (canvas[1] - 1)
        places.append(Place(canvas, padded, step, (y, x), (height, width)))
    outputs = [
        {
            "out": np.hstack(
                [
                    rng.uniform(0, [48, 32], (25, 2)),
                    rng.uniform(2, 20, (25, 2)),
                    rng.normal(0, 2, (25, 2)),
                ]
            ).astype(np.float32)
        }
        for _ in places
    ]
    knots = {"knots_x": np.linspace(-1, 1, 5), "knots_y": np.linspace(-1, 1, 4)}
    expected = Views(recipe, NO_CHOICE, knots)(outputs)
    found = [detections(section, each, place) for each, place in zip(outputs, places, strict=True)]
    same(merged(section, found, places[1:], source), expected)


@pytest.mark.parametrize("kind", ["raw", "yolo", "detr", "anchors", "labels", "custom"])
def test_every_kind_is_on_the_page(kind: str) -> None:
    assert f"\n| `{kind}` | " in PAGE.read_text(encoding="utf-8")


def test_an_exported_network_of_two_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine returns the views of a frame one after the other; merged, they are `load`'s."""
    torch = pytest.importorskip("torch", reason="exporting needs torch")
    import lzu_export as lzu
    from wrapped_networks import SOURCE, seeded, warp

    class Columns(torch.nn.Module):
        """Boxes and two scores of each patch, as columns."""

        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = torch.nn.Conv2d(3, 8, 8, 8), torch.nn.Conv2d(8, 6, 1)

        def forward(self, x: Any) -> Any:
            table = (4 * self.head(self.body(x)).flatten(2)).sigmoid()
            return {"rows/found": torch.cat([table[:, :4] * 24, table[:, 4:]], dim=1)}

    monkeypatch.chdir(tmp_path)
    views = [warp(), lzu.FixedWarp.from_window(SOURCE, (20, 8, 32, 24), canvas=warp().canvas)]
    section = {"kind": "yolo", "layout": "columns", "objectness": False, "score_threshold": 0.1}
    folder = lzu.export(
        lzu.wrap(seeded(Columns), views, ["body"]),
        tmp_path,
        normalisation={"order": "rgb", "mean": [100, 110, 120], "std": [60, 61, 62]},
        postprocess=section,
        targets=["onnxruntime"],
        precision=["fp32"],
    ).folder
    plain = Plain(folder)
    sizes, recipe = plain.sizes, plain.recipe
    shared = sizes["canvas"], sizes["network_input"]
    places = [Place(*shared, plain.step, sizes["corner"], sizes["view"])]
    for each in recipe["views"]:
        size = each["height"], each["width"]
        step = [(n - 1) / (m - 1) for n, m in zip(size, sizes["canvas"], strict=True)]
        places.append(Place(*shared, (step[0], step[1]), (each["y"], each["x"]), size))
    frame = np.random.default_rng(3).integers(0, 255, (*SOURCE, 3), np.uint8)
    with lzu.load(folder) as predictor:
        result = predictor.session.run({"frame": frame[None]})
        expected = predictor(frame)
    assert {name: value.shape for name, value in result.items()} == {"rows_found": (2, 6, 16)}
    found = [
        detections(recipe["postprocess"], {"rows_found": result["rows_found"][v]}, place)
        for v, place in enumerate(places)
    ]
    assert len(found[1].scores) > 1
    same(merged(recipe["postprocess"], found, places[1:], sizes["source"]), expected)
