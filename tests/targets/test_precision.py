"""FP16, BF16 and INT8 of whole bundles: what is written, refused, measured and told."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from lzu_export.bundle.bundle import Bundle
from lzu_export.cli import app as cli
from lzu_export.cli.exits import MISMATCH
from lzu_export.compiler.pipeline import Outcome, export
from lzu_export.manifest.schema import (
    ROUNDING_NOTE,
    SHIPPED_NOTE,
    read_manifest,
    rewrite_manifest,
)
from lzu_export.recipes.schema import HigherPrecision
from lzu_export.runtime import load
from lzu_export.runtime.reference import read_reference
from lzu_export.targets.onnxruntime import OnnxRuntimeSession
from lzu_export.targets.precision import (
    calibrated_tensors,
    check_range,
    emulated,
    float32_session,
    half_graph,
    int8_graph,
)
from lzu_export.tasks.pytorch import noise_frame
from lzu_export.verification.parity import verify_all
from samples import noise_frames, refusal, tiny_recipe

SOURCE = (96, 160)
FRAMES = 6


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures of the tiny recipes' source size."""
    return noise_frames(tmp_path_factory.mktemp("frames"), FRAMES, SOURCE, seed=100)


@pytest.fixture(scope="module")
def exported(each_task: str, tmp_path_factory: pytest.TempPathFactory, frames: Path) -> Outcome:
    """A tiny model of each task in all three precisions."""
    return _export(each_task, tmp_path_factory.mktemp(each_task), frames)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory, frames: Path) -> Outcome:
    """The tiny detector; not to be changed."""
    return _export("det", tmp_path_factory.mktemp("detector"), frames)


def _export(task: str, folder: Path, frames: Path, **changes: Any) -> Outcome:
    settings: dict[str, Any] = {
        "precision": ["int8", "fp32", "fp16"],
        "calibration": {"frames": str(frames), "count": 4},
        "lowering": {"zoom": "banded", "unzoom": "matmul"},
    }
    return export(tiny_recipe(folder, task, **{**settings, **changes}), folder)


def test_every_precision_is_in_the_bundle_from_the_highest_on(exported: Outcome) -> None:
    manifest, folder = exported.manifest, exported.folder
    assert manifest.precision == ("fp32", "fp16", "int8")
    assert list(manifest.graphs) == ["fp32", "fp16", "int8"]
    assert [each.precision for each in manifest.engines] == ["fp32", "fp16", "int8"]
    for graph in manifest.graphs.values():
        model = onnx.load(folder / graph.file)
        onnx.checker.check_model(model)
        (opset,) = (each.version for each in model.opset_import if not each.domain)
        assert graph.opset == opset <= 19
    sizes = [(folder / graph.file).stat().st_size for graph in manifest.graphs.values()]
    assert sizes[0] > sizes[1] > sizes[2]
    assert all(each.bytes == (folder / each.file).stat().st_size for each in manifest.engines)


def test_every_probe_point_has_a_ratio_within_its_limit(exported: Outcome) -> None:
    """Features before and after the unzoom are included; FP16 is nearer than INT8."""
    parities = {each.engine: each for each in exported.manifest.parity}
    assert list(parities) == [
        "onnxruntime/fp32",
        "onnxruntime/fp16",
        "emulated/fp16",
        "onnxruntime/int8",
        "emulated/int8",
    ]
    full, half, rounded, int8, rounded_int8 = parities.values()
    assert full.limit == 1e-4
    assert full.snr_limit is None
    assert set(half.snr) == set(int8.snr) == set(full.probes)
    for name in (*(each for each in full.probes if each.startswith(("level", "unzoomed"))),):
        assert full.snr[name] > 90
        assert 45 < half.snr[name] < full.snr[name]
        assert int8.snr_limit is not None
        assert int8.snr_limit <= int8.snr[name] < half.snr[name]
        assert 45 < rounded.snr[name] < full.snr[name]
        assert int8.snr_limit <= rounded_int8.snr[name] < rounded.snr[name]
    assert any(name.startswith("unzoomed") for name in full.probes)
    assert [each.status for each in (full, half, int8)] == ["passed"] * 3
    assert {each.note for each in (full, half, int8)} == {SHIPPED_NOTE}
    assert [each.status for each in (rounded, rounded_int8)] == ["graph passed"] * 2
    assert {each.note for each in (rounded, rounded_int8)} == {ROUNDING_NOTE}


