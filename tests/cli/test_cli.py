"""The command line as a user and a script see it: stdout, stderr, exit status."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import yaml

from lzu_export.cli import app as cli
from lzu_export.manifest.schema import FILE, read_manifest
from lzu_export.support.files.hashes import sha256
from lzu_export.tasks.pytorch import noise_frame
from samples import status_of, write_sealed


@dataclass
class Done:
    """What a command came to."""

    status: int
    out: str
    err: str


Command = Callable[..., Done]

WITHOUT = """
import sys
blocked = sys.argv.pop(1).split(",")
for name in blocked:
    sys.modules[name] = None
from lzu_export.cli.app import main
main()
"""


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """`lzu-export` in this process."""

    def run(*arguments: Any) -> Done:
        capfd.readouterr()
        status = status_of(*arguments)
        captured = capfd.readouterr()
        return Done(status, captured.out, captured.err)

    return run


def without(packages: str, *arguments: Any) -> Done:
    """`lzu-export` on a machine that lacks packages."""
    command = [sys.executable, "-c", WITHOUT, packages, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def falsify(bundle: Path) -> None:
    """Change weights of the shipped engine and of its source graph, and the hashes with them."""
    data = json.loads((bundle / FILE).read_text())
    for name in ("model.fp32.onnx", "model.fp32.onnxruntime.onnx"):
        model = onnx.load(bundle / name)
        weight = next(
            t for t in model.graph.initializer if t.name.endswith("lateral_convs.1.conv.weight")
        )
        array = onnx.numpy_helper.to_array(weight) * np.float32(1.01)
        weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
        onnx.save(model, bundle / name)
        data["files"][name] = sha256(bundle / name)
    write_sealed(bundle, data)


def test_verify_passes(command: Command, tiny_bundle: Path) -> None:
    """Status 0, a verdict and a table on stdout, nothing on stderr."""
    done = command("verify", tiny_bundle)
    assert done.status == 0
    first = done.out.splitlines()[0]
    assert first == f"passed: {tiny_bundle.name} matches PyTorch in 1 engine"
    assert "unzoomed_2" in done.out
    assert "passed" in done.out
    assert done.err == ""


def test_verify_as_json(command: Command, tiny_bundle: Path) -> None:
    """Parses, and holds every probe point."""
    done = command("verify", tiny_bundle, "--json")
    (parity,) = json.loads(done.out)
    assert done.status == 0
    assert parity["status"] == "passed"
    assert next(iter(parity["probes"])) == "zoomed"
    assert set(parity["outputs"]) == {"boxes", "scores", "labels"}


def test_verify_names_the_first_probe_point_that_deviates(command: Command, bundle: Path) -> None:
    """The neck's second level was changed: all before it agrees. Status 1."""
    falsify(bundle)
    done = command("verify", bundle, "--json")
    assert done.status == 1
    (parity,) = json.loads(done.out)
    assert parity["status"] == "failed"
    assert parity["probes"]["zoomed"] < 1e-5
    first = next(name for name, value in parity["probes"].items() if value > 1e-4)
    assert first.startswith("level_")
    assert f"the first difference is at {first}, " in done.err
    assert "where 0.0001 is allowed" in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_verify_needs_no_torch(tiny_bundle: Path) -> None:
    """As on a device."""
    done = without("torch", "verify", tiny_bundle)
    assert done.status == 0, done.err
    assert "passed" in done.out


def test_verify_live(command: Command, tiny_bundle: Path, image: Path) -> None:
    """PyTorch's values of the moment."""
    done = command("verify", tiny_bundle, "--live", image, "--json")
    assert done.status == 0
    (parity,) = json.loads(done.out)
    assert parity["status"] == "passed"
    assert command("verify", tiny_bundle, "--live", image, "--batches", 0).status == 2
    done = command("verify", tiny_bundle, "--live", image, "--limit", 3)
    assert done.status == 2
    assert done.err == "error: --limit is called --batches now; give --batches 3\n"


def test_verify_live_without_torch_says_so(tiny_bundle: Path, image: Path) -> None:
    """In one sentence, with its extra in brackets."""
    done = without("torch", "verify", tiny_bundle, "--live", image)
    assert done.status == 2
    assert done.err.strip() == (
        "error: this needs the package torch; pip install 'lzu-export[export]'"
    )


def test_run_reports_on_stdout(command: Command, tiny_bundle: Path, image: Path) -> None:
    """A sentence, or JSON."""
    out = image.parent / "out"
    done = command("run", tiny_bundle, image, "--out", out)
    assert done.status == 0
    assert done.out.startswith("1 frames, ")
    assert str(out) in done.out
    done = command("run", tiny_bundle, image, "--out", out, "--json")
    counts = json.loads(done.out)
    assert counts["frames"] == 1
    assert counts["detections"] == len(json.loads((out / "results.json").read_text()))
    assert done.err == ""


