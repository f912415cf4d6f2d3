"""What the command line prints: every number where it belongs, readable at 80 columns."""

import io
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Group, RenderableType
from rich.text import Text

from lzu_export.cli.tables.doctor import doctor_tables
from lzu_export.cli.tables.export import export_table
from lzu_export.cli.tables.inspect import inspect_tables
from lzu_export.cli.tables.verify import check_table, parity_table, verdict
from lzu_export.compiler.pipeline import Outcome
from lzu_export.doctor import Ability, Examination, Finding
from lzu_export.manifest.resampled import Resampled
from lzu_export.manifest.schema import (
    Accuracy,
    Comparison,
    Latency,
    Manifest,
    Parity,
    Stream,
    read_manifest,
)
from lzu_export.support.console import Terminal
from lzu_export.support.ratio import Ratio
from lzu_export.verification.checks import Check


def text(table: RenderableType, width: int = 80) -> str:
    console = Terminal(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


def painted(shown: RenderableType, colour: str) -> list[str]:
    """The words of a colour."""
    if isinstance(shown, Group):
        return [word for each in shown.renderables for word in painted(each, colour)]
    assert isinstance(shown, Text)
    return [shown.plain[each.start : each.end] for each in shown.spans if each.style == colour]


@pytest.fixture
def manifest(tiny_bundle: Path) -> Manifest:
    """The tiny bundle's, with figures of its own choice."""
    return read_manifest(tiny_bundle).model_copy(
        update={
            "accuracy": Accuracy(
                dataset="streets",
                note="small below 16x16",
                metric="AP",
                frames=12,
                pytorch={"AP": 31.256, "AP_large": math.nan},
                engines={"onnxruntime/fp32": {"AP": 31.249, "AP_large": math.nan}},
                limits={"fp32": 0.1},
            ),
            "latency": Latency(
                machine="a machine",
                threads=2,
                runs=5,
                pytorch=71.26,
                engines={"onnxruntime/fp32": 33.34},
            ),
        }
    )


def parity(**changes: Any) -> Parity:
    data = {"target": "onnxruntime", "precision": "fp32", "status": "passed", "limit": 1e-4}
    return Parity.model_validate({**data, **changes})


def test_an_export_is_pytorch_and_one_row_an_engine(manifest: Manifest, tiny_bundle: Path) -> None:
    """With accuracies, latencies, the file's size and the largest deviation."""
    found = text(export_table([Outcome(tiny_bundle, manifest, "exported")]))
    (row,) = (line for line in found.splitlines() if "PyTorch" in line and "dev:" not in line)
    for value in ("31.26", "71.3"):
        assert value in row
    assert tiny_bundle.name in found.splitlines()
    (row,) = (line for line in found.splitlines() if "onnxruntime fp32" in line)
    size = f"{manifest.engines[0].bytes / 1e6:.1f}"
    for value in ("31.25", "33.3", size, "verified"):
        assert value in row
    largest = max([*manifest.parity[0].probes.values(), *manifest.parity[0].outputs.values()])
    assert f"{largest:.1e}" in row
    assert "12 frames of streets" in found
    assert "a machine" in found
    assert "…" not in found


LONG = "a-recipe-of-ours-with-a-name-that-no-column-was-ever-made-for-adaptive-0.25x"


@pytest.mark.parametrize("name", ["uniform-0.75x", "argoverse-hd-uniform-0.25x", LONG])
def test_both_targets_fit_80_columns(name: str, manifest: Manifest, tmp_path: Path) -> None:
    """Names stay whole; nothing is cut off."""
    (engine,), (ran,) = manifest.engines, manifest.parity
    rtx = {"target": "tensorrt-rtx"}
    int8 = {**rtx, "precision": "int8"}
    low = {**int8, "status": "graph passed", "limit": None, "snr": {"a": 31.4}, "snr_limit": 8.0}
    whole = manifest.model_copy(
        update={
            "precision": ("fp32", "int8"),
            "engines": tuple(engine.model_copy(update=each) for each in ({}, rtx, int8)),
            "parity": (
                ran,
                ran.model_copy(update={**rtx, "status": "graph passed"}),
                ran.model_copy(update=low),
            ),
        }
    )
    found = text(export_table([Outcome(tmp_path / name, whole, "exported")]))
    assert "…" not in found
    assert max(map(len, found.splitlines())) <= 80
    assert "tensorrt-rtx fp32" in found
    assert name in found.splitlines()
    (row,) = (line for line in found.splitlines() if "tensorrt-rtx int8 " in line)
    assert "31 dB" in row
    assert "graph ok" in row
    assert "requested by the graph" in found


def test_streams_of_several_bundles_are_told_apart(manifest: Manifest, tmp_path: Path) -> None:
    stream = Stream(
        engine="onnxruntime/fp32", frames=12, boxes=0.01, scores=1e-5, unequal=(), parted=(7,)
    )
    assert manifest.accuracy is not None
    accuracy = manifest.accuracy.model_copy(update={"stream": stream})
    watched = manifest.model_copy(update={"accuracy": accuracy})
    names = ["argoverse-hd-adaptive-0.25x", "argoverse-hd-fovea-0.25x"]
    found = text(export_table([Outcome(tmp_path / name, watched, "exported") for name in names]))
    for name in names:
        assert f"{name}, onnxruntime fp32 against PyTorch over sequences" in found
    assert found.count("1 of 12 differ, frame 7 first") == 2


def test_an_export_without_figures_has_dashes(manifest: Manifest, tiny_bundle: Path) -> None:
    """An engine that did not run here, without evaluation."""
    waiting = parity(target="tensorrt-rtx", status="not run", note="awaits a card")
    (engine,) = manifest.engines
    built = manifest.model_copy(
        update={
            "accuracy": None,
            "latency": None,
            "engines": (engine.model_copy(update={"target": "tensorrt-rtx"}),),
            "parity": (waiting,),
        }
    )
    found = text(export_table([Outcome(tiny_bundle, built, "exported")]))
    (row,) = (line for line in found.splitlines() if "tensorrt-rtx fp32" in line)
    assert row.split().count("-") == 3  # latency, build time, deviation
    assert "AP" not in found
    assert "verified" not in row
    assert "awaits a card" in " ".join(found.split())


def test_deviation_is_one_row_a_probe_point() -> None:
    """One column an engine; a dash for one that did not run."""
    ran = parity(probes={"zoomed": 0.0, "level_0": 2.5e-6}, outputs={"boxes": 1e-6})
    waiting = parity(target="tensorrt-rtx", status="not run", note="awaits a card")
    for order in ([ran, waiting], [waiting, ran]):
        lines = text(parity_table(order)).splitlines()
        (row,) = (line for line in lines if "level_0" in line)
        assert sorted(row.split()) == ["-", "2.5e-06", "level_0"]
        (row,) = (line for line in lines if "status" in line)
        assert "passed" in row
        assert "not run" in row
        assert any("awaits a card" in line for line in lines)


def test_deviation_of_nothing_that_ran() -> None:
    """Only the status."""
    found = text(parity_table([parity(status="not run", note="awaits a card")]))
    assert "not run" in found


def test_deviation_beyond_the_limit_is_red() -> None:
    """And so is one that is infinite."""
    table = parity_table([parity(probes={"a": 1e-5, "b": 2e-4, "c": math.inf}, status="failed")])
    assert "1.0e-05" in text(table)
    assert painted(table, "red") == ["2.0e-04", "inf", "failed"]
    assert painted(table, "green") == []


def test_lower_precisions_show_their_signal_to_noise_ratio() -> None:
    """And in red what is below the limit."""
    low = parity(
        precision="int8",
        probes={"a": 0.3, "b": 0.4},
        snr={"a": 20.0, "b": 3.0},
        limit=None,
        snr_limit=8.0,
    )
    table = parity_table([parity(probes={"a": 1e-5}), low])
    rows = {line.split()[0]: line.split()[1:] for line in text(table).splitlines() if line.split()}
    assert (rows["a"], rows["b"]) == (["1.0e-05", "20.0"], ["-", "3.0"])
    assert painted(table, "red") == ["3.0"]
    assert rows["limit"] == ["0.0001", "8"]


def test_inspection_shows_all_parts(manifest: Manifest) -> None:
    """Sizes, classes, engines with their tensors, lowerings with their reasons, deviation."""
    found = " ".join(" ".join(text(table, 200) for table in inspect_tables(manifest)).split())
    for value in (
        "96x160 -> 48x80",
        "car, sign",
        "random_weights 0",
        "frame uint8 [1, 96, 160, 3]",
        "boxes float32 [1, 300, 4]",
        "unzoomed_2",
        "measured with ",
        "passed",
    ):
        assert value in found


def test_brackets_are_no_markup(manifest: Manifest, tiny_bundle: Path) -> None:
    """Names are shown as they are."""
    recipe = manifest.recipe.model_copy(update={"classes": ("[red]car", "[/]")})
    odd = manifest.model_copy(update={"recipe": recipe, "name": "[bold]tiny"})
    found = "".join(map(text, inspect_tables(odd)))
    assert "[red]car, [/]" in found
    assert "[bold]tiny" in found
    folder = tiny_bundle.parent / "[red]x"
    assert "[red]x" in text(export_table([Outcome(folder, odd, "exported")]))


def compared(manifest: Manifest, name: str, base: str | None, created: str = "noon") -> Manifest:
    ratio = Ratio(value=1.013, low=0.99, high=1.034, rounds=9)
    comparison = Comparison(
        created=created,
        machine="a machine",
        bundles=("fixed", "uniform"),
        rounds=9,
        milliseconds={"onnxruntime/fp32": 47.16 if base else 46.55},
        base=base,
        ratios={"onnxruntime/fp32": ratio} if base else {},
        unsteady=("onnxruntime/fp32",) if base else (),
    )
    assert manifest.accuracy is not None
    score = {"AP": 35.659 if base else 31.249}
    accuracy = manifest.accuracy.model_copy(update={"engines": {"onnxruntime/fp32": score}})
    return manifest.model_copy(update={"comparison": comparison, "accuracy": accuracy})


def test_variants_of_one_command_are_compared(manifest: Manifest, tmp_path: Path) -> None:
    """By the times of common turns; the last line says what the warp gains and costs."""
    pairs = (("fixed-0.5x", "uniform-0.5x"), ("uniform-0.5x", None))
    outcomes = [
        Outcome(tmp_path / name, compared(manifest, name, base), "exported") for name, base in pairs
    ]
    lines = text(export_table(outcomes)).splitlines()
    found = " ".join(" ".join(lines).split())
    assert found.endswith(
        " fixed-0.5x against uniform-0.5x, fp32: +4.41 AP (no interval), 1.01 times the time "
        "[0.99, 1.03]"
    )
    fixed, uniform = (line.split() for line in lines if line.startswith("  onnxruntime fp32 "))
    assert lines.index("fixed-0.5x") < lines.index("uniform-0.5x")
    assert fixed[3:5] == ["47.2", "1.01"]
    assert uniform[3:5] == ["46.5", "-"]
    assert "33.3" not in found  # what each took in its own export, apart from the other
    assert "PyTorch's time over ONNX Runtime's, in turns of each export: 2.14 in fixed" in found
    assert "doubtful: fixed-0.5x fp32 changed meanwhile" in found
    assert "stored" not in found
    assert max(map(len, lines)) <= 80
    again = [Outcome(each.folder, each.manifest, "up to date") for each in outcomes]
    assert "stored: nothing was exported now" in " ".join(text(export_table(again)).split())


def test_times_of_different_turns_are_not_compared(manifest: Manifest, tmp_path: Path) -> None:
    outcomes = [
        Outcome(tmp_path / name, compared(manifest, name, base, created), "exported")
        for name, base, created in (("fixed", "uniform", "noon"), ("uniform", None, "night"))
    ]
    found = text(export_table(outcomes), 200)
    assert "against uniform" not in found
    assert "47.2" not in found


def test_a_part_of_the_frames_is_said_to_be_one_beside_its_interval(
    manifest: Manifest, tmp_path: Path
) -> None:
    """The number of sequences, too, on which the interval depends most."""
    assert manifest.accuracy is not None
    drawn = Resampled(unit="sequences", groups=64, values=tuple(range(30, 33)) * 100)
    accuracy = manifest.accuracy.model_copy(update={"resampled": {"onnxruntime/fp32": drawn}})
    whole = manifest.model_copy(update={"accuracy": accuracy})
    found = text(export_table([Outcome(tmp_path / "fixed-0.5x", whole, "exported")]))
    assert "  fixed-0.5x fp32: [30.00, 32.00] over 64 sequences" in found
    assert "evenly spread" not in found
    evaluation = manifest.recipe.evaluation.model_copy(update={"export_frames": 12})
    recipe = manifest.recipe.model_copy(update={"evaluation": evaluation})
    part = whole.model_copy(update={"recipe": recipe})
    found = text(export_table([Outcome(tmp_path / "fixed-0.5x", part, "exported")]))
    assert "  evenly spread; lzu-export bench scores the engines on all frames" in found


def test_points_on_other_frames_are_not_subtracted(manifest: Manifest, tmp_path: Path) -> None:
    fixed, uniform = (compared(manifest, "x", base) for base in ("uniform", None))
    assert uniform.accuracy is not None
    fewer = uniform.accuracy.model_copy(update={"frames": 4})
    uniform = uniform.model_copy(update={"accuracy": fewer})
    outcomes = [
        Outcome(tmp_path / name, each, "exported")
        for name, each in (("fixed", fixed), ("uniform", uniform))
    ]
    last = text(export_table(outcomes), 200).rstrip().splitlines()[-1]
    assert last.rstrip() == "fixed against uniform, fp32: 1.01 times the time [0.99, 1.03]"


def test_what_matters_comes_first_in_a_page(manifest: Manifest) -> None:
    """Accuracy, latency, status and targets, in 40 lines whatever the bundle holds."""
    (engine,) = manifest.engines
    many = [engine.model_copy(update={"precision": f"fp{i}"}) for i in range(40)]
    classes = tuple(f"class-with-a-long-name-{i}" for i in range(80))
    recipe = manifest.recipe.model_copy(update={"classes": classes})
    whole = manifest.model_copy(update={"engines": (engine, *many), "recipe": recipe})
    for each in (manifest, whole):
        lines = "".join(map(text, inspect_tables(each, everything=False))).splitlines()
        assert len(lines) <= 40
        assert max(map(len, lines)) <= 80
        head = "\n".join(lines[:24])
        for value in ("31.25", "33.3", "verified", "onnxruntime (fp32", "points on 12 frames"):
            assert value in head
    assert "and 25 more (--all)" in "\n".join(lines)
    assert "and 74 more" in " ".join(" ".join(lines).split())


def many_engines(name: str) -> list[Parity]:
    probes = {name: 1e-5, "level_0": 2e-5}
    ratios = {name: 20.0, "level_0": 30.0}
    low = {"limit": None, "snr_limit": 8.0, "snr": ratios}
    targets = ("onnxruntime", "tensorrt-rtx", "tensorrt", "a-target-of-somebody-else")
    return [
        parity(target=target, precision=precision, probes=probes, **(low if precision else {}))
        for target in targets
        for precision in ("fp32", "fp16", "bf16", "int8")
    ]


@pytest.mark.parametrize("name", ["zoomed", "a_part_of_somebody_s_network." * 3])
def test_no_table_breaks_a_name_at_80_columns(name: str) -> None:
    """However many engines there are, and whatever probe points, checks and packages are called."""
    engine = f"onnxruntime/{name}"
    checks = [
        Check(engine, f"deviation of {name}", "failed", f"is {name} where {name} is allowed"),
        Check("onnxruntime/fp32", "latency", "skipped", "another machine " * 9),
    ]
    findings = (
        Finding(name, False, "not installed " * 9, "get it", looked=(f"/{name}",)),
        Finding("cuda", True, "13.0", notes=("a known defect " * 9,)),
    )
    found = Examination([*findings], [Ability(name, build=(name,), run=())])
    for table in (parity_table(many_engines(name)), check_table(checks), doctor_tables(found)):
        console = Terminal(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        console.print(table, soft_wrap=True)
        lines = console.export_text().splitlines()
        assert "…" not in "".join(lines)
        assert any(name in line for line in lines)
        for line in lines:
            assert len(line) <= 80 or name in line
    if name == "zoomed":
        assert all(len(line) <= 80 for line in lines)
        assert text(parity_table(many_engines(name))).count("a-target-of-somebody-else") == 1


def test_a_verdict_is_one_line() -> None:
    right, wrong = parity(probes={"a": 1e-5}), parity(probes={"a": 1.0}, precision="fp16")
    assert verdict("x", [right]).plain == "passed: x matches PyTorch in 1 engine"
    assert painted(verdict("x", [right]), "bold green") == ["passed:"]
    shown = verdict("x", [right, wrong])
    assert shown.plain == "failed: x differs from PyTorch in 1 of 2 engines: onnxruntime fp16"
    assert painted(shown, "bold red") == ["failed:"]
    passed, lost = Check("e", "n", "passed", ""), Check("e", "n", "failed", "")
    skipped = Check("e", "n", "skipped", "")
    shown = verdict("x", [right], [passed, skipped])
    assert shown.plain == (
        "passed: x matches PyTorch in 1 engine, and 1 check against the reference passed "
        "(1 skipped)"
    )
    shown = verdict("x", [right], [passed, lost])
    assert shown.plain == "failed: x matches PyTorch, but 1 of 2 checks regressed"


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [(True, {}, True), (True, {"NO_COLOR": "1"}, False), (False, {}, False)],
)
def test_colour_is_for_a_terminal_that_wants_it(
    terminal: bool, environment: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    Terminal(file=stream).print(verdict("x", [parity(probes={"a": 1e-5})]), soft_wrap=True)
    assert "passed:" in stream.getvalue()
    assert ("32m" in stream.getvalue()) == coloured