def test_lower_precisions_are_held_by_their_scores(exported: Outcome) -> None:
    recipe = exported.manifest.recipe
    for parity in exported.manifest.parity:
        if parity.precision == "fp32":
            assert (parity.agreement, parity.score_limit) == (None, None)
            continue
        assert parity.agreement is not None
        assert parity.score_limit == recipe.score_limit(parity.precision)
        assert parity.agreement.first(parity.score_limit) is None
        assert parity.agreement.count > 0


def test_the_int8_file_of_onnx_runtime_holds_no_half_precision(exported: Outcome) -> None:
    """Releases up to 1.29 truncate the float16 input of a QuantizeLinear instead of rounding."""
    file = next(each.onnx for each in exported.manifest.engines if each.precision == "int8")
    model = onnx.load(exported.folder / file)
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    types = {each.type.tensor_type.elem_type for each in values}
    types |= {each.data_type for each in model.graph.initializer}
    assert not types & {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    scale = next(n.input[1] for n in model.graph.node if n.op_type == "QuantizeLinear")
    assert scale in {each.name for each in model.graph.initializer}


def cut_off(model: onnx.ModelProto) -> None:
    """Let every QuantizeLinear cut off, as older releases do with float16, four bits besides.

    Those make an untrained network show it: cutting off alone costs it next to nothing.
    """
    nodes: list[onnx.NodeProto] = []
    for i, node in enumerate(list(model.graph.node)):
        if node.op_type == "QuantizeLinear":
            x, scale = node.input[0], f"cut_scale_{i}"
            (stored,) = (each for each in model.graph.initializer if each.name == node.input[1])
            coarse = 16 * onnx.numpy_helper.to_array(stored)
            model.graph.initializer.append(onnx.numpy_helper.from_array(coarse, scale))
            steps = [
                ("Div", [x, scale], "steps"),
                ("Abs", ["steps"], "sizes"),
                ("Floor", ["sizes"], "whole"),
                ("Sign", ["steps"], "signs"),
                ("Mul", ["whole", "signs"], "cut"),
                ("Mul", ["cut", scale], "again"),
            ]
            made = {to for _, _, to in steps}
            for op, inputs, to in steps:
                names = [f"cut_{i}_{name}" if name in made else name for name in inputs]
                nodes.append(onnx.helper.make_node(op, names, [f"cut_{i}_{to}"]))
            node.input[0] = f"cut_{i}_again"
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def test_a_file_that_this_onnx_runtime_computes_wrongly_fails_verify(
    detector: Outcome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The shipped file itself runs: its hash and its canonical graph are right."""
    folder = Path(shutil.copytree(detector.folder, tmp_path / "bundle"))
    manifest = read_manifest(folder)
    file = next(each.onnx for each in manifest.engines if each.precision == "int8")
    model = onnx.load(folder / file)
    cut_off(model)
    onnx.save(model, folder / file)
    rewrite_manifest(folder, manifest, [file], {})
    parities = {each.engine: each for each in verify_all(Bundle(folder))}
    broken = parities.pop("onnxruntime/int8")
    assert broken.status == "failed"
    assert not broken.passed
    assert [each.first for each in parities.values()] == [None] * len(parities)
    monkeypatch.setattr("sys.argv", ["lzu-export", "verify", str(folder)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == MISMATCH
    assert (
        "the onnxruntime engine in int8 deviates from PyTorch: the first difference is at"
        in capsys.readouterr().err
    )


def test_inputs_and_outputs_keep_their_types(exported: Outcome) -> None:
    first, *others = exported.manifest.engines
    for each in others:
        assert (each.inputs, each.outputs) == (first.inputs, first.outputs)


def test_the_graphs_hold_what_they_say(exported: Outcome) -> None:
    """FP16 weights take half the bytes, INT8 weights one; every excluded layer has its reason."""
    manifest, folder = exported.manifest, exported.folder
    half = onnx.load(folder / manifest.graphs["fp16"].file)
    convolutions = [node for node in half.graph.node if node.op_type == "Conv"]
    weights = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    types = {weights[node.input[1]] for node in convolutions}
    assert onnx.TensorProto.FLOAT16 in types
    nodes = {node.name for node in half.graph.node}
    kept = manifest.graphs["fp16"].kept
    assert any("decodes" in reason for reason in kept)
    assert {name for names in kept.values() for name in names} <= nodes
    int8 = onnx.load(folder / manifest.graphs["int8"].file)
    stored = {
        t.name.removeprefix("model.").partition(".weight")[0]
        for t in int8.graph.initializer
        if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4
    }
    assert stored == set(manifest.graphs["int8"].int8_layers)
    predictions = manifest.graphs["int8"].kept
    assert any("prediction" in reason for reason in predictions)


def test_each_precision_predicts(exported: Outcome) -> None:
    recipe = exported.manifest.recipe
    frame = noise_frame(recipe.source, seed=0)
    camera = [] if recipe.task != "det3d" else [np.diag([100.0, 100, 1])]
    for precision in ("fp32", "fp16", "int8"):
        predictor = load(exported.folder, precision=precision)
        assert predictor(frame, *camera) is not None


def test_the_canonical_files_run_as_they_are(detector: Outcome) -> None:
    """Run by their function bodies, they are near the executable file of the same precision."""
    frame = noise_frame(SOURCE, seed=3)[None]
    for precision in ("fp16", "int8"):
        canonical = OnnxRuntimeSession(detector.folder / f"model.{precision}.onnx")
        executable = load(detector.folder, precision=precision).session
        scores = [each.run({"frame": frame})["scores"] for each in (canonical, executable)]
        np.testing.assert_allclose(*scores, atol=2e-2)


def test_the_cache_is_in_the_bundle_and_says_what_it_is_of(exported: Outcome) -> None:
    cache = json.loads((exported.folder / "calibration.json").read_text())
    assert cache["frames"]["count"] == 4
    assert exported.manifest.calibration is not None
    assert exported.manifest.calibration.method == "max"
    model = onnx.load(exported.folder / "model.fp32.onnx")
    assert set(cache["ranges"]) == set(calibrated_tensors(model, HigherPrecision()))


def test_ranges_are_those_of_the_frames(detector: Outcome, frames: Path) -> None:
    """By the method max a range is the largest value that the float32 graph gives on the frames."""
    recipe = detector.manifest.recipe
    model = onnx.load(detector.folder / "model.fp32.onnx")
    lowerings: Any = {each.place: each.kind for each in detector.manifest.engines[0].lowerings}
    session = float32_session(model, lowerings, ["relu_1", "level_0"])
    ranges = json.loads((detector.folder / "calibration.json").read_text())["ranges"]
    every = [cv2.imread(str(path)) for path in sorted(frames.iterdir())]
    largest = {
        name: max(float(np.abs(session.run({"frame": f[None]})[name]).max()) for f in every)
        for name in ("relu_1", "level_0")
    }
    assert recipe.calibration.count < len(every)
    for name, value in largest.items():
        assert 0 < ranges[name] <= value * (1 + 1e-6)


def test_another_export_takes_the_ranges_that_it_finds(
    detector: Outcome, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A re-run gives the same INT8 file without running a frame."""
    from lzu_export.quantization import ranges

    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("calibrated again")

    monkeypatch.setattr(ranges, "collect", forbidden)
    cache = detector.folder / "calibration.json"
    calibration = {"frames": str(frames), "count": 4, "cache": str(cache)}
    again = _export("det", tmp_path, frames, calibration=calibration)
    for name in ("calibration.json", "model.int8.onnx"):
        assert (again.folder / name).read_bytes() == (detector.folder / name).read_bytes()
    # The bundle's own cache is found without being named.
    changed = tiny_recipe(
        tmp_path,
        precision=["fp32", "int8"],
        calibration={"frames": str(frames), "count": 4},
        lowering={"zoom": "banded", "unzoom": "matmul"},
        tolerances={"probe": 2e-4},
    )
    assert export(changed, tmp_path).status == "exported"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"random_weights": 1}, "was measured for another model"),
        ({"calibration": {"count": 3}}, "was measured on different frames"),
        ({"calibration": {"method": "mse"}}, "was made by method max, not mse"),
    ],
)
def test_a_foreign_cache_is_refused(
    change: dict[str, Any], expected: str, detector: Outcome, frames: Path, tmp_path: Path
) -> None:
    named = {"frames": str(frames), "count": 4, "cache": str(detector.folder / "calibration.json")}
    calibration = {**named, **change.pop("calibration", {})}
    message = refusal(lambda: _export("det", tmp_path, frames, calibration=calibration, **change))
    assert expected in message
    assert not (tmp_path / "det" / "tiny-fixed-0.5x").exists()


