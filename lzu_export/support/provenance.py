"""Record the software that ran: releases of packages, source revision, hashes of source."""

import hashlib
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lzu_export.support.version import VERSION

PACKAGE = Path(__file__).resolve().parents[1]
"""Folder of this package."""

PACKAGES = (
    "torch",
    "numpy",
    "onnx",
    "onnxscript",
    "onnx-graphsurgeon",
    "onnxruntime",
    "onnxruntime-gpu",
    "opencv-python-headless",
    "faster-coco-eval",
    "tensorrt-rtx",
)
"""Names of packages whose release can change a bundle."""
ON_DEVICE = ("tensorrt", "cuda-bindings", "pycuda")
"""Names of packages that build and run engines on a device, after the export."""


def versions(packages: Sequence[str] = PACKAGES + ON_DEVICE) -> dict[str, str]:
    """Return the releases of this package, Python and the installed ones of these packages."""
    found = {"lzu-export": VERSION, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def source_digest(root: Path = PACKAGE) -> str:
    """Hash a package's source, by default this one's: a change of code makes a bundle stale."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def source_revision() -> str:
    """Return the source's git revision, with `+changes` if uncommitted ones exist, or `unknown`."""
    root = PACKAGE.parent
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
    """Return a note on the meaning of lower precisions' latencies on this processor."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    integers = "" if "vnni" in flags else " and has no VNNI for INT8"
    return (
        f"this processor computes FP16 in FP32{integers}: ms of fp16 and int8 say nothing about a "
        "device"
    )
