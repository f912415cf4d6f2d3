"""The layout `bundle`: a bundle with one target's engines, which `load` opens. No torch."""

from collections.abc import Sequence
from pathlib import Path

from lzu_export.bundle.bundle import WARP_FILE, WARP_TENSORS, Bundle
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import FILE as MANIFEST_FILE
from lzu_export.manifest.schema import FORMAT, Derived, Engine, Manifest
from lzu_export.manifest.seal import manifest_text
from lzu_export.packing.archive import Content
from lzu_export.packing.selection import Packed, derived_of, engines_of, refuse_empty
from lzu_export.runtime.plugin_library import VARIABLE, describe_library
from lzu_export.runtime.reference import FILE as REFERENCE_FILE
from lzu_export.targets.base import Target

SMALL = ("labels.txt", "recipe.yaml", WARP_FILE)
"""Files that go into every archive, besides the manifest."""


def device_entries(
    bundle: Bundle,
    target: Target,
    precision: str | None,
    *,
    verifiable: bool,
    plugins: Path | None,
    to_build: bool = False,
) -> Packed:
    """Return the entries of a bundle with one target's engines.

    A target whose engines are built on the device contributes its engines; if the bundle has none,
    the ONNX files that they are built from, and the reference that a new engine is run on.

    Args:
        bundle: opened bundle.
        target: target of the engines.
        precision: precision of the engines, or several separated by spaces; None for all.
        verifiable: also pack the reference and the graphs that `lzu-export verify` reads.
        plugins: plugin library of the device, which is put beside the folder.
        to_build: pack the ONNX files even where the bundle has engines, which may be another
            device's.

    Raises:
        LzuError: the bundle has nothing for the target, a file was changed, or the library is not
            the bundle's.
    """
    made: list[Engine | Derived] = [] if to_build else [*engines_of(bundle, target, precision)]
    made = made or [*derived_of(bundle, target, precision)]
    refuse_empty(bundle, target, precision, made)
    notes = _check_plugins(bundle.manifest, target, plugins)
    names = _needed(bundle.manifest, made, verifiable)
    manifest = _pruned(bundle.manifest, made, names)
    folder = bundle.folder.resolve().name
    entries: dict[str, Content] = {
        f"{folder}/{MANIFEST_FILE}": manifest_text(manifest.model_dump(mode="json")).encode(),
        **{f"{folder}/{name}": bundle.file(name) for name in names},
    }
    if plugins is not None:
        entries[plugins.name] = plugins
    if not any(isinstance(each, Engine) for each in made):
        notes.append(
            f"the bundle has no engine for {target.name} yet: build one on the device (lzu-export "
            f"build {folder} --target {target.name})"
        )
    return Packed(entries, frozenset(names), tuple(notes))


def _needed(
    manifest: Manifest, made: Sequence[Engine | Derived], verifiable: bool
) -> tuple[str, ...]:
    """Return the names of the files to pack, sorted, without the manifest."""
    names = {*SMALL, *(each.file for each in made)}
    if WARP_TENSORS in manifest.files:
        names.add(WARP_TENSORS)
    if any(isinstance(each, Derived) for each in made):
        names.add(REFERENCE_FILE)
    if verifiable:
        names |= {REFERENCE_FILE, *(each.onnx for each in made)}
        names |= {manifest.graphs[each.precision].file for each in made}
    return tuple(sorted(names))


def _pruned(manifest: Manifest, made: Sequence[Engine | Derived], names: Sequence[str]) -> Manifest:
    """Return the manifest of the packed bundle: other engines are gone, every hash stays."""
    return manifest.model_copy(
        update={
            "format": FORMAT,
            "engines": tuple(each for each in made if isinstance(each, Engine)),
            "derived": tuple(each for each in made if isinstance(each, Derived)),
            "left_out": tuple(sorted(set(manifest.files) - set(names))),
        }
    )


def _check_plugins(manifest: Manifest, target: Target, library: Path | None) -> list[str]:
    """Check a plugin library against the bundle, and return a note on the device's need for it.

    Raises:
        LzuError: the file is no plugin library, is not the bundle's, or the target takes none.
    """
    called = manifest.plugins if target.dialect.plugins else None
    if library is not None:
        if not target.on_device:
            raise LzuError(f"{target.title} takes no plugin library; leave --plugins out")
        found, known = describe_library(library), called and called.library
        if known and found.sha256 != known.sha256:
            raise LzuError(
                f"{library} is not the {known.file} that the bundle was made for; name that one, "
                "or derive the bundle's graph for this library (lzu-export derive BUNDLE --plugins "
                "FILE)"
            )
        return [f"on the device set {VARIABLE} to the path of {library.name}"]
    if called:
        names = ", ".join(each.name for each in called.operators)
        return [f"the engine calls {names}: the device needs the plugin library (--plugins FILE)"]
    if target.on_device and manifest.recipe.input == "zoomed":
        return ["the GPU zooms only with the plugin library (--plugins FILE), else the processor"]
    return []
