"""`make test-gpu-kernels` as a user sees it: what is missing, the table, the JSON, the status."""

import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lzu_benchmarks.gpu_kernels import __main__ as command
from lzu_benchmarks.gpu_kernels import card as cards
from lzu_benchmarks.gpu_kernels import tools
from lzu_benchmarks.gpu_kernels.card import Card, Facts
from lzu_benchmarks.gpu_kernels.computed import README, bound_of, card_name, read_bounds
from lzu_benchmarks.gpu_kernels.header import read_header
from lzu_benchmarks.gpu_kernels.measure import Result
from lzu_benchmarks.gpu_kernels.report import as_json, table
from lzu_export.errors import LzuError

REPOSITORY = Path(__file__).resolve().parents[3]
FACTS = Facts("NVIDIA H200", (9, 0), 132, 60 << 20, 140 << 30)
TABLES = """text
<!-- computed by make plugins-report: bounds -->
| kernel | shape | MB | AGX Orin: bytes | busiest pipe | bound | Orin Nano | H200 |
|---|---|---:|---:|---:|---:|---:|---:|
| zoom FP32 | argoverse-hd | 34.7 | 169 | 49 issue | 170 bytes | 510 bytes | 7.74 latency |
| suppression, ranks | 1000 candidates | 0.1 | 0.2 | 10 alu | 31 latency | 64 latency | 19.5 alu |
| suppression, keeps | 1000 candidates | 0.1 | 0.2 | 10 alu | 31 latency | 64 latency | 20.25 alu |
<!-- end -->
<!-- computed by make plugins-report: code -->
| kernel | architecture | registers |
|---|---:|---:|
| zoom FP32 | 87 | 78 |
<!-- end -->
"""


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def fake_nvcc(home: Path, build: str = 'echo "$@" > "$ARGUMENTS"') -> Path:
    """A compiler of CUDA 12.6 that knows the architectures 87 and 90."""
    script = (
        'case "$1" in --version) echo "Cuda compilation tools, release 12.6, V12.6.1";; '
        f"--list-gpu-arch) echo compute_87; echo compute_90;; *) {build};; esac"
    )
    return executable(home / "bin" / "nvcc", script)


