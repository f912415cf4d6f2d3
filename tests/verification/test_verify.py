"""Verification of a finished bundle: changed files are refused, the first deviation is named."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_export.bundle.bundle import Bundle
from lzu_export.compiler.pipeline import export
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import SHIPPED_NOTE, Manifest, Parity, read_manifest, write_manifest
from lzu_export.runtime.reference import read_reference, write_reference
from lzu_export.support.files.hashes import sha256
from lzu_export.tasks.candidates import Cut
from lzu_export.tasks.det.deviation import candidate_difference
from lzu_export.verification.parity import probe_order, verify_all, verify_engine
from samples import tiny_recipe

CANONICAL, SHIPPED = "model.fp32.onnx", "model.fp32.onnxruntime.onnx"


@pytest.fixture(scope="module", params=["source", "zoomed"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    lowering = {"zoom": "banded", "unzoom": "gridsample"}
    recipe = tiny_recipe(folder, input=request.param, lowering=lowering)
    return export(recipe, folder / "out").folder


@pytest.fixture
def bundle(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "bundle")
    return tmp_path / "bundle"


def verify(folder: Path) -> Parity:
    manifest = read_manifest(folder)
    return verify_engine(Bundle(folder, manifest), manifest.engines[0])


def seal(folder: Path, *names: str) -> None:
    """Write the hashes of changed files into the manifest."""
    manifest = read_manifest(folder)
    files = {**manifest.files, **{name: sha256(folder / name) for name in names}}
    update: Manifest = manifest.model_copy(update={"files": files})
    write_manifest(folder, update)


def scale_weight(folder: Path, file: str, part: str, factor: float) -> None:
    """Scale one convolution's weights inside a model file."""
    model = onnx.load(folder / file)
    (tensor,) = (each for each in model.graph.initializer if each.name.endswith(part))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * factor, tensor.name))
    onnx.save(model, folder / file)
    seal(folder, file)


def test_a_fresh_bundle_passes_again(bundle: Path) -> None:
    parity = verify(bundle)
    assert parity.status == "passed"
    assert parity.passed
    (stored,) = read_manifest(bundle).parity
    assert parity == stored
    assert list(parity.probes) == probe_order(list(parity.probes))
    assert 0 < max({**parity.probes, **parity.outputs}.values()) < 1e-5


@pytest.mark.parametrize("name", [CANONICAL, SHIPPED, "reference.npz", "warp.npz"])
@pytest.mark.parametrize("lost", [False, True])
def test_changed_and_missing_files_are_refused(bundle: Path, name: str, lost: bool) -> None:
    path = bundle / name
    if lost:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(LzuError) as caught:
        verify(bundle)
    message = str(caught.value)
    assert f"{path} {'is missing' if lost else 'was changed after the export'}" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("weight", "first"),
    [
        ("neck.fpn_convs.0.conv.weight", "level_0"),
        ("neck.fpn_convs.2.conv.weight", "level_2"),
        ("bbox_head.retina_reg.weight", "bbox_0"),
        ("bbox_head.retina_cls.weight", "cls_0"),
    ],
)
def test_the_first_probe_point_that_differs_is_named(bundle: Path, weight: str, first: str) -> None:
    scale_weight(bundle, SHIPPED, weight, 1.01)
    parity = verify(bundle)
    assert parity.status == "failed"
    assert parity.first.name == first
    before = list(parity.probes)[: list(parity.probes).index(first)]
    assert all(parity.probes[name] < 1e-5 for name in before)


def test_the_shipped_file_is_what_runs(bundle: Path) -> None:
    """The canonical graph does not matter, since `load` never opens it."""
    scale_weight(bundle, CANONICAL, "neck.fpn_convs.0.conv.weight", 1.01)
    assert verify(bundle) == read_manifest(bundle).parity[0]


def test_a_changed_unzoom_is_named(bundle: Path) -> None:
    model = onnx.load(bundle / SHIPPED)
    (node,) = (n for n in model.graph.node if n.output[0] == "unzoomed_1")
    for each in model.graph.initializer:
        if each.name == node.input[1]:  # the grid
            grid = numpy_helper.to_array(each).copy()
            grid += 0.1
            each.CopyFrom(numpy_helper.from_array(grid, each.name))
    onnx.save(model, bundle / SHIPPED)
    seal(bundle, SHIPPED)
    assert verify(bundle).first.name == "unzoomed_1"


def test_the_shipped_engine_is_held_at_its_outputs(bundle: Path) -> None:
    model = onnx.load(bundle / SHIPPED)
    weights = [t for t in model.graph.initializer if t.name.endswith("retina_cls.bias")]
    (bias,) = weights
    bias.CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.05), bias.name)
    )
    onnx.save(model, bundle / SHIPPED)
    seal(bundle, SHIPPED)
    parity = verify(bundle)
    assert parity.status == "failed"
    assert parity.limit is not None
    assert max(parity.outputs.values()) > parity.limit


