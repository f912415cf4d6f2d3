"""What this machine can build and run, and how to get what is missing. Needs no torch, no ONNX."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lzu_export.errors import LzuError
from lzu_export.runtime.cuda_driver import LIBRARY, find_driver
from lzu_export.runtime.plugin_library import describe_library, library_at, library_places

FIND_TOOLS = Path(__file__).resolve().parents[1] / "plugins" / "find_tools.sh"
"""Knows where compilers and headers are looked for; only a checkout has it."""
TEGRA_RELEASE = Path("/etc/nv_tegra_release")
SECONDS = 180
"""That a package may take to be imported."""

_IMPORT = """
import importlib, sys
module = importlib.import_module(sys.argv[1])
print(getattr(module, "__version__", None) or getattr(module, "VERSION_TEXT", "unknown version"))
"""
_PROVIDERS = """
import base64, json, onnxruntime as ort
ort.set_default_logger_severity(4)
model, found = base64.b64decode("{model}"), {{}}
for name in set(ort.get_available_providers()) - {{"AzureExecutionProvider"}}:  # runs nothing here
    try:
        session = ort.InferenceSession(model, providers=[name])
        found[name] = session.get_providers()[0] == name
    except Exception:  # their types are private and change between releases
        found[name] = False
print(json.dumps([ort.__version__, found]))
"""
_IDENTITY = (
    "CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBE="
)
"""An ONNX model of one node, to see which providers load: base64."""
_JETPACK = {"35": "5", "36": "6", "38": "7", "39": "7"}
"""JetPack's generation by the release of Jetson Linux."""


@dataclass(frozen=True)
class Finding:
    """One thing that a machine has, or has not."""

    name: str
    found: bool
    detail: str
    """Version, place, or why it is not usable."""
    install: str = ""
    """The command that gets it, where it is missing."""
    looked: tuple[str, ...] = ()
    """Where it was looked for."""


def examine(build: Path = Path("build/plugins")) -> list[Finding]:
    """Look for everything that exports, engines and plugins need.

    Packages are imported in processes of their own: some abort, and TensorRT and TensorRT for RTX
    do not go together.

    Args:
        build: directory of `make plugins`.
    """
    packages = (
        ("tensorrt-rtx", "tensorrt_rtx", "pip install 'lzu-export[rtx]' (Linux x86-64)"),
        ("tensorrt", "tensorrt", _tensorrt_command()),
        ("cuda-python", "cuda.bindings", "pip install 'lzu-export[cuda]'"),
        ("pycuda", "pycuda", "pip install 'lzu-export[pycuda]'"),
    )
    with ThreadPoolExecutor() as pool:
        runtime = pool.submit(_onnxruntime)
        imported = [pool.submit(_package, *each) for each in packages]
        tools = _tools(build)
        findings = [runtime.result(), *(each.result() for each in imported), *tools]
    return [_torch(), *findings, _plugins(), _gpu(), _jetpack()]


def missing(findings: Sequence[Finding], required: Sequence[str]) -> list[Finding]:
    """The required ones that are not there.

    Raises:
        LzuError: a name is unknown.
    """
    known = {each.name: each for each in findings}
    for name in required:
        if name not in known:
            raise LzuError(f"--require {name} is unknown; choose of {', '.join(known)}")
    return [known[name] for name in required if not known[name].found]


