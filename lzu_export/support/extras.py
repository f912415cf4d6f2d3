"""Find which extra of this project brings a package, and the command that installs it.

Imports the standard library alone: it is asked where other packages are missing.
"""

import shlex
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

_GRAPHS = ("onnx", "onnx_graphsurgeon", "ml_dtypes")
BRINGS: dict[str, tuple[str, ...]] = {
    "runtime": ("onnxruntime",),
    "verify": _GRAPHS,
    "device": _GRAPHS,
    "rtx": (*_GRAPHS, "tensorrt_rtx"),
    "bench": (*_GRAPHS, "faster_coco_eval", "jinja2", "markupsafe", "matplotlib"),
    "export": (*_GRAPHS, "onnxscript", "torch"),
    "gpu": ("onnxruntime",),
    "cuda": ("cuda",),
    "pycuda": ("pycuda",),
    "tensorrt": ("tensorrt",),
}
"""By extra, the names of the modules it installs; small ones first."""
OF_COMMANDS: dict[str, tuple[str, ...]] = {
    "export": ("export", "bench"),
    "verify": ("verify", "export"),
    "regress": ("verify", "export"),
    "calibrate": ("verify", "bench"),
    "sensitivity": ("verify", "bench"),
    "bench": ("bench", "export"),
    "derive": ("device",),
    "build": ("rtx", "device"),
    "build --target tensorrt": ("device",),
}
"""By command, the extras it is meant for, besides `runtime`."""
ALWAYS: dict[str, str] = {
    "cv2": "opencv-python-headless",
    "numpy": "numpy",
    "pydantic": "pydantic",
    "pydantic_core": "pydantic",
    "rich": "rich",
    "typer": "typer",
    "yaml": "pyyaml",
}
"""By module, the package of this project's own dependencies that holds it."""


SHARED: dict[str, tuple[str, ...]] = {
    "cv2": (
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python-headless",
        "opencv-contrib-python",
    ),
    "onnxruntime": (
        "onnxruntime",
        "onnxruntime-gpu",
        "onnxruntime-directml",
        "onnxruntime-migraphx",
        "onnxruntime-openvino",
        "onnxruntime-qnn",
        "onnxruntime-rocm",
        "onnxruntime-training",
    ),
}
"""By module, the packages that write the same files: of two, removing one breaks the other."""
ENTRY: dict[str, str] = {"cv2": "imread", "onnxruntime": "InferenceSession"}
"""By such a module, what it has where it is whole."""


def owners(module: str) -> dict[str, str]:
    """Installed packages that hold a module of `SHARED`, with their versions."""
    found = {}
    for name in SHARED[module]:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cure(module: str, pip: str = "pip") -> str:
    """The command that makes a module of `SHARED` whole: one of its packages, written again."""
    found = owners(module)
    if not found:
        return install(module)
    # The one that this project asks for; on a GPU, the one that was installed for that.
    kept = "onnxruntime-gpu" if "onnxruntime-gpu" in found else next(iter(found))
    others = [name for name in found if name != kept]
    command = reinstall(f"{kept}=={found[kept]}", pip)
    return f"{pip} uninstall -y {' '.join(others)} && {command}" if others else command


def is_whole(module: ModuleType) -> bool:
    """Whether a module of `SHARED` is more than what is left of it."""
    return hasattr(module, ENTRY[module.__name__])


def extra_of(module: str, command: str = "") -> str | None:
    """The smallest extra that brings a module, best one that a command is meant for.

    Args:
        module: its name, dots and all.
        command: the one that lacks it, as in `OF_COMMANDS`; any other has no extras of its own.
    """
    top = module.partition(".")[0]
    meant = OF_COMMANDS.get(command, ())
    return next((each for each in (*meant, *BRINGS) if top in BRINGS[each]), None)


def install(module: str, command: str = "") -> str:
    """The line for a shell that gets a module that is missing, for a command of `OF_COMMANDS`."""
    top = module.partition(".")[0]
    if SHARED.get(top) and owners(top):
        return cure(top)
    extra = extra_of(module, command)
    if extra is not None:
        return f"pip install 'lzu-export[{extra}]'"
    if top in ALWAYS:
        # Its metadata may still be there, so that a plain install would find it satisfied.
        return reinstall(ALWAYS[top])
    return f"install the package with the module {shlex.quote(top)}"


def reinstall(package: str, pip: str = "pip") -> str:
    """The command that writes a package's files again, where its metadata says they are there."""
    return f"{pip} install --force-reinstall --no-deps {package}"


def needs(what: str, module: str | None, command: str = "") -> str:
    """The sentence that something lacks a module, with the remedy."""
    return f"{what} needs the package {module}; {install(module or '', command)}"


def broken(module: str, why: str = "files of it are missing") -> str:
    """The sentence that a module is there, but does not work, with the remedy."""
    return f"the package {module} is damaged ({why}); {install(module)}"
