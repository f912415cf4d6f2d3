"""Results are kept as they come, and made again only where something changed."""

import json
import shutil
from copy import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from fakes.install import install_cuda, install_tensorrt
from fakes.world import World
from lzu_benchmarks.bench import compare as module
from lzu_benchmarks.bench import contender as contender_module
from lzu_benchmarks.bench.command import _shown, bench, lowering_notes, main, pytorch_notes
from lzu_benchmarks.bench.compare import bundle_result
from lzu_benchmarks.bench.contender import Contender, Store, open_bundles
from lzu_benchmarks.bench.gallery import make_gallery
from lzu_benchmarks.bench.latencies import latency_groups
from lzu_benchmarks.bench.options import parse
from lzu_benchmarks.report.schema import LatencyGroup, Report
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import EvaluationSet, open_dataset
from lzu_export.inputs.images import read_image
from lzu_export.manifest.schema import ROUNDING_NOTE, Accuracy
from lzu_export.recipes import Recipe
from lzu_export.support.interleave import Plan
from lzu_export.support.progress import Reporter
from lzu_export.tasks.pytorch import noise_frame
from samples import write_sealed

QUIET = Reporter(quiet=True)
PLAN = Plan(queries=2, warmup_queries=1, warmup_seconds=0.0, block=1, settle=0)


@pytest.fixture
def two(tiny_bundle: Path, tmp_path: Path) -> list[Path]:
    """A fixed bundle, and one whose manifest calls it uniform."""
    base = Path(shutil.copytree(tiny_bundle, tmp_path / "tiny-uniform-0.5x"))
    text = (base / "manifest.json").read_text()
    changed = text.replace('"variant": "fixed"', '"variant": "uniform"')
    assert changed != text
    write_sealed(base, json.loads(changed))
    return [tiny_bundle, base]


