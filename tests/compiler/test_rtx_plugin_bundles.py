"""Bundles of every task whose graphs call plugins, built by TensorRT-RTX itself without a GPU."""

import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from lzu_export.compiler.build_rtx import build_rtx_plugins
from lzu_export.compiler.pipeline import Outcome, export
from lzu_export.manifest.schema import read_manifest
from rtx_libraries import build, environment
from samples import TINY_NETWORK, noise_frames, tiny_recipe

pytestmark = pytest.mark.slow

BOXES = {"boxes": 20, "bandwidth": 20.0}
FEW = {"score_threshold": 0.001, "candidates_per_level": 50}
QUANTISED = {"precision": ["fp32", "fp16", "int8"], "tolerances": {"scores": {"int8": 0.2}}}
SEPARABLE = {"SeparableZoom", "SeparableUnzoom"}
BOX_WARP = {"BoxKnots", *SEPARABLE}
LOW = {"score_threshold": 0.001}
LEARNED, BENT = {"network": TINY_NETWORK}, {"separable": False}
CASES: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "det": ("det", {"warp": BOXES, "postprocess": FEW, **QUANTISED}, BOX_WARP),
    "det-rig": (
        "det",
        {"warp": BOXES, "postprocess": FEW, "batch": 6, "precision": ["fp16"]},
        BOX_WARP,
    ),
    "det-nonseparable": (
        "det",
        {"warp": {**BOXES, **BENT}, "postprocess": FEW, **QUANTISED},
        {"InvertWarp"},
    ),
    "seg": ("seg", {"warp": LEARNED, "precision": ["fp16"]}, SEPARABLE),
    "seg-nonseparable": (
        "seg",
        {"variant": "external", "warp": BENT, "precision": ["fp16"]},
        {"InvertWarp"},
    ),
    "det3d": ("det3d", {"warp": LEARNED, "precision": ["fp16"], "postprocess": LOW}, SEPARABLE),
    "det3d-nonseparable": (
        "det3d",
        {"variant": "external", "warp": BENT, "precision": ["fp16"], "postprocess": LOW},
        {"InvertWarp"},
    ),
}
"""Task, settings of the recipe and operators of the warp, by name."""


@pytest.fixture(scope="module")
def library() -> Path:
    """The plugin library with kernels for the processor; a builder without a GPU runs none."""
    sys.path.append(str(Path(__file__).parents[1] / "plugins"))
    from toolchain import host_plugins

    return host_plugins()


@pytest.fixture(scope="module", params=CASES)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcome, set[str]]:
    """A bundle, and the operators of its warp."""
    pytest.importorskip("tensorrt_rtx", reason="extra rtx is not installed")
    task, changes, operators = CASES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    frames = {"frames": str(noise_frames(folder / "frames", 3)), "count": 2}
    settings = {"variant": "adaptive", "calibration": frames, **changes}
    return export(tiny_recipe(folder, task, **settings), folder), operators


def test_the_bundle_gets_an_engine_that_calls_its_plugins(
    exported: tuple[Outcome, set[str]], library: Path, tmp_path: Path
) -> None:
    """In every precision; `tensorrt-rtx` reads the same files with the provider's libraries."""
    outcome, operators = exported
    files = []
    for precision in outcome.manifest.graphs:
        made = build_rtx_plugins(outcome.folder, ["8.9", "12.0"], library, precision)
        assert made.compute_capabilities == ("8.9", "12.0")
        assert (made.inputs, made.outputs) == (
            outcome.manifest.engines[0].inputs, outcome.manifest.engines[0].outputs,
        )  # fmt: skip
        model = onnx.load(outcome.folder / made.onnx)
        assert {node.op_type for node in model.graph.node if node.domain == "lzu"} == operators
        engine = (outcome.folder / made.file).read_bytes()
        assert len(engine) == made.bytes
        assert all(name.encode() in engine for name in operators)
        files.append(outcome.folder / made.onnx)
    manifest = read_manifest(outcome.folder)
    assert {each.status for each in manifest.parity} == {"passed", "graph passed"}
    given = environment("rtxprovider", tmp_path / "links")
    copies = [tmp_path / file.name for file in files]
    for file, copy in zip(files, copies, strict=True):
        copy.write_bytes(file.read_bytes())
    described = build(given, library, copies)
    for copy in copies:
        assert described[copy.stem]["parsed"]
        assert described[copy.stem]["errors"] == []
        assert copy.with_suffix(".engine").stat().st_size > 10_000