def test_unusable_frames_are_refused(frames: Path, tmp_path: Path) -> None:
    """No frames, missing ones, only one, black ones and ones of another size get a remedy each."""

    def message(source: str | None) -> str:
        calibration = {"frames": source, "count": 4}
        return refusal(lambda: _export("det", tmp_path, frames, calibration=calibration))

    assert "INT8 needs frames" in message(None)
    assert "does not exist" in message(str(tmp_path / "nowhere"))
    folder = tmp_path / "few"
    folder.mkdir()
    assert "holds no" in message(str(folder))
    shutil.copy(frames / "0.png", folder)
    assert "one frame" in message(str(folder))
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), np.zeros((*SOURCE, 3), np.uint8))
    assert "black" in message(str(folder))
    cv2.imwrite(str(folder / "0.png"), noise_frame((48, 80), seed=0))
    said = message(str(folder))
    assert "0.png" in said
    assert "48x80" in said
    assert not (tmp_path / "det" / "tiny-fixed-0.5x").exists()


def test_layers_are_kept_as_the_recipe_asks(frames: Path, tmp_path: Path) -> None:
    keep = {"int8": ["backbone.layer1.*"], "fp16": ["neck.fpn_convs.0.conv"]}
    outcome = _export("det", tmp_path, frames, higher_precision=keep)
    graphs = outcome.manifest.graphs
    assert "backbone.layer1.0.conv1" in graphs["int8"].kept["the recipe keeps it"]
    assert not [each for each in graphs["int8"].int8_layers if "layer1" in each]
    assert len(graphs["fp16"].kept["the recipe keeps it"]) == 1
    assert len(graphs["fp16"].kept["it passes on what a layer that the recipe keeps gives"]) == 1
    for key, names in (("int8", ["backbone.layer1.0.conv9"]), ("fp16", ["neck.fpn_conv.0"])):
        said = refusal(
            lambda k=key, n=names: _export("det", tmp_path, frames, higher_precision={k: n})
        )
        assert (
            f"higher_precision.{key} names {names[0]}, which matches no layer; did you mean" in said
        )


