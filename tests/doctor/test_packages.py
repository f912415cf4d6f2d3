"""Packages that are there, hidden, broken or too old, each with the command for this machine."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lzu_export.doctor import Finding, Machine, install, machine, packages
from lzu_export.doctor.packages import find_packages
from lzu_export.support import checkout, extras
from lzu_export.support.cuda_driver import Driver


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, str]]:
    """What importing each module comes to; it is not installed unless told."""
    said: dict[str, tuple[int, str]] = {}
    nothing = (1, "ModuleNotFoundError: No module named 'nothing'")

    def run(program: str, module: str = "onnxruntime") -> tuple[int, str]:
        return said.get("cv2" if "cv2" in program else module, nothing)

    monkeypatch.setattr(packages, "_run", run)
    monkeypatch.setattr(packages, "owners", lambda module: {})
    monkeypatch.setattr(machine, "find_driver", lambda: None)
    return said


def found(name: str, on: Machine) -> Finding:
    (finding,) = (each for each in find_packages(on) if each.name == name)
    return finding


def jetson(root: Path, packages: str = "") -> Machine:
    """A Jetson with JetPack 6.2 and packages of dpkg."""
    for path, text in (("etc/nv_tegra_release", "# R36 (release), REVISION: 4.3"),
                       ("var/lib/dpkg/status", packages)):  # fmt: skip
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return Machine(root, "aarch64")


def dpkg(**versions: str) -> str:
    return "\n".join(
        f"Package: {name.replace('_', '-')}\nStatus: install ok installed\nVersion: {version}\n"
        for name, version in versions.items()
    )


@pytest.mark.parametrize(
    ("told_as", "there", "detail"),
    [
        ('["0.5.0", 2, ""]', True, "0.5.0 for ONNX Runtime, serves 2 cards"),
        ('["0.5.0", 1, ""]', True, "0.5.0 for ONNX Runtime, serves 1 card"),
        ('["0.5.0", 0, ""]', False, "0.5.0 for ONNX Runtime, serves 0 cards"),
        ('["", 0, "no driver here"]', False, "no driver here"),
    ],
)
def test_the_provider_of_rtx_cards(
    told_as: str, there: bool, detail: str, told: dict[str, tuple[int, str]], tmp_path: Path
) -> None:
    """Nothing is to be installed once it is there: what lacks is a card or a driver."""
    told["nv-tensorrt-rtx"] = (0, told_as)
    finding = found("nv-tensorrt-rtx", Machine(tmp_path, "x86_64"))
    assert (finding.found, finding.detail, finding.install) == (there, detail, "")


def test_the_provider_is_asked_for_by_its_extra(
    told: dict[str, tuple[int, str]], tmp_path: Path
) -> None:
    finding = found("nv-tensorrt-rtx", Machine(tmp_path, "x86_64"))
    assert (finding.found, finding.detail) == (False, "not installed")
    assert "[rtxprovider]" in finding.install
    assert found("nv-tensorrt-rtx", jetson(tmp_path)).install == "# there is none for aarch64"


def test_commands_of_this_machine(told: dict[str, tuple[int, str]], tmp_path: Path) -> None:
    """They name this very Python, and an extra that exists."""
    extras = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    for name in ("onnxruntime", "tensorrt-rtx", "tensorrt", "cuda"):
        words = shlex.split(found(name, Machine(tmp_path, "x86_64")).install, comments=True)
        assert words[1:4] == ["-m", "pip", "install"]
        assert Path(words[0]).resolve() == Path(sys.executable).resolve()
        extra = words[-1].partition("[")[2].rstrip("]")
        assert f"\n{extra} = " in extras


def test_without_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checkout, "CHECKOUT", tmp_path)
    assert install.pip_install("rtx").endswith(" -m pip install 'lzu-export[rtx]'")


def test_tensorrt_that_python_does_not_see(
    told: dict[str, tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    libraries = dpkg(libnvinfer10="10.3.0.30-1+cuda12.5")
    alone = found("tensorrt", jetson(tmp_path, libraries))
    assert alone.install == "sudo apt-get install python3-libnvinfer"
    assert "10.3.0.30 without its Python module" in alone.detail
    both = dpkg(libnvinfer10="10.3.0.30-1+cuda12.5", python3_libnvinfer="10.3.0.30-1+cuda12.5")
    monkeypatch.setattr(packages, "hidden_from_python", lambda: "make a venv that sees it")
    assert found("tensorrt", jetson(tmp_path, both)).install == "make a venv that sees it"
    monkeypatch.setattr(packages, "hidden_from_python", lambda: "")
    other = found("tensorrt", jetson(tmp_path, both))
    assert "not for Python" in other.detail
    assert other.install.startswith("/usr/bin/python3 -m venv")
    assert "apt-get install tensorrt" in found("tensorrt", jetson(tmp_path)).install


def test_what_is_known_of_a_release(told: dict[str, tuple[int, str]], tmp_path: Path) -> None:
    told["tensorrt"] = (0, "8.5.2.2")
    old = found("tensorrt", jetson(tmp_path))
    assert not old.found
    assert "older than 10.3" in old.detail
    told["tensorrt"] = (0, "10.3.0")
    known = found("tensorrt", jetson(tmp_path))
    assert (known.found, known.detail) == (True, "10.3.0")
    assert any("checkLinks" in note for note in known.notes)
    told["tensorrt"] = (0, "11.2.0")
    machine = jetson(tmp_path)
    machine.__dict__["driver"] = Driver((13, 0), ("Thor (11.0)",))
    assert any("from 11.4.1 on" in note for note in found("tensorrt", machine).notes)


def test_what_a_build_for_tensorrt_needs(
    told: dict[str, tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device too, where nothing else needs ONNX."""
    there = {"onnx": "1.17.0", "onnx-graphsurgeon": "0.5.8"}

    def version(package: str) -> str:
        if package not in there:
            raise packages.PackageNotFoundError(package)
        return there[package]

    monkeypatch.setattr(packages, "version", version)
    finding = found("onnx", jetson(tmp_path))
    assert finding.found
    assert finding.detail == "1.17.0, with onnx-graphsurgeon 0.5.8"
    del there["onnx-graphsurgeon"]
    finding = found("onnx", jetson(tmp_path))
    assert (finding.found, finding.detail) == (False, "not installed: onnx-graphsurgeon")
    assert "[device]" in finding.install


