"""Record the software that ran: releases of packages, source revision, hashes of source."""

import hashlib
import platform
import re
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
    """Return what identifies the source: a clone's git revision, else release and hash of the code.

    The revision ends in `+changes` if there are uncommitted ones. The hash is `source_digest`'s, so
    that of a clone at the release's tag is the same.
    """
    return _git_revision() or f"{VERSION}, code {source_digest()}"


def short_revision(revision: str) -> str:
    """Return a revision with its hash shortened to 12 digits, for a line of text."""
    return re.sub(r"\b[0-9a-f]{40,64}\b", lambda found: found[0][:12], revision)


def _git_revision() -> str:
    """Return the revision of the git clone that this package lies in; empty if there is none."""
    root = PACKAGE.parent
    if not (root / ".git").exists():
        return ""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        revision = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except OSError:  # no git on this machine
        return ""
    return f"{revision}{'+changes' if changed else ''}" if revision else ""


def low_precision_note() -> str:
    """Return a note on the meaning of lower precisions' latencies on this processor."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    integers = "" if "vnni" in flags else " and has no VNNI for INT8"
    return (
        f"this processor computes FP16 in FP32{integers}: ms of fp16 and int8 say nothing about a "
        "device"
    )
