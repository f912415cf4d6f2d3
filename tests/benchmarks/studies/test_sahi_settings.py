"""Settings of SAHI are compared on the same slices; SAHI itself is a stand-in here."""

import sys
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lzu_benchmarks.demo.dataset import open_demo
from lzu_benchmarks.rivals.slicing import DEFAULTS, SETTINGS
from lzu_benchmarks.studies import sahi_settings
from lzu_benchmarks.studies.sahi_settings import main, measure, show, to_coco
from lzu_export.evaluation.metrics.coco import bootstrap_ap_differences
from lzu_export.support.progress import Reporter


class Box:
    """A box of SAHI."""

    def __init__(self, xywh: list[float]) -> None:
        self._xywh = xywh

    def to_xywh(self) -> list[float]:
        return self._xywh


@pytest.fixture
def sahi(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Put a stand-in in place of the package; return the arguments of its calls.

    It finds every object, with the true box only where boxes are merged by NMS.
    """
    calls: list[dict[str, Any]] = []
    samples = {sample.image.tobytes(): sample for sample in open_demo("val", 4)}

    def predict(image: np.ndarray, model: Any, **options: Any) -> SimpleNamespace:
        calls.append({"model": model, **options})
        sample = samples[np.ascontiguousarray(image[..., ::-1]).tobytes()]
        longer = 0 if options["postprocess_type"] == "NMS" else 40
        found = [
            SimpleNamespace(
                category=SimpleNamespace(id=each["category_id"] - 1),
                score=SimpleNamespace(value=0.5),
                bbox=Box([*each["bbox"][:2], each["bbox"][2] + longer, each["bbox"][3]]),
            )
            for each in sample.annotations
            if not each["iscrowd"]
        ]
        return SimpleNamespace(object_prediction_list=found)

    package, module = ModuleType("sahi"), ModuleType("sahi.predict")
    module.get_sliced_prediction = predict  # type: ignore[attr-defined]
    model = ModuleType("lzu_benchmarks.rivals.sahi_model")
    model.BundleModel = lambda **options: options  # type: ignore[attr-defined]
    for each in (package, module, model):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    return calls


def test_every_setting_sees_the_same_slices(
    sahi: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(bootstrap_ap_differences, resamples=50)
    monkeypatch.setattr(sahi_settings, "bootstrap_ap_differences", quick)
    found = measure(tmp_path, open_demo("val", 4), Reporter(quiet=True))
    assert len(sahi) == 4 * len(SETTINGS)
    assert {(each["slice_height"], each["slice_width"]) for each in sahi} == {(200, 356)}
    assert {each["confidence_threshold"] for each in sahi} == {0.05, 0.3}
    for each in sahi:
        assert each["model"]["confidence_threshold"] == each["confidence_threshold"]
    right, wrong = str(SETTINGS[-1]), str(DEFAULTS)
    assert found["accuracy"][right]["AP"] == pytest.approx(100)
    assert found["accuracy"][wrong]["AP"] < 50
    assert found["gain"][right]["AP"]["low"] > 0
    console = Console(width=80)
    with console.capture() as shown:
        show(found, console)  # type: ignore[arg-type]
    printed = shown.get()
    assert right in printed
    assert "100.00" in printed


def test_boxes_become_coco_results() -> None:
    each = SimpleNamespace(
        category=SimpleNamespace(id=2), score=SimpleNamespace(value=0.5), bbox=Box([1, 2, 3, 4])
    )
    assert to_coco([each], 7) == [
        {"image_id": 7, "category_id": 3, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5}
    ]


def test_without_the_package_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "sahi", None)
    monkeypatch.setattr(sahi_settings, "export", lambda *_, **__: pytest.fail("exported"))
    with pytest.raises(SystemExit) as ended:
        main(["--out", str(tmp_path)])
    assert ended.value.code == 2
    assert "'lzu-export[sahi]'" in capsys.readouterr().err
