"""Comparing a bundle with a stored earlier state of it."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError
from lzu_export.evaluation.content import Content
from lzu_export.evaluation.datasets import Sample
from lzu_export.manifest.comparison import ON_DEVICE
from lzu_export.manifest.schema import read_manifest
from lzu_export.recipes import Recipe
from lzu_export.runtime.predictor import CameraFrame, Predictor
from lzu_export.support import hardware
from lzu_export.support.ratio import Ratio
from lzu_export.tasks.pytorch import noise_frame
from lzu_export.verification import pace, regression
from lzu_export.verification.pace import LatencyState
from lzu_export.verification.parity import verify_engine
from lzu_export.verification.regression import (
    AccuracyState,
    State,
    compare_states,
    identity,
    measure_state,
    open_engines,
    read_state,
    write_state,
)
from samples import status_of, tiny_recipe

FP32, INT8 = "onnxruntime/fp32", "onnxruntime/int8"


class Few:
    """A data set of three frames whose metric AP is the number of detections."""

    name, note, metric = "few", "", "AP"
    classes = ("car", "sign")

    def __init__(self) -> None:
        self.found = 0

    def __len__(self) -> int:
        return 3

    def samples(self) -> Iterator[Sample]:
        for i in range(3):
            yield Sample(i, CameraFrame(noise_frame((96, 160), i)), None)

    def scorer(self) -> "Few":
        return Few()

    def add(self, sample: Sample, prediction: Any) -> None:
        self.found += len(prediction)

    def summary(self) -> dict[str, float]:
        return {"AP": float(self.found), "AP_large": float("nan")}


CONTENT = Content(truth="t", frames="f", mean=100.0, deviation=50.0)


def surely(value: float) -> Ratio:
    """Return a ratio whose interval reaches only 0.5 % to either side of `value`."""
    return Ratio(value=value, low=value / 1.005, high=value * 1.005, rounds=16)


def latency(ms: float = 10.0, over: float = 1.1, **changes: Any) -> LatencyState:
    data: dict[str, Any] = {
        "machine": "m",
        "key": "k",
        "milliseconds": {FP32: surely(ms)},
        "ratios": {f"{FP32} over uniform 0.5x": surely(over)},
    }
    return LatencyState.model_validate({**data, **changes})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "STRETCHES", 1)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return tiny_recipe(tmp_path)


def state(recipe: Recipe, **changes: Any) -> State:
    data: dict[str, Any] = {
        "bundle": identity(recipe),
        "fingerprint": "f",
        "created": "now",
        "source_revision": "r",
        "versions": {},
        "parity": {FP32: {"zoomed": 1e-7, "level_0": 5e-6}, INT8: {"zoomed": 20.0}},
        "accuracy": AccuracyState(
            dataset="few",
            frames=3,
            content=CONTENT,
            metric="AP",
            engines={FP32: {"AP": 40.0}, INT8: {"AP": 39.5}},
        ),
        "latency": latency(),
    }
    return State.model_validate({**data, **changes})


def statuses(now: State, then: State, recipe: Recipe) -> dict[str, str]:
    """Return the status of every check that did not pass, by engine and name."""
    checks = compare_states(now, then, recipe)
    return {f"{c.engine} {c.name}": c.status for c in checks if c.status != "passed"}


def test_the_same_again_holds(recipe: Recipe) -> None:
    checks = compare_states(state(recipe), state(recipe), recipe)
    assert len(checks) == 2 + 3 + 1 + 1
    assert {check.status for check in checks} == {"passed"}


@pytest.mark.parametrize(
    ("engine", "value", "failed"),
    [
        (FP32, 39.95, False), (FP32, 39.85, True), (FP32, 60.0, False),
        (INT8, 38.6, False), (INT8, 38.4, True), (FP32, float("nan"), True),
    ],
)  # fmt: skip
def test_accuracy_may_be_lost_within_the_precision_s_limit(
    recipe: Recipe, engine: str, value: float, failed: bool
) -> None:
    then = state(recipe)
    assert then.accuracy is not None
    engines = {**then.accuracy.engines, engine: {"AP": value}}
    now = state(recipe, accuracy=then.accuracy.model_copy(update={"engines": engines}))
    assert statuses(now, then, recipe) == ({f"{engine} AP": "failed"} if failed else {})


def test_an_engine_on_its_device_is_held_where_it_runs(recipe: Recipe) -> None:
    """FP32 is checked by differences, INT8 by ratios; without the device both are skipped."""
    there = {f"{FP32}{ON_DEVICE}": {"boxes": 1e-6}, f"{INT8}{ON_DEVICE}": {"scores": 30.0}}
    then = state(recipe, parity=there)
    assert statuses(then, then, recipe) == {}
    worse = {f"{FP32}{ON_DEVICE}": {"boxes": 1e-4}, f"{INT8}{ON_DEVICE}": {"scores": 20.0}}
    assert statuses(state(recipe, parity=worse), then, recipe) == {
        f"{FP32} on device deviation of boxes, kept": "failed",
        f"{INT8} on device signal-to-noise ratio of scores, kept": "failed",
    }
    elsewhere = statuses(state(recipe), then, recipe)
    assert elsewhere == {f"{each} deviation, kept": "skipped" for each in there}


def test_accuracy_of_other_frames_is_no_comparison(recipe: Recipe) -> None:
    then = state(recipe)
    assert then.accuracy is not None
    now = state(recipe, accuracy=then.accuracy.model_copy(update={"frames": 4}))
    with pytest.raises(LzuError, match="scored on 3 frames of few but the bundle on 4 of few"):
        compare_states(now, then, recipe)
    skipped = statuses(state(recipe, accuracy=None), then, recipe)
    assert skipped == {f"{FP32} AP": "skipped", f"{INT8} AP": "skipped"}
    assert statuses(now, state(recipe, accuracy=None), recipe) == {}


@pytest.mark.parametrize(
    ("parity", "failed"),
    [
        ({FP32: {"zoomed": 9e-7, "level_0": 4.9e-5}, INT8: {"zoomed": 17.1}}, []),
        ({FP32: {"zoomed": 9e-7, "level_0": 5.1e-5}, INT8: {"zoomed": 20.0}}, ["level_0"]),
        ({FP32: {"zoomed": 2e-6, "level_0": 5e-6}, INT8: {"zoomed": 16.9}}, ["zoomed", "zoomed"]),
        ({FP32: {"zoomed": 1e-7, "level_0": 5e-6}}, ["zoomed"]),  # the engine is gone
    ],
)
def test_deviation_may_grow_within_limits(
    recipe: Recipe, parity: dict[str, Any], failed: list[str]
) -> None:
    both = recipe.model_copy(update={"precision": ("fp32", "int8")})
    found = statuses(state(recipe, parity=parity), state(recipe), both)
    assert set(found.values()) <= {"failed"}
    assert [name.split(" of ")[1].split(",")[0] for name in found] == failed


def test_ratios_are_held_everywhere_and_times_on_one_machine(recipe: Recipe) -> None:
    then = state(recipe)
    ratio, time = f"{FP32} latency over uniform 0.5x", f"{FP32} latency on one machine"
    slow = latency(11.0, 1.2)
    assert statuses(state(recipe, latency=slow), then, recipe) == {ratio: "failed", time: "failed"}
    for other in ({"machine": "another"}, {"key": "another"}, {"key": None}):
        found = statuses(state(recipe, latency=latency(11.0, 1.2, **other)), then, recipe)
        assert found == {time: "skipped"}  # a tenth is within what processors differ by
        found = statuses(state(recipe, latency=latency(11.0, 1.4, **other)), then, recipe)
        assert found == {ratio: "failed", time: "skipped"}
    doubtful = latency(20.0, 1.1, doubts=("other processes kept 1.9 processors busy",))
    assert statuses(state(recipe, latency=doubtful), then, recipe) == {time: "skipped"}


def test_the_recipe_s_limits_count(tmp_path: Path) -> None:
    loose = tiny_recipe(tmp_path, tolerances={"regression": {"latency": 2.0}})
    found = statuses(state(loose, latency=latency(19.0, 2.1)), state(loose), loose)
    assert found == {}


def test_a_metric_that_is_no_number_is_no_state(recipe: Recipe, tmp_path: Path) -> None:
    """NaN is neither stored nor passed, whatever the reference holds."""
    nothing = {FP32: {"AP": float("nan")}, INT8: {"AP": 39.5}}
    accuracy = state(recipe).accuracy
    assert accuracy is not None
    none = state(recipe, accuracy=accuracy.model_copy(update={"engines": nothing}))
    assert statuses(none, none, recipe) == {f"{FP32} AP": "failed"}
    assert statuses(none, state(recipe), recipe) == {f"{FP32} AP": "failed"}
    with pytest.raises(LzuError, match="AP of onnxruntime/fp32 is not a number on few, so that"):
        write_state(tmp_path / "r.json", none)
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"truth": "u"}, "a few of other truth"),
        ({"frames": "g", "mean": 103.0}, "a few of other frames"),
        ({"frames": "g", "deviation": 51.0}, "a few of other frames"),
        ({"frames": "g", "mean": 100.004}, ""),  # another decoder's rounding
    ],
)
def test_data_of_one_name_are_told_apart(
    recipe: Recipe, changes: dict[str, Any], said: str
) -> None:
    accuracy = state(recipe).accuracy
    assert accuracy is not None
    content = CONTENT.model_copy(update=changes)
    now = state(recipe, accuracy=accuracy.model_copy(update={"content": content}))
    if not said:
        assert statuses(now, state(recipe), recipe) == {}
        return
    with pytest.raises(LzuError, match=f"{said}: its content differs"):
        compare_states(now, state(recipe), recipe)


def test_a_baseline_is_not_dropped(recipe: Recipe) -> None:
    then = state(recipe, baseline="tiny uniform")
    with pytest.raises(LzuError, match="against the baseline tiny uniform, but none was given"):
        compare_states(state(recipe), then, recipe)
    with pytest.raises(LzuError, match="tiny uniform, but this one is tiny fovea; give --baseline"):
        compare_states(state(recipe, baseline="tiny fovea"), then, recipe)
    assert statuses(then, then, recipe) == {}
    assert statuses(then, state(recipe), recipe) == {}


def test_engines_that_the_bundle_was_not_exported_for_are_left_out(recipe: Recipe) -> None:
    """There is one check an engine; engines that the bundle was exported for must be present."""
    rtx = {"tensorrt-rtx/fp32": {"zoomed": 1e-7, "level_0": 1e-7}}
    then = state(recipe, parity={**state(recipe).parity, **rtx})
    assert statuses(state(recipe), then, recipe) == {"tensorrt-rtx/fp32 deviation, kept": "skipped"}
    (check,) = [c for c in compare_states(state(recipe), then, recipe) if "rtx" in c.engine]
    assert check.message == "the bundle was not exported for tensorrt-rtx in fp32"
    there = recipe.model_copy(update={"targets": ("onnxruntime", "tensorrt-rtx")})
    found = statuses(state(recipe), then, there)
    assert set(found.values()) == {"failed"}
    assert len(found) == 2


def test_another_lowering_rounds_otherwise(recipe: Recipe) -> None:
    """GridSample deviates a hundred times as much as a matrix product, and both are right."""
    then = state(recipe, lowerings={FP32: {"zoom": "banded", "unzoomed_0": "matmul"}})
    lowered = {FP32: {"zoom": "gridsample", "unzoomed_0": "matmul"}}
    parity = {**state(recipe).parity, FP32: {"zoomed": 1.3e-5, "level_0": 5e-6}}
    now = state(recipe, lowerings=lowered, parity=parity)
    assert statuses(now, then, recipe) == {f"{FP32} deviation, kept": "skipped"}
    (check,) = [c for c in compare_states(now, then, recipe) if c.name == "deviation, kept"]
    assert "(zoom gridsample, was banded)" in check.message
    same = state(recipe, lowerings=then.lowerings, parity=parity)
    assert statuses(same, then, recipe) == {f"{FP32} deviation of zoomed, kept": "failed"}


def test_another_bundle_s_reference_is_refused(recipe: Recipe) -> None:
    with pytest.raises(LzuError, match="recorded for else, but this bundle is tiny fixed"):
        compare_states(state(recipe), state(recipe, bundle="else"), recipe)


def test_another_provider_s_reference_is_refused(recipe: Recipe, tiny_bundle: Path) -> None:
    """Another provider means another device's times and another implementation's deviations."""
    with pytest.raises(LzuError, match="provider cuda, not cpu; give --provider cuda"):
        compare_states(state(recipe), state(recipe, provider="cuda"), recipe)
    with pytest.raises(LzuError, match="does not run on NoSuchProvider"):
        open_engines(Bundle(tiny_bundle), "NoSuchProvider")


def test_a_state_is_stored_and_read(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "references" / "tiny.json"
    with pytest.raises(LzuError, match="does not exist; make it with --update"):
        read_state(path)
    write_state(path, state(recipe))
    assert read_state(path) == state(recipe)
    path.write_text(path.read_text().replace('"format": 3', '"format": 9'))
    with pytest.raises(LzuError, match="has format 9 but this version reads 2 and 3"):
        read_state(path)
    write_state(path, state(recipe))
    former = path.read_text().replace('"format": 3', '"format": 2').replace('"parity"', '"drift"')
    path.write_text(former)
    assert read_state(path).parity == state(recipe).parity
    path.write_text("{}x")
    with pytest.raises(LzuError, match="is damaged"):
        read_state(path)


def test_a_bundle_is_measured(tiny_bundle: Path) -> None:
    opened = open_engines(Bundle(tiny_bundle))
    manifest = opened.bundle.manifest
    parity = verify_engine(Bundle(tiny_bundle, manifest), manifest.engines[0])
    found = measure_state(opened, [parity], Few(), baseline=open_engines(Bundle(tiny_bundle)))
    assert found.parity == {FP32: {**parity.probes, **parity.outputs}}
    assert found.accuracy is not None
    assert found.accuracy.engines[FP32]["AP"] > 0
    assert found.latency is not None
    assert found.latency.machine == hardware.identity()
    (ratio,) = found.latency.ratios.values()
    assert list(found.latency.ratios) == [f"{FP32} over {manifest.recipe.label}"]
    assert ratio.low <= ratio.value <= ratio.high
    assert found.baseline == identity(manifest.recipe)
    assert found.lowerings[FP32]["zoom"]
    again = State.model_validate_json(found.model_dump_json())
    assert again.bundle == identity(manifest.recipe)
    without = measure_state(opened, [parity], None)
    assert without.accuracy is None
    assert without.latency is not None


def test_an_engine_is_one_predictor_and_is_closed(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One predictor is scored and timed; a second one would disturb a stateful session."""
    opened = open_engines(Bundle(tiny_bundle))
    assert list(opened.as_shipped) == [FP32]
    assert opened.emulated == {}
    closed: list[Predictor] = []

    def close(predictor: Predictor) -> None:
        closed.append(predictor)

    monkeypatch.setattr(Predictor, "close", close)
    opened.close()
    assert opened.as_shipped[FP32] in closed


