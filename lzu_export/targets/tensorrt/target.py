"""Target TensorRT, whose engines are built on their device; does not import the library."""

import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lzu_export.errors import ElsewhereError, LzuError
from lzu_export.graph.dialect import NOT_STATIC, PRODUCTS, Dialect
from lzu_export.manifest.schema import PLUGINS_NOTE, Engine, Manifest
from lzu_export.support.limits import MAX_TOPK
from lzu_export.support.session import Session
from lzu_export.targets.base import OpenOptions, Target
from lzu_export.targets.tensorrt import NAME, RTX, RTX_PLUGINS

if TYPE_CHECKING:
    from lzu_export.graph.lowering.deform_conv import Kind as DeformKind
    from lzu_export.targets.cuda.interface import Cuda

NOT_PARSED = NOT_STATIC | {"NonMaxSuppression"}


def deform_conv() -> tuple["DeformKind", str]:
    """Return the lowering of deformable convolutions for TensorRT, and the reason.

    TensorRT's ONNX parser knows DeformConv from 10.1 on and turns it into a ModulatedDeformConv2d,
    a plugin of its standard plugin library, which must be loaded before a graph is parsed. (It is
    version 1 of the plugin; from 10.11 on version 2, which takes and computes the same.) The plugin
    has these requirements:

    - maps of one or two spatial axes; all inputs float32, or all float16;
    - as many `pads` at the end of an axis as at its beginning;
    - one stride, one padding and one dilation for both axes. The parser hands them over rows first,
      but the plugin's kernel takes the first for columns, so that unequal ones would be exchanged.

    `group` and `offset_group` are passed on; bias and mask may be left out, but are never here.
    Every deformable convolution of the models here fits.
    """
    return "deformconv", "default: the parser maps it to the plugin that TensorRT ships"


class OnDevice(Target):
    """Common base of TensorRT and TensorRT-RTX, whose engines run on an NVIDIA GPU."""

    on_device = True

    def device(self, back_end: str | None = None, number: int | None = None) -> "Cuda":
        """Open the CUDA device, see `Target.device`."""
        from lzu_export.targets.cuda.interface import open_cuda

        return open_cuda(back_end, number)

    def pick(self, engines: Sequence[Engine], device: "Cuda | None") -> Engine:
        """Return the first engine that is for this device, see `Target.pick`."""
        from lzu_export.targets.tensorrt.open import pick_for_device

        assert device is not None, "`device` opens it"
        return pick_for_device(engines, device)

    def refuse_elsewhere(self, engine: Engine, device: Callable[[], Any]) -> None:
        """Refuse an engine for another device or release, see `Target.refuse_elsewhere`."""
        from lzu_export.targets.tensorrt.open import refuse_elsewhere

        refuse_elsewhere(engine, device())

    def open(self, manifest: Manifest, engine: Engine, path: Path, options: OpenOptions) -> Session:
        """Open a session on the device, see `open_engine`."""
        from lzu_export.targets.tensorrt.open import open_engine

        return open_engine(
            manifest, engine, path, options.cuda or self.device(number=options.device), options
        )


class TensorRt(OnDevice):
    """Target for which `lzu-export build` builds on the device, from a file of `derive`."""

    name = NAME
    title = "TensorRT"
    extra = NAME
    dialect = Dialect(
        name=NAME,
        deform_conv=deform_conv,
        lowerings={
            "zoom": (
                "banded",
                "default: products, exact in every release; from 10.14.1 on GridSample inside an "
                "FP16 network was reported to give wrong values; not measured here",
            ),
            "unzoom": PRODUCTS,
        },
        forbidden=NOT_PARSED,
        plugins=True,
        max_topk=MAX_TOPK,
    )
    exported = False
    build_needs = ("onnx", NAME, "cuda", "gpu")
    run_needs = (NAME, "cuda", "gpu")

    def version(self) -> str | None:
        """Return the installed release, or None."""
        from lzu_export.targets.tensorrt.build import import_module

        try:
            return str(import_module().__version__)
        except ElsewhereError:
            return None

    def missing(self) -> str:
        """Return the sentence for a machine that lacks the library, with the remedy."""
        from lzu_export.targets.tensorrt.build import import_module

        try:
            import_module()
        except ElsewhereError as error:
            return str(error)
        return ""

    def note(self, precision: str) -> str:
        """Return the note on what a comparison of its graph with PyTorch covers."""
        return PLUGINS_NOTE

    def refuse_beside(self, manifest: Manifest, folder: Path, others: Collection[str]) -> str:
        """Return why its plugins cannot be used: TensorRT-RTX, or a library that does not fit."""
        if not manifest.plugins:
            return ""
        if "tensorrt_rtx" in sys.modules or {RTX, RTX_PLUGINS} & set(others):
            return (
                "TensorRT's plugins and TensorRT-RTX do not go together in one process; take the "
                "TensorRT-RTX engines out of the bundle, or run this one by load() in a process of "
                "its own"
            )
        return refuse_library(manifest, folder)


def refuse_library(manifest: Manifest, folder: Path) -> str:
    """Return why this machine's plugin library does not serve a bundle; empty if it does."""
    from lzu_export.runtime.plugin_library import check_library, find_library

    if manifest.plugins is None:
        return ""
    try:
        check_library(find_library(bundle=folder), manifest.plugins)
    except LzuError as error:
        return str(error)
    return ""


TARGET = TensorRt()
