"""Export of wrapped networks: raw outputs by name, named ones, and what is refused on the way."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import lzu_export as lzu
from lzu_export.bundle.bundle import Bundle
from lzu_export.runtime.detector import Detections
from lzu_export.runtime.segmenter import Segmentation
from lzu_export.tasks.custom import BuiltNetwork
from lzu_export.verification.verify import verify
from lzu_export.wrapping.calls import Call
from lzu_export.wrapping.exported import named_outputs
from lzu_export.wrapping.nested import named_tensors
from samples import noise_frames, refusal
from wrapped_networks import SOURCE, Attentive, Keyword, Patches, ResNet, seeded, warp

NORMALISATION = {"order": "rgb", "mean": [100, 110, 120], "std": [60, 61, 62]}
LEVELS = ["neck.0", "neck.1"]
FRAME = np.random.default_rng(3).integers(0, 255, (*SOURCE, 3), np.uint8)


def normalised(frame: NDArray[np.uint8]) -> Tensor:
    """Normalise a BGR frame as a training loop does."""
    image = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1)[None].float()
    mean, std = (torch.tensor(NORMALISATION[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    return (image - mean) / std


def expected(network: nn.Module, frame: NDArray[np.uint8] = FRAME) -> dict[str, NDArray[Any]]:
    """Return what PyTorch computes, hooks and all, for one frame."""
    with torch.no_grad():
        found = named_outputs(network(normalised(frame)))
    return {name: each[0].numpy() for name, each in found.items()}


def export(model: Any, out: Path, **options: Any) -> Any:
    given: dict[str, Any] = {
        "normalisation": NORMALISATION,
        "targets": ["onnxruntime"],
        "precision": ["fp32"],
    }
    return lzu.export(model, out, **(given | options))


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of six training frames."""
    return noise_frames(tmp_path_factory.mktemp("frames") / "train", 6, SOURCE)


class Headed(nn.Module):
    """Patches with a head that a test gives as a function of its map (B, 5, 4, 4)."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 8, 8), nn.Conv2d(4, 5, 1)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.head(self.body(x)))


def headed(function: Callable[[Tensor], Any]) -> nn.Module:
    return lzu.wrap(seeded(Headed, function), warp(), ["body"])


def pair(x: Tensor) -> dict[str, Tensor]:
    return {"a/b": x, "zoomed": x + 1, "mask": x > 0, "labels": x.argmax(1)}


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A wrapped network that returns a dict, and its bundle in FP32."""
    network = headed(pair)
    return network, export(network, tmp_path_factory.mktemp("fixed")).folder


Made = tuple[nn.Module, Path]


def test_raw_outputs_are_those_of_pytorch_by_name(fixed: Made) -> None:
    """Names are made of keys; those of probe points get a prefix, flags come as integers."""
    network, bundle = fixed
    assert bundle.name == "headed-fixed-0.5x"
    found = lzu.load(bundle)(FRAME)
    wanted = expected(network)
    assert list(found) == list(wanted) == ["a_b", "output_zoomed", "mask", "labels"]
    assert found["a_b"].shape == (5, 4, 4)
    for name in ("a_b", "output_zoomed"):
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-5)
    assert found["mask"].dtype == np.int32
    np.testing.assert_array_equal(found["mask"], wanted["mask"])
    np.testing.assert_array_equal(found["labels"], wanted["labels"])


def test_the_export_leaves_the_network_as_it_is(fixed: Made) -> None:
    network, _ = fixed
    assert all(each.requires_grad for each in network.parameters())
    fresh = headed(pair)
    for name, each in expected(fresh).items():
        np.testing.assert_array_equal(expected(network)[name], each)


def test_the_bundle_is_verified_again_without_the_network(fixed: Made) -> None:
    _, bundle = fixed
    assert {each.status for each in Bundle(bundle).manifest.parity} == {"passed"}
    assert {each.status for each in verify(bundle)} == {"passed"}