def test_frames_of_three_dimensions_get_a_camera(tiny_det3d_bundle: Path) -> None:
    opened = open_engines(Bundle(tiny_det3d_bundle))
    found = measure_state(opened, [], None).latency
    assert found is not None
    assert found.milliseconds[FP32].value > 0


def run(*arguments: Any) -> int:
    command = "regress" if "--reference" in arguments else "verify"
    return status_of(command, *arguments)


def test_the_command_and_its_exit_statuses(
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reference, report = tmp_path / "reference.json", tmp_path / "junit.xml"
    options = (tiny_bundle, "--reference", reference)
    whole, figures = regression.measure_latency, []

    def the_first(*engines: Any, **more: Any) -> LatencyState | None:
        """Every time is taken, but a busy machine's second is not this command's regression."""
        figures.append(whole(*engines, **more))
        return figures[0]

    monkeypatch.setattr(regression, "measure_latency", the_first)
    assert run(*options) == 2  # there is none yet
    assert "make it with --update" in capsys.readouterr().err.replace("\n", " ")
    assert run(*options, "--update") == 0
    assert run(*options, "--junit", report) == 0
    assert "latency on one machine" in report.read_text()
    strict = json.loads(reference.read_text())
    strict["accuracy"] = None
    probes = strict["parity"][FP32]
    probes["missing"] = probes["zoomed"]
    reference.write_text(json.dumps(strict))
    capsys.readouterr()
    assert run(*options, "--json") == 3
    found = capsys.readouterr()
    assert [c["status"] for c in json.loads(found.out)["checks"]].count("failed") == 1
    page = tiny_bundle.with_name(f"{tiny_bundle.name}.regression.html").read_text()
    assert "Regressed: 1 of" in page
    assert run(*options, "--out", tiny_bundle / "page.html") == 2
    assert "lies in the bundle" in capsys.readouterr().err.replace("\n", " ")
    assert "lost against" in found.err
    assert run(tiny_bundle, "--junit", report) == 0
    assert "latency" not in report.read_text()
    assert run(*options, "--provider", "NoSuchProvider") == 2
    assert "does not run on NoSuchProvider" in capsys.readouterr().err.replace("\n", " ")
    assert run(tiny_bundle, "--update") == 2
    assert "--update belongs to lzu-export regress BUNDLE" in capsys.readouterr().err
    assert len(figures) == 3  # stored, held, and held against what was made strict


def test_the_former_spelling_is_still_taken(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts of earlier releases give the stored state to `verify`."""
    reference = tmp_path / "reference.json"
    options = ("--reference", reference, "--update", "--frames", 1, "--dataset", "none")
    assert status_of("verify", tiny_bundle, *options, "--json") == 0
    found = capsys.readouterr()
    assert found.err.splitlines()[0] == (
        "note: verify --reference is lzu-export regress --reference now; the old way still works"
    )
    old = json.loads(reference.read_text())
    assert set(json.loads(found.out)) == {"parity", "checks"}
    assert status_of("regress", tiny_bundle, *options) == 0
    assert "note:" not in capsys.readouterr().err
    assert json.loads(reference.read_text())["parity"] == old["parity"]


def test_junit_is_written_whatever_the_status(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be run is an error in the file, beside the checks that were made."""
    report, reference = tmp_path / "new" / "lzu.xml", tmp_path / "reference.json"

    def errors(*arguments: Any) -> tuple[int, list[str], int]:
        report.unlink(missing_ok=True)
        status = run(*arguments, "--junit", report)
        root = ET.parse(report).getroot()
        said = [str(case.get("message")) for case in root.iter("error")]
        assert root.get("errors") == str(len(said))
        return status, said, int(str(root.get("tests")))

    status, (said,), tests = errors(tiny_bundle, "--reference", reference)
    assert (status, "make it with --update" in said) == (2, True)
    assert tests > 5
    status, (said,), tests = errors(tmp_path / "gone")
    assert (status, tests) == (2, 1)
    assert "is no bundle" in said
    assert errors(tiny_bundle, "--update")[:2] == (
        2,
        [
            "--update belongs to lzu-export regress BUNDLE --reference FILE; use that, or leave it "
            "out"
        ],
    )
    assert errors(tiny_bundle)[:2] == (0, [])
    for error, code, reason in (
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError("odd"), 70, "odd"),
    ):

        def stop(*_: Any, raised: BaseException = error) -> None:
            raise raised

        monkeypatch.setattr("lzu_export.verification.parity.verify_all", stop)
        assert errors(tiny_bundle) == (code, [reason], 1)


def test_another_baseline_is_refused_before_anything_is_measured(
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reference = tmp_path / "reference.json"
    options = (tiny_bundle, "--reference", reference)
    assert run(*options, "--update", "--baseline", tiny_bundle) == 0
    assert run(*options, "--baseline", tiny_bundle) in (0, 3)
    capsys.readouterr()
    monkeypatch.setattr("lzu_export.verification.regression.measure_state", None)
    assert run(*options) == 2
    assert "but none was given; give --baseline BUNDLE" in capsys.readouterr().err


def test_deviation_goes_before_regression(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle that deviates from PyTorch is not timed and not stored as a reference."""
    from lzu_export.verification import parity as verify

    right = verify.verify_engine

    def failing(*arguments: Any, **options: Any) -> Any:
        parity = right(*arguments, **options)
        return parity.model_copy(update={"probes": {**parity.probes, "level_0": np.inf}})

    monkeypatch.setattr(verify, "verify_engine", failing)
    reference = tmp_path / "reference.json"
    assert run(tiny_bundle, "--reference", reference, "--update") == 1
    assert not reference.exists()


def test_the_manifest_s_recipe_has_the_limits(tiny_bundle: Path) -> None:
    """Bundles from before these limits existed get the default ones."""
    limits = read_manifest(tiny_bundle).recipe.tolerances.regression
    assert (limits.deviation, limits.snr) == (10, 3)
    assert (limits.latency, limits.latency_elsewhere) == (1.05, 1.2)
