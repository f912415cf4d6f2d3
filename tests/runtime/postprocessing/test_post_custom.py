"""The post-processings `raw` and `custom`, and how one is made of a recipe."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.recipes.postprocessing import KINDS
from lzu_export.runtime.choice import Choice
from lzu_export.runtime.postprocessing import custom, make
from lzu_export.runtime.postprocessing.context import Context, class_names
from lzu_export.runtime.postprocessing.custom import register_postprocess
from lzu_export.runtime.postprocessing.make import make_postprocess
from lzu_export.support.registry import load_object
from postprocess_samples import framed, process, setup

OUTPUTS = {"scores": np.array([0.25, 0.75], np.float32), "other": np.zeros((2, 2))}


def highest(outputs: Any, context: Context) -> float:
    return float(outputs["scores"].max()) + float(context.options.get("plus", 0))


@pytest.fixture
def named() -> Iterator[str]:
    register_postprocess("highest", highest)
    yield "highest"
    custom.FUNCTIONS.forget("highest")


def test_raw_returns_the_outputs_by_name() -> None:
    found = process({"kind": "raw"}, OUTPUTS)
    assert list(found) == ["scores", "other"]
    assert all(found[name] is value for name, value in OUTPUTS.items())


def test_a_registered_function_gets_outputs_and_options(named: str) -> None:
    section = {"kind": "custom", "name": named}
    assert process(section, OUTPUTS) == 0.75
    assert process({**section, "options": {"plus": 2}}, OUTPUTS) == 2.75


def test_a_function_replaces_the_recipe_s_post_processing() -> None:
    recipe = setup({"kind": "yolo"})
    assert make_postprocess(recipe, function=highest)(OUTPUTS) == 0.75


def test_an_unknown_name_and_what_is_no_function_are_refused(named: str) -> None:
    with pytest.raises(LzuError, match="name ghost is not known here, highest is; call register_p"):
        process({"kind": "custom", "name": "ghost"}, OUTPUTS)
    not_one: Any = 3
    with pytest.raises(LzuError, match="given to load is int, which cannot be called; give"):
        make_postprocess(setup({"kind": "raw"}), function=not_one)


def test_an_installed_package_s_function_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("best", f"{__name__}:highest", custom.GROUP)
    monkeypatch.setattr(custom.FUNCTIONS, "_installed", lambda: {"best": entry})
    assert process({"kind": "custom", "name": "best"}, OUTPUTS) == 0.75


def test_a_function_makes_detections_by_the_context() -> None:
    boxes = np.array([[10.0, 10, 30, 30], [11, 10, 30, 30], [40, 40, 50, 50]])

    def function(_outputs: Any, context: Context) -> Any:
        return context.detections(boxes, [0.9, 0.8, 0.7], [0, 0, 1])

    found = make_postprocess(setup({"kind": "raw"}), function=function)(OUTPUTS)
    np.testing.assert_allclose(found.boxes, framed(boxes)[[0, 2]], atol=1e-4)
    choice = Choice(classes=("far",), class_agnostic=True)
    only = make_postprocess(setup({"kind": "raw"}), choice, function)(OUTPUTS)
    np.testing.assert_array_equal(only.labels, [1])


def test_classes_have_their_names_or_numbers() -> None:
    assert class_names(("car",), 3) == ("car",)
    assert class_names((), 3) == ("0", "1", "2")


def test_every_kind_of_the_recipe_has_a_class() -> None:
    assert list(make.MAKERS) == list(KINDS)
    assert all(callable(load_object(place)) for place in make.MAKERS.values())


def test_no_post_processing_imports_torch_or_onnx() -> None:
    modules = ", ".join(place.partition(":")[0] for place in make.MAKERS.values())
    code = (
        f"import sys, {modules}; "
        "assert not {'torch', 'onnx', 'onnxruntime'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
