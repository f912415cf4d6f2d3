"""The adaptive variant as a bundle: one graph from boxes to detections, fed back by the runtime."""

import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fakes.fake_kernels import Kernels
from fakes.install import install_cuda, install_tensorrt
from fakes.world import World
from lzu_export.bundle.bundle import Bundle
from lzu_export.bundle.run import apply
from lzu_export.compiler.build_rtx import build_rtx_plugins
from lzu_export.compiler.build_tensorrt import build_on_device
from lzu_export.compiler.derive import derive
from lzu_export.compiler.pipeline import Outcome, export
from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import Sample
from lzu_export.evaluation.evaluate import evaluate
from lzu_export.manifest.schema import read_manifest
from lzu_export.quantization.frame_cache import FrameCache
from lzu_export.quantization.metrics import find_boxes, float32_metrics
from lzu_export.quantization.recalibrate import Float32Bundle
from lzu_export.runtime import load, plugin_library
from lzu_export.runtime.detector import Detector
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.support.files.hashes import sha256
from lzu_export.support.progress import Reporter
from lzu_export.support.session import TensorSpec
from lzu_export.targets.onnxruntime import OnnxRuntimeSession
from lzu_export.targets.tensorrt import plugin_process, rtx
from lzu_export.targets.tensorrt.plan import BuiltEngine
from lzu_export.tasks.pytorch import noise_frame, torch_predictor
from lzu_export.tasks.warps import make_warp
from lzu_export.verification.parity import verify_engine
from samples import noise_frames, refusal, saliency_file, status_of, stub_library, tiny_recipe

SOURCE = (96, 160)
SETTINGS: dict[str, Any] = {
    "variant": "adaptive",
    "warp": {"boxes": 20, "bandwidth": 20.0},
    # Untrained scores are low: whatever is found is fed back.
    "postprocess": {"score_threshold": 0.001, "candidates_per_level": 50},
}


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_frames(tmp_path_factory.mktemp("frames"), 4, SOURCE)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, frames: Path) -> Outcome:
    """All precisions; not to be changed."""
    folder = tmp_path_factory.mktemp("adaptive")
    recipe = tiny_recipe(
        folder,
        **SETTINGS,
        precision=["fp32", "fp16", "int8"],
        calibration={"frames": str(frames), "count": 3},
    )
    return export(recipe, folder)


@pytest.fixture
def detector(exported: Outcome) -> Detector:
    made: Detector = load(exported.folder)
    return made


def test_the_engine_takes_the_boxes_of_the_frame_before(exported: Outcome) -> None:
    """Every probe point from the knots on was compared, with boxes and without."""
    manifest = exported.manifest
    assert exported.folder.name == "tiny-adaptive-0.5x"
    inputs = {each.name: each.shape for each in manifest.engines[0].inputs}
    assert inputs == {"frame": (1, *SOURCE, 3), "prev_boxes": (1, 20, 4), "prev_valid": (1, 20)}
    for parity in manifest.parity:
        assert parity.status == ("graph passed" if parity.target == "emulated" else "passed")
        assert list(parity.probes)[:3] == ["knots_x", "knots_y", "zoomed"]
        assert {f"unzoomed_{i}" for i in range(3)} <= set(parity.probes)
        assert parity.snr["knots_x"] > 100  # coordinates stay in float32
    reference = np.load(exported.folder / "reference.npz")
    valid = [reference[f"{i}/input/prev_valid"].sum() for i in range(2)]
    assert valid[0] == 0
    assert valid[1] > 0


