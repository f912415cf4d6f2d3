"""Rebuild a bundle's TensorRT-RTX engine for other cards. Needs no torch."""

from collections.abc import Sequence
from pathlib import Path

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.support.files import replacing
from lzu_export.targets.tensorrt.rtx_target import TARGET


def build_rtx(
    bundle: Path,
    compute_capabilities: Sequence[str],
    out: Path | None,
    precision: str | None = None,
) -> dict[str, str]:
    """Build the bundle's TensorRT-RTX engine for the given compute capabilities.

    Without a `precision`, the bundle's highest is built.

    The engine is written to `out`, by default beside the bundle under a name that contains its
    precision and compute capabilities; the bundle itself stays as it was verified.

    Returns:
        The values `file`, `precision`, `version`, and `for` (the compute capabilities).

    Raises:
        LzuError: the bundle has no graph for this target and precision, or the build fails.
    """
    from lzu_export.targets.tensorrt.rtx import build

    opened = Bundle(bundle)
    if not any(each.target == TARGET.name for each in opened.manifest.engines):
        raise LzuError(f"{bundle} has no {TARGET.name} graph; export it with that target")
    engine = opened.engine(TARGET.name, precision)
    model = opened.executable(engine)
    devices = "".join(f".sm{each.replace('.', '')}" for each in compute_capabilities)
    name = f"{bundle.resolve().name}.{engine.precision}.rtx{devices or '.portable'}.engine"
    path = out or bundle.resolve().parent / name
    with readable_os_errors(str(path)), replacing(path) as new:
        built = build(model, new, compute_capabilities=compute_capabilities)
    return {
        "file": str(path),
        "precision": engine.precision,
        "version": built.version,
        "for": ", ".join(f"sm{each}" for each in built.compute_capabilities),
    }
