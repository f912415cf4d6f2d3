"""Find which extra of this project brings a package, and the command that installs it.

This module imports only the standard library, since it is used when other packages are missing.
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
    "rtxprovider": ("onnxruntime_ep_nv_tensorrt_rtx",),
    "cuda": ("cuda",),
    "cuda12": ("cuda",),
    "pycuda": ("pycuda",),
    "tensorrt": ("tensorrt",),
    "cluster": ("distributed",),
    "parquet": ("pyarrow",),
    "search": ("optuna",),
    "sahi": ("sahi",),
    "demo": ("lzu_export_demo",),
}
"""Names of the modules that each extra installs; small extras first."""
OF_COMMANDS: dict[str, tuple[str, ...]] = {
    "export": ("export", "bench"),
    "verify": ("verify", "export"),
    "regress": ("verify", "export"),
    "calibrate": ("verify", "bench"),
    "sensitivity": ("verify", "bench"),
    "bench": ("bench", "export"),
    "derive": ("device",),
    "warp": ("bench",),
    "sweep": ("export", "bench"),
    "build": ("rtx", "device"),
    "build --target tensorrt": ("device",),
}
"""Extras that are meant for each command, besides `runtime`."""
ALWAYS: dict[str, str] = {
    "cv2": "opencv-python-headless",
    "numpy": "numpy",
    "pydantic": "pydantic",
    "pydantic_core": "pydantic",
    "rich": "rich",
    "typer": "typer",
    "yaml": "pyyaml",
}
"""Package that holds each module of this project's own dependencies."""


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
"""Packages that write the same files for each module: if two are installed, removing one breaks
the other."""
ENTRY: dict[str, str] = {"cv2": "imread", "onnxruntime": "InferenceSession"}
"""Attribute that each module of `SHARED` has if its files are complete."""


def owners(module: str) -> dict[str, str]:
    """Return the versions of the installed packages that hold a module of `SHARED`, by name."""
    found = {}
    for name in SHARED[module]:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cure(module: str, pip: str = "pip") -> str:
    """Return the command that repairs a module of `SHARED`: it writes one package's files again."""
    found = owners(module)
    if not found:
        return install(module)
    # Keep the package that this project asks for; on a GPU, the one that was installed for it.
    kept = "onnxruntime-gpu" if "onnxruntime-gpu" in found else next(iter(found))
    others = [name for name in found if name != kept]
    command = reinstall(f"{kept}=={found[kept]}", pip)
    return f"{pip} uninstall -y {' '.join(others)} && {command}" if others else command


def is_whole(module: ModuleType) -> bool:
    """Whether a module of `SHARED` is complete, not the rest of a removed package."""
    return hasattr(module, ENTRY[module.__name__])


def extra_of(module: str, command: str = "") -> str | None:
    """Return the smallest extra that installs a module, preferring the extras of a command.

    Args:
        module: name of the module, dots included.
        command: command that lacks the module, as in `OF_COMMANDS`; others have no extras of their
            own.
    """
    top = module.partition(".")[0]
    meant = OF_COMMANDS.get(command, ())
    return next((each for each in (*meant, *BRINGS) if top in BRINGS[each]), None)


def install(module: str, command: str = "") -> str:
    """Return the shell command that installs a missing module for a command of `OF_COMMANDS`."""
    top = module.partition(".")[0]
    if SHARED.get(top) and owners(top):
        return cure(top)
    extra = extra_of(module, command)
    if extra is not None:
        return f"pip install 'lzu-export[{extra}]'"
    if top in ALWAYS:
        # If the package's metadata is still there, a plain install would do nothing.
        return reinstall(ALWAYS[top])
    return f"install the package with the module {shlex.quote(top)}"


def reinstall(package: str, pip: str = "pip") -> str:
    """Return the command that writes a package's files again, even if it seems installed."""
    return f"{pip} install --force-reinstall --no-deps {package}"


def needs(what: str, module: str | None, command: str = "") -> str:
    """Return the sentence that something needs a missing module, with the remedy."""
    return f"{what} needs the package {module}; {install(module or '', command)}"


def broken(module: str, why: str = "files of it are missing") -> str:
    """Return the sentence that an installed module does not work, with the remedy."""
    return f"the package {module} is damaged ({why}); {install(module)}"