def test_a_machine_without_the_project_s_packages_runs_it(tmp_path: Path) -> None:
    """It gets as far as the card: with NumPy and PyTorch, from another folder."""
    code = """
import sys
for name in ("pydantic", "cv2", "rich", "typer", "yaml", "onnx", "onnxruntime", "matplotlib"):
    sys.modules[name] = None
import lzu_benchmarks.gpu_kernels.box_work, lzu_benchmarks.gpu_kernels.resampling
import lzu_benchmarks.gpu_kernels.report, lzu_benchmarks.gpu_kernels.computed
from lzu_benchmarks.gpu_kernels.__main__ import main
sys.exit(main(["--no-times"]))
"""
    paths = [str(REPOSITORY), str(REPOSITORY / "benchmarks")]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert re.fullmatch(r"error: PyTorch .*(without CUDA|no CUDA card).*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_make_hands_on_python_and_the_file(tmp_path: Path) -> None:
    """And sets nothing up: no virtual environment, no download."""
    python = executable(tmp_path / "python", 'echo "$PYTHONPATH|$*"')
    done = subprocess.run(
        ["make", "-s", "test-gpu-kernels", f"PYTHON={python}", f"OUT={tmp_path}", "VENV=none"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    path, words = done.stdout.strip().split("|")
    assert path.split(":")[:2] == [str(REPOSITORY), str(REPOSITORY / "benchmarks")]
    assert words == f"-m lzu_benchmarks.gpu_kernels --out {tmp_path}/gpu-kernels.json"
    assert not (REPOSITORY / "none").exists()


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """With the interpreter that lacks them."""
    monkeypatch.setitem(sys.modules, "torch", None)
    assert command.main([]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {sys.executable} has no torch (")
    assert "run this by another Python" in told


def test_pytorch_without_a_card_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build without CUDA, and one with it that finds no card."""
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(LzuError, match="was built without CUDA; install a build with CUDA, or"):
        cards.find_facts()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LzuError, match="finds no CUDA card; check the driver by nvidia-smi"):
        cards.find_facts()


def test_nvcc_is_found_where_it_usually_is(tmp_path: Path, monkeypatch: Any) -> None:
    """In CUDA_HOME alone, on PATH, or in a package of NVIDIA's."""
    path = os.environ["PATH"]
    own = fake_nvcc(tmp_path / "cuda")
    found = tools.find_compiler({"CUDA_HOME": str(tmp_path / "cuda"), "PATH": path})
    assert (found.nvcc, found.release, found.major) == (own, "12.6", 12)
    on_path = {"PATH": f"{own.parent}{os.pathsep}{path}"}
    assert tools.find_compiler(on_path).nvcc == own
    packed = fake_nvcc(tmp_path / "site" / "nvidia" / "cu13")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    assert packed in tools.nvcc_places({})


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"CUDA_HOME": "/nowhere"}, "no CUDA compiler at /nowhere/bin/nvcc; install a CUDA"),
        ({"CXX": "no-such-compiler"}, "there is no no-such-compiler; install g\\+\\+, or name"),
    ],
)
def test_missing_compilers_are_named(
    environment: dict[str, str], words: str, tmp_path: Path
) -> None:
    """With the way to name another."""
    fake_nvcc(tmp_path / "cuda")
    given = {"CUDA_HOME": str(tmp_path / "cuda"), "PATH": os.environ["PATH"], **environment}
    with pytest.raises(LzuError, match=words):
        tools.find_compiler(given)


def test_the_kernels_are_built_for_the_card(tmp_path: Path, monkeypatch: Any) -> None:
    """Every source, without contraction on the host's side; an unknown card is refused."""
    monkeypatch.setenv("ARGUMENTS", str(tmp_path / "arguments"))
    compiler = tools.Compiler(fake_nvcc(tmp_path), "12.6", "/usr/bin/g++")
    built = tools.build_library(compiler, (9, 0), tmp_path)
    words = (tmp_path / "arguments").read_text().split()
    assert built.name == "liblzu_kernels.sm90.so"
    assert "arch=compute_90,code=sm_90" in words
    assert "-fPIC,-fvisibility=hidden,-ffp-contract=off" in words
    sources = {Path(each).name for each in words if each.endswith(".cu")}
    assert sources == {each.name for each in tools.KERNELS.glob("*.cu")}
    assert words[words.index("-ccbin") + 1] == "/usr/bin/g++"
    with pytest.raises(LzuError, match=r"nvcc 12\.6 does not know compute capability 12\.0; name"):
        tools.build_library(compiler, (12, 0), tmp_path)


@pytest.mark.slow
def test_nvcc_builds_a_library_that_loads(tmp_path: Path) -> None:
    """With the machine's own compiler, for a card that need not be here."""
    try:
        compiler = tools.find_compiler()
    except LzuError as error:
        pytest.skip(str(error))
    library = ctypes.CDLL(str(tools.build_library(compiler, (9, 0), tmp_path)))
    header = read_header()
    library.lzu_suppress_workspace.restype = ctypes.c_size_t
    assert library.lzu_suppress_workspace(1, 1000) > 0
    assert library.lzu_unzoom_tactics(header.number("LZU_F16_HWC8")) > 0


def test_a_failed_build_shows_the_compiler_s_lines(tmp_path: Path) -> None:
    """In one sentence."""
    nvcc = fake_nvcc(tmp_path, "echo 'x.cu(3): error: oh' >&2; exit 1")
    with pytest.raises(LzuError, match=r"does not build the kernels \(x\.cu\(3\): error: oh\)"):
        tools.build_library(tools.Compiler(nvcc, "12.6", "g++"), (9, 0), tmp_path)


def test_a_compiler_newer_than_the_driver_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernels would not start; one of the driver's generation or older may go on."""
    monkeypatch.setattr(cards, "driver_cuda", lambda: 12)
    cards.check_driver("12.9", 12)
    with pytest.raises(LzuError, match=r"nvcc is of CUDA 13\.0 but the driver runs CUDA 12 at"):
        cards.check_driver("13.0", 13)


@pytest.mark.parametrize(
    ("name", "multiprocessors", "wanted"),
    [
        ("NVIDIA H200", 132, "H200"),
        ("NVIDIA GeForce RTX 4090", 128, "RTX 4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 76, "RTX 4090 Laptop GPU"),
        ("Orin", 16, "AGX Orin"),
        ("Orin (nvgpu)", 8, "Orin Nano"),
        ("NVIDIA Thor", 20, "AGX Thor"),
    ],
)
def test_cards_have_the_tables_names(name: str, multiprocessors: int, wanted: str) -> None:
    """Another card has no bounds."""
    assert card_name(FACTS._replace(name=name, multiprocessors=multiprocessors)) == wanted


def test_bounds_come_from_the_tables_or_the_json(tmp_path: Path, monkeypatch: Any) -> None:
    """For the card alone; without either there are none."""
    readme = tmp_path / "README.md"
    monkeypatch.setattr("lzu_benchmarks.gpu_kernels.computed.README", readme)
    assert read_bounds("H200") == {}
    readme.write_text(TABLES)
    of_h200 = {
        ("zoom FP32", "argoverse-hd"): 7.74,
        ("suppression, ranks", "1000 candidates"): 19.5,
        ("suppression, keeps", "1000 candidates"): 20.25,
    }
    assert read_bounds("H200") == of_h200
    assert read_bounds("AGX Orin")["zoom FP32", "argoverse-hd"] == 170
    assert read_bounds("RTX 4090") == {}
    path = tmp_path / "report.json"
    launch = {"kernel": "zoom FP32", "shape": "argoverse-hd", "card": "H200", "bound": 8.5}
    other = {**launch, "card": "AGX Orin", "bound": 200}
    path.write_text(json.dumps({"launches": [launch, other]}))
    assert read_bounds("H200", path) == {("zoom FP32", "argoverse-hd"): 8.5}
    for text in ("", "{}", '{"launches": [{}]}'):
        path.write_text(text)
        with pytest.raises(LzuError, match=r"report\.json has no bounds \(\w+\); make it by"):
            read_bounds("H200", path)
    assert README.name == "README.md"


class Uncallable:
    """A library whose functions are not called."""

    class lzu_suppress_workspace:
        restype: Any = None


def without_library() -> Card:
    """A card with one tactic for each kernel."""
    made = Card(FACTS, Uncallable, read_header())
    made.number = lambda *_: 1  # type: ignore[method-assign]
    return made


@pytest.mark.parametrize("card", ["AGX Orin", "H200"])
def test_the_page_s_bounds_have_the_cases_names(card: str) -> None:
    """A kernel that is renamed on one side alone would lose its bound unseen."""
    bounds = read_bounds(card)
    cases = command.cases_of(without_library(), "", "")
    lacking = {
        (each.kernel, each.shape)
        for each in cases
        if bound_of(bounds, each.kernel, each.shape, each.computed) is None
    }
    assert {shape for _, shape in lacking} <= {"det-demo"}  # zooms of full-size recipes only
    assert len(lacking) < len(cases) / 4


def result(**changes: Any) -> Result:
    made = Result("unzoom FP16 kHWC8", "argoverse-hd", 12_500_000, 2e-3)
    made.deviations = {"mathematics": 1.5e-3, "grid_sample": 1e-3}
    made.microseconds = {0: 9.5, 1: 8.25}
    made.sets, made.beyond_cache, made.computed = 12, True, 7.04
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_the_table_shows_measured_beside_computed() -> None:
    """In 80 columns; a dash where there is no bound, a mark where a limit is broken."""
    lines = table(
        [
            result(kernel="camera BGR or RGB to FP16", shape="1000 candidates"),
            result(computed=None, beyond_cache=False, grid_sample_microseconds=1234.5),
            result(deviations={"mathematics": 3e-3}),
            result(microseconds={}, failure="a kernel failed: illegal address"),
        ],
        "H200",
    ).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].split()[-4:] == ["8.2", "7.0", "-", "1.5e-03"]
    assert lines[2].split()[-4:] == ["8.2*", "-", "1234.5", "1.5e-03"]
    assert lines[3].endswith("3.0e-03!")
    assert lines[5] == "  a kernel failed: illegal address"
    assert lines[-1] == "4 cases, 2 of 4 deviate or failed"
    assert table([result()], "H200").endswith("1 cases, all within limits")


def test_the_json_has_everything() -> None:
    """Strict JSON, with the machine."""
    data = json.loads(json.dumps(as_json([result()], {"name": "NVIDIA H200"})))
    assert data["passed"]
    assert data["machine"] == {"name": "NVIDIA H200"}
    (first,) = data["results"]
    assert first["microseconds"] == {"0": 9.5, "1": 8.25}
    assert (first["computed"], first["passed"], first["moved_bytes"]) == (7.04, True, 12_500_000)


Run = Callable[..., tuple[int, str, Any]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> Run:
    """Run the command over made-up cases, whose measurement a function replaces."""

    def call(measure: Callable[..., Result], *words: str) -> tuple[int, str, Any]:
        made = without_library()
        monkeypatch.setattr(command, "prepare", lambda: (made, {"name": FACTS.name}))
        monkeypatch.setattr("lzu_benchmarks.gpu_kernels.measure.measure", measure)
        readme = tmp_path / "README.md"
        readme.write_text(TABLES)
        monkeypatch.setattr("lzu_benchmarks.gpu_kernels.computed.README", readme)
        out = tmp_path / "new" / "result.json"
        status = command.main(["--out", str(out), *words])
        data = json.loads(out.read_text()) if out.exists() else None
        return status, capsys.readouterr().out, data

    return call


def measured(_: Any, case: Any, *, timed: bool) -> Result:
    times = {0: 10.0} if timed else {}
    return result(kernel=case.kernel, shape=case.shape, microseconds=times, computed=None)


def test_the_command_prints_and_writes(run: Run) -> None:
    """Computed bounds where there are some; parts of a kernel are added up."""
    status, out, data = run(measured)
    assert status == 0
    assert out.splitlines()[-1] == "53 cases, all within limits"
    computed = {(each["kernel"], each["shape"]): each["computed"] for each in data["results"]}
    assert computed["zoom FP32", "argoverse-hd"] == 7.74
    assert computed["zoom FP32", "nuscenes"] is None
    assert computed["suppression to 100", "1000 candidates"] == 39.75
    assert computed["suppression to 100", "5000 candidates"] is None


def test_the_result_is_json_on_stdout(run: Run) -> None:
    status, out, data = run(measured, "--json")
    assert status == 0
    assert json.loads(out) == data


def test_kernels_and_shapes_are_chosen(run: Run) -> None:
    """By parts of names; without times nothing is shown as measured."""
    status, out, data = run(measured, "--kernel", "zoom FP", "--shape", "nuscenes", "--no-times")
    assert status == 0
    names = [each["kernel"] for each in data["results"]]
    assert names == ["unzoom FP32 linear", "unzoom FP16 linear", "unzoom FP16 kHWC8", *names[3:]]
    assert names[3:] == ["zoom FP32", "zoom FP16"]
    assert out.splitlines()[1].split()[-4] == "-"


def test_a_deviation_is_status_1(run: Run) -> None:
    """The other cases go on."""

    def deviates(card: Any, case: Any, *, timed: bool) -> Result:
        found = measured(card, case, timed=timed)
        if case.kernel == "feedback":
            found.deviations = {"mathematics": 1.0}
        return found

    status, out, data = run(deviates)
    assert status == 1
    assert out.splitlines()[-1] == "53 cases, 1 of 53 deviate or failed"
    assert not data["passed"]


def test_a_failed_kernel_ends_the_run(run: Run) -> None:
    """Its reason is in the table and the JSON; later cases would meet the same error."""

    def fails(card: Any, case: Any, *, timed: bool) -> Result:
        if case.kernel.startswith("zoom"):
            raise LzuError("a kernel failed: illegal address")
        return measured(card, case, timed=timed)

    status, out, data = run(fails)
    assert status == 1
    assert "  a kernel failed: illegal address" in out.splitlines()
    assert data["results"][-1]["failure"] == "a kernel failed: illegal address"
    assert len(data["results"]) == 7


def test_a_choice_of_nothing_is_status_2(run: Run) -> None:
    """Nothing is written."""
    assert run(measured, "--kernel", "warp drive") == (2, "", None)