def test_run_with_the_warp(command: Command, tiny_bundle: Path, image: Path) -> None:
    """And for frames of another size."""
    big = image.parent / "big.png"
    cv2.imwrite(str(big), noise_frame((192, 320), 0))
    out = image.parent / "out"
    done = command("run", tiny_bundle, big, "--resize", "--show-warp", "--out", out)
    assert done.status == 0
    assert cv2.imread(str(out / "big.png")).shape == (192, 644, 3)


def test_run_draws_what_is_asked_for(command: Command, tiny_bundle: Path, image: Path) -> None:
    """Results are the same."""
    results, pictures = [], []
    for lowest in (0, 1):
        out = image.parent / str(lowest)
        assert command("run", tiny_bundle, image, "--out", out, "--draw-above", lowest).status == 0
        results.append((out / "results.json").read_text())
        pictures.append(cv2.imread(str(out / "frame.png")))
    assert results[0] == results[1]
    np.testing.assert_array_equal(pictures[1], cv2.imread(str(image)))
    assert (pictures[0] != pictures[1]).any()


def test_run_needs_what_a_device_has(tiny_bundle: Path, image: Path) -> None:
    """Neither torch nor onnx nor what only builds."""
    out = image.parent / "out"
    absent = "torch,onnx,onnx_graphsurgeon,onnxscript"
    done = without(absent, "run", tiny_bundle, image, "--out", out)
    assert done.status == 0, done.err
    assert (out / "frame.png").is_file()
    done = without("onnxruntime", "run", tiny_bundle, image, "--out", out)
    assert done.status == 2
    # Its metadata is there: a plain install would find it satisfied.
    assert done.err.strip() == (
        "error: ONNX Runtime is not installed; pip install --force-reinstall --no-deps "
        f"onnxruntime=={version('onnxruntime')}"
    )


def test_inspect(command: Command, tiny_bundle: Path) -> None:
    """What matters on a page, all tables, or the manifest as JSON."""
    done = command("inspect", tiny_bundle)
    assert done.status == 0
    for word in ("Bundle", "onnxruntime fp32", "verified", "targets", "96x160 -> 48x80", "--all"):
        assert word in done.out
    assert len(done.out.splitlines()) <= 40
    assert "Engines" not in done.out
    done = command("inspect", tiny_bundle, "--all")
    for word in ("Bundle", "Engines", "Warps", "96x160 -> 48x80"):
        assert word in done.out
    done = command("inspect", tiny_bundle, "--json")
    assert json.loads(done.out) == json.loads(read_manifest(tiny_bundle).model_dump_json())


def test_inspect_needs_what_a_device_has(tiny_bundle: Path) -> None:
    """It only reads."""
    done = without("torch,onnx,onnx_graphsurgeon,onnxruntime", "inspect", tiny_bundle, "--all")
    assert done.status == 0, done.err
    assert "Engines" in done.out


def test_bench_is_the_harness_s(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which gets all arguments as they are, and may be absent."""
    from lzu_export.cli import installed

    asked: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(installed, "find_command", lambda name: asked.append)
        assert command("bench", "det", "--scale", "0.5 1", "--help").status == 0
    assert asked == [["det", "--scale", "0.5 1", "--help"]]
    monkeypatch.setattr(installed, "entry_points", lambda group: [])
    done = command("bench", "det")
    assert done.status == 2
    assert "bench needs the benchmark harness" in done.err


def test_recipes(command: Command) -> None:
    """One line each, or whole as JSON."""
    done = command("recipes")
    assert done.status == 0
    listed = [line.split()[0] for line in done.out.splitlines()]
    assert "det-demo" in listed
    whole = json.loads(command("recipes", "--json").out)
    assert [recipe["name"] for recipe in whole] == listed


def test_build(command: Command, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes on what was asked for and prints what came of it."""
    from lzu_export.compiler import build_rtx

    asked = []

    def fake(*arguments: Any) -> dict[str, str]:
        asked.append(arguments)
        return {"file": "x.engine", "precision": "int8", "version": "1.7", "for": "sm8.9"}

    monkeypatch.setattr(build_rtx, "build_rtx", fake)
    options = ("--compute-capability", "8.9", "--out", "x.engine", "--precision", "int8")
    done = command("build", tiny_bundle, *options)
    assert done.out.strip() == "x.engine: TensorRT-RTX 1.7 in int8, for sm8.9"
    assert json.loads(command("build", tiny_bundle, "--json").out)["file"] == "x.engine"
    assert asked == [
        (tiny_bundle, ["8.9"], Path("x.engine"), "int8"),
        (tiny_bundle, [], None, None),
    ]


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path) -> list[Any]:
    """Recipes that reach the pipeline, which does nothing here."""
    from lzu_export.compiler import pipeline

    reached: list[Any] = []

    def fake(recipes: Any, out: Path, **settings: Any) -> list[pipeline.Outcome]:
        reached.extend(recipes)
        return [pipeline.Outcome(tiny_bundle, read_manifest(tiny_bundle), "exported")]

    monkeypatch.setattr(pipeline, "export_all", fake)
    return reached