def test_what_leaves_half_of_the_range_is_named(detector: Outcome) -> None:
    """A layer with huge weights is named, since FP16 would overflow behind it."""
    model = onnx.load(detector.folder / "model.fp32.onnx")
    lowerings: Any = {each.place: each.kind for each in detector.manifest.engines[0].lowerings}
    inputs = [{"frame": each.frames} for each in read_reference(detector.folder / "reference.npz")]
    largest = check_range(model, lowerings, HigherPrecision(), inputs)
    assert 0 < max(largest.values()) < 32752
    for tensor in model.graph.initializer:
        if tensor.name == "model.neck.lateral_convs.1.conv.weight":
            huge = onnx.numpy_helper.to_array(tensor) * 1e5
            tensor.CopyFrom(onnx.numpy_helper.from_array(huge, tensor.name))
    said = refusal(lambda: check_range(model, lowerings, HigherPrecision(), inputs))
    assert "over half of FP16's range (32752)" in said
    remedy = said.partition("higher_precision.fp16=[")[2].removesuffix("]").split(", ")
    assert "neck.lateral_convs.1.conv" in remedy
    assert (
        max(check_range(model, lowerings, HigherPrecision(fp16=tuple(remedy)), inputs).values())
        < 32752
    )
    for needed in remedy:
        rest = tuple(name for name in remedy if name != needed)
        refusal(lambda keep=rest: check_range(model, lowerings, HigherPrecision(fp16=keep), inputs))
    half = half_graph(model, "fp16", HigherPrecision(fp16=tuple(remedy))).model
    session = emulated(half, lowerings)
    assert all(np.isfinite(value).all() for value in session.run(inputs[0]).values())


