"""`lzu-export build`: build an engine for RTX cards, or for this device."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lzu_export.cli import exits
from lzu_export.cli.options import Bundle, Device, Json, Plugins, Precision
from lzu_export.errors import LzuError
from lzu_export.support.terminal import print_json, say

if TYPE_CHECKING:
    from lzu_export.targets.tensorrt.build import BuildOptions

ON_DEVICE = "build --target tensorrt"
"""Name under which `support.extras` lists the packages that TensorRT's builder needs."""


@dataclass(frozen=True)
class Builder:
    """Options of TensorRT's builder, see `BuildOptions`."""

    workspace: Annotated[
        int | None, typer.Option(min=1, help="tensorrt: MiB that a layer may use.")
    ] = None
    level: Annotated[
        int | None, typer.Option(min=0, max=5, help="tensorrt: builder optimisation level.")
    ] = None
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="tensorrt: run in later releases, too.")
    ] = False
    hardware: Annotated[
        str | None, typer.Option(help="tensorrt: ampere+ or same-capability; run on others, too.")
    ] = None

    def options(self) -> "BuildOptions":
        """Check the options and return them for the builder."""
        from lzu_export.targets.tensorrt.build import BuildOptions

        if self.hardware not in (None, "ampere+", "same-capability"):
            raise LzuError(
                f"--hardware {self.hardware} is not known; use ampere+ or same-capability"
            )
        return BuildOptions(**vars(self))


def build(
    bundle: Bundle,
    *,
    compute_capability: Annotated[
        list[str] | None, typer.Option(help="Such as 8.9; repeatable. Default: portable.")
    ] = None,
    precision: Precision = None,
    out: Annotated[Path | None, typer.Option(help="Engine file to write.")] = None,
    target: Annotated[
        str, typer.Option(help="tensorrt-rtx, or on the device that will run it tensorrt.")
    ] = "tensorrt-rtx",
    builder: Builder,
    plugins: Plugins = None,
    cuda: Annotated[
        str | None, typer.Option(help="tensorrt: cuda-python or pycuda; default: what there is.")
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Build an engine of a bundle: for RTX cards of your choice, or for this device."""
    from lzu_export.targets.registry import find, known

    wanted = find(target) if known(target) else None
    if wanted is not None and wanted.with_plugins and (plugins or not wanted.exported):
        _refuse_device_options(builder, cuda, device)
        with exits.needing("build"):
            _build_with_plugins(bundle, compute_capability or [], plugins, precision, out, as_json)
        return
    if wanted is not None and not wanted.exported:
        if compute_capability or out:
            raise LzuError(
                "--compute-capability and --out are for tensorrt-rtx: a TensorRT engine is built "
                "for this device, into the bundle; leave them out"
            )
        with exits.needing(ON_DEVICE):
            _build_on_device(bundle, precision, builder.options(), plugins, cuda, as_json)
        return
    if wanted is None or not wanted.on_device:
        raise LzuError(f"there is nothing to build for {target}; use tensorrt-rtx or tensorrt")
    _refuse_device_options(builder, cuda, device)
    _build_portable(bundle, compute_capability or [], out, precision, as_json)


def _refuse_device_options(builder: Builder, cuda: str | None, device: int | None) -> None:
    """Refuse options of TensorRT's builder, which TensorRT-RTX lacks."""
    if builder != Builder() or cuda or device is not None:
        raise LzuError(
            "--workspace, --level, --version-compatible, --hardware, --cuda and --device belong to "
            "--target tensorrt; add that, or leave them out"
        )


def _build_portable(
    bundle: Path, capabilities: list[str], out: Path | None, precision: str | None, as_json: bool
) -> None:
    from lzu_export.compiler.build_rtx import build_rtx

    built = build_rtx(bundle, capabilities, out, precision)
    if as_json:
        print_json(built)
    else:
        made = f"TensorRT-RTX {built['version']} in {built['precision']}"
        say(f"{built['file']}: {made}, for {built['for']}")


def _build_with_plugins(
    bundle: Path,
    capabilities: list[str],
    plugins: Path | None,
    precision: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Build an engine that calls plugins into the bundle; without plugins if they are not taken."""
    from rich.text import Text

    from lzu_export.compiler.build_rtx import build_rtx_plugins
    from lzu_export.support.progress import Reporter
    from lzu_export.targets.tensorrt.plugin_process import NoPluginsError

    if out is not None:
        raise LzuError(
            "--out does not go with --plugins: an engine that calls plugins is built into the "
            "bundle, whose manifest names the library; leave one of them out"
        )
    try:
        engine = build_rtx_plugins(bundle, capabilities, plugins, precision)
    except NoPluginsError as error:
        note = f" {error}; the engine is built of standard operators instead"
        Reporter(quiet=as_json).note(Text.assemble(("note:", "yellow"), note))
        _build_portable(bundle, capabilities, None, precision, as_json)
        return
    if as_json:
        print_json({"engine": engine.model_dump(mode="json")})
        return
    cards = ", ".join(f"sm{each}" for each in engine.compute_capabilities)
    made = f"TensorRT-RTX {engine.version} in {engine.precision} with plugins"
    say(f"{bundle / engine.file}: {made}, for {cards}; not run: needs an RTX card")


def _build_on_device(
    bundle: Path,
    precision: str | None,
    options: "BuildOptions",
    plugins: Path | None,
    cuda: str | None,
    as_json: bool,
) -> None:
    from rich.text import Text

    from lzu_export.compiler.build_tensorrt import build_on_device
    from lzu_export.support.progress import Reporter

    report = Reporter(quiet=as_json)
    engine, notes = build_on_device(
        bundle,
        precision=precision,
        options=options,
        library=plugins,
        back_end=cuda,
        report=report,
    )
    assert engine.on_device is not None
    for note in notes:
        report.note(Text.assemble(("known:", "yellow"), f" {note}"))
    if as_json:
        print_json({"engine": engine.model_dump(mode="json"), "notes": notes})
    else:
        worst = max(engine.on_device.outputs.values(), default=None)
        finite = f"outputs finite ({engine.precision} is held to PyTorch by verify)"
        parity = finite if worst is None else f"outputs within {worst:.1e} of PyTorch's"
        say(f"{bundle / engine.file}: {engine.build_seconds:.0f} s, {parity}")
    if not engine.on_device.passed:
        exits.complain(
            f"{engine.file} deviates from PyTorch on this device: {engine.on_device.outputs} where "
            f"{engine.on_device.limit:g} is allowed"
        )
        raise typer.Exit(exits.MISMATCH)
