"""Find Python packages. Packages that may abort at import are imported in another process."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version

from lzu_export.doctor.finding import Finding
from lzu_export.doctor.install import PIP, TORCH_INDEX, pip_install
from lzu_export.doctor.machine import Machine, hidden_from_python
from lzu_export.errors import LzuError
from lzu_export.support.extras import cure, owners, reinstall
from lzu_export.support.extras import install as install_of
from lzu_export.support.interpreter import run_program
from lzu_export.targets.base import Target
from lzu_export.targets.cuda.memory import Device
from lzu_export.targets.provider_library import LIBRARIES
from lzu_export.targets.registry import find, names
from lzu_export.targets.tensorrt.versions import check_version, numbers

SECONDS = 180
"""Seconds that the import of a package may take."""
EXPORTING = ("onnx", "onnxscript", "onnx-graphsurgeon")
"""Packages that an export needs besides torch."""
BUILDING = ("onnx", "onnx-graphsurgeon")
"""Packages that a build for TensorRT on the device needs besides TensorRT."""
TENSORRTS = ("tensorrt-cu12", "tensorrt-cu13")
"""Packages of TensorRT's Python module for each release of CUDA, the older one first."""
BACK_ENDS = (("cuda-python", "cuda.bindings"), ("pycuda", "pycuda.driver"))
"""Names and modules of the CUDA back ends, the preferred one first."""
NOBODY = Device(0, "any", "", False)
"""Substitute for the GPU where there is none, so that notes on one kind of GPU are left out."""

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
_PROVIDER = """
import json, sys
from importlib.util import find_spec
import onnxruntime as ort
from lzu_export.errors import LzuError
from lzu_export.targets.provider_library import LIBRARIES, devices, register

library = LIBRARIES[sys.argv[1]]
if find_spec(library.module) is None:
    raise ModuleNotFoundError(library.module)
try:
    module, name = register(ort, library)
    found = [getattr(module, "__version__", "unknown version"), len(devices(ort, name)), ""]
except LzuError as error:
    found = ["", 0, str(error)]
print(json.dumps(found))
"""
_OPENCV = "import cv2; cv2.imread; print(cv2.__version__)"
MODULES = {"opencv": "cv2", "onnxruntime": "onnxruntime"}
"""Modules that several packages provide, by the name of the finding."""
IDENTITY = (
    "CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBE="
)
"""An ONNX model of one node in base64, which shows which providers load."""


def find_packages(machine: Machine) -> list[Finding]:
    """Find torch and an export's other packages, OpenCV, ONNX Runtime, each target, and CUDA."""
    with ThreadPoolExecutor() as pool:
        opencv = pool.submit(_opencv)
        onnxruntime = pool.submit(_onnxruntime, machine)
        rtx = pool.submit(_tensorrt_rtx, machine)
        tensorrt = pool.submit(_tensorrt, machine)
        providers = [pool.submit(_provider, machine, each) for each in LIBRARIES]
        cuda = pool.submit(_cuda, machine)
        found = [
            _exporting(machine),
            _building(),
            opencv.result(),
            onnxruntime.result(),
            rtx.result(),
            tensorrt.result(),
            *(each.result() for each in providers),
            cuda.result(),
        ]
    examined = {each.name for each in found}
    others = [each for each in map(find, names()) if each.name in each.build_needs]
    return [*found, *(_library(each) for each in others if each.name not in examined)]