def test_int8_unzooms_at_the_scale_of_what_they_read(exported: Outcome) -> None:
    """Each level has a Q/DQ pair of one scale before and after the unzoom of all levels."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(exported.folder / "model.int8.onnx")
    made_by = {name: node for node in model.graph.node for name in node.output}
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    (unzoom,) = (node for node in model.graph.node if node.op_type == "SeparableUnzoom")
    for level, warped in zip(unzoom.input, unzoom.output, strict=False):
        before = made_by[level]
        assert before.op_type == "DequantizeLinear"
        (behind,) = (
            node
            for node in model.graph.node
            if node.op_type == "QuantizeLinear" and node.input[0] == warped
        )
        assert values[before.input[1]] == values[behind.input[1]]


def test_the_flavour_for_tensorrt_calls_the_plugins(exported: Outcome, tmp_path: Path) -> None:
    """It does so in every precision, in INT8 through the unzoom, and its graph is verified, too."""
    import onnx

    bundle = Path(shutil.copytree(exported.folder, tmp_path / "bundle"))
    made = derive(bundle, plugins=stub_library(tmp_path))
    types = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
    assert [each["precision"] for each in made] == list(types)
    for each in made:
        assert each["plugins"] == ["BoxKnots", "SeparableZoom", "SeparableUnzoom"]
        assert (each["status"], each["library"]) == ("graph passed", "liblzu_plugins.so")
        model = onnx.load(each["file"])
        assert not model.functions
        (unzoom,) = (node for node in model.graph.node if node.op_type == "SeparableUnzoom")
        found = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
        names = {onnx.helper.tensor_dtype_to_np_dtype(found[name]).name for name in unzoom.output}
        assert names == {types[each["precision"]]}
    manifest = read_manifest(bundle)
    assert manifest.plugins is not None
    assert {(o.version, o.namespace) for o in manifest.plugins.operators} == {("1", "lzu")}
    library = manifest.plugins.library
    assert library is not None
    assert (library.version, library.cuda_major) == (1, 13)
    # Both hold the warped maps alike against PyTorch; the plugin rounds once.
    snr = {(d.target, d.precision): d.snr["unzoomed_0"] for d in manifest.parity}
    for precision in types:
        theirs = "onnxruntime" if precision == "fp32" else "emulated"
        pair = snr["tensorrt", precision], snr[theirs, precision]
        assert pair[0] == pytest.approx(pair[1], abs=0.1)
    assert verify_engine(Bundle(bundle, manifest), manifest.derived[2]).status == "graph passed"


def built_with_plugins(
    model: Path, engine: Path, *_: Any, compute_capabilities: Any
) -> BuiltEngine:
    """Stand in for the builder of TensorRT-RTX."""
    engine.write_bytes(b"engine of " + model.name.encode())
    specs = (TensorSpec("boxes", "float32", (1, 4)),)
    return BuiltEngine("1.7.1", tuple(compute_capabilities) or ("8.9",), (), specs, 0)


def test_an_engine_for_rtx_cards_calls_the_plugins(
    exported: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the bundle, whose manifest says that it was not run; another one is beside it."""
    bundle = Path(shutil.copytree(exported.folder, tmp_path / "bundle"))
    library = stub_library(tmp_path)
    monkeypatch.setattr(plugin_process, "build", built_with_plugins)
    words = ["build", bundle, "--target", "tensorrt-rtx", "--plugins", library]
    assert status_of(*words, "--precision", "fp16") == 0
    assert status_of(*words, "--precision", "fp16", "--compute-capability", "7.5") == 0
    manifest = read_manifest(bundle)
    made = [each for each in manifest.engines if each.target == "tensorrt-rtx-plugins"]
    assert [each.file for each in made] == [
        "model.fp16.rtx-plugins.engine", "model.fp16.rtx-plugins.sm75.engine",
    ]  # fmt: skip
    for each in made:
        assert each.onnx == "model.fp16.tensorrt-rtx-plugins.onnx"
        assert (bundle / each.file).read_bytes() == b"engine of " + each.onnx.encode()
        assert each.on_device is None
    assert manifest.plugins is not None
    assert manifest.plugins.library is not None
    assert manifest.plugins.library.sha256 == sha256(library)
    (parity,) = (each for each in manifest.parity if each.target == "tensorrt-rtx-plugins")
    assert parity.status == "graph passed"
    assert parity.note.startswith("not run: needs an RTX card; ")
    (tmp_path / "other").mkdir()
    other = stub_library(tmp_path / "other", cuda=12)
    with pytest.raises(
        LzuError, match=r"is not the liblzu_plugins\.so that the bundle was made for"
    ):
        build_rtx_plugins(bundle, (), other)


