"""Build a bundle's TensorRT engine on the device that will run it. Needs no torch."""

import time
from pathlib import Path

from lzu_export.bundle.bundle import Bundle
from lzu_export.bundle.workspace import exclusive
from lzu_export.compiler.added_engine import add_engine, describe_engine, find_derived
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.manifest.schema import Engine, OnDevice
from lzu_export.support.files import replacing
from lzu_export.support.files.hashes import sha256
from lzu_export.support.files.places import record_built, user_folder
from lzu_export.support.progress import Reporter
from lzu_export.targets.base import OpenOptions
from lzu_export.targets.cuda.interface import Cuda, open_cuda
from lzu_export.targets.cuda.memory import Device
from lzu_export.targets.tensorrt import NAME
from lzu_export.targets.tensorrt import build as tensorrt
from lzu_export.targets.tensorrt.open import open_engine, plugin_loader
from lzu_export.tasks.outputs import compare_outputs
from lzu_export.verification.parity import finite_runs


def build_on_device(
    bundle: Path,
    *,
    precision: str | None = None,
    options: tensorrt.BuildOptions | None = None,
    library: Path | None = None,
    back_end: str | None = None,
    report: Reporter | None = None,
) -> tuple[Engine, tuple[str, ...]]:
    """Build an engine for this device, run it on the bundle's reference, add it to the bundle.

    An engine of the same precision, release and model of device is replaced; the bundle stays as it
    is until the new engine has run. Where the bundle names no plugin library yet, the one used here
    is recorded in it. Tactic timings are kept in the user's cache folder, which shortens a second
    build.

    Args:
        bundle: folder that export made, with a file for TensorRT (`lzu-export derive`).
        precision: precision of that file; by default the highest there is.
        options: options of the build.
        library: library of plugins; by default the one that is found.
        back_end: name of the CUDA back end; by default the one that is found.
        report: receiver of progress.

    Returns:
        The engine's entry in the manifest, and the known faults of this TensorRT.

    Raises:
        LzuError: the bundle has no such file, TensorRT or the device is missing, the build fails,
            or the engine returns NaN.
    """
    report = report or Reporter(quiet=True)
    options = options or tensorrt.BuildOptions()
    opened = Bundle(bundle)
    manifest = opened.manifest
    derived = find_derived(manifest, NAME, precision)
    if derived is None:
        asked = f" in {precision}" if precision else ""
        raise LzuError(
            f"{bundle} has no file for TensorRT{asked}; write one (lzu-export derive {bundle})"
        )
    model = opened.file(derived.file)
    version = tensorrt.import_module().__version__
    cuda = open_cuda(back_end)
    name = tensorrt.engine_name(derived.precision, version, cuda.device)
    with exclusive(bundle.resolve()), readable_os_errors(f"the bundle {bundle}"):
        with replacing(bundle / name) as temporary:
            start = time.perf_counter()
            with cuda.current(), report.phases() as phases:
                built = tensorrt.build(
                    model,
                    temporary,
                    cuda.device,
                    options=options,
                    precision=derived.precision,
                    plugins=plugin_loader(manifest, library, bundle),
                    timing_cache=_timing_cache(version, cuda.device),
                    phases=phases,
                )
            seconds = round(time.perf_counter() - start, 3)
            entry = describe_engine(derived, built, name, temporary, seconds)
            entry = entry.model_copy(
                update={"device": cuda.device.model, "portability": options.portability}
            )
            with report.working(f"running {name} on the reference"):
                entry = _run(opened, entry, temporary, library, cuda)
        record_built(sha256(bundle / name), name)
        add_engine(Bundle(bundle), entry, library)
    return entry, built.notes


def _timing_cache(version: str, device: Device) -> Path | None:
    """Return the path of the tactic timings: in the user's folder, since bundles are untrusted."""
    folder = user_folder()
    if folder is None:
        return None
    (folder / "timings").mkdir(parents=True, exist_ok=True)
    return folder / "timings" / tensorrt.timing_cache_name(version, device)


def _run(
    bundle: Bundle,
    entry: Engine,
    path: Path,
    library: Path | None,
    cuda: Cuda,
) -> Engine:
    """Run an engine on the reference frames, and return its entry with the result.

    Lower precisions reorder candidates, so that only NaN and infinity are checked there.
    """
    recipe, exact = bundle.recipe, entry.precision == "fp32"
    worst: dict[str, float] = {}
    options = OpenOptions(library=library, feedback=False, host_code=True)
    with open_engine(bundle.manifest, entry, path, cuda, options) as session:
        remedy = "the bundle was left as it was: build a higher precision, or another TensorRT"
        runs = finite_runs(
            session, recipe, bundle.references, bundle.zoom, name=entry.file, remedy=remedy
        )
        for reference, outputs in runs:
            if exact:
                differences = compare_outputs(recipe, outputs, reference.outputs)
                worst = {k: max(worst.get(k, 0.0), each) for k, each in differences.items()}
        ran = OnDevice(
            provider=session.provider,
            outputs=worst,
            limit=recipe.tolerances.probe if exact else None,
        )
    return entry.model_copy(update={"on_device": ran})