def test_results_are_kept_and_not_made_again(two: list[Path], tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    bundles = open_bundles(two)
    assert [bundle.manifest.variant for bundle in bundles] == ["uniform", "fixed"]
    first = [bundle_result(each, store, report=QUIET) for each in bundles]
    groups = latency_groups(bundles, store, PLAN, report=QUIET)
    times = {path.name: path.stat().st_mtime_ns for path in store.folder.glob("*.json")}
    assert len(times) == 3
    assert [bundle_result(each, store, report=QUIET) for each in bundles] == first
    assert latency_groups(bundles, store, PLAN, report=QUIET) == groups
    assert times == {path.name: path.stat().st_mtime_ns for path in store.folder.glob("*.json")}
    # Another plan is another measurement; a file that was cut off is made again.
    longer = Plan(queries=3, warmup_queries=1, warmup_seconds=0.0, block=1, settle=0)
    (again,) = latency_groups(bundles, store, longer, report=QUIET)
    assert again.key != groups[0].key
    path = store.folder / f"{first[0].name}.json"
    path.write_text(path.read_text()[:100])
    assert bundle_result(bundles[0], store, report=QUIET) == first[0]


def test_what_runs_here_and_by_what_is_part_of_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Engines that come or go, another TensorRT, back end or plugin library: measured again."""

    class Keys(Store):
        def get(self, name: str, key: str, kind: Any, make: Any) -> Any:
            return key

    store, world = Keys(tmp_path / "results"), World()

    def keys(*engines: str) -> tuple[Any, ...]:
        split = map(partition, engines)
        runs = [SimpleNamespace(target=t, precision=p, name=f"{t}/{p}") for t, _, p in split]
        recipe = SimpleNamespace(scale=0.5)
        manifest: Any = SimpleNamespace(files={}, recipe=recipe, engines=runs)
        bundle = Contender.__new__(Contender)
        vars(bundle).update(folder=tmp_path / "bundle", manifest=manifest, provider="cpu")
        vars(bundle).update(targets=None, precisions=None, _here=(runs, {}), failed={})
        times: list[Any] = latency_groups([bundle], store, PLAN, report=QUIET)
        return bundle_result(bundle, store, report=QUIET), *sorted(times)

    def partition(engine: str) -> tuple[str, str, str]:
        return engine.partition("/")

    def install(version: str = "10.3.0", back_end: str = "cuda-python") -> None:
        install_cuda(monkeypatch, world, back_end)
        install_tensorrt(monkeypatch, world, version)

    library = tmp_path / "liblzu_plugins.so"
    monkeypatch.setenv("LZU_PLUGINS", str(library))
    alone = keys("onnxruntime/fp32")
    assert keys("onnxruntime/fp32") == alone
    both = keys("onnxruntime/fp32", "onnxruntime/fp16")
    assert not set(both) & set(alone)
    assert keys("onnxruntime/fp16", "onnxruntime/fp32") == both
    found = []
    install()
    found.append(keys("tensorrt/fp32"))
    assert keys("tensorrt/fp32") == found[0]
    install("11.4.0")
    found.append(keys("tensorrt/fp32"))
    install("10.3.0", "pycuda")
    found.append(keys("tensorrt/fp32"))
    for content in (b"one library", b"another"):
        library.write_bytes(content)
        found.append(keys("tensorrt/fp32"))
    assert len({scores for scores, _ in found}) == 1
    assert len({times for _, times in found}) == 5


def test_a_bundle_s_result(two: list[Path], tmp_path: Path) -> None:
    bundle = open_bundles(two[:1])[0]
    found = bundle_result(bundle, Store(tmp_path), report=QUIET)
    assert found.variant == "fixed"
    assert found.flops.network > found.flops.warps > 0
    assert found.engines["onnxruntime/fp32"].score is None  # it has no evaluation set
    assert found.engines["onnxruntime/fp32"].parity.status == "passed"


def test_all_bundles_are_drawn_on_the_same_frames(two: list[Path], tmp_path: Path) -> None:
    bundles = open_bundles(two)
    found = make_gallery(bundles, Store(tmp_path), None, QUIET)
    assert found.noise  # it has no evaluation set
    assert len(found.frames) == 4
    names = {each.folder.name for each in bundles}
    assert all(set(frame.found) == names and frame.truth is None for frame in found.frames)
    assert list(found.warps) == [two[0].name]  # none of uniform
    warp = found.warps[two[0].name]
    files = [file for frame in found.frames for file in frame.found.values()]
    for file in (warp.grid, warp.zoomed, warp.magnification, *files):
        assert (tmp_path / file).stat().st_size > 500
    assert warp.smallest < 1 < warp.largest <= warp.end
    assert found.examples is None


def test_all_of_a_scale_take_turns_and_uniform_is_the_base(two: list[Path], tmp_path: Path) -> None:
    (group,) = latency_groups(open_bundles(two), Store(tmp_path), PLAN, report=QUIET)
    assert (group.target, group.precision, group.scale) == ("onnxruntime", "fp32", 0.5)
    by_bundle = {each.bundle: each for each in group.run.engines.values()}
    assert by_bundle["tiny-uniform-0.5x"].ratio is None
    warped = by_bundle[two[0].name]
    assert warped.ratio is not None
    assert warped.base == "tiny-uniform-0.5x onnxruntime fp32"


def test_targets_and_precisions_choose_what_is_scored_and_timed(
    two: list[Path], tmp_path: Path
) -> None:
    """Of the manifest's engines; a result of others is not taken for this one's."""
    two = [Path(shutil.copytree(each, tmp_path / "copies" / each.name)) for each in two]
    for folder in two:
        data = json.loads((folder / "manifest.json").read_text())
        for kind in ("engines", "parity"):
            data[kind].append({**data[kind][0], "precision": "fp16"})
        shutil.copy(folder / "model.fp32.onnx", folder / "model.fp16.onnx")
        data["files"]["model.fp16.onnx"] = data["files"]["model.fp32.onnx"]
        write_sealed(folder, data)
    store, data = Store(tmp_path), str(boxes(tmp_path, 1))
    whole = bundle_result(open_bundles(two)[0], store, dataset=data, report=QUIET)
    assert set(whole.engines) == {"onnxruntime/fp32", "onnxruntime/fp16", "emulated/fp16"}
    agreed = whole.engines["onnxruntime/fp16"].score
    assert agreed is not None
    assert agreed.agreement is not None
    assert agreed.how == ""
    rounded = whole.engines["emulated/fp16"]
    assert rounded.bytes is None
    assert rounded.score is not None
    assert rounded.score.how == ROUNDING_NOTE
    bundles = open_bundles(two, ["onnxruntime"], ["fp32"])
    part = bundle_result(bundles[0], store, dataset=data, report=QUIET)
    assert set(part.engines) == {"onnxruntime/fp32"}
    assert part.engines["onnxruntime/fp32"].score is not None
    (group,) = latency_groups(bundles, store, PLAN, report=QUIET)
    assert group.precision == "fp32"
    with pytest.raises(LzuError, match=r"no engine of onnxruntime in int8; it has .* fp32, .*fp16"):
        open_bundles(two, ["onnxruntime"], ["int8"])
    with pytest.raises(LzuError, match="has no engine of tensorrt or tensorrt-rtx; it has"):
        open_bundles(two, ["tensorrt", "tensorrt-rtx"])


@pytest.mark.parametrize(
    "option",
    [
        "--variant=fixed", "--scale=0.5", "--checkpoint=a.pth", "--saliency=s.npy",
        "--calibration=demo", "--random-weights=0", "--set=warp.fwhm=7",
    ],
)  # fmt: skip
def test_options_of_an_export_are_refused_with_finished_bundles(
    two: list[Path], option: str
) -> None:
    name = option.partition("=")[0]
    with pytest.raises(LzuError, match=f"{name} of an export cannot change finished bundles"):
        bench(parse([option, "--bundles", *map(str, two)]))


def test_the_provider_scores_and_times(two: list[Path], tmp_path: Path) -> None:
    """One that is not there is refused, never replaced by the processor or by older results."""
    store, data = Store(tmp_path / "results"), str(boxes(tmp_path, 1))
    plain = open_bundles(two)
    bundle_result(plain[0], store, dataset=data, report=QUIET)
    latency_groups(plain, store, PLAN, report=QUIET)
    other = open_bundles(two, provider="NoSuchProvider")
    with pytest.raises(LzuError, match="does not run on NoSuchProvider"):
        bundle_result(other[0], store, dataset=data, report=QUIET)
    with pytest.raises(LzuError, match="does not run on NoSuchProvider"):
        latency_groups(other, store, PLAN, report=QUIET)
    options = ["--bundles", *map(str, two), "--out", str(tmp_path), "--provider", "NoSuchProvider"]
    with pytest.raises(LzuError, match="does not run on NoSuchProvider"):
        bench(parse(options))


def test_all_are_scored_on_the_frames_that_an_adaptive_model_takes(
    two: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of a set is of whole sequences for one model, and of single frames for the others."""
    [bundle], data = open_bundles(two[:1]), str(boxes(tmp_path, 2))
    like = bundle.manifest.recipe.model_copy(update={"variant": "adaptive"})
    asked: list[bool] = []

    def opened(name: str, frames: int | None, task: str, recipe: Recipe) -> EvaluationSet:
        asked.append(recipe.follows_boxes)
        return open_dataset(name, frames, task, recipe)

    monkeypatch.setattr(module, "open_dataset", opened)
    store = Store(tmp_path / "results")
    for part, wanted in ((None, [False]), (2, [True]), (2, [])):  # the last one is kept
        asked.clear()
        bundle_result(bundle, store, dataset=data, frames=part, like=like, report=QUIET)
        assert asked == wanted
    bundle_result(bundle, store, dataset=data, frames=2, report=QUIET)
    assert asked == [False]  # a result of other frames is not taken for this one's


def test_what_pytorch_scores_on_other_frames_is_told_apart(two: list[Path], tmp_path: Path) -> None:
    [bundle], data = open_bundles(two[:1]), str(boxes(tmp_path, 2))
    result = bundle_result(bundle, Store(tmp_path), dataset=data, report=QUIET)
    (note,) = pytorch_notes([bundle], [result])
    assert note.endswith("not run in PyTorch on these frames; the manifest has no score of it.")
    assert result.dataset is not None
    for frames, said in (
        (9, f"its score in the manifest covers 9 frames of {result.dataset}."),
        (2, "in PyTorch: 12.50 AP on the same frames."),
    ):
        accuracy = Accuracy(
            dataset=result.dataset, frames=frames, metric="AP", note="", pytorch={"AP": 12.5},
            engines={}, limits={},
        )  # fmt: skip
        manifest = bundle.manifest.model_copy(update={"accuracy": accuracy})
        known = copy(bundle)
        known.manifest = manifest
        result = bundle_result(known, Store(tmp_path, again=True), dataset=data, report=QUIET)
        (note,) = pytorch_notes([known], [result])
        assert note.endswith(said)


def test_the_command_compares_the_chosen_engines_only(two: list[Path], tmp_path: Path) -> None:
    options = ["--bundles", *map(str, two), "--out", str(tmp_path), "--target", "tensorrt"]
    with pytest.raises(LzuError, match="has no engine of tensorrt; it has onnxruntime fp32"):
        bench(parse(options))


def test_an_interrupted_run_goes_on(
    two: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "results")
    bundles = open_bundles(two)
    with monkeypatch.context() as patch:
        patch.setattr(module, "flops_of", lambda bundle: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bundle_result(bundles[0], store, report=QUIET)
    assert not list(store.folder.glob("*.json"))  # half a result is none
    kept = bundle_result(bundles[0], store, report=QUIET)
    monkeypatch.setattr(module, "flops_of", lambda bundle: 1 / 0)
    assert bundle_result(bundles[0], store, report=QUIET) == kept
    again = Store(store.folder, again=True)
    with pytest.raises(ZeroDivisionError):
        bundle_result(bundles[0], again, report=QUIET)


def boxes(folder: Path, count: int) -> Path:
    """COCO annotations of so many noise frames that fit the tiny bundle."""
    names = [f"{i}.png" for i in range(1, count + 1)]
    for i, name in enumerate(names):
        cv2.imwrite(str(folder / name), noise_frame((96, 160), i))
    data = {
        "categories": [{"id": 1, "name": "sign"}, {"id": 2, "name": "car"}],  # the recipe's, turned
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names, start=1)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [20, 20, 60, 40]}
            for i in range(1, count + 1)
        ],
    }
    path = folder / "annotations.json"
    path.write_text(json.dumps(data))
    return path