def test_where_no_plugins_are_taken_operators_stand_in(
    exported: Outcome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One sentence says so, and the engine is what it is without --plugins."""
    bundle = Path(shutil.copytree(exported.folder, tmp_path / "bundle"))

    def refuse(*_: Any, **__: Any) -> None:
        raise plugin_process.NoPluginsError("TensorRT-RTX 1.7.1 takes no plugins here")

    def build(*asked: Any) -> dict[str, str]:
        assert asked == (bundle, ["8.9"], None, "fp16")
        return {"file": "x.engine", "version": "1.7.1", "precision": "fp16", "for": "sm8.9"}

    monkeypatch.setattr(plugin_process, "build", refuse)
    monkeypatch.setattr("lzu_export.compiler.build_rtx.build_rtx", build)
    words = ["--target", "tensorrt-rtx", "--plugins", stub_library(tmp_path)]
    chosen = ["--precision", "fp16", "--compute-capability", "8.9"]
    assert status_of("build", bundle, *words, *chosen) == 0
    said = capsys.readouterr()
    assert said.out.startswith("x.engine: TensorRT-RTX 1.7.1 in fp16, for sm8.9")
    assert " ".join(said.err.split()) == (
        "note: TensorRT-RTX 1.7.1 takes no plugins here; the engine is built of standard operators "
        "instead"
    )
    assert not [each for each in read_manifest(bundle).engines if "rtx" in each.target]


def test_detections_are_fed_back_and_forgotten(detector: Detector) -> None:
    """A frame gives other results when repeated, until the sequence begins again."""
    frame = noise_frame(SOURCE, seed=9)
    first, second = detector(frame), detector(frame)
    assert len(first) > 0
    assert not np.array_equal(first.boxes, second.boxes)
    detector.reset()
    again = detector(frame)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    detector.set_boxes(np.zeros((0, 4)))
    np.testing.assert_array_equal(detector(frame).boxes, first.boxes)


@pytest.mark.parametrize("old_library", [False, True])
def test_on_a_device_boxes_stay_there_where_the_library_has_the_kernels(
    old_library: bool, exported: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stand-ins for NVIDIA's libraries, either way gives the host's results in every frame."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "plugins"))
    from host_kernels import library

    bundle = Path(shutil.copytree(exported.folder, tmp_path / "bundle"))
    stub = stub_library(tmp_path)
    derive(bundle, precision="fp32", plugins=stub)
    whole = OnnxRuntimeSession(bundle / exported.manifest.engines[0].file, threads=1)
    world = World(compute=whole.run)
    install_cuda(monkeypatch, world, "cuda-python")
    install_tensorrt(monkeypatch, world, "10.3.0")

    def load_library(*arguments: Any) -> Any:
        plugin_library.load_library(*arguments)
        return object() if old_library else Kernels(world, library())

    monkeypatch.setattr("lzu_export.targets.tensorrt.open.load_library", load_library)
    monkeypatch.setattr(plugin_library, "find_driver", lambda: None)
    monkeypatch.delitem(sys.modules, "tensorrt_rtx", raising=False)
    build_on_device(bundle, library=stub)
    monkeypatch.setenv("LZU_PLUGINS", str(stub))
    mine, theirs = load(bundle, target="tensorrt"), load(bundle, threads=1)
    assert ("prev_boxes, prev_valid stay there" in mine.session.provider) != old_library
    for number in (1, 2, 2, 3):
        found, wanted = (each(noise_frame(SOURCE, seed=number)) for each in (mine, theirs))
        assert len(wanted) > 0
        for name in ("boxes", "scores", "labels"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    if old_library:  # one that is named has to fit
        with pytest.raises(LzuError, match="has no lzu_suppress"):
            load(bundle, target="tensorrt", plugins=stub)


def test_an_engine_with_plugins_runs_on_an_rtx_card_once_they_are_registered(
    exported: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stand-ins: the library is registered in TensorRT-RTX, and its results are the host's."""
    bundle, stub = (
        Path(shutil.copytree(exported.folder, tmp_path / "bundle")),
        stub_library(tmp_path),
    )
    whole = OnnxRuntimeSession(bundle / exported.manifest.engines[0].file, threads=1)
    world = World(compute=whole.run, capability=(8, 9), gpu="RTX 4090")
    install_cuda(monkeypatch, world, "cuda-python")
    install_tensorrt(monkeypatch, world, "1.7.1")
    monkeypatch.setattr(plugin_library, "find_driver", lambda: None)

    def build(model: Path, engine: Path, library: Path, wanted: Any, **options: Any) -> Any:
        load = partial(plugin_library.load_library, library, wanted)
        return rtx.build(model, engine, plugins=load, **options)

    monkeypatch.setattr(plugin_process, "build", build)
    build_rtx_plugins(bundle, (), stub, "fp32")
    install_tensorrt(monkeypatch, world, "1.7.1")  # another process
    assert "no plugin library" in refusal(lambda: load(bundle, target="tensorrt-rtx-plugins"))
    monkeypatch.setenv("LZU_PLUGINS", str(stub))
    mine = load(bundle, target="tensorrt-rtx-plugins")
    theirs = load(bundle, threads=1)
    assert mine.session.provider.startswith("TensorRT-RTX 1.7.1 on ")
    assert len(plugin_library._registered) == 1
    for number in (1, 2, 2):
        found, expected = (each(noise_frame(SOURCE, seed=number)) for each in (mine, theirs))
        assert len(expected) > 0
        np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_it_looks_at_boxes_of_choice(detector: Detector) -> None:
    """The zoom is denser at the given boxes; unfit boxes are refused, and the stream goes on."""
    frame = noise_frame(SOURCE, seed=9)
    start = detector(frame)
    detector.set_boxes([[100, 40, 140, 60]])
    detector(frame)
    places = detector.tables.cols[0] + detector.tables.cols[1]
    steps = np.diff(places)
    inside = (places[:-1] > 100) & (places[:-1] < 140)
    assert steps[inside].mean() < 0.8 * steps[~inside].mean()
    assert "NaN" in refusal(lambda: detector.set_boxes([[0, 0, np.nan, 1]]))
    np.testing.assert_array_equal(detector(frame).boxes, start.boxes)
    assert "takes 20" in refusal(lambda: detector.set_boxes(np.zeros((21, 4))))


def test_a_resized_frame_feeds_back_in_pixels_of_the_source(exported: Outcome) -> None:
    small = noise_frame(SOURCE, seed=4)
    large = cv2.resize(small, (320, 192), interpolation=cv2.INTER_NEAREST)
    plain, resizing = load(exported.folder), load(exported.folder, resize=True)
    shrunk = cv2.resize(large, (160, 96))
    for predictor, frame in ((plain, shrunk), (resizing, large)):
        predictor(frame)
    fed = [each.other_inputs([CameraFrame(small)])["prev_boxes"] for each in (plain, resizing)]
    np.testing.assert_allclose(*fed, atol=1e-3)


def test_onnx_runtime_equals_pytorch_over_a_stream(exported: Outcome, tmp_path: Path) -> None:
    """They agree in every frame when both are zoomed by the same boxes."""
    recipe = tiny_recipe(tmp_path, **SETTINGS)
    reference = torch_predictor(recipe, make_warp(recipe))
    engine = load(exported.folder)
    assert isinstance(reference, Detector)
    for i in range(12):
        frame = noise_frame(SOURCE, seed=i)
        theirs, mine = reference(frame), engine(frame)
        assert len(theirs) == len(mine) > 0
        np.testing.assert_allclose(mine.boxes, theirs.boxes, atol=2e-2)
        np.testing.assert_allclose(mine.scores, theirs.scores, atol=1e-5)
        fed = theirs.boxes[:20]
        reference.set_boxes(fed)
        engine.set_boxes(fed)


class Stream:
    """Two sequences of the same frames; the scorer keeps what was found."""

    name, note, metric = "streams", "", "count"
    classes = ("near", "far")

    def __len__(self) -> int:
        return 4

    def samples(self) -> Iterator[Sample]:
        for i in range(4):
            yield Sample(i, CameraFrame(noise_frame(SOURCE, seed=i % 2)), None, sequence=i // 2)

    def scorer(self) -> "Stream":
        self.found: list[Any] = []
        return self

    def add(self, _sample: Sample, prediction: Any) -> None:
        self.found.append(prediction)

    def summary(self) -> dict[str, float]:
        return {"count": float(len(self.found))}

    def state(self) -> None:
        """It cannot go on."""


def test_evaluations_begin_every_sequence_afresh(detector: Detector) -> None:
    stream = Stream()
    detector(noise_frame(SOURCE, seed=7))  # what came before does not matter
    evaluate({"": detector}, stream)
    first, second, third, fourth = (each.boxes for each in stream.found)
    np.testing.assert_array_equal(first, third)
    np.testing.assert_array_equal(second, fourth)


def test_layers_are_ranked_on_frames_that_are_zoomed_by_their_boxes(
    exported: Outcome, detector: Detector
) -> None:
    """In each sequence the float32 detections of a frame zoom the next; the first has none."""
    opened, stream = Float32Bundle(exported.folder), Stream()
    kept = FrameCache.of(stream, opened, Reporter(quiet=True))
    kept.boxes = find_boxes(opened, kept)
    first = detector(noise_frame(SOURCE, seed=0))
    second = detector(noise_frame(SOURCE, seed=1))
    assert [len(boxes) > 0 for boxes in kept.boxes] == [False, True] * 2
    np.testing.assert_allclose(kept.boxes[1], first.boxes[: len(kept.boxes[1])], atol=1e-3)
    assert float32_metrics(opened, kept) == {"count": 4.0}
    found = [each.boxes for each in stream.found]
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[3])
    np.testing.assert_allclose(found[0], first.boxes, atol=1e-3)
    np.testing.assert_allclose(found[1], second.boxes, atol=1e-3)


def test_a_folder_is_run_as_a_sequence_with_its_warp_shown(
    exported: Outcome, frames: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    counts = apply(exported.folder, frames, out, show_warp=True, report=Reporter(quiet=True))
    assert counts["frames"] == 4
    pictures = [cv2.imread(str(out / f"{i}.png")) for i in range(4)]
    assert all(each is not None and each.shape[1] > 2 * SOURCE[1] for each in pictures)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"input": "zoomed"}, "needs input source, not zoomed"),
        ({"sampler": "antialiased"}, "needs sampler bilinear"),
        ({"warp": {"geometry": "published", "unfilled": []}}, "needs warp.geometry consistent"),
        ({"warp": {"mix": 0.5, "saliency": None}}, "mixes boxes with a fixed saliency"),
        ({"task": "seg"}, "needs task det"),
    ],
)
def test_recipes_that_cannot_adapt_are_refused(
    changes: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    task = changes.pop("task", "det")
    assert expected in refusal(lambda: tiny_recipe(tmp_path, task, variant="adaptive", **changes))


def test_fixed_and_adaptive_saliency_are_mixed(tmp_path: Path) -> None:
    """Without boxes a mixed warp lies between the fixed one and the identity."""
    warp = {"mix": 0.5, "saliency": str(saliency_file(tmp_path))}
    knots = [
        make_warp(tiny_recipe(tmp_path, variant=variant, warp={**warp, "mix": share})).knots_x
        for variant, share in (("fixed", 1.0), ("adaptive", 0.5), ("adaptive", 1.0))
    ]
    np.testing.assert_allclose(knots[2], np.linspace(-1, 1, len(knots[2])), atol=1e-12)
    assert np.abs(knots[0] - knots[2]).max() > 1.2 * np.abs(knots[1] - knots[2]).max() > 0


def test_learned_scalars_of_a_checkpoint_make_the_warp(tmp_path: Path) -> None:
    """Our checkpoints store amplitude and bandwidth by name; FOVEA's give them by its formula."""
    import torch

    from lzu_export.tasks.adaptive_warps import learned_warp

    ours = {"warp.amplitude": torch.tensor(2.0), "warp.bandwidth": torch.tensor(30.0)}
    rest, learned = learned_warp({**ours, "backbone.w": torch.zeros(1)})
    assert list(rest) == ["backbone.w"]
    assert learned == {"amplitude": 2.0, "bandwidth": 30.0}
    fovea = {"grid_net.amplitude": torch.tensor(0.5), "grid_net.bandwidth": torch.tensor(-1.5)}
    _, learned = learned_warp(fovea)
    assert learned == pytest.approx({"amplitude": 1.6, "bandwidth": 32.1})
    for value, words in (
        (torch.tensor(float("nan")), r"holds NaN in warp\.amplitude"),
        (torch.tensor(-1.0), r"holds -1 as warp\.amplitude, which is to be positive"),
        (torch.ones(2), r"holds warp\.amplitude of shape \(2,\), not one number"),
    ):
        with pytest.raises(LzuError, match=words):
            learned_warp({"warp.amplitude": value}, "a.pth")


def test_fovea_only_zooms_and_maps_its_boxes_back(tmp_path: Path) -> None:
    """The graph has no unzoom; without boxes it detects what the uniform model does."""
    settings = {**SETTINGS, "precision": ["fp32"]}
    fovea = export(tiny_recipe(tmp_path, **{**settings, "variant": "fovea"}), tmp_path)
    uniform = export(tiny_recipe(tmp_path, **{**settings, "variant": "uniform"}), tmp_path)
    (parity,) = fovea.manifest.parity
    assert parity.status == "passed"
    assert "knots_x" in parity.probes
    assert not [name for name in parity.probes if name.startswith("unzoomed")]
    frame = noise_frame(SOURCE, seed=3)
    detector = load(fovea.folder)
    first, plain = detector(frame), load(uniform.folder)(frame)
    # What reaches beyond the canvas is cut at its border, so that suppression drops another one.
    for box, score in zip(first.boxes[:10], first.scores[:10], strict=True):
        (partner,) = np.flatnonzero(np.abs(plain.scores - score) < 1e-5)
        np.testing.assert_allclose(box, plain.boxes[partner], atol=2)
    detector.set_boxes([[100, 40, 140, 60]])
    second = detector(frame)
    assert not np.allclose(second.boxes[:5], first.boxes[:5], atol=0.5)