def test_an_engine_below_its_ratio_becomes_no_bundle(frames: Path, tmp_path: Path) -> None:
    """The error names the probe point where the deviation begins, and a remedy."""
    tolerances = {"snr": {"int8": 60.0}}
    said = refusal(lambda: _export("det", tmp_path, frames, tolerances=tolerances))
    assert (
        "the onnxruntime engine in int8 deviates from PyTorch: the first difference is at" in said
    )
    assert "level_0, which has a signal-to-noise ratio of" in said
    assert "higher_precision.int8" in said
    assert not (tmp_path / "det" / "tiny-fixed-0.5x").exists()


def test_nothing_left_for_int8_is_said(detector: Outcome) -> None:
    model = onnx.load(detector.folder / "model.fp32.onnx")
    said = refusal(lambda: int8_graph(model, {}, HigherPrecision(int8=("*",))))
    assert "no layer is left for INT8" in said


def test_half_graphs_differ_by_type_only(detector: Outcome) -> None:
    """Between the same probe points they have the same operators, apart from casts."""
    model = onnx.load(detector.folder / "model.fp32.onnx")
    half = half_graph(model, "fp16", HigherPrecision()).model

    def operators(graph: onnx.GraphProto) -> list[str]:
        return sorted(node.op_type for node in graph.node if node.op_type != "Cast")

    assert operators(model.graph) == operators(half.graph)


def test_bfloat16_is_for_tensorrt_rtx(frames: Path, tmp_path: Path) -> None:
    """It is built and verified there, at the opset it needs; ONNX Runtime gets no BF16 engine."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    settings = {"precision": ["fp32", "bf16"], "targets": ["onnxruntime", "tensorrt-rtx"]}
    outcome = _export("det", tmp_path, frames, lowering={"zoom": "gridsample"}, **settings)
    made = [(each.target, each.precision) for each in outcome.manifest.engines]
    assert made == [("onnxruntime", "fp32"), ("tensorrt-rtx", "fp32"), ("tensorrt-rtx", "bf16")]
    assert outcome.manifest.graphs["bf16"].opset == 22
    zooms = [
        e.kind for each in outcome.manifest.engines for e in each.lowerings if e.place == "zoom"
    ]
    assert zooms == ["gridsample", "gridsample", "banded"]
    low = outcome.manifest.parity[-1]
    assert low.status == "graph passed"
    assert 25 < min(low.snr[f"level_{i}"] for i in range(3)) < 60
    message = refusal(
        lambda: _export("det", tmp_path, frames, precision=["bf16"], targets=["onnxruntime"])
    )
    assert "bf16 is for tensorrt-rtx" in message


@pytest.mark.parametrize(
    ("task", "variant"),
    [
        ("det", "uniform"),
        *(pytest.param(t, "fixed", marks=pytest.mark.slow) for t in ("seg", "det3d")),
    ],
)
def test_tensorrt_rtx_builds_every_precision_of_every_task(
    task: str, variant: str, frames: Path, tmp_path: Path
) -> None:
    """Uniform models, too; INT8 layers keep both dequantisations in the parsed network."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    settings = {"targets": ["tensorrt-rtx"], "variant": variant}
    outcome = _export(task, tmp_path, frames, compute_capabilities=["8.6"], **settings)
    engines = outcome.manifest.engines
    assert [each.precision for each in engines] == ["fp32", "fp16", "int8"]
    assert all(each.bytes > 0 and each.build_seconds > 0 for each in engines)
    assert {each.status for each in outcome.manifest.parity} == {"graph passed"}
    assert "needs an RTX card" in outcome.manifest.parity[-1].note