def test_an_interrupted_accuracy_goes_on_where_it_stood(
    two: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same result; a frame that is missing is named, and what was done is kept."""
    store, [bundle] = Store(tmp_path / "results"), open_bundles(two[:1])
    path = str(boxes(tmp_path, 6))
    asked: dict[str, Any] = {"dataset": path, "report": QUIET}
    whole = bundle_result(bundle, Store(tmp_path / "whole"), **asked)
    assert whole.frames == 6
    assert whole.metric == "AP"
    (tmp_path / "5.png").rename(tmp_path / "5")
    with pytest.raises(LzuError, match=r"image 5\.png is neither .*; put it there"):
        bundle_result(bundle, store, **asked)
    (tmp_path / "5.png").write_text("damaged")
    with pytest.raises(LzuError, match=r"5\.png cannot be read as an image"):
        bundle_result(bundle, store, **asked)
    [kept] = store.folder.iterdir()
    (tmp_path / "5").rename(tmp_path / "5.png")
    read: list[str] = []
    monkeypatch.setattr(
        "lzu_export.evaluation.layouts.boxes.read_image",
        lambda p: read.append(p.name) or read_image(p),
    )
    again = bundle_result(bundle, store, **asked)
    assert read == ["5.png", "6.png"]
    assert again.model_dump_json() == whole.model_dump_json()  # some metrics are nan
    assert not kept.exists()


def test_interrupting_the_command_is_one_sentence(
    two: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lzu_benchmarks.bench.command.bundle_result", stop)
    with pytest.raises(SystemExit) as done:
        main(["--bundles", *map(str, two), "--out", str(tmp_path / "out")])
    assert done.value.code == 130
    assert "results so far are kept; give the same command to go on" in capsys.readouterr().err


def test_the_command_writes_a_report_of_finished_bundles(
    two: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--bundles", *map(str, two), "--out", str(tmp_path / "out")]
    arguments += ["--min-queries", "2", "--warmup-seconds", "0"]
    main(arguments)
    printed = capsys.readouterr().out
    assert "uniform 0.5x" in printed
    folder = tmp_path / "out" / "bench" / "tiny"
    names = {path.name for path in folder.iterdir()}
    assert names == {"report.html", "report.md", "report.json", "report.schema.json", "results"}
    report = Report.model_validate_json((folder / "report.json").read_text())
    assert [each.variant for each in report.bundles] == ["uniform", "fixed"]
    main([*arguments, "--json"])
    assert Report.model_validate_json(capsys.readouterr().out).bundles == report.bundles
    stored = list((folder / "results").glob("latency-*.json"))
    assert LatencyGroup.model_validate_json(stored[0].read_text()) == report.latency[0]


def test_exports_are_asked_for_as_the_compiler_takes_them(
    two: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def fake(command: list[str], **options: Any) -> Any:
        asked.append(command)
        name = two[1] if "uniform" in command else two[0]
        status = 1 if "9" in command else 0
        return type("Done", (), {"returncode": status, "stdout": f'[{{"bundle": "{name}"}}]'})

    monkeypatch.setattr("lzu_benchmarks.bench.command.subprocess.run", fake)
    monkeypatch.setattr("lzu_benchmarks.bench.command.latency_groups", lambda *a, **k: [])
    options = ["det", "--variant", "uniform fixed", "--checkpoint", "{variant}_{scale}.pth"]
    options += ["--scale", "0.5", "--set", "warp.fwhm=7", "--out", str(tmp_path)]
    options += ["--dataset", "none"]  # the demonstration's frames do not fit the tiny bundles
    bench(parse(options))
    assert [command[command.index("--checkpoint") + 1] for command in asked] == [
        "uniform_0.5.pth",
        "fixed_0.5.pth",
    ]
    assert all("warp.fwhm=7" in command and "--json" in command for command in asked)
    asked.clear()
    with pytest.raises(LzuError, match="two bundles are called"):  # the fake has but two
        bench(parse(["det", "--out", str(tmp_path)]))
    variants = [command[command.index("--variant") + 1] for command in asked]
    assert variants == ["uniform", "fixed", "adaptive", "fovea"]
    with pytest.raises(LzuError, match="finished bundles and results are kept"):
        bench(parse(["det", "--scale", "9", "--out", str(tmp_path)]))
    with pytest.raises(LzuError, match="name them"):
        bench(parse(["det", "--checkpoint", "a.pth"]))


def test_bundles_that_do_not_fit_one_another_are_refused(
    two: list[Path], tiny_seg_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(LzuError, match="of different tasks"):
        open_bundles([two[0], tiny_seg_bundle])
    with pytest.raises(LzuError, match="two bundles are called"):
        open_bundles([two[0], two[0]])
    with pytest.raises(LzuError, match="no bundles to compare"):
        open_bundles([])
    with pytest.raises(SystemExit) as caught:
        main(["--bundles", str(tmp_path), "--out", str(tmp_path)])
    assert caught.value.code == 2


def test_an_engine_that_fails_is_marked_and_the_others_go_on(
    two: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its row, the page and the exit status say so; nothing of it is timed or scored."""
    right = contender_module.load

    def load(folder: Path, **options: Any) -> Any:
        if folder == two[0]:
            raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : no kernel\nat a place")
        return right(folder, **options)

    monkeypatch.setattr(contender_module, "load", load)
    out = tmp_path / "out"
    names = [str(each) for each in two]
    with pytest.raises(SystemExit) as done:
        main(["--bundles", *names, "--out", str(out), "--min-queries", "2"])
    assert done.value.code == exits.INCOMPLETE
    printed = capsys.readouterr().out
    (row,) = (line for line in printed.splitlines() if "(failed)" in line)
    assert "fixed 0.5x" in row
    text = (out / "bench" / "tiny" / "report.json").read_text()
    report = Report.model_validate_json(text)
    name = f"{two[0].name} onnxruntime/fp32"
    assert report.failed == {name: "[ONNXRuntimeError] : 1 : FAIL : no kernel"}
    assert f"{name} failed: [ONNXRuntimeError] : 1 : FAIL : no kernel." in report.notes
    (group,) = report.latency
    assert {each.bundle for each in group.run.engines.values()} == {two[1].name}
    assert report.title.endswith(", of random noise")
    page = (out / "bench" / "tiny" / "report.html").read_text()
    assert "fixed 0.5x (failed)" in page
    assert "of random noise</h1>" in page
    assert "fixed (failed)" in (out / "bench" / "tiny" / "report.md").read_text()


def test_where_no_engine_runs_the_reason_is_the_error(
    two: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(folder: Path, **options: Any) -> Any:
        raise LzuError("no such kernel; get one")

    monkeypatch.setattr(contender_module, "load", load)
    given = parse(["--bundles", *map(str, two), "--out", str(tmp_path / "out")])
    with pytest.raises(LzuError, match="no engine runs here: no such kernel"):
        bench(given)
    assert not (tmp_path / "out").exists()


def test_steps_that_are_lowered_in_different_ways_are_told(two: list[Path]) -> None:
    bundles = open_bundles(two)
    assert lowering_notes(bundles) == []
    first = bundles[0].manifest
    (engine,) = first.engines
    lowerings = tuple(
        each.model_copy(update={"kind": "gridsample"}) if each.place == "zoom" else each
        for each in engine.lowerings
    )
    engine = engine.model_copy(update={"lowerings": lowerings})
    changed = Contender(bundles[0].folder)
    changed.manifest = first.model_copy(update={"engines": (engine,)})
    (note,) = lowering_notes([changed, bundles[1]])
    assert note.startswith("In fp32 the step zoom is lowered in different ways, gridsample in tiny")


def test_the_set_that_is_given_is_shown(tmp_path: Path) -> None:
    """Of an export as of finished bundles, and of the recipe where none is given."""
    recipe = tmp_path / "own.yaml"
    assert _shown(parse(["det"])) == "demo"
    assert _shown(parse(["det", "--dataset", "val.json"])) == "val.json"
    assert _shown(parse(["--bundles", "a"])) is None
    assert _shown(parse(["--bundles", "a", "--dataset", "val.json"])) == "val.json"
    settings = (Path(module.__file__).parents[3] / "lzu_export/recipes/det-demo.yaml").read_text()
    recipe.write_text(settings.replace("dataset: demo", "dataset: frames/val.json"))
    assert _shown(parse([str(recipe)])) == str(tmp_path / "frames" / "val.json")
    given = ["det", "--set", "evaluation.dataset=other"]
    assert _shown(parse(given)) == "other"