def test_targets_that_this_machine_cannot_have(
    told: dict[str, tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "EXPORTING", ("no-such-package",))
    board = jetson(tmp_path)
    assert "none for aarch64" in found("tensorrt-rtx", board).detail
    assert "copy the bundle" in found("torch", board).install
    here = found("torch", Machine(tmp_path / "other", "x86_64"))
    assert "no-such-package" in here.detail
    assert "download.pytorch.org" in here.install


def test_back_ends_of_cuda(told: dict[str, tuple[int, str]], tmp_path: Path) -> None:
    told["pycuda.driver"] = (0, "2026.1")
    assert "captures no CUDA graphs" in found("cuda", Machine(tmp_path)).detail
    told["cuda.bindings"] = (0, "13.5.0")
    assert found("cuda", Machine(tmp_path)).detail == "cuda-python 13.5.0"


def test_bindings_of_the_driver_s_generation(
    told: dict[str, tuple[int, str]], tmp_path: Path
) -> None:
    machine = jetson(tmp_path)
    machine.__dict__["driver"] = Driver((12, 6), ("Orin (8.7)",))
    assert "[cuda12]" in found("cuda", machine).install
    machine.__dict__["driver"] = Driver((13, 2), ("Orin (8.7)",))
    assert "[cuda]" in found("cuda", machine).install


def test_providers_that_do_not_load(told: dict[str, tuple[int, str]], tmp_path: Path) -> None:
    providers = {"CUDAExecutionProvider": False, "CPUExecutionProvider": True}
    told["onnxruntime"] = (0, json.dumps(["1.23", providers]))
    expected = "1.23, runs on CPUExecutionProvider; does not load CUDAExecutionProvider"
    assert found("onnxruntime", Machine(tmp_path)).detail == expected


def test_this_machine_s_onnx_runtime_runs_the_model() -> None:
    finding = packages._onnxruntime(Machine())
    assert finding.found
    assert "CPUExecutionProvider" in finding.detail
    assert "does not load CPU" not in finding.detail


def test_a_package_that_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages._imported("json")[0]
    assert packages._imported("no_such_package") == (False, "not installed")

    def late(*_: Any, **__: Any) -> Any:
        raise subprocess.TimeoutExpired("python", 1)

    monkeypatch.setattr(subprocess, "run", late)
    assert "no answer within" in packages._imported("json")[1]


def owned_by(monkeypatch: pytest.MonkeyPatch, module: str, there: dict[str, str]) -> None:
    """Let these packages, with their versions, hold a module."""
    for place in (packages, extras):
        monkeypatch.setattr(place, "owners", lambda name: there if name == module else {})


WHOLE_ORT = json.dumps(["1.32.0", {"CPUExecutionProvider": True}])
OLDER_ORT = json.dumps(["1.23.2", {"CPUExecutionProvider": True}])


class Case(NamedTuple):
    """What is installed of a module's packages, and what the doctor answers."""

    module: str
    there: dict[str, str]
    """Installed packages that hold the module, with their versions."""
    said: tuple[int, str]
    """Exit status and output of importing the module."""
    words: str = ""
    """Part of the finding's detail."""
    command: str = ""
    """End of the command that mends it; empty where nothing is wrong."""


@pytest.mark.parametrize(
    "case",
    [
        Case("cv2", {"opencv-python-headless": "5.0.0.93"}, (0, "5.0.0")),
        Case("cv2", {}, (0, "4.8.0")),  # the system's own
        Case(
            "cv2",
            {"opencv-python-headless": "5.0.0.93", "opencv-python": "4.10.0.84"},
            (0, "5.0.0"),
            "write the same files, they are those of 5.0.0 now; removing one breaks the other",
            "uninstall -y opencv-python && {pip} {again} opencv-python-headless==5.0.0.93",
        ),
        Case(
            "cv2",
            {"opencv-python": "4.10.0.84"},
            (1, "AttributeError: module 'cv2' has no attribute 'imread'"),
            "opencv-python 4.10.0.84 is damaged: AttributeError",
            "{again} opencv-python==4.10.0.84",
        ),
        Case(
            "cv2",
            {"opencv-python": "4.10.0.84"},
            (0, "5.0.0"),
            "opencv-python 4.10.0.84 is installed, but its files are those of 5.0.0",
            "{again} opencv-python==4.10.0.84",
        ),
        Case(
            "cv2",
            {},
            (1, "ModuleNotFoundError: No module named 'cv2'"),
            "No module named 'cv2'",
            "{again} opencv-python-headless",
        ),
        Case(
            "onnxruntime",
            {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.32.0"},
            (0, WHOLE_ORT),
            "onnxruntime 1.32.0 and onnxruntime-gpu 1.32.0 write the same files",
            "uninstall -y onnxruntime && {pip} {again} onnxruntime-gpu==1.32.0",
        ),
        Case(
            "onnxruntime",
            {"onnxruntime": "1.32.0"},
            (1, "AttributeError: module 'onnxruntime' has no attribute 'SessionOptions'"),
            "onnxruntime 1.32.0 is damaged: AttributeError",
            "{again} onnxruntime==1.32.0",
        ),
        Case(
            "onnxruntime",
            {"onnxruntime": "1.32.0"},
            (0, OLDER_ORT),
            "onnxruntime 1.32.0 is installed, but its files are those of 1.23.2",
            "{again} onnxruntime==1.32.0",
        ),
    ],
)
def test_a_module_is_of_one_package_and_whole(
    case: Case,
    told: dict[str, tuple[int, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Packages that share a module's files are found, with the command that mends them."""
    told[case.module] = case.said
    owned_by(monkeypatch, case.module, case.there)
    name = {"cv2": "opencv"}.get(case.module, case.module)
    finding = found(name, Machine(tmp_path, "x86_64"))
    assert finding.found == (not case.command)
    assert case.words in finding.detail
    again = "install --force-reinstall --no-deps"
    assert finding.install.endswith(case.command.format(pip=install.PIP, again=again))
    assert ("uninstall" in finding.install) == (len(case.there) > 1)


def test_two_opencvs_of_one_release_serve(
    told: dict[str, tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SAHI and ultralytics bring the second one; the note has the command for when one is gone."""
    told["cv2"] = (0, "5.0.0")
    both = {"opencv-python-headless": "5.0.0.93", "opencv-python": "5.0.0.93"}
    owned_by(monkeypatch, "cv2", both)
    finding = found("opencv", Machine(tmp_path, "x86_64"))
    assert (finding.found, finding.detail, finding.install) == (True, "5.0.0", "")
    (note,) = finding.notes
    assert "opencv-python-headless and opencv-python write the same files" in note
    assert note.endswith("--no-deps opencv-python-headless==5.0.0.93")
    told["cv2"] = (0, "4.10.0")  # neither's
    finding = found("opencv", Machine(tmp_path, "x86_64"))
    assert not finding.found
    assert "they are those of 4.10.0 now" in finding.detail


@pytest.mark.parametrize(("cuda", "kept"), [((12, 6), "tensorrt-cu12"), ((13, 0), "tensorrt-cu13")])
def test_two_tensorrts_write_the_same_files(
    cuda: tuple[int, int],
    kept: str,
    told: dict[str, tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    told["tensorrt"] = (0, "10.16.1")
    there = {"tensorrt-cu12": "10.9.0.34", "tensorrt-cu13": "10.16.1.11"}
    monkeypatch.setattr(packages, "_versions", lambda *names: (
        {name: there[name] for name in names if name in there}, []))  # fmt: skip
    monkeypatch.setattr(packages, "_exporting", lambda _: Finding("torch", True, "2"))
    monkeypatch.setattr(packages, "_building", lambda: Finding("onnx", True, "1"))
    monkeypatch.setattr(machine, "find_driver", lambda: Driver(cuda, ()))
    finding = found("tensorrt", Machine(tmp_path, "x86_64"))
    assert not finding.found
    assert finding.detail.startswith("tensorrt-cu12 10.9.0.34 and tensorrt-cu13 10.16.1.11 write")
    (other,) = set(there) - {kept}
    assert f"uninstall -y {other} {other}-bindings {other}-libs && " in finding.install
    assert f"{kept}=={there[kept]} {kept}-bindings=={there[kept]}" in finding.install


@pytest.mark.parametrize(("system", "noted"), [("10.3.0.30-1", True), ("10.16.0.1-1", False)])
def test_another_tensorrt_of_the_system_is_noted(
    system: str, noted: bool, told: dict[str, tuple[int, str]], tmp_path: Path
) -> None:
    told["tensorrt"] = (0, "10.16.1.11")
    root = jetson(tmp_path, dpkg(libnvinfer10=system))
    notes = " ".join(found("tensorrt", root).notes)
    assert ("keep one of the two" in notes) is noted