@pytest.fixture
def recipe_file(tiny_recipe: dict[str, Any], tmp_path: Path) -> Path:
    """The tiny recipe as a file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe))
    return path


def test_export_options_reach_the_recipe(
    command: Command, exported: list[Any], recipe_file: Path, tmp_path: Path
) -> None:
    """Every option, and --set for the rest; the result is on stdout, progress on stderr."""
    saliency = tmp_path / "other.npy"
    done = command(
        "export", recipe_file, "--variant", "uniform", "--scale", 0.25, "--target",
        "tensorrt-rtx onnxruntime", "--precision", "fp32", "--saliency", saliency,
        "--dataset", "demo", "--frames", 7, "--random-weights", 3, "--json",
        "--set", "lowering.zoom=banded", "--set", "model.octave_base_scale=3",
        "--set", "normalisation.mean=[1,2,3]",
    )  # fmt: skip
    assert done.status == 0, done.err
    (recipe,) = exported
    assert recipe.variant == "uniform"
    assert recipe.canvas == (24, 40)
    assert recipe.targets == ("tensorrt-rtx", "onnxruntime")
    assert recipe.warp.saliency == saliency
    assert (recipe.evaluation.dataset, recipe.evaluation.frames) == ("demo", 7)
    assert recipe.random_weights == 3
    assert recipe.lowering.zoom == "banded"
    assert recipe.model.octave_base_scale == 3
    assert recipe.normalisation.mean == (1, 2, 3)
    (outcome,) = json.loads(done.out)
    assert outcome["status"] == "exported"


def test_export_variants(command: Command, exported: list[Any], recipe_file: Path) -> None:
    """Both where nothing is said, else those that have weights, else those asked for."""

    def variants(*arguments: Any) -> list[str]:
        exported.clear()
        assert command("export", recipe_file, *arguments).status == 0
        return [recipe.variant for recipe in exported]

    assert variants() == ["fixed", "uniform"]
    assert variants("--variant", "uniform") == ["uniform"]
    assert variants("--variant", "uniform fixed") == ["uniform", "fixed"]
    assert variants("--set", "variant=uniform") == ["uniform"]
    assert variants("--set", "checkpoint.uniform=x.pth") == ["uniform"]
    assert variants("--set", "checkpoint.adaptive=x.pth") == ["adaptive"]
    two = ("--set", "checkpoint.adaptive=x.pth", "--set", "checkpoint.fixed=x.pth")
    assert variants(*two) == ["fixed"]
    assert variants("--checkpoint", "x.pth") == ["fixed"]
    assert exported[0].checkpoint == {"fixed": Path.cwd() / "x.pth"}
    assert variants("--checkpoint", "x.pth", "--variant", "uniform") == ["uniform"]
    assert exported[0].checkpoint == {"uniform": Path.cwd() / "x.pth"}
    done = command("export", recipe_file, "--checkpoint", "x.pth", "--variant", "fixed uniform")
    assert done.status == 2
    assert "belongs to one variant, but --variant lists fixed and uniform" in done.err


def test_export_says_what_is_next(
    command: Command, exported: list[Any], recipe_file: Path, tiny_bundle: Path
) -> None:
    """The two commands that a user wants, as lines for a shell."""
    done = command("export", recipe_file, "--variant", "fixed")
    assert len(exported) == 1
    assert done.out.splitlines()[-3:] == [
        "next:",
        f"  lzu-export run {tiny_bundle} SOURCE",
        f"  lzu-export verify {tiny_bundle}",
    ]


def test_random_weights_replace_a_recipes_checkpoints(
    command: Command, exported: list[Any]
) -> None:
    """Untrained means untrained."""
    assert command("export", "det", "--random-weights", 0, "--dataset", "none").status == 0
    assert [recipe.checkpoint for recipe in exported] == [{}, {}]
    assert exported[0].evaluation.dataset is None


def test_help_lists_the_commands(command: Command) -> None:
    """Each with its sentence."""
    done = command("--help")
    assert done.status == 0
    for name in ("export", "verify", "regress", "sensitivity", "run", "build", "inspect"):
        assert name in done.out


def test_output_may_be_cut_by_its_reader(tiny_bundle: Path) -> None:
    """As `head` does: no traceback."""
    code = f"lzu-export inspect {tiny_bundle} --json | head -c 20"
    program = Path(sys.executable).with_name("lzu-export")
    code = code.replace("lzu-export", str(program), 1)
    done = subprocess.run(code, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("{")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "where", "said"),
    [
        (["export", "det"], "lzu_export.recipes.load_recipe", "give the same command to go on"),
        (
            ["regress", "x", "--reference", "r.json"],
            "lzu_export.bundle.bundle.Bundle",
            "nothing was stored; give the same command to start again",
        ),
        (["inspect", "x"], "lzu_export.manifest.schema.read_manifest", "the same command again"),
    ],
)
def test_an_interruption_is_one_sentence(
    words: list[str],
    where: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, stop)
    monkeypatch.setattr("sys.argv", ["lzu-export", *words])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 130
    told = capsys.readouterr().err
    assert told.startswith("interrupted: ")
    assert told.rstrip().endswith(said)
    assert "Aborted" not in told