def _run(*arguments: str) -> tuple[int, str]:
    """Run a Python program; return its status and last line, of stderr where it failed."""
    try:
        done = subprocess.run(
            run_program(*arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return 1, f"no answer within {SECONDS} s"
    words = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return done.returncode, words[-1] if words else f"its import ended with {done.returncode}"


def _imported(module: str) -> tuple[bool, str]:
    """Return whether a module imports, and its version or the reason why it does not."""
    status, words = _run(_IMPORT, module)
    if words.startswith("ModuleNotFoundError"):
        words = "not installed"
    return status == 0, words


def _exporting(machine: Machine) -> Finding:
    """Find the packages of an export by their metadata, since importing torch is slow."""
    found, missing = _versions("torch", *EXPORTING)
    if not missing:
        others = ", ".join(f"{name} {found[name]}" for name in EXPORTING)
        return Finding("torch", True, f"{found['torch']}, with {others}")
    install = f"{pip_install('export')} --extra-index-url {TORCH_INDEX}"
    if machine.jetson:
        install = "# not needed here: export on another machine and copy the bundle"
    return Finding("torch", False, f"not installed: {', '.join(missing)}", install)


def _building() -> Finding:
    """Find the packages of a build on a device by their metadata; running engines needs none."""
    found, missing = _versions(*BUILDING)
    if missing:
        return Finding("onnx", False, f"not installed: {', '.join(missing)}", pip_install("device"))
    others = ", ".join(f"{name} {found[name]}" for name in BUILDING[1:])
    return Finding("onnx", True, f"{found['onnx']}, with {others}")


def _versions(*packages: str) -> tuple[dict[str, str], list[str]]:
    """Return the releases of the installed packages, and the names of the missing ones."""
    found, missing = {}, []
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            missing.append(package)
    return found, missing


def _onnxruntime(machine: Machine) -> Finding:
    install = pip_install("runtime")
    if machine.driver is not None and not machine.jetson:
        install = f"{pip_install('gpu')}  # or extra runtime, for the CPU; never both"
    status, words = _run(_PROVIDERS.format(model=IDENTITY))
    release = json.loads(words)[0] if status == 0 else ""
    if (unclean := _unclean("onnxruntime", release, words)) is not None:
        return unclean
    if status != 0:
        missing = words.startswith("ModuleNotFoundError")
        return Finding("onnxruntime", False, "not installed" if missing else words, install)
    providers = json.loads(words)[1]
    loads = [name for name, loaded in sorted(providers.items()) if loaded]
    fails = [name for name, loaded in sorted(providers.items()) if not loaded]
    detail = f"{release}, runs on {', '.join(loads) or 'nothing'}"
    if fails:
        detail += f"; does not load {', '.join(fails)}"
    return Finding("onnxruntime", bool(loads), detail, "" if loads else install)


def _opencv() -> Finding:
    """Find OpenCV, which reads and draws frames."""
    status, words = _run(_OPENCV)
    if status == 0 and (note := _same_release("cv2", words)):
        return Finding("opencv", True, words, notes=(note,))
    unclean = _unclean("opencv", words if status == 0 else "", words)
    if unclean is not None or status == 0:
        return unclean or Finding("opencv", True, words)
    return Finding("opencv", False, words, install_of("cv2"))


def _same_release(module: str, release: str) -> str:
    """Return a note on packages of one release that write a module's files; empty for one package.

    OpenCV's differ in windows alone, so the module serves whichever came last.
    """
    there = owners(module)
    if len(there) < 2 or len(set(there.values())) > 1:
        return ""
    if not next(iter(there.values())).startswith(release):
        return ""
    listed = " and ".join(there)
    return (
        f"{listed} write the same files; removing one breaks the other, then: {cure(module, PIP)}"
    )


def _unclean(name: str, release: str, words: str) -> Finding | None:
    """Report a module that several packages write, or whose files are not its package's own.

    Args:
        name: name of the finding, a key of `MODULES`.
        release: version that the module reports; empty where it does not import.
        words: last line that its import printed.
    """
    module = MODULES[name]
    there = owners(module)
    command = cure(module, PIP)
    listed = " and ".join(f"{package} {version}" for package, version in there.items())
    if len(there) > 1:
        here = f"they are those of {release} now" if release else f"and are damaged: {words}"
        why = f"{listed} write the same files, {here}; removing one breaks the other"
        return Finding(name, False, why, command)
    if there and not release:
        return Finding(name, False, f"{listed} is damaged: {words}", command)
    if there and not any(version.startswith(release) for version in there.values()):
        why = f"{listed} is installed, but its files are those of {release}"
        return Finding(name, False, why, command)
    return None


def _tensorrt_rtx(machine: Machine) -> Finding:
    found, words = _imported("tensorrt_rtx")
    if found or machine.architecture == "x86_64":
        return Finding("tensorrt-rtx", found, words, "" if found else pip_install("rtx"))
    why = f"{words}; there is none for {machine.architecture}"
    return Finding("tensorrt-rtx", False, why, "# build its engines on an x86-64 machine")


def _provider(machine: Machine, name: str) -> Finding:
    """Find a provider that ONNX Runtime loads from a package, and the cards that it serves."""
    status, words = _run(_PROVIDER, name)
    if status != 0:
        missing = words.startswith("ModuleNotFoundError")
        install = pip_install("rtxprovider")
        if machine.architecture != "x86_64":
            install = f"# there is none for {machine.architecture}"
        return Finding(name, False, "not installed" if missing else words, install)
    release, cards, why = json.loads(words)
    if why:
        return Finding(name, False, why)
    served = f"serves {cards} card{'s' if cards != 1 else ''}"
    return Finding(name, cards > 0, f"{release} for ONNX Runtime, {served}")


def _tensorrt(machine: Machine) -> Finding:
    if (twice := _two_tensorrts(machine)) is not None:
        return twice
    found, words = _imported("tensorrt")
    if not found:
        return Finding("tensorrt", False, *_why_no_tensorrt(machine, words))
    notes: dict[str, None] = {}
    if machine.tensorrt and numbers(machine.tensorrt)[:2] != numbers(words)[:2]:
        other = (
            f"the system has TensorRT {machine.tensorrt}, whose trtexec and C++ programs do not "
            "load engines of this one; keep one of the two"
        )
        notes[other] = None
    try:
        for precision in ("fp32", "fp16", "int8"):
            notes |= dict.fromkeys(check_version(words, machine.device or NOBODY, precision, 1))
    except LzuError as error:
        return Finding("tensorrt", False, str(error), _tensorrt_command(machine))
    # The finding already shows the version before the notes.
    said = tuple(note.removeprefix(f"TensorRT {words}: ") for note in notes)
    return Finding("tensorrt", True, words, notes=said)


def _two_tensorrts(machine: Machine) -> Finding | None:
    """Report TensorRT's packages for two releases of CUDA, which write the same files."""
    there, _ = _versions(*TENSORRTS)
    if len(there) < 2:
        return None
    # The driver must have the package's release of CUDA.
    older = machine.driver is not None and machine.driver.cuda < (13, 0)
    kept = next(iter(there)) if older else list(there)[-1]
    removed = " ".join(f"{name} {name}-bindings {name}-libs" for name in there if name != kept)
    again = reinstall(f"{kept}=={there[kept]} {kept}-bindings=={there[kept]}", PIP)
    listed = " and ".join(f"{name} {release}" for name, release in there.items())
    why = f"{listed} write the same files, which are those of whichever came last; keep one"
    return Finding("tensorrt", False, why, f"{PIP} uninstall -y {removed} && {again}")


def _why_no_tensorrt(machine: Machine, words: str) -> tuple[str, str]:
    """Return why TensorRT is missing and the remedy; the system may have it unseen by Python."""
    if machine.tensorrt and "python3-libnvinfer" not in machine.packages:
        return (
            f"the system has TensorRT {machine.tensorrt} without its Python module",
            "sudo apt-get install python3-libnvinfer",
        )
    if machine.tensorrt and (command := hidden_from_python()):
        return f"the system has TensorRT {machine.tensorrt}, which this Python hides", command
    if machine.tensorrt:
        mine = ".".join(map(str, sys.version_info[:2]))
        return (
            f"the system has TensorRT {machine.tensorrt}, but not for Python {mine} ({words})",
            "/usr/bin/python3 -m venv --clear --system-site-packages .venv  # then install again",
        )
    return words, _tensorrt_command(machine)


def _tensorrt_command(machine: Machine) -> str:
    if machine.jetson:
        return "sudo apt-get update && sudo apt-get install tensorrt python3-libnvinfer"
    return f"{pip_install('tensorrt')}  # with an NVIDIA GPU"


def _library(target: Target) -> Finding:
    """Find the library of a target by its metadata, where no other examination is needed."""
    release = target.version()
    install = "" if release else pip_install(target.extra)
    return Finding(target.name, release is not None, release or "not installed", install)


def _cuda(machine: Machine) -> Finding:
    """Find the first CUDA back end that imports; device sessions need one."""
    said = []
    for name, module in BACK_ENDS:
        found, words = _imported(module)
        if found:
            graphs = "" if name == "cuda-python" else ", which captures no CUDA graphs"
            return Finding("cuda", True, f"{name} {words}{graphs}")
        said.append(f"{name}: {words}")
    # Bindings need a driver of their CUDA major or a later one; JetPack 6 has 12.
    older = machine.driver is not None and machine.driver.cuda < (13, 0)
    install = pip_install("cuda12" if older else "cuda")
    return Finding("cuda", False, "; ".join(said), install)
