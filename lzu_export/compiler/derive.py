"""Write a bundle's ONNX file for a target whose engine is built on the device. Needs no torch."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import onnx

from lzu_export.bundle.bundle import Bundle
from lzu_export.bundle.workspace import exclusive
from lzu_export.compiler.acceptance import refuse_deviation
from lzu_export.compiler.advice import parity_advice
from lzu_export.compiler.remedy import Trials
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.graph.contracts import CONTRACTS, NAMESPACE, VERSION
from lzu_export.graph.derivation import lower_for
from lzu_export.graph.lint import lint
from lzu_export.graph.lowering.choose import (
    NO_BF16_GRID,
    choose_lowerings,
    lowerings_by_place,
    without_grid_sample,
)
from lzu_export.graph.read import load_graph
from lzu_export.manifest.schema import (
    Derived,
    Lowering,
    Manifest,
    Operator,
    Parity,
    PluginLibrary,
    Plugins,
)
from lzu_export.quantization.calibration import read_cache
from lzu_export.quantization.ranges import FILE as CALIBRATION_FILE
from lzu_export.runtime.plugin_library import describe_library, library_at, library_places
from lzu_export.support.files import replacing
from lzu_export.support.progress import Reporter
from lzu_export.targets.base import Target
from lzu_export.targets.registry import find
from lzu_export.targets.tensorrt import NAME
from lzu_export.verification.parity import compare

log = logging.getLogger(__name__)


def derive(
    bundle: Path,
    *,
    precision: str | None = None,
    plugins: Path | None = None,
    target: str = NAME,
) -> list[dict[str, Any]]:
    """Write `model.PRECISION.TARGET.onnx` into a bundle, and record it in the manifest.

    Args:
        bundle: folder that export made.
        precision: one of the bundle's precisions; by default all.
        plugins: the plugin library that devices are to load; by default one that is found, if any.
            Only graphs with computed warps call plugins.
        target: name of a target whose engines are not built by an export.

    Returns:
        For every precision: `file`, `precision`, `plugins` (names of the plugins that the graph
        calls), `library` (file name of the plugin library, or None), `status`.

    Raises:
        LzuError: the bundle is damaged or has no such precision, the graph breaks a contract of
            the plugins or deviates from PyTorch, or the library is no plugin library.
    """
    opened = Bundle(bundle)
    manifest = opened.manifest
    wanted = [precision] if precision else list(manifest.graphs)
    for each in wanted:
        if each not in manifest.graphs:
            listed = ", ".join(manifest.graphs)
            raise LzuError(f"{bundle} has no graph in {each}; it has {listed}")
    library = describe_library(plugins) if plugins is not None else None
    with exclusive(bundle.resolve()), readable_os_errors(f"the bundle {bundle}"):
        made = [_derive(opened, each, find(target)) for each in wanted]
        called = list(dict.fromkeys(name for each in made for name in each.calls))
        if library is None and (called or manifest.plugins is not None):
            library = _found_library(bundle)
        _write_manifest(opened, made, _plugins(manifest, called, library))
    return [
        {
            "file": str(bundle / each.derived.file),
            "precision": each.derived.precision,
            "plugins": each.calls,
            "library": library.file if library and each.calls else None,
            "status": each.parity.status,
        }
        for each in made
    ]


class _Made(NamedTuple):
    """A derived file, its deviation from PyTorch, and the names of the plugins that it calls."""

    derived: Derived
    parity: Parity
    calls: list[str]


def _derive(bundle: Bundle, precision: str, target: Target) -> _Made:
    recipe = bundle.recipe
    canonical = bundle.canonical(precision)
    model = load_graph(canonical)
    choices = choose_lowerings(
        model,
        zoom=recipe.lowering.zoom,
        unzoom=recipe.lowering.unzoom,
        defaults=target.dialect.lowerings,
    )
    if precision == "bf16":
        choices = without_grid_sample(model, choices, NO_BF16_GRID)
    flavour, records = lower_for(target.dialect, model, lowerings_by_place(choices))
    lint(flavour, target.dialect)
    for record in records:
        log.info("%s: %s", record.name, record.why)
    file = target.graph_file(precision)
    derived = Derived(
        target=target.name,
        precision=precision,
        file=file,
        lowerings=tuple(Lowering(**asdict(each)) for each in choices),
        passes=tuple(asdict(record) for record in records),
    )
    with replacing(bundle.folder / file) as new:
        onnx.save(flavour, new)
        parity = compare(recipe, derived, canonical, new, bundle.references, bundle.warp)
        refuse_deviation(parity, partial(_advice, bundle, derived), "the file was not written")
    calls = [node.op_type for node in flavour.graph.node if node.domain == NAMESPACE]
    return _Made(derived, parity, [name for name in CONTRACTS if name in calls])


def _advice(bundle: Bundle, derived: Derived) -> str:
    """Return advice on the layers to keep higher in the next export so that the file passes."""
    model = load_graph(bundle.canonical("fp32"))
    ranges: Mapping[str, float] = {}
    if derived.precision == "int8":
        ranges = read_cache(bundle.file(CALIBRATION_FILE)).ranges
    row = derived, False
    trials = Trials(bundle.recipe, derived.precision, model, ranges, bundle.references, bundle.warp)
    return f"export again: {parity_advice(trials, row, [row], Reporter(quiet=True))}"


def _found_library(bundle: Path) -> PluginLibrary | None:
    """Return the library that this user built; called last, since describing a library runs it."""
    path = library_at(library_places(bundle))
    return None if path is None else describe_library(path)


def _plugins(
    manifest: Manifest, called: Sequence[str], library: PluginLibrary | None
) -> Plugins | None:
    """Return the plugins that all derived files of the bundle need, earlier files included."""
    before = manifest.plugins or Plugins(operators=())
    operators = {each.name: each for each in before.operators}
    operators |= {
        name: Operator(name=name, version=VERSION, namespace=NAMESPACE) for name in called
    }
    if not operators:
        return None
    return Plugins(operators=tuple(operators.values()), library=library or before.library)


def _write_manifest(bundle: Bundle, made: Sequence[_Made], plugins: Plugins | None) -> None:
    """Write the manifest with the derived files instead of earlier ones."""
    again = {(each.derived.target, each.derived.precision) for each in made}

    def others(listed: Sequence[Any]) -> list[Any]:
        return [each for each in listed if (each.target, each.precision) not in again]

    changes = {
        "derived": (*others(bundle.manifest.derived), *(each.derived for each in made)),
        "parity": (*others(bundle.manifest.parity), *(each.parity for each in made)),
        "plugins": plugins,
    }
    bundle.rewrite([each.derived.file for each in made], changes)
