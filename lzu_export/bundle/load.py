"""Open a bundle for inference. Imports no torch."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from lzu_export.bundle.bundle import Bundle
from lzu_export.runtime.choice import make_choice
from lzu_export.runtime.fitting import fit_of
from lzu_export.targets.registry import find


def load(
    bundle: str | Path,
    *,
    target: str | None = None,
    precision: str | None = None,
    resize: bool = False,
    threads: int | None = None,
    provider: str = "cpu",
    cuda: str | None = None,
    plugins: Path | None = None,
    graph: bool | None = None,
    runtime_cache: bool = True,
    feedback: bool = True,
    host_code: bool = False,
    fit: str | None = None,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_detections: int | None = None,
    class_agnostic: bool = False,
    classes: Collection[str] | None = None,
) -> Any:
    """Open a bundle for inference; imports no torch.

    The choice of results (`score_threshold` and the arguments after it) replaces the recipe's
    `postprocess` as far as the graph allows: the graph returns at most
    `postprocess.candidates_per_level` candidates, the best of each level, and only another export
    changes that number. The boxes that an adaptive bundle feeds back still follow the recipe's
    settings; with a choice of results they stay on the host.

    Returns:
        A `Detector`, `Segmenter` or `Detector3d`, depending on the bundle's task.

    Args:
        bundle: folder that export made.
        target: target whose engine runs; by default onnxruntime, which runs on any machine.
        precision: precision of the engine; by default the highest there is.
        resize: True is the same as fit `stretch`.
        threads: threads of ONNX Runtime on the CPU; all processors by default.
        provider: ONNX Runtime's provider: `cpu`, `cuda`, `tensorrt` (extra `gpu`), or a name that
            ONNX Runtime itself uses; one that does not load is refused, never replaced by the CPU.
        cuda: how the targets `tensorrt` and `tensorrt-rtx` reach the device: `cuda-python` or
            `pycuda`; by default the first that is installed.
        plugins: library of plugins for the target `tensorrt`, and of the kernels that keep boxes on
            the device for `tensorrt` and `tensorrt-rtx`; by default the one that is found. A
            library that is named must fit.
        graph: whether those two targets run as a CUDA graph; by default where that is possible.
        runtime_cache: keep compiled code of TensorRT-RTX in the user's cache folder; otherwise
            every start compiles it again.
        feedback: keep the boxes that an adaptive engine follows on the device, where possible.
        host_code: let a version-compatible TensorRT engine run the host code that it contains; an
            engine that was built on this machine may do so anyway.
        fit: treatment of frames whose size differs from the source's: `exact` refuses them (the
            default), `stretch` resizes each axis by itself, `pad` keeps the aspect and fills bars
            with the normalisation's mean. Results are in pixels of the frame in every case.
        score_threshold: lowest score of a detection, exclusive, in [0, 1).
        iou_threshold: highest overlap of two detections, inclusive, in (0, 1].
        max_detections: largest number of detections in a frame.
        class_agnostic: let a detection suppress detections of other classes, too.
        classes: names of the classes to find; detections of others neither appear nor suppress.

    Raises:
        LzuError: no such bundle or engine, a file changed after the export, the target's libraries
            are missing, or the graph cannot serve the choice of results.
    """
    opened = Bundle(bundle)
    _ = opened.warp  # refused before anything is opened
    engines = opened.engines(target, precision)
    wanted = find(engines[0].target)
    kept_fit = fit_of(fit, resize)
    choice = make_choice(
        opened.recipe,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_detections=max_detections,
        class_agnostic=class_agnostic,
        classes=classes,
    )
    device = wanted.device(cuda)
    session = opened.open(
        wanted.pick(engines, device),
        threads=threads,
        provider=provider,
        cuda=device,
        library=plugins,
        graph=graph,
        runtime_cache=runtime_cache,
        feedback=feedback and not choice,  # its kernels have the recipe's settings
        host_code=host_code,
    )
    return opened.predictor(session, fit=kept_fit, choice=choice)