def _run(*arguments: str) -> tuple[int, str]:
    """Status and what a Python program printed; of one that failed its last words."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return 1, f"no answer within {SECONDS} s"
    words = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return done.returncode, words[-1] if words else f"its import ended with {done.returncode}"


def _torch() -> Finding:
    """By its metadata: it is only needed to export, and slow to import."""
    try:
        return Finding("torch", True, version("torch"))
    except PackageNotFoundError:
        return Finding("torch", False, "not installed", "pip install 'lzu-export[export]'")


def _package(name: str, module: str, install: str) -> Finding:
    status, words = _run(_IMPORT, module)
    if words.startswith("ModuleNotFoundError"):
        words = "not installed"
    return Finding(name, status == 0, words, "" if status == 0 else install)


def _onnxruntime() -> Finding:
    install = "pip install 'lzu-export[runtime]' (or 'lzu-export[gpu]', never both)"
    status, words = _run(_PROVIDERS.format(model=_IDENTITY))
    if status != 0:
        missing = words.startswith("ModuleNotFoundError")
        return Finding("onnxruntime", False, "not installed" if missing else words, install)
    release, providers = json.loads(words)
    loads = [name for name, loaded in providers.items() if loaded]
    fails = [name for name, loaded in providers.items() if not loaded]
    detail = f"{release}, runs on {', '.join(loads) or 'nothing'}"
    if fails:
        detail += f"; does not load {', '.join(fails)}"
    return Finding("onnxruntime", bool(loads), detail, "" if loads else install)


def _tensorrt_command() -> str:
    if TEGRA_RELEASE.is_file():
        return "sudo apt-get install tensorrt python3-libnvinfer (and --system-site-packages)"
    return "pip install 'lzu-export[tensorrt]' (with an NVIDIA GPU)"


def _tools(build: Path) -> list[Finding]:
    """The compiler and the headers, by the rules of the plugins' build."""
    checkout = "in a checkout: make plugins"
    wanted = (
        ("nvcc", "cuda", f"{checkout} (downloads one), or name yours in CUDA_HOME"),
        ("tensorrt-headers", "headers", f"{checkout} (downloads them), or set TENSORRT_INCLUDE"),
    )
    if not FIND_TOOLS.is_file():
        why = "no checkout of this package: plugins are built in one"
        return [Finding(name, False, why, checkout) for name, _, _ in wanted]
    command = ["sh", str(FIND_TOOLS), "--look", str(build.absolute())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    findings = []
    for name, what, install in wanted:
        found = next((place for kind, _, place in lines if kind == f"+{what}"), "")
        looked = tuple(place for kind, _, place in lines if kind == what)
        detail = _release(found, what) if found else "not found"
        findings.append(Finding(name, bool(found), detail, "" if found else install, looked))
    return findings


def _release(directory: str, what: str) -> str:
    """A place with the release that is there."""
    if what == "headers":
        numbers = []
        for file in ("NvInferVersion.h", "NvInfer.h"):
            path = Path(directory, file)
            text = path.read_text(errors="replace") if path.is_file() else ""
            names = (r"(?:NV|TRT)_(?:TENSORRT_)?" + part for part in ("MAJOR", "MINOR"))
            found = [re.search(rf"#define {name}(?:_ENTERPRISE)? (\d+)", text) for name in names]
            if all(found):
                numbers = [each[1] for each in found if each]
                break
        return f"{'.'.join(numbers)} in {directory}" if numbers else directory
    command = [str(Path(directory, "bin/nvcc")), "--version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        release = re.search(r"release ([\d.]+)", done.stdout)
    except OSError as error:
        return f"{directory}, which does not run: {error.strerror}"
    return f"{release[1]} in {directory}" if release else directory


def _plugins() -> Finding:
    places = library_places()
    looked = tuple(map(str, places))
    path = library_at(places)
    if path is None:
        return Finding("plugins", False, "not built", "in a checkout: make plugins", looked)
    try:
        library = describe_library(path)
    except LzuError as error:
        return Finding("plugins", False, str(error), "make plugins", looked)
    if library.version is None:
        why = f"{path} is for another kind of machine"
        return Finding("plugins", False, why, "make plugins", looked)
    detail = f"version {library.version}, CUDA {library.cuda_major}, {path}"
    return Finding("plugins", True, detail, "", looked)


def _gpu() -> Finding:
    driver = find_driver()
    if driver is None:
        install = (
            "sudo ubuntu-drivers install (Ubuntu), sudo apt-get install nvidia-driver (Debian)"
        )
        return Finding("gpu", False, f"no NVIDIA driver ({LIBRARY})", install)
    cuda = f"driver for CUDA {driver.cuda[0]}.{driver.cuda[1]}"
    if not driver.devices:
        return Finding("gpu", False, f"{cuda}, but no usable device", "nvidia-smi tells why")
    return Finding("gpu", True, f"{', '.join(driver.devices)}; {cuda}")


def _jetpack() -> Finding:
    if not TEGRA_RELEASE.is_file():
        return Finding("jetpack", False, "this is no Jetson", "", (str(TEGRA_RELEASE),))
    text = TEGRA_RELEASE.read_text(errors="replace")
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    if not found:
        return Finding("jetpack", True, text.splitlines()[0] if text else "unknown release")
    release = f"Jetson Linux {found[1]}.{found[2]}"
    generation = _JETPACK.get(found[1])
    return Finding("jetpack", True, f"JetPack {generation}, {release}" if generation else release)
