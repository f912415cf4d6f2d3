"""Open a bundle for inference. Imports no torch."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError
from lzu_export.inputs.pixel_formats import check_pixel_format, shape_in
from lzu_export.runtime.choice import Choice, make_choice
from lzu_export.runtime.fitting import Fit, fit_of
from lzu_export.runtime.loading import Kind, LoadOptions
from lzu_export.runtime.predictor import Predictor
from lzu_export.targets.registry import find, refuse_idle
from lzu_export.tasks.registry import find_task

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from lzu_export.runtime.postprocessing.custom import Function


@overload
def load(bundle: str | Path, kind: type[Kind], **options: "Unpack[LoadOptions]") -> Kind: ...


@overload
def load(bundle: str | Path, kind: None = None, **options: "Unpack[LoadOptions]") -> Any: ...


def load(
    bundle: str | Path,
    kind: type[Predictor] | None = None,
    *,
    target: str | None = None,
    precision: str | None = None,
    resize: bool = False,
    threads: int | None = None,
    provider: str = "cpu",
    cuda: str | None = None,
    device: int | None = None,
    plugins: Path | None = None,
    graph: bool | None = None,
    runtime_cache: bool = True,
    feedback: bool = True,
    host_code: bool = False,
    fit: str | None = None,
    pixel_format: str = "bgr",
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_detections: int | None = None,
    class_agnostic: bool = False,
    classes: Collection[str] | None = None,
    postprocess: "Function | None" = None,
) -> Any:
    """Open a bundle as its task's predictor, such as a `Detector`; imports no torch.

    The choice of results (`score_threshold` and the arguments after it) replaces the recipe's
    `postprocess` as far as the graph allows: the graph returns the best
    `postprocess.candidates_per_level` candidates of each level, which only another export changes.
    The boxes that an adaptive bundle feeds back still follow the recipe's settings; with a choice
    of results they stay on the host.

    Args:
        bundle: folder that export made.
        kind: class that the predictor has to be of, such as `Detector`. Editors and type checkers
            then know its methods and results; another bundle is refused.
        target: target whose engine runs; by default onnxruntime, which runs on any machine.
        precision: precision of the engine; by default the highest there is.
        resize: True is the same as fit `stretch`.
        threads: threads of ONNX Runtime on the CPU; all processors by default.
        provider: ONNX Runtime's: `cpu`, `cuda`, `tensorrt` (extra `gpu`), `nv-tensorrt-rtx` (extra
            `rtxprovider`), or a name of its own; one that does not load is refused.
        cuda: CUDA library for the targets `tensorrt` and `tensorrt-rtx`: `cuda-python` or `pycuda`;
            by default the first that is installed.
        device: number of the GPU, as CUDA counts those that `CUDA_VISIBLE_DEVICES` leaves visible;
            by default `LZU_DEVICE`, else 0. It is for targets and providers that run on a GPU.
        plugins: library of TensorRT's plugins, and of the kernels that keep boxes on the device;
            by default the one that is found. A library that is named must fit.
        graph: whether those two targets, and `nv-tensorrt-rtx`, run as a CUDA graph; by default
            where that is possible.
        runtime_cache: keep TensorRT-RTX's compiled code in a user folder; else each start compiles.
        feedback: keep the boxes that an adaptive engine follows on the device, where possible.
        host_code: let a version-compatible TensorRT engine run the host code that it contains; one
            that was built on this machine may do so anyway.
        fit: treatment of frames whose size differs from the source's: `exact` refuses them,
            `stretch` resizes each axis by itself, `pad` keeps the aspect and fills bars with the
            normalisation's mean. Results are in pixels of the frame in every case.
        pixel_format: format of the frames' bytes: `bgr`, `rgb`, `nv12` or `gray`, see
            `PixelFormat`. A TensorRT session that zooms on the device takes them as they are, where
            fit is `exact`; elsewhere the host converts them to BGR first. Results are the same.
        score_threshold: lowest score of a detection, exclusive, in [0, 1).
        iou_threshold: highest overlap of two detections, inclusive, in (0, 1].
        max_detections: largest number of detections in a frame.
        class_agnostic: let a detection suppress detections of other classes, too.
        classes: names of the classes to find; detections of others neither appear nor suppress.
        postprocess: function of a frame's raw outputs and a `Context`, for task `generic`.

    Raises:
        LzuError: no such bundle or engine, a file changed after the export, libraries are missing,
            the graph cannot serve the choice of results, or the bundle's predictor is of another
            class than `kind`.
    """
    choice = Choice(score_threshold, iou_threshold, max_detections, class_agnostic, classes)
    options = {"threads": threads, "provider": provider, "library": plugins, "graph": graph}
    options |= {"device": device, "runtime_cache": runtime_cache}
    options |= {"feedback": feedback, "host_code": host_code}
    options["pixel_format"] = check_pixel_format(pixel_format)
    fit = fit_of(fit, resize)
    opened = Bundle(bundle)
    _check_kind(opened, kind)
    return _open(opened, target, precision, cuda, fit, choice, options, postprocess)


def _check_kind(bundle: Bundle, kind: type[Predictor] | None) -> None:
    """Refuse a bundle whose predictor is of another class, before anything is opened."""
    if kind is None:
        return
    own = find_task(bundle.recipe.task).predictor
    if not issubclass(own, kind):
        raise LzuError(
            f"{bundle.folder} is of task {bundle.recipe.task}, which a {own.__name__} runs, and "
            f"no {kind.__name__}; load it as {own.__name__}"
        )


def _open(
    bundle: Bundle,
    target: str | None,
    precision: str | None,
    back_end: str | None,
    fit: Fit,
    asked: Choice,
    options: dict[str, Any],
    postprocess: "Function | None",
) -> Any:
    """Open the first engine that runs here, after the checks that need no device.

    Args:
        bundle: opened bundle.
        target: see `load`.
        precision: see `load`.
        back_end: CUDA library, `cuda` of `load`.
        fit: see `load`.
        asked: choice of results, before it is checked.
        options: fields of `targets.base.OpenOptions` except `cuda`.
        postprocess: see `load`.
    """
    if postprocess is not None and bundle.recipe.task != "generic":
        raise LzuError(
            f"postprocess does not apply to task {bundle.recipe.task}, whose engine decodes its "
            "outputs; leave it out"
        )
    _ = bundle.warp  # refused before anything is opened
    engines = bundle.engines(target, precision)
    wanted, choice = find(engines[0].target), make_choice(bundle.recipe, asked)
    refuse_idle(options["device"], [wanted.name], options["provider"])
    device = wanted.device(back_end, options["device"])
    if choice:
        options["feedback"] = False  # its kernels have the recipe's settings
    pixel_format = options["pixel_format"]
    if pixel_format != "bgr" and fit == "exact":
        shape_in(bundle.recipe.source, pixel_format)
    if fit != "exact":
        options["pixel_format"] = "bgr"  # the host resizes, which takes colours
    session = bundle.open(wanted.pick(engines, device), cuda=device, **options)
    predictor: Any = bundle.predictor(session, fit=fit, choice=choice, pixel_format=pixel_format)
    if postprocess is not None:
        predictor.use(postprocess)
    return predictor
