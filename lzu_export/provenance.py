"""What made a bundle: fingerprints, versions, source revision."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path

import lzu_calibration
from lzu_export import __version__
from lzu_export.datasets import GROUP as DATASETS_GROUP
from lzu_export.ranges import recipe_frames
from lzu_export.recipes import Recipe
from lzu_export.runtime.manifest import sha256
from lzu_export.tasks.custom import builder_digest

PACKAGES = (
    "torch",
    "numpy",
    "onnx",
    "onnxscript",
    "onnx-graphsurgeon",
    "onnxruntime",
    "onnxruntime-gpu",
    "opencv-python-headless",
    "polygraphy",
    "faster-coco-eval",
    "tensorrt-rtx",
)
"""Packages whose release can change a bundle."""
ON_DEVICE = ("tensorrt", "cuda-bindings", "pycuda")
"""Those that build and run engines on a device, after the export."""

CALIBRATION_SOURCE = Path(lzu_calibration.__file__).parent


def versions(packages: Sequence[str] = PACKAGES + ON_DEVICE) -> dict[str, str]:
    """Releases of this package, Python and everything that shapes a bundle or runs it."""
    found = {"lzu-export": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def source_digest(root: Path = Path(__file__).parent) -> str:
    """Hash of a package's source, by default this one's: a change of code makes a bundle stale."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def fingerprint(recipe: Recipe) -> str:
    """Hash of all that a bundle depends on: recipe, weights, saliency, annotations, code,
    packages.
    """
    dataset = recipe.evaluation.dataset
    inputs = {
        "evaluation": _evaluation_digest(dataset) if dataset else None,
        "recipe": json.loads(
            recipe.model_dump_json(exclude={"checkpoint": True, "warp": {"saliency": True}})
        ),
        "checkpoint": checkpoint_identity(recipe),
        "calibration": _calibration_digest(recipe),
        "saliency": _digest(recipe.warp.saliency) if recipe.variant != "uniform" else None,
        "source": source_digest(),
        "custom_model": builder_digest(recipe),
        "versions": versions(PACKAGES),
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _evaluation_digest(dataset: str) -> list[str | None]:
    """Hash of annotations, and of the harness that makes the frames and computes the metric."""
    packages = {entry.module.partition(".")[0] for entry in entry_points(group=DATASETS_GROUP)}
    found = (find_spec(package) for package in sorted(packages))
    roots = [Path(spec.origin).parent for spec in found if spec and spec.origin]
    return [_digest(Path(dataset)), *(source_digest(root) for root in roots)]


def _calibration_digest(recipe: Recipe) -> list[str | None] | None:
    """Hash of the frames and the cache that INT8 ranges come from, and of what makes them."""
    if "int8" not in recipe.precision:
        return None
    frames = recipe_frames(recipe).digest
    return [frames, _digest(recipe.calibration.cache), source_digest(CALIBRATION_SOURCE)]


def checkpoint_identity(recipe: Recipe) -> dict[str, str]:
    """File name and hash of the weights, or the seed that stands for them."""
    path = recipe.checkpoint.get(recipe.variant)
    if path is None:
        return {"random_weights": str(recipe.random_weights)}
    return {"file": path.name, "sha256": _digest(path) or ""}


def source_revision() -> str:
    """The source tree's git revision, `+changes` if it has uncommitted ones, or `unknown`."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return "unknown"

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        revision = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except OSError:  # no git on this machine
        return "unknown"
    return f"{revision}{'+changes' if changed else ''}" if revision else "unknown"


def low_precision_note() -> str:
    """What latencies of lower precisions on this processor are worth."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    integers = "" if "vnni" in flags else " and has no VNNI for INT8"
    return (
        f"this processor computes FP16 in FP32{integers}: ms of fp16 and int8 say nothing about a "
        "device"
    )


def _digest(path: Path | None) -> str | None:
    """Hash of a file, or of the images in a folder."""
    if path is None or not path.exists():
        return None
    if path.is_file():
        return sha256(path)
    digest = hashlib.sha256()
    for each in sorted(path.rglob("*.png")):
        digest.update(f"{each.relative_to(path).as_posix()} {sha256(each)}\n".encode())
    return digest.hexdigest()
