"""Build a bundle's TensorRT-RTX engine for other cards, or with plugins. Needs no torch."""

import time
from collections.abc import Sequence
from pathlib import Path

from lzu_export.bundle.bundle import Bundle
from lzu_export.bundle.workspace import exclusive
from lzu_export.compiler.added_engine import add_engine, describe_engine, find_derived
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.graph.lowering.adaptive import adapts
from lzu_export.graph.read import load_graph
from lzu_export.manifest.schema import Derived, Engine
from lzu_export.runtime.plugin_library import check_library, find_library
from lzu_export.support.files import replacing
from lzu_export.support.files.hashes import sha256
from lzu_export.support.files.places import record_built
from lzu_export.targets.tensorrt import plugin_process
from lzu_export.targets.tensorrt.rtx_target import TARGET, WITH_PLUGINS


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


def build_rtx_plugins(
    bundle: Path,
    compute_capabilities: Sequence[str],
    library: Path | None = None,
    precision: str | None = None,
) -> Engine:
    """Build the bundle's TensorRT-RTX engine whose graph calls plugins, and add it to the bundle.

    Its ONNX file is derived and compared with PyTorch first, unless the bundle has it. An engine of
    the same precision and compute capabilities is replaced.

    Args:
        bundle: folder that export made.
        compute_capabilities: compute capabilities such as `8.9`; empty for the portable default.
        library: plugin library; by default the one that is found.
        precision: precision of the graph; by default the highest in the bundle.

    Returns:
        The engine's entry in the manifest.

    Raises:
        NoPluginsError: this TensorRT-RTX takes no plugins.
        LzuError: the bundle has no such precision or its graph calls no plugins, the library is
            missing or does not fit, or the build fails.
    """
    opened = Bundle(bundle)
    library = find_library(library, bundle)
    precision = precision or next(iter(opened.manifest.graphs))
    derived = _derived(opened, library, precision)
    opened = Bundle(bundle)
    wanted = opened.manifest.plugins
    assert wanted is not None, "the derived graph calls plugins"
    name = WITH_PLUGINS.engine_file(derived.precision)
    if compute_capabilities:
        cards = "".join(f".sm{each.replace('.', '')}" for each in compute_capabilities)
        name = name.removesuffix(".engine") + f"{cards}.engine"
    with exclusive(bundle.resolve()), readable_os_errors(f"the bundle {bundle}"):
        with replacing(bundle / name) as temporary:
            start = time.perf_counter()
            built = plugin_process.build(
                opened.file(derived.file),
                temporary,
                library,
                wanted,
                compute_capabilities=compute_capabilities,
            )
            seconds = round(time.perf_counter() - start, 3)
            entry = describe_engine(derived, built, name, temporary, seconds)
        record_built(sha256(bundle / name), name)
        add_engine(opened, entry, library)
    return entry


def _derived(bundle: Bundle, library: Path, precision: str) -> Derived:
    """Return the bundle's file whose graph calls plugins, derived where the bundle lacks it."""
    known = bundle.manifest.plugins
    if known is not None:
        check_library(library, known)
    found = find_derived(bundle.manifest, WITH_PLUGINS.name, precision)
    if found is not None:
        return found
    if precision in bundle.manifest.graphs and not adapts(load_graph(bundle.canonical(precision))):
        raise LzuError(
            f"the graph of {bundle.folder} calls no plugins: only warps that are computed from an "
            "engine's inputs have some; leave --plugins out"
        )
    # It compares in ONNX Runtime, which a build without plugins does not need.
    from lzu_export.compiler.derive import derive

    derive(bundle.folder, precision=precision, plugins=library, target=WITH_PLUGINS.name)
    made = find_derived(Bundle(bundle.folder).manifest, WITH_PLUGINS.name, precision)
    assert made is not None, "just derived"
    return made