def rename(folder: Path, file: str) -> None:
    """Give the probe point level_1 of a model file another name."""
    model = onnx.load(folder / file)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == "level_1":
                    names[i] = "renamed"
    onnx.save(model, folder / file)
    seal(folder, file)


def test_a_probe_point_that_lowering_merged_is_lowered_again(bundle: Path) -> None:
    rename(bundle, SHIPPED)
    parity = verify(bundle)
    assert (parity.status, parity.first) == ("passed", None)
    assert "level_1" in parity.probes


def test_a_probe_point_that_the_graph_lost_is_refused(bundle: Path) -> None:
    for file in (SHIPPED, CANONICAL):
        rename(bundle, file)
    with pytest.raises(LzuError, match="no tensor named level_1; export it again"):
        verify(bundle)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_never_pass(bundle: Path, bad: float) -> None:
    references = read_reference(bundle / "reference.npz")
    references[0].probes["level_1"][7] = bad
    write_reference(bundle / "reference.npz", references)
    seal(bundle, "reference.npz")
    parity = verify(bundle)
    assert (parity.status, parity.first.name) == ("failed", "level_1")


def test_other_references_can_be_given(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    (engine,) = manifest.engines
    references = read_reference(bundle / "reference.npz")
    references[0].outputs["boxes"] += 5
    parity = verify_engine(Bundle(bundle, manifest), engine, references)
    assert parity.first.name == "boxes"
    (bundle / "reference.npz").unlink()
    assert verify_engine(Bundle(bundle, manifest), engine, references) == parity


def test_of_an_engine_for_another_machine_the_graph_is_run(bundle: Path) -> None:
    """The engine's own file is still checked against its hash."""
    manifest = read_manifest(bundle)
    engine = manifest.engines[0].model_copy(update={"target": "tensorrt-rtx"})
    parity = verify_engine(Bundle(bundle, manifest), engine)
    assert parity.status == "graph passed"
    assert "has not been" in parity.note
    assert parity.probes == verify_engine(Bundle(bundle, manifest), manifest.engines[0]).probes
    (bundle / engine.file).write_bytes(b"")
    with pytest.raises(LzuError, match="was changed after the export"):
        verify_engine(Bundle(bundle, manifest), engine)


def test_probe_points_come_in_the_order_of_the_chain() -> None:
    names = ["cls_1", "unzoomed_10", "unzoomed_2", "bbox_0", "level_0", "zoomed", "cls_0"]
    assert probe_order(names) == [
        "zoomed",
        "level_0",
        "unzoomed_2",
        "unzoomed_10",
        "bbox_0",
        "cls_0",
        "cls_1",
    ]


def test_coinciding_boxes_are_told_by_their_scores() -> None:
    """Clipped boxes coincide; matching one of another score would give a false deviation."""
    boxes = np.zeros((6, 4), np.float32)
    boxes[:, 2:] = 5
    scores = np.float32([0.30009, 0.30005, 0.3, 0.2, 0.1, 0.06])
    reference = {"boxes": boxes, "scores": scores, "labels": np.zeros(6, np.int32)}
    shifted = boxes.copy()
    shifted[1] += 1e-6
    value = {**reference, "boxes": shifted}
    found = candidate_difference(value, reference, [Cut(3, 30), Cut(3, 30)], floor=0.05)
    assert found["scores"] < 1e-6


BUNDLES = {"seg": "tiny_seg_bundle", "det3d": "tiny_det3d_bundle"}
OUTPUTS = {"seg": ["labels"], "det3d": ["boxes", "scores", "attributes"]}


def copy_of(task: str, request: pytest.FixtureRequest, folder: Path) -> Path:
    return Path(shutil.copytree(request.getfixturevalue(BUNDLES[task]), folder / task))


@pytest.mark.parametrize("task", BUNDLES)
def test_bundles_of_all_tasks_pass_again(
    task: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bundle = copy_of(task, request, tmp_path)
    parity = verify(bundle)
    assert (parity.status, parity.first) == ("passed", None)
    assert parity == read_manifest(bundle).parity[0]
    assert list(parity.outputs) == OUTPUTS[task]
    assert max({**parity.probes, **parity.outputs}.values()) < 5e-5


FIRST = {
    "seg": {
        "neck.fpn_convs.0.conv.weight": "level_0",
        "decode_head.conv_seg.weight": "logits_0",
    },
    "det3d": {
        "neck.fpn_convs.2.conv.weight": "level_2",
        "bbox_head.conv_attr.weight": "attr_0",
        "bbox_head.conv_regs.3.weight": "bbox_0",
        "bbox_head.conv_centerness.weight": "centerness_0",
        "bbox_head.conv_dir_cls.weight": "dir_0",
    },
}
"""First probe point that differs when a weight changes, by task and name of the weight."""


@pytest.mark.parametrize(
    ("task", "weight", "first"),
    [(task, *row) for task, rows in FIRST.items() for row in rows.items()],
)
def test_the_first_probe_point_of_any_task_that_differs_is_named(
    task: str, weight: str, first: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bundle = copy_of(task, request, tmp_path)
    scale_weight(bundle, SHIPPED, weight, 1.01)
    parity = verify(bundle)
    assert (parity.status, parity.first.name) == ("failed", first)


@pytest.mark.parametrize(
    ("task", "bias", "step", "first"),
    [
        ("seg", "decode_head.conv_seg.bias", [0.0, 0.1], "labels"),
        ("det3d", "bbox_head.conv_attr.bias", [0.0, 0.0, 50.0], "attributes"),
        ("det3d", "bbox_head.conv_dir_cls.bias", [0.0, 50.0], "boxes"),
        ("det3d", "bbox_head.conv_regs.3.bias", [0.05], "boxes"),
        ("det3d", "bbox_head.conv_regs.4.bias", [0.05, 0.0], "boxes"),
        ("det3d", "bbox_head.conv_cls.bias", [0.0, 0.001], "boxes"),  # none has a partner
    ],
    ids=["class", "attribute", "heading", "rotation", "velocity", "score"],
)
def test_the_shipped_engine_of_any_task_is_held_at_its_outputs(
    task: str,
    bias: str,
    step: list[float],
    first: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """This includes engines that only choose another class, attribute or heading."""
    bundle = copy_of(task, request, tmp_path)
    model = onnx.load(bundle / SHIPPED)
    (tensor,) = (each for each in model.graph.initializer if each.name.endswith(bias))
    moved = numpy_helper.to_array(tensor) + np.array(step, np.float32)
    tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
    onnx.save(model, bundle / SHIPPED)
    seal(bundle, SHIPPED)
    parity = verify(bundle)
    assert parity.status == "failed"
    assert parity.limit is not None
    assert parity.outputs[first] > parity.limit


@pytest.mark.parametrize(("task", "name"), [("seg", "labels"), ("det3d", "attributes")])
def test_only_choices_without_a_margin_are_excused(
    task: str, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A changed choice passes as a tie, and fails beyond the limit or where no margin is known."""
    bundle = copy_of(task, request, tmp_path)
    manifest = read_manifest(bundle)
    references = read_reference(bundle / "reference.npz")
    outputs = references[0].outputs
    place = (0, 40, 70) if task == "seg" else (0, int(outputs["scores"][0].max(axis=1).argmax()))
    outputs[name][place] = (outputs[name][place] + 1) % (2 if task == "seg" else 3)
    margin = place if task == "seg" else (*place, 0)
    limit = manifest.parity[0].limit
    for value, status in ((0.9 * limit, "passed"), (1.1 * limit, "failed"), (np.nan, "failed")):
        outputs["margins"][margin] = value
        parity = verify_engine(Bundle(bundle, manifest), manifest.engines[0], references)
        assert parity.status == status, value
        assert (parity.first and parity.first.name) == (None if status == "passed" else name)


def test_a_provider_runs_the_shipped_file_and_its_probe_points(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs no stored state, and is refused if it does not load or the engine has no file."""
    from lzu_export.targets.onnxruntime import OnnxRuntimeSession

    asked: list[str] = []
    whole = OnnxRuntimeSession.__init__

    def watched(self: OnnxRuntimeSession, model: Path | bytes, **options: Any) -> None:
        asked.append(options.get("provider", "cpu"))
        whole(self, model, **options)

    monkeypatch.setattr(OnnxRuntimeSession, "__init__", watched)
    manifest = read_manifest(tiny_bundle)
    parities = verify_all(Bundle(tiny_bundle), provider="CPUExecutionProvider")
    mine = [each for each in parities if each.target == "onnxruntime"]
    assert {each.note for each in mine} == {f"{SHIPPED_NOTE}, with CPUExecutionProvider"}
    assert asked.count("CPUExecutionProvider") >= 2 * len(mine)  # the file, and its probe points
    assert all(each.status == "passed" for each in mine)
    with pytest.raises(LzuError, match="does not run on NoSuchProvider"):
        verify_all(Bundle(tiny_bundle), provider="NoSuchProvider")
    others = tuple(each for each in manifest.engines if each.target != "onnxruntime")
    with pytest.raises(LzuError, match=r"--provider cuda is for files of ONNX Runtime, of which"):
        verify_all(
            Bundle(tiny_bundle, manifest.model_copy(update={"engines": others})), provider="cuda"
        )