@pytest.mark.slow
def test_a_second_export_finds_the_bundle_up_to_date(tmp_path: Path) -> None:
    """Weights, settings in attributes and buffers outside of the checkpoint are told apart."""

    def built(factor: float = 1.0, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        network = Factored(factor).eval()
        return lzu.wrap(network, warp(), ["body"])

    assert export(built(), tmp_path).status == "exported"
    assert export(built(), tmp_path).status == "up to date"
    assert export(built(2.0), tmp_path).status == "exported"
    assert export(built(2.0, seed=1), tmp_path).status == "exported"
    moved = built(2.0, seed=1)
    moved.shift.add_(1)
    assert export(moved, tmp_path).status == "exported"
    found = lzu.load(tmp_path / "generic" / "factored-fixed-0.5x")(FRAME)["output"]
    np.testing.assert_allclose(found, expected(moved)["output"], atol=1e-5)


class Factored(nn.Module):
    """Multiplies by an attribute and adds a buffer that no checkpoint holds."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.body, self.factor = nn.Conv2d(3, 4, 4, 4), factor
        self.register_buffer("shift", torch.zeros(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * self.factor + self.shift


def test_what_a_pass_keeps_does_not_change_the_digest() -> None:
    network = seeded(Factored, 1.0)
    first = BuiltNetwork(network).digest()
    network.kept, network.thing, network._cache = [torch.zeros(2)], [object()], 3
    network.train()
    assert BuiltNetwork(network).digest() == first
    network.factor = 3.0
    assert BuiltNetwork(network).digest() != first


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fixed", "plane", "uniform"])
def test_all_precisions_of_a_warp_are_those_of_pytorch(
    kind: str, tmp_path: Path, frames: Path
) -> None:
    plan = {"fixed": warp(), "plane": warp(separable=False), "uniform": warp().as_uniform()}[kind]
    network = lzu.wrap(seeded(ResNet), plan, LEVELS)
    outcome = export(network, tmp_path, frames=frames, precision=["fp32", "fp16", "int8"])
    assert outcome.status == "exported"
    names = {each.name for each in outcome.manifest.made}
    assert {"onnxruntime/fp32", "onnxruntime/fp16", "onnxruntime/int8"} <= names
    wanted = expected(network)
    for precision, bound in (("fp32", 1e-5), ("fp16", 5e-3), ("int8", 0.15)):
        found = lzu.load(outcome.folder, precision=precision)(FRAME)
        assert list(found) == ["output_0", "output_1"]
        for name, each in wanted.items():
            error = np.abs(found[name].astype(np.float32) - each).max() / np.abs(each).max()
            assert error < bound, (precision, name)
    probes = set(outcome.manifest.parity[0].probes)
    unzoomed = {"unzoomed_0", "unzoomed_1"}
    assert {"zoomed"} <= probes
    assert (unzoomed <= probes) == (kind != "uniform")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "names"),
    [
        (lambda: seeded(Patches).half(), ["mix"]),
        (lambda: seeded(Patches).double(), ["mix"]),
        (lambda: seeded(Attentive), ["fold"]),
        (lambda: seeded(ByName), ["mix"]),
    ],
)
def test_networks_of_other_types_and_calls_are_exported(
    build: Callable[[], nn.Module], names: list[str], tmp_path: Path
) -> None:
    network = lzu.wrap(build(), warp(), names)
    (kind,) = {each.dtype for each in network.parameters()}
    folder = export(network, tmp_path).folder
    image = normalised(FRAME).to(kind)
    with torch.no_grad():
        wanted = network(image=image) if isinstance(network, ByName) else network(image)
    found = lzu.load(folder)(FRAME)["output"]
    bound = 5e-3 if kind == torch.float16 else 1e-4
    np.testing.assert_allclose(found, wanted[0].float().numpy(), atol=bound)


@pytest.mark.slow
def test_tensorrt_rtx_builds_the_engine_of_a_wrapped_network(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    network = lzu.wrap(seeded(ResNet), warp(), LEVELS)
    done = export(network, tmp_path, targets=["tensorrt-rtx"])
    (engine,) = done.manifest.engines
    assert (engine.target, engine.precision) == ("tensorrt-rtx", "fp32")
    assert (done.folder / engine.file).stat().st_size > 1000
    assert [each.name for each in engine.outputs][-2:] == ["output_0", "output_1"]
    (parity,) = done.manifest.parity
    assert parity.status == "graph passed"
    assert {"zoomed", "unzoomed_0", "unzoomed_1"} <= set(parity.probes)
    assert {each.status for each in verify(done.folder)} == {"graph passed"}


class ByName(Patches):
    """Takes its image as a keyword alone."""

    def forward(self, *, image: Tensor) -> Tensor:
        return super().forward(image)


@pytest.mark.slow
def test_chosen_outputs_alone_are_returned(tmp_path: Path) -> None:
    network = headed(lambda x: {"maps": x, "mean": x.mean()})
    folder = export(network, tmp_path, outputs="maps").folder
    assert list(lzu.load(folder)(FRAME)) == ["maps"]


def test_post_processing_may_be_a_function(fixed: Made) -> None:
    _, bundle = fixed
    seen: list[Any] = []

    def mine(outputs: Any, context: Any) -> float:
        seen.append((outputs, context))
        return float(outputs["a_b"].sum())

    found = lzu.load(bundle, postprocess=mine)(FRAME)
    assert isinstance(found, float)
    assert found == pytest.approx(float(lzu.load(bundle)(FRAME)["a_b"].sum()))
    assert list(seen[0][0]) == ["a_b", "output_zoomed", "mask", "labels"]
    said = refusal(lambda: lzu.load(bundle, postprocess=3))  # type: ignore[arg-type]
    assert said.startswith("the post-processing given to load is int, which cannot be called")


def test_a_function_does_not_replace_a_graph_s_own_decode(tiny_bundle: Path) -> None:
    said = refusal(lambda: lzu.load(tiny_bundle, postprocess=lambda outputs, context: outputs))
    assert said.startswith("postprocess does not apply to task det")


def logits(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2, mode="nearest")


@pytest.mark.slow
def test_named_post_processing_returns_labels(tmp_path: Path) -> None:
    network = headed(logits)
    classes = ["a", "b", "c", "d", "e"]
    folder = export(network, tmp_path, postprocess="labels", classes=classes).folder
    found = lzu.load(folder)(FRAME)
    assert isinstance(found, Segmentation)
    assert found.labels.shape == SOURCE
    raw = expected(network)["output"].argmax(0)
    assert found.labels[0, 0] == raw[0, 0]
    assert set(np.unique(found.labels)) <= set(np.unique(raw))


def yolo(x: Tensor) -> Tensor:
    """Return 16 candidates: a box of 6 x 4 pixels on every cell, an objectness, four scores."""
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    places = torch.stack([columns, rows]).reshape(1, 2, 16).float() * 8 + 3.5
    sides = torch.tensor([6.0, 4.0]).reshape(1, 2, 1).expand(1, 2, 16)
    scores = x.flatten(2).sigmoid()
    return torch.cat([places, sides, scores], 1).mT


@pytest.mark.slow
def test_named_post_processing_returns_boxes_in_pixels_of_the_frame(tmp_path: Path) -> None:
    network = headed(yolo)
    folder = export(
        network, tmp_path, postprocess={"kind": "yolo"}, classes=["a", "b", "c", "d"]
    ).folder
    found = lzu.load(folder, score_threshold=0.01)(FRAME)
    assert isinstance(found, Detections)
    assert len(found) > 0
    plan = warp()
    canvas = plan.boxes_to_canvas(found.boxes.astype(np.float64))
    # Boxes beyond the frame are cut; those inside keep the sides that they have on the canvas.
    inside = (found.boxes > 1).all(1) & (found.boxes[:, 2] < 63) & (found.boxes[:, 3] < 47)
    assert inside.any()
    np.testing.assert_allclose(
        (canvas[:, 2:] - canvas[:, :2])[inside], [[6, 4]] * inside.sum(), atol=0.01
    )


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"normalisation": "imagenet"}, "normalisation is 'imagenet'; give a mapping"),
    ({"normalisation": None}, "normalisation is None; give a mapping"),
    ({"normalisation": {**NORMALISATION, "order": "grb"}}, "normalisation.order is 'grb' but must"),
    ({"normalisation": {**NORMALISATION, "std": [0, 1, 1]}}, "normalisation.std"),
    ({"targets": ["tensorflow"]}, "targets.0 is 'tensorflow' but must be"),
    ({"precision": "fp8"}, "precision.0 is 'fp8' but must be"),
    ({"precision": ["int8"]}, "INT8 needs frames to measure ranges on"),
    ({"precision": ["int8"], "frames": "nowhere"}, "nowhere does not exist"),
    ({"postprocess": "yola"}, "must be keys with a kind, one of raw, yolo, detr, anchors, labels"),
    ({"settings": {"tolerances.metric.int9": 2}}, "unknown key tolerances.metric.int9; did you"),
    ({"settings": {"name.x": 2}}, "name of settings key name.x has no keys below it"),
    ({"name": "../x"}, "name '../x' is not a folder name"),
    ({"outputs": ["maps"]}, "Patches returns no maps; it returns output"),
    ({"metric": len}, "metric needs frames to be computed on; give dataset, a folder of frames"),
    ({"metric": len, "dataset": "nowhere"}, "nowhere does not exist"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED, ids=[each[1][:30] for each in REFUSED])
def test_unfit_settings_are_refused_in_a_sentence(
    options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    network = lzu.wrap(seeded(Patches), warp(), ["mix"])
    assert said in refusal(lambda: export(network, tmp_path, **options))
    assert list(tmp_path.glob("generic/[!.]*")) == []
    assert not (tmp_path / "inputs").exists()


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: seeded(ResNet), "ResNet is not wrapped in a warp; call lzu_export.wrap before"),
        (
            lambda: lzu.wrap(seeded(ResNet).train(), warp(), LEVELS),
            "ResNet is in training mode; call model.eval() before the export",
        ),
        (
            lambda: lzu.wrap(
                seeded(Keyword), warp(), ["body"], example=Call("pixel_values", (1.0,))
            ),
            "Keyword takes other arguments besides its image",
        ),
        (lambda: headed(lambda x: "nothing"), "the network returns no tensor in eval mode"),
        (lambda: headed(lambda x: {"a_b": x, "a": {"b": x}}), "returns two outputs named a_b"),
        (lambda: headed(lambda x: x.mean()), "output output of Headed has shape (), whose first"),
        (lambda: headed(lambda x: [x, x[0]]), "output output_1 of Headed has shape (5, 4, 4)"),
        (lambda: None, "export was given NoneType; give a Recipe"),
        (lambda: "model.pth", "export was given str; give a Recipe"),
    ],
)
def test_networks_that_cannot_be_exported_are_refused(
    build: Callable[[], Any], said: str, tmp_path: Path
) -> None:
    assert said in refusal(lambda: export(build(), tmp_path))
    assert list(tmp_path.glob("generic/[!.]*")) == []


def test_a_submodule_in_training_mode_is_refused(tmp_path: Path) -> None:
    network = lzu.wrap(seeded(ResNet), warp(), LEVELS)
    network.get_submodule(LEVELS[0]).train()
    said = refusal(lambda: export(network, tmp_path))
    assert said.startswith(f"submodule {LEVELS[0]} of ResNet is in training mode, so that")


class Backwards(nn.Module):
    """Knots of which those along y decrease."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        line = torch.linspace(-1, 1, 9).expand(len(image), 9)
        return line, -line


def test_learned_knots_out_of_order_are_refused(tmp_path: Path) -> None:
    learned = lzu.LearnedWarp.of(Backwards(), source=warp().source, canvas=warp().canvas)
    network = lzu.wrap(seeded(ResNet), learned, LEVELS)
    said = refusal(lambda: export(network, tmp_path))
    assert said.startswith("the module of the learned warp is no warp: knots_y decrease somewhere")


def test_a_normalisation_lacks_nothing(tmp_path: Path) -> None:
    """A recipe's defaults are those of ImageNet, which the training loop need not have."""
    network = lzu.wrap(seeded(ResNet), warp(), LEVELS)
    said = refusal(lambda: lzu.export(network, tmp_path, normalisation={"order": "bgr"}))
    assert said == (
        "normalisation has no mean and no std; give order, mean and std as the training loop has "
        "them"
    )


def test_names_of_outputs() -> None:
    x = torch.zeros(1)
    for returned, names in [
        (x, ["output"]),
        ([x, x], ["output_0", "output_1"]),
        ({"boxes": x, "maps": [x, {"p.1": x}]}, ["boxes", "maps_0", "maps_1_p_1"]),
        ({"frame": x, "level_3": x, "unzoomed_10": x}, None),
        ({"größe": x, "": x, "n": 3, "loss": None}, ["größe", "output"]),
    ]:
        expected_names = names or ["output_frame", "output_level_3", "output_unzoomed_10"]
        assert list(named_outputs(returned)) == expected_names
        assert len(list(named_tensors(returned))) == len(expected_names)


@pytest.mark.slow
def test_a_metric_of_one_s_own(tmp_path: Path, frames: Path) -> None:
    calls: list[dict[str, Any]] = []

    def brightness(predictions: Any) -> dict[str, float]:
        calls.append(dict(predictions))
        values = [float(each["output"].mean()) for each in predictions.values()]
        return {"mean": 50 + np.mean(values), "spread": 10.0}

    network = lzu.wrap(seeded(Patches), warp(), ["mix"])
    outcome = export(network, tmp_path, dataset=frames, metric=brightness)
    assert len(calls) >= 2
    assert sorted(calls[0]) == [f"{i}.png" for i in range(6)]
    accuracy = outcome.manifest.accuracy
    assert accuracy.metric == "brightness"  # the first of its numbers has the function's name
    assert accuracy.pytorch["brightness"] == accuracy.pytorch["mean"] > 0
    assert accuracy.pytorch["spread"] == 10
    frame = cv2.imread(str(frames / "0.png"))
    np.testing.assert_allclose(
        calls[-1]["0.png"]["output"], expected(network, frame)["output"], atol=1e-4
    )

    def broken(predictions: Any) -> float:
        raise KeyError("boxes")

    said = refusal(lambda: export(network, tmp_path / "b", dataset=frames, metric=broken))
    assert re.search(r"the metric broken failed \(KeyError: 'boxes'\); it must return", said)
